# SPDX-License-Identifier: Apache-2.0
"""The image service's handles."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from aerie_common.service import Service
from aerie_image.operations import TABLE
from aerie_image.stores.base import Store
from aerie_image.stores.file import FileStore


class ImageService(Service):
    """What the handlers and the logic of the image service are given."""

    table = TABLE

    @cached_property
    def store(self) -> Store:
        """Where new images go."""
        return FileStore(Path(self.conf.file.filesystem_store_datadir))
