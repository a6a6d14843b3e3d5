# SPDX-License-Identifier: Apache-2.0
"""What a delegated token must not be used for: making further credentials that would outlive or exceed it."""

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
