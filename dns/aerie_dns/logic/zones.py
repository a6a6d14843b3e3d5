# SPDX-License-Identifier: Apache-2.0
"""The rules of zones: names, who may have which below or above whose, quotas, and their way to the name servers."""

from __future__ import annotations

import re
from typing import Any

from aerie_common import flow
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden, InvalidField
from aerie_dns import errors, names, states
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db_nouns
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db
from aerie_dns.db.rows import Connection, Duplicate
from aerie_dns.db.zones import Zone
from aerie_dns.logic import changes, quotas
from aerie_dns.paging import Page
from aerie_dns.pools import Pool

PRIMARY, SECONDARY = "PRIMARY", "SECONDARY"


def find(conn: Connection, caller: Caller, zone_id: str, *, lock: bool = False, own: bool = False) -> Zone:
    """The zone, if the caller may see it; own: if it is the caller's. ZoneNotFound, Forbidden for a shared one."""
    scope = caller.scope
    zone = db.NOUN.get(conn, id=zone_id, lock=lock, extra=db.visible_to(scope))
    if zone is None:
        raise errors.ZoneNotFound()
    if own and scope not in (None, zone.project_id):
        raise Forbidden("The zone is shared with you; only its owner may do this.")
    return zone


def editable(conn: Connection, caller: Caller, zone_id: str, *, own: bool = True) -> Zone:
    """The zone, its row held, if the caller may change it and it is not on its way out."""
    zone = find(conn, caller, zone_id, lock=True, own=own)
    if zone.action == states.DELETE:
        raise BadRequest("The zone is being deleted.")
    return zone


def list_(svc: Dns, caller: Caller, page: Page) -> tuple[list[Zone], int]:
    """The visible zones: one page, and how many there are."""
    with svc.db.read() as conn:
        return db.NOUN.page(conn, page, db.visible_to(caller.scope))


def show(svc: Dns, caller: Caller, zone_id: str) -> Zone:
    """One zone. ZoneNotFound."""
    with svc.db.read() as conn:
        return find(conn, caller, zone_id)


def nameservers(svc: Dns, caller: Caller, zone_id: str) -> tuple[str, ...]:
    """The names in the zone's NS records, the first choice first, for its owner."""
    with svc.db.read() as conn:
        zone = find(conn, caller, zone_id, own=True)
    return svc.pools[zone.pool_id].ns_records if zone.pool_id in svc.pools else ()


def check_ttl(svc: Dns, caller: Caller, ttl: int | None) -> None:
    """InvalidTtl below the configured minimum, for those who must keep to it."""
    minimum = svc.conf.dns.min_ttl
    if ttl is not None and minimum is not None and ttl < minimum and not caller.use_low_ttl:
        raise errors.InvalidTtl(minimum=minimum)


def _check_name(svc: Dns, conn: Connection, caller: Caller, name: str) -> None:
    if not names.is_zone_name(name):
        raise InvalidField(
            "name", f"{name!r} is not a valid zone name: labels of letters, digits, - and _, and a final dot"
        )
    if name.count(".") < 2:
        raise errors.InvalidZoneName("More than one label is required")
    if db_nouns.any_tld(conn):
        candidates = [n.rstrip(".") for n in names.ancestors(name)]
        if not db_nouns.tlds_named(conn, candidates):
            raise errors.InvalidZoneName("Invalid TLD")
        if db_nouns.tlds_named(conn, [name.rstrip(".")]):
            raise errors.InvalidZoneName("Zone name cannot be the same as a TLD")
    if not caller.use_blacklisted:
        if names.is_reverse(name) and not svc.conf.dns.allow_reverse_zones:
            raise errors.InvalidZoneName("Reverse zones are made by the cloud or by its administrators.")
        for entry in db_nouns.BLACKLIST.all(conn):
            if re.search(entry.pattern, name, re.IGNORECASE):
                raise errors.InvalidZoneName("Blacklisted zone name")


def _check_relatives(conn: Connection, project_id: str, name: str) -> tuple[str | None, list[Zone]]:
    """Other projects' zones must lie neither above nor below. Returns the parent's id and the zones below."""
    above = db.above(conn, name)
    if above and above[0].project_id != project_id:
        raise errors.IllegalChildZone()
    below = db.below(conn, name)
    if any(zone.project_id != project_id for zone in below):
        raise errors.IllegalParentZone()
    return (above[0].id if above else None), below


