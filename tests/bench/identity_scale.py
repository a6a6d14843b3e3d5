# SPDX-License-Identifier: Apache-2.0
"""How identity behaves when it is large: the same calls in a small and in a big database, side by side.

    python tests/bench/identity_scale.py [--users 100000 --projects 10000 --assignments 1000000]

Starts a private MariaDB in memory, seeds it twice, and prints milliseconds per call (median) through the real
application. The limit for each call is twice its small-size time (plus a millisecond of noise); exit status 1 beyond.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
import webob

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from aerie_common import config, pipeline  # noqa: E402
from aerie_identity.container import Identity  # noqa: E402
from aerie_identity.daemons import SPEC  # noqa: E402
from aerie_identity.db import tables as t  # noqa: E402
from aerie_identity.logic.bootstrap import Bootstrap, bootstrap, default_endpoints  # noqa: E402
from servers import MariaDB  # noqa: E402

CHUNK = 5000
ROUNDS = 30


def chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    block: list[dict[str, Any]] = []
    for row in rows:
        block.append(row)
        if len(block) == CHUNK:
            yield block
            block = []
    if block:
        yield block


def seed(svc: Identity, users: int, projects: int, assignments: int) -> None:
    """Users u0.., projects p0.., one group per project; each grant is a user's on a project. u0 is in 10 groups and has
    10 grants, as everybody else about has."""
    with svc.db.read() as conn:
        password = conn.execute(sa.select(t.passwords.c.hash)).scalars().first()
        roles = {name: id for id, name in conn.execute(sa.select(t.roles.c.id, t.roles.c.name))}
    member = roles["member"]
    base = {"domain_id": "default", "options": {}, "extra": {}, "enabled": True}
    tables: list[tuple[sa.Table, Iterator[dict[str, Any]]]] = [
        (t.projects, ({**base, "id": f"{i:032x}", "name": f"p{i}", "parent_id": "default", "is_domain": False,
                       "path": f"/default/{i:032x}/", "description": ""} for i in range(projects))),
        (t.users, ({**base, "id": f"{i:032x}", "name": f"u{i}"} for i in range(users))),
        (t.passwords, ({"user_id": f"{i:032x}", "hash": password} for i in range(users))),
        (t.groups, ({"id": f"a{i:031x}", "domain_id": "default", "name": f"g{i}", "description": "", "extra": {}}
                    for i in range(projects))),
        (t.memberships, ({"user_id": f"{i % users:032x}", "group_id": f"a{(i * 7) % projects:031x}"}
                         for i in range(min(users, 10 * projects)))),
        (t.assignments, (grant(i, users, projects, member) for i in range(assignments))),
    ]  # fmt: skip
    for table, rows in tables:
        for block in chunks(rows):
            with svc.db.write() as conn:
                conn.execute(sa.insert(table).prefix_with("IGNORE"), block)
    with svc.db.write() as conn:
        svc.epoch.bump(conn)
        for table in t.metadata.sorted_tables:
            conn.exec_driver_sql(f"ANALYZE TABLE `{table.name}`")


def grant(i: int, users: int, projects: int, role: str) -> dict[str, Any]:
    spread = i // users
    return {"actor_type": "user", "actor_id": f"{i % users:032x}", "target_type": "project", "role_id": role,
            "target_id": f"{(i % users + spread * 37) % projects:032x}", "inherited": False}  # fmt: skip


class Client:
    """Calls into the application."""

    def __init__(self, svc: Identity) -> None:
        self.app = pipeline.build(svc)
        self.admin = self.login("admin", "admin")
        self.user = self.login("u0", None)

    def login(self, user: str, project: str | None) -> str:
        named = {"name": user, "domain": {"id": "default"}, "password": "secret"}
        scope = {"project": {"name": project, "domain": {"id": "default"}}} if project else "unscoped"
        auth = {"identity": {"methods": ["password"], "password": {"user": named}}, "scope": scope}
        return str(self.call("POST", "/v3/auth/tokens", {"auth": auth}).headers["X-Subject-Token"])

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> webob.Response:
        request = webob.Request.blank(path, method=method)
        if body is not None:
            request.body, request.content_type = orjson.dumps(body), "application/json"
        if token:
            request.headers["X-Auth-Token"] = token
        reply: webob.Response = request.get_response(self.app)
        if reply.status_int >= 400:
            raise SystemExit(f"{method} {path}: {reply.status}: {reply.text[:500]}")
        return reply


def calls(client: Client, svc: Identity) -> dict[str, Callable[[], Any]]:
    admin, user = client.admin, client.user
    first, project = f"{0:032x}", f"{0:032x}"

    def validate() -> None:
        svc.token_cache._tokens.clear()
        client.call("GET", "/v3/auth/projects?limit=1", token=client.login("u0", "p0"))

    return {
        "token issue": lambda: client.login("u0", "p0"),
        "token issue, validate uncached": validate,
        "auth/projects": lambda: client.call("GET", "/v3/auth/projects", token=user),
        "user show": lambda: client.call("GET", f"/v3/users/{first}", token=admin),
        "users by name": lambda: client.call("GET", "/v3/users?name=u7", token=admin),
        "users, a page of 100": lambda: client.call("GET", "/v3/users?limit=100", token=admin),
        "projects of a user": lambda: client.call("GET", f"/v3/users/{first}/projects", token=admin),
        "effective roles of a user": lambda: client.call(
            "GET", f"/v3/role_assignments?user.id={first}&effective&include_names", token=admin
        ),
        "effective roles, user on project": lambda: client.call(
            "GET", f"/v3/role_assignments?user.id={first}&scope.project.id={project}&effective", token=admin
        ),
    }


def prepare(url: str, state: Path, users: int, projects: int, assignments: int) -> Identity:
    """A service whose database holds so much."""
    values: dict[tuple[str | None, str], Any] = {
        (None, "state_path"): str(state),
        ("database", "connection"): url,
        ("identity", "password_hash_rounds"): 4,
    }
    svc = Identity(config.load(SPEC.new_conf(), [], values))
    svc.db.create_all(t.metadata)
    bootstrap(svc, Bootstrap("secret", endpoints=default_endpoints("127.0.0.1")))
    began = time.monotonic()
    seed(svc, users, projects, assignments)
    seconds = time.monotonic() - began
    print(f"seeded {users} users, {projects} projects, {assignments} assignments in {seconds:.0f} s", flush=True)
    return svc


def measure(*services: Identity) -> dict[str, list[float]]:
    """The median of each call in each service, in milliseconds. They take turns, whatever else the machine does."""
    made = [calls(Client(svc), svc) for svc in services]
    found: dict[str, list[float]] = {}
    for name in made[0]:
        times: list[list[float]] = [[] for _ in made]
        for round in range(ROUNDS + 1):
            for taken, known in zip(times, made, strict=True):
                began = time.monotonic()
                known[name]()
                if round:  # the first one warms up
                    taken.append(time.monotonic() - began)
        found[name] = [statistics.median(taken) * 1000 for taken in times]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--assignments", type=int, default=1_000_000)
    args = parser.parse_args()
    logging.disable(logging.INFO)
    folder = Path(tempfile.mkdtemp(prefix="aerie-scale-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    server = MariaDB(folder / "mariadb")
    server.start()
    try:
        small = prepare(server.url(server.create_database()), folder / "small", 100, 100, 1000)
        sizes = args.users, args.projects, args.assignments
        big = prepare(server.url(server.create_database()), folder / "big", *sizes)
        found = measure(small, big)
        small.db.dispose()
        big.db.dispose()
    finally:
        server.stop()
        shutil.rmtree(folder)
    worst = 0
    print(f"{'call':<36}{'small, ms':>12}{'big, ms':>12}")
    for name, (before, after) in found.items():
        slow = after > 2 * before + 1
        worst |= slow
        print(f"{name:<36}{before:>12.1f}{after:>12.1f}{'  more than twice' if slow else ''}")
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
