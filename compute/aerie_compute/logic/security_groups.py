# SPDX-License-Identifier: Apache-2.0
"""Security groups as older microversions know them: incoming rules only, all of them for IPv4 unless an address says
otherwise. They belong to the network service, which is asked as the caller asks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from aerie_common import schema
from aerie_common.clients import RemoteError, ServiceClient
from aerie_common.context import Context
from aerie_common.errors import AerieError, BadRequest, Forbidden
from aerie_compute import errors
from aerie_compute.logic import servers

if TYPE_CHECKING:
    from aerie_compute.container import Compute

GROUPS, RULES = "/security-groups", "/security-group-rules"
_UUID = re.compile(schema.UUID_PATTERN)
Group = dict[str, Any]
"""A group of the network service. Each of its rules has `remote_group`, None when it names none or one that is gone."""


def _network(svc: Compute) -> ServiceClient:
    return svc.clients["network"]


def list_(svc: Compute, ctx: Context, *, everyone: bool = False) -> list[Group]:
    """The groups of the caller's project, or of all projects, by project and name."""
    query = "" if everyone else "?" + urlencode({"tenant_id": ctx.project_id or ""})
    found = _network(svc).get(GROUPS + query, ctx, as_user=True)["security_groups"]
    return _complete(svc, ctx, found)


def of_server(svc: Compute, ctx: Context, server_id: str) -> list[Group]:
    """The groups that the cards of a server are in."""
    server = servers.show(svc, ctx, server_id)
    ids: dict[str, None] = {}
    for port in svc.networks.ports_of(server.id, ctx, project_id=server.project_id):
        ids.update(dict.fromkeys(port.get("security_groups", ())))
    return _complete(svc, ctx, _by_ids(svc, ctx, ids))


def show(svc: Compute, ctx: Context, group_id: str) -> Group:
    """GroupNotFound."""
    return _complete(svc, ctx, [_raw(svc, ctx, group_id)])[0]


def create(svc: Compute, ctx: Context, name: str, description: str) -> Group:
    """Forbidden when the project has as many as it may."""
    body = {"security_group": {"name": name, "description": description}}
    try:
        made = _network(svc).post(GROUPS, body, ctx, as_user=True)["security_group"]
    except RemoteError as e:
        raise _refusal(e, "") from e
    return _complete(svc, ctx, [made])[0]


def update(svc: Compute, ctx: Context, group_id: str, name: str, description: str) -> Group:
    """GroupNotFound."""
    before = _raw(svc, ctx, group_id)
    values = {"description": description} if name == before["name"] else {"name": name, "description": description}
    try:
        changed = _network(svc).put(f"{GROUPS}/{group_id}", {"security_group": values}, ctx, as_user=True)
    except RemoteError as e:
        raise _refusal(e, group_id) from e
    return _complete(svc, ctx, [changed["security_group"]])[0]


def delete(svc: Compute, ctx: Context, group_id: str) -> None:
    """GroupNotFound; BadRequest when it is in use or the project's default group."""
    _check_id(group_id)
    try:
        _network(svc).request("DELETE", f"{GROUPS}/{group_id}", ctx, as_user=True)
    except RemoteError as e:
        if e.status == 409:
            raise BadRequest(e.message) from e
        raise _refusal(e, group_id) from e


def create_rule(svc: Compute, ctx: Context, group_id: str, rule: dict[str, Any]) -> dict[str, Any]:
    """`rule`: ip_protocol, from_port, to_port, and cidr or group_id. GroupNotFound, BadRequest."""
    group = _raw(svc, ctx, group_id)
    remote = _raw(svc, ctx, rule["group_id"]) if rule.get("group_id") else None
    body = {"direction": "ingress", "security_group_id": group["id"], **_wanted(rule, remote)}
    try:
        made = _network(svc).post(RULES, {"security_group_rule": body}, ctx, as_user=True)["security_group_rule"]
    except RemoteError as e:
        if e.status == 409 and e.kind != "OverQuota":
            raise BadRequest(e.message) from e
        raise _refusal(e, group_id) from e
    return {**made, "remote_group": remote}


def delete_rule(svc: Compute, ctx: Context, rule_id: str) -> None:
    """GroupNotFound when there is no such rule."""
    _check_id(rule_id)
    try:
        _network(svc).request("DELETE", f"{RULES}/{rule_id}", ctx, as_user=True)
    except RemoteError as e:
        raise _refusal(e, rule_id) from e


def _wanted(rule: dict[str, Any], remote: Group | None) -> dict[str, Any]:
    """The rule in the network service's words. BadRequest when it is none."""
    protocol = str(rule["ip_protocol"]).lower() if rule.get("ip_protocol") else None
    low, high = _port(rule.get("from_port")), _port(rule.get("to_port"))
    if remote is not None and low is None and high is None and protocol in ("tcp", "udp"):
        low, high = 1, 65535
    elif remote is None and (protocol is None or low is None or high is None):
        raise BadRequest("Not enough parameters to build a valid rule.")
    if protocol in ("tcp", "udp") and not (low is not None and high is not None and 1 <= low <= high <= 65535):
        raise BadRequest(f"Invalid port range {low}:{high}. Valid ports are between 1 and 65535.")
    wanted = {"protocol": protocol, "port_range_min": _given(low), "port_range_max": _given(high), "ethertype": "IPv4"}
    if remote is not None:
        return {**wanted, "remote_group_id": remote["id"]}
    try:
        network = ipaddress.ip_network(rule.get("cidr") or "0.0.0.0/0", strict=False)
    except ValueError:
        raise BadRequest(f"{rule.get('cidr')!r} is not a valid IP network.") from None
    prefix = rule.get("cidr") or "0.0.0.0/0"
    return {**wanted, "ethertype": f"IPv{network.version}", "remote_ip_prefix": prefix}


def _port(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        raise BadRequest("Ports, types and codes are whole numbers.") from None


def _given(port: int | None) -> int | None:
    """-1 stands for any in this API, nothing does in the other."""
    return None if port == -1 else port


def _raw(svc: Compute, ctx: Context, group_id: str) -> Group:
    _check_id(group_id)
    try:
        return dict(_network(svc).get(f"{GROUPS}/{group_id}", ctx, as_user=True)["security_group"])
    except RemoteError as e:
        raise _refusal(e, group_id) from e


def _by_ids(svc: Compute, ctx: Context, ids: Iterable[str]) -> list[Group]:
    query = "&".join(f"id={quote(group_id, safe='')}" for group_id in ids)
    return list(_network(svc).get(f"{GROUPS}?{query}", ctx)["security_groups"]) if query else []


def _complete(svc: Compute, ctx: Context, groups: Iterable[Group]) -> list[Group]:
    """With the groups that their rules name, in one question for all of them."""
    groups = list(groups)
    known = {group["id"]: group for group in groups}
    named = {rule["remote_group_id"] for group in groups for rule in group["security_group_rules"]} - {None, *known}
    known |= {group["id"]: group for group in _by_ids(svc, ctx, sorted(named))}
    complete = [
        {**group, "security_group_rules": [{**rule, "remote_group": known.get(rule["remote_group_id"])}
                                           for rule in group["security_group_rules"]]}
        for group in groups
    ]  # fmt: skip
    return sorted(complete, key=lambda group: (group["tenant_id"], group["name"]))


def _check_id(group_id: str) -> None:
    if not _UUID.match(group_id):
        raise BadRequest("Security group id should be uuid")


def _refusal(error: RemoteError, group_id: str) -> AerieError:
    if error.status == 404:
        return errors.GroupNotFound(group_id=group_id)
    return Forbidden(error.message) if error.status == 409 else error
