# SPDX-License-Identifier: Apache-2.0
"""The compute agent as a daemon: connects to the hypervisor, takes messages, reports the host's state.

Invariant: a host whose hypervisor does not answer sends no heartbeat, so that it counts as down. A guest is removed as
an orphan only when it has our mark, belonged nowhere for the whole grace time, and the conductor confirms it in so many
words.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
import uuid
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import oslo_messaging
from oslo_config import cfg

from aerie_common.context import Context, admin_context
from aerie_compute import drivers
from aerie_compute.agent.images import RemoteImageFiles
from aerie_compute.agent.manager import AgentManager, Conductor
from aerie_compute.agent.rpc import TOPIC, AgentEndpoint, Goal
from aerie_compute.drivers.base import Driver, DriverError, GuestNotFound, LifecycleEvent

if TYPE_CHECKING:
    from aerie_common.rpc import Rpc, RpcServer
    from aerie_common.service import Stoppable

LOG = logging.getLogger(__name__)
INIT_AGAIN = 5.0
BEAT_AGAIN = 0.5
"""Seconds until a heartbeat that was not taken is tried again; each further one waits twice as long."""
CACHE_INTERVAL = 600.0


class Heart:
    """Heartbeats, lifecycle events and orphans of one host, in two threads."""

    def __init__(
        self,
        *,
        host: str,
        driver: Driver,
        manager: AgentManager,
        conductor: Conductor,
        interval: float,
        orphan_grace: float,
        image_age: float,
    ) -> None:
        self._host = host
        self._driver = driver
        self._manager = manager
        self._conductor = conductor
        self._interval = interval
        self._orphan_grace = orphan_grace
        self._image_age = image_age
        self._version = metadata.version("aerie")
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._stopping = threading.Event()
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._strangers: dict[str, float] = {}
        self._cleaned = time.monotonic()
        self._threads = [
            threading.Thread(target=self._beat_on, name="heartbeat", daemon=True),
            threading.Thread(target=self._tell_events, name="guest-events", daemon=True),
        ]

    def start(self) -> None:
        """Begin; the first heartbeat goes out at once."""
        self._driver.set_event_handler(self._on_event)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads."""
        self._driver.set_event_handler(None)
        self._stopping.set()
        self._events.put(None)
        for thread in self._threads:
            thread.join(10)

    def beat(self) -> None:
        """One heartbeat, and what its answer asks for."""
        resources = self._driver.host_resources().to_document()
        guests = {server_id: str(state) for server_id, state in self._driver.list_guests().items()}
        answer = self._conductor.heartbeat(
            admin_context(),
            host=self._host,
            resources=resources,
            guests=guests,
            version=self._version,
            boot_id=self._boot_id,
        )
        self._look_for_orphans(set(guests) - set(answer["servers"]))
        if time.monotonic() - self._cleaned > CACHE_INTERVAL:
            self._cleaned = time.monotonic()
            self._driver.forget_unused_images(self._image_age)

    def _look_for_orphans(self, strangers: set[str]) -> None:
        now = time.monotonic()
        self._strangers = {server_id: self._strangers.get(server_id, now) for server_id in strangers}
        for server_id, since in self._strangers.items():
            if now - since < self._orphan_grace or self._manager.busy(server_id):
                continue
            ctx = admin_context()
            if self._conductor.confirm_orphan(ctx, host=self._host, server_id=server_id):
                LOG.warning("server %s belongs nowhere: its guest is removed", server_id)
                self._manager.submit(
                    ctx, op_id=f"orphan-{uuid.uuid4()}", server_id=server_id, goal=Goal.ABSENT, spec=None, args={}
                )

    def _beat_on(self) -> None:
        quiet = ""
        again = BEAT_AGAIN
        while not self._stopping.is_set():
            pause, again = min(again, self._interval), again * 2
            try:
                self.beat()
                quiet, pause, again = "", self._interval, BEAT_AGAIN
            except (DriverError, oslo_messaging.MessagingException) as exc:
                if str(exc) != quiet:  # once, not with every beat
                    LOG.warning("no heartbeat: %s", exc)
                    quiet = str(exc)
            except Exception:  # this is a runner: the next beat must come whatever happened in this one
                LOG.exception("no heartbeat")
            self._stopping.wait(pause)

    def _on_event(self, event: LifecycleEvent) -> None:
        self._events.put(event.server_id)

    def _tell_events(self) -> None:
        while (server_id := self._events.get()) is not None:
            if self._manager.busy(server_id):
                continue  # the operation's own report will tell
            try:
                state: str | None = str(self._driver.power_state(server_id))
            except GuestNotFound:
                state = None
            except DriverError as exc:
                LOG.warning("server %s changed, but how is unknown: %s", server_id, exc)
                continue
            try:
                self._conductor.power_changed(Context(), host=self._host, server_id=server_id, power_state=state)
            except oslo_messaging.MessagingException as exc:
                LOG.warning(
                    "server %s is %s; the conductor learns it with the next heartbeat: %s", server_id, state, exc
                )


