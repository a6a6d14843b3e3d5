# SPDX-License-Identifier: Apache-2.0
"""Security groups: a default group for every project, rules that are said once, templates for new groups."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.listing import Listing
from aerie_network.container import NetworkService
from aerie_network.db import security_groups as db
from aerie_network.db import tables
from aerie_network.db.query import Page
from aerie_network.db.security_groups import DefaultRule, Rule, SecurityGroup
from aerie_network.errors import (
    AddressGroupNotFound,
    DefaultSecurityGroupRuleExists,
    InvalidInput,
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupEthertypeConflictWithProtocol,
    SecurityGroupInUse,
    SecurityGroupInvalidIcmpValue,
    SecurityGroupInvalidPortRange,
    SecurityGroupInvalidPortValue,
    SecurityGroupInvalidProtocolForPort,
    SecurityGroupMissingIcmpType,
    SecurityGroupNotFound,
    SecurityGroupRemoteGroupAndRemoteIpPrefix,
    SecurityGroupRuleExists,
    SecurityGroupRuleInvalidEtherType,
    SecurityGroupRuleInvalidProtocol,
    SecurityGroupRuleParameterConflict,
    SecurityGroupsStatefulInUse,
)
from aerie_network.logic import grants, guard
from aerie_network.logic.work import Work, change, changed, privileged, scope
from aerie_network.schemas import security_groups as schema

# Names as clients write them -> IANA numbers; the names without a comment are what is stored.
PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "igmp": 2, "ipip": 4, "ipv6-encap": 41,
    "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89,
    "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
_WITH_PORTS = {6, 17, 33, 132, 136}
_ICMP = {1, 58}
_ONLY_IPV6 = {41, 43, 44, 58, 59, 60}  # encapsulation, routing, fragment, ICMPv6, no next header, options
ETHERTYPES = ("IPv4", "IPv6")
PARENT = "PARENT"


# ---------------------------------------------------------------------------------------------- default group


def ensure_default(work: Work, project_id: str) -> str | None:
    """The id of the project's default group, made now if it has none; None for objects that are nobody's."""
    if not project_id:
        return None
    found = db.default_id(work.conn, project_id)
    if found is not None:
        return found
    return _make_default(work, project_id)


def _make_default(work: Work, project_id: str) -> str:
    group_id = new_id()
    row = _group_row(
        group_id,
        {"project_id": project_id, "name": "default", "description": "Default security group", "stateful": True},
    )
    db.STORE.insert(work.conn, row)
    if not db.claim_default(work.conn, project_id, group_id):  # somebody else has just made it
        db.STORE.delete(work.conn, group_id)
        return str(db.default_id(work.conn, project_id))
    rules = _template_rules(work, row, default=True)
    work.charge(project_id, "security_group", force=True)
    work.charge(project_id, "security_group_rule", len(rules), force=True)
    return group_id


@retried
def touch(svc: NetworkService, ctx: Context, project_id: str | None = None) -> None:
    """See to it that the project has its default group."""
    wanted = project_id or ctx.project_id or ""
    if not wanted:
        return
    guard.check_project_id(wanted)
    with svc.db.read() as conn:
        if db.default_id(conn, wanted) is not None:
            return
    with change(svc, ctx) as work:
        ensure_default(work, wanted)


def _group_row(group_id: str, values: dict[str, Any]) -> dict[str, Any]:
    now = utcnow()
    return {"id": group_id, "revision_number": 1, "created_at": now, "updated_at": now, **values}


def _template_rules(work: Work, group: dict[str, Any], *, default: bool) -> list[Rule]:
    """The rules a new group starts with."""
    t = tables.default_security_group_rules
    flag = t.c.used_in_default_sg if default else t.c.used_in_non_default_sg
    templates = [dict(row._mapping) for row in work.conn.execute(sa.select(t).where(flag.is_(sa.true())))]
    if not templates and work.conn.execute(sa.select(sa.func.count()).select_from(t)).scalar() == 0:
        seed_templates(work.conn)
        return _template_rules(work, group, default=default)
    rows: dict[str, dict[str, Any]] = {}
    for template in templates:
        remote = template["remote_group_id"]
        values = {
            name: template[name]
            for name in ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix",
                         "remote_address_group_id", "description")
        }  # fmt: skip
        values["remote_group_id"] = group["id"] if remote == PARENT else remote
        if not _remotes_gone(work.conn, group["id"], values):
            row = _rule_row(group["id"], group["project_id"], values)
            rows.setdefault(row["digest"], row)
    if rows:
        db.RULES.insert(work.conn, *rows.values())
    return [Rule(**row) for row in rows.values()]


def _remotes_gone(conn: sa.Connection, group_id: str, template: dict[str, Any]) -> bool:
    """Does a template name a group that has been deleted since?"""
    remote, addresses = template["remote_group_id"], template["remote_address_group_id"]
    if remote and remote != group_id and db.STORE.find(conn, remote) is None:
        return True
    return bool(addresses) and db.ADDRESS_GROUPS.find(conn, addresses) is None


def seed_templates(conn: sa.Connection) -> None:
    """The templates of a new cloud: everything may leave; members of the default group reach one another."""
    now = utcnow()
    common = {
        "protocol": None, "port_range_min": None, "port_range_max": None, "remote_address_group_id": None,
        "remote_ip_prefix": None, "revision_number": 0, "created_at": now, "updated_at": now,
    }  # fmt: skip
    rows = []
    for ethertype in ETHERTYPES:
        rows.append({
            "id": new_id(), "direction": "egress", "ethertype": ethertype, "remote_group_id": None,
            "used_in_default_sg": True, "used_in_non_default_sg": True,
            "description": "Legacy default SG rule for egress traffic", **common,
        })  # fmt: skip
        rows.append({
            "id": new_id(), "direction": "ingress", "ethertype": ethertype, "remote_group_id": PARENT,
            "used_in_default_sg": True, "used_in_non_default_sg": False,
            "description": "Legacy default SG rule for ingress traffic", **common,
        })  # fmt: skip
    conn.execute(sa.insert(tables.default_security_group_rules), rows)


# ----------------------------------------------------------------------------------------------------- groups


def _scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, db.visible(ctx.project_id))


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[SecurityGroup]:
    """The groups the caller may see. The first look makes the default group of the project that is looked at."""
    touch(svc, ctx)
    if privileged(ctx):
        for project in listing.filters.get("project_id", ()) + listing.filters.get("tenant_id", ()):
            touch(svc, ctx, project)
    with svc.db.read() as conn:
        return db.STORE.page(conn, listing, *_scope(ctx))


def show(svc: NetworkService, ctx: Context, group_id: str) -> SecurityGroup:
    """One group with its rules. Raises SecurityGroupNotFound."""
    with svc.db.read() as conn:
        return db.STORE.get(conn, group_id, *_scope(ctx))


@retried
def create(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[SecurityGroup]:
    """Make groups with the templates' rules. OverQuota, SecurityGroupDefaultAlreadyExists."""
    made = []
    with change(svc, ctx) as work:
        for values in requests:
            if values["name"].lower() == "default":
                raise SecurityGroupDefaultAlreadyExists()
            ensure_default(work, values["project_id"])
            row = _group_row(new_id(), values)
            db.STORE.insert(work.conn, row)
            rules = _template_rules(work, row, default=False)
            work.charge(row["project_id"], "security_group")
            work.charge(row["project_id"], "security_group_rule", len(rules))
            group = SecurityGroup(**row, rules=tuple(rules))
            made.append(group)
            work.notify("security_group.create.end", {"security_group": _shown(group)})
    return made


