# SPDX-License-Identifier: Apache-2.0
"""The first users, roles, projects and catalog of a cloud. Running it again repairs what is missing and changes no
more: a password is set only when a user is made or its password is another one now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import admin_context
from aerie_common.db import retried
from aerie_identity.db import tables as t
from aerie_identity.db.models import (
    ENDPOINTS,
    PROJECTS,
    REGIONS,
    ROLES,
    SERVICES,
    USERS,
    Assignment,
    Region,
    User,
)
from aerie_identity.db.users import passwords
from aerie_identity.logic import catalog, grants, projects, roles, users
from aerie_identity.logic.grants import EVERYWHERE

if TYPE_CHECKING:
    from aerie_identity.container import Identity

ROLE_CHAIN = ("admin", "manager", "member", "reader")
SERVICE_ROLE = "service"
SERVICE_NAMES = {
    "identity": ("keystone", "Identity"),
    "image": ("glance", "Images"),
    "compute": ("nova", "Compute"),
    "placement": ("placement", "Placement"),
    "network": ("neutron", "Networking"),
    "dns": ("designate", "DNS"),
}
INTERFACES = ("public", "internal", "admin")


@dataclass(frozen=True)
class Bootstrap:
    """endpoints: service type -> URL. service_users: name -> password. demo_password: also make user, project demo."""

    admin_password: str = field(repr=False)
    region: str = "RegionOne"
    endpoints: Mapping[str, str] = field(default_factory=dict)
    service_users: Mapping[str, str] = field(default_factory=dict, repr=False)
    demo_password: str | None = field(default=None, repr=False)


def default_endpoints(host: str) -> dict[str, str]:
    """The usual ports on one host."""
    return {
        "identity": f"http://{host}:5000/v3",
        "image": f"http://{host}:9292",
        "compute": f"http://{host}:8774/v2.1",
        "placement": f"http://{host}:8778",
        "network": f"http://{host}:9696",
        "dns": f"http://{host}:9001",
    }


@retried
def bootstrap(svc: Identity, wanted: Bootstrap) -> None:
    """Make what is missing, all in one transaction's worth of idempotent steps."""
    svc.token_keys.setup()
    svc.credential_keys.setup()
    if svc.conf.token.provider == "jws":
        svc.jws_keys.setup()
    domain_id = svc.conf.identity.default_domain_id
    with svc.db.read() as conn:
        has_domain = PROJECTS.get(conn, domain_id) is not None
    if not has_domain:
        values = {"explicit_domain_id": domain_id, "name": "Default", "description": "The default domain"}
        projects.create_domain(svc, admin_context(), values=values)
    by_name = _roles(svc)
    admin_project = _project(svc, domain_id, "admin", "Administrators of the cloud")
    service_project = _project(svc, domain_id, "service", "Users of the cloud's own services")
    admin = _user(svc, domain_id, "admin", wanted.admin_password)
    _grant(svc, admin, "project", admin_project, by_name["admin"])
    _grant(svc, admin, "system", EVERYWHERE, by_name["admin"])
    for name, password in wanted.service_users.items():
        user = _user(svc, domain_id, name, password)
        _grant(svc, user, "project", service_project, by_name[SERVICE_ROLE])
        _grant(svc, user, "project", service_project, by_name["admin"])
    if wanted.demo_password is not None:
        demo = _user(svc, domain_id, "demo", wanted.demo_password)
        demo_project = _project(svc, domain_id, "demo", "A project to try things in")
        _grant(svc, demo, "project", demo_project, by_name["member"])
        _grant(svc, admin, "project", demo_project, by_name["admin"])
    _catalog(svc, wanted)


def _roles(svc: Identity) -> dict[str, str]:
    ctx = admin_context()
    with svc.db.read() as conn:
        found = {role.name: role.id for role in ROLES.all(conn, t.roles.c.domain_id == t.ROOT)}
    for name in (*ROLE_CHAIN, SERVICE_ROLE):
        if name not in found:
            found[name] = roles.create(svc, ctx, {"name": name, "options": {"immutable": True}}).id
    for prior, then in zip(ROLE_CHAIN, ROLE_CHAIN[1:], strict=False):
        if found[then] not in svc.roles.get().implied.get(found[prior], ()):
            roles.imply(svc, ctx, found[prior], found[then])
    return found


def _project(svc: Identity, domain_id: str, name: str, description: str) -> str:
    with svc.db.read() as conn:
        c = t.projects.c
        found = PROJECTS.one(conn, c.domain_id == domain_id, c.name == name)
    if found is not None:
        return found.id
    values = {"name": name, "description": description}
    return projects.create(svc, admin_context(), domain_id=domain_id, values=values)[0].id


def _user(svc: Identity, domain_id: str, name: str, password: str) -> User:
    with svc.db.read() as conn:
        found = USERS.one(conn, t.users.c.domain_id == domain_id, t.users.c.name == name)
        newest = passwords(conn, found.id, 1) if found else []
    if found is None:
        values = {"name": name, "password": password, "options": {"ignore_password_expiry": True}}
        return users.create(svc, admin_context(), domain_id=domain_id, values=values)[0]
    if not newest or not svc.hasher.verify(password, newest[0].hash):
        users.update(svc, admin_context(), found.id, {"password": password})
    return found


def _grant(svc: Identity, user: User, target_type: str, target_id: str, role_id: str) -> None:
    grants.create(svc, admin_context(), Assignment("user", user.id, target_type, target_id, role_id))


def _catalog(svc: Identity, wanted: Bootstrap) -> None:
    """Region, services, and the three endpoints of each; an endpoint whose URL differs is corrected."""
    ctx = admin_context()
    with svc.db.write() as conn:
        if REGIONS.get(conn, wanted.region) is None:
            REGIONS.insert(conn, Region(wanted.region))
    for kind, url in wanted.endpoints.items():
        name, description = SERVICE_NAMES.get(kind, (kind, kind))
        with svc.db.read() as conn:
            service = SERVICES.one(conn, t.services.c.type == kind)
            c = t.endpoints.c
            where: list[sa.ColumnElement[bool]] = [c.region_id == wanted.region]
            found = ENDPOINTS.all(conn, *where, c.service_id == service.id) if service else []
        if service is None:
            service = catalog.create_service(svc, ctx, {"type": kind, "name": name, "description": description})
        have = {endpoint.interface: endpoint for endpoint in found}
        for interface in INTERFACES:
            values: dict[str, Any] = {"interface": interface, "region_id": wanted.region, "url": url}
            if interface not in have:
                catalog.create_endpoint(svc, ctx, {**values, "service_id": service.id})
            elif have[interface].url != url:
                catalog.update_endpoint(svc, ctx, have[interface].id, {"url": url})
