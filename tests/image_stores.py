# SPDX-License-Identifier: Apache-2.0
"""What the tests of every object store share: an image API on it, and a look at what is in it past our code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from aerie_common import config
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.flows import FLOWS
from aerie_image.options import OPTIONS, STORE_OPTIONS
from servers import Swift

DATA = {"Content-Type": "application/octet-stream"}
MIB = 1 << 20


def s3_options(swift: Swift, bucket: str, **more: Any) -> dict[str, Any]:
    return {
        "s3_store_host": swift.url,
        "s3_store_access_key": swift.user,
        "s3_store_secret_key": swift.password,
        "s3_store_bucket": bucket,
        "s3_store_create_bucket_on_put": True,
        "s3_store_bucket_url_format": "path",
        "s3_store_region_name": swift.region,
        "s3_store_large_object_size": 6,
        "s3_store_large_object_chunk_size": 5,
        **more,
    }


def swift_options(swift: Swift, container: str, **more: Any) -> dict[str, Any]:
    return {
        "swift_store_auth_address": f"{swift.url}/auth/v1.0",
        "swift_store_auth_version": "1",
        "swift_store_user": swift.user,
        "swift_store_key": swift.password,
        "swift_store_container": container,
        "swift_store_create_container_on_put": True,
        "swift_store_large_object_size": 6,
        "swift_store_large_object_chunk_size": 5,
        **more,
    }


@contextmanager
def image_api(folder: Path, backends: dict[str, str], options: dict[str, dict[str, Any]]) -> Iterator[Api]:
    """An image API with these stores (name -> kind) and their options (name -> option -> value)."""
    conf = config.load(config.new(OPTIONS), [])
    conf.set_override("connection", f"sqlite:///{folder / 'image.sqlite'}", group="database")
    conf.set_override("filesystem_store_datadir", str(folder / "images"), group="file")
    conf.set_override("staging_datadir", str(folder / "staging"), group="file")
    conf.set_override("enabled_backends", backends)
    for name, values in options.items():
        conf.register_opts(STORE_OPTIONS[backends[name]], group=name)
        change(conf, name, **values)
    svc = ImageService(conf)
    svc.db.create_all(METADATA)
    yield Api(svc)
    svc.db.dispose()


def change(conf: cfg.ConfigOpts, store: str, **values: Any) -> None:
    for option, value in values.items():
        conf.set_override(option, value, group=store)


def restart(api: Api) -> None:
    """Stores as they are made at the next start."""
    api.svc.__dict__.pop("stores", None)


def make(api: Api, by: Caller, disk_format: str = "raw") -> str:
    body = {"name": "i", "disk_format": disk_format, "container_format": "bare"}
    return str(api.call("POST", "/v2/images", body, by=by, expect=201).json["id"])


def image(api: Api, by: Caller, image_id: str) -> Any:
    return api.call("GET", f"/v2/images/{image_id}", by=by, expect=200).json


def upload(api: Api, by: Caller, image_id: str, data: bytes, expect: int = 204, **headers: str) -> Any:
    sent = {**DATA, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return api.call("PUT", f"/v2/images/{image_id}/file", data, by=by, headers=sent, expect=expect)


def begin_import(api: Api, by: Caller, image_id: str, method: str, expect: int = 202, **body: Any) -> Any:
    sent = {"method": {"name": method}, **body}
    return api.call("POST", f"/v2/images/{image_id}/import", sent, by=by, expect=expect)


def work(api: Api) -> None:
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(60)


def locations(api: Api, image_id: str) -> dict[str, str]:
    from aerie_image import db

    with api.svc.db.read() as conn:
        found = db.images.get(conn, image_id)
    assert found is not None
    return found.locations


@dataclass(frozen=True)
class Content:
    """Data and what it should be on the way back."""

    data: bytes

    def check(self, api: Api, by: Caller, image_id: str) -> None:
        found = image(api, by, image_id)
        assert (found["status"], found["size"]) == ("active", len(self.data))
        assert found["checksum"] == hashlib.md5(self.data).hexdigest()
        assert found["os_hash_value"] == hashlib.sha512(self.data).hexdigest()
        assert api.call("GET", f"/v2/images/{image_id}/file", by=by, expect=200).body == self.data
