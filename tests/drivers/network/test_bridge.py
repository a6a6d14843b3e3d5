# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of inside/*_cases.py in namespaces of their own and passes each result on.

Network, mounts and processes are separate, so that the machine's own bridges, filters and namespaces stay untouched,
and nothing outlives the run.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

INSIDE = Path(__file__).parent / "inside"
CASES = sorted(INSIDE.glob("*_cases.py"))
NAMES = [
    node.name
    for path in CASES
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]
NEEDED = (
    "dnsmasq", "nft", "iptables", "ip6tables", "ipset", "conntrack", "radvd", "ip", "bridge", "busybox", "dig", "curl",
    "tcpdump", "ping",
)  # fmt: skip
ENTER = """
mkdir -p /run/netns && mount -t tmpfs none /run/netns && mount -t sysfs none /sys && ip link set lo up && exec "$@"
"""

CASES_SECONDS = 1200
"""For all of them; alone on a machine they take a minute or two."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are for root"),
    pytest.mark.timeout(CASES_SECONDS + 60),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ElementTree.Element]:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    assert not missing, f"not installed: {', '.join(missing)}"
    report = tmp_path_factory.mktemp("bridge") / "results.xml"
    chosen = os.environ.get("AERIE_CASES", "")
    command = [
        "unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc",
        "--propagation", "private", "sh", "-c", ENTER, "sh",
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=prepend",
        f"--rootdir={INSIDE}", f"--junitxml={report}", "-o", "addopts=", "-o", "junit_logging=system-out",
        *map(str, CASES), *(["-k", chosen] if chosen else []),
    ]  # fmt: skip
    env = {**os.environ, "AERIE_INSIDE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=CASES_SECONDS, env=env)
    if not report.exists():
        pytest.fail(f"the cases did not run:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    print(done.stdout[-6000:])
    return {case.get("name", ""): case for case in ElementTree.parse(report).iter("testcase")}


@pytest.mark.parametrize("name", NAMES)
def test_bridge(name: str, results: dict[str, ElementTree.Element]) -> None:
    if os.environ.get("AERIE_CASES") and name not in results:
        pytest.skip("not chosen by AERIE_CASES")
    case = results[name]
    for kind in ("failure", "error"):
        for trouble in case.iter(kind):
            pytest.fail(trouble.text or trouble.get("message") or kind, pytrace=False)
    for skipped in case.iter("skipped"):
        pytest.skip(skipped.get("message", ""))
