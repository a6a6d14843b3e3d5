# SPDX-License-Identifier: Apache-2.0
"""Handlers of projects and their tags."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_identity.api.common import collection, flag, hidden, home_domain, link, narrowed, page, shown, values
from aerie_identity.db.models import Project
from aerie_identity.errors import Missing
from aerie_identity.logic import directories, grants, users
from aerie_identity.logic import projects as logic
from aerie_identity.rules import target
from aerie_identity.schemas.projects import PROJECT


def _show(req: Request, found: tuple[Project, list[str]]) -> dict[str, Any]:
    row, tags = found
    return shown(req, PROJECT, row, tags=tags)


def _known(req: Request, project_id: str) -> tuple[Project, list[str]]:
    """The project of the path and its tags, once the rule holds."""
    with hidden(req):
        found = logic.show(req.svc, project_id)
    req.enforce(target("project", found[0]))
    return found


def create(req: Request) -> dict[str, Any]:
    """Create a project."""
    sent = values(PROJECT, req.body["project"], create=True)
    home = home_domain(req)
    req.enforce({"domain_id": sent.get("domain_id") or home})
    return {"project": _show(req, logic.create(req.svc, req.ctx, domain_id=home, values=sent))}


def list_(req: Request) -> dict[str, Any]:
    """List projects."""
    found, tags = logic.list_(req.svc, narrowed(req))
    return page(req, PROJECT, found, extra=lambda row: {"tags": tags.get(row.id, [])})


def show(req: Request, project_id: str) -> dict[str, Any]:
    """Show a project."""
    row, tags = _known(req, project_id)
    body = shown(req, PROJECT, row, tags=tags)
    if flag(req, "parents_as_list") or flag(req, "parents_as_ids"):
        above = logic.parents(req.svc, row)
        if flag(req, "parents_as_ids"):
            chain: dict[str, Any] | None = None
            for parent in reversed(above):
                chain = {parent.id: chain}
            body["parents"] = chain
        else:
            allowed = {p.id for p in grants.projects_of(req.svc, req.ctx.user_id or "", only_enabled=False)}
            seen = [p for p in above if p.id in allowed or req.allows("identity:read_all", {})]
            body["parents"] = [{"project": shown(req, PROJECT, p, tags=[])} for p in seen]
    if flag(req, "subtree_as_ids"):
        body["subtree"] = logic.nested_ids(logic.subtree(req.svc, row), row.id)
    elif flag(req, "subtree_as_list"):
        body["subtree"] = [{"project": shown(req, PROJECT, p, tags=[])} for p in logic.subtree(req.svc, row)]
    return {"project": body}


def update(req: Request, project_id: str) -> dict[str, Any]:
    """Change a project."""
    _known(req, project_id)
    return {"project": _show(req, logic.update(req.svc, req.ctx, project_id, values(PROJECT, req.body["project"])))}


def delete(req: Request, project_id: str) -> None:
    """Delete a project."""
    _known(req, project_id)
    logic.delete(req.svc, req.ctx, project_id)


# ---------------------------------------------------------------------------------------------------------- of a user


def list_of_user(req: Request, user_id: str) -> dict[str, Any]:
    """List the projects on which a user has a role."""
    with hidden(req):
        user = users.show(req.svc, user_id)[0]
    req.enforce(target("user", user))
    directories.refresh_groups_of(req.svc, user_id)
    found = grants.projects_of(req.svc, user_id, only_enabled=False)
    wanted = {name: values[-1] for name, values in req.query.items() if name in ("name", "domain_id", "enabled")}
    if "enabled" in wanted:
        found = [p for p in found if p.enabled == (wanted["enabled"].lower() not in ("false", "0"))]
    for name in ("name", "domain_id"):
        found = [p for p in found if getattr(p, name) == wanted.get(name, getattr(p, name))]
    return collection(req, "projects", [shown(req, PROJECT, p, tags=[]) for p in found])


# --------------------------------------------------------------------------------------------------------------- tags


def _tags(req: Request, project_id: str) -> list[str]:
    return _known(req, project_id)[1]


def list_tags(req: Request, project_id: str) -> dict[str, Any]:
    """List a project's tags."""
    return {"tags": _tags(req, project_id), "links": {"self": link(req, "projects", project_id, "tags")}}


def set_tags(req: Request, project_id: str) -> dict[str, Any]:
    """Replace a project's tags."""
    _tags(req, project_id)
    tags = logic.set_tags(req.svc, project_id, req.body["tags"])
    return {"tags": tags, "links": {"self": link(req, "projects", project_id, "tags")}}


def delete_tags(req: Request, project_id: str) -> None:
    """Remove all tags of a project."""
    _tags(req, project_id)
    logic.set_tags(req.svc, project_id, [])


def check_tag(req: Request, project_id: str, tag: str) -> None:
    """Check that a project has a tag."""
    if tag not in _tags(req, project_id):
        raise Missing("tag", tag)


def add_tag(req: Request, project_id: str, tag: str) -> Reply:
    """Add a tag to a project."""
    _tags(req, project_id)
    logic.add_tag(req.svc, project_id, tag)
    return Reply(headers=[("Location", link(req, "projects", project_id, "tags", tag))])


def delete_tag(req: Request, project_id: str, tag: str) -> None:
    """Remove a tag of a project."""
    _tags(req, project_id)
    logic.delete_tag(req.svc, project_id, tag)
