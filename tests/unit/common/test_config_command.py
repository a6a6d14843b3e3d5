# SPDX-License-Identifier: Apache-2.0
"""`aerie config`: every option is explained, and the sample says what the program does without a file."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from aerie_common import config
from aerie_common.cmd import config as command
from aerie_common.service import services

SERVICES = ("identity", "image", "compute", "network", "dns", "dashboard")


@pytest.mark.parametrize("name", SERVICES)
def test_every_option_is_explained(name: str) -> None:
    mute = [
        f"[{group}] {o.name}"
        for group, opts in command.options(services()[name].new_conf())
        for o in opts
        if not o.help
    ]
    assert mute == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_sample_read_as_a_file_changes_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(argparse.Namespace(name=name)) == 0
    text = capsys.readouterr().out
    given = [
        line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ") and not line.endswith(" =")
    ]
    (tmp_path / "sample.conf").write_text("\n".join(given))
    spec = services()[name]
    read = config.load(spec.new_conf(), [tmp_path / "sample.conf"])
    plain = config.load(spec.new_conf(), [])
    for group, opts in command.options(plain):
        for opt in opts:
            where = (read, plain) if group == "DEFAULT" else (read[group], plain[group])
            assert where[0][opt.dest] == where[1][opt.dest], f"[{group}] {opt.name}"


def test_a_service_that_is_none() -> None:
    with pytest.raises(SystemExit, match="no service volume. Known: compute, dashboard, dns"):
        command.run(argparse.Namespace(name="volume"))
