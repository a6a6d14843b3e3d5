# SPDX-License-Identifier: Apache-2.0
"""Record data: what the API accepts for each type, and the one form in which it is served. Pure functions.

dnspython parses and prints; on top of it stand the rules of the API: absolute names, host names where hosts are meant.
"""

from __future__ import annotations

import re

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from aerie_dns import names

TYPES = ("A", "AAAA", "CAA", "CERT", "CNAME", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB",
         "TLSA", "TXT")  # fmt: skip
_TLSA_OWNER = re.compile(r"_(\d{1,5})\._[a-z]+\.", re.I)
_TARGETS = {"CNAME": "target", "MX": "exchange", "NS": "target", "PTR": "target", "SRV": "target", "SVCB": "target",
            "HTTPS": "target", "NAPTR": "replacement"}  # fmt: skip
_MULTILINE = ("CERT", "TLSA")
"""Types whose data is long enough that people paste it in several lines, in brackets."""
_ROOT_MEANS_NONE = frozenset({"MX", "SRV", "SVCB", "HTTPS", "NAPTR"})


class InvalidRecord(ValueError):
    """A record that does not fit its type; the text says why."""


def canonical(type_: str, data: str) -> str:
    """The record in presentation form as it is served. InvalidRecord when it is not one of this type."""
    if type_ in _MULTILINE:
        data = " ".join(data.split())
    if any(c < " " or c == "\x7f" for c in data):
        raise InvalidRecord("holds control characters")
    text = _quoted(data) if type_ in ("TXT", "SPF") else data.strip()
    try:
        parsed = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(type_), text, relativize=False)
    except (dns.exception.DNSException, ValueError, OverflowError) as error:
        raise InvalidRecord(f"is not valid {type_} data: {error}") from None
    _check_target(type_, parsed)
    if text.startswith("\\#"):
        raise InvalidRecord(f"is not valid {type_} data: unknown-type notation is not accepted")
    return parsed.to_text()


def _quoted(data: str) -> str:
    """TXT data is one or more quoted strings, or one bare string, which is split where 255 bytes end."""
    text = data.strip()
    if text.startswith('"'):
        if len(text) < 2 or not text.endswith('"'):
            raise InvalidRecord("has a quote that is not closed")
        return text
    if '"' in text:
        raise InvalidRecord("has a quote in an unquoted string")
    if text.endswith("\\"):
        raise InvalidRecord("ends with a backslash")
    if " " in text:
        raise InvalidRecord("must be quoted since it holds spaces")
    if not text:
        raise InvalidRecord("is empty")
    chunks = [text[i : i + 255] for i in range(0, len(text), 255)]
    return " ".join(f'"{chunk}"' for chunk in chunks)


def _check_target(type_: str, parsed: dns.rdata.Rdata) -> None:
    attribute = _TARGETS.get(type_)
    if attribute is None:
        return
    target: dns.name.Name = getattr(parsed, attribute)
    if not target.is_absolute():
        raise InvalidRecord(f"names {target.to_text()}, which does not end with a dot")
    if target == dns.name.root:
        if type_ in _ROOT_MEANS_NONE:
            return
        raise InvalidRecord("names the root")
    text = target.to_text()
    if not (names.is_record_name(text) if type_ in ("CNAME", "PTR", "NAPTR", "SRV") else names.is_host_name(text)):
        raise InvalidRecord(f"names {text}, which is not a valid host name")


def check_owner(type_: str, name: str) -> None:
    """Rules about the name a record of this type stands at. InvalidRecord says which is broken."""
    if type_ == "TLSA":
        match = _TLSA_OWNER.match(name)
        if not match:
            raise InvalidRecord("TLSA record sets are named _port._protocol.domain, e.g. _443._tcp.example.com.")
        if int(match[1]) > 65535:
            raise InvalidRecord(f"TLSA record set name has the port {match[1]}, which must be in the range 0-65535")


def soa(mname: str, email: str, serial: int, refresh: int, retry: int, expire: int, minimum: int) -> str:
    """The data of a zone's SOA record."""
    return f"{mname} {names.rname(email)} {serial} {refresh} {retry} {expire} {minimum}"
