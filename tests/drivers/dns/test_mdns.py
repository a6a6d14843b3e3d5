# SPDX-License-Identifier: Apache-2.0
"""The transfer server: a real secondary fetches its zones here, and nobody else learns anything."""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.xfr
import dns.zone
import pytest

from aerie_common import config
from aerie_common.context import Context
from aerie_common.flow_runner import FlowRunner
from aerie_dns import logic, states
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.daemons import SPEC
from aerie_dns.db.tables import METADATA
from aerie_dns.drivers.base import query_serial
from aerie_dns.flows.zone_push import ZONE_PUSH
from aerie_dns.flows.zone_transfer import ZONE_TRANSFER
from aerie_dns.mdns import MdnsServer
from aerie_dns.operations import TABLE
from aerie_dns.reconcile import Transfers
from servers import PowerDNS, free_port, wait_for

CATALOG = "catalog.aerie."
OWNER = Caller(Context(project_id="p1", user_id="u1"), "p1")


@dataclass
class Bench:
    svc: Dns
    runner: FlowRunner[Dns]
    mdns: MdnsServer

    def zone(self, name: str, **values: Any) -> Any:
        values.setdefault("email", "admin@example.org")
        return logic.zones.create(self.svc, OWNER, name=name, **values)

    def show(self, zone_id: str) -> Any:
        return logic.zones.show(self.svc, OWNER, zone_id)

    def axfr(self, name: str, **how: Any) -> dns.zone.Zone:
        zone = dns.zone.Zone(name, relativize=False)
        dns.query.inbound_xfr("127.0.0.1", zone, dns.xfr.make_query(zone, **how)[0], port=self.mdns.port, timeout=60)
        return zone

    def ask(self, query: dns.message.Message) -> dns.message.Message:
        return dns.query.udp(query, "127.0.0.1", port=self.mdns.port, timeout=30)


def make(url: str, **options: dict[str, Any]) -> Bench:
    conf = config.load(SPEC.new_conf(), [])
    conf.set_override("connection", url, group="database")
    defaults = {"mdns": {"listen": "127.0.0.1", "port": free_port()}}
    for group, values in {**defaults, **{g: {**defaults.get(g, {}), **v} for g, v in options.items()}}.items():
        for name, value in values.items():
            conf.set_override(name, value, group=group)
    svc = Dns(conf)
    svc.table = TABLE
    svc.db.create_all(METADATA)
    server = MdnsServer(svc)
    server.start()
    return Bench(svc, FlowRunner(svc.db, [ZONE_PUSH, ZONE_TRANSFER], svc), server)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """With the fake driver: its only name server is said to be 127.0.0.1, so this test may transfer."""
    pool = {"driver": "fake", "nameservers": ["127.0.0.1:5300"], "catalog_zone": CATALOG}
    made = make(f"sqlite:///{tmp_path}/dns.sqlite", pool=pool)
    yield made
    made.mdns.stop()
    made.svc.db.dispose()


@pytest.fixture(scope="module")
def secondary(servers_dir: Path) -> Iterator[PowerDNS]:
    """A PowerDNS that gets nothing by its API but the name of the catalog."""
    server = PowerDNS(servers_dir / "powerdns-secondary", settings={"slave-cycle-interval": "1"})
    server.start()
    yield server
    server.stop()


def test_a_real_secondary_follows_the_catalog(tmp_path: Path, secondary: PowerDNS) -> None:
    port = free_port()
    pool = {"driver": "axfr", "nameservers": [f"127.0.0.1:{secondary.port}"], "catalog_zone": CATALOG}
    bench = make(f"sqlite:///{tmp_path}/dns.sqlite", pool=pool, mdns={"port": port})
    try:
        secondary.call("POST", "/zones", {"name": CATALOG, "kind": "Consumer", "masters": [f"127.0.0.1:{port}"]})
        zone = bench.zone("followed.example.")
        bench.runner.drain(60)
        assert bench.show(zone.id).status == states.ACTIVE
        records = [f"192.0.2.{i}" for i in range(1, 20)]
        logic.recordsets.create(bench.svc, OWNER, zone.id, name="www.followed.example.", type="A", records=records)
        bench.runner.drain(60)
        query = dns.message.make_query("www.followed.example.", "A")
        answer = dns.query.udp(query, "127.0.0.1", port=secondary.port, timeout=30)
        assert {r.to_text() for r in answer.answer[0]} == set(records)
        logic.zones.delete(bench.svc, OWNER, zone.id)
        bench.runner.drain(60)
        assert query_serial("followed.example.", "127.0.0.1", secondary.port) is None
    finally:
        bench.mdns.stop()
        bench.svc.db.dispose()


