# SPDX-License-Identifier: Apache-2.0
"""What all handlers share: how rows are shown with their links, how lists and sent objects are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from aerie_common.errors import NotFound
from aerie_common.fields import Resource
from aerie_common.http import Request
from aerie_common.listing import Listing
from aerie_identity.db.store import Page

RESERVED = frozenset({"id", "links", "extra", "created_at", "password_expires_at"})


def link(req: Request, *parts: str) -> str:
    """An address below /v3."""
    return "/".join((f"{req.base_url}/v3", *parts))


def shown(req: Request, noun: Resource, row: Any, path: str | None = None, **more: Any) -> dict[str, Any]:
    """A row as the API shows it: what the caller stored beside, the attributes, its own address."""
    body = {**getattr(row, "extra", {}), **noun.show(row, req.ctx), **more}
    body["links"] = {"self": link(req, path or noun.plural, row.id)}
    return body


def collection(
    req: Request, name: str, items: list[dict[str, Any]], more: bool = False, marker: str | None = None
) -> dict[str, Any]:
    """A list reply. more: there are further items than these."""
    query = req.environ.get("QUERY_STRING")
    links: dict[str, Any] = {"next": None, "self": req.url + (f"?{query}" if query else ""), "previous": None}
    body: dict[str, Any] = {"links": links, name: items}
    if more:
        if req.listing.limit is not None and items:
            links["next"] = req.next_url(marker or items[-1]["id"])
        else:
            body["truncated"] = True
    return body


def page(
    req: Request, noun: Resource, found: Page[Any], path: str | None = None,
    extra: Callable[[Any], dict[str, Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    items = [shown(req, noun, row, path, **(extra(row) if extra else {})) for row in found.rows]
    return collection(req, noun.plural, items, found.more)


def values(noun: Resource, sent: dict[str, Any], *, create: bool = False) -> dict[str, Any]:
    """What was sent, by attribute; what is no attribute stands under "extra"."""
    result = noun.defaults() if create else {}
    extra: dict[str, Any] = {}
    for name, value in sent.items():
        if name in noun.fields and (noun.fields[name].create or noun.fields[name].update):
            result[name] = value
        elif name not in RESERVED:
            extra[name] = value
    if create or extra:
        result["extra"] = extra
    return result


def narrowed(req: Request) -> Listing:
    """The list call's filters; a token of a domain, be it an administrator's, sees that domain only."""
    listing = req.listing
    if req.ctx.domain_id is None:
        return listing
    return replace(listing, filters={**listing.filters, "domain_id": (req.ctx.domain_id,)})


@contextmanager
def hidden(req: Request) -> Iterator[None]:
    """While what a path names is looked up: who may not see all of that kind is refused what does not exist just as
    what belongs to others, and so learns nothing about it."""
    try:
        yield
    except NotFound:
        req.enforce({})
        raise


def home_domain(req: Request) -> str:
    """The domain of what is created without one: the token's."""
    return req.ctx.domain_id or req.ctx.project_domain_id or str(req.svc.conf.identity.default_domain_id)


def flag(req: Request, name: str) -> bool:
    """A query parameter that stands for true by its presence (`?effective`, `?include_names=1`)."""
    values = req.query.get(name)
    return values is not None and values[-1].strip().lower() not in ("0", "false", "no", "off")


