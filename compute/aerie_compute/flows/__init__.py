# SPDX-License-Identifier: Apache-2.0
"""Long work on servers, as ordered do/undo steps. `all_flows` is what a conductor runs."""

from __future__ import annotations

from aerie_common.flow import Flow


def all_flows() -> list[Flow]:
    """Every kind of flow, in every version that may still be under way."""
    from aerie_compute.flows.server_create import SERVER_CREATE
    from aerie_compute.flows.server_delete import SERVER_DELETE
    from aerie_compute.flows.server_interfaces import SERVER_ATTACH, SERVER_DETACH
    from aerie_compute.flows.server_operate import SERVER_OPERATE
    from aerie_compute.flows.server_resize import SERVER_CONFIRM, SERVER_RESIZE, SERVER_REVERT
    from aerie_compute.flows.server_snapshot import SERVER_SNAPSHOT

    return [
        SERVER_CREATE, SERVER_DELETE, SERVER_OPERATE, SERVER_SNAPSHOT, SERVER_ATTACH, SERVER_DETACH,
        SERVER_RESIZE, SERVER_CONFIRM, SERVER_REVERT,
    ]  # fmt: skip
