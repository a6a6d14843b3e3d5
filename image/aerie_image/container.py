# SPDX-License-Identifier: Apache-2.0
"""The image service's handles."""

from __future__ import annotations

import ipaddress
from functools import cached_property
from pathlib import Path

from aerie_common.service import Service
from aerie_image import stores
from aerie_image.identity_limits import IdentityLimits
from aerie_image.image_cache import ImageCache
from aerie_image.operations import TABLE
from aerie_image.remote import Rules
from aerie_image.stores.base import Store
from aerie_image.stores.file import FileStore


class ImageService(Service):
    """What the handlers and the logic of the image service are given."""

    table = TABLE

    @cached_property
    def stores(self) -> dict[str, Store]:
        """Every store by name; the default one first."""
        return stores.load(self.conf, self.web_rules)

    @property
    def store(self) -> Store:
        """Where new images go."""
        return next(iter(self.stores.values()))

    @cached_property
    def staging(self) -> FileStore:
        """Where data waits for its import. All processes of the API share this folder."""
        return FileStore("staging", Path(self.conf.file.staging_datadir))

    @cached_property
    def identity_limits(self) -> IdentityLimits:
        """What the identity service says projects may have."""
        return IdentityLimits(self.clients, self.conf.region_name)

    @cached_property
    def cache(self) -> ImageCache | None:
        """This host's copies of image data; None when there are none by configuration."""
        conf = self.conf
        if not conf.image_cache_dir:
            return None
        return ImageCache(Path(conf.image_cache_dir), conf.image_cache_max_size, conf.image_cache_stall_time)

    @cached_property
    def web_rules(self) -> Rules:
        """Which URLs web-download may fetch."""
        options = self.conf.import_filtering_opts
        return Rules(
            schemes=frozenset(options.allowed_schemes) & {"http", "https"},
            allowed_hosts=frozenset(h.lower() for h in options.allowed_hosts),
            disallowed_hosts=frozenset(h.lower() for h in options.disallowed_hosts),
            allowed_ports=frozenset(options.allowed_ports),
            disallowed_ports=frozenset(options.disallowed_ports),
            allowed_networks=tuple(ipaddress.ip_network(n) for n in options.allowed_networks),
        )
