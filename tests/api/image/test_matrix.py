# SPDX-License-Identifier: Apache-2.0
"""Every operation, tried by every kind of caller. The outcome stands in matrix.txt."""

from __future__ import annotations

import itertools
import uuid
from pathlib import Path
from typing import Any

import pytest

from aerie_common.operations import Operation
from aerie_common.testing.api import Api
from aerie_common.testing.matrix import Attempt, check, lines
from aerie_image.logic import images as logic_images
from aerie_image.operations import TABLE

PERSONAS = ("nobody", "stranger", "shared", "reader", "member", "service", "for_member", "admin")
DATA = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
PROPERTY = {"name": "p", "title": "P", "type": "string"}
KINDS = {
    "objects": {"name": "o"},
    "properties": PROPERTY,
    "tags": {"name": "t"},
    "resource_types": {"name": "OS::Nova::Flavor"},
}
NUMBERS = itertools.count(1)


class People:
    """`member` owns what is tried, `reader` may look at it; it is shared with `shared`'s project, who took it.
    `for_member` is another service of the cloud with the token of `member`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.member, self.admin, self.friend = api.caller("member"), api.caller("admin"), api.caller("member")
        self.service = api.caller("service")
        reader = api.caller("reader", project_id=self.member.project_id)
        self.callers = {"nobody": None, "stranger": api.caller("member"), "shared": self.friend, "reader": reader,
                        "member": self.member, "service": self.service, "for_member": self.member,
                        "admin": self.admin}  # fmt: skip

    def call(self, persona: str, method: str, path: str, attempt: Attempt) -> int:
        headers = dict(attempt.headers)
        if persona == "for_member":
            headers["X-Service-Token"] = self.service.token
        body = attempt.body
        return int(self.api.call(method, path, body, by=self.callers[persona], headers=headers).status_int)

    def post(self, path: str, body: Any, **kw: Any) -> Any:
        reply = self.api.call("POST", path, body, **{"by": self.member, **kw})
        return reply.json if reply.body else None

    # ---- things to work on

    def image(self, op: Operation) -> str:
        """One in the state that the operation is for."""
        body = {"name": "i", "disk_format": "raw", "container_format": "bare", "tags": ["tag"]}
        image_id = str(self.post("/v2/images", body)["id"])
        queued = (op.method, op.path.rpartition("/")[2]) in (("PUT", "file"), ("PUT", "stage"), ("POST", "locations"))
        if op.path.endswith("/import"):
            self.api.call("PUT", f"/v2/images/{image_id}/stage", b"x", by=self.member, headers=DATA, expect=204)
        elif not queued:
            self.api.call("PUT", f"/v2/images/{image_id}/file", b"x", by=self.member, headers=DATA, expect=204)
        if op.path.endswith("/reactivate"):
            self.api.call("POST", f"/v2/images/{image_id}/actions/deactivate", by=self.member, expect=204)
        members = f"/v2/images/{image_id}/members"
        self.post(members, {"member": self.friend.project_id}, expect=200)
        body = {"status": "accepted"}
        self.api.call("PUT", f"{members}/{self.friend.project_id}", body, by=self.friend, expect=200)
        if "cache" in op.path:
            self.api.svc.cache.enqueue(image_id)  # type: ignore[attr-defined]
        if op.path.startswith("/v2/stores"):
            image = logic_images.get(self.api.svc, _everything(), image_id)  # type: ignore[arg-type]
            with self.api.svc.db.write() as conn:
                logic_images.changed(conn, image, {"locations": {**image.locations, "copies": "file:///nowhere"}})
        return image_id

    def namespace(self, op: Operation) -> str:
        name = f"N{next(NUMBERS)}"
        body = {"namespace": name, "visibility": "private", "owner": self.member.project_id}
        self.post("/v2/metadefs/namespaces", body, by=self.admin, expect=201)
        if "{name}" in op.path and op.method != "POST":
            place = op.path.split("/")[5]
            path = f"/v2/metadefs/namespaces/{name}/{place}" + ("/t" if place == "tags" else "")
            self.post(path, None if place == "tags" else KINDS[place], by=self.admin, expect=201)
        return name

    def prepare(self, op: Operation) -> Attempt:
        params: dict[str, str] = {}
        for name in (part[1:-1] for part in op.path.split("/") if part.startswith("{")):
            params[name] = self.make(op, name)
        return Attempt(params, "", *self.body(op))

    def make(self, op: Operation, name: str) -> str:
        if name == "image_id":
            return self.image(op)
        if name == "namespace":
            return self.namespace(op)
        if name == "task_id":
            image = self.post("/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"})
            self.api.call("PUT", f"/v2/images/{image['id']}/stage", b"x", by=self.member, headers=DATA, expect=204)
            self.post(f"/v2/images/{image['id']}/import", {"method": {"name": "glance-direct"}}, expect=202)
            found = self.api.call("GET", f"/v2/images/{image['id']}/tasks", by=self.member, expect=200).json["tasks"]
            return str(found[0]["id"])
        if name == "name":
            return str(KINDS[op.path.split("/")[5]]["name"])
        return {"member_id": str(self.friend.project_id), "tag": "tag", "store_id": "copies"}[name]

    def body(self, op: Operation) -> tuple[Any, dict[str, str]]:
        """(body, headers) of the request."""
        end, number = op.path.rpartition("/")[2], next(NUMBERS)
        if op.method not in ("POST", "PUT", "PATCH"):
            return None, {}
        if op.method == "PATCH":
            return [{"op": "replace", "path": "/name", "value": "new"}], PATCH
        if end in ("file", "stage"):
            return b"x", DATA
        if "{name}" in op.path and op.method == "PUT":
            return KINDS[op.path.split("/")[5]], {}
        bodies: dict[str, Any] = {
            "/v2/images": {"name": "new"},
            "/v2/images/{image_id}/members": {"member": uuid.uuid4().hex},
            "/v2/images/{image_id}/members/{member_id}": {"status": "rejected"},
            "/v2/images/{image_id}/import": {"method": {"name": "glance-direct"}},
            "/v2/images/{image_id}/locations": {"url": "http://192.0.2.1/"},
            "/v2/tasks": {"type": "import", "input": {"import_from": "http://192.0.2.1/", "image_properties": {}}},
            "/v2/metadefs/namespaces": {"namespace": f"M{number}"},
            "/v2/metadefs/namespaces/{namespace}": {"namespace": f"R{number}"},
            "/v2/metadefs/namespaces/{namespace}/tags": {"tags": [{"name": "t"}]},
        }
        return bodies.get(op.path, KINDS.get(end)), {}


def _everything() -> Any:
    from aerie_common.context import admin_context

    return admin_context()


@pytest.fixture
def api(one_api: Api, tmp_path: Path) -> Api:
    one_api.svc.conf.set_override("enabled_backends", {"file": "file", "copies": "file", "web": "http"})
    one_api.svc.conf.set_override("image_cache_dir", str(tmp_path / "cache"))
    return one_api


def test_every_operation_by_everybody(api: Api) -> None:
    people = People(api)
    check(Path(__file__).with_name("matrix.txt"), list(lines(TABLE, PERSONAS, people.prepare, people.call)))
