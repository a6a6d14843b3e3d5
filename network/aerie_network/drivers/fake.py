# SPDX-License-Identifier: Apache-2.0
"""The fake driver: remembers what it was asked for and reports all of it as done.

For clouds without a real network (all in one process, tests). It keeps the same promises as a real driver, and can be
told to be slow or to fail for chosen items.
"""

import time
from collections.abc import Mapping

from aerie_network.drivers import base, checks


class FakeDriver(base.NetworkDriver):
    """Everything is wired. `delay`: seconds one change takes; `failures`: item id -> reason."""

    def __init__(
        self, settings: base.DriverSettings, delay: float = 0.0, failures: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self.delay = delay
        self.failures = dict(failures or {})
        self.state = base.HostState(settings.host, 0)
        self.changes: list[str] = []
        """Names of what was changed, in order: "+ports/<id>", "~routers/<id>", "-dhcp/<id>"."""

    def converge(self, state: base.HostState, resync: bool = False) -> base.Report:
        """See NetworkDriver."""
        before = len(self.changes)
        for section in base.SECTIONS:
            old, new = getattr(self.state, section), getattr(state, section)
            self.changes += [f"-{section}/{key}" for key in old if key not in new]
            self.changes += [f"+{section}/{key}" for key in new if key not in old]
            self.changes += [f"~{section}/{key}" for key in new if key in old and old[key] != new[key]]
        if self.delay and len(self.changes) > before:
            time.sleep(self.delay)
        self.state = state
        return self._report(state)

    def _report(self, state: base.HostState) -> base.Report:
        roles = self._settings.roles
        ports: dict[str, base.Outcome] = {}
        ready: dict[str, int] = {}
        dhcp: dict[str, base.Outcome] = {}
        routers: dict[str, base.Outcome] = {}
        floating: dict[str, base.Outcome] = {}
        if base.ROLE_L2 in roles:
            for port in state.ports.values():
                reason = self._refusal(port, state)
                status = base.ERROR if reason else base.WIRED if port.admin_state_up else base.DOWN
                ports[port.id] = base.Outcome(status, port.revision, reason)
        if base.ROLE_DHCP in roles:
            for doc in state.dhcp.values():
                dhcp[doc.network_id] = self._outcome(doc.network_id, base.ACTIVE, doc.revision)
                ports[doc.port_id] = self._outcome(doc.port_id, base.WIRED, doc.revision)
                ready.update({host.port_id: host.revision for host in doc.hosts if host.port_id not in self.failures})
        if base.ROLE_L3 in roles:
            for router in state.routers.values():
                up = base.ACTIVE if router.admin_state_up else base.DOWN
                routers[router.id] = self._outcome(router.id, up, router.revision)
                for part in router.parts:
                    ports[part.port_id] = self._outcome(part.port_id, base.WIRED, part.revision)
                for item in router.floating_ips:
                    floating[item.id] = self._outcome(item.id, base.ACTIVE, item.revision)
        return base.Report(
            host=state.host,
            revision=state.revision,
            ports=ports,
            dhcp_networks=dhcp,
            dhcp_ready=ready,
            routers=routers,
            floating_ips=floating,
        )

    def _refusal(self, port: base.Port, state: base.HostState) -> str:
        """Why a port cannot be wired; what a real driver would refuse for its form, this one refuses too."""
        if port.id in self.failures:
            return self.failures[port.id]
        if port.network_id not in state.networks:
            return f"network {port.network_id} is unknown here"
        try:
            checks.mac(port.mac)
            checks.device(port.device)
            for fixed in port.fixed_ips:
                checks.address(fixed.ip_address)
        except checks.BadValue as error:
            return str(error)
        return ""

    def _outcome(self, item_id: str, status: str, revision: int) -> base.Outcome:
        reason = self.failures.get(item_id, "")
        return base.Outcome(base.ERROR if reason else status, revision, reason)

    def observe(self) -> base.Observation:
        """See NetworkDriver."""
        ports = [port for port in self.state.ports.values() if port.id not in self.failures]
        return base.Observation(
            taps=tuple(sorted(port.device for port in ports)),
            bridges=tuple(sorted(base.bridge_name(key) for key in self.state.networks)),
            dhcp_networks=tuple(sorted(self.state.dhcp)),
            routers=tuple(sorted(self.state.routers)),
            filtered_taps=tuple(sorted(port.device for port in ports if port.port_security)),
            address_sets=tuple(sorted(self.state.address_sets)),
        )

    def cleanup(self) -> None:
        """See NetworkDriver."""
        self.converge(base.HostState(self._settings.host, self.state.revision))
