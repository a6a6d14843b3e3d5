# SPDX-License-Identifier: Apache-2.0
"""The dashboard's daemon."""

from __future__ import annotations

import importlib.util

from oslo_config import cfg

from aerie_common.service import Daemon, ServiceSpec, Stoppable
from aerie_common.serving import HttpServer
from aerie_dashboard.options import OPTIONS

PORT = 8080


def start(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the pages."""
    from aerie_common.pipeline import tls
    from aerie_dashboard.site import application

    address = (conf.api.listen, conf.api.port or PORT)
    server = HttpServer(application(conf), address, threads=conf.api.threads, tls=tls(conf))
    server.start()
    return [server]


def installed() -> bool:
    """Is the extra `dashboard` installed?"""
    return importlib.util.find_spec("django") is not None


SPEC = ServiceSpec(
    name="dashboard",
    daemons=(Daemon("aerie-dashboard", start, "controller", "dashboard", PORT),) if installed() else (),
    options=OPTIONS,
)
