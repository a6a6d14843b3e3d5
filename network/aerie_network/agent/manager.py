# SPDX-License-Identifier: Apache-2.0
"""The agent's loop: fetch the host's desired state, converge, report what changed.

Owns two threads, one that works and one that gives signs of life. Invariants: wakes coalesce (any number of them
cause one fetch); a failed item is tried again without being asked for; a report counts as sent only when the server
has taken it; the server's absence stops nothing that runs.
"""

import datetime
import logging
import os
import threading
import time
from collections.abc import Callable

import oslo_messaging

from aerie_network.agent.messages import AGENT_TYPES, AgentInfo, Heartbeat, NetworkServer
from aerie_network.drivers.base import ERROR, DriverSettings, HostState, NetworkDriver, Report

LOG = logging.getLogger(__name__)
_FIRST_RETRY, _LAST_RETRY = 0.5, 10.0
_LOOK = 1.0  # seconds between looks at whether something has died
_FULL_REPORT_EVERY = 10  # resyncs


class NetworkAgent:
    """One host's agent. `on_state` hears of every state that has been converged to."""

    def __init__(
        self,
        settings: DriverSettings,
        driver: NetworkDriver,
        server: NetworkServer,
        *,
        report_interval: float = 10.0,
        resync_interval: float = 300.0,
        stuck_after: float = 0.0,
        availability_zone: str = "nova",
        on_state: Callable[[HostState], None] | None = None,
    ) -> None:
        self._settings = settings
        self._driver = driver
        self._server = server
        self._report_interval = report_interval
        self._resync_interval = resync_interval
        self._stuck_after = stuck_after
        self._on_state = on_state or (lambda state: None)
        self._heartbeat = Heartbeat(settings.host, _agents(settings, availability_zone))
        self._state: HostState | None = None
        self._acknowledged: Report | None = None
        self._wanted = 0
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._retry = 0.0
        self._resyncs = 0
        self.progressed_at = time.monotonic()
        """Monotonic time at which the loop last ended a turn, or found nothing to do."""

    # ------------------------------------------------------------------------------------------------- outside

    def start(self) -> None:
        """Starts both threads."""
        self._awake.set()
        for target in (self._work, self._beat):
            thread = threading.Thread(target=target, name=f"network-agent{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Ends both threads after what they are at. Nothing on the host is taken down."""
        self._stopping.set()
        self._awake.set()
        for thread in self._threads:
            thread.join(30)

    def wake(self, revision: int) -> None:
        """Look soon: the state has reached this revision."""
        if self._state is None or revision != self._state.revision:
            self._wanted = max(self._wanted, revision)
            self._awake.set()

    # --------------------------------------------------------------------------------------------- the work loop

    def _work(self) -> None:
        resync_at = time.monotonic() + self._resync_interval
        while not self._stopping.is_set():
            wait = min(resync_at - time.monotonic(), self._retry or _LOOK)
            woken = self._awake.wait(max(wait, 0))
            self._awake.clear()
            if self._stopping.is_set():
                return
            resync = time.monotonic() >= resync_at
            self.progressed_at = time.monotonic()
            if not (woken or resync or self._retry or self._driver.needs_attention()):
                continue
            try:
                settled = self._turn(fetch=woken or resync or self._retry > 0, resync=resync)
            except oslo_messaging.MessagingException as error:
                LOG.warning("the network server does not answer: %s", error or type(error).__name__)
                settled = False
            except Exception:
                LOG.exception("converging failed")
                settled = False
            self._retry = 0.0 if settled else min(max(self._retry * 2, _FIRST_RETRY), _LAST_RETRY)
            if resync:
                resync_at = time.monotonic() + self._resync_interval
            self.progressed_at = time.monotonic()

    def _turn(self, fetch: bool, resync: bool) -> bool:
        """One look; tells whether all is as it should be."""
        unreachable: oslo_messaging.MessagingException | None = None
        if fetch:
            try:
                self._fetch()
            except oslo_messaging.MessagingException as error:
                unreachable = error  # what is known can be kept right all the same
        state = self._state
        if state is None:
            if unreachable:
                raise unreachable
            return False
        report = self._driver.converge(state, resync=resync)
        self._on_state(state)
        if unreachable:
            raise unreachable
        self._send(report, resync)
        return not _has_errors(report)

    def _fetch(self) -> None:
        known = self._state.revision if self._state else 0
        answer = self._server.get_host_state(self._settings.host, self._settings.roles, known)
        if answer.state is not None:
            self._state = answer.state
        elif answer.delta is not None:
            state = self._state or HostState(self._settings.host, 0)
            if answer.delta.base_revision != state.revision:
                raise ValueError(f"delta on revision {answer.delta.base_revision}, known is {state.revision}")
            self._state = state.with_delta(answer.delta)

    def _send(self, report: Report, resync: bool) -> None:
        if resync:
            self._resyncs += 1
        full = self._acknowledged is None or (resync and self._resyncs % _FULL_REPORT_EVERY == 0)
        news = report if full or self._acknowledged is None else report.changes_since(self._acknowledged)
        if full or not news.empty:
            self._server.report(self._settings.host, news)
        self._acknowledged = report

    # ------------------------------------------------------------------------------------------- signs of life

    def _beat(self) -> None:
        again = _FIRST_RETRY
        while not self._stopping.is_set():
            pause, again = min(again, self._report_interval), again * 2
            try:
                answer = self._server.heartbeat(self._heartbeat)
                pause, again = self._report_interval, _FIRST_RETRY
                self.wake(answer.revision)
            except oslo_messaging.MessagingException as error:
                LOG.warning("heartbeat not taken: %s", error or type(error).__name__)
            except Exception:
                LOG.exception("heartbeat failed")
            stuck = time.monotonic() - self.progressed_at
            if self._stuck_after and stuck > self._stuck_after:
                LOG.critical("no progress for %.0f s: ending, to be started afresh", stuck)
                os._exit(70)
            self._stopping.wait(pause)


def _has_errors(report: Report) -> bool:
    sections = (report.networks, report.ports, report.dhcp_networks, report.routers, report.floating_ips)
    return any(outcome.status == ERROR for section in sections for outcome in section.values())


def _agents(settings: DriverSettings, zone: str) -> tuple[AgentInfo, ...]:
    started = datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return tuple(
        AgentInfo(
            role=role,
            binary=AGENT_TYPES[role][0],
            agent_type=AGENT_TYPES[role][1],
            tunnel_ip=settings.tunnel_ip,
            bridge_mappings=tuple(settings.bridge_mappings.items()),
            availability_zone=zone,
            started_at=started,
        )
        for role in settings.roles
    )
