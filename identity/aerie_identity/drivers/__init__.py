# SPDX-License-Identifier: Apache-2.0
"""Directories in which a domain's users and groups may live instead of the database, by the name of their driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aerie_identity.drivers.base import Directory


def _ldap(options: Mapping[str, Any], slots: int) -> Directory:
    from aerie_identity.drivers.ldap_directory import LdapDirectory  # its library is loaded where it is used only
    from aerie_identity.drivers.ldap_options import LdapOptions

    return LdapDirectory(LdapOptions.parse(options), slots)


DRIVERS: dict[str, Callable[[Mapping[str, Any], int], Directory]] = {"ldap": _ldap}
"""Name of driver (and of its group of options) -> maker. slots: how many of a process's threads it may keep busy."""

INSTALL = {
    "ldap": "apt-get install python3-dev gcc libldap-dev libsasl2-dev && pip install 'python-ldap>=3.4,<4'",
}
"""How the library of a driver gets into the virtualenv of an installation that has been made without it."""
