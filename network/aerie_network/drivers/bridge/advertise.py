# SPDX-License-Identifier: Apache-2.0
"""Router advertisements: one radvd per router that has IPv6 subnets to advertise.

Owns the directory `ra/<router id>`. Invariant: radvd outlives the agent and reads a changed file on SIGHUP.
"""

import contextlib
import os
import pwd
import shutil
import signal
from pathlib import Path

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge import system

_FLAGS = {  # mode -> (managed, other, autonomous)
    "slaac": ("off", "off", "on"),
    "dhcpv6-stateless": ("off", "on", "on"),
    "dhcpv6-stateful": ("on", "on", "off"),
}


def render(interfaces: list[tuple[str, base.Network, base.RouterInterface]]) -> str:
    """The configuration for (device, network, interface) triples; empty when there is nothing to advertise."""
    return "".join(_interface(device, network, interface) for device, network, interface in interfaces)


def _interface(device: str, network: base.Network, interface: base.RouterInterface) -> str:
    ours = {fixed.subnet_id for fixed in interface.addresses}
    subnets = [subnet for subnet in network.subnets if subnet.id in ours and subnet.ipv6_ra_mode in _FLAGS]
    if not subnets:
        return ""
    flags = [_FLAGS[subnet.ipv6_ra_mode or "slaac"] for subnet in subnets]
    managed = "on" if any(flag[0] == "on" for flag in flags) else "off"
    other = "on" if any(flag[1] == "on" for flag in flags) else "off"
    lines = [
        f"interface {checks.device(device)}", "{", "  AdvSendAdvert on;", "  MinRtrAdvInterval 30;",
        "  MaxRtrAdvInterval 100;", f"  AdvLinkMTU {network.mtu};", f"  AdvManagedFlag {managed};",
        f"  AdvOtherConfigFlag {other};",
    ]  # fmt: skip
    for subnet, flag in zip(subnets, flags, strict=True):
        lines.append(f"  prefix {checks.cidr(subnet.cidr)} {{ AdvOnLink on; AdvAutonomous {flag[2]}; }};")
        resolvers = [checks.address(text) for text in subnet.dns_nameservers if ":" in text and text != "::"]
        if resolvers:
            lines.append(f"  RDNSS {' '.join(resolvers[:3])} {{ }};")
    return "\n".join([*lines, "};"]) + "\n"


class Advertisers:
    """Runs radvd for the routers of this host."""

    def __init__(self, settings: base.DriverSettings) -> None:
        self._root = Path(settings.state_path) / "ra"
        self._processes = system.ProcessWatch()

    def ended(self) -> set[str]:
        """Ids of the routers whose radvd has ended by itself."""
        return self._processes.ended()

    def ensure(self, router_id: str, namespace: str, text: str) -> None:
        """Makes the router advertise what `text` says, or nothing when it is empty."""
        directory = self._root / router_id
        if not text:
            self.remove(router_id)
            return
        directory.mkdir(parents=True, exist_ok=True)
        changed = system.write_atomically(directory / "conf", text)
        pid = system.running_process(directory / "pid", str(directory / "conf"))
        if pid and changed:
            with contextlib.suppress(ProcessLookupError):  # it has just died: `ended` tells of it, and it starts anew
                os.kill(pid, signal.SIGHUP)
        elif not pid:
            (directory / "pid").unlink(missing_ok=True)
            command = ["radvd", "-C", str(directory / "conf"), "-p", str(directory / "pid"), "-m", "none"]
            system.in_namespace(namespace, lambda: system.run([*command, *_user()]))
            pid = system.running_process(directory / "pid", str(directory / "conf"))
        if pid:
            self._processes.watch(router_id, pid)

    def remove(self, router_id: str) -> None:
        """Stops the router's advertisements."""
        self._processes.forget(router_id)
        directory = self._root / router_id
        if directory.is_dir():
            pid = system.running_process(directory / "pid", str(directory / "conf"))
            if pid:
                system.stop_process(pid)
            shutil.rmtree(directory, ignore_errors=True)


def _user() -> list[str]:
    try:
        pwd.getpwnam("radvd")
    except KeyError:
        return []
    return ["-u", "radvd"]
