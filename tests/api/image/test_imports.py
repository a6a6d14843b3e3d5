# SPDX-License-Identifier: Apache-2.0
"""Import: staged data, web servers and what they may not reach, copies in further stores, tasks."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common import pipeline
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_image import commands, db, reconcile, remote
from aerie_image.flows import FLOWS
from aerie_image.remote import RefusedUrl, RemoteFailure, Rules

DATA = {"Content-Type": "application/octet-stream"}
CONTENT = os.urandom(2 << 20) + b"end"


@pytest.fixture
def member(api: Api) -> Caller:
    return api.caller("member")


def make(api: Api, by: Caller, disk_format: str = "raw") -> str:
    body = {"name": "i", "disk_format": disk_format, "container_format": "bare"}
    reply = api.call("POST", "/v2/images", body, by=by, expect=201)
    assert "glance-direct" in reply.headers["OpenStack-image-import-methods"]
    return str(reply.json["id"])


def image(api: Api, by: Caller, image_id: str) -> Any:
    return api.call("GET", f"/v2/images/{image_id}", by=by, expect=200).json


def stage(api: Api, by: Caller, image_id: str, data: bytes = CONTENT, expect: int = 204) -> None:
    api.call("PUT", f"/v2/images/{image_id}/stage", data, by=by, headers=DATA, expect=expect)


def start(
    api: Api, by: Caller, image_id: str, method: str, expect: int = 202, uri: str | None = None, **body: Any
) -> Any:
    how = {"name": method} | ({"uri": uri} if uri else {})
    return api.call("POST", f"/v2/images/{image_id}/import", {"method": how, **body}, by=by, expect=expect)


def work(api: Api) -> None:
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(30)


def staged(api: Api) -> list[str]:
    folder = Path(api.svc.conf.file.staging_datadir)
    return os.listdir(folder) if folder.exists() else []


def test_staged_data_is_imported_into_all_stores(api: Api, member: Caller) -> None:
    image_id = make(api, member)
    stage(api, member, image_id)
    assert image(api, member, image_id)["status"] == "uploading"
    reply = start(api, member, image_id, "glance-direct", all_stores=True)
    found = image(api, member, image_id)
    assert (found["status"], found["os_glance_importing_to_stores"]) == ("importing", "file,copies")
    work(api)
    found = image(api, member, image_id)
    assert (found["status"], found["stores"], found["os_glance_failed_import"]) == ("active", "copies,file", "")
    assert found["os_hash_value"] == hashlib.sha512(CONTENT).hexdigest() and found["size"] == len(CONTENT)
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member).body == CONTENT and staged(api) == []
    [task] = api.call("GET", f"/v2/images/{image_id}/tasks", by=member, expect=200).json["tasks"]
    assert task["status"] == "success" and task["request_id"] == reply.headers["X-Openstack-Request-Id"]
    assert task["input"]["import_req"]["method"]["name"] == "glance-direct"


def test_import_needs_the_right_state(api: Api, member: Caller) -> None:
    image_id = make(api, member)
    start(api, member, image_id, "glance-direct", expect=409)
    start(api, member, image_id, "copy-image", expect=409)
    start(api, member, image_id, "by-post", expect=400)
    start(api, member, image_id, "web-download", expect=400)
    start(api, member, image_id, "glance-direct", expect=400, stores=["nowhere"])
    stage(api, member, image_id)
    stage(api, member, image_id, expect=409)
    start(api, api.caller("member"), image_id, "glance-direct", expect=404)
    start(api, member, image_id, "glance-direct")
    start(api, member, image_id, "glance-direct", expect=409)
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
    work(api)
    assert staged(api) == [] and reconcile.everything(api.svc) is None


def test_copies_in_further_stores_and_their_removal(api: Api, member: Caller) -> None:
    image_id, admin = make(api, member), api.caller("admin")
    api.call("PUT", f"/v2/images/{image_id}/file", CONTENT, by=member, headers={**DATA, "X-Image-Meta-Store": "copies"})
    assert image(api, member, image_id)["stores"] == "copies"
    start(api, member, image_id, "copy-image", expect=409, stores=["copies"])
    start(api, member, image_id, "copy-image", all_stores=True)
    assert image(api, member, image_id)["status"] == "active"
    api.call("DELETE", f"/v2/stores/copies/{image_id}", by=admin, expect=409)
    work(api)
    assert image(api, member, image_id)["stores"] == "copies,file"
    api.call("DELETE", f"/v2/stores/copies/{image_id}", by=member, expect=403)
    api.call("DELETE", f"/v2/stores/copies/{image_id}", by=admin, expect=204)
    api.call("DELETE", f"/v2/stores/copies/{image_id}", by=admin, expect=404)
    api.call("DELETE", f"/v2/stores/file/{image_id}", by=admin, expect=403)
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member).body == CONTENT


def test_others_copy_an_image_where_the_policy_lets_them(api: Api, member: Caller, tmp_path: Path) -> None:
    admin = api.caller("admin")
    body = {"disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image_id = str(api.call("POST", "/v2/images", body, by=admin, expect=201).json["id"])
    api.call("PUT", f"/v2/images/{image_id}/file", CONTENT, by=admin, headers=DATA, expect=204)
    start(api, member, image_id, "copy-image", expect=403, stores=["copies"])
    rules = tmp_path / "policy.yaml"
    rules.write_text('"copy_image": "role:member"\n"download_from_store": "role:admin"\n')
    policy(api, rules)
    start(api, member, image_id, "glance-direct", expect=403, stores=["copies"])
    start(api, member, image_id, "copy-image", stores=["copies"])
    work(api)
    assert image(api, member, image_id)["stores"] == "copies,file"
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=200)
    api.call("GET", f"/v2/images/{image_id}/file?prefer=copies", by=member, expect=403)
    api.call("GET", f"/v2/images/{image_id}/file?prefer=copies", by=admin, expect=200)


def policy(api: Api, file: Path) -> None:
    """The same application with that policy file."""
    api.svc.conf.set_override("policy_file", str(file), group="oslo_policy")
    api.svc.__dict__.pop("policy", None)
    api.app = pipeline.build(api.svc)


def test_a_download_comes_from_the_store_that_is_preferred(api: Api, member: Caller) -> None:
    image_id = make(api, member)
    stage(api, member, image_id)
    start(api, member, image_id, "glance-direct", all_stores=True)
    work(api)
    path = f"/v2/images/{image_id}/file"
    mark = b"!" * len(CONTENT)
    with api.svc.db.read() as conn:
        found = db.images.get(conn, image_id)
    assert found is not None
    Path(found.locations["copies"].removeprefix("file://")).write_bytes(mark)
    assert api.call("GET", path, by=member, expect=200).body == CONTENT
    assert api.call("GET", f"{path}?prefer=copies", by=member, expect=200).body == mark
    assert api.call("GET", f"{path}?prefer=file,copies", by=member, expect=200).body == CONTENT
    assert "nowhere" in api.call("GET", f"{path}?prefer=nowhere", by=member, expect=400).json["message"]
    Path(found.locations["copies"].removeprefix("file://")).unlink()
    assert api.call("GET", f"{path}?prefer=copies", by=member, expect=200).body == CONTENT


def test_scrub_finds_a_damaged_copy(api: Api, member: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    image_id = make(api, member)
    stage(api, member, image_id)
    start(api, member, image_id, "glance-direct", all_stores=True)
    work(api)
    assert commands.scrub(api.svc.conf, []) == 0
    path = Path(api.svc.stores["copies"].location(image_id).removeprefix("file://"))
    with path.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"rot")
    assert commands.scrub(api.svc.conf, ["--store", "file"]) == 0
    assert commands.scrub(api.svc.conf, []) == 1
    assert f"{image_id} in copies" in capsys.readouterr().err
    path.unlink()
    assert commands.scrub(api.svc.conf, [image_id]) == 1


def test_usage_and_stores(api: Api, member: Caller) -> None:
    stage(api, member, make(api, member))
    usage = api.call("GET", "/v2/info/usage", by=member, expect=200).json["usage"]
    assert usage["image_count_total"] == {"limit": -1, "usage": 1} and usage["image_stage_total"]["usage"] == 2
    assert usage["image_count_uploading"]["usage"] == 1
    stores = api.call("GET", "/v2/info/stores", by=member, expect=200).json["stores"]
    assert stores == [{"id": "file", "default": "true"}, {"id": "copies"}]
    api.call("GET", "/v2/info/stores/detail", by=member, expect=403)
    detail = api.call("GET", "/v2/info/stores/detail", by=api.caller("admin"), expect=200).json["stores"]
    assert {s["type"] for s in detail} == {"file"}
    api.svc.conf.set_override("image_count_quota", 1)
    api.call("POST", "/v2/images", {"name": "one too many"}, by=member, expect=413)


# ---- hostile and packed content


def test_packed_data_is_unpacked_and_converted(api: Api, member: Caller, tmp_path: Path) -> None:
    conf = api.svc.conf
    conf.set_override("image_import_plugins", ["image_decompression", "image_conversion"], group="image_import_opts")
    raw, path = os.urandom(1 << 20) + bytes(1 << 20), tmp_path / "a.qcow2"
    (tmp_path / "a.raw").write_bytes(raw)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "a.raw", path], check=True)
    image_id = make(api, member, "qcow2")
    stage(api, member, image_id, gzip.compress(path.read_bytes(), 1))
    start(api, member, image_id, "glance-direct")
    work(api)
    found = image(api, member, image_id)
    assert (found["status"], found["disk_format"], found["size"]) == ("active", "raw", len(raw))
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member).body == raw and staged(api) == []


# ---- web-download


class Web(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, redirects, and breaks off."""

    target = ""

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", self.target)
            self.end_headers()
            return
        self.send_response(200 if self.path != "/missing" else 404)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if self.path == "/short" else CONTENT)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_web_download(api: Api, member: Caller, web: str) -> None:
    api.svc.conf.set_override("allowed_networks", ["127.0.0.1/32"], group="import_filtering_opts")
    image_id = make(api, member)
    start(api, member, image_id, "web-download", uri=web + "/image.raw")
    work(api)
    assert image(api, member, image_id)["checksum"] == hashlib.md5(CONTENT).hexdigest() and staged(api) == []
    Web.target = "http://169.254.169.254/latest/meta-data"
    for path in ("/away", "/missing", "/short"):
        image_id = make(api, member)
        start(api, member, image_id, "web-download", uri=web + path)
        work(api)
        found = image(api, member, image_id)
        assert (found["status"], found["os_glance_failed_import"]) == ("queued", "file") and staged(api) == [], path
    api.svc.conf.set_override("image_size_cap", 1 << 20)
    image_id = make(api, member)
    start(api, member, image_id, "web-download", uri=web + "/image.raw")
    work(api)
    assert image(api, member, image_id)["status"] == "queued" and staged(api) == []


