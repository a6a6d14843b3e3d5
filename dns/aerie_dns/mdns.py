# SPDX-License-Identifier: Apache-2.0
"""The hidden primary: name servers of pools with the `axfr` driver fetch their zones here (SOA, AXFR, IXFR, NOTIFY).

Invariant: nobody is told anything about a zone but the name servers of its pool, further addresses the configuration
names, and holders of a TSIG key for that pool or zone. What cannot be parsed is dropped; no query is recursive.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.renderer
import dns.rrset
import dns.tsig

from aerie_common.db import retried, utcnow
from aerie_dns import states
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db_nouns
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.nouns import TsigKey
from aerie_dns.db.zones import Zone
from aerie_dns.drivers.base import DriverError, Rrset, resolve
from aerie_dns.flows.zone_push import served_rrset
from aerie_dns.pools import Pool, address

LOG = logging.getLogger(__name__)
IDLE_SECONDS = 10.0
PER_MESSAGE = 100
"""Record sets in one message of a transfer: well below its 64 KiB for all but the strangest records."""
ANSWERED = (dns.rdatatype.SOA, dns.rdatatype.AXFR, dns.rdatatype.IXFR)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(Exception):
    """The answer is an error code."""

    def __init__(self, rcode: dns.rcode.Rcode) -> None:
        super().__init__(dns.rcode.to_text(rcode))
        self.rcode = rcode


class Answers:
    """What is answered to whom; knows no sockets."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc
        self._allowed = [ipaddress.ip_network(text, strict=False) for text in svc.conf.mdns.allow_transfer]

    def respond(self, wire: bytes, peer: str, *, stream: bool) -> Iterator[bytes]:
        """The messages to send back: none for what is not worth an answer, many for a transfer."""
        keys: dict[str, TsigKey] = {}

        def find(message: dns.message.Message, name: dns.name.Name) -> dns.tsig.Key | None:
            """The key that a message says it is signed with; only signed ones cost a query."""
            text = name.to_text().rstrip(".").lower()
            key = self._tsig_key(text)
            if key is None:
                return None
            keys[text] = key
            return _key(key, name)

        try:
            query = dns.message.from_wire(wire, keyring=find)
        except (dns.tsig.BadSignature, dns.tsig.PeerError, dns.message.UnknownTSIGKey) as error:
            LOG.warning("message of %s with a bad signature: %s", peer, error)
            yield from _unsigned(wire, dns.rcode.NOTAUTH)
            return
        except (dns.exception.DNSException, ValueError, struct.error) as error:
            LOG.info("message of %s dropped: %s", peer, error)
            return
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return
        try:
            key = keys.get(query.keyname.to_text().rstrip(".").lower()) if query.keyname else None
            yield from self._answer(query, peer, key, stream)
        except Refused as refusal:
            response = dns.message.make_response(query)
            response.set_rcode(refusal.rcode)
            yield response.to_wire()

    def _tsig_key(self, name: str) -> TsigKey | None:
        with self._svc.db.read() as conn:
            found = db_nouns.TSIGKEY.all(conn, name=[name, name + "."])
        return found[0] if found else None

    def _answer(self, query: dns.message.Message, peer: str, key: TsigKey | None, stream: bool) -> Iterator[bytes]:
        name, kind = query.question[0].name.to_text().lower(), query.question[0].rdtype
        if query.opcode() == dns.opcode.NOTIFY:
            self._notified(name, peer)
            response = dns.message.make_response(query)
            response.flags |= dns.flags.AA
            yield response.to_wire()
            return
        if query.opcode() != dns.opcode.QUERY:
            raise Refused(dns.rcode.NOTIMP)
        if kind not in ANSWERED:
            raise Refused(dns.rcode.REFUSED)
        rrsets = self._content(name, peer, key, whole=stream and kind != dns.rdatatype.SOA)
        soa = rrsets[0]
        known = _client_serial(query) if kind == dns.rdatatype.IXFR else None
        if kind == dns.rdatatype.AXFR and not stream:
            raise Refused(dns.rcode.REFUSED)
        if kind == dns.rdatatype.SOA or not stream or known == soa[0].serial:
            # IXFR by UDP: the SOA alone sends the client to TCP; by TCP: it has what there is.
            response = dns.message.make_response(query)
            response.flags |= dns.flags.AA
            response.answer.append(soa)
            yield response.to_wire()
            return
        yield from _transfer(query, [*rrsets, soa])

    def _content(self, name: str, peer: str, key: TsigKey | None, *, whole: bool) -> list[dns.rrset.RRset]:
        """The SOA first; the rest when `whole`. Refused unless the peer may know."""
        for pool in self._svc.pools.values():
            if pool.catalog_zone and _absolute(pool.catalog_zone) == name:
                self._check(peer, key, pool, None)
                return self._catalog(pool, whole)
        with self._svc.db.read() as conn:
            zone = db_zones.NOUN.get(conn, name=name)
            if zone is None or zone.action == states.DELETE:
                raise Refused(dns.rcode.REFUSED)
            self._check(peer, key, self._svc.pools.get(zone.pool_id), zone)
            sets = db_recordsets.in_zone(conn, zone.id) if whole else []
            soa_set = db_recordsets.NOUN.get(conn, zone_id=zone.id, name=zone.name, type="SOA")
        if soa_set is None:
            raise Refused(dns.rcode.SERVFAIL)  # a secondary zone that has not been fetched yet
        found = [_rrset(served_rrset(zone, soa_set))]
        rest = (s for s in sets if s.type != "SOA" and s.action != states.DELETE)
        return found + [_rrset(served_rrset(zone, recordset)) for recordset in rest]

    def _catalog(self, pool: Pool, whole: bool) -> list[dns.rrset.RRset]:
        """The catalog of a pool's zones (RFC 9432, version 2)."""
        catalog = _absolute(pool.catalog_zone or "")
        with self._svc.db.read() as conn:
            serial = db_zones.catalog_serial(conn, pool.id)
            zones = db_zones.NOUN.all(conn, pool_id=pool.id) if whole else []
        soa = Rrset(catalog, "SOA", 60, (f"invalid. hostmaster.invalid. {serial} 60 30 86400 60",))
        rrsets = [soa, Rrset(catalog, "NS", 60, ("invalid.",)), Rrset(f"version.{catalog}", "TXT", 60, ('"2"',))]
        for zone in zones:
            if zone.action != states.DELETE:
                # The member's label must be another when a zone of the same name is made anew.
                label = hashlib.sha256(zone.id.encode()).hexdigest()[:40]
                rrsets.append(Rrset(f"{label}.zones.{catalog}", "PTR", 60, (zone.name,)))
        return [_rrset(rrset) for rrset in rrsets]

    def _check(self, peer: str, key: TsigKey | None, pool: Pool | None, zone: Zone | None) -> None:
        if key is not None:
            of_pool = key.scope == "POOL" and pool is not None and key.resource_id == pool.id
            if of_pool or (key.scope == "ZONE" and zone is not None and key.resource_id == zone.id):
                return
        elif not self._svc.conf.mdns.require_tsig and self._is_server(peer, pool):
            return
        LOG.warning("%s may not fetch %s", peer, zone.name if zone else "the catalog")
        raise Refused(dns.rcode.REFUSED)

    def _is_server(self, peer: str, pool: Pool | None) -> bool:
        parsed = ipaddress.ip_address(peer)
        if any(parsed in network for network in self._allowed):
            return True
        hosts = {host for host, _ in (*pool.target.nameservers, *pool.also_notify)} if pool is not None else set()
        return peer in hosts or peer in _addresses(hosts)

    @retried
    def _notified(self, name: str, peer: str) -> None:
        """A master says that a secondary zone has changed; anybody else's word counts for nothing."""
        with self._svc.db.write() as conn:
            zone = db_zones.NOUN.get(conn, name=name, type="SECONDARY")
            if zone is None or peer not in _addresses({address(m)[0] for m in zone.masters}):
                raise Refused(dns.rcode.REFUSED)
            db_zones.NOUN.update(conn, zone.id, {"transfer_due_at": utcnow()})
        LOG.info("zone %s has changed, says %s", name, peer)