def test_a_large_zone_in_many_messages(bench: Bench) -> None:
    zone = bench.zone("large.example.")
    with bench.svc.db.write() as conn:
        shared = {"zone_id": zone.id, "project_id": "p1", "type": "TXT", "ttl": 60, "serial": 1, "action": "CREATE"}
        rows = [{**shared, "name": f"n{i}.large.example.", "records": ['"' + "x" * 200 + '"']} for i in range(1500)]
        logic.recordsets.db.insert_new(conn, rows)
    assert len(list(bench.axfr("large.example.").iterate_rdatasets())) == 1502


def test_ixfr_of_somebody_who_is_up_to_date(bench: Bench) -> None:
    bench.zone("same.example.")
    zone = bench.axfr("same.example.")
    before = zone.get_soa().serial
    query, serial = dns.xfr.make_query(zone)
    assert serial == before  # an IXFR
    dns.query.inbound_xfr("127.0.0.1", zone, query, port=bench.mdns.port, timeout=60)
    assert zone.get_soa().serial == before


def test_strangers_are_refused(tmp_path: Path) -> None:
    bench = make(f"sqlite:///{tmp_path}/dns.sqlite", pool={"driver": "fake", "nameservers": ["192.0.2.53:53"]})
    try:
        zone = bench.zone("secret.example.")
        for kind in ("SOA", "AXFR", "IXFR", "A", "ANY"):
            answer = bench.ask(dns.message.make_query(zone.name, kind))
            assert (answer.rcode(), answer.answer) == (dns.rcode.REFUSED, [])
        with pytest.raises(dns.xfr.TransferError, match="REFUSED"):
            bench.axfr(zone.name)
        with pytest.raises(dns.xfr.TransferError, match="REFUSED"):
            bench.axfr("not-here.example.")  # no difference shows which zones exist
    finally:
        bench.mdns.stop()
        bench.svc.db.dispose()


def test_tsig_opens_what_the_key_is_for(tmp_path: Path) -> None:
    bench = make(f"sqlite:///{tmp_path}/dns.sqlite", pool={"driver": "fake", "nameservers": ["192.0.2.53:53"]},
                 mdns={"require_tsig": True, "allow_transfer": ["127.0.0.1"]})  # fmt: skip
    try:
        mine, other = bench.zone("mine.example."), bench.zone("other.example.")
        secret = base64.b64encode(b"0123456789abcdef" * 2).decode()
        values = {"algorithm": "hmac-sha256", "secret": secret}
        logic.nouns.TSIGKEYS.create(bench.svc, name="one", scope="ZONE", resource_id=mine.id, **values)
        logic.nouns.TSIGKEYS.create(bench.svc, name="all", scope="POOL", resource_id=mine.pool_id, **values)
        with pytest.raises(dns.xfr.TransferError):
            bench.axfr(mine.name)  # by address alone
        keys = dns.tsigkeyring.from_text({n: ("hmac-sha256", secret) for n in ("one", "all")})
        assert bench.axfr(mine.name, keyring=keys, keyname="one").get_soa().serial == mine.serial
        assert bench.axfr(other.name, keyring=keys, keyname="all").get_soa().serial == other.serial
        with pytest.raises(dns.xfr.TransferError, match="REFUSED"):
            bench.axfr(other.name, keyring=keys, keyname="one")
        forged = dns.tsigkeyring.from_text({"one": ("hmac-sha256", base64.b64encode(b"x" * 32).decode())})
        with pytest.raises(Exception):  # noqa: B017 (dnspython has several for an unsigned refusal)
            bench.axfr(mine.name, keyring=forged, keyname="one")
    finally:
        bench.mdns.stop()
        bench.svc.db.dispose()


