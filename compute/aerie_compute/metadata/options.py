# SPDX-License-Identifier: Apache-2.0
"""Options of the metadata daemon, under the names operators of OpenStack know."""

from __future__ import annotations

from oslo_config import cfg

METADATA_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("metadata_listen", default="0.0.0.0", help="Address the metadata API listens on."),
    cfg.PortOpt("metadata_listen_port", default=8775, help="Its port."),
    cfg.IntOpt("metadata_threads", default=8, min=1, help="Requests worked on at a time."),
    cfg.StrOpt(
        "metadata_proxy_shared_secret",
        default="",
        secret=True,
        help="What the network agents' metadata proxies sign with. Nothing is answered while it is empty.",
    ),
    cfg.StrOpt("vendordata_jsonfile_path", help="JSON file shown to every guest as vendor_data.json."),
]

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = ((None, METADATA_OPTS),)
