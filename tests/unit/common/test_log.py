# SPDX-License-Identifier: Apache-2.0
"""What reaches a log, and what does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common import config, log

LOG = logging.getLogger("tests.log")


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A file that gets the log of this test."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in log._QUIET}
    details = {name: getattr(logging, name) for name in ("_srcfile", "logThreads", "logMultiprocessing")}
    path = tmp_path / "log"
    log.setup(config.load(config.new(), [], {(None, "log_file"): str(path)}), "tests")
    yield path
    root.handlers[0].close()
    root.handlers = before
    root.setLevel(level)
    for name, kept in levels.items():
        logging.getLogger(name).setLevel(kept)
    for name, value in details.items():
        setattr(logging, name, value)


@pytest.mark.parametrize(
    "text",
    [
        "{'password': 'S3cret'}",
        '{"adminPass":"S3cret"}',
        "password=S3cret",
        "X-Auth-Token: S3cret",
        "x-subject-token: S3cret",
        "admin_pass=S3cret",
        "Signature=S3cret",
        "mysql+pymysql://nova:S3cret@db/nova",
        "rabbit://aerie:S3cret@10.0.0.1:5672/",
        '{"auth_token": "S3cret", "secret": "S3cret"}',
    ],
)
def test_secrets_are_masked(written: Path, text: str) -> None:
    LOG.warning("said %s", text)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        LOG.exception("failed")
    assert "S3cret" not in written.read_text() and "***" in written.read_text()


def test_what_a_caller_sent_makes_no_line_of_its_own(written: Path) -> None:
    LOG.info(
        '"GET %s" 404', "/a\r\n2026-01-01 00:00:00.000 1 INFO aerie.access [req-x admin] forged\x00\x1b[2J\x85\u2028"
    )
    [line] = written.read_text().splitlines()
    assert r"/a\x0d\x0a2026-01-01" in line and line.endswith(r'forged\x00\x1b[2J\x85\x2028" 404')


def test_traces_stay_readable(written: Path) -> None:
    try:
        raise RuntimeError("oops")
    except RuntimeError:
        LOG.exception("failed")
    assert "\nTraceback (most recent call last):\n" in written.read_text()