def test_noise_does_no_harm(bench: Bench) -> None:
    zone = bench.zone("steady.example.")
    noise = random.Random(26)
    good = dns.message.make_query(zone.name, "SOA").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(400):
            cut = bytearray(good)
            for _ in range(noise.randrange(1, 6)):
                cut[noise.randrange(len(cut))] = noise.randrange(256)
            wire = bytes(cut) if noise.random() < 0.5 else noise.randbytes(noise.randrange(60))
            sender.sendto(wire[: noise.randrange(len(wire) + 1)], ("127.0.0.1", bench.mdns.port))
    for wire in (b"\xff\xff", b"\x00\x05abcde", struct.pack("!H", 12) + b"\0" * 12):
        with socket.create_connection(("127.0.0.1", bench.mdns.port), timeout=30) as connection:
            connection.sendall(wire)
    # The noise fills the socket's buffer: a question is dropped until that has been read.
    question = dns.message.make_query(zone.name, "SOA")
    for _ in range(60):
        with contextlib.suppress(dns.exception.Timeout):
            answer = dns.query.udp(question, "127.0.0.1", port=bench.mdns.port, timeout=1)
            break
    assert answer.answer[0][0].serial == zone.serial
    assert len(list(bench.axfr(zone.name).iterate_rdatasets())) == 2


def test_a_secondary_zone_is_fetched_and_follows_its_master(bench: Bench, powerdns: PowerDNS) -> None:
    name = "outside.example."

    def publish(serial: int, address: str) -> None:
        soa = f"ns.outside.example. jo\\.doe.example.org. {serial} 3600 600 86400 60"
        rrsets = [("SOA", name, soa), ("NS", name, "ns.outside.example."), ("A", f"www.{name}", address)]
        shared = {"ttl": 60, "changetype": "REPLACE"}
        body = [{"name": n, "type": t, "records": [{"content": c, "disabled": False}], **shared} for t, n, c in rrsets]
        if serial == 5:
            powerdns.call("POST", "/zones", {"name": name, "kind": "Native", "soa_edit_api": "", "rrsets": body})
        else:
            powerdns.call("PATCH", f"/zones/{name}", {"rrsets": body})

    publish(5, "192.0.2.1")
    # Whoever asks PowerDNS for a transfer must be allowed to: by default that is the loopback.
    zone = bench.zone(name, type="SECONDARY", email=None, masters=[f"127.0.0.1:{powerdns.port}"])
    assert (zone.status, zone.action) == ("PENDING", "CREATE")
    bench.runner.drain(20)
    shown = bench.show(zone.id)
    assert (shown.status, shown.serial, shown.email) == ("ACTIVE", 5, "jo.doe@example.org")
    server = bench.svc.driver(zone.pool_id).server  # type: ignore[attr-defined]
    assert server.lookup(name, f"www.{name}", "A") == ("192.0.2.1",)
    assert server.lookup(name, name, "SOA")[0].startswith("ns.outside.example. ")

    publish(6, "192.0.2.2")
    notify = dns.message.make_query(name, "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    assert bench.ask(notify).rcode() == dns.rcode.NOERROR
    wait_for("the transfer", lambda: _transferred(bench, zone.id, 6))
    assert server.lookup(name, f"www.{name}", "A") == ("192.0.2.2",)
    stranger = dns.message.make_query("steady.example.", "SOA")
    stranger.set_opcode(dns.opcode.NOTIFY)
    assert bench.ask(stranger).rcode() == dns.rcode.REFUSED


def _transferred(bench: Bench, zone_id: str, serial: int) -> bool:
    Transfers(bench.svc).converge()
    bench.runner.drain(10)
    shown = bench.show(zone_id)
    return bool(shown.serial == serial and shown.status == "ACTIVE")


def test_a_secondary_zone_whose_master_is_silent(bench: Bench) -> None:
    zone = bench.zone("silent.example.", type="SECONDARY", email=None, masters=[f"127.0.0.1:{free_port()}"])
    bench.runner.drain(30)
    shown = bench.show(zone.id)
    assert shown.status == states.ERROR and "does not answer" in shown.fault
    logic.zones.delete(bench.svc, OWNER, zone.id)
    bench.runner.drain(10)
    with pytest.raises(logic.zones.errors.ZoneNotFound):
        bench.show(zone.id)