def choose_pool(svc: Dns, caller: Caller, attributes: dict[str, str]) -> Pool:
    """The pool a new zone goes to. PoolNotFound, Forbidden."""
    wanted = attributes.get("pool_id")
    if wanted is None:
        return svc.default_pool
    if wanted not in svc.pools:
        raise errors.PoolNotFound()
    if not caller.force_pool:
        raise Forbidden("Only administrators choose a zone's pool.")
    return svc.pools[wanted]


def _check_kind(type_: str, email: str | None, masters: list[str]) -> None:
    if type_ == PRIMARY:
        if email is None:
            raise InvalidField("email", "is a required property")
        if masters:
            raise InvalidField("masters", "only SECONDARY zones have masters")
    elif not masters:
        raise InvalidField("masters", "is a required property of SECONDARY zones")
    if email is not None and not names.is_email(email):
        raise InvalidField("email", f"{email!r} is not an email address")


@retried
def create(
    svc: Dns,
    caller: Caller,
    *,
    name: str,
    type: str = PRIMARY,
    email: str | None = None,
    ttl: int | None = None,
    description: str | None = None,
    attributes: dict[str, str] | None = None,
    masters: list[str] | None = None,
) -> Zone:
    """Store a zone with its SOA and NS records and send it to the servers of its pool.

    InvalidZoneName, IllegalChildZone, IllegalParentZone, DuplicateZone, OverQuota.
    """
    with svc.db.write() as conn:
        return create_in(
            svc, conn, caller, name=name, type=type, email=email, ttl=ttl, description=description,
            attributes=attributes, masters=masters,
        )  # fmt: skip


def create_in(svc: Dns, conn: Connection, caller: Caller, **given: Any) -> Zone:
    """The same within the caller's transaction. internal: the service's own zone; no quota, no TLD list."""
    project_id = caller.project_id
    if project_id is None:
        raise errors.MissingProject()
    name, kind, masters = given["name"].lower(), given.get("type") or PRIMARY, given.get("masters") or []
    attributes, options = given.get("attributes") or {}, svc.conf.dns
    _check_kind(kind, given.get("email"), masters)
    if not given.get("internal"):
        _check_name(svc, conn, caller, name)
    check_ttl(svc, caller, given.get("ttl"))
    if db.NOUN.get(conn, name=name) is not None:
        raise errors.DuplicateZone()
    parent_id, below = _check_relatives(conn, project_id, name)
    pool = choose_pool(svc, caller, attributes)
    limit = -1 if given.get("internal") else quotas.limits(svc, conn, project_id)["zones"]
    if not db.claim(conn, project_id, limit):
        raise errors.OverQuota(resource="zones", limit=limit)
    try:
        zone = db.NOUN.insert(
            conn,
            project_id=project_id,
            pool_id=pool.id,
            name=name,
            reverse_name=db.reverse(name),
            type=kind,
            email=given.get("email") or svc.conf.sink.ptr_email,
            description=given.get("description"),
            ttl=options.default_ttl if given.get("ttl") is None else given["ttl"],
            refresh=options.soa_refresh,
            retry=options.soa_retry,
            expire=options.soa_expire,
            minimum=options.soa_minimum,
            serial=1 if kind == SECONDARY else db.next_serial(0),
            status=states.ZONE.initial,
            action=states.CREATE,
            attributes=attributes,
            masters=masters,
            parent_zone_id=parent_id,
            transfer_due_at=utcnow() if kind == SECONDARY else None,
        )
    except Duplicate:
        raise errors.DuplicateZone() from None
    for child in below:
        if child.parent_zone_id == parent_id:
            db.NOUN.update(conn, child.id, {"parent_zone_id": zone.id})
    db.catalog_changed(conn, pool.id)
    if kind == PRIMARY:
        shared = {"zone_id": zone.id, "project_id": project_id, "name": name, "managed": True, "serial": zone.serial,
                  "action": states.CREATE}  # fmt: skip
        db_recordsets.insert(conn, **shared, type="SOA", records=[changes.soa(svc, zone)])
        db_recordsets.insert(conn, **shared, type="NS", records=list(pool.ns_records))
        changes.start_push(conn, caller.ctx, zone)
    else:
        start_transfer(conn, caller, zone)
    return zone


