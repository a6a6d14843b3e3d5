# SPDX-License-Identifier: Apache-2.0
"""MariaDB frozen and killed under a whole cloud: every API says so in its own words and in bounded time, writes nothing
by halves, and works again at once."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common.db import new_id
from plain_http import APIS, Cloud
from servers import MariaDB

NAME = re.compile("x[0-9a-f]{8}")
LONGEST = 60.0
"""Seconds a request may take: the cloud's patience with its database (mariadb_cloud.py), and a machine under load."""

MAKES: dict[str, tuple[str, Callable[[str], Any], str, str]] = {
    # what is created where, and where it is to be found by its name
    "identity": ("/v3/projects", lambda name: {"project": {"name": name}}, "/v3/projects?name=", "projects"),
    "image": (
        "/v2/images",
        lambda name: {"name": name, "disk_format": "raw", "container_format": "bare"},
        "/v2/images?name=",
        "images",
    ),
    "compute": (
        "/v2.1/flavors",
        lambda name: {"flavor": {"name": name, "ram": 64, "vcpus": 1, "disk": 0}},
        "/v2.1/flavors?limit=1000&x=",
        "flavors",
    ),
    "placement": (
        "/resource_providers",
        lambda name: {"name": name},
        "/resource_providers?name=",
        "resource_providers",
    ),
    "network": ("/v2.0/networks", lambda name: {"network": {"name": name}}, "/v2.0/networks?name=", "networks"),
    "dns": ("/v2/tlds", lambda name: {"name": name}, "/v2/tlds?name=", "tlds"),
}


@pytest.fixture(scope="module")
def cloud(mariadb_clouds_yaml: Path) -> Iterator[Cloud]:
    """Others use the same cloud, and a top-level domain that is left there forbids them their zones."""
    found = Cloud(mariadb_clouds_yaml)
    yield found
    for api, (path, _, _, key) in MAKES.items():
        status, answer = found.call(api, "GET", path, who="admin")
        assert status == 200, (api, status, answer)
        for row in answer[key]:
            if NAME.fullmatch(row["name"]):
                status, answer = found.call(api, "DELETE", f"{path}/{row.get('id') or row['uuid']}", who="admin")
                assert status == 204 or (api, status) == ("compute", 202), (api, status, answer)


def a_name() -> str:
    return f"x{new_id()[:8]}"


def create(cloud: Cloud, api: str, name: str) -> tuple[int, Any, float]:
    path, body, _, _ = MAKES[api]
    began = time.monotonic()
    status, answer = cloud.call(api, "POST", path, body(name), who="admin")
    return status, answer, time.monotonic() - began


def there(cloud: Cloud, api: str, name: str) -> bool:
    _, _, path, key = MAKES[api]
    status, answer = cloud.call(api, "GET", path + name, who="admin")
    assert status == 200, (api, status, answer)
    return any(row["name"] == name for row in answer[key])


def all_work(cloud: Cloud) -> None:
    for api in MAKES:
        name = a_name()
        status, answer, _ = create(cloud, api, name)
        assert status < 300, (api, status, answer)
        assert there(cloud, api, name)


def told(api: str, status: int, answer: Any) -> None:
    """The refusal is one of that API."""
    assert status in (500, 503), (api, status, answer)
    if api == "compute":
        [(kind, fault)] = answer.items()
        assert (kind, fault["code"]) in (("serviceUnavailable", 503), ("computeFault", 500)) and fault["message"]
    else:
        code, message = APIS[api].error(answer)
        assert code in (None, status) and message


@pytest.mark.timeout(300)
def test_a_database_that_falls_silent(cloud: Cloud, mariadb: MariaDB) -> None:
    all_work(cloud)
    names = {api: a_name() for api in MAKES}
    found: dict[str, tuple[int, Any, float]] = {}

    def ask(api: str) -> None:
        found[api] = create(cloud, api, names[api])

    mariadb.freeze()
    try:
        askers = [threading.Thread(target=ask, args=(api,)) for api in MAKES]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(LONGEST)
        assert set(found) == set(MAKES), "an API does not answer"
        for api, (status, answer, _) in found.items():
            told(api, status, answer)
    finally:
        mariadb.thaw()
    all_work(cloud)
    for api, (status, _, _) in found.items():
        assert status == 500 or not there(cloud, api, names[api]), f"{api} refused what it has done"


@pytest.mark.timeout(300)
def test_a_database_that_is_killed_and_comes_back(cloud: Cloud, mariadb: MariaDB) -> None:
    """Under traffic to every API. Who is told that something was made, finds it; who is refused, does not."""
    made: list[tuple[str, str, int, Any, float]] = []
    stop = threading.Event()
    broken: list[BaseException] = []

    def keep_asking(api: str) -> None:
        try:
            while not stop.is_set():
                name = a_name()
                made.append((api, name, *create(cloud, api, name)))
                stop.wait(0.1)  # within the quotas
        except BaseException as e:  # a connection that closed without an answer, an answer that is no JSON
            broken.append(e)

    askers = [threading.Thread(target=keep_asking, args=(api,)) for api in MAKES]
    for asker in askers:
        asker.start()
    try:
        for _ in range(2):
            before = len(made)
            end = time.monotonic() + LONGEST
            while len(made) < before + 2 * len(MAKES) and time.monotonic() < end:
                time.sleep(0.05)
            mariadb.kill()
            mariadb.start()
        all_work(cloud)
    finally:
        if not mariadb.running:
            mariadb.start()
        stop.set()
        for asker in askers:
            asker.join(LONGEST)
    assert not broken, broken
    assert {api for api, _, status, _, _ in made if status < 300} == set(MAKES)
    for api, name, status, answer, seconds in made:
        assert seconds < LONGEST
        if status < 300:
            assert there(cloud, api, name), f"{api} has lost {name}"
        else:
            told(api, status, answer)
            assert status == 500 or not there(cloud, api, name), f"{api} refused what it has done"
