# SPDX-License-Identifier: Apache-2.0
"""`results.py FILE`: a subunit stream as JSON, {test: {"status": passed, failed or skipped, "text": why}}.

Run with Tempest's Python, which has the library for it. Names come without their attributes in brackets; a class that
could not be set up has one result in its own name; a test that failed once, or never ended, has failed.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

import subunit

STATUS = {"success": "passed", "xfail": "passed", "skip": "skipped", "fail": "failed", "uxsuccess": "failed"}


class Results:
    """What the stream is told to, packet by packet."""

    def __init__(self) -> None:
        self.began: set[str] = set()
        self.ended: dict[str, str] = {}
        self.text: defaultdict[str, str] = defaultdict(str)

    def startTestRun(self) -> None:
        pass

    def stopTestRun(self) -> None:
        pass

    def status(self, test_id: str | None = None, test_status: str | None = None, file_name: str | None = None,
               file_bytes: bytes | None = None, **_: Any) -> None:  # fmt: skip
        if test_id is None:
            return
        name = test_id.partition("[")[0]
        if file_bytes and file_name and file_name.startswith(("reason", "traceback")):
            self.text[name] += bytes(file_bytes).decode("utf-8", "replace")
        if test_status == "inprogress":
            self.began.add(name)
        elif test_status in STATUS and self.ended.get(name) != "failed":
            self.ended[name] = STATUS[test_status]


def main() -> None:
    results = Results()
    with open(sys.argv[1], "rb") as stream:
        subunit.ByteStreamToStreamResult(stream, non_subunit_name="stdout").run(results)
    found = dict.fromkeys(results.began, "failed") | results.ended
    json.dump({name: {"status": status, "text": results.text[name]} for name, status in found.items()}, sys.stdout)


main()
