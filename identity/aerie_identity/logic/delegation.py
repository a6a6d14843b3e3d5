# SPDX-License-Identifier: Apache-2.0
"""What a delegated token must not be used for: making further credentials that would outlive or exceed it, and seeing
what is not of the project it is for."""

from __future__ import annotations

from aerie_common.context import Context
from aerie_common.errors import Forbidden


def refuse_restricted(ctx: Context, what: str) -> None:
    """A token of a restricted application credential makes and removes no credentials, whatever their kind."""
    data = ctx.token_data or {}
    if data.get("application_credential", {}).get("restricted"):
        raise Forbidden(f"A restricted application credential must not be used to manage {what}.")


def refuse_trust(ctx: Context, what: str) -> None:
    """A token of a trust makes no credentials in the trustor's name."""
    if (ctx.token_data or {}).get("OS-TRUST:trust"):
        raise Forbidden(f"A token of a trust must not be used to manage {what}.")


def refuse_application_credential(ctx: Context, what: str) -> None:
    """A token of an application credential, restricted or not, has nothing to do with them: what it made would reach
    further than itself."""
    if (ctx.token_data or {}).get("application_credential"):
        raise Forbidden(f"An application credential must not be used to manage {what}.")


def is_delegated(ctx: Context) -> bool:
    """Whether the token is of an application credential, a trust or an EC2 key: good for its project alone."""
    data = ctx.token_data or {}
    made_from = data.get("application_credential") or data.get("OS-TRUST:trust")
    return bool(made_from) or "ec2credential" in data.get("methods", ())


def stay_within(ctx: Context, project_id: str | None) -> None:
    """Credentials of other projects, and those of none (secrets of passcodes), are out of a delegated token's reach."""
    if is_delegated(ctx) and (project_id is None or project_id != ctx.project_id):
        raise Forbidden("A delegated token must not be used for credentials of another project than its own.")
