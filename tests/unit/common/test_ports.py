# SPDX-License-Identifier: Apache-2.0
"""Ports for servers started by hand: nobody else is given them, neither another process nor a connection going out."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from aerie_common.ports import BLOCK, free_port

MANY = 3 * BLOCK
GIVE = f"from aerie_common.ports import free_port\nprint(*(free_port() for _ in range({MANY})))"


def test_no_two_processes_are_given_the_same_port() -> None:
    others = [subprocess.Popen([sys.executable, "-c", GIVE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    given = [free_port() for _ in range(MANY)]
    for other in others:
        given += map(int, other.communicate(timeout=60)[0].split())
        assert other.returncode == 0
    assert len(given) == len(set(given)) == 3 * MANY


def test_no_connection_going_out_is_given_it() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not low <= free_port() <= high


def test_a_port_in_use_is_not_given() -> None:
    given = free_port()
    following = range(given + 1, given + BLOCK)
    taken = []
    for port in following:
        kind = socket.SOCK_STREAM if port % 2 else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as busy:
            try:
                busy.bind(("127.0.0.1", port))
            except OSError:
                continue  # another process's, whose block begins there
            taken.append(busy.dup())
    assert free_port() not in following
    for busy in taken:
        busy.close()
