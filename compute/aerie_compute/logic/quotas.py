# SPDX-License-Identifier: Apache-2.0
"""How much a project may have, and how much it has. Claims happen where things are made (`logic.servers`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_compute import errors
from aerie_compute.db import groups, servers
from aerie_compute.db import quotas as db

if TYPE_CHECKING:
    from aerie_compute.container import Compute

RESOURCES = ("instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members")
COUNTED = ("instances", "cores", "ram")

# What older microversions still show and set, to no effect: the limits live in other services now, or nowhere.
RETIRED = {
    "fixed_ips": -1, "floating_ips": -1, "security_groups": -1, "security_group_rules": -1,
    "injected_files": 5, "injected_file_content_bytes": 10240, "injected_file_path_bytes": 255,
}  # fmt: skip


INJECTED = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_SETTABLE = (*RESOURCES, *RETIRED)


@dataclass(frozen=True)
class Quota:
    """One resource of one project."""

    limit: int
    in_use: int


def defaults(svc: Compute) -> dict[str, int]:
    """Limits by configuration."""
    return {name: getattr(svc.conf.quota, name) for name in RESOURCES}


def limits(svc: Compute, project_id: str) -> dict[str, int]:
    """The limits of a project: its own, else those of the class `default`, else the configured ones."""

    def find() -> dict[str, int]:
        with svc.api_db.read() as conn:
            return {**defaults(svc), **db.of_project(conn, project_id)}

    return svc.limits.get(project_id, find)


@retried
def default_limits(svc: Compute, class_name: str = db.DEFAULT_CLASS) -> dict[str, int]:
    """The limits of a project for which none were set."""
    with svc.api_db.read() as conn:
        return {**defaults(svc), **db.of_class(conn, class_name)}


@retried
def show(svc: Compute, ctx: Context, project_id: str) -> dict[str, Quota]:
    """Limits and usage of a project."""
    allowed = limits(svc, project_id)
    with svc.db.read() as conn:
        used = servers.usage(conn, project_id)
    with svc.api_db.read() as conn:
        group_count = groups.count(conn, project_id)
    counted = {"instances": used.instances, "cores": used.cores, "ram": used.ram, "server_groups": group_count}
    return {name: Quota(allowed[name], counted.get(name, 0)) for name in RESOURCES}


@retried
def update(
    svc: Compute, ctx: Context, project_id: str, wanted: dict[str, int], *, force: bool = False
) -> dict[str, int]:
    """Set limits of a project. QuotaBelowUsage when one is below what is used, unless forced."""
    wanted = {name: value for name, value in wanted.items() if name in _SETTABLE}
    if not force:
        used = {name: quota.in_use for name, quota in show(svc, ctx, project_id).items()}
        for name, limit in wanted.items():
            if 0 <= limit < used.get(name, 0):
                raise errors.QuotaBelowUsage(limit=limit, resource=name, used=used[name])
    with svc.api_db.write() as conn:
        db.set_project(conn, project_id, wanted)
    svc.limits.forget(project_id)
    return limits(svc, project_id)


@retried
def delete(svc: Compute, ctx: Context, project_id: str) -> None:
    """Back to the defaults."""
    with svc.api_db.write() as conn:
        db.delete_project(conn, project_id)
    svc.limits.forget(project_id)


@retried
def update_class(svc: Compute, ctx: Context, class_name: str, wanted: dict[str, int]) -> dict[str, int]:
    """Set limits of a class; the class `default` is what projects have that have none of their own."""
    with svc.api_db.write() as conn:
        db.set_class(conn, class_name, {name: value for name, value in wanted.items() if name in _SETTABLE})
    svc.limits.forget()
    return default_limits(svc, class_name)
