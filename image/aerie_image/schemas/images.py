# SPDX-License-Identifier: Apache-2.0
"""The fields of an image. Custom properties stand beside them in the same flat object."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, Resource
from aerie_image.db.images import Image

VISIBILITIES = ("community", "public", "private", "shared")
STATUSES = (
    "queued",
    "saving",
    "active",
    "killed",
    "deleted",
    "uploading",
    "importing",
    "pending_delete",
    "deactivated",
)
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
UUID = r"^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
_time = schema.string(format="date-time", nullable=True)
MAX_INT = 2147483647

IMAGE = Resource(
    "image",
    "images",
    [
        Field("id", schema.string(pattern=UUID), create=True, filter=True, sort=True,
              doc="An identifier for the image"),
        Field("name", schema.string(max=255, nullable=True), create=True, update=True, filter=True, sort=True,
              doc="Descriptive name for the image"),
        Field("status", schema.enum(*STATUSES), filter=True, sort=True, doc="Status of the image"),
        Field("visibility", schema.enum(*VISIBILITIES), create=True, update=True, filter=True, default="shared",
              doc="Scope of image accessibility"),
        Field("protected", schema.boolean(), create=True, update=True, filter=True, default=False,
              doc="If true, image will not be deletable."),
        Field("os_hidden", schema.boolean(), create=True, update=True, filter=True, default=False,
              doc="If true, image will not appear in default image list response."),
        Field("checksum", schema.string(max=32, nullable=True), filter=True, doc="md5 hash of image contents."),
        Field("os_hash_algo", schema.string(max=64, nullable=True), filter=True,
              doc="Algorithm to calculate the os_hash_value"),
        Field("os_hash_value", schema.string(max=128, nullable=True), filter=True,
              doc="Hexdigest of the image contents using the algorithm specified by the os_hash_algo"),
        Field("owner", schema.string(max=64, nullable=True), create=True, update=True, filter=True, sort=True,
              doc="Owner of the image"),
        Field("size", schema.integer(nullable=True), filter=True, sort=True, doc="Size of image file in bytes"),
        Field("virtual_size", schema.integer(nullable=True), sort=True, doc="Virtual size of image in bytes"),
        Field("container_format", {"enum": [None, *CONTAINER_FORMATS]}, create=True, update=True, filter=True,
              sort=True, doc="Format of the container"),
        Field("disk_format", {"enum": [None, *DISK_FORMATS]}, create=True, update=True, filter=True, sort=True,
              doc="Format of the disk"),
        Field("created_at", _time, filter=True, sort=True, doc="Date and time of image registration"),
        Field("updated_at", _time, filter=True, sort=True, doc="Date and time of the last image modification"),
        Field("tags", schema.array(schema.string(max=255)), create=True, update=True, default=list,
              doc="List of strings related to the image"),
        Field("min_disk", schema.integer(0, MAX_INT), create=True, update=True, filter=True, sort=True, default=0,
              doc="Amount of disk space (in GB) required to boot image."),
        Field("min_ram", schema.integer(0, MAX_INT), create=True, update=True, filter=True, sort=True, default=0,
              doc="Amount of ram (in MB) required to boot image."),
    ],
    wrap=False,
    extra=schema.string(max=65535, nullable=True),
)  # fmt: skip

BASE = frozenset(IMAGE.fields)
READ_ONLY = frozenset({"status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "created_at",
                       "updated_at", "self", "file", "schema", "direct_url", "stores", "locations"})  # fmt: skip
RESERVED = frozenset({"location", "deleted", "deleted_at", "is_public"})
RESERVED_PREFIX = "os_glance"
MAX_NAME = 255
"""Characters in the name of a property, or in a tag."""


def show(image: Image, ctx: Context) -> dict[str, Any]:
    """The image as one flat object."""
    body = {**image.properties, **IMAGE.show(image, ctx)}
    body["self"] = f"/v2/images/{image.id}"
    body["file"] = f"/v2/images/{image.id}/file"
    body["schema"] = "/v2/schemas/image"
    if image.status in ("active", "deactivated"):
        body["stores"] = ",".join(sorted(image.locations))
    if image.importing_to is not None:
        body["os_glance_importing_to_stores"] = ",".join(image.importing_to)
        body["os_glance_failed_import"] = ",".join(image.failed_stores or ())
    return body
