# SPDX-License-Identifier: Apache-2.0
"""Handlers of /v3/auth: tokens, and what the caller may scope a token to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from aerie_common.errors import BadRequest, NotFound
from aerie_common.fields import isoformat_micros
from aerie_common.http import Reply, Request
from aerie_identity.api.common import collection, link, shown
from aerie_identity.logic import auth, grants, tokens
from aerie_identity.logic import revocations as revocation_logic
from aerie_identity.logic.tokens import TokenBody
from aerie_identity.schemas.domains import DOMAIN
from aerie_identity.schemas.projects import PROJECT

VARY = ("Vary", "X-Auth-Token")


def issue(req: Request) -> Reply:
    """Issue a token."""
    shown, receipt = req.body["auth"], req.header("Openstack-Auth-Receipt")
    return answer(req, lambda: auth.authenticate(req.svc, shown, receipt))


def answer(req: Request, log_in: Callable[[], tuple[str, TokenBody]]) -> Reply:
    """The token a login leads to, or what else is needed for one."""
    try:
        token, body = log_in()
    except auth.NeedsMore as e:
        headers = [
            VARY,
            ("Openstack-Auth-Receipt", e.receipt),
            ("WWW-Authenticate", f'Keystone uri="{req.svc.auth_uri}"'),
        ]
        return Reply(e.body, status=401, headers=headers)
    raw = body.json_without_catalog if "nocatalog" in req.query else body.json
    return Reply(body=raw, headers=[VARY, ("X-Subject-Token", token)])


def _subject(req: Request) -> tuple[str, TokenBody]:
    token = req.header("X-Subject-Token")
    if not token:
        raise BadRequest("The header X-Subject-Token is missing.")
    body = req.svc.token_cache.validate(token)
    if not isinstance(body, TokenBody):
        raise NotFound("Could not find token.")
    req.enforce({"target.token.user_id": body["user"]["id"]})
    return token, body


def show(req: Request) -> Reply:
    """Validate a token."""
    token, body = _subject(req)
    raw = body.json_without_catalog if "nocatalog" in req.environ.get("QUERY_STRING", "") else body.json
    return Reply(body=raw, headers=[VARY, ("X-Subject-Token", token)])


def delete(req: Request) -> None:
    """Revoke a token."""
    _, body = _subject(req)
    tokens.revoke(req.svc, body)


def epoch(req: Request) -> Reply:
    """Show the revocation epoch, which moves on with every revocation."""
    return Reply(body=str(req.svc.epoch.current()).encode(), content_type="text/plain")


def list_revocations(req: Request) -> dict[str, Any]:
    """List revocations of tokens that may still be remembered."""
    events = []
    for row in revocation_logic.list_(req.svc, req.query_one("since")):
        event = {k: row[k] for k in ("audit_id", "user_id", "project_id", "domain_id") if row[k] is not None}
        event["issued_before"] = isoformat_micros(row["issued_before"])
        events.append(event)
    return {"events": events, "links": {"next": None, "self": req.url, "previous": None}}


# ------------------------------------------------------------------------------------------------------------- scopes


def catalog(req: Request) -> Reply:
    """Show the catalog of the token's scope."""
    _, fragment = req.svc.catalog.get().for_scope(req.ctx.user_id, req.ctx.project_id)
    if not req.ctx.roles:
        fragment = orjson.Fragment(b"[]")
    return Reply(body=orjson.dumps({"catalog": fragment, "links": {"self": link(req, "auth", "catalog")}}))


def list_projects(req: Request) -> dict[str, Any]:
    """List the projects a token can be scoped to."""
    found = grants.projects_of(req.svc, req.ctx.user_id or "", only_enabled=True)
    return collection(req, "projects", [shown(req, PROJECT, row, tags=[]) for row in found])


def domain_bodies(req: Request, user_id: str) -> list[dict[str, Any]]:
    return [shown(req, DOMAIN, row, tags=[]) for row in grants.domains_of(req.svc, user_id)]


def list_domains(req: Request) -> dict[str, Any]:
    """List the domains a token can be scoped to."""
    return collection(req, "domains", domain_bodies(req, req.ctx.user_id or ""))


def list_systems(req: Request) -> dict[str, Any]:
    """List the system scopes a token can have."""
    found = [{"all": True}] if grants.has_system_role(req.svc, req.ctx.user_id or "") else []
    return {"system": found, "links": {"self": link(req, "auth", "system")}}
