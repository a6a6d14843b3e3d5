# SPDX-License-Identifier: Apache-2.0
"""Domain names as the API knows them: lower case, absolute, with their final dot. Pure functions.

Invariant: what these functions return holds no control character and no character that means something in a zone
file, so it may be written into one.
"""

from __future__ import annotations

import ipaddress
import re

MAX_NAME = 255
"""Bytes of a name on the wire; each dot of its text is the length of a label there, and the root's own is one more."""
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_SLASH_LABEL = r"(?!-)[a-z0-9_/-]{1,63}(?<!-)"  # RFC 2317: 0/25.2.0.192.in-addr.arpa.
ZONE_PATTERN = re.compile(rf"(?:{_SLASH_LABEL}\.)+", re.I)
NAME_PATTERN = re.compile(rf"(?:\*\.|{_SLASH_LABEL}\.)(?:{_SLASH_LABEL}\.)*", re.I)
HOST_PATTERN = re.compile(rf"(?:{_LABEL}\.)+", re.I)
EMAIL_PATTERN = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)"
                           r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)+")  # fmt: skip


def is_zone_name(name: str) -> bool:
    return len(name) < MAX_NAME and ZONE_PATTERN.fullmatch(name) is not None


def is_record_name(name: str) -> bool:
    """A zone name, or one whose first label is the wildcard."""
    return len(name) < MAX_NAME and NAME_PATTERN.fullmatch(name) is not None


def is_host_name(name: str) -> bool:
    return len(name) < MAX_NAME and HOST_PATTERN.fullmatch(name) is not None


def is_email(address: str) -> bool:
    return len(address) <= MAX_NAME and EMAIL_PATTERN.fullmatch(address) is not None


def is_within(name: str, zone: str) -> bool:
    """Is the name the zone's own or below it?"""
    return name == zone or name.endswith("." + zone)


def ancestors(name: str) -> list[str]:
    """The names above this one, nearest first, without the root: `a.b.c.` gives `b.c.` and `c.`."""
    labels = name.rstrip(".").split(".")
    return [".".join(labels[i:]) + "." for i in range(1, len(labels))]


def rname(email: str) -> str:
    """The mailbox of a SOA: `jo.doe@example.org` is `jo\\.doe.example.org.`"""
    local, _, domain = email.partition("@")
    return f"{local.replace('.', chr(92) + '.')}.{domain.rstrip('.')}."


def reverse_name(address: str) -> str:
    """The name under which an address has its PTR record."""
    return ipaddress.ip_address(address).reverse_pointer + "."


def is_reverse(name: str) -> bool:
    """Does the name belong to the trees in which addresses are looked up?"""
    return any(is_within(name, tree) or is_within(tree, name) for tree in ("in-addr.arpa.", "ip6.arpa."))


def host_label(text: str) -> str | None:
    """A server's display name as one DNS label: what does not fit becomes a hyphen; None when nothing is left."""
    label = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:63].strip("-")
    return label or None
