# SPDX-License-Identifier: Apache-2.0
"""Each test of the suite runs on the fake driver, and on libvirt where libvirtd is installed and we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from aerie_compute.drivers.base import ImageFacts  # noqa: E402
from hosts import REPOSITORY, Host, Libvirtd, LibvirtHost  # noqa: E402
from servers import ServerError, program  # noqa: E402


@pytest.fixture(scope="session")
def guest_directory() -> Iterator[Path]:
    """A directory QEMU's own user may pass through."""
    directory = Path(tempfile.mkdtemp(prefix="aerie-guests-", dir="/var/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The small guest image, built where it is not cached."""
    built = subprocess.run(
        [REPOSITORY / "devstack" / "build-guest-image.sh"], stdout=subprocess.PIPE, check=True, text=True
    )
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def libvirtd(guest_directory: Path) -> Iterator[Libvirtd]:
    if os.geteuid() != 0:
        pytest.skip("only root can make namespaces for a private libvirtd")
    try:
        program("libvirtd")
    except ServerError as error:
        pytest.skip(str(error))
    server = Libvirtd(guest_directory / "host")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def libvirt_host(guest_directory: Path, libvirtd: Libvirtd) -> Iterator[LibvirtHost]:
    directory = Path(tempfile.mkdtemp(dir=guest_directory))
    directory.chmod(0o711)
    host = LibvirtHost(directory, libvirtd)
    yield host
    host.close()


@pytest.fixture(params=["fake", "libvirt"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "libvirt":
        yield request.getfixturevalue("libvirt_host")
        return
    made = Host(tmp_path)
    yield made
    made.close()


@pytest.fixture
def image(host: Host, guest_image: Path) -> ImageFacts:
    """The guest image, offered on the host under test."""
    return host.images.add(guest_image, "qcow2")
