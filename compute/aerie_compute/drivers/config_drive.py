# SPDX-License-Identifier: Apache-2.0
"""The config drive: an ISO 9660 image labelled ``config-2``, made from path -> bytes."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pycdlib

LABEL = "config-2"


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the ISO image to ``path``, whole or not at all. Paths are relative, with forward slashes."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, joliet=3, rock_ridge="1.09", vol_ident=LABEL, app_ident_str="AERIE")
    made: set[PurePosixPath] = set()
    for name, data in sorted(files.items()):
        for directory in reversed(PurePosixPath("/", name).parents[:-1]):
            if directory not in made:
                iso.add_directory(str(directory), rr_name=directory.name, joliet_path=str(directory))
                made.add(directory)
        entry = PurePosixPath("/", name)
        iso.add_fp(io.BytesIO(data), len(data), str(entry), rr_name=entry.name, joliet_path=str(entry))
    partial = path.with_name(path.name + ".partial")
    iso.write(str(partial))
    iso.close()
    partial.chmod(0o600)
    with partial.open("rb+") as stream:
        os.fsync(stream.fileno())
    partial.rename(path)
