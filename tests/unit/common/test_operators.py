# SPDX-License-Identifier: Apache-2.0
"""What operators ask of a cloud, on real servers: `aerie flow`, `aerie bus`, `aerie doctor`."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
import sqlalchemy as sa

from aerie_common import config, flow, rpc
from aerie_common.cmd import bus, doctor, main
from aerie_common.cmd import db as db_command
from aerie_common.cmd.all_in_one import AllInOne
from aerie_common.cmd.doctor import Finding, Host
from aerie_common.context import admin_context
from aerie_common.db import Database, utcnow
from aerie_common.flow import FLOWS, Flow
from aerie_common.service import services


def aerie(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """One command: exit status, what it printed, what it complained of."""
    args = main.parser().parse_args(list(words))
    try:
        status = args.call(args)
    except SystemExit as e:
        status = str(e.code)
    said = capsys.readouterr()
    return status, said.out, said.err


def write(folder: Path, name: str, **options: dict[str, str]) -> None:
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()) for group, values in options.items()]
    (folder / f"{name}.conf").write_text("".join(lines))
    (folder / f"{name}.conf").chmod(0o640)


# -------------------------------------------------------------------------------------------------------------- flows


@pytest.fixture
def dns(tmp_path: Path, mariadb_url: str) -> Iterator[Database]:
    """The DNS service's database, and its configuration in tmp_path."""
    [spec] = services()["dns"].databases
    db_command.sync(spec, mariadb_url)
    write(tmp_path, "dns", database={"connection": mariadb_url})
    db = Database(mariadb_url)
    yield db
    db.dispose()


def begin(db: Database, subject: str, **changes: Any) -> str:
    from aerie_dns.flows.zone_push import ZONE_PUSH

    with db.write() as conn:
        made = flow.start(conn, ZONE_PUSH, subject, {"x": 1}, admin_context(), project_id="p")
        if changes:
            conn.execute(sa.update(FLOWS).where(FLOWS.c.id == made).values(changes))
    return made