class Agent:
    """The whole daemon. Nothing is taken from the bus before the hypervisor answers."""

    def __init__(self, conf: cfg.ConfigOpts, rpc: Rpc, driver: Driver, manager: AgentManager, heart: Heart) -> None:
        self._conf = conf
        self._rpc = rpc
        self._driver = driver
        self._manager = manager
        self._heart = heart
        self._stopping = threading.Event()
        self._server: RpcServer | None = None
        self._starter = threading.Thread(target=self._begin, name="agent-start", daemon=True)

    def start(self) -> None:
        """Connect, then serve; in the background, as the hypervisor may take its time."""
        self._starter.start()

    def _begin(self) -> None:
        while not self._stopping.is_set():
            try:
                self._driver.init_host()
                break
            except DriverError as exc:
                LOG.warning("the hypervisor does not answer: %s", exc)
                self._stopping.wait(INIT_AGAIN)
        if self._stopping.is_set():
            return
        self._server = self._rpc.serve(TOPIC, [AgentEndpoint(self._manager)])
        self._heart.start()
        LOG.info("the agent of %s is at work", self._conf.host)

    def stop(self) -> None:
        """Guests go on; operations under way are asked for again by the conductor."""
        self._stopping.set()
        self._starter.join(15)
        if self._server is not None:
            self._server.stop()
            self._heart.stop()
        self._manager.stop()
        self._driver.close()
        self._rpc.stop()


def make(conf: cfg.ConfigOpts) -> Agent:
    """All parts of the daemon, put together but not started."""
    from aerie_common.clients import ServiceClients
    from aerie_common.rpc import Rpc
    from aerie_compute.rpc import ConductorClient

    rpc = Rpc(conf)
    conductor = ConductorClient(rpc.transport, rpc.serializer)
    driver = drivers.load(conf.agent.driver, conf)
    snapshots = Path(conf.state_path) / "snapshots"
    shutil.rmtree(snapshots, ignore_errors=True)  # halves of what an earlier process was copying
    manager = AgentManager(
        host=conf.host,
        driver=driver,
        conductor=conductor,
        images=RemoteImageFiles(ServiceClients(conf)),
        snapshots=snapshots,
        serial_address=conf.serial_console.proxyclient_address,
        threads=conf.agent.threads,
    )
    heart = Heart(
        host=conf.host,
        driver=driver,
        manager=manager,
        conductor=conductor,
        interval=conf.agent.report_interval,
        orphan_grace=conf.agent.orphan_grace,
        image_age=conf.remove_unused_original_minimum_age_seconds,
    )
    return Agent(conf, rpc, driver, manager, heart)


def start(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Start the agent in this process."""
    agent = make(conf)
    agent.start()
    return [agent]
