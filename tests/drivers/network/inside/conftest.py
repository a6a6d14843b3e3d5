# SPDX-License-Identifier: Apache-2.0
"""The host that every case gets: a bridge driver in this throw-away namespace, with an operator's bridge br-ex."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from clouds import Cloud  # noqa: E402
from guests import Guest, Machine, sh  # noqa: E402

from aerie_network.drivers.base import DriverSettings, HostState, Port, Report  # noqa: E402
from aerie_network.drivers.bridge.driver import BridgeDriver  # noqa: E402

OUTSIDE_NET = "203.0.113.0/24"


class Host:
    """One hypervisor and network host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = DriverSettings(
            "host-1",
            state_path=str(directory / "state"),
            tunnel_ip="192.0.2.1",
            bridge_mappings={"public": "br-ex", "missing": "br-none"},
            interface_mappings={"public": "br-ex"},
        )
        self.driver = BridgeDriver(self.settings)
        self.cloud = Cloud()
        self.machines: list[Machine] = []
        self.report: Report | None = None

    def converge(self, resync: bool = False) -> Report:
        """Converges to the cloud as it is; the report has been through JSON, as between daemons."""
        state = HostState.from_dict(self.cloud.state().to_dict())
        self.report = Report.from_dict(self.driver.converge(state, resync).to_dict())
        return self.report

    def restart(self) -> None:
        """A new agent on the same host."""
        self.driver = BridgeDriver(self.settings)

    def guest(self, port: Port) -> Guest:
        """The machine behind a port. It must exist before the port is wired."""
        guest = Guest(f"g{len(self.machines)}", port)
        self.machines.append(guest)
        return guest

    def outside(self, address: str = "203.0.113.1/24") -> Machine:
        """A machine on the external network, which is its gateway."""
        machine = Machine(f"out{len(self.machines)}", f"vout{len(self.machines)}")
        sh(f"ip link set {machine.device} master br-ex up")
        machine.address(address)
        self.machines.append(machine)
        return machine


@pytest.fixture
def host() -> Iterator[Host]:
    if os.environ.get("AERIE_INSIDE") != "1":
        pytest.fail("these cases change the host they run on: run tests/drivers/network/test_bridge.py instead")
    sh("ip link add br-ex type bridge forward_delay 0 && sysctl -qw net/ipv6/conf/br-ex/disable_ipv6=1")
    sh("ip link set br-ex up")
    sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")  # a host that routes nothing may bridge all the same
    sh("ip addr add 203.0.113.254/24 dev br-ex")
    directory = Path(tempfile.mkdtemp(prefix="aerie-network-", dir="/var/tmp"))
    directory.chmod(0o755)  # dnsmasq reads its files as its own user; pytest's directories are closed to it
    host = Host(directory)
    try:
        yield host
    finally:
        host.driver.cleanup()
        for machine in host.machines:
            machine.destroy()
        sh("ip link delete br-ex")
        shutil.rmtree(directory)
