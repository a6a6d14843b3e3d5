# SPDX-License-Identifier: Apache-2.0
"""Who asks, on behalf of which project, under which request id.

A Context is passed first to every logic function and travels through RPC messages, flows and notifications
(without its token). Nothing keeps it globally; `current()` serves log lines only.
"""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any

_current: ContextVar[Context | None] = ContextVar("aerie_context", default=None)


def new_request_id() -> str:
    """A request id as OpenStack's clients expect it: `req-<uuid>`."""
    return f"req-{uuid.uuid4()}"


@dataclass(slots=True)
class Context:
    """One request's caller. Every id is None where the token's scope has no such thing."""

    request_id: str = field(default_factory=new_request_id)
    global_request_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    system_scope: str | None = None
    roles: tuple[str, ...] = ()
    service_roles: tuple[str, ...] = ()
    is_admin: bool = False
    """True when the service's policy says that the caller administers this cloud."""
    all_projects: bool = False
    token: str | None = field(default=None, repr=False)
    token_data: dict[str, Any] | None = field(default=None, repr=False)
    """The validated token's body (`{"methods": .., "user": ..}`); never leaves the process."""

    def to_dict(self) -> dict[str, Any]:
        """Everything that may travel: no token, no token body."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("token", "token_data")}
        data["roles"], data["service_roles"] = list(self.roles), list(self.service_roles)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Context:
        """The inverse of to_dict; unknown keys (of a newer sender) are ignored."""
        known = {f.name for f in fields(cls)} - {"token", "token_data"}
        values = {k: v for k, v in data.items() if k in known}
        values["roles"] = tuple(values.get("roles") or ())
        values["service_roles"] = tuple(values.get("service_roles") or ())
        return cls(**values)

    def credentials(self) -> dict[str, Any]:
        """What policy rules are evaluated against."""
        return {
            "user_id": self.user_id,
            "user_domain_id": self.user_domain_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "project_domain_id": self.project_domain_id,
            "domain_id": self.domain_id,
            "domain_scoped": self.domain_id is not None,
            "system_scope": self.system_scope,
            "roles": list(self.roles),
            "service_roles": list(self.service_roles),
            "is_admin": self.is_admin,
        }


def admin_context(request_id: str | None = None) -> Context:
    """The context of a daemon's own work (reconcilers, bootstrap)."""
    return Context(request_id=request_id or new_request_id(), is_admin=True, roles=("admin", "service"))


def current() -> Context | None:
    """The context this thread works for, for log lines."""
    return _current.get()


def set_current(ctx: Context | None) -> None:
    """Say which context this thread works for from now on."""
    _current.set(ctx)