def _shown(group: SecurityGroup) -> dict[str, Any]:
    return schema.SECURITY_GROUP.show(group, guard.EVERYTHING)


@retried
def update(
    svc: NetworkService, ctx: Context, group_id: str, values: dict[str, Any], revision: int | None
) -> SecurityGroup:
    """Change a group's name, description or statefulness."""
    with change(svc, ctx) as work:
        before = db.STORE.get(work.conn, group_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_security_group", before)
        guard.check_revision(before, revision)
        new = changed(before, values)
        if "name" in new:
            if db.is_default(work.conn, group_id):
                raise SecurityGroupCannotUpdateDefault()
            if new["name"].lower() == "default":
                raise SecurityGroupDefaultAlreadyExists()
        if "stateful" in new and db.in_use(work.conn, group_id):
            raise SecurityGroupsStatefulInUse(id=group_id)
        if new:
            db.STORE.update(work.conn, group_id, new)
        group = db.STORE.get(work.conn, group_id)
        work.notify("security_group.update.end", {"security_group": _shown(group)})
    return group


@retried
def delete(svc: NetworkService, ctx: Context, group_id: str) -> None:
    """Delete a group with its rules, and the rules that name it. SecurityGroupInUse while a port has it."""
    with change(svc, ctx) as work:
        conn = work.conn
        group = db.STORE.get(conn, group_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "delete_security_group", group)
        if db.in_use(conn, group_id):
            raise SecurityGroupInUse(id=group_id)
        if db.is_default(conn, group_id) and not privileged(ctx):
            raise SecurityGroupCannotRemoveDefault()
        for project_id, count in db.rule_count(conn, group_id).items():
            work.charge(project_id, "security_group_rule", -count)
        # Rules elsewhere that name this group go with it: their groups' hosts must hear of it.
        for other in conn.execute(
            sa.select(tables.security_group_rules.c.security_group_id)
            .where(tables.security_group_rules.c.remote_group_id == group_id)
            .distinct()
        ).scalars():
            work.rules(other, dropped=group_id)
        t = tables
        grants.forget(work, group_id)
        conn.execute(sa.delete(t.tags).where(t.tags.c.resource_id == group_id))
        try:
            db.STORE.delete(conn, group_id)
        except db_exc.DBReferenceError as e:  # a port has just taken it
            raise SecurityGroupInUse(id=group_id) from e
        work.charge(group.project_id, "security_group", -1)
        work.notify("security_group.delete.end", {"security_group_id": group_id, "security_group": _shown(group)})


# ------------------------------------------------------------------------------------------------------ rules


def protocol_number(protocol: str | None) -> int | None:
    """The IANA number of a protocol as stored; None for any. ValueError when there is no such protocol."""
    if protocol is None:
        return None
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _protocol(value: Any) -> str | None:
    """A protocol as it is stored: a known name, or a number as text."""
    if value is None or value == "" or str(value).lower() == "any":
        return None
    text = str(value).lower()
    if text in PROTOCOLS:
        return text
    if text.isascii() and text.isdigit() and 0 <= int(text) <= 255:
        return None if int(text) == 0 else str(int(text))
    raise SecurityGroupRuleInvalidProtocol(protocol=value)


def _number(value: Any, low: int) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except ValueError:
        raise SecurityGroupInvalidPortValue(port=value) from None
    if not low <= number <= 65535:
        raise SecurityGroupInvalidPortValue(port=value)
    return number


def normalise_rule(values: dict[str, Any]) -> dict[str, Any]:
    """A rule's values as they are stored. Raises the refusal that names what is wrong with them."""
    rule = dict(values)
    wanted = str(rule.get("ethertype") or "IPv4")
    ethertype = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(wanted.lower())
    if ethertype is None:
        raise SecurityGroupRuleInvalidEtherType(ethertype=wanted, values=list(ETHERTYPES))
    rule["ethertype"] = ethertype
    protocol = rule["protocol"] = _protocol(rule.get("protocol"))
    number = protocol_number(protocol)
    if number in _ONLY_IPV6 and ethertype == "IPv4":
        raise SecurityGroupEthertypeConflictWithProtocol(ethertype=ethertype, protocol=protocol)
    low = 0 if number in _ICMP else 1
    first = rule["port_range_min"] = _number(rule.get("port_range_min"), low if number != 0 else 0)
    last = rule["port_range_max"] = _number(rule.get("port_range_max"), low)
    if first is not None or last is not None:
        if number in _ICMP:
            for name, attr, value in (("type", "port_range_min", first), ("code", "port_range_max", last)):
                if value is not None and value > 255:
                    raise SecurityGroupInvalidIcmpValue(field=name, attr=attr, value=value)
            if first is None:
                raise SecurityGroupMissingIcmpType(value=last)
        elif number in _WITH_PORTS:
            if first is None or last is None or first > last:
                raise SecurityGroupInvalidPortRange()
        else:
            raise SecurityGroupInvalidProtocolForPort(protocol=protocol)
    remotes = [rule.get(name) for name in ("remote_ip_prefix", "remote_group_id", "remote_address_group_id")]
    if sum(1 for remote in remotes if remote) > 1:
        raise SecurityGroupRemoteGroupAndRemoteIpPrefix()
    rule["remote_group_id"], rule["remote_address_group_id"] = remotes[1] or None, remotes[2] or None
    rule["remote_ip_prefix"] = rule["normalized_cidr"] = None
    if prefix := remotes[0]:
        try:
            network = ipaddress.ip_network(prefix, strict=False)
        except ValueError:
            raise InvalidInput(error_message=f"'{prefix}' is not a valid CIDR") from None
        if f"IPv{network.version}" != ethertype:
            raise SecurityGroupRuleParameterConflict(ethertype=ethertype, cidr=prefix)
        rule["normalized_cidr"] = str(network)
        rule["remote_ip_prefix"] = prefix if "/" in prefix else str(network)
    return rule


def digest(rule: dict[str, Any]) -> str:
    """What makes a rule the same as another: two rules with the same effect have the same digest."""
    cidr = rule["normalized_cidr"]
    if cidr in ("0.0.0.0/0", "::/0"):
        cidr = None
    parts = (
        rule["direction"], rule["ethertype"], protocol_number(rule["protocol"]), rule["port_range_min"],
        rule["port_range_max"], rule["remote_group_id"], rule["remote_address_group_id"], cidr,
    )  # fmt: skip
    return "|".join("" if part is None else str(part) for part in parts)


def _rule_row(group_id: str, project_id: str, values: dict[str, Any]) -> dict[str, Any]:
    rule = normalise_rule(values)
    now = utcnow()
    return {
        "id": new_id(),
        "project_id": project_id,
        "security_group_id": group_id,
        "revision_number": 0,
        "created_at": now,
        "updated_at": now,
        "description": rule.get("description") or "",
        **{name: rule[name] for name in (
            "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_group_id",
            "remote_address_group_id", "remote_ip_prefix", "normalized_cidr",
        )},
        "digest": digest(rule),
    }  # fmt: skip


def rules_page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[Rule]:
    """The rules the caller may see."""
    touch(svc, ctx)
    with svc.db.read() as conn:
        return db.RULES.page(conn, listing, *scope(ctx, db.rules_visible(ctx.project_id)))


def show_rule(svc: NetworkService, ctx: Context, rule_id: str) -> Rule:
    """One rule. Raises SecurityGroupRuleNotFound."""
    with svc.db.read() as conn:
        return db.RULES.get(conn, rule_id, *scope(ctx, db.rules_visible(ctx.project_id)))


@retried
def create_rules(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[Rule]:
    """Add rules, all or none. SecurityGroupRuleExists names the rule that says the same already."""
    rows = []
    for values in requests:
        rows.append(_rule_row(values["security_group_id"], values["project_id"], values))
    by_group: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_group.setdefault(row["security_group_id"], []).append(row)
    with change(svc, ctx) as work:
        conn = work.conn
        for group_id, wanted in by_group.items():
            _check_group(work, ctx, group_id)
            digests = {row["digest"] for row in wanted}
            if found := db.find_digest(conn, group_id, digests):
                raise SecurityGroupRuleExists(id=found)
            if len(digests) < len(wanted):
                raise SecurityGroupRuleExists(id=wanted[0]["id"])
            _check_remotes(work, ctx, wanted)
        try:
            db.RULES.insert(conn, *rows)
        except db_exc.DBDuplicateEntry:  # somebody else has just said the same
            raise SecurityGroupRuleExists(id="unknown") from None
        for group_id, wanted in by_group.items():
            db.STORE.update(conn, group_id)
            work.rules(group_id)
            for row in wanted:
                work.charge(row["project_id"], "security_group_rule")
        made = [Rule(**row) for row in rows]
        for rule in made:
            work.notify("security_group_rule.create.end", {"security_group_rule": schema.show_rule(rule)})
    return made


def _check_group(work: Work, ctx: Context, group_id: str) -> None:
    """The group exists and is the caller's."""
    t = tables.security_groups.c
    row = work.conn.execute(sa.select(t.project_id).where(t.id == group_id, *_scope(ctx))).first()
    if row is None:
        raise SecurityGroupNotFound(id=group_id)
    work.svc.policy.check(ctx, "create_security_group_rule", {"project_id": row[0], "tenant_id": row[0]})


def _check_remotes(work: Work, ctx: Context, rows: list[dict[str, Any]]) -> None:
    """The groups that rules name exist and may be named."""
    named = {row["remote_group_id"] for row in rows if row["remote_group_id"]}
    named -= {row["security_group_id"] for row in rows}
    if named and (missing := named - db.usable(work.conn, named, *_scope(ctx))):
        raise SecurityGroupNotFound(id=min(missing))
    for address_group in {row["remote_address_group_id"] for row in rows if row["remote_address_group_id"]}:
        if db.ADDRESS_GROUPS.find(work.conn, address_group) is None:
            raise AddressGroupNotFound(id=address_group)


@retried
def delete_rule(svc: NetworkService, ctx: Context, rule_id: str) -> None:
    """Take a rule away."""
    with change(svc, ctx) as work:
        rule = db.RULES.get(work.conn, rule_id, *scope(ctx, db.rules_visible(ctx.project_id)))
        t = tables.security_groups.c
        owner = work.conn.execute(sa.select(t.project_id).where(t.id == rule.security_group_id)).scalar()
        svc.policy.check(ctx, "delete_security_group_rule", {"project_id": owner, "tenant_id": owner})
        db.RULES.delete(work.conn, rule_id)
        work.conn.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id == rule_id))
        db.STORE.update(work.conn, rule.security_group_id)
        work.rules(rule.security_group_id, dropped=rule.remote_group_id or rule.remote_address_group_id)
        work.charge(rule.project_id, "security_group_rule", -1)
        work.notify("security_group_rule.delete.end", {"security_group_rule_id": rule_id})


