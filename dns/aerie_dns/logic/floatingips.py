# SPDX-License-Identifier: Apache-2.0
"""PTR records of floating IPs that users set: kept as managed records with the source `user`, id `<region>:<id>`.

The floating IP itself, and whose it is, is asked of the network service each time; it is the truth about that.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from aerie_common.clients import RemoteError
from aerie_common.db import retried
from aerie_common.errors import InvalidField
from aerie_dns import caller as callers
from aerie_dns import errors, names
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.db import managed as db
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.managed import Managed
from aerie_dns.db.rows import Connection
from aerie_dns.db.zones import Zone
from aerie_dns.logic import managed, zones
from aerie_dns.logic.managed import Wanted

USER, FLOATING_IP = "user", "floatingip"


@dataclass(frozen=True)
class FloatingIp:
    """A floating IP and its PTR record."""

    key: str
    address: str
    ptrdname: str | None
    ttl: int | None
    description: str | None
    status: str
    action: str


def reverse_zone_name(svc: Dns, address: str) -> str:
    """The reverse zone that is made for an address when none exists: cut at the configured number of bits."""
    parsed = ipaddress.ip_address(address)
    bits = svc.conf.sink.ptr_prefix_v4 if parsed.version == 4 else svc.conf.sink.ptr_prefix_v6
    labels = bits // 8 if parsed.version == 4 else bits // 4
    drop = (4 if parsed.version == 4 else 32) - labels
    return ".".join(parsed.reverse_pointer.split(".")[drop:]) + "."


def reverse_zone(svc: Dns, conn: Connection, caller: Caller, address: str) -> Zone:
    """The zone that holds the PTR of an address; made, in the service's own name, when there is none."""
    found = db_zones.of_name(conn, names.reverse_name(address))
    if found is not None:
        return found
    owner = Caller(caller.ctx, "dns", use_blacklisted=True)
    given = {"name": reverse_zone_name(svc, address), "email": svc.conf.sink.ptr_email, "internal": True}
    return zones.create_in(svc, conn, owner, **given)


def _network(svc: Dns, caller: Caller, path: str) -> Any:
    return svc.clients["network"].get(path, caller.ctx)


def _found(svc: Dns, caller: Caller, region: str, floatingip_id: str) -> dict[str, Any]:
    """The floating IP as the network service knows it; FloatingIpNotFound when it is not the caller's."""
    missing = errors.FloatingIpNotFound(id=floatingip_id, region=region)
    if region != svc.conf.region_name:
        raise missing
    try:
        found: dict[str, Any] = _network(svc, caller, f"/floatingips/{floatingip_id}")["floatingip"]
    except RemoteError as error:
        if error.status == 404:
            raise missing from None
        raise
    if caller.scope not in (None, found["project_id"]):
        raise missing
    return found


def _shown(svc: Dns, conn: Connection, row: dict[str, Any]) -> FloatingIp:
    return _all_shown(svc, conn, [row])[0]


def _all_shown(svc: Dns, conn: Connection, rows: list[dict[str, Any]]) -> list[FloatingIp]:
    """Two queries, however many there are."""
    region = svc.conf.region_name
    ids = [f"{region}:{row['id']}" for row in rows]
    set_by_users = {m.source_id: m for m in db.NOUN.all(conn, source=USER, source_id=ids)}
    keys = {(m.zone_id, m.name) for m in set_by_users.values()}
    sets = {(s.zone_id, s.name): s for s in db_recordsets.NOUN.all(conn, type="PTR", name=[name for _, name in keys])}
    shown = []
    for row, key in zip(rows, ids, strict=True):
        ptr: Managed | None = set_by_users.get(key)
        recordset = sets.get((ptr.zone_id, ptr.name)) if ptr else None
        shown.append(
            FloatingIp(
                key=key,
                address=row["floating_ip_address"],
                ptrdname=ptr.data if ptr else None,
                ttl=ptr.ttl if ptr else None,
                description=ptr.description if ptr else None,
                status=recordset.status if recordset else ("PENDING" if ptr else "INACTIVE"),
                action=recordset.action if recordset else ("CREATE" if ptr else "NONE"),
            )
        )
    return shown


def list_(svc: Dns, caller: Caller) -> list[FloatingIp]:
    """The caller's floating IPs with their PTR records."""
    path = "/floatingips" if caller.scope is None else f"/floatingips?project_id={caller.scope}"
    rows = list(svc.clients["network"].pages(path, "floatingips", caller.ctx))
    with svc.db.read() as conn:
        return _all_shown(svc, conn, rows)


def show(svc: Dns, caller: Caller, region: str, floatingip_id: str) -> FloatingIp:
    """One of them. FloatingIpNotFound."""
    row = _found(svc, caller, region, floatingip_id)
    with svc.db.read() as conn:
        return _shown(svc, conn, row)


def update(svc: Dns, caller: Caller, region: str, floatingip_id: str, **values: Any) -> FloatingIp | None:
    """Set the PTR record, or unset it with the name None; then nothing is returned."""
    row = _found(svc, caller, region, floatingip_id)
    name = values.get("ptrdname")
    if name is not None:
        name = name.lower()
        if not names.is_host_name(name):
            raise InvalidField("ptrdname", f"{name!r} is not a valid host name with its final dot")
    zones.check_ttl(svc, caller, values.get("ttl"))
    key = f"{region}:{floatingip_id}"
    return _update(svc, caller, key, row, name, values)


@retried
def _update(
    svc: Dns, caller: Caller, key: str, row: dict[str, Any], name: str | None, values: dict[str, Any]
) -> FloatingIp | None:
    address = row["floating_ip_address"]
    with svc.db.write() as conn:
        wanted = []
        if name is not None:
            zone = reverse_zone(svc, conn, callers.internal(caller.ctx), address)
            owner = row["project_id"] or zone.project_id
            pointer = names.reverse_name(address)
            wanted = [Wanted(zone.id, pointer, "PTR", name, values.get("ttl"), owner, values.get("description"))]
        managed.set_in(svc, conn, caller.ctx, USER, key, wanted)
        return _shown(svc, conn, row) if wanted else None
