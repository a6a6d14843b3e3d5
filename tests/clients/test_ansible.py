# SPDX-License-Identifier: Apache-2.0
"""Ansible's own collection `openstack.cloud`, unmodified: things come, stay as they are when asked again, and go."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

VENV = Path(os.environ.get("AERIE_ANSIBLE", "/opt/aerie-test/ansible"))

ZONE = {"name": "ansible.example.", "email": "a@example.org", "zone_type": "primary"}
RECORD = {"zone": "ansible.example.", "name": "www.ansible.example.", "recordset_type": "a", "records": ["192.0.2.9"]}
NETWORK, SUBNET = {"name": "ansible"}, {"name": "ansible", "network_name": "ansible", "cidr": "10.77.0.0/24"}
GROUP = {"name": "ansible"}
RULE = {"security_group": "ansible", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
KEY = {"name": "ansible"}
SERVER = {"name": "ansible", "image": "aerie-guest", "flavor": "std-tiny-1", "network": "ansible", "auto_ip": False,
          "key_name": "ansible", "security_groups": ["ansible"]}  # fmt: skip
THINGS: list[tuple[str, dict[str, Any]]] = [
    ("dns_zone", ZONE),
    ("recordset", RECORD),
    ("network", NETWORK),
    ("subnet", SUBNET),
    ("security_group", GROUP),
    ("security_group_rule", RULE),
    ("keypair", KEY),
    ("server", SERVER),
]


def play(clouds_yaml: Path, folder: Path, tasks: list[tuple[str, dict[str, Any]]]) -> list[bool]:
    """Run modules in this order; whether each changed something."""
    assert (VENV / "bin/ansible-playbook").exists(), f"no Ansible in {VENV}: tests/run.sh installs it"
    steps = [{f"openstack.cloud.{module}": {"cloud": "aerie", **arguments}} for module, arguments in tasks]
    book = folder / "play.yaml"
    book.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": steps}]))
    env = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
           "ANSIBLE_LOCAL_TEMP": str(folder), "ANSIBLE_HOME": str(folder)}  # fmt: skip
    command = [VENV / "bin/ansible-playbook", "-e", f"ansible_python_interpreter={VENV}/bin/python", str(book)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=env)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    ran = json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"]
    return [bool(task["hosts"]["localhost"]["changed"]) for task in ran]


@pytest.mark.timeout(600)
def test_things_come_stay_and_go(clouds_yaml: Path, tmp_path: Path) -> None:
    present = [(module, {"state": "present", **arguments}) for module, arguments in THINGS]
    absent = [(module, {"state": "absent", **arguments}) for module, arguments in reversed(THINGS)]
    every = [True] * len(THINGS)
    assert play(clouds_yaml, tmp_path, present) == every
    assert play(clouds_yaml, tmp_path, present) == [not x for x in every]
    assert play(clouds_yaml, tmp_path, absent) == every
