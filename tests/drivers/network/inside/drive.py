# SPDX-License-Identifier: Apache-2.0
"""A bridge driver in a process of its own: reads host states, one JSON line each, and answers with reports.

Arguments: the settings as JSON; optionally a device, MAC and address of a guest to be made here first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from guests import Machine  # noqa: E402

from aerie_network.drivers.base import DriverSettings, HostState  # noqa: E402
from aerie_network.drivers.bridge.driver import BridgeDriver  # noqa: E402


def main() -> None:
    fields = json.loads(sys.argv[1])
    fields["roles"] = tuple(fields["roles"])
    driver = BridgeDriver(DriverSettings(**fields))
    if len(sys.argv) > 2:
        device, mac, address = sys.argv[2:]
        Machine("guest", device, mac).address(address)
    for line in sys.stdin:
        report = driver.converge(HostState.from_dict(json.loads(line)))
        print(json.dumps(report.to_dict()), flush=True)


main()
