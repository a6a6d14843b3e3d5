# SPDX-License-Identifier: Apache-2.0
"""The WSGI pipeline of an API, put together by PasteDeploy from `api-paste.ini`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
from oslo_config import cfg
from paste import deploy

from aerie_common import metrics, openapi
from aerie_common.application import Application
from aerie_common.auth import AuthFilter
from aerie_common.context import new_request_id
from aerie_common.errors import AerieError
from aerie_common.service import Service, Stoppable
from aerie_common.serving import HttpServer, Tls, WsgiApp
from aerie_common.wire import HOST

PASTE_FILE = "api-paste.ini"
_building = threading.local()
"""PasteDeploy hands factories strings only; this tells them which service is being built."""


def etc_file(name: str) -> Path:
    """A file that is installed with the program, out of `etc/aerie`."""
    return Path(str(resources.files("aerie_etc").joinpath(name)))


def build(svc: Service) -> WsgiApp:
    """The application with its filters, as the service's paste file says."""
    path = Path(svc.conf.api.paste_config) if svc.conf.api.paste_config else etc_file(PASTE_FILE)
    _building.svc = svc
    try:
        app: WsgiApp = deploy.loadapp(f"config:{path.resolve()}", name="main")
    finally:
        del _building.svc
    if svc.conf.oslo_middleware.enable_proxy_headers_parsing:
        app = behind_proxy(app)
    return app


def behind_proxy(app: WsgiApp) -> WsgiApp:
    """The same application, seeing its client where the proxy in front says it is. What makes no sense is left out."""

    def forwarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        told = {
            name: environ.get(f"HTTP_X_FORWARDED_{name}", "").partition(",")[0].strip()
            for name in ("PROTO", "HOST", "FOR", "PREFIX")
        }
        if told["PROTO"] in ("http", "https"):
            environ["wsgi.url_scheme"] = told["PROTO"]
        if HOST.fullmatch(told["HOST"]):
            environ["HTTP_HOST"] = told["HOST"]
        if told["FOR"]:
            environ["REMOTE_ADDR"] = told["FOR"]
        if told["PREFIX"].startswith("/"):
            environ["SCRIPT_NAME"] = told["PREFIX"].rstrip("/")
        return app(environ, start_response)

    return forwarded


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
    """Start serving the service's API on its configured address (`default_port` unless a port is configured)."""
    return serve_at(svc, svc.conf.api.port or default_port)


def serve_at(svc: Service, port: int) -> Stoppable:
    """The same at this port."""
    options = svc.conf.api

    def refusal(error: AerieError) -> tuple[list[tuple[str, str]], bytes]:
        request_id = new_request_id()
        headers = [("Content-Type", "application/json"), ("X-Openstack-Request-Id", request_id)]
        return headers, orjson.dumps(svc.table.dialect(error, request_id))

    server = HttpServer(
        build(svc),
        (options.listen, port),
        threads=options.threads,
        reuse_port=options.workers > 1,
        tls=tls(svc.conf),
        refusal=refusal,
    )
    server.start()
    return server


def tls(conf: cfg.ConfigOpts) -> Tls | None:
    """What `[api]` says of TLS, None for plain HTTP. SystemExit when only one of certificate and key is there."""
    cert_file, key_file = conf.api.cert_file, conf.api.key_file
    if bool(cert_file) != bool(key_file):
        raise SystemExit("[api] cert_file and key_file go together.")
    return Tls(cert_file, key_file) if cert_file else None
