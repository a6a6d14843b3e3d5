# SPDX-License-Identifier: Apache-2.0
"""PowerDNS through its HTTP API: a change is one PATCH with the record sets that changed, served at once.

Settings: `powerdns_url`, `powerdns_key`, `powerdns_server_id`. The serial is ours: PowerDNS is told not to edit it.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import dns.rdata
import requests

from aerie_dns.drivers.base import Driver, DriverError, Rrset, Target, Zone, ZoneMissing

LOG = logging.getLogger(__name__)
_PLAIN_PARAMETER = re.compile(r'(mandatory|alpn|port|ipv4hint|ipv6hint)="([^"\s\\]*)"')
TIMEOUT = (3.0, 30.0)
PER_REQUEST = 1000
"""Record sets in one PATCH: PowerDNS takes a request of a few MiB at most."""


def zone_path(zone_name: str) -> str:
    """The zone's path in the API: its name, with the characters that PowerDNS wants escaped its own way."""
    return "/zones/" + "".join(c if c.isalnum() or c in "-_." else f"={ord(c):02X}" for c in zone_name)


class PowerDnsDriver(Driver):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        settings = target.settings
        self._root = (
            f"{settings['powerdns_url'].rstrip('/')}/api/v1/servers/{settings.get('powerdns_server_id') or 'localhost'}"
        )
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["X-API-Key"] = settings["powerdns_key"]

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            reply = self._http.request(method, self._root + path, json=body, timeout=TIMEOUT)
        except requests.RequestException as error:
            raise DriverError(f"PowerDNS at {self._root} does not answer: {error}") from error
        if reply.status_code == 404:
            raise ZoneMissing(path)
        if reply.status_code >= 400:
            raise DriverError(f"PowerDNS answers {method} {path} with {reply.status_code}: {_reason(reply)}")
        return reply.json() if reply.content else None

    def put_zone(self, zone: Zone) -> None:
        path = zone_path(zone.name)
        try:
            present = self._call("GET", path)
        except ZoneMissing:
            self._create(zone)
            return
        self._take_over(path, present)
        wanted = {(r.name, r.type): r for r in zone.rrsets}
        served = {(r["name"], r["type"]): _from_api(r) for r in present["rrsets"]}
        gone = [Rrset(name, type_, 0, ()) for name, type_ in served if (name, type_) not in wanted]
        changed = [r for key, r in wanted.items() if served.get(key) != _sorted(r)]
        self._patch(path, [*gone, *changed])

    def _take_over(self, path: str, present: dict[str, Any]) -> None:
        if present["kind"] != "Native" or present.get("soa_edit_api") or present.get("soa_edit"):
            self._call("PUT", path, {"kind": "Native", "masters": [], "soa_edit_api": "", "soa_edit": ""})

    def _create(self, zone: Zone) -> None:
        body: dict[str, Any] = {"name": zone.name, "kind": "Native", "soa_edit_api": "", "nameservers": []}
        first, rest = zone.rrsets[:PER_REQUEST], zone.rrsets[PER_REQUEST:]
        soa = [r for r in rest if r.type == "SOA"]
        body["rrsets"] = [_to_api(r) for r in (*soa, *first)]
        try:
            self._call("POST", "/zones", body)
        except DriverError as refusal:
            # Perhaps two attempts overlapped, after a takeover, and the other one made it: then make that one right.
            try:
                present = self._call("GET", zone_path(zone.name))
            except ZoneMissing:
                raise refusal from None
            self._take_over(zone_path(zone.name), present)
            rest = zone.rrsets
        self._patch(zone_path(zone.name), rest)
        # It may remember, for a minute, that it had no such zone; changes of a zone that exists clear what they touch.
        self._call("PUT", f"/cache/flush?domain={zone.name}")

    def change(self, zone_name: str, serial: int, changes: Sequence[Rrset]) -> None:
        # Those that go come first: a CNAME may take the place of other records of its name, or give way to them.
        # The SOA comes last, so that the serial never tells of a change that has not arrived yet.
        rank = {"SOA": 2}
        self._patch(zone_path(zone_name), sorted(changes, key=lambda r: rank.get(r.type, 1) if r.records else 0))

    def _patch(self, path: str, rrsets: Sequence[Rrset]) -> None:
        for start in range(0, len(rrsets), PER_REQUEST):
            self._call(
                "PATCH", path, {"rrsets": [_to_api(r, change=True) for r in rrsets[start : start + PER_REQUEST]]}
            )

    def delete_zone(self, zone_name: str) -> None:
        try:
            self._call("DELETE", zone_path(zone_name))
        except ZoneMissing:
            LOG.debug("zone %s is gone already", zone_name)


def _reason(reply: requests.Response) -> str:
    try:
        return str(reply.json()["error"])
    except (ValueError, KeyError, TypeError):
        return reply.text[:200]


def _to_api(rrset: Rrset, change: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = {"name": rrset.name, "type": rrset.type}
    if not rrset.records:
        return {**body, "changetype": "DELETE"}
    body |= {
        "ttl": rrset.ttl,
        "records": [{"content": content(rrset.type, r), "disabled": False} for r in rrset.records],
    }
    return {**body, "changetype": "REPLACE"} if change else body


def content(type_: str, record: str) -> str:
    """The record in the notation PowerDNS insists on, where that is not the one of dnspython."""
    if type_ in ("SVCB", "HTTPS"):
        return _PLAIN_PARAMETER.sub(r"\1=\2", record)
    if type_ == "CERT":
        parsed: Any = dns.rdata.from_text("IN", "CERT", record)
        certificate = b64encode(parsed.certificate).decode()
        return f"{int(parsed.certificate_type)} {parsed.key_tag} {int(parsed.algorithm)} {certificate}"
    return record


def _sorted(rrset: Rrset) -> Rrset:
    return Rrset(rrset.name, rrset.type, rrset.ttl, tuple(sorted(content(rrset.type, r) for r in rrset.records)))


def _from_api(body: dict[str, Any]) -> Rrset:
    return Rrset(body["name"], body["type"], body["ttl"], tuple(sorted(r["content"] for r in body["records"])))
