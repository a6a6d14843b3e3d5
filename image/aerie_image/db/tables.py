# SPDX-License-Identifier: Apache-2.0
"""Tables of the image database.

`images.locations` is where the data is: store -> URL that this store understands. `importing_to` and `failed_stores`
tell clients how an import goes, `import_task` which one is at work. `images.properties` and `images.tags` are what the
API shows; `image_index` repeats them row by row so that lists can be filtered by them. Both are written in the same
transaction (db/images.py) and nowhere else.
"""

import sqlalchemy as sa

from aerie_common.db import BigText, Id, Json, timestamps
from aerie_common.flow import flow_table

METADATA = sa.MetaData()
flows = flow_table(METADATA)

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
    sa.Column("locations", Json, nullable=False),
    sa.Column("import_task", Id),
    sa.Column("importing_to", Json),
    sa.Column("failed_stores", Json),
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

tasks = sa.Table(
    "tasks",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("type", sa.String(30), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("owner", Id, nullable=False),
    sa.Column("user_id", Id),
    sa.Column("image_id", Id),
    sa.Column("request_id", sa.String(64)),
    sa.Column("input", Json, nullable=False),
    sa.Column("result", Json),
    sa.Column("message", BigText, nullable=False),
    *timestamps(),
    sa.Index("ix_tasks_image_id", "image_id"),
    sa.Index("ix_tasks_owner", "owner"),
    sa.Index("ix_tasks_updated_at", "updated_at"),
)

namespaces = sa.Table(
    "metadef_namespaces",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("namespace", sa.String(80), nullable=False, unique=True),
    sa.Column("display_name", sa.String(80)),
    sa.Column("description", sa.Text),
    sa.Column("visibility", sa.String(20), nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("owner", Id, nullable=False),
    *timestamps(),
)

definitions = sa.Table(
    "metadef_definitions",
    METADATA,
    # Objects, properties, tags and associations with resource types: each a name within its namespace, with a body.
    sa.Column("namespace_id", Id, sa.ForeignKey("metadef_namespaces.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("body", Json, nullable=False),
    *timestamps(),
    sa.Index("ix_metadef_definitions_name", "kind", "name"),
)
