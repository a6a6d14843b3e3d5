# SPDX-License-Identifier: Apache-2.0
"""Options every service shares, under the names OpenStack's operators know, and reading of a service's file.

A ConfigOpts object is made per daemon and passed on; there is no global one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from oslo_config import cfg

from aerie_common import rpc

DEFAULT_DIR = Path("/etc/aerie")

LOG_OPTS = [
    cfg.BoolOpt("debug", default=False, help="Log decisions in detail."),
    cfg.StrOpt("log_file", help="Log to this file instead of standard error."),
    cfg.StrOpt("log_dir", help="Log to <daemon>.log in this folder."),
]
HOST_OPTS = [
    cfg.StrOpt("host", default=socket.gethostname(), help="Name of this host as agents report it."),
    cfg.StrOpt("state_path", default="/var/lib/aerie", help="Where daemons keep files."),
    cfg.StrOpt("region_name", default="RegionOne", help="Region whose endpoints this service calls."),
]
DATABASE_OPTS = [
    cfg.StrOpt("connection", secret=True, help="SQLAlchemy URL of the service's database."),
    cfg.IntOpt("max_pool_size", default=10, min=1, help="Connections one process keeps."),
]
API_OPTS = [
    cfg.StrOpt("listen", default="0.0.0.0", help="Address the API listens on."),
    cfg.PortOpt("port", help="Port the API listens on (default: the service's usual one)."),
    cfg.IntOpt("workers", default=1, min=1, help="Processes that serve the API."),
    cfg.IntOpt("threads", default=16, min=1, help="Requests one process works on at a time."),
    cfg.StrOpt("cert_file", help="Serve HTTPS: the certificate and its chain (PEM)."),
    cfg.StrOpt("key_file", help="The certificate's private key (PEM)."),
    cfg.StrOpt("public_endpoint", help="Base URL for links, where a proxy hides the real one."),
    cfg.StrOpt("paste_config", help="PasteDeploy file (default: <service>-paste.ini beside the configuration)."),
    cfg.StrOpt(
        "response_validation",
        default="ignore",
        choices=["error", "ignore"],
        help="Check replies against their schemas.",
    ),
]
AUTH_OPTS = [
    cfg.StrOpt("auth_url", default="http://127.0.0.1:5000/v3", help="The identity API."),
    cfg.StrOpt(
        "www_authenticate_uri", help="The identity API's public address, told to strangers (default: auth_url)."
    ),
    cfg.StrOpt("username", help="The service's own user."),
    cfg.StrOpt("password", secret=True, help="Its password."),
    cfg.StrOpt("project_name", default="service", help="The project it works in."),
    cfg.StrOpt("user_domain_name", default="Default", help="The user's domain."),
    cfg.StrOpt("project_domain_name", default="Default", help="The project's domain."),
    cfg.StrOpt("interface", default="internal", help="Which of the catalog's endpoints to call."),
    cfg.StrOpt("cafile", help="Certificates that HTTPS endpoints are verified by (default: the system's)."),
    cfg.BoolOpt("insecure", default=False, help="Do not verify HTTPS endpoints."),
    cfg.ListOpt("memcached_servers", default=[], help="Read by nobody: each process remembers the tokens it has seen."),
]
PROXY_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt(
        "enable_proxy_headers_parsing",
        default=False,
        help="Build links from the X-Forwarded-* headers. Only behind a proxy that sets them itself.",
    ),
]


def new(options: Iterable[tuple[str | None, list[cfg.Opt]]] = ()) -> cfg.ConfigOpts:
    """A ConfigOpts with the shared options and a service's own: (group or None, options)."""
    conf = cfg.ConfigOpts()
    for opt in LOG_OPTS + HOST_OPTS:
        conf.register_opt(opt)
    rpc.register_options(conf)
    for group, opts in (
        ("database", DATABASE_OPTS),
        ("api", API_OPTS),
        ("keystone_authtoken", AUTH_OPTS),
        ("oslo_middleware", PROXY_OPTS),
        *options,
    ):
        for opt in opts:
            conf.register_opt(opt, group=group)
    return conf


def load(
    conf: cfg.ConfigOpts, files: Iterable[Path | str], overrides: dict[tuple[str | None, str], object] | None = None
) -> cfg.ConfigOpts:
    """Read the files into conf; later ones win. overrides: (group, option) -> value."""
    conf([], project="aerie", default_config_files=[str(f) for f in files], default_config_dirs=[])
    for (group, name), value in (overrides or {}).items():
        conf.set_override(name, value, group=group)
    return conf
