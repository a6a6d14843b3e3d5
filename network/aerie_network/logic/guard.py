# SPDX-License-Identifier: Apache-2.0
"""Questions to the policy about objects that have been found, and the other conditions of a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aerie_common.context import Context, admin_context
from aerie_common.db import Id
from aerie_common.errors import NotFound
from aerie_common.fields import Resource
from aerie_network.container import NetworkService
from aerie_network.errors import AdminRequired, InvalidInput, RevisionNumberConstraintFailed
from aerie_network.logic.work import privileged

EVERYTHING = admin_context("req-internal")
"""A context that is shown every attribute, for notifications."""


def check_owner(svc: NetworkService, ctx: Context, rule: str, found: Any) -> None:
    """May the caller do this to what was found? PolicyNotAuthorized; NotFound when they want to change or delete what
    is another project's, although they may look at it."""
    target = {"project_id": found.project_id, "tenant_id": found.project_id}
    change = rule.startswith(("update_", "delete_")) and rule != "update_tags"
    if change and found.project_id != ctx.project_id and not svc.policy.allows(ctx, rule, target):
        raise NotFound("The resource could not be found.")
    svc.policy.check(ctx, rule, target)


def check_fields(
    svc: NetworkService,
    ctx: Context,
    resource: Resource,
    sent: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    new: bool = False,
) -> None:
    """May the caller send these attributes? PolicyNotAuthorized names the first that is not theirs to set.

    new=True: an attribute that has the value it would get anyway is no use of a right (clients send such)."""
    for name, value in sent.items():
        field = resource.fields.get(name)
        if field is None or not field.policy:
            continue
        if new:
            plain = field.convert(value) if field.convert and value is not None else value
            default = field.default() if callable(field.default) else field.default
            if plain == default or (plain is None and name not in resource.defaults()):
                continue
        svc.policy.check(ctx, field.policy, target)


def check_project_id(project_id: str) -> None:
    """A project named in a path or a query is made nothing for when it cannot be one. InvalidInput."""
    if len(project_id) > (Id.length or 0):
        raise InvalidInput(error_message=f"'{project_id[:40]}...' is not a project's id")


def owner(ctx: Context, sent: dict[str, Any]) -> str:
    """Whose the new object is: takes tenant_id and project_id out of what was sent. AdminRequired."""
    project, tenant = sent.pop("project_id", None), sent.pop("tenant_id", None)
    wanted = project or tenant
    if not wanted or wanted == ctx.project_id:
        return ctx.project_id or ""
    if not privileged(ctx):
        raise AdminRequired()
    return str(wanted)


def check_revision(found: Any, expected: int | None) -> None:
    """The change is for this revision only (If-Match). RevisionNumberConstraintFailed."""
    if expected is not None and found.revision_number != expected:
        raise RevisionNumberConstraintFailed(expected=expected, current=found.revision_number)
