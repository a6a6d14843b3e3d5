# SPDX-License-Identifier: Apache-2.0
"""The WSGI pipeline of an API, put together by PasteDeploy from `api-paste.ini`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from paste import deploy

from aerie_common import metrics, openapi
from aerie_common.application import Application
from aerie_common.auth import AuthFilter
from aerie_common.service import Service, Stoppable
from aerie_common.serving import HttpServer, WsgiApp

PASTE_FILE = "api-paste.ini"
_building = threading.local()
"""PasteDeploy hands factories strings only; this tells them which service is being built."""


def etc_file(name: str) -> Path:
    """A file of the configuration samples that are installed with the program."""
    return Path(str(resources.files("aerie_etc").joinpath(name)))


def build(svc: Service) -> WsgiApp:
    """The application with its filters, as the service's paste file says."""
    path = Path(svc.conf.api.paste_config) if svc.conf.api.paste_config else etc_file(PASTE_FILE)
    _building.svc = svc
    try:
        app: WsgiApp = deploy.loadapp(f"config:{path.resolve()}", name="main")
    finally:
        del _building.svc
    return app


def app_factory(global_conf: dict[str, str], **local_conf: str) -> WsgiApp:
    """paste.app_factory: the service's operations."""
    return Application(_building.svc)


def auth_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """paste.filter_factory: tokens to contexts."""
    cache = _building.svc.token_cache
    return lambda app: AuthFilter(app, cache)


def observability_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """paste.filter_factory: /healthcheck, /metrics and /openapi.json, without a token."""
    svc = _building.svc

    def make(app: WsgiApp) -> WsgiApp:
        def observability(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("PATH_INFO")
            if path == "/healthcheck":
                body, content_type = b"OK", "text/plain"
            elif path == "/metrics":
                body, content_type = metrics.exposition()
            elif path == "/openapi.json":
                body, content_type = openapi.document(svc.table), "application/json"
            else:
                return app(environ, start_response)
            start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
            return [body]

        return observability

    return make


def serve(svc: Service, default_port: int) -> Stoppable:
    """Start serving the service's API on its configured address."""
    options = svc.conf.api
    server = HttpServer(
        build(svc),
        (options.listen, options.port or default_port),
        threads=options.threads,
        reuse_port=options.workers > 1,
    )
    server.start()
    return server
