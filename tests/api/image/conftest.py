# SPDX-License-Identifier: Apache-2.0
"""An image service on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common import config
from aerie_common.testing.api import Api
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.options import OPTIONS


def service(database_url: str, tmp_path: Path) -> ImageService:
    """One with two file stores, on an empty database."""
    conf = config.load(config.new(OPTIONS), [])
    conf.set_override("connection", database_url, group="database")
    conf.set_override("filesystem_store_datadir", str(tmp_path / "images"), group="file")
    conf.set_override("staging_datadir", str(tmp_path / "staging"), group="file")
    conf.set_override("enabled_backends", {"file": "file", "copies": "file"})
    svc = ImageService(conf)
    svc.db.create_all(METADATA)
    return svc


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    svc = service(database_url, tmp_path)
    yield Api(svc)
    svc.db.dispose()


@pytest.fixture
def one_api(tmp_path: Path) -> Iterator[Api]:
    """On one database only: for what takes long and has little to do with it."""
    svc = service(f"sqlite:///{tmp_path / 'test.sqlite'}", tmp_path)
    yield Api(svc)
    svc.db.dispose()
