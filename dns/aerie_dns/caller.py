# SPDX-License-Identifier: Apache-2.0
"""Who calls the DNS API, as its rules see it: the project that is acted for, and the privileges that were asked for."""

from __future__ import annotations

from dataclasses import dataclass

from aerie_common.context import Context


@dataclass(frozen=True)
class Caller:
    """project_id: whose objects are meant. all_projects: everybody's are. The other flags come from headers, which
    only those may send whom the policy allows to."""

    ctx: Context
    project_id: str | None
    all_projects: bool = False
    edit_managed: bool = False
    hard_delete: bool = False
    delete_shares: bool = False
    use_blacklisted: bool = False
    use_low_ttl: bool = False
    force_pool: bool = False

    @property
    def scope(self) -> str | None:
        """The project whose objects are visible, None for all. Nobody's for a token without a project."""
        return None if self.all_projects else self.project_id or "-"


def internal(ctx: Context) -> Caller:
    """The service's own work, in everybody's name."""
    return Caller(ctx, None, all_projects=True, edit_managed=True, use_blacklisted=True, use_low_ttl=True)