def _absolute(name: str) -> str:
    return name.lower() if name.endswith(".") else name.lower() + "."


def _addresses(hosts: Iterable[str]) -> set[str]:
    found = set()
    for host in hosts:
        try:
            found.add(resolve(host))
        except DriverError as error:
            LOG.warning("%s", error)
    return found


def _key(key: TsigKey, name: dns.name.Name) -> dns.tsig.Key | None:
    """The key as dnspython takes it; None when its secret, which may be any text, is not base64."""
    try:
        secret = base64.b64decode(key.secret, validate=True)
    except ValueError:
        LOG.warning("the secret of the TSIG key %s is not base64: nobody can sign with it", key.name)
        return None
    return dns.tsig.Key(name, secret, dns.name.from_text(_algorithm(key.algorithm)))


def _algorithm(name: str) -> str:
    return "hmac-md5.sig-alg.reg.int." if name == "hmac-md5" else name + "."


def _unsigned(wire: bytes, rcode: int) -> Iterator[bytes]:
    """An error for a message whose signature cannot be checked: its id and question are all that is believed."""
    if len(wire) >= 12:
        number, flags = struct.unpack("!HH", wire[:4])
        yield struct.pack("!HHHHHH", number, 0x8000 | (flags & 0x7800) | rcode, 0, 0, 0, 0)


