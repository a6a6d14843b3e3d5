# SPDX-License-Identifier: Apache-2.0
"""Options of the image service, under Glance's names where it has them."""

from oslo_config import cfg

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (
        None,
        [
            cfg.IntOpt("image_size_cap", default=1 << 40, min=1, help="Largest image, in bytes."),
            cfg.IntOpt(
                "user_storage_quota", default=0, min=0, help="Bytes of images one project may keep; 0: no limit."
            ),
            cfg.IntOpt("image_member_quota", default=128, help="Members of one image; -1: no limit."),
            cfg.IntOpt("image_property_quota", default=128, help="Properties of one image; -1: no limit."),
            cfg.IntOpt("image_tag_quota", default=128, help="Tags of one image; -1: no limit."),
        ],
    ),
    (
        "image_format",
        [
            cfg.ListOpt(
                "disk_formats",
                default=["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"],
            ),
            cfg.ListOpt(
                "container_formats", default=["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]
            ),
        ],
    ),
    (
        "file",
        [
            cfg.StrOpt("filesystem_store_datadir", default="/var/lib/aerie/images", help="Folder of the file store."),
            cfg.StrOpt("staging_datadir", default="/var/lib/aerie/image-staging", help="Folder of staged uploads."),
        ],
    ),
)
