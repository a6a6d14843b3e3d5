# SPDX-License-Identifier: Apache-2.0
"""stack.sh and unstack.sh on a bare Debian 12 whose process 1 is systemd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from servers import die_with_parent

CONTAINER = Path(__file__).with_name("systemd_container.sh")
SECONDS = 1800
"""More than ten times what it takes on a machine that does nothing else."""

INSTALL_AND_REMOVE = r"""
set -e
devstack/stack.sh
# A second run changes nothing and restarts nothing.
before=$(systemctl show -p MainPID --value aerie-all)
devstack/stack.sh > /out/second
[ "$before" = "$(systemctl show -p MainPID --value aerie-all)" ]

. devstack/openrc
openstack server show demo -f value -c status | grep -qx ACTIVE
address=$(openstack floating ip list -f value -c 'Floating IP Address')
ping -c 2 -W 2 "$address"
options=(-i devstack/.state/demo.key -o StrictHostKeyChecking=no -o ConnectTimeout=60 -o BatchMode=yes)
ssh "${options[@]}" "root@$address" hostname | grep -qx demo
aerie status

# The daemons come back by themselves, and the guest does not notice.
kill -9 "$(systemctl show -p MainPID --value aerie-all)"
ping -c 10 -i 0.5 -W 2 "$address" | grep '10 received'
aerie status --wait 60
openstack server list

devstack/unstack.sh
absent() { if eval "$1"; then echo "left behind: $1"; exit 1; fi; }
for path in /etc/aerie /var/lib/aerie /opt/aerie /var/log/aerie devstack/openrc; do absent "[ -e $path ]"; done
absent 'getent passwd aerie'
absent 'ip netns list | grep .'
absent "ip -o link show | grep -E 'br-ex|brq|tap|vxlan-|qg-|qr-'"
absent "systemctl list-units --all --plain --no-legend 'aerie*' | grep ."
absent "iptables-save | grep aerie-"
absent "ls /var/lib/mysql | grep -E 'identity|image|compute|network|dns'"
"""


@pytest.mark.timeout(SECONDS + 300)
def test_install_repeat_restart_remove(tmp_path: Path) -> None:
    """Everything works on a fresh machine, survives kills, and leaves nothing."""
    out = Path(os.environ.get("ARTIFACTS", tmp_path)) / "systemd"
    out.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [CONTAINER, "bash", "-c", INSTALL_AND_REMOVE],
        env={**os.environ, "CONTAINER_TIMEOUT": str(SECONDS), "CONTAINER_OUT": str(out)},
        preexec_fn=die_with_parent,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
