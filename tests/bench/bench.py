#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of a cloud's public APIs, beside OpenStack's and beside what Aerie aims at. See README.md in this folder.

Standard library only, one process per concurrent user, keep-alive connections. Every scenario has a fixed count and
ends after LIMIT seconds at the latest.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import queue
import secrets
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LIMIT = 60.0
REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
VERSIONS = {"image": "/v2", "network": "/v2.0", "dns": "/v2"}


class Refused(Exception):
    """A call that did not succeed."""


class Client:
    """Connections of one process, by service."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def raw(self, method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, Any, bytes]:
        parts = urlsplit(url)
        for fresh in (False, True):
            connection = self._connections.get(parts.netloc)
            if connection is None or fresh:
                connection = http.client.HTTPConnection(parts.netloc, timeout=LIMIT)
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[parts.netloc] = connection
            try:
                connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
                reply = connection.getresponse()
                return reply.status, reply.headers, reply.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                if fresh:
                    raise
        raise AssertionError("unreachable")

    def call(
        self, method: str, service: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        sent = {"X-Auth-Token": self.cloud.token, "Accept": "application/json", **(headers or {})}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        status, _, raw = self.raw(method, self.cloud.endpoints[service] + path, sent, data)
        if status >= 400:
            raise Refused(f"{method} {service}{path}: {status} {raw[:300]!r}")
        return json.loads(raw) if raw else None


class Cloud:
    """Endpoints and a token, found from the OS_* variables."""

    def __init__(self) -> None:
        env = os.environ
        self.auth = env["OS_AUTH_URL"].rstrip("/").removesuffix("/v3") + "/v3"
        user = {"name": env["OS_USERNAME"], "password": env["OS_PASSWORD"],
                "domain": {"name": env.get("OS_USER_DOMAIN_NAME", "Default")}}  # fmt: skip
        project = {"name": env["OS_PROJECT_NAME"], "domain": {"name": env.get("OS_PROJECT_DOMAIN_NAME", "Default")}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
        self.login = json.dumps({"auth": auth}).encode()
        self.token, self.endpoints = "", {"identity": self.auth}
        headers, body = self.issue(Client(self))
        self.token = headers["X-Subject-Token"]
        for service in body["token"]["catalog"]:
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "public":
                    url, version = endpoint["url"].rstrip("/"), VERSIONS.get(service["type"], "")
                    self.endpoints.setdefault(service["type"], url if url.endswith(version) else url + version)

    def issue(self, client: Client) -> tuple[Any, Any]:
        url, headers = self.auth + "/auth/tokens", {"Content-Type": "application/json"}
        status, got, raw = client.raw("POST", url, headers, self.login)
        if status != 201:
            raise Refused(f"no token: {status} {raw[:300]!r}")
        return got, json.loads(raw)


Task = Callable[[Client, int], Any]


def _user(cloud: Cloud, task: Task, numbers: range, gate: Any, results: Any) -> None:
    client, times, errors, values = Client(cloud), [], [], []
    gate.wait()
    began = time.monotonic()
    for number in numbers:
        start = time.monotonic()
        if start - began > LIMIT:
            break
        try:
            values.append(task(client, number))
        except (Refused, OSError) as e:
            errors.append(str(e))
            continue
        times.append(time.monotonic() - start)
    results.put((times, errors, values, began, time.monotonic()))


def _plain_receiver(listener: socket.socket, size: int) -> None:
    """What an upload costs at least: receive, md5 and sha512 in two threads, write, sync."""
    connection, _ = listener.accept()
    hashes = [hashlib.md5(usedforsecurity=False), hashlib.sha512()]
    queues: list[queue.Queue[bytes | None]] = [queue.Queue(4) for _ in hashes]

    def work(digest: Any, waiting: queue.Queue[bytes | None]) -> None:
        while (piece := waiting.get()) is not None:
            digest.update(piece)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(hashes, queues, strict=True)]
    for thread in threads:
        thread.start()
    with tempfile.TemporaryFile() as file:
        while size:
            piece = connection.recv(min(size, 1 << 20))
            size -= len(piece)
            for waiting in queues:
                waiting.put(piece)
            file.write(piece)
        for waiting in queues:
            waiting.put(None)
        for thread in threads:
            thread.join()
        file.flush()
        os.fdatasync(file.fileno())
    connection.sendall(b".")


def _plain_upload(data: bytes) -> float:
    """Seconds for the same bytes through a socket into a file, hashed alike: the yardstick for an upload."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = multiprocessing.get_context("fork").Process(target=_plain_receiver, args=(listener, len(data)))
        child.start()
        start = time.monotonic()
        with socket.create_connection(listener.getsockname()) as connection:
            connection.sendall(data)
            connection.recv(1)
        seconds = time.monotonic() - start
        child.join()
    return seconds


