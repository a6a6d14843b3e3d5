# SPDX-License-Identifier: Apache-2.0
"""Many callers and agents at once: nothing fails, nothing is lost, nothing is left."""

from __future__ import annotations

import random
import threading
from typing import Any

from aerie_network.db import quotas
from network_bench import Host, make_bench


def test_a_storm_leaves_order(mariadb_url: str) -> None:
    bench = make_bench(mariadb_url, quotas__quota_port=-1, quotas__quota_security_group_rule=-1)
    other = Host(bench.svc, "host-2", tunnel_ip="192.0.2.2")
    bench.host.work()
    other.work()
    network, subnet, router = bench.routed()
    external = bench.outside()
    groups = [bench.make("security_group", name=f"g{i}")["id"] for i in range(3)]
    bench.make("security_group_rule", security_group_id=groups[0], direction="ingress", remote_group_id=groups[1])
    failures: list[str] = []
    done = threading.Event()

    def expect(reply: Any, *allowed: int) -> Any:
        if reply.status_int not in allowed:
            failures.append(f"{reply.status} {reply.text[:300]}")
        return reply

    def caller(number: int) -> None:
        dice = random.Random(number)
        mine: list[str] = []
        for turn in range(14):
            body = {
                "network_id": network["id"], "device_id": f"server-{number}", "device_owner": "compute:nova",
                "project_id": bench.owner.project_id, "binding:host_id": dice.choice(["host-1", "host-2"]),
                "security_groups": dice.sample(groups, 2),
            }  # fmt: skip
            reply = expect(bench.call("POST", "/ports", {"port": body}, by=bench.compute), 201)
            if reply.status_int == 201:
                mine.append(reply.json["port"]["id"])
            rule = {"security_group_id": dice.choice(groups), "direction": "ingress", "protocol": "tcp",
                    "port_range_min": number * 100 + turn + 1, "port_range_max": number * 100 + turn + 1}  # fmt: skip
            expect(bench.call("POST", "/security-group-rules", {"security_group_rule": rule}), 201)
            if mine and dice.random() < 0.4:
                change = {
                    "binding:host_id": dice.choice(["host-1", "host-2"]),
                    "security_groups": [dice.choice(groups)],
                }
                expect(bench.call("PUT", f"/ports/{dice.choice(mine)}", {"port": change}, by=bench.compute), 200)
            if mine and dice.random() < 0.3:
                floating = {"floating_network_id": external["id"], "port_id": dice.choice(mine)}
                expect(bench.call("POST", "/floatingips", {"floatingip": floating}, by=bench.owner), 201, 409)
            if mine and dice.random() < 0.5:
                expect(bench.call("DELETE", f"/ports/{mine.pop()}", by=bench.compute), 204)
        for port_id in mine:
            expect(bench.call("DELETE", f"/ports/{port_id}", by=bench.compute), 204)

    def agent(host: Host) -> None:
        while not done.is_set():
            host.work()

    agents = [threading.Thread(target=agent, args=(host,)) for host in (bench.host, other)]
    callers = [threading.Thread(target=caller, args=(number,)) for number in range(6)]
    for thread in agents + callers:
        thread.start()
    for thread in callers:
        thread.join()
    done.set()
    for thread in agents:
        thread.join()
    assert not failures, failures[:5]
    for host in (bench.host, other):
        assert host.fetch() == host.whole()
        assert not host.whole().ports
    for floating in bench.get("/floatingips")["floatingips"]:
        assert floating["port_id"] is None
        bench.remove("floatingip", floating["id"])
    ports = bench.get(f"/ports?network_id={network['id']}", by=bench.admin)["ports"]
    assert {p["device_owner"] for p in ports} == {"network:dhcp", "network:router_interface"}
    with bench.svc.db.read() as conn:
        assert quotas.used(conn) == quotas.counted(conn)
    bench.call("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]}, expect=200)
    bench.remove("router", router["id"])
    bench.remove("network", network["id"])
    bench.svc.db.dispose()
