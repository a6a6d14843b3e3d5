# SPDX-License-Identifier: Apache-2.0
"""Files of the service: private ones, which belong to the daemon's user even when root made them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from aerie_common.daemons import UNPRIVILEGED_USER


def give_to_service(path: Path) -> None:
    """Commands may run as root; the daemon that reads the file is another user."""
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam(UNPRIVILEGED_USER)
        except KeyError:
            return
        os.chown(path, user.pw_uid, user.pw_gid)


def private_folder(path: Path) -> None:
    """Make the folder and what is missing above it; only the service may look into it."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            give_to_service(folder)
