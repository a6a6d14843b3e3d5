# SPDX-License-Identifier: Apache-2.0
"""Who may ask what, row by row: callers without a token, with too little of a role, of another project."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aerie_common import microversions, policy
from aerie_common.operations import Operation
from aerie_compute.operations import TABLE

pytestmark = pytest.mark.parametrize("cloud", ["sqlite"], indirect=True, scope="module")  # one database is enough
NOBODY = "99999999-0000-4000-8000-000000000000"
GUARDED = [op for op in TABLE.operations if op.policy is not None]

ACTIONS: dict[str, Any] = {
    "reboot": {"type": "HARD"}, "rebuild": {"imageRef": NOBODY}, "resize": {"flavorRef": "1"},
    "createImage": {"name": "x"}, "addSecurityGroup": {"name": "x"}, "removeSecurityGroup": {"name": "x"},
    "changePassword": {"adminPass": "x"}, "os-resetState": {"state": "error"}, "os-getConsoleOutput": {},
    "os-getVNCConsole": {"type": "novnc"}, "os-getSerialConsole": {"type": "serial"},
    "addFloatingIp": {"address": "192.0.2.1"}, "removeFloatingIp": {"address": "192.0.2.1"},
}  # fmt: skip
BODIES: dict[str, Any] = {
    "metadata": {"metadata": {}}, "{key}": {"meta": {"x": "y"}}, "tags": {"tags": []}, "{server_id}": {"server": {}},
    "remote-consoles": {"remote_console": {"protocol": "vnc", "type": "novnc"}},
    "os-interface": {"interfaceAttachment": {}}, "shares": {"share": {"share_id": NOBODY}},
}  # fmt: skip


def version_of(op: Operation) -> str:
    low, high = op.version_range
    return microversions.text(min(high, TABLE.versions.maximum if TABLE.versions else high)) if op.until else (
        op.since or microversions.text(TABLE.versions.maximum if TABLE.versions else low)
    )  # fmt: skip


def ask(who: Any, op: Operation, server_id: str = NOBODY, token: bool = True) -> int:
    """The status that an operation answers somebody with."""
    path = re.sub(r"\{(\w+)\}", lambda m: {"server_id": server_id, "key": "x"}.get(m[1], NOBODY), op.path)
    body = {op.action: ACTIONS.get(op.action)} if op.action else BODIES.get(op.path.rpartition("/")[2])
    sent = body if op.method in ("POST", "PUT") else None
    headers = {} if token else {"X-Auth-Token": ""}
    reply = who.call(op.method, path.removeprefix("/v2.1"), sent, version=version_of(op), headers=headers)
    assert reply.status_code < 500 or reply.status_code == 501, f"{op.method} {path}: {reply.text}"
    return int(reply.status_code)


def test_nothing_without_a_token(owner: Any) -> None:
    assert {op.path: status for op in GUARDED if (status := ask(owner, op, token=False)) != 401} == {}


@pytest.mark.parametrize(
    ("role", "rule"), [("member", policy.ADMIN), ("reader", policy.ADMIN), ("reader", policy.PROJECT_MEMBER)],
    ids=["members-administer", "readers-administer", "readers-change"],
)  # fmt: skip
def test_a_role_that_is_too_little(cloud: Any, role: str, rule: str) -> None:
    who = cloud.person(role)
    rows = [op for op in GUARDED if op.rule == rule and op.check == "framework"]
    assert len(rows) > 20
    assert {(op.method, op.path, op.action): s for op in rows if (s := ask(who, op)) != 403} == {}


def test_servers_of_others_are_not_there(cloud: Any, owner: Any) -> None:
    server = owner.server("mine")
    stranger = cloud.person()
    rows = [op for op in GUARDED if "{server_id}" in op.path and op.rule != policy.ADMIN]
    assert len(rows) > 50
    seen = {(op.method, op.path, op.action): ask(stranger, op, server["id"]) for op in rows}
    assert {key: status for key, status in seen.items() if status != 404} == {}
    assert owner.show(server["id"])["status"] == "ACTIVE"
