# SPDX-License-Identifier: Apache-2.0
"""The metadata API as a daemon of the controller: reads the compute database, answers metadata proxies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from oslo_config import cfg

from aerie_common.serving import HttpServer
from aerie_compute.container import Compute
from aerie_compute.logic import passwords
from aerie_compute.logic.metadata import load_instance
from aerie_compute.metadata.application import MetadataApplication

if TYPE_CHECKING:
    from aerie_common.service import Stoppable


def start(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Listen and serve in this process."""
    svc = Compute(conf)
    application = MetadataApplication(
        conf, partial(load_instance, svc), partial(passwords.load, svc), partial(passwords.store, svc)
    )
    server = HttpServer(application, (conf.metadata_listen, conf.metadata_listen_port), threads=conf.metadata_threads)
    server.start()
    return [server]
