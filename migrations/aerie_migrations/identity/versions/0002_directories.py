# SPDX-License-Identifier: Apache-2.0
"""users and groups that live in a directory; leases"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_EXACT = mysql.VARCHAR(collation="utf8mb4_bin", length=255)


def upgrade() -> None:
    op.create_table(
        "directory_entries",
        sa.Column("public_id", sa.String(length=64), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("local_id", sa.String(length=255).with_variant(_EXACT, "mysql", "mariadb"), nullable=False),
        sa.Column("login_at", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"), nullable=True),
        sa.ForeignKeyConstraint(["domain_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("public_id"),
        sa.UniqueConstraint("domain_id", "kind", "local_id", name="uq_directory_entries"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("until", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("leases")
    op.drop_table("directory_entries")