def _client_serial(query: dns.message.Message) -> int | None:
    for rrset in query.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return int(rrset[0].serial)
    return None


def _rrset(rrset: Rrset) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(rrset.name, rrset.ttl, "IN", rrset.type, list(rrset.records))


def _transfer(query: dns.message.Message, rrsets: list[dns.rrset.RRset]) -> Iterator[bytes]:
    """A whole zone in as many messages as it takes, each signed after the one before where the query was."""
    context: Any = None
    for start in range(0, len(rrsets), PER_MESSAGE):
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if start:
            response.question = []
        response.answer = rrsets[start : start + PER_MESSAGE]
        yield response.to_wire(max_size=65535, multi=True, tsig_ctx=context)
        context = response.tsig_ctx


class MdnsServer:
    """UDP and TCP sockets on one port, a thread for each and one for each connection."""

    def __init__(self, svc: Dns) -> None:
        self._answers = Answers(svc)
        options = svc.conf.mdns
        family = socket.AF_INET6 if ":" in options.listen else socket.AF_INET
        self._tcp = socket.create_server((options.listen, options.port), family=family, backlog=128)
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._udp.bind((options.listen, self.port))
        self._places = threading.BoundedSemaphore(options.max_connections)
        self._stopping = threading.Event()
        targets = (self._serve_udp, self._serve_tcp)
        self._threads = [threading.Thread(target=t, name=t.__name__.strip("_"), daemon=True) for t in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        self._udp.settimeout(0)
        with socket.socket(self._udp.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._udp.getsockname())
        for thread in self._threads:
            thread.join(5)
        self._udp.close()

    def _serve_udp(self) -> None:
        while not self._stopping.is_set():
            try:
                wire, peer = self._udp.recvfrom(4096)
            except OSError:
                continue
            try:
                for answer in self._answers.respond(wire, _plain(peer[0]), stream=False):
                    self._udp.sendto(answer, peer)
            except Exception:  # one query must not end the thread
                LOG.exception("query of %s", peer[0])

    def _serve_tcp(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, peer = self._tcp.accept()
            except OSError:
                continue
            if not self._places.acquire(blocking=False):
                LOG.warning("connection of %s closed: too many at once", peer[0])
                connection.close()
                continue
            thread = threading.Thread(target=self._serve_connection, args=(connection, _plain(peer[0])), daemon=True)
            thread.start()

    def _serve_connection(self, connection: socket.socket, peer: str) -> None:
        try:
            with connection:
                connection.settimeout(IDLE_SECONDS)
                while (wire := _receive(connection)) is not None:
                    for answer in self._answers.respond(wire, peer, stream=True):
                        connection.sendall(struct.pack("!H", len(answer)) + answer)
        except OSError as error:
            LOG.info("connection of %s: %s", peer, error)
        except Exception:
            LOG.exception("query of %s", peer)
        finally:
            self._places.release()


def _plain(peer: str) -> str:
    """An IPv4 peer of an IPv6 socket by its own address."""
    parsed = ipaddress.ip_address(peer.partition("%")[0])
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    return str(mapped or parsed)


def _receive(connection: socket.socket) -> bytes | None:
    """One message; None when the peer has no more."""
    head = _exactly(connection, 2)
    return None if head is None else _exactly(connection, struct.unpack("!H", head)[0])


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        if not more:
            return None
        found += more
    return found
