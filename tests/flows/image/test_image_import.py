# SPDX-License-Identifier: Apache-2.0
"""image_import, by brute force: whatever goes wrong at whichever step, no store and no staging keeps anything, and the
image can be imported again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common import config
from aerie_common.context import Context
from aerie_common.flow import ACTIVE, Flow, list_flows
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.flows import TWICE, Case, Scenario, check, scenarios
from aerie_image import db
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.flows.image_import import COPY, IMAGE_IMPORT
from aerie_image.logic import image_data, images, imports
from aerie_image.options import OPTIONS
from aerie_image.schemas.images import IMAGE

OWNER = Context(project_id="p1", user_id="u1", roles=("member", "reader"))
DATA = os.urandom(3 << 20) + b"tail"


class Body:
    """A stream of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        self.at += len(piece)
        return piece


@pytest.fixture
def svc(database_url: str, tmp_path: Path) -> Iterator[ImageService]:
    conf = config.load(config.new(OPTIONS), [])
    conf.set_override("connection", database_url, group="database")
    conf.set_override("filesystem_store_datadir", str(tmp_path / "images"), group="file")
    conf.set_override("staging_datadir", str(tmp_path / "staging"), group="file")
    conf.set_override("enabled_backends", {"file": "file", "copies": "file"})
    made = ImageService(conf)
    made.db.create_all(METADATA)
    yield made
    made.db.dispose()


def new_image(svc: ImageService) -> str:
    sent = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    return images.create(svc, OWNER, IMAGE.values(sent, with_defaults=True)).id


def stored(svc: ImageService) -> Any:
    """Everything in stores and staging, and what the image's data is said to be."""
    with svc.db.read() as conn:
        rows = [(i.id, i.locations, i.checksum, i.size) for i in db.images.with_data(conn, "", 100)]
    files = {s.name: sorted(location for _, location, _ in s.list_()) for s in svc.stores.values()}
    return rows, files, sorted(location for _, location, _ in svc.staging.list_())


def begin(svc: ImageService, method: str) -> str:
    image_id = new_image(svc)
    body: dict[str, Any] = {"method": {"name": method}, "all_stores": True}
    if method == COPY:
        image_data.upload(svc, OWNER, image_id, Body(DATA), None)  # type: ignore[arg-type]
    else:
        image_data.stage(svc, OWNER, image_id, Body(DATA), None)  # type: ignore[arg-type]
    imports.start(svc, OWNER, image_id, body, None)
    return image_id


@pytest.mark.parametrize("method", ["glance-direct", COPY])
@pytest.mark.parametrize("scenario", scenarios(IMAGE_IMPORT), ids=str)
def test_image_import(svc: ImageService, scenario: Scenario, method: str) -> None:
    began: list[str] = []

    def start(flow: Flow) -> str:
        began.append(begin(svc, method))
        with svc.db.read() as conn:
            [record] = list_flows(conn, states=ACTIVE, subject_id=began[0])
        return record.id  # of the same kind and version as `flow`: the runner takes that one for it

    def snapshot() -> Any:
        rows, files, staged = stored(svc)
        return rows, files, staged if method == COPY else "goes in either case"

    check(scenario, Case(svc.db, svc, start, snapshot))
    image = images.get(svc, OWNER, began[0])
    assert image.import_task is None and image.importing_to == [] and stored(svc)[2] == []
    ended = scenario.mishap in (None, TWICE)
    if ended:
        assert (image.status, sorted(image.locations), image.size) == ("active", ["copies", "file"], len(DATA))
        for name, location in image.locations.items():
            assert b"".join(svc.stores[name].read(location, 0, len(DATA))) == DATA
    else:
        assert image.status == ("active" if method == COPY else "queued") and image.failed_stores
    with svc.db.read() as conn:
        [task] = db.tasks.of_image(conn, image.id)
    assert task.status == ("success" if ended else "failure") and bool(task.message) != ended


@pytest.mark.parametrize("step", ["fetch", "prepare", "store"])
def test_delete_wins_over_an_import_at_any_step(svc: ImageService, step: str) -> None:
    import dataclasses

    image_id = begin(svc, "glance-direct")

    def then_delete(do: Any) -> Any:
        def wrapped(run: Any) -> Any:
            result = do(run)
            images.delete(svc, OWNER, image_id)
            return result

        return wrapped

    steps = tuple(dataclasses.replace(s, do=then_delete(s.do)) if s.name == step else s for s in IMAGE_IMPORT.steps)
    FlowRunner(svc.db, [dataclasses.replace(IMAGE_IMPORT, steps=steps)], svc).drain(20)
    assert stored(svc) == ([], {"file": [], "copies": []}, [])


def test_a_store_that_fails_is_named_and_the_others_keep_the_data(
    svc: ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = new_image(svc)
    image_data.stage(svc, OWNER, image_id, Body(DATA), None)  # type: ignore[arg-type]

    def full(image_id: str, size: int | None = None) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(svc.stores["copies"], "create", full)
    body = {"method": {"name": "glance-direct"}, "all_stores": True, "all_stores_must_succeed": False}
    imports.start(svc, OWNER, image_id, body, None)
    FlowRunner(svc.db, [IMAGE_IMPORT], svc).drain(20)
    image = images.get(svc, OWNER, image_id)
    assert (image.status, list(image.locations), image.failed_stores) == ("active", ["file"], ["copies"])