def test_flows(dns: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = utcnow()
    soon, long_ago = now + datetime.timedelta(seconds=30), now - datetime.timedelta(hours=1)
    waits = begin(dns, "zone-a", state=flow.RUNNING, step=0, due_at=soon, reason="ns1 does not answer", attempts=3)
    left = begin(dns, "zone-b", due_at=long_ago)
    held = begin(dns, "zone-c", state=flow.RUNNING, step=0, lease_owner="worker-1", due_at=soon)
    after = begin(dns, "zone-c", after=[held])
    fault = {"message": "no such server", "code": "gone", "step": "push", "details": {}, "internal": False}
    ended = begin(dns, "zone-d", state=flow.FAILED, fault=fault, due_at=None, finished_at=now)
    where = ("--config-dir", str(tmp_path))

    status, out, _ = aerie(capsys, "flow", "list", "--json", *where)
    rows = {row["id"]: row for row in json.loads(out)}
    assert status == 0 and set(rows) == {waits, left, held, after}
    assert rows[waits]["step"].startswith("1/") and "push" in rows[waits]["step"]
    assert "ns1 does not answer (tried 3 times); again in" in rows[waits]["waits_for"]
    assert "nobody takes it" in rows[left]["waits_for"]
    assert "worker-1 works on it" in rows[held]["waits_for"] and held in rows[after]["waits_for"]
    status, out, _ = aerie(capsys, "flow", "list", "--failed", *where)
    assert ended in out and "gone: no such server" in out and waits not in out
    assert ended in aerie(capsys, "flow", "list", "--all", "--subject", "zone-d", *where)[1]

    status, out, _ = aerie(capsys, "flow", "show", waits, *where)
    assert status == 0 and "zone-a" in out and '{"x":1}' in out
    status, _, err = aerie(capsys, "flow", "show", "nonsense", *where)
    assert status == 1 and "No database holds a flow nonsense" in err

    assert aerie(capsys, "flow", "retry", waits, *where)[0] == 0
    with dns.read() as conn:
        record = flow.show(conn, waits)
    assert record is not None and record.due_at is not None and record.due_at < now and record.wakes == 1
    status, _, err = aerie(capsys, "flow", "retry", ended, *where)
    assert status == 1 and "has ended (failed)" in err


def test_a_flow_of_a_kind_this_program_does_not_know(dns: Database, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    newer = Flow("from_the_future", 7, (flow.Step("a", do=lambda run: None),))
    with dns.write() as conn:
        flow.start(conn, newer, "s", {}, admin_context())
    status, out, _ = aerie(capsys, "flow", "list", "--config-dir", str(tmp_path))
    assert status == 0 and "from_the_future" in out


# ---------------------------------------------------------------------------------------------------------------- bus


def test_bus(transport_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "compute", DEFAULT={"transport_url": transport_url, "host": "h1"})
    conf = config.load(services()["compute"].new_conf(), [tmp_path / "compute.conf"])
    made = rpc.Rpc(conf)

    class Endpoint:
        target = oslo_messaging.Target(version="1.0")

    class Listener:
        def info(self, *words: Any) -> None:
            raise AssertionError("nothing is published while it listens")

    server = made.serve("conductor", [Endpoint()])
    where = ("--config-dir", str(tmp_path))
    status, out, _ = aerie(capsys, "bus", "list", "--json", *where)
    queues = {q["name"]: q for q in json.loads(out)}
    assert status == 0 and queues["conductor"]["consumers"] >= 1 and queues["conductor.h1"]["depth"] == 0
    server.stop()
    for number in range(3):
        made.client("conductor").cast(admin_context(), "build", number=number, password="hunter2")
    made.listen([Listener()]).stop()  # makes the queue of notifications
    then = utcnow() - datetime.timedelta(seconds=90)
    message_id = str(uuid.uuid4())
    made.notify({}, "compute.h1", "compute.instance.create.end", {"id": "s"}, message_id=message_id, timestamp=then)
    made.stop()

    for _ in range(2):  # looking changes nothing
        status, out, err = aerie(capsys, "bus", "list", "--json", *where)
        queues = {q["name"]: q for q in json.loads(out)}
        assert status == 1 and "conductor: 3 messages and no consumer" in err
        assert queues["conductor"]["depth"] == 3 and queues["conductor"]["consumers"] == 0
        assert queues["notifications.info"]["depth"] == 1 and 80 < queues["notifications.info"]["oldest"] < 200
        status, out, _ = aerie(capsys, "bus", "peek", "conductor", "-n", "2", "--json", *where)
        first, second = (json.loads(line) for line in out.splitlines())
        assert status == 0 and first["method"] == "build"
        assert (first["args"]["number"], second["args"]["number"]) == (0, 1)
        assert "hunter2" not in out and first["request_id"].startswith("req-")
    status, _, err = aerie(capsys, "bus", "peek", "nonsense", *where)
    assert status == 1 and "no queue nonsense" in err


def test_bus_without_a_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "compute", DEFAULT={"transport_url": "rabbit://me:hunter2@127.0.0.1:1/"})
    status, _, err = aerie(capsys, "bus", "list", "--config-dir", str(tmp_path))
    assert status == 2 and "does not answer" in err and "hunter2" not in err
    write(tmp_path, "compute", DEFAULT={"transport_url": "fake://"})
    assert "No service here uses RabbitMQ" in str(aerie(capsys, "bus", "list", "--config-dir", str(tmp_path))[0])


def test_what_is_no_message_of_ours() -> None:
    assert bus.decode(b"\xff") == {"text": "\ufffd"}
    assert bus.decode(b"[1]") == {"text": "[1]"} and bus.decode(b'{"a": 1}') == {"a": 1}


# ------------------------------------------------------------------------------------------------------------- doctor


def look(host: Host, check: Any) -> list[Finding]:
    return [finding for finding in check(host) if finding.level != "ok"]


def test_doctor_on_databases_and_flows(dns: Database, tmp_path: Path, mariadb: Any,
                                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    empty = mariadb.url(mariadb.create_database())
    write(tmp_path, "image", database={"connection": empty})
    write(tmp_path, "network", database={"connection": "mysql://me:hunter2@127.0.0.1:1/none"})
    (tmp_path / "image.conf").chmod(0o644)
    host = Host(tmp_path, main.find_daemons(["dns-api", "image-api", "compute-api"]), doctor._readable(tmp_path))
    found = {finding.what: finding for finding in look(host, doctor._databases)}
    assert "wants" in found["database image"].why and found["database image"].todo == "aerie db sync image"
    assert set(found) == {"database image", "database network"} and "hunter2" not in str(found)
    files = {Path(f.what.split()[-1]).name: f for f in look(host, doctor._configuration)}
    assert files["compute.conf"].level == "broken" and files["image.conf"].level == "advice" and len(files) == 2
    assert not look(host, doctor._work)
    lost = begin(dns, "zone-b", due_at=utcnow() - datetime.timedelta(hours=1))
    [finding] = look(host, doctor._work)
    assert finding.level == "broken" and lost in finding.todo
    status, out, _ = aerie(capsys, "doctor", "--role", "controller", "--config-dir", str(tmp_path))
    assert status == 1 and "aerie db sync image" in out and "broken" in out.splitlines()[-1] and lost in out


def test_doctor_tells_clocks_apart(mariadb_url: str) -> None:
    with Database(mariadb_url).read() as conn:
        assert abs(doctor._clock(conn, "mysql")) < 1
        conn.exec_driver_sql("SET timestamp = UNIX_TIMESTAMP() + 100")
        assert 98 < doctor._clock(conn, "mysql") < 102


def test_doctor_on_the_broker(tmp_path: Path, transport_url: str) -> None:
    write(tmp_path, "dns", DEFAULT={"transport_url": transport_url})
    host = Host(tmp_path, [], doctor._readable(tmp_path))
    assert [finding.level for finding in doctor._broker(host)] == ["ok"]
    write(tmp_path, "dns", DEFAULT={"transport_url": "rabbit://me:hunter2@127.0.0.1:1/"})
    [finding] = doctor._broker(Host(tmp_path, [], doctor._readable(tmp_path)))
    assert finding.level == "broken" and "hunter2" not in str(finding)


def test_doctor_on_a_cloud(tmp_path: Path) -> None:
    """Users, catalog and ports, as the public APIs tell."""
    cloud = AllInOne(tmp_path / "state", any_port=True)
    cloud.start()
    try:
        password = (tmp_path / "state" / "service-password").read_text()
        for name in ("image", "network"):
            options = {"auth_url": cloud.auth_url, "username": name, "password": password}
            write(tmp_path, name, keystone_authtoken=options)
        host = Host(tmp_path, [], doctor._readable(tmp_path))
        for check in (doctor._credentials, doctor._catalog, doctor._orphans):
            assert [finding.level for finding in check(host)].count("ok") and not look(host, check)
        clients = doctor._clients(host)
        assert clients is not None
        network = clients["network"].post("/networks", {"network": {"name": "n"}})["network"]["id"]
        made = {"network_id": network, "device_owner": "compute:nova", "device_id": str(uuid.uuid4())}
        port = clients["network"].post("/ports", {"port": made})["port"]["id"]
        [finding] = look(host, doctor._orphans)
        assert finding.what == f"port {port}" and made["device_id"] in finding.why
        entry = clients["identity"].get("/services")["services"][0]
        bad = {"service_id": entry["id"], "interface": "public", "url": "http://127.0.0.1:1/", "region_id": "RegionOne"}
        clients["identity"].post("/endpoints", {"endpoint": bad})
        host = Host(tmp_path, [], doctor._readable(tmp_path))
        assert [f.level for f in look(host, doctor._catalog)] == ["broken"]
        options = {"auth_url": cloud.auth_url, "username": "image", "password": "wrong"}
        write(tmp_path, "image", keystone_authtoken=options)
        [finding] = look(Host(tmp_path, [], doctor._readable(tmp_path)), doctor._credentials)
        assert finding.what == "user image of image" and "401" in finding.why
    finally:
        cloud.stop()