@retried
def update(svc: Dns, caller: Caller, zone_id: str, **values: Any) -> Zone:
    """Change email, ttl, description or masters, and send the zone to its servers."""
    with svc.db.write() as conn:
        zone = editable(conn, caller, zone_id)
        if "masters" in values and zone.type != SECONDARY:
            raise InvalidField("masters", "only SECONDARY zones have masters")
        if zone.type == SECONDARY and not values.keys() <= {"masters", "description"}:
            raise BadRequest("Only the masters and the description of a SECONDARY zone can be changed.")
        if values.get("email") is not None and not names.is_email(values["email"]):
            raise InvalidField("email", f"{values['email']!r} is not an email address")
        check_ttl(svc, caller, values.get("ttl"))
        if zone.type == SECONDARY:
            db.NOUN.update(conn, zone_id, {**values, "version": zone.version + 1})
            if "masters" in values:
                start_transfer(conn, caller, zone)
            return find(conn, caller, zone_id)
        changed = changes.bump(svc, conn, caller.ctx, zone, **values)
        if changed.ttl != zone.ttl:
            for recordset in db_recordsets.in_zone(conn, zone_id):
                if recordset.ttl is None and recordset.type != "SOA" and recordset.action != states.DELETE:
                    db_recordsets.changed(conn, recordset.id, recordset.action_after_change, changed.serial, {})
        return find(conn, caller, zone_id)


@retried
def delete(svc: Dns, caller: Caller, zone_id: str) -> Zone:
    """Take a zone from its servers, then forget it. ZoneHasSubZone, ZoneIsShared. Repeating it is fine."""
    with svc.db.write() as conn:
        zone = find(conn, caller, zone_id, lock=True, own=True)
        if any(db.NOUN.all(conn, parent_zone_id=zone_id)):
            raise errors.ZoneHasSubZone()
        if db_nouns.SHARE.all(conn, zone_id=zone_id):
            if not caller.delete_shares:
                raise errors.ZoneIsShared()
            db_nouns.SHARE.delete(conn, zone_id=zone_id)
        if zone.action != states.DELETE:
            from aerie_dns.flows.zone_transfer import ZONE_TRANSFER

            flow.cancel(conn, zone_id, [ZONE_TRANSFER.kind])
            serial = db.next_serial(zone.serial)
            db.changed(conn, zone, states.DELETE, {"serial": serial, "version": zone.version + 1})
            db_recordsets.all_deleted(conn, zone_id, serial)
            db.catalog_changed(conn, zone.pool_id)
        changes.start_push(conn, caller.ctx, zone, hard=caller.hard_delete)
        return find(conn, caller, zone_id)


@retried
def abandon(svc: Dns, caller: Caller, zone_id: str) -> None:
    """Forget a zone and leave it on its servers."""
    with svc.db.write() as conn:
        zone = find(conn, caller, zone_id, lock=True)
        flow.cancel(conn, zone_id)
        remove(conn, zone)


def remove(conn: Connection, zone: Zone) -> None:
    """Forget a zone, whose row is held, with all that belongs to it."""
    for child in db.NOUN.all(conn, parent_zone_id=zone.id):
        db.NOUN.update(conn, child.id, {"parent_zone_id": zone.parent_zone_id})
    if db.NOUN.delete(conn, id=zone.id):
        db.release(conn, zone.project_id)
        db.catalog_changed(conn, zone.pool_id)


@retried
def transfer(svc: Dns, caller: Caller, zone_id: str) -> None:
    """Fetch a SECONDARY zone from its masters now."""
    with svc.db.write() as conn:
        zone = editable(conn, caller, zone_id)
        if zone.type != SECONDARY:
            raise BadRequest("Can't XFR a non Secondary zone.")
        start_transfer(conn, caller, zone)


def start_transfer(conn: Connection, caller: Caller, zone: Zone) -> None:
    """See to it that a flow will fetch the zone from its masters."""
    from aerie_dns.flows.zone_transfer import ZONE_TRANSFER

    if not flow.list_flows(conn, states=flow.ACTIVE, subject_id=zone.id, kinds=[ZONE_TRANSFER.kind], limit=1):
        flow.start(conn, ZONE_TRANSFER, zone.id, {}, caller.ctx, project_id=zone.project_id)
    else:
        flow.wake(conn, zone.id)
