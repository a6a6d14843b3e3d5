# SPDX-License-Identifier: Apache-2.0
"""Daemons killed and engines restarted in the middle of work: it ends by itself, nothing leaks, guests run on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from stack import StackHost, wait

DEMO_PING = "ping -c 1 -W 2"


@pytest.fixture(scope="module")
def pinged(stack: StackHost) -> Iterator[str]:
    """The demo server's floating IP, pinged five times a second until the module's end. No reply may be missing but
    that to a question which was under way at the end."""
    found = stack.json("server", "show", "demo")["addresses"]
    address = next(a for addresses in found.values() for a in addresses if a.startswith("172.24.4."))
    wait("the demo server answers", lambda: stack.run(f"{DEMO_PING} {address}").returncode == 0)
    stack.sh(f"nohup ping -i 0.2 -W 5 {address} >/root/pings 2>&1 & echo $! >/root/pings.pid")
    yield address
    stack.sh("kill -INT $(cat /root/pings.pid); sleep 0.5")
    written = stack.sh("cat /root/pings")
    answered = {int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+) ", written)}
    sent = int(re.findall(r"(\d+) packets transmitted", written)[0])
    missing = sorted(set(range(1, sent)) - answered)
    assert not missing, f"of {sent} pings no answer to {missing}: " + stack.sh("tail -5 /root/pings")


def ends(stack: StackHost, name: str) -> None:
    """The server ends in ACTIVE, or in ERROR with a reason, within a minute of the part's return."""
    shown: dict[str, str] = {}

    def ended() -> bool:
        shown.update(stack.json("server", "show", name))
        return shown["status"] in ("ACTIVE", "ERROR")

    wait(f"{name} ends in ACTIVE or ERROR", ended, 75)
    if shown["status"] == "ERROR":
        assert shown["fault"]["message"]  # type: ignore[index]


def leftovers(stack: StackHost) -> dict[str, int]:
    """What the cloud and the host hold at this moment."""
    domains = stack.sh("virsh -c qemu:///system list --all --uuid").split()
    disks = stack.sh("ls /var/lib/aerie/instances | grep -c -- - || true").strip()
    taps = int(stack.sh("ip -o link | grep -c ': tap' || true").strip())
    ports = len(stack.json("port", "list", cloud="devstack-admin"))
    return {"taps": taps, "domains": len(domains), "disks": int(disks), "ports": ports}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "what",
    [
        "aerie-compute-agent",
        "aerie-compute-conductor",
        "aerie-compute-scheduler",
        "aerie-network-agent",
        "aerie-network-api",
        "rabbitmq",
    ],
)
def test_kill_in_the_middle_of_a_server_create(stack: StackHost, pinged: str, what: str) -> None:
    before = leftovers(stack)
    names = [f"f-{number}-{what}" for number in range(3)]
    create_one_after_another(stack, names)
    if what == "rabbitmq":
        restart_rabbitmq(stack)
    else:
        pids = stack.pids(what)
        assert pids, f"{what} does not run"
        stack.sh("kill -9 " + " ".join(map(str, pids)))
    wait(f"{what} is back", lambda: healthy(stack, what))
    for name in names:
        ends(stack, name)
    stack.openstack("server", "delete", "--wait", *names)
    wait(f"nothing is left over ({before})", lambda: leftovers(stack) == before)
    assert stack.run(f"{DEMO_PING} {pinged}").returncode == 0


def healthy(stack: StackHost, what: str) -> bool:
    if what == "rabbitmq":
        return stack.run("rabbitmqctl -q await_startup --timeout 30").returncode == 0
    rows = json.loads(stack.run("aerie status --json 2>/dev/null").stdout)
    return any(row["name"] == what and row["health"] == "ok" for row in rows)


def create_one_after_another(stack: StackHost, names: list[str]) -> None:
    """Ask for servers half a second apart, so that each is at another step when something is killed."""
    create = "openstack server create --image aerie-guest --flavor std-tiny-1 --network private"
    lines = [f"(sleep {number / 2}; {create} {name} >/dev/null) &" for number, name in enumerate(names)]
    stack.sh("\n".join([stack.client_environment(), *lines, "wait"]))


def restart_rabbitmq(stack: StackHost) -> None:
    stack.sh("rabbitmqctl -q stop", timeout=300)
    up = "for _ in $(seq 30); do rabbitmqctl -q await_startup --timeout 30 && exit 0; sleep 1; done; exit 1"
    stack.sh(f"rabbitmq-server -detached; {up}", timeout=600)
