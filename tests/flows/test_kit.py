# SPDX-License-Identifier: Apache-2.0
"""The brute force kit: a sound flow passes all of it, and each kind of unsound flow is found out."""

from __future__ import annotations

import dataclasses

import pytest

from aerie_common.flow import Flow, Run, Step
from aerie_common.testing import flows as kit
from flows import sample


@pytest.mark.parametrize("scenario", kit.scenarios(sample.STORE), ids=str)
def test_sound_flow(scenario: kit.Scenario, any_database_url: str) -> None:
    kit.check(scenario, sample.make_case(any_database_url))


def _with(step: Step) -> Flow:
    steps = tuple(step if s.name == step.name else s for s in sample.STORE.steps)
    return dataclasses.replace(sample.STORE, steps=steps)


def _leaves_label(run: Run[sample.World]) -> None:
    """An undo that forgets."""


def _not_twice(run: Run[sample.World]) -> None:
    del run.services.labels[run.subject_id]


def _piles_up(run: Run[sample.World]) -> None:
    sheet = run.services.labels.get(run.subject_id, "")
    run.services.labels[run.subject_id] = sheet + "!"


BROKEN = {
    "undo forgets": (Step("label", do=sample.label, undo=_leaves_label), kit.FAIL_AFTER, AssertionError),
    "undo fails the second time": (Step("label", do=sample.label, undo=_not_twice), kit.UNDO_TWICE, TimeoutError),
    "do piles up": (Step("label", do=_piles_up, undo=sample.unlabel), kit.TWICE, AssertionError),
    "cancel leaves something": (Step("label", do=sample.label), kit.CANCEL, AssertionError),
}


@pytest.mark.parametrize("name", BROKEN)
def test_unsound_flow_is_found_out(name: str) -> None:
    step, mishap, error = BROKEN[name]
    case = sample.make_case("sqlite://")
    case.timeout = 0.5
    with pytest.raises(error):
        kit.check(kit.Scenario(_with(step), step.name, mishap), case)
