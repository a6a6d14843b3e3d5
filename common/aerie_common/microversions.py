# SPDX-License-Identifier: Apache-2.0
"""Microversions: (major, minor) pairs, negotiated per request by header and echoed on every reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aerie_common.errors import BadRequest, NotAcceptable

Version = tuple[int, int]
_FORM = re.compile(r"^([1-9]\d*)\.(0|[1-9]\d*)$")


def parse(text: str) -> Version:
    """`"2.96"` -> (2, 96). Raises ValueError on anything else."""
    match = _FORM.match(text)
    if not match:
        raise ValueError(f"{text!r} is not of the form MAJOR.MINOR")
    return int(match[1]), int(match[2])


def text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True)
class Microversions:
    """The versions one API offers and the headers that choose among them.

    `service_type` is the name in `OpenStack-API-Version`; `legacy_header` an older header with a bare version.
    """

    service_type: str
    minimum: Version
    maximum: Version
    legacy_header: str | None = None

    def negotiate(self, environ: Mapping[str, str]) -> Version:
        """The version asked for; the minimum when none is. 400 when malformed, 406 when not offered."""
        asked = None
        for part in environ.get("HTTP_OPENSTACK_API_VERSION", "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() == self.service_type:
                asked = words[1]
        if asked is None and self.legacy_header:
            asked = environ.get("HTTP_" + self.legacy_header.upper().replace("-", "_"))
        if asked is None or asked == "":
            return self.minimum
        if asked == "latest":
            return self.maximum
        try:
            version = parse(asked)
        except ValueError:
            raise BadRequest(
                f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
            ) from None
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(version=asked, minimum=text(self.minimum), maximum=text(self.maximum))
        return version

    def headers(self, version: Version) -> list[tuple[str, str]]:
        """Reply headers that echo the version."""
        result = [("OpenStack-API-Version", f"{self.service_type} {text(version)}")]
        vary = "OpenStack-API-Version"
        if self.legacy_header:
            result.append((self.legacy_header, text(version)))
            vary += ", " + self.legacy_header
        result.append(("Vary", vary))
        return result
