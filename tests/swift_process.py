# SPDX-License-Identifier: Apache-2.0
"""OpenStack Swift: proxy, account, container and object server on the rings made here, each a child of this process.

Run by the system's Python, which has Swift: `python3 swift_process.py DIRECTORY`. The directory has swift.conf and
{account,container,object,proxy}-server.conf, whose bind_port says where each listens. All end when one does.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from swift.common import utils
from swift.common.ring import RingBuilder

PR_SET_PDEATHSIG = 1
KINDS = ("account", "container", "object", "proxy")


def serve(kind: str, conf: dict[str, str]) -> None:
    from swift.common.wsgi import get_socket, run_server  # reads swift.conf when imported

    run_server(conf, utils.get_logger(conf, f"{kind}-server", log_to_console=True), get_socket(conf))


def main(directory: Path) -> None:
    utils.eventlet_monkey_patch()
    utils.set_swift_dir(str(directory))
    confs = {kind: utils.readconf(str(directory / f"{kind}-server.conf"), f"app:{kind}-server") for kind in KINDS}
    for kind in KINDS[:3]:
        ring = RingBuilder(4, 1, 0)
        ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "disk", "ip": "127.0.0.1",
                      "port": int(confs[kind]["bind_port"])})  # fmt: skip
        ring.rebalance()
        ring.get_ring().save(str(directory / f"{kind}.ring.gz"))
    for kind in KINDS:
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # as the parent does with the test run
            serve(kind, confs[kind])
            os._exit(1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the children are ended with the process group
    os.wait()
    os.killpg(0, signal.SIGKILL)


main(Path(sys.argv[1]))
