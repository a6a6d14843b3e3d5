# SPDX-License-Identifier: Apache-2.0
"""`aerie all-in-one` on MariaDB, as a process of its own: `mariadb_cloud.py STATE_DIR URLS`.

URLS is JSON: for each database its address. Writes STATE_DIR/clouds.yaml when it is up; ends on SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import aerie_common  # noqa: F401  (before any Oslo library, see there)
from aerie_common import config, log, service
from aerie_common import db as database_access
from aerie_common.cmd import db, samples
from aerie_common.cmd.all_in_one import AllInOne

SILENCE_SECONDS = 8
"""How long this cloud waits for its database to answer: tests that silence it wait for that."""


def main(state: Path, urls: dict[str, str]) -> None:
    """Run until told to end."""
    database_access.SILENCE_SECONDS = SILENCE_SECONDS
    state.mkdir(parents=True, exist_ok=True)
    log.setup(config.load(config.new(), [], {(None, "log_file"): str(state / "all-in-one.log")}), "cloud")
    options: dict[str, dict[tuple[str | None, str], Any]] = {}
    for spec in service.services().values():
        for database in spec.databases:
            db.create(database, urls[database.name])
            options.setdefault(spec.name, {})[(database.group, "connection")] = urls[database.name]
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    cloud = AllInOne(state, any_port=True, overrides=options)
    try:
        cloud.start()
        samples.make(cloud)
        (state / "clouds.yaml.draft").write_text(cloud.clouds_yaml())
        (state / "clouds.yaml.draft").rename(state / "clouds.yaml")
        done.wait()
    finally:
        cloud.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
