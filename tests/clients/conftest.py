# SPDX-License-Identifier: Apache-2.0
"""A whole cloud in one process, and the real clients that talk to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common import service
from commandline import OpenStack, Session
from plain_http import Cloud
from servers import MariaDB, die_with_parent


@contextlib.contextmanager
def _running(command: list[str], state: Path) -> Iterator[Path]:
    """The clouds.yaml of the cloud that a command runs in the folder `state`, until the end."""
    with (state / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, preexec_fn=die_with_parent)
    try:
        end = time.monotonic() + 300
        while not (state / "clouds.yaml").exists():
            assert process.poll() is None and time.monotonic() < end, _tail(state)
            time.sleep(0.1)
        yield state / "clouds.yaml"
        assert process.poll() is None, f"the cloud died:\n{_tail(state)}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def clouds_yaml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`aerie all-in-one` for the whole run; its clouds.yaml has the clouds `aerie` (demo) and `aerie-admin`."""
    state = tmp_path_factory.mktemp("all-in-one")
    command = [str(Path(sys.executable).with_name("aerie")), "all-in-one", "--any-port", "--state-dir", str(state)]
    with _running(command, state) as found:
        yield found


@pytest.fixture(scope="session")
def mariadb_clouds_yaml(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same of a cloud on MariaDB, for what that database alone can do."""
    state = tmp_path_factory.mktemp("on-mariadb")
    names = {d.name: mariadb.create_database() for spec in service.services().values() for d in spec.databases}
    urls = json.dumps({name: mariadb.url(database) for name, database in names.items()})
    program = str(Path(__file__).parent.parent / "mariadb_cloud.py")
    try:
        with _running([sys.executable, program, str(state), urls], state) as found:
            yield found
    finally:
        for name in names.values():
            mariadb.drop_database(name)


def _tail(state: Path) -> str:
    logs = [state / "output", state / "all-in-one.log"]
    return "\n".join(log.read_text()[-4000:] for log in logs if log.exists())


@pytest.fixture(scope="session")
def demo(clouds_yaml: Path) -> OpenStack:
    return OpenStack("aerie", clouds_yaml)


@pytest.fixture(scope="session")
def admin(clouds_yaml: Path) -> OpenStack:
    return OpenStack("aerie-admin", clouds_yaml)


@pytest.fixture(scope="session")
def demo_session(clouds_yaml: Path) -> Iterator[Session]:
    """Many commands of the demo user in one process."""
    made = Session("aerie", clouds_yaml)
    yield made
    made.close()


@pytest.fixture(scope="session")
def admin_session(clouds_yaml: Path) -> Iterator[Session]:
    made = Session("aerie-admin", clouds_yaml)
    yield made
    made.close()


@pytest.fixture(scope="session")
def cloud(clouds_yaml: Path) -> Cloud:
    """The same cloud over plain HTTP."""
    return Cloud(clouds_yaml)
