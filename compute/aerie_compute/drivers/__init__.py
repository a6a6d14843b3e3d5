# SPDX-License-Identifier: Apache-2.0
"""Hypervisor drivers: the only code that touches guests. They import nothing from the layers above them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aerie_compute.drivers.base import Driver, DriverError

if TYPE_CHECKING:
    from oslo_config.cfg import ConfigOpts


def load(name: str, conf: ConfigOpts) -> Driver:
    """Return the driver called ``name`` (``libvirt`` or ``fake``), configured but not yet initialised."""
    if name == "libvirt":
        from aerie_compute.drivers.libvirt import LibvirtDriver  # needs the libvirt binding: only where it is used

        return LibvirtDriver.from_conf(conf)
    if name == "fake":
        from aerie_compute.drivers.fake import FakeDriver

        return FakeDriver.from_conf(conf)
    raise DriverError(f"there is no compute driver called {name!r}; choose libvirt or fake")
