# SPDX-License-Identifier: Apache-2.0
"""A daemon that runs the sample flow until it is killed: `python worker.py DATABASE-URL`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from aerie_common.db import Database  # noqa: E402
from aerie_common.flow_runner import FlowRunner  # noqa: E402
from flows import sample  # noqa: E402


def main() -> None:
    world = sample.World(Database(sys.argv[1]))
    for step in ("claim", "shelve", "check_weather", "label"):
        world.hooks[step] = lambda run: time.sleep(0.02)
    FlowRunner(world.db, [sample.STORE], world, lease=2.0).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
