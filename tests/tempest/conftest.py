# SPDX-License-Identifier: Apache-2.0
"""Unmodified Tempest against `aerie all-in-one`, both in a network namespace of their own.

There the standard ports are free, and a web server has an address that is not this host's own for the image service,
which refuses loopback. Nothing of the machine's network changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers import die_with_parent

VENV = Path(os.environ.get("AERIE_TEMPEST", "/opt/aerie-test/tempest"))
HERE = Path(__file__).parent
WEB = "198.18.0.1"


@dataclass(frozen=True)
class Result:
    """How one test ended: passed, failed or skipped; a traceback or a reason."""

    status: str
    text: str


@dataclass(frozen=True)
class Namespace:
    """A network namespace that lives as long as a process in it."""

    pid: int

    def start(self, *command: object, log: Path, **options: object) -> subprocess.Popen[bytes]:
        """A process inside; its output goes to `log`."""
        enter = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *map(str, command)]
        with log.open("wb") as out:
            return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
                enter, stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent, **options
            )

    def run(self, *command: object, log: Path, **options: object) -> int:
        """The same, until it ends."""
        process = self.start(*command, log=log, **options)
        try:
            return process.wait()
        finally:
            process.kill()


@dataclass(frozen=True)
class Tempest:
    """Tempest, configured for the cloud. `directory` keeps its configuration and logs."""

    namespace: Namespace
    directory: Path

    def run(self, tests: str) -> dict[str, Result]:
        """Run the tests that a regular expression names, two at a time."""
        library = next(VENV.glob("lib/python3*/site-packages/tempest"))
        env = {**os.environ, "TEMPEST_CONFIG_DIR": str(self.directory), "OS_TEST_TIMEOUT": "300"}
        env = {key: value for key, value in env.items() if not key.startswith("OS_CL")}
        stream = self.directory / "subunit"
        self.namespace.run(
            VENV / "bin/stestr", "--test-path", library / "test_discover", "--top-dir", library.parent,
            "--group_regex", r"([^\.]*\.)*",
            "run", "--concurrency", "2", "--subunit", tests,
            log=stream, cwd=self.directory, env=env,
        )  # fmt: skip
        read = [VENV / "bin/python", HERE / "results.py", stream]
        found = json.loads(subprocess.run(read, check=True, capture_output=True, timeout=120).stdout)
        return {name: Result(**result) for name, result in found.items()}


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    if os.geteuid() != 0:
        pytest.fail("these tests make a network namespace: run them as root")
    up = f"ip link set lo up && ip address add {WEB}/32 dev lo && echo up && exec sleep infinity"
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", up], stdout=subprocess.PIPE, preexec_fn=die_with_parent)
    try:
        assert process.stdout and process.stdout.readline() == b"up\n"
        yield Namespace(process.pid)
    finally:
        _stop(process)


@pytest.fixture(scope="session")
def tempest(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tempest]:
    """The cloud, the web server and a configured Tempest, for the whole run."""
    assert (VENV / "bin/stestr").exists(), f"no Tempest in {VENV}: tests/run.sh installs it"
    home = tmp_path_factory.mktemp("tempest")
    (home / "www").mkdir()
    (home / "www/image.raw").write_bytes(bytes(1 << 20))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", home / "www/image.qcow2", "1M"], check=True)
    with ExitStack() as stack:
        python = Path(sys.executable)
        for name, command in (
            ("www", (python, "-m", "http.server", "--bind", WEB, "--directory", home / "www", "80")),
            ("cloud", (python.with_name("aerie"), "all-in-one", "--state-dir", home / "cloud")),
        ):
            process = namespace.start(*command, log=home / f"{name}.log")
            stack.callback(_stop, process)
        clouds_yaml, end = home / "cloud/clouds.yaml", time.monotonic() + 300
        while not clouds_yaml.exists():
            assert process.poll() is None and time.monotonic() < end, (home / "cloud.log").read_text()[-4000:]
            time.sleep(0.1)
        log = home / "configuration.log"
        code = namespace.run(python, HERE / "configuration.py", clouds_yaml, home, f"http://{WEB}", log=log)
        assert code == 0, log.read_text()
        yield Tempest(namespace, home)
        assert process.poll() is None, f"the cloud died:\n{(home / 'cloud.log').read_text()[-4000:]}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
