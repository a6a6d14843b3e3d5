# SPDX-License-Identifier: Apache-2.0
"""What a real OpenStack passes of Tempest, Aerie passes.

A list `<suite>.txt` names the tests of `tempest.api.<suite>` that an OpenStack of nova's fake guests passed. No other
test of the suite may fail either; it may be skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Result, Tempest

SUITES = sorted(Path(__file__).parent.glob("*.txt"))
NEVER_RAN = Result("failed", "did not run: was its class set up?")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.stem)
def test_passes_what_openstack_passes(tempest: Tempest, suite: Path) -> None:
    results = tempest.run(rf"^tempest\.api\.{suite.stem}\.")
    listed = {name: results.get(name, NEVER_RAN) for name in suite.read_text().split()}
    wrong = {name: result for name, result in listed.items() if result.status != "passed"}
    wrong |= {name: result for name, result in results.items() if result.status == "failed"}
    if not wrong:
        return
    artifacts = Path(os.environ.get("ARTIFACTS", "artifacts")) / "tempest"
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / f"{suite.stem}.txt").write_text(_report(wrong))
    pytest.fail(f"{len(wrong)} tests:\n{_report(wrong, 400)}", pytrace=False)


def _report(wrong: dict[str, Result], most: int = 100_000) -> str:
    return "\n\n".join(f"{name} {r.status}\n{r.text.strip()[-most:]}" for name, r in sorted(wrong.items()))