# -------------------------------------------------------------------------------------------------- templates


def default_rules_page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[DefaultRule]:
    """The templates of new groups' rules."""
    _ensure_templates(svc)
    with svc.db.read() as conn:
        return db.DEFAULT_RULES.page(conn, listing)


def show_default_rule(svc: NetworkService, ctx: Context, rule_id: str) -> DefaultRule:
    """One template."""
    with svc.db.read() as conn:
        return db.DEFAULT_RULES.get(conn, rule_id)


@retried
def _ensure_templates(svc: NetworkService) -> None:
    count = sa.select(sa.func.count()).select_from(tables.default_security_group_rules)
    with svc.db.read() as conn:
        if conn.execute(count).scalar():
            return
    with svc.db.write() as conn:
        if not conn.execute(count).scalar():
            seed_templates(conn)


@retried
def create_default_rules(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[DefaultRule]:
    """Add templates. SecurityGroupNotFound, AddressGroupNotFound for groups that they name."""
    _ensure_templates(svc)
    now = utcnow()
    rows = []
    for values in requests:
        remote = values.get("remote_group_id")
        rule = normalise_rule({**values, "remote_group_id": remote})
        rule.pop("normalized_cidr")
        rows.append({
            **rule, "id": new_id(), "description": values.get("description") or "", "revision_number": 0,
            "created_at": now, "updated_at": now,
        })  # fmt: skip
    with svc.db.write() as conn:
        _check_template_is_new(db.DEFAULT_RULES.all(conn), rows)
        for row in rows:
            if (remote := row["remote_group_id"]) and remote != PARENT:
                db.STORE.get(conn, remote)
            if row["remote_address_group_id"]:
                db.ADDRESS_GROUPS.get(conn, row["remote_address_group_id"])
        db.DEFAULT_RULES.insert(conn, *rows)
    return [DefaultRule(**row) for row in rows]


def _check_template_is_new(present: Sequence[DefaultRule], rows: Sequence[dict[str, Any]]) -> None:
    """A group of one kind is made of a rule once, however many other kinds the rule is for."""
    kinds = ("used_in_default_sg", "used_in_non_default_sg")
    seen = {(digest(normalise_rule(asdict(rule))), kind): rule.id for rule in present for kind in kinds
            if getattr(rule, kind)}  # fmt: skip
    for row in rows:
        said = digest(normalise_rule(row))
        for kind in kinds:
            if row[kind] and (same := seen.setdefault((said, kind), row["id"])) != row["id"]:
                raise DefaultSecurityGroupRuleExists(id=same)


@retried
def delete_default_rule(svc: NetworkService, ctx: Context, rule_id: str) -> None:
    """Remove a template; groups made of it keep their rules."""
    with svc.db.write() as conn:
        db.DEFAULT_RULES.delete(conn, rule_id)
