# SPDX-License-Identifier: Apache-2.0
"""stack.sh and unstack.sh without systemd: again and again, after a power cut, and away without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers import SANDBOX, die_with_parent

TREE = Path(__file__).resolve().parents[2]
SECONDS = 1500
"""More than ten times what it takes on a machine that does nothing else."""

SCRIPT = r"""
set -e
absent() { if eval "$1"; then echo "left behind: $1"; exit 1; fi; }
trap 'cp -r /var/log/aerie "$SANDBOX_OUT/" 2>/dev/null || true' EXIT

devstack/stack.sh --no-client
sh devstack/.state/ssh-demo hostname | grep -qx demo

# A second run changes nothing and restarts nothing; the guest does not notice.
before="$(cat /run/aerie/parent.pid) $(pgrep -x qemu-system-x86)"
devstack/stack.sh --no-client
[ "$before" = "$(cat /run/aerie/parent.pid) $(pgrep -x qemu-system-x86)" ]
sh devstack/.state/ssh-demo uptime

# Only root reads the secrets; a service reads its own configuration.
[ "$(stat -c '%a %U' /etc/aerie/secrets.env)" = '600 root' ]
for file in /etc/aerie/*.conf; do [ "$(stat -c '%a %U:%G' "$file")" = '640 root:aerie' ]; done
for file in openrc admin-openrc clouds.yaml; do [ "$(stat -c '%a' "devstack/$file")" = 600 ]; done
absent "grep -l 'mysql' /etc/aerie/compute-agent.conf /etc/aerie/network-agent.conf"
for daemon in identity-api image-api compute-api compute-conductor network-api dns-api dashboard; do
    [ "$(ps -o user= -p "$(pgrep -o -f "^aerie-$daemon")")" = aerie ]
done

# A power cut: no process, no device, no rule is left; what is on disk is.
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    case $pid in 1|$$|$PPID) ;; *) kill -9 "$pid" 2>/dev/null || true ;; esac
done
sleep 1
for name in $(ip netns list | cut -d' ' -f1); do ip netns delete "$name"; done
for path in /sys/class/net/*; do [ "${path##*/}" = lo ] || ip link delete "${path##*/}" 2>/dev/null || true; done
for tool in iptables ip6tables; do for table in filter raw nat; do $tool -t $table -F; $tool -t $table -X; done; done
nft flush ruleset
ipset destroy
rm -rf /run/aerie /run/mysqld /run/libvirt /run/pdns-aerie /run/*.pid

devstack/stack.sh --no-client
sh devstack/.state/ssh-demo hostname | grep -qx demo

devstack/unstack.sh --keep-installed
devstack/unstack.sh --keep-installed
for path in /etc/aerie /var/lib/aerie /var/log/aerie /run/aerie devstack/openrc devstack/.state /usr/local/bin/aerie; do
    absent "[ -e $path ]"
done
absent 'getent passwd aerie'
absent 'ip netns list | grep .'
absent "ip -o link show | grep -vw lo"
absent "iptables-save | grep aerie-"
absent "nft list tables | grep -w aerie"
absent "ipset list -n | grep ."
absent "pgrep -l 'qemu|dnsmasq|mariadbd|beam|libvirtd|virtlogd|pdns|memcached|radvd'"
absent "ls /var/lib/mysql | grep -xE 'identity|image|compute|compute_api|network|dns'"
"""


@pytest.mark.timeout(SECONDS + 60)
def test_install_repeat_power_cut_remove(tmp_path: Path) -> None:
    out = Path(os.environ.get("ARTIFACTS", tmp_path)) / "install"
    done = subprocess.run(
        [str(SANDBOX), "bash", "-c", SCRIPT],
        cwd=TREE,
        env={
            **os.environ,
            "SANDBOX_OUT": str(out),
            "SANDBOX_TIMEOUT": str(SECONDS),
            "AERIE_VENV": str(Path(sys.executable).parent.parent),
        },
        preexec_fn=die_with_parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