def test_redirects_end(monkeypatch: pytest.MonkeyPatch, web: str) -> None:
    import ipaddress

    rules = Rules(allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    Web.target = web + "/away"
    with pytest.raises(RemoteFailure, match="redirects"):
        remote.open_url(web + "/away", rules)


def rules_case(refused: str, **given: Any) -> tuple[str, Callable[[], Rules]]:
    return refused, lambda: Rules(**given)


@pytest.mark.parametrize(
    ("url", "rules"),
    [
        rules_case("http://a.example/", allowed_hosts=frozenset({"b.example"})),
        rules_case("http://a.example./", disallowed_hosts=frozenset({"a.example"})),
        rules_case("http://198.51.100.7/", disallowed_hosts=frozenset({"198.51.100.0/24"})),
        rules_case("http://a.example:8080/", allowed_ports=frozenset({80})),
        rules_case("http://a.example/", disallowed_ports=frozenset({80})),
        rules_case("http://a.example/", schemes=frozenset({"https"})),
    ],
)
def test_rules(url: str, rules: Callable[[], Rules]) -> None:
    with pytest.raises(RefusedUrl):
        rules().check_url(url)


# ---- tasks


def test_a_task_imports_a_new_image_or_leaves_none(api: Api, web: str) -> None:
    admin = api.caller("admin")
    api.svc.conf.set_override("allowed_networks", ["127.0.0.1/32"], group="import_filtering_opts")

    def task(uri: str, expect: int = 201, **body: Any) -> Any:
        properties = {"name": "by task", "disk_format": "raw", "container_format": "bare"}
        given = {"import_from": uri, "import_from_format": "raw", "image_properties": properties}
        return api.call("POST", "/v2/tasks", {"type": "import", "input": given, **body}, by=admin, expect=expect).json

    made, bad = task(web + "/image"), task(web + "/missing")
    task("http://10.0.0.1/", expect=400)
    task(web, type="export", expect=400)
    work(api)
    shown = api.call("GET", f"/v2/tasks/{made['id']}", by=admin, expect=200).json
    assert shown["status"] == "success" and shown["expires_at"]
    assert image(api, admin, shown["result"]["image_id"])["status"] == "active"
    shown = api.call("GET", f"/v2/tasks/{bad['id']}", by=admin, expect=200).json
    assert shown["status"] == "failure" and "404" in shown["message"]
    assert len(api.call("GET", "/v2/images", by=admin).json["images"]) == 1
    listed = api.call("GET", "/v2/tasks?status=success", by=admin, expect=200).json["tasks"]
    assert [t["id"] for t in listed] == [made["id"]] and "input" not in listed[0]
    api.call("GET", "/v2/tasks", by=api.caller("member"), expect=403)
    api.call("GET", "/v2/tasks/none", by=admin, expect=404)
