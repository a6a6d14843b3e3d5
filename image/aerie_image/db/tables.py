# SPDX-License-Identifier: Apache-2.0
"""Tables of the image database.

`images.properties` and `images.tags` are what the API shows; `image_index` repeats them row by row so that lists can be
filtered by them. Both are written in the same transaction (db/images.py) and nowhere else.
"""

import sqlalchemy as sa

from aerie_common.db import Id, Json, timestamps

METADATA = sa.MetaData()

images = sa.Table(
    "images",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(255)),
    sa.Column("owner", Id),
    sa.Column("status", sa.String(30), nullable=False),
    sa.Column("visibility", sa.String(20), nullable=False),
    sa.Column("disk_format", sa.String(20)),
    sa.Column("container_format", sa.String(20)),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", sa.String(32)),
    sa.Column("os_hash_algo", sa.String(64)),
    sa.Column("os_hash_value", sa.String(128)),
    sa.Column("min_disk", sa.Integer, nullable=False, default=0),
    sa.Column("min_ram", sa.Integer, nullable=False, default=0),
    sa.Column("protected", sa.Boolean, nullable=False, default=False),
    sa.Column("os_hidden", sa.Boolean, nullable=False, default=False),
    sa.Column("tags", Json, nullable=False),
    sa.Column("properties", Json, nullable=False),
    sa.Column("location", sa.String(512)),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    *timestamps(),
    sa.Index("ix_images_owner", "owner"),
    sa.Index("ix_images_visibility", "visibility", "os_hidden"),
    sa.Index("ix_images_created_at", "created_at", "id"),
    sa.Index("ix_images_name", "name"),
)

image_index = sa.Table(
    "image_index",
    METADATA,
    sa.Column("image_id", Id, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("kind", sa.String(10), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text),
    sa.Index("ix_image_index_name", "kind", "name"),
)

image_members = sa.Table(
    "image_members",
    METADATA,
    sa.Column("image_id", Id, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("member", Id, primary_key=True),
    sa.Column("status", sa.String(20), nullable=False, default="pending"),
    *timestamps(),
    sa.Index("ix_image_members_member", "member"),
)
