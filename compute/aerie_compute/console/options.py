# SPDX-License-Identifier: Apache-2.0
"""Options of the console proxy, beside those of group ``console`` which the API shares."""

from __future__ import annotations

from oslo_config import cfg

PROXY_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("listen", default="0.0.0.0", help="Address the console proxy listens on."),
    cfg.PortOpt("port", default=6080, help="Its port."),
    cfg.StrOpt("web", default="/usr/share/novnc", help="Folder with noVNC's files."),
    cfg.ListOpt(
        "allowed_origins",
        default=[],
        help="Pages of these origins (http://host:port) may open consoles, beside the proxy's own.",
    ),
    cfg.IntOpt("max_connections", default=512, min=1, help="Connections served at a time."),
]

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (("console_proxy", PROXY_OPTS),)
