# SPDX-License-Identifier: Apache-2.0
"""Names that follow servers, and single ports of a floating IP that lead to them, by the unmodified `openstack`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from commandline import OpenStack, wait

ZONE = "names.example."


@pytest.fixture(scope="module")
def network(demo: OpenStack) -> Iterator[str]:
    """A network whose servers have their names in a zone, and a router to the outside."""
    demo("zone", "create", "--email", "a@example.org", ZONE)
    demo("network", "create", "--dns-domain", ZONE, "n-net")
    demo("subnet", "create", "--network", "n-net", "--subnet-range", "10.83.0.0/24", "n-subnet")
    demo("router", "create", "--external-gateway", "public", "n-router")
    demo("router", "add", "subnet", "n-router", "n-subnet")
    yield "n-net"
    demo("router", "remove", "subnet", "n-router", "n-subnet")
    demo("router", "delete", "n-router")
    demo("network", "delete", "n-net")
    demo("zone", "delete", ZONE)


def records(cloud: OpenStack, zone: str, type_: str, *options: str) -> dict[str, set[str]]:
    """Names of a zone, with their records of one type that the name servers have; nothing while there is no zone."""
    done = cloud.run("recordset", "list", zone, "--type", type_, *options, "-f", "json")
    rows = json.loads(done.stdout) if done.returncode == 0 else []
    found: dict[str, set[str]] = {}
    for row in rows:
        if row["status"] == "ACTIVE":
            data = row["records"]  # the plugin has said it in both ways
            found[row["name"]] = set(data.split() if isinstance(data, str) else data)
    return found


def test_a_servers_names_come_and_go(demo: OpenStack, admin: OpenStack, network: str) -> None:
    demo(
        "server", "create", "--image", "aerie-guest", "--flavor", "std-tiny-1", "--network", network, "--wait", "Web-1"
    )
    [fixed] = demo.json("server", "show", "Web-1")["addresses"][network]
    name = f"web-1.{ZONE}"
    wait("a record for the fixed address", lambda: records(demo, ZONE, "A").get(name) == {fixed})
    floating = demo.json("floating", "ip", "create", "public")["floating_ip_address"]
    demo("server", "add", "floating", "ip", "Web-1", floating)
    wait("a record for the floating IP", lambda: records(demo, ZONE, "A").get(name) == {fixed, floating})
    first, second, third, last = floating.split(".")
    reverse = f"{third}.{second}.{first}.in-addr.arpa."

    def pointers() -> dict[str, set[str]]:
        return records(admin, reverse, "PTR", "--all-projects")

    wait("a pointer back", lambda: pointers().get(f"{last}.{reverse}") == {name})
    demo("server", "delete", "--wait", "Web-1")
    wait("no record", lambda: name not in records(demo, ZONE, "A"))
    wait("no pointer", lambda: f"{last}.{reverse}" not in pointers())
    demo("floating", "ip", "delete", floating)


def test_port_forwarding(demo: OpenStack, network: str) -> None:
    port = demo.json("port", "create", "--network", network, "n-port")
    address = port["fixed_ips"][0]["ip_address"]
    floating = demo.json("floating", "ip", "create", "public")["floating_ip_address"]
    options = [
        "--port",
        "n-port",
        "--internal-protocol-port",
        "22",
        "--external-protocol-port",
        "2222",
        "--protocol",
        "tcp",
    ]
    made = demo.json(
        "floating", "ip", "port", "forwarding", "create", *options, "--internal-ip-address", address, floating
    )
    assert (made["external_port"], made["internal_port"], made["internal_ip_address"]) == (2222, 22, address)
    [row] = demo.json("floating", "ip", "port", "forwarding", "list", floating)
    assert (row["ID"], row["Internal Port ID"], row["Protocol"]) == (made["id"], port["id"], "tcp")
    said = demo.refused(
        "floating", "ip", "port", "forwarding", "create", *options, "--internal-ip-address", address, floating
    )
    assert "duplicate" in said
    said = demo.refused("floating", "ip", "set", "--port", "n-port", floating)
    assert "409" in said
    demo("floating", "ip", "port", "forwarding", "delete", floating, made["id"])
    demo("floating", "ip", "delete", floating)
    demo("port", "delete", "n-port")
