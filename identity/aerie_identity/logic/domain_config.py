# SPDX-License-Identifier: Apache-2.0
"""Configuration of single domains (where a domain's users live), kept in the database.

Only the groups and options below can be set; secrets are stored encrypted, used, and never shown or logged.
Invariant: where a domain's users begin to live elsewhere, the tokens of those who had been its users end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden, NotFound
from aerie_identity.db import tables as t
from aerie_identity.drivers.ldap_options import LdapOptions
from aerie_identity.logic.credential_box import seal_option, unseal_option
from aerie_identity.logic.projects import load_domain

if TYPE_CHECKING:
    from aerie_identity.container import Identity

Config = dict[str, dict[str, Any]]
_o = t.domain_options.c

DEFAULTS: Config = {
    "identity": {"driver": "sql", "list_limit": None},
    "ldap": {
        "url": "ldap://localhost",
        "user": None,
        "suffix": "cn=example,cn=com",
        "query_scope": "one",
        "page_size": 0,
        "randomize_urls": False,
        "connection_timeout": -1,
        "alias_dereferencing": "default",
        "debug_level": None,
        "chase_referrals": None,
        "user_tree_dn": None,
        "user_filter": None,
        "user_objectclass": "inetOrgPerson",
        "user_id_attribute": "cn",
        "user_name_attribute": "sn",
        "user_description_attribute": "description",
        "user_mail_attribute": "mail",
        "user_pass_attribute": "userPassword",
        "user_enabled_attribute": "enabled",
        "user_enabled_invert": False,
        "user_enabled_mask": 0,
        "user_enabled_default": "True",
        "user_attribute_ignore": ["default_project_id"],
        "user_default_project_id_attribute": None,
        "user_enabled_emulation": False,
        "user_enabled_emulation_dn": None,
        "user_enabled_emulation_use_group_config": False,
        "user_additional_attribute_mapping": [],
        "group_tree_dn": None,
        "group_filter": None,
        "group_objectclass": "groupOfNames",
        "group_id_attribute": "cn",
        "group_name_attribute": "ou",
        "group_member_attribute": "member",
        "group_members_are_ids": False,
        "group_desc_attribute": "description",
        "group_attribute_ignore": [],
        "group_additional_attribute_mapping": [],
        "group_ad_nesting": False,
        "tls_cacertfile": None,
        "tls_cacertdir": None,
        "use_tls": False,
        "tls_req_cert": "demand",
        "use_pool": True,
        "pool_size": 10,
        "pool_retry_max": 3,
        "pool_retry_delay": 0.1,
        "pool_connection_timeout": -1,
        "pool_connection_lifetime": 600,
        "use_auth_pool": True,
        "auth_pool_size": 100,
        "auth_pool_connection_lifetime": 60,
    },
}
SECRETS = {"ldap": {"password"}}
SQL = "sql"


def _check_names(group: str, option: str | None = None) -> None:
    if group not in DEFAULTS:
        raise Forbidden(f"The group {group} cannot be configured for a domain.")
    if option is not None and option not in DEFAULTS[group] and option not in SECRETS.get(group, ()):
        raise Forbidden(f"The option {option} of group {group} cannot be configured for a domain.")


def _check(config: Config, group: str | None, option: str | None) -> None:
    """What is sent must lie within the part that the address names."""
    if not config:
        raise BadRequest("The configuration is empty.")
    for name, options in config.items():
        if not isinstance(options, dict) or not options:
            raise BadRequest(f"The group {name} must be an object with options.")
        if group is not None and name != group or option is not None and set(options) != {option}:
            raise BadRequest("The body names other options than the address.")
        _check_names(name)
        for each in options:
            _check_names(name, each)


def _check_meaning(config: Config) -> None:
    """Options of a directory in use must mean something. What is not finished (options may come one by one), or not
    in use, or of a driver that this cloud does not have, is kept as it comes, as Keystone does: a domain whose
    directory cannot be used says so in the log, one without a directory has its users in the database."""
    if config.get("identity", {}).get("driver") != "ldap":
        return
    options = {name: value for name, value in config.get("ldap", {}).items() if name not in SECRETS["ldap"]}
    if not str(options.get("url", "")).lower().startswith("ldap"):
        options.pop("url", None)
    options["suffix"] = options.get("suffix") or "dc=not,dc=finished"
    try:
        LdapOptions.parse(options)
    except ValueError as e:
        raise BadRequest(f"The group ldap cannot be used: {e}.") from None


def encrypt_all(svc: Identity, conn: sa.Connection) -> int:
    """Encrypt all secrets with the primary key; how many there are."""
    count = 0
    for row in list(conn.execute(sa.select(t.domain_options))):
        if row.option in SECRETS.get(row.group, ()):
            value = seal_option(svc.credential_box, unseal_option(svc.credential_box, row.value))
            where = [_o.domain_id == row.domain_id, _o.group == row.group, _o.option == row.option]
            where.append(_o.value == row.value)  # one that changed meanwhile is encrypted with the primary key already
            conn.execute(sa.update(t.domain_options).where(*where).values(value=value))
            count += 1
    return count


def read(conn: sa.Connection, domain_id: str) -> Config:
    """All that is set for a domain; secrets as they are stored."""
    found: Config = {}
    for row in conn.execute(sa.select(t.domain_options).where(_o.domain_id == domain_id).order_by(_o.group, _o.option)):
        found.setdefault(row.group, {})[row.option] = row.value
    return found


def _shown(config: Config) -> Config:
    """Without secrets."""
    return {
        group: {name: value for name, value in options.items() if name not in SECRETS.get(group, ())}
        for group, options in config.items()
    }


def _part(config: Config, group: str | None, option: str | None) -> dict[str, Any]:
    """The configuration, one group of it, or one option. Raises NotFound."""
    if group is None:
        if not config:
            raise NotFound("There is no configuration for the domain.")
        return config
    if group not in config:
        raise NotFound(f"The group {group} is not set for the domain.")
    if option is None:
        return {group: config[group]}
    if option not in config[group]:
        raise NotFound(f"The option {option} of group {group} is not set for the domain.")
    return {option: config[group][option]}


def show(svc: Identity, domain_id: str, group: str | None, option: str | None) -> dict[str, Any]:
    if group is not None:
        _check_names(group, option)
    with svc.db.read() as conn:
        load_domain(conn, domain_id)
        return _part(_shown(read(conn, domain_id)), group, option)


def security_compliance(svc: Identity, domain_id: str, option: str | None) -> dict[str, Any]:
    """What everybody may know about passwords before choosing one; it is configured for the default domain alone."""
    conf = svc.conf.security_compliance
    with svc.db.read() as conn:
        load_domain(conn, domain_id)
    if domain_id != svc.conf.identity.default_domain_id:
        raise Forbidden("What passwords must look like can be read for the default domain only.")
    told = {name: conf[name] for name in ("password_regex", "password_regex_description")}
    if option is not None and option not in told:
        raise Forbidden(f"The option {option} of group security_compliance cannot be read.")
    return {"security_compliance": told} if option is None else {option: told[option]}


def default(group: str | None, option: str | None) -> dict[str, Any]:
    if group is not None:
        _check_names(group, option)
    return _part(DEFAULTS, group, option)


@retried
def replace(svc: Identity, ctx: Context, domain_id: str, config: Config) -> tuple[Config, bool]:
    """Set the whole configuration; True when there was none."""
    _check(config, None, None)
    with svc.db.write() as conn:
        load_domain(conn, domain_id)
        before = read(conn, domain_id)
        conn.execute(sa.delete(t.domain_options).where(_o.domain_id == domain_id))
        _insert(svc, conn, domain_id, config)
        return _shown(_settle(svc, conn, domain_id, before)), not before


def _settle(svc: Identity, conn: sa.Connection, domain_id: str, before: Config) -> Config:
    """After a change: what is set now, which must make sense. Whoever remembers the former is told."""
    now = read(conn, domain_id)
    _check_meaning(now)
    if (now.get("identity", {}).get("driver") or SQL) != (before.get("identity", {}).get("driver") or SQL):
        users = t.users.c
        conn.execute(sa.update(t.users).where(users.domain_id == domain_id).values(tokens_since=utcnow()))
    svc.epoch.bump(conn)
    return now


def _insert(svc: Identity, conn: sa.Connection, domain_id: str, config: Config) -> None:
    def stored(group: str, option: str, value: Any) -> Any:
        secret = option in SECRETS.get(group, ()) and value is not None
        return seal_option(svc.credential_box, value) if secret else value

    rows = [
        {"domain_id": domain_id, "group": group, "option": option, "value": stored(group, option, value)}
        for group, options in config.items()
        for option, value in options.items()
    ]
    conn.execute(sa.insert(t.domain_options), rows)


@retried
def update(
    svc: Identity, ctx: Context, domain_id: str, group: str | None, option: str | None, sent: dict[str, Any]
) -> dict[str, Any]:
    """Put options over those that are set; the part named by the address must be there already."""
    config: Config = {group: sent} if group is not None and option is not None else sent
    if group is not None:
        _check_names(group, option)
    _check(config, group, option)
    with svc.db.write() as conn:
        load_domain(conn, domain_id)
        before = read(conn, domain_id)
        _part(before, group, option)
        for name, options in config.items():
            where = (_o.domain_id == domain_id, _o.group == name, _o.option.in_(list(options)))
            conn.execute(sa.delete(t.domain_options).where(*where))
        _insert(svc, conn, domain_id, config)
        return _part(_shown(_settle(svc, conn, domain_id, before)), None, None)


@retried
def delete(svc: Identity, ctx: Context, domain_id: str, group: str | None, option: str | None) -> None:
    if group is not None:
        _check_names(group, option)
    with svc.db.write() as conn:
        load_domain(conn, domain_id)
        before = read(conn, domain_id)
        _part(before, group, option)
        where = [_o.domain_id == domain_id]
        where += [_o.group == group] if group else []
        where += [_o.option == option] if option else []
        conn.execute(sa.delete(t.domain_options).where(*where))
        _settle(svc, conn, domain_id, before)
