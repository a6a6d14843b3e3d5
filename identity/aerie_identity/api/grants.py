# SPDX-License-Identifier: Apache-2.0
"""Handlers of grants: the same four for every kind of actor and target, which the path names; and role assignments."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, flag, link, shown
from aerie_identity.db.models import Assignment
from aerie_identity.logic import grants as logic
from aerie_identity.logic.projects import domain_of
from aerie_identity.rules import target
from aerie_identity.schemas.roles import ROLE


def _grant(req: Request, path: dict[str, str]) -> Assignment:
    """What the path says: /projects|domains/{id}/users|groups/{id}/roles/{id}, /system/..., /global/..."""
    actor = "user" if "user_id" in path else "group"
    parts = req.path.strip("/").split("/")
    if "project_id" in path:
        kind, target_id = "project", path["project_id"]
    elif "domain_id" in path:
        kind, target_id = "domain", path["domain_id"]
    else:
        kind, target_id = ("system" if parts[1] == "system" else "global"), logic.EVERYWHERE
    inherited = parts[-1] == "inherited_to_projects"
    return Assignment(actor, path[f"{actor}_id"], kind, target_id, path.get("role_id", ""), inherited)


def _enforced(req: Request, path: dict[str, str]) -> Assignment:
    grant = _grant(req, path)
    found = logic.parties(req.svc, grant)
    asked = {"target.actor.domain_id": found.actor.domain_id}
    if found.target is not None:
        asked |= target("domain" if found.target.is_domain else "project", found.target)
    if found.role is not None:
        asked |= {"target.role.name": found.role.name, "target.role.domain_id": found.role.domain_id or "None"}
    req.enforce(asked)
    return grant


def create(req: Request, **path: str) -> None:
    """Grant a role."""
    logic.create(req.svc, req.ctx, _enforced(req, path))


def check(req: Request, **path: str) -> None:
    """Check that a role is granted."""
    logic.check(req.svc, _enforced(req, path))


def delete(req: Request, **path: str) -> None:
    """Take a role away."""
    logic.delete(req.svc, req.ctx, _enforced(req, path))


def list_(req: Request, **path: str) -> dict[str, Any]:
    """List the roles granted to an actor on a target."""
    grant = _enforced(req, path)
    return collection(req, "roles", [shown(req, ROLE, role) for role in logic.roles_of(req.svc, grant)])


# --------------------------------------------------------------------------------------------------- role assignments


def _query(req: Request) -> logic.Query:
    inherited_to = req.query_one("scope.OS-INHERIT:inherited_to")
    return logic.Query(
        user_id=req.query_one("user.id"),
        group_id=req.query_one("group.id"),
        role_id=req.query_one("role.id"),
        project_id=req.query_one("scope.project.id"),
        domain_id=req.query_one("scope.domain.id"),
        system="scope.system" in req.query,
        everywhere="scope.global" in req.query,
        inherited=True if inherited_to else None,
        effective=flag(req, "effective"),
        include_subtree=flag(req, "include_subtree"),
    )


def list_assignments(req: Request) -> dict[str, Any]:
    """List role assignments, as they were made or (effective) as they work out."""
    query, names = _query(req), flag(req, "include_names")
    if query.include_subtree and query.project_id:
        home = domain_of(req.svc, {query.project_id}).get(query.project_id)
        req.enforce({"domain_id": home}, "identity:list_role_assignments_for_tree")
    answer = logic.role_assignments(req.svc, query, names=names)
    lines = answer.lines
    if req.ctx.domain_id:
        lines = _of_domain(req, lines, req.ctx.domain_id)
    return collection(req, "role_assignments", [_line(req, line, answer if names else None) for line in lines])


def _of_domain(req: Request, lines: list[logic.Line], domain_id: str) -> list[logic.Line]:
    """Lines about projects of the domain and the domain itself."""
    homes = domain_of(req.svc, {line.target_id for line in lines})
    return [line for line in lines if homes.get(line.target_id) == domain_id]


def _line(req: Request, line: logic.Line, answer: logic.Answer | None) -> dict[str, Any]:
    role: dict[str, Any] = {"id": line.role_id}
    actor: dict[str, Any] = {"id": line.actor_id}
    scope: dict[str, Any]
    if line.target_type in ("project", "domain"):
        place: dict[str, Any] = {"id": line.target_id}
        scope = {line.target_type: place}
    else:
        place, scope = {}, {line.target_type: {"all": True}}
    source = line.source
    if source.inherited and (line.target_type, line.target_id) == (source.target_type, source.target_id):
        scope["OS-INHERIT:inherited_to"] = "projects"
    if answer is not None:
        _name(line, answer, role, actor, place)
    links = {"assignment": link(req, *_path(line))}
    if line.group_id:
        links["membership"] = link(req, "groups", line.group_id, "users", line.actor_id)
    if line.prior_role_id:
        links["prior_role"] = link(req, "prior_roles", line.prior_role_id, "implies", line.role_id)
    return {"role": role, line.actor_type: actor, "scope": scope, "links": links}


def _name(
    line: logic.Line, answer: logic.Answer, role: dict[str, Any], actor: dict[str, Any], place: dict[str, Any]
) -> None:
    """Add names, with the domain of what belongs to one."""

    def home(domain_id: str) -> dict[str, str]:
        domain = answer.projects.get(domain_id)
        return {"id": domain_id, "name": domain.name if domain else ""}

    found_role = answer.roles.get(line.role_id)
    if found_role is not None:
        role["name"] = found_role.name
        if found_role.domain_id:
            role["domain"] = home(found_role.domain_id)
    row = (answer.users if line.actor_type == "user" else answer.groups).get(line.actor_id)
    if row is not None:
        actor |= {"name": row.name, "domain": home(row.domain_id)}
    project = answer.projects.get(line.target_id)
    if project is not None:
        place["name"] = project.name
        if not project.is_domain:
            place["domain"] = home(project.domain_id)


def _path(line: logic.Line) -> list[str]:
    """The address of the grant a line follows from."""
    grant = line.source
    kind = {"project": "projects", "domain": "domains"}.get(grant.target_type)
    where = [kind, grant.target_id] if kind else [grant.target_type]
    path = [*where, f"{grant.actor_type}s", grant.actor_id, "roles", grant.role_id]
    return ["OS-INHERIT", *path, "inherited_to_projects"] if grant.inherited else path
