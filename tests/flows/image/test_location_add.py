# SPDX-License-Identifier: Apache-2.0
"""location_add, by brute force: whatever goes wrong at whichever step, the image has no data and can be tried again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common import config
from aerie_common.context import Context
from aerie_common.flow import ACTIVE, Flow, list_flows
from aerie_common.testing.flows import TWICE, Case, Scenario, check, scenarios
from aerie_image import db
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.flows.location_add import LOCATION_ADD
from aerie_image.logic import images, locations
from aerie_image.options import OPTIONS
from aerie_image.schemas.images import IMAGE
from webserver import Site

OWNER = Context(project_id="p1", user_id="u1", roles=("member", "reader"))
DATA = os.urandom(1 << 20)


@pytest.fixture
def svc(tmp_path: Path) -> Iterator[ImageService]:
    conf = config.load(config.new(OPTIONS), [])
    conf.set_override("connection", f"sqlite:///{tmp_path / 'test.sqlite'}", group="database")
    conf.set_override("filesystem_store_datadir", str(tmp_path / "images"), group="file")
    conf.set_override("enabled_backends", {"file": "file", "web": "http"})
    conf.set_override("allowed_networks", ["127.0.0.1/32"], group="import_filtering_opts")
    made = ImageService(conf)
    made.db.create_all(METADATA)
    yield made
    made.db.dispose()


@pytest.mark.parametrize("scenario", scenarios(LOCATION_ADD), ids=str)
def test_location_add(svc: ImageService, scenario: Scenario) -> None:
    site, began = Site(), []
    url = site.put("/image", DATA)

    def start(flow: Flow) -> str:
        sent = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image_id = images.create(svc, OWNER, IMAGE.values(sent, with_defaults=True)).id
        began.append(image_id)
        locations.create(svc, OWNER, image_id, url, None)
        with svc.db.read() as conn:
            [record] = list_flows(conn, states=ACTIVE, subject_id=image_id)
        return record.id

    def snapshot() -> Any:
        with svc.db.read() as conn:
            return [(i.id, i.locations, i.checksum, i.size) for i in db.images.with_data(conn, "", 100)]

    try:
        check(scenario, Case(svc.db, svc, start, snapshot))
    finally:
        site.stop()
    image = images.get(svc, OWNER, began[0])
    ended = scenario.mishap in (None, TWICE)
    assert image.import_task is None and image.importing_to == []
    expected = ("active", {"web": url}, len(DATA)) if ended else ("queued", {}, None)
    assert (image.status, image.locations, image.size) == expected
    with svc.db.read() as conn:
        [task] = db.tasks.of_image(conn, image.id)
    assert task.status == ("success" if ended else "failure")
