# SPDX-License-Identifier: Apache-2.0
"""a grant to everybody for each object that is shared or external"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FLAGS = (
    ("networks", "network", "shared", "access_as_shared"),
    ("networks", "network", "external", "access_as_external"),
    ("subnetpools", "subnetpool", "shared", "access_as_shared"),
    ("address_scopes", "address_scope", "shared", "access_as_shared"),
)
_GRANTS = sa.table(
    "rbac_policies",
    *(sa.column(name) for name in ("id", "project_id", "object_type", "object_id", "action", "target_tenant")),
)
_USAGES = sa.table("quota_usages", *(sa.column(name) for name in ("project_id", "resource", "used")))


def upgrade() -> None:
    conn = op.get_bind()
    g, u = _GRANTS.c, _USAGES.c
    for table, object_type, flag, action in _FLAGS:
        objects = sa.table(table, sa.column("id"), sa.column("project_id"), sa.column(flag, sa.Boolean))
        present = sa.select(g.object_id).where(g.object_type == object_type, g.action == action, g.target_tenant == "*")
        missing = sa.select(objects.c.id, objects.c.project_id).where(
            objects.c[flag].is_(sa.true()), objects.c.id.not_in(present)
        )
        for object_id, project_id in conn.execute(missing).all():
            row = {
                "id": str(uuid.uuid4()), "project_id": project_id, "object_type": object_type,
                "object_id": object_id, "action": action, "target_tenant": "*",
            }  # fmt: skip
            conn.execute(sa.insert(_GRANTS).values(row))
    counts = sa.select(g.project_id, sa.func.count()).where(g.project_id != "").group_by(g.project_id)
    for project_id, count in conn.execute(counts).all():
        mine = (u.project_id == project_id, u.resource == "rbac_policy")
        if not conn.execute(sa.update(_USAGES).where(*mine).values(used=count)).rowcount:
            conn.execute(sa.insert(_USAGES).values(project_id=project_id, resource="rbac_policy", used=count))


def downgrade() -> None:
    g = _GRANTS.c
    op.get_bind().execute(sa.delete(_GRANTS).where(g.target_tenant == "*"))
