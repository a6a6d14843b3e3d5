# SPDX-License-Identifier: Apache-2.0
"""Handlers of what only operators deal with (top-level domains, blacklists, TSIG keys): the same five for each noun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aerie_common.fields import Resource
from aerie_common.http import Reply, Request
from aerie_dns.api.common import check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.logic.nouns import BLACKLISTS, TLDS, TSIGKEYS, Rules
from aerie_dns.schemas.nouns import BLACKLIST, TLD, TSIGKEY


@dataclass(frozen=True)
class Handlers:
    """The five handlers of one noun."""

    list_: Callable[[Request], Any]
    create: Callable[[Request], Any]
    show: Callable[..., Any]
    update: Callable[..., Any]
    delete: Callable[..., Any]


def handlers(resource: Resource, rules: Rules[Any]) -> Handlers:
    """The handlers for a noun; its id stands in the path as `id`."""
    root, name = f"/v2/{resource.plural}", resource.singular

    def body(req: Request, row: Any) -> dict[str, Any]:
        return shown(req, resource, row, f"{root}/{row.id}")

    def list_(req: Request) -> dict[str, Any]:
        asked = page(req, resource)
        found, total = rules.list_(req.svc, asked)
        return listing(req, resource, ((body(req, row) for row in found), total), asked.limit)

    def create(req: Request) -> Reply:
        value = body(req, rules.create(req.svc, **resource.values(req.body, with_defaults=True)))
        return Reply(value, headers=[("Location", value["links"]["self"])])

    def show(req: Request, id: str) -> dict[str, Any]:
        check_ids(**{f"{name}_id": id})
        return body(req, rules.show(req.svc, id))

    def update(req: Request, id: str) -> dict[str, Any]:
        check_ids(**{f"{name}_id": id})
        return body(req, rules.update(req.svc, id, **req.body))

    def delete(req: Request, id: str) -> None:
        check_ids(**{f"{name}_id": id})
        rules.delete(req.svc, id)

    for handler, doc in ((list_, "List"), (create, "Create"), (show, "Show"), (update, "Update"), (delete, "Delete")):
        handler.__doc__ = f"{doc} {resource.plural}." if handler is list_ else f"{doc} a {name}."
    return Handlers(list_, create, show, update, delete)


tlds = handlers(TLD, TLDS)
blacklists = handlers(BLACKLIST, BLACKLISTS)
tsigkeys = handlers(TSIGKEY, TSIGKEYS)
