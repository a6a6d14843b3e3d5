# SPDX-License-Identifier: Apache-2.0
"""Pools of name servers: from configuration groups to what the API shows and what drivers are given.

Invariant: a pool's id never changes with its position or its settings, so zones stay with their pool.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from oslo_config import cfg

from aerie_dns.drivers.base import Target
from aerie_dns.options import DEFAULT_POOL_ID, POOL_OPTS

_SPACE = uuid.UUID("7f8de5a1-1e6f-4c0e-9d0c-1c1f6f4d5c11")


@dataclass(frozen=True)
class Pool:
    """One pool. also_notify and target.nameservers: (address, port)."""

    id: str
    name: str
    description: str | None
    driver: str
    ns_records: tuple[str, ...]
    catalog_zone: str | None
    also_notify: tuple[tuple[str, int], ...]
    target: Target


def address(text: str, default_port: int = 53) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]:port` -> (host, port)."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else default_port
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, default_port


def load(conf: cfg.ConfigOpts) -> dict[str, Pool]:
    """All pools by id; the default one comes first."""
    found = [_pool("default", DEFAULT_POOL_ID, conf.pool)]
    for name in conf.dns.pools:
        group = f"pool:{name}"
        for opt in POOL_OPTS:
            conf.register_opt(opt, group=group)
        found.append(_pool(name, str(uuid.uuid5(_SPACE, name)), conf[group]))
    return {pool.id: pool for pool in found}


def _pool(name: str, default_id: str, options: cfg.ConfigOpts.GroupAttr) -> Pool:
    settings = {key: str(options[key]) for key in ("powerdns_url", "powerdns_key", "powerdns_server_id")}
    settings |= {"catalog_zone": options.catalog_zone or "", "also_notify": ",".join(options.also_notify)}
    return Pool(
        id=options.id or default_id,
        name=name,
        description=options.description,
        driver=options.driver,
        ns_records=tuple(n if n.endswith(".") else n + "." for n in options.ns_records),
        catalog_zone=options.catalog_zone,
        also_notify=tuple(address(a) for a in options.also_notify),
        target=Target(name, tuple(address(a) for a in options.nameservers), settings),
    )
