# SPDX-License-Identifier: Apache-2.0
"""Last checks on values before they reach a configuration file, a rule or a command line.

The API refuses bad values long before; this is the wall behind the wall. Invariant: what passes here cannot break
out of its place: no control character, no blank or separator where the syntax gives them a meaning.
"""

import ipaddress
import re

MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")
HOSTNAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", re.IGNORECASE)
OPTION_NAME = re.compile(r"^[a-z0-9-]{1,64}$", re.IGNORECASE)
ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
DEVICE = re.compile(r"^[A-Za-z0-9_.-]{1,15}$")


class BadValue(ValueError):
    """A value that must not be used; the text says which and why."""


def mac(value: str) -> str:
    """A MAC address in lower case."""
    lowered = value.lower()
    if not MAC.fullmatch(lowered):
        raise BadValue(f"not a MAC address: {value!r}")
    return lowered


def address(value: str) -> str:
    """An IP address in its canonical form."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise BadValue(f"not an IP address: {value!r}") from None


def cidr(value: str) -> str:
    """A network (or address) in canonical CIDR form."""
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise BadValue(f"not an address or network: {value!r}") from None


def version(value: str) -> int:
    """4 or 6: the family of an address or network."""
    try:
        return ipaddress.ip_network(value, strict=False).version
    except ValueError:
        raise BadValue(f"not an address or network: {value!r}") from None


def identifier(value: str) -> str:
    """An id that is safe as part of a path, a tag or a namespace name."""
    if not ID.fullmatch(value) or value.startswith((".", "-")):
        raise BadValue(f"not an id: {value!r}")
    return value


def device(value: str) -> str:
    """A device name."""
    if not DEVICE.fullmatch(value) or value.startswith("-") or value in (".", ".."):
        raise BadValue(f"not a device name: {value!r}")
    return value


def hostname(value: str) -> str:
    """A host or domain name."""
    if not HOSTNAME.fullmatch(value):
        raise BadValue(f"not a host name: {value!r}")
    return value


def option_name(value: str) -> str:
    """The name or number of a DHCP option."""
    if not OPTION_NAME.fullmatch(value):
        raise BadValue(f"not a DHCP option: {value!r}")
    return value


def text(value: str) -> str:
    """A value for one line of a configuration file."""
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029" for char in value):
        raise BadValue(f"control character in {value!r}")
    return value
