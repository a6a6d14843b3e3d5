# SPDX-License-Identifier: Apache-2.0
"""The console proxy as a daemon of the controller.

It has no database: a conductor redeems tokens, the agent tells the place.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import oslo_messaging
from oslo_config import cfg

from aerie_common.context import admin_context
from aerie_compute.agent.rpc import AgentClient, AgentRefused, AgentSilent
from aerie_compute.rpc import ConductorClient

if TYPE_CHECKING:
    from aerie_common.service import Stoppable
    from aerie_compute.console.proxy import Target


class Opener:
    """``proxy.Open`` by messages to a conductor and to the agent of the server's host."""

    def __init__(self, conductor: ConductorClient, agents: AgentClient) -> None:
        self._conductor = conductor
        self._agents = agents

    def __call__(self, token: str) -> Target:
        from aerie_compute.console.proxy import Refused, Target

        ctx = admin_context()
        try:
            known = self._conductor.validate_console(ctx, token=token)
            if known is None:
                raise Refused(HTTPStatus.FORBIDDEN, "This address was used already, or is too old. Ask for a new one.")
            ask = self._agents.serial_endpoint if known["protocol"] == "serial" else self._agents.vnc_endpoint
            place = ask(ctx, known["host"], server_id=known["server_id"])
        except AgentRefused as exc:
            raise Refused(HTTPStatus.CONFLICT, exc.public) from exc
        except (AgentSilent, oslo_messaging.MessagingException) as exc:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The server's host does not answer.") from exc
        return Target(place["host"], place["port"], place.get("secret", ""), known["server_id"])


def start(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Listen and serve in this process."""
    from aerie_common.rpc import Rpc
    from aerie_compute.console.proxy import ConsoleProxy  # its libraries are for this process only

    rpc = Rpc(conf)
    options = conf.console_proxy
    opener = Opener(ConductorClient(rpc.transport, rpc.serializer), AgentClient(rpc.transport, rpc.serializer))
    proxy = ConsoleProxy(
        (options.listen, options.port),
        web=Path(options.web),
        open_console=opener,
        allowed_origins=options.allowed_origins,
        max_connections=options.max_connections,
    )
    proxy.start()
    return [rpc, proxy]