class Bench:
    """One run. name: prefix of all it makes."""

    def __init__(self, cloud: Cloud, dns: str | None, servers: int) -> None:
        self.cloud, self.client, self.dns, self.many = cloud, Client(cloud), dns, servers
        self.name = f"bench-{secrets.token_hex(3)}-"
        self.rows: list[dict[str, Any]] = []
        self._network = self._image = self._flavor = ""

    # -- measuring

    def record(self, title: str, count: int, seconds: float, times: list[float] = [], errors: list[str] = []) -> None:  # noqa: B006
        row = {
            "name": title,
            "count": count,
            "per_second": round(count / seconds, 2) if seconds else None,
            "p50_ms": round(statistics.median(times) * 1000, 2) if times else None,
            "errors": len(errors),
        }
        self.rows.append(row)
        known = REFERENCE.get(title, {})
        show = lambda value: "-" if value is None else f"{value:,.1f}"  # noqa: E731
        print(f"{title:<42}{show(row['per_second']):>10}{show(known.get('per_second')):>11}"
              f"{show(row['p50_ms']):>11}{show(known.get('p50_ms')):>11}"
              f"{known.get('target', ''):>16}{f'  {len(errors)} errors: {errors[0][:120]}' if errors else ''}",
              flush=True)  # fmt: skip

    def load(self, title: str, task: Task, count: int, users: int = 1, *, silent: bool = False) -> list[Any]:
        """The task `count` times by `users` processes; what it returned."""
        context = multiprocessing.get_context("fork")
        gate, results = context.Barrier(users), context.SimpleQueue()
        children = [
            context.Process(target=_user, args=(self.cloud, task, range(u, count, users), gate, results))
            for u in range(users)
        ]
        for child in children:
            child.start()
        got = [results.get() for _ in children]
        for child in children:
            child.join()
        times = [t for r in got for t in r[0]]
        errors = [e for r in got for e in r[1]]
        seconds = max(r[4] for r in got) - min(r[3] for r in got)
        if not silent:
            self.record(title, len(times), seconds, times, errors)
        return [v for r in got for v in r[2]]

    def reads(self, title: str, service: str, path: str, count: int = 200) -> None:
        for users in (1, 8):
            self.load(
                f"{title} c{users}", lambda c, _: c.call("GET", service, path), count * (1 if users == 1 else 2), users
            )

    def until(self, client: Client, service: str, path: str, key: str | None, wanted: str, every: float = 0.05) -> None:
        end = time.monotonic() + LIMIT
        while True:
            body = client.call("GET", service, path)
            status = (body[key] if key else body)["status"]
            if status == wanted:
                return
            if status == "ERROR" or time.monotonic() > end:
                raise Refused(f"{path} is {status}, not {wanted}")
            time.sleep(every)

    # -- what scenarios need

    def network(self) -> str:
        if not self._network:
            made = self.client.call("POST", "network", "/networks", {"network": {"name": self.name + "net"}})[
                "network"
            ]["id"]
            subnet = {"network_id": made, "ip_version": 4, "cidr": "10.231.0.0/16"}
            self.client.call("POST", "network", "/subnets", {"subnet": subnet})
            self._network = made
        return self._network

    def image(self) -> str:
        if not self._image:
            body = {"name": self.name + "image", "disk_format": "raw", "container_format": "bare"}
            made = self.client.call("POST", "image", "/images", body)["id"]
            headers = {"X-Auth-Token": self.cloud.token, "Content-Type": "application/octet-stream"}
            self.client.raw("PUT", f"{self.cloud.endpoints['image']}/images/{made}/file", headers, bytes(1 << 20))
            self._image = made
        return self._image

    def flavor(self) -> str:
        if not self._flavor:
            found = self.client.call("GET", "compute", "/flavors/detail")["flavors"]
            self._flavor = min(found, key=lambda f: (f["ram"], f["disk"]))["id"]
        return self._flavor

    def boot(self, client: Client, name: str, count: int = 1) -> str:
        server = {
            "name": name,
            "imageRef": self.image(),
            "flavorRef": self.flavor(),
            "networks": [{"uuid": self.network()}],
        }
        if count > 1:
            server |= {"min_count": count, "max_count": count}
        return str(client.call("POST", "compute", "/servers", {"server": server})["server"]["id"])

    def servers(self, prefix: str, status: str = "") -> list[str]:
        path = f"/servers?limit=1000&name={prefix}" + (f"&status={status}" if status else "")
        return [s["id"] for s in self.client.call("GET", "compute", path)["servers"]]

    def all_active(self, prefix: str, count: int) -> int:
        end = time.monotonic() + 5 * LIMIT
        while (active := len(self.servers(prefix, "ACTIVE"))) < count and time.monotonic() < end:
            if active + len(self.servers(prefix, "ERROR")) >= count:
                break
            time.sleep(0.2)
        return active

    def erase(self, title: str, prefix: str) -> None:
        ids = self.servers(prefix)
        start = time.monotonic()
        self.load(title, lambda c, n: c.call("DELETE", "compute", f"/servers/{ids[n]}"), len(ids), 8, silent=True)
        while self.servers(prefix) and time.monotonic() - start < 5 * LIMIT:
            time.sleep(0.2)
        left = self.servers(prefix)
        self.record(title, len(ids) - len(left), time.monotonic() - start, errors=left)

    # -- scenarios

    def tokens(self) -> None:
        for users in (1, 8):
            self.load(f"token issue, password c{users}", lambda c, _: bool(self.cloud.issue(c)), 40 * users, users)
        subject = self.cloud.issue(self.client)[0]["X-Subject-Token"]

        def validate(c: Client, _: int) -> None:
            c.call("GET", "identity", "/auth/tokens", headers={"X-Subject-Token": subject})

        for users in (1, 8):
            self.load(f"token validate c{users}", validate, 300 * users, users)
        self.reads("projects list", "identity", "/projects")

    def images(self) -> None:
        self.image()
        self.reads("images list", "image", "/images")
        data, size = os.urandom(64 << 20), 64
        headers = {"X-Auth-Token": self.cloud.token, "Content-Type": "application/octet-stream"}
        up, down = [], []
        for _ in range(3):
            body = {"name": self.name + "data", "disk_format": "raw", "container_format": "bare"}
            made = self.client.call("POST", "image", "/images", body)["id"]
            url = f"{self.cloud.endpoints['image']}/images/{made}/file"
            start = time.monotonic()
            status, _, raw = self.client.raw("PUT", url, headers, data)
            if status != 204:
                raise Refused(f"upload: {status} {raw[:200]!r}")
            up.append(time.monotonic() - start)
            start = time.monotonic()
            if self.client.raw("GET", url, {"X-Auth-Token": self.cloud.token})[2] != data:
                raise Refused("the download is not what was uploaded")
            down.append(time.monotonic() - start)
            self.client.call("DELETE", "image", f"/images/{made}")
        for title, times in (("upload", up), ("download", down)):
            self.record(f"image {title} 64 MiB", len(times), sum(times), times)
            print(f"{'':<42}{size / statistics.median(times):>10,.0f} MiB/s")
        plain = [_plain_upload(data) for _ in range(3)]
        self.record("plain sockets, the same hashing, 64 MiB", len(plain), sum(plain), plain)
        print(f"{'':<42}{size / statistics.median(plain):>10,.0f} MiB/s")

    def ports(self) -> None:
        network = self.network()

        def create(c: Client, n: int) -> str:
            port = {"network_id": network, "name": f"{self.name}{n}"}
            return str(c.call("POST", "network", "/ports", {"port": port})["port"]["id"])

        ids = self.load("port create c1", create, 50) + self.load("port create c8", create, 200, 8)
        start = time.monotonic()
        while len(ids) < 1000:
            ports = [{"network_id": network, "name": self.name} for _ in range(min(100, 1000 - len(ids)))]
            ids += [p["id"] for p in self.client.call("POST", "network", "/ports", {"ports": ports})["ports"]]
        self.record("ports bulk create (100 a POST)", 750, time.monotonic() - start)
        self.reads("ports list, 1000 ports", "network", f"/ports?network_id={network}", 20)
        self.reads("port show", "network", f"/ports/{ids[0]}")
        self.load("port delete c1", lambda c, n: c.call("DELETE", "network", f"/ports/{ids[n]}"), 50)
        rest = ids[50:]
        self.load("port delete c8", lambda c, n: c.call("DELETE", "network", f"/ports/{rest[n]}"), 200, 8)
        rest = rest[200:]
        self.load("", lambda c, n: c.call("DELETE", "network", f"/ports/{rest[n]}"), len(rest), 8, silent=True)

    def groups(self) -> None:
        body = {"security_group": {"name": self.name + "group"}}
        group = self.client.call("POST", "network", "/security-groups", body)["security_group"]["id"]

        def create(c: Client, n: int) -> str:
            rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 1000 + n,
                    "port_range_max": 1000 + n, "remote_ip_prefix": "10.0.0.0/8"}  # fmt: skip
            made = c.call("POST", "network", "/security-group-rules", {"security_group_rule": rule})
            return str(made["security_group_rule"]["id"])

        ids = self.load("security group rule create c1", create, 50)
        path = "/security-group-rules/"
        self.load("security group rule delete c1", lambda c, n: c.call("DELETE", "network", path + ids[n]), len(ids))
        self.client.call("DELETE", "network", f"/security-groups/{group}")

    def zones(self) -> None:
        def create(c: Client, n: int) -> tuple[str, str]:
            zone = c.call("POST", "dns", "/zones", {"name": f"{self.name}{n}.example.", "email": "a@example.com"})
            self.until(c, "dns", f"/zones/{zone['id']}", None, "ACTIVE")
            return zone["id"], zone["name"]

        made = self.load("zone create -> ACTIVE c1", create, 10)
        made += self.load("zone create -> ACTIVE c8", lambda c, n: create(c, 100 + n), 40, 8)
        zone, name = made[0]

        def record(c: Client, n: int) -> None:
            body = {"name": f"r{n}.{name}", "type": "A", "ttl": 60, "records": [f"192.0.2.{n + 1}"]}
            c.call("POST", "dns", f"/zones/{zone}/recordsets", body)
            if self.dns and not resolves(self.dns, body["name"], body["records"][0]):
                raise Refused(f"{body['name']} does not resolve")

        if self.dns:
            self.load("recordset create -> resolves c1", record, 15)
        self.reads("recordsets list", "dns", f"/zones/{zone}/recordsets", 50)
        self.load("", lambda c, n: c.call("DELETE", "dns", f"/zones/{made[n][0]}"), len(made), 4, silent=True)

    def guests(self) -> None:
        self.network(), self.image(), self.flavor()
        prefix = self.name + "one-"

        def create(c: Client, n: int) -> str:
            made = self.boot(c, f"{prefix}{n}")
            self.until(c, "compute", f"/servers/{made}", "server", "ACTIVE", 0.02)
            return made

        self.load("server create -> ACTIVE c1", create, 10)
        self.erase("10 servers deleted -> gone", prefix)
        prefix = self.name + "par-"
        start = time.monotonic()
        self.load("server create POST c8", lambda c, n: self.boot(c, f"{prefix}{n}"), 50, 8)
        count = self.all_active(prefix, 50)
        self.record("50 servers by 8 users -> all ACTIVE", count, time.monotonic() - start)
        self.erase("50 servers deleted by 8 users -> gone", prefix)

    def many_guests(self) -> None:
        prefix, start = self.name + "many", time.monotonic()
        for batch in range(0, self.many, 100):
            count = min(100, self.many - batch)
            self.boot(self.client, f"{prefix}{batch}-", count)
            self.all_active(f"{prefix}{batch}-", count)
        self.record("fill to 500 servers, 100 a POST", len(self.servers(prefix, "ACTIVE")), time.monotonic() - start)
        self.reads("servers detail, 500 servers", "compute", "/servers/detail?limit=1000", 10)
        self.reads("servers list, 500 servers", "compute", "/servers?limit=1000", 20)
        self.reads("server show", "compute", f"/servers/{self.servers(prefix)[0]}")
        self.erase("500 servers deleted by 8 users -> gone", prefix)

    def clean_up(self) -> None:
        if self._network:
            self.client.call("DELETE", "network", f"/networks/{self._network}")
        if self._image:
            self.client.call("DELETE", "image", f"/images/{self._image}")

    SCENARIOS = ("tokens", "images", "ports", "groups", "zones", "guests", "many_guests")


