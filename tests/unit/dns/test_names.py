# SPDX-License-Identifier: Apache-2.0
"""Domain names and record data: pure functions."""

from __future__ import annotations

import random

import pytest

from aerie_dns import names, rdata


def test_ancestors() -> None:
    assert names.ancestors("a.b.c.") == ["b.c.", "c."]
    assert names.ancestors("c.") == []


def test_rname() -> None:
    assert names.rname("jo.doe@example.org") == "jo\\.doe.example.org."


def test_reverse_names() -> None:
    assert names.reverse_name("192.0.2.5") == "5.2.0.192.in-addr.arpa."
    assert names.reverse_name("2001:db8::1").endswith(".8.b.d.0.1.0.0.2.ip6.arpa.")


@pytest.mark.parametrize(
    "name", ["a.example.", "_dmarc.example.", "0/25.2.0.192.in-addr.arpa.", "xn--nxasmq6b.example."]
)
def test_good_names(name: str) -> None:
    assert names.is_zone_name(name) and names.is_record_name(name) and names.is_record_name(f"*.{name}")


@pytest.mark.parametrize(
    "name", ["", ".", "a", "a..b.", "-a.b.", "a-.b.", "a b.", "a\n.", "a;b.", "a.*.", "x" * 64 + ".", 'a".']
)
def test_bad_names(name: str) -> None:
    assert not names.is_zone_name(name) and not names.is_record_name(name)


def test_no_control_character_reaches_a_zone_file() -> None:
    """Whatever is accepted stays on its line and in its field."""
    noise = random.Random(15)
    alphabet = '\n\r\t\0;$()"\\ @ab1.:-'
    for _ in range(20000):
        text = "".join(noise.choice(alphabet) for _ in range(noise.randrange(1, 12)))
        if names.is_record_name(text):
            assert not set(text) & set('\n\r\t\0;$()"\\ @')
        for type_ in ("TXT", "CNAME", "MX", "A", "CAA"):
            try:
                served = rdata.canonical(type_, text)
            except rdata.InvalidRecord:
                continue
            assert served.isprintable() and rdata.canonical(type_, served) == served


def test_long_text_is_split() -> None:
    served = rdata.canonical("TXT", "x" * 600)
    assert [len(part) for part in served.replace('"', "").split()] == [255, 255, 90]
