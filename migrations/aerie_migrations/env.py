# SPDX-License-Identifier: Apache-2.0
"""Alembic's environment, the same for every database: URL and tables come from the caller."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _repr_type


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Revisions name plain column types, so that they never change with our own type classes."""
    if kind == "type" and isinstance(item, sa.types.TypeDecorator):
        return _repr_type(item.impl_instance, autogen)
    return False


engine = sa.create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes["metadata"],
        render_item=render_item,
        compare_type=False,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
