# SPDX-License-Identifier: Apache-2.0
"""What all handlers of this API share: who calls, which page, links, ids.

Invariant: a privilege that a header asks for is granted by the policy or refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from aerie_common.errors import Forbidden
from aerie_common.fields import Resource
from aerie_common.http import Request
from aerie_common.schema import TRUE_WORDS, UUID_PATTERN
from aerie_dns import errors
from aerie_dns.caller import Caller
from aerie_dns.paging import Page

DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
_UUID = re.compile(UUID_PATTERN)


def caller(req: Request) -> Caller:
    """The caller with the privileges the headers ask for."""
    ctx, project_id = req.ctx, req.ctx.project_id
    sudo = req.header("X-Auth-Sudo-Project-ID") or req.header("X-Auth-Sudo-Tenant-ID")
    if sudo:
        if not req.allows("use_sudo"):
            raise Forbidden("Your roles do not allow the header X-Auth-Sudo-Project-ID.")
        project_id = sudo
        ctx = replace(ctx, project_id=sudo)
    return Caller(
        ctx,
        project_id,
        all_projects=_asked(req, "X-Auth-All-Projects", "all_tenants"),
        edit_managed=_asked(req, "X-Designate-Edit-Managed-Records", "edit_managed_records"),
        hard_delete=_asked(req, "X-Designate-Hard-Delete", "hard_delete"),
        delete_shares=_true(req.header("X-Designate-Delete-Shares")),
        use_blacklisted=req.allows("use_blacklisted_zone"),
        use_low_ttl=req.allows("use_low_ttl"),
        force_pool=req.allows("zone_create_forced_pool"),
    )


def _true(value: str | None) -> bool:
    return value is not None and value.strip().lower() in TRUE_WORDS


def _asked(req: Request, header: str, rule: str) -> bool:
    if not _true(req.header(header)):
        return False
    if not req.allows(rule):
        raise Forbidden(f"Your roles do not allow the header {header}.")
    return True


def check_ids(**ids: str) -> None:
    """InvalidUuid for a path parameter that is none."""
    for name, value in ids.items():
        if not _UUID.match(value):
            raise errors.InvalidUuid(name=name, value=value[:64])


def page(req: Request, resource: Resource, *further: str) -> Page:
    """What a list call asks for: filters (`further` names some that are no fields), sorting, limit and marker."""
    known = resource.filters | set(further)
    filters = {name: values[-1] for name, values in req.query.items() if name in known}
    key, direction = _sorting(req, resource)
    return replace(_window(req), filters=filters, sort_key=key, sort_dir=direction)


def _window(req: Request) -> Page:
    text = req.query_one("limit")
    limit = DEFAULT_LIMIT
    if text is not None:
        if text.lower() == "max":
            limit = MAX_LIMIT
        elif text.isascii() and text.isdigit() and int(text) > 0:
            limit = min(int(text), MAX_LIMIT)
        else:
            raise errors.InvalidLimit(limit=text[:64])
    marker = req.query_one("marker")
    if marker is not None and not _UUID.match(marker):
        raise errors.InvalidMarker(marker=marker[:64])
    return Page(limit=limit, marker=marker)


def _sorting(req: Request, resource: Resource) -> tuple[str, str]:
    key, direction = req.query_one("sort_key") or "created_at", (req.query_one("sort_dir") or "asc").lower()
    if key not in resource.sort_keys:
        raise errors.InvalidSortKey(key=key[:64], known=", ".join(sorted(resource.sort_keys)))
    if direction not in ("asc", "desc"):
        raise errors.InvalidSortDir(direction=direction[:64])
    return key, direction


def show(req: Request, resource: Resource, row: Any, path: str, **links: str) -> dict[str, Any]:
    """An object with its links; `path` is its own, `links` are the paths of others."""
    body = resource.show(row, req.ctx)
    body["links"] = {"self": req.base_url + path, **{name: req.base_url + p for name, p in links.items()}}
    return body


def listing(
    req: Request, resource: Resource, found: tuple[Iterable[dict[str, Any]], int], limit: int | None = None
) -> dict[str, Any]:
    """A list with its links and its total count. `found`: the shown objects, and how many there are in all."""
    shown = list(found[0])
    query = [(k, v) for k, values in req.query.items() for v in values]
    links = {"self": f"{req.url}?{urlencode(query)}" if query else req.url}
    if limit is not None and shown and len(shown) == limit:
        rest = [(k, v) for k, v in query if k != "marker"]
        links["next"] = f"{req.url}?{urlencode([*rest, ('marker', shown[-1]['id'])])}"
    return {resource.plural: shown, "links": links, "metadata": {"total_count": found[1]}}
