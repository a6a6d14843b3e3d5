# SPDX-License-Identifier: Apache-2.0
"""The journey of a new user through a whole cloud, with the unmodified `openstack` command and fake guests."""

from __future__ import annotations

import pytest

from commandline import OpenStack, wait


def test_token_and_catalog(demo: OpenStack) -> None:
    assert demo.json("token", "issue")["project_id"]
    types = {row["Type"] for row in demo.json("catalog", "list")}
    assert types >= {"identity", "image", "compute", "placement", "network", "dns"}


@pytest.fixture(scope="module")
def server(demo: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything a server needs, made one by one, and the server."""
    folder = tmp_path_factory.mktemp("journey")
    (folder / "disk.raw").write_bytes(bytes(1 << 20))
    (folder / "user-data").write_text("#!/bin/sh\necho hello\n")
    image = demo.json("image", "create", "--file", str(folder / "disk.raw"), "--disk-format", "raw", "j-image")
    assert (image["status"], image["size"]) == ("active", 1 << 20)
    assert "std-tiny-1" in [f["Name"] for f in demo.json("flavor", "list")]
    demo("network", "create", "j-net")
    subnet = demo.json("subnet", "create", "--network", "j-net", "--subnet-range", "10.77.0.0/24", "j-subnet")
    assert subnet["gateway_ip"] == "10.77.0.1"
    demo("router", "create", "j-router")
    demo("router", "set", "--external-gateway", "public", "j-router")
    demo("router", "add", "subnet", "j-router", "j-subnet")
    demo("security", "group", "create", "j-group")
    rule = demo.json("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "j-group")
    assert (rule["port_range_min"], rule["direction"]) == (22, "ingress")
    key = demo("keypair", "create", "j-key")
    assert key.startswith("-----BEGIN")
    made = demo.json(
        "server", "create", "--image", "j-image", "--flavor", "std-tiny-1", "--network", "j-net", "--key-name", "j-key",
        "--security-group", "j-group", "--user-data", str(folder / "user-data"), "--wait", "j-server",
    )  # fmt: skip
    assert made["status"] == "ACTIVE"
    return {"id": made["id"], "folder": str(folder)}


def test_server_is_listed_and_shown(demo: OpenStack, server: dict[str, str]) -> None:
    row = next(r for r in demo.json("server", "list") if r["ID"] == server["id"])
    assert (row["Name"], row["Status"], row["Image"], row["Flavor"]) == ("j-server", "ACTIVE", "j-image", "std-tiny-1")
    shown = demo.json("server", "show", "j-server")
    [address] = shown["addresses"]["j-net"]
    assert address.startswith("10.77.0.") and shown["key_name"] == "j-key"


def test_floating_ip_is_put_on_and_seen(demo: OpenStack, server: dict[str, str]) -> None:
    address = demo.json("floating", "ip", "create", "public")["floating_ip_address"]
    demo("server", "add", "floating", "ip", "j-server", address)
    wait(
        "the floating IP among the addresses",
        lambda: address in demo.json("server", "show", "j-server")["addresses"]["j-net"],
    )
    wait("the floating IP is ACTIVE", lambda: demo.json("floating", "ip", "show", address)["status"] == "ACTIVE")


def test_console_and_events(demo: OpenStack, server: dict[str, str]) -> None:
    assert demo("console", "log", "show", "j-server").strip()
    assert "token%3D" in demo.json("console", "url", "show", "--novnc", "j-server")["url"]
    assert "create" in [e["Action"] for e in demo.json("server", "event", "list", "j-server")]


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
    ],
)
def test_power(demo: OpenStack, server: dict[str, str], verb: str, status: str) -> None:
    demo("server", verb, "j-server")
    wait(f"{verb} leads to {status}", lambda: demo.json("server", "show", "j-server")["status"] == status)


def test_reboot(demo: OpenStack, server: dict[str, str]) -> None:
    demo("server", "reboot", "--wait", "j-server")
    demo("server", "reboot", "--hard", "--wait", "j-server")
    assert demo.json("server", "show", "j-server")["status"] == "ACTIVE"


def test_zone_and_record_sets(demo: OpenStack) -> None:
    zone = demo.json("zone", "create", "--email", "a@example.com", "j.example.")
    assert zone["action"] == "CREATE"
    wait("the zone is ACTIVE", lambda: demo.json("zone", "show", "j.example.")["status"] == "ACTIVE")
    demo("recordset", "create", "--type", "A", "--record", "192.0.2.7", "j.example.", "www")
    wait("the record set is ACTIVE",
         lambda: demo.json("recordset", "show", "j.example.", "www.j.example.")["status"] == "ACTIVE")  # fmt: skip
    demo("zone", "delete", "j.example.")
    wait("the zone is gone", lambda: demo.run("zone", "show", "j.example.").returncode != 0)


def test_refusals(demo: OpenStack, admin: OpenStack, server: dict[str, str]) -> None:
    said = demo.refused("server", "create", "--image", "nothing", "--flavor", "std-tiny-1", "--network", "j-net", "x")
    assert "nothing" in said
    said = demo.refused("network", "create", "--provider-network-type", "vlan", "x")
    assert "403" in said or "polic" in said.lower() or "not allowed" in said.lower()
    said = demo.refused("keypair", "create", "j-key")
    assert "409" in said and "exists" in said
    said = demo.refused("subnet", "create", "--network", "j-net", "--subnet-range", "10.77.0.0/25", "twice")
    assert "overlap" in said
    said = demo.refused("network", "delete", "j-net")
    assert "in use" in said
    admin("flavor", "create", "--vcpus", "4000", "--ram", "99999999", "--disk", "1", "j-giant")
    admin("quota", "set", "--cores", "-1", "--ram", "-1", "demo")
    demo("server", "create", "--image", "j-image", "--flavor", "j-giant", "--network", "j-net", "j-nowhere")
    admin("quota", "set", "--force", "--cores", "20", "--ram", "51200", "demo")
    wait("the giant ends in ERROR", lambda: demo.json("server", "show", "j-nowhere")["status"] == "ERROR")
    fault = demo.json("server", "show", "j-nowhere")["fault"]["message"]
    assert "No valid host" in fault and "lack" in fault
    demo("server", "delete", "--wait", "j-nowhere")


def test_over_quota(demo: OpenStack, admin: OpenStack, server: dict[str, str]) -> None:
    admin("quota", "set", "--force", "--instances", "1", "demo")
    said = demo.refused("server", "create", "--image", "j-image", "--flavor", "std-tiny-1", "--network", "j-net", "x")
    assert "403" in said and "Quota exceeded" in said
    admin("quota", "set", "--instances", "10", "demo")


def test_everything_goes(demo: OpenStack, admin: OpenStack, server: dict[str, str]) -> None:
    demo("server", "delete", "--wait", "j-server")
    assert demo.json("port", "list", "--device-id", server["id"]) == []
    for address in demo.json("floating", "ip", "list"):
        demo("floating", "ip", "delete", address["ID"])
    demo("router", "remove", "subnet", "j-router", "j-subnet")
    demo("router", "delete", "j-router")
    demo("network", "delete", "j-net")
    demo("security", "group", "delete", "j-group")
    demo("keypair", "delete", "j-key")
    demo("image", "delete", "j-image")