def resolves(server: str, name: str, address: str) -> bool:
    """Does the authoritative server at HOST:PORT give the name that address within LIMIT seconds?"""
    host, _, port = server.partition(":")
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    end = time.monotonic() + LIMIT
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        while time.monotonic() < end:
            query = (
                secrets.token_bytes(2)
                + struct.pack(">HHHHH", 0, 1, 0, 0, 0)
                + labels
                + b"\0"
                + struct.pack(">HH", 1, 1)
            )
            sock.sendto(query, (host, int(port or 53)))
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                continue
            if answer[:2] == query[:2] and socket.inet_aton(address) in answer:
                return True
            time.sleep(0.01)
    return False


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    reader.add_argument("--only", help=f"some of {','.join(Bench.SCENARIOS)}")
    reader.add_argument("--dns", help="HOST:PORT of the authoritative server")
    reader.add_argument("--servers", type=int, default=500)
    reader.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    args = reader.parse_args()
    chosen = args.only.split(",") if args.only else list(Bench.SCENARIOS)
    if unknown := set(chosen) - set(Bench.SCENARIOS):
        reader.error(f"unknown scenario: {', '.join(sorted(unknown))}")
    bench = Bench(Cloud(), args.dns, args.servers)
    print(f"{'':<42}{'a second':>10}{'OpenStack':>11}{'median ms':>11}{'OpenStack':>11}{'target':>16}")
    try:
        for name in chosen:
            getattr(bench, name)()
    finally:
        bench.clean_up()
        if args.out:
            args.out.write_text(json.dumps(bench.rows, indent=1) + "\n")
    return 1 if any(row["errors"] for row in bench.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
