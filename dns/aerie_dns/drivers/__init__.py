# SPDX-License-Identifier: Apache-2.0
"""Drivers of authoritative name servers, by the name that a pool's `driver` option gives."""

from aerie_dns.drivers.axfr import AxfrDriver
from aerie_dns.drivers.base import Driver
from aerie_dns.drivers.fake import FakeDriver
from aerie_dns.drivers.powerdns import PowerDnsDriver

DRIVERS: dict[str, type[Driver]] = {"axfr": AxfrDriver, "fake": FakeDriver, "powerdns": PowerDnsDriver}
