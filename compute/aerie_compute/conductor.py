# SPDX-License-Identifier: Apache-2.0
"""The conductor: runs flows, answers agents, keeps what the databases say and what the hosts do equal.

It is the only door between agents and the databases, and keeps nothing in memory that matters: any number of conductors
may run, and any of them may be killed at any time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aerie_common import flow as F
from aerie_common.context import admin_context
from aerie_common.db import retried
from aerie_compute import states
from aerie_compute.db import hosts, placement, records, servers
from aerie_compute.db.placement import Inventory
from aerie_compute.db.records import Report
from aerie_compute.reconcile import refresh_networks
from aerie_compute.scheduler.select import DISK, MEMORY, VCPU

if TYPE_CHECKING:
    from aerie_compute.container import Compute

LOG = logging.getLogger(__name__)


class Conductor:
    """What `rpc.ConductorEndpoint` calls."""

    def __init__(self, svc: Compute) -> None:
        self._svc = svc

    # -- agents

    @retried
    def report(
        self,
        host: str,
        server_id: str,
        op_id: str,
        outcome: str,
        power_state: str | None,
        fault: dict[str, Any] | None,
        result: dict[str, Any],
    ) -> None:
        """Keep how an operation ended and wake the flow that asked for it."""
        with self._svc.db.write() as conn:
            records.add_report(conn, op_id, server_id, Report(outcome, power_state, fault, result))
            F.wake(conn, server_id)

    @retried
    def power_changed(self, host: str, server_id: str, power_state: str | None) -> None:
        """A guest changed by itself: see `converge_power`."""
        with self._svc.db.write() as conn:
            server = servers.get(conn, server_id)
            if server is not None and server.host == host:
                converge_power(conn, server, power_state)

    def heartbeat(
        self, host: str, resources: dict[str, Any], guests: dict[str, str], version: str, boot_id: str
    ) -> dict[str, Any]:
        """Write down that the host lives and what it has; tell it which servers belong on it."""
        node_id, restarted = self._seen(host, resources, version, boot_id)
        self._promise(node_id, host, resources)
        mine = self._compare(host, guests, restarted)
        return {"servers": mine}

    @retried
    def _seen(self, host: str, resources: dict[str, Any], version: str, boot_id: str) -> tuple[str, bool]:
        with self._svc.db.write() as conn:
            before = hosts.nodes(conn, host=host)
            hosts.seen(conn, host, hosts.AGENT_BINARY, version)
            node = hosts.report_node(conn, host, resources, boot_id)
        restarted = bool(before and before[0].boot_id and boot_id and before[0].boot_id != boot_id)
        return node.id, restarted

    @retried
    def _promise(self, node_id: str, host: str, resources: dict[str, Any]) -> None:
        """Keep what may be promised of the host equal to what it has. Writes only what changed."""
        options = self._svc.conf.scheduler
        wanted = {
            VCPU: (resources["vcpus"], resources.get("reserved_vcpus", 0), options.cpu_allocation_ratio),
            MEMORY: (resources["memory_mib"], resources.get("reserved_memory_mib", 0), options.ram_allocation_ratio),
            DISK: (resources["disk_gib"], resources.get("reserved_disk_gib", 0), options.disk_allocation_ratio),
        }
        with self._svc.api_db.read() as conn:
            known = placement.provider(conn, node_id)
            have = {i.resource_class: i for i in placement.inventories(conn, [node_id])}
        changed = [
            Inventory(node_id, name, total, reserved, max_unit=max(1, total), allocation_ratio=ratio)
            for name, (total, reserved, ratio) in wanted.items()
            if name not in have
            or (have[name].total, have[name].reserved, have[name].allocation_ratio) != (total, reserved, ratio)
        ]
        if known is not None and not changed:
            return
        with self._svc.api_db.write() as conn:
            if known is None and not placement.insert_provider(conn, node_id, resources["hostname"]):
                old = placement.providers(conn, name=resources["hostname"])
                if old and old[0].id != node_id and not placement.delete_provider(conn, old[0].id):
                    LOG.error("Host %s: another provider is called %s and has allocations", host, resources["hostname"])
                    return
                placement.insert_provider(conn, node_id, resources["hostname"])
            for inventory in changed:
                placement.set_inventory(conn, inventory)
            placement.bump(conn, node_id)

    @retried
    def _compare(self, host: str, guests: dict[str, str], restarted: bool) -> list[str]:
        """Ids of the servers that belong on the host; states of those that differ are brought in line."""
        with self._svc.db.read() as conn:
            mine = servers.on_host(conn, host)
        for server in mine:
            seen = guests.get(server.id)
            if server.task_state is not None or server.vm_state == states.BUILDING:
                continue
            if restarted and server.vm_state == states.ACTIVE and seen != "running":
                self._start_again(server.id)
            elif states.POWER.get(seen or "", states.NOSTATE) != server.power_state:
                with self._svc.db.write() as conn:
                    converge_power(conn, server, seen)
        return [server.id for server in mine]

    def _start_again(self, server_id: str) -> None:
        """The host was booted: what ran before runs again."""
        from aerie_compute.flows.server_operate import SERVER_OPERATE

        ctx = admin_context()
        with self._svc.db.write() as conn:
            server = servers.get(conn, server_id)
            if server is None or not servers.begin(conn, server_id, states.VERBS["hard_reboot"]):
                return
            given = {"verb": "hard_reboot", "args": {"kind": "hard", "timeout": 0}}
            F.start(conn, SERVER_OPERATE, server_id, given, ctx, project_id=server.project_id)

    @retried
    def confirm_orphan(self, host: str, server_id: str) -> bool:
        """Is it certain that the server does not belong on the host?"""
        with self._svc.db.read() as conn:
            server = servers.get(conn, server_id)
            busy = [] if server else F.list_flows(conn, states=F.ACTIVE, subject_id=server_id)
        return not busy and (server is None or (server.host is not None and server.host != host))

    # -- console proxy

    @retried
    def validate_console(self, token: str) -> dict[str, Any] | None:
        """What a console token opens; a token opens it once."""
        with self._svc.db.write() as conn:
            found = records.console_token(conn, token)
            if found is None or not records.use_console_token(conn, token):
                return None
            server = servers.get(conn, found["server_id"])
        return found if server is not None and server.host == found["host"] else None

    # -- API

    def network_changed(self, server_ids: list[str]) -> None:
        """Read the addresses of these servers anew."""
        refresh_networks(self._svc, server_ids)


def converge_power(conn: Any, server: servers.Server, power_state: str | None) -> None:
    """A guest is in another power state than the database says: write it down, and where the owner would see a server
    that is not what it claims (ACTIVE but off), say what it is."""
    if server.task_state is not None or server.vm_state in (states.BUILDING, states.DELETED):
        return
    power = states.POWER.get(power_state or "", states.NOSTATE)
    vm_state = None
    if server.vm_state == states.ACTIVE and power in (states.SHUTDOWN, states.CRASHED, states.NOSTATE):
        vm_state = states.STOPPED
    elif server.vm_state == states.STOPPED and power == states.RUNNING:
        vm_state = states.ACTIVE
    elif server.vm_state == states.ACTIVE and power == states.POWER_PAUSED:
        vm_state = states.PAUSED
    elif server.vm_state == states.PAUSED and power == states.RUNNING:
        vm_state = states.ACTIVE
    if vm_state is None:
        if server.host is not None:
            servers.set_power(conn, server.id, server.host, power)
        return
    settled = servers.settle(
        conn, server.id, of=(None,), from_vm_states=(server.vm_state,), vm_state=vm_state, power_state=power
    )
    if settled:
        LOG.info("Server %s is %s: its guest is %s", server.id, vm_state, power_state)
