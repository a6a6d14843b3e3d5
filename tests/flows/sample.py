# SPDX-License-Identifier: Apache-2.0
"""A flow as services write them, small: a crate takes stock, gets a shelf and a label in the outside world."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from aerie_common import flow as F
from aerie_common.context import Context
from aerie_common.db import Database, Id, compare_and_swap, insert_if_absent, new_id
from aerie_common.flow import Fault, Flow, Run, Step
from aerie_common.lease import lease_table
from aerie_common.testing.flows import Case

METADATA = sa.MetaData()
F.flow_table(METADATA)
lease_table(METADATA)
CRATES = sa.Table(
    "crates",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("fault", sa.String(255)),
    sa.Column("shelf", sa.Integer),
)
CLAIMS = sa.Table("claims", METADATA, sa.Column("crate_id", Id, primary_key=True), sa.Column("amount", sa.Integer))

CTX = Context(user_id="u1", project_id="p1", roles=("member",))


@dataclass
class World:
    """The outside: labels, which outlive any transaction."""

    db: Database
    labels: dict[str, str] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    calls: list[str] = field(default_factory=list)
    hooks: dict[str, Any] = field(default_factory=dict)

    def called(self, name: str, run: Run[World]) -> None:
        self.calls.append(name)
        hook = self.hooks.get(name)
        if hook is not None:
            hook(run)


def claim(run: Run[World]) -> dict[str, int]:
    run.services.called("claim", run)
    with run.services.db.write() as conn:
        insert_if_absent(conn, CLAIMS, {"crate_id": run.subject_id, "amount": run.input["amount"]})
    return {"amount": run.input["amount"]}


def unclaim(run: Run[World]) -> None:
    run.services.called("unclaim", run)
    with run.services.db.write() as conn:
        conn.execute(sa.delete(CLAIMS).where(CLAIMS.c.crate_id == run.subject_id))


def shelve(run: Run[World]) -> None:
    run.services.called("shelve", run)
    with run.services.db.write() as conn:
        compare_and_swap(conn, CRATES, {"id": run.subject_id}, {"shelf": run.results["claim"]["amount"]})


def unshelve(run: Run[World]) -> None:
    run.services.called("unshelve", run)
    with run.services.db.write() as conn:
        compare_and_swap(conn, CRATES, {"id": run.subject_id}, {"shelf": None})


def check_weather(run: Run[World]) -> None:
    run.services.called("check_weather", run)


def label(run: Run[World]) -> str:
    run.services.called("label", run)
    run.services.labels[run.subject_id] = "fragile"
    return "fragile"


def unlabel(run: Run[World]) -> None:
    run.services.called("unlabel", run)
    run.services.labels.pop(run.subject_id, None)


def stored(conn: sa.Connection, run: Run[World]) -> None:
    compare_and_swap(conn, CRATES, {"id": run.subject_id}, {"state": "stored"})


def failed(conn: sa.Connection, run: Run[World], fault: Fault) -> None:
    compare_and_swap(conn, CRATES, {"id": run.subject_id}, {"state": "error", "fault": fault.message})


STORE = Flow(
    "crate_store",
    version=1,
    deadline=600,
    steps=(
        Step("claim", do=claim, undo=unclaim),
        Step("shelve", do=shelve, undo=unshelve),
        Step("check_weather", do=check_weather),
        Step("label", do=label, undo=unlabel, timeout=5),
    ),
    on_done=stored,
    on_failed=failed,
)


def drop(run: Run[World]) -> None:
    run.services.called("drop", run)
    with run.services.db.write() as conn:
        conn.execute(sa.delete(CRATES).where(CRATES.c.id == run.subject_id))


DELETE = Flow("crate_delete", version=1, steps=(Step("drop", do=drop),))


def make_world(url: str) -> World:
    db = Database(url)
    METADATA.drop_all(db.engine)
    db.create_all(METADATA)
    return World(db)


def store(world: World, flow: Flow = STORE, **options: Any) -> tuple[str, str]:
    """A new crate and the flow that stores it: (crate id, flow id)."""
    crate_id = new_id()
    with world.db.write() as conn:
        conn.execute(sa.insert(CRATES).values(id=crate_id, state="new"))
        flow_id = F.start(conn, flow, crate_id, {"amount": 3}, CTX, **options)
    return crate_id, flow_id


def crate(world: World, crate_id: str) -> Any:
    with world.db.read() as conn:
        return conn.execute(sa.select(CRATES).where(CRATES.c.id == crate_id)).first()


def record(world: World, flow_id: str) -> F.FlowRecord:
    with world.db.read() as conn:
        found = F.show(conn, flow_id)
    assert found is not None
    return found


def snapshot(world: World) -> Any:
    with world.db.read() as conn:
        shelves = conn.execute(sa.select(CRATES.c.id, CRATES.c.shelf).order_by(CRATES.c.id)).all()
        claims = conn.execute(sa.select(CLAIMS).order_by(CLAIMS.c.crate_id)).all()
    return [tuple(row) for row in shelves], [tuple(row) for row in claims], dict(world.labels)


def make_case(url: str) -> Case:
    world = make_world(url)
    return Case(
        db=world.db,
        services=world,
        start=lambda flow: store(world, flow)[1],
        snapshot=lambda: snapshot(world),
    )
