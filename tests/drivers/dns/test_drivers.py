# SPDX-License-Identifier: Apache-2.0
"""The promises of `aerie_dns.drivers.base.Driver`, held against every driver and what its server then serves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from aerie_dns.drivers import fake
from aerie_dns.drivers.base import Driver, DriverError, Rrset, Target, Zone, ZoneMissing, query_serial, serial_newer
from aerie_dns.drivers.fake import FakeDriver
from aerie_dns.drivers.powerdns import PowerDnsDriver
from servers import PowerDNS, free_port

NUMBERS = itertools.count(1)


@dataclass
class Bench:
    """A driver, and how its server answers a query: (zone, name, type) -> records."""

    driver: Driver
    lookup: Callable[[str, str, str], set[str]]


def ask(port: int, name: str, type_: str) -> set[str]:
    answer = dns.query.udp(dns.message.make_query(name, type_), "127.0.0.1", port=port, timeout=30)
    return {rdata.to_text() for rrset in answer.answer for rdata in rrset}


@pytest.fixture(scope="module")
def powerdns_bench(powerdns: PowerDNS) -> Iterator[Bench]:
    settings = {"powerdns_url": powerdns.api_url, "powerdns_key": powerdns.api_key, "powerdns_server_id": "localhost"}
    driver = PowerDnsDriver(Target("default", (("127.0.0.1", powerdns.port),), settings))
    yield Bench(driver, lambda zone, name, type_: ask(powerdns.port, name, type_))
    driver.close()


@pytest.fixture(params=["fake", "powerdns"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "powerdns":
        found: Bench = request.getfixturevalue("powerdns_bench")
        return found
    name = f"test-{next(NUMBERS)}"
    server = fake.server(name)
    return Bench(FakeDriver(Target(name, (), {})), lambda zone, name, type_: set(server.lookup(zone, name, type_)))


@pytest.fixture
def name() -> str:
    return f"zone{next(NUMBERS)}.example."


def soa(name: str, serial: int) -> Rrset:
    return Rrset(name, "SOA", 3600, (f"ns1.example.org. admin.example.org. {serial} 3600 600 86400 3600",))


def zone(name: str, serial: int, *more: Rrset) -> Zone:
    return Zone(name, serial, (soa(name, serial), Rrset(name, "NS", 3600, ("ns1.example.org.",)), *more))


def test_a_new_zone_is_served_with_our_serial(bench: Bench, name: str) -> None:
    assert bench.driver.serials(name) == [None]
    bench.driver.put_zone(zone(name, 7, Rrset(f"www.{name}", "A", 300, ("192.0.2.1", "192.0.2.2"))))
    assert bench.driver.serials(name) == [7]
    assert bench.lookup(name, f"www.{name}", "A") == {"192.0.2.1", "192.0.2.2"}
    assert bench.lookup(name, name, "NS") == {"ns1.example.org."}


def test_a_change_touches_nothing_else(bench: Bench, name: str) -> None:
    keep = Rrset(f"keep.{name}", "TXT", 300, ('"stays"',))
    bench.driver.put_zone(zone(name, 1, keep, Rrset(f"a.{name}", "A", 300, ("192.0.2.1",))))
    bench.driver.change(name, 2, [soa(name, 2), Rrset(f"a.{name}", "A", 300, ("192.0.2.9",))])
    assert bench.driver.serials(name) == [2]
    assert bench.lookup(name, f"a.{name}", "A") == {"192.0.2.9"}
    assert bench.lookup(name, f"keep.{name}", "TXT") == {'"stays"'}


def test_a_change_can_be_repeated(bench: Bench, name: str) -> None:
    bench.driver.put_zone(zone(name, 1, Rrset(f"old.{name}", "A", 300, ("192.0.2.1",))))
    change = [soa(name, 2), Rrset(f"new.{name}", "AAAA", 300, ("2001:db8::1",)), Rrset(f"old.{name}", "A", 0, ())]
    for _ in range(2):
        bench.driver.change(name, 2, change)
    assert bench.lookup(name, f"new.{name}", "AAAA") == {"2001:db8::1"}
    assert bench.lookup(name, f"old.{name}", "A") == set()


def test_an_address_gives_way_to_an_alias_and_back(bench: Bench, name: str) -> None:
    alias, address = f"x.{name}", ("192.0.2.1",)
    bench.driver.put_zone(zone(name, 1, Rrset(alias, "A", 300, address)))
    to_alias = [Rrset(alias, "CNAME", 300, ("ns1.example.org.",)), soa(name, 2), Rrset(alias, "A", 0, ())]
    bench.driver.change(name, 2, to_alias)
    assert bench.lookup(name, alias, "CNAME") == {"ns1.example.org."}
    bench.driver.change(name, 3, [Rrset(alias, "A", 300, address), Rrset(alias, "CNAME", 0, ()), soa(name, 3)])
    assert bench.lookup(name, alias, "A") == set(address)


def test_putting_a_zone_again_makes_it_exactly_that(bench: Bench, name: str) -> None:
    bench.driver.put_zone(zone(name, 1, Rrset(f"gone.{name}", "A", 300, ("192.0.2.1",))))
    bench.driver.put_zone(zone(name, 5, Rrset(f"new.{name}", "MX", 300, ("10 mail.example.org.",))))
    assert bench.driver.serials(name) == [5]
    assert bench.lookup(name, f"gone.{name}", "A") == set()
    assert bench.lookup(name, f"new.{name}", "MX") == {"10 mail.example.org."}


def test_a_missing_zone_cannot_be_changed(bench: Bench, name: str) -> None:
    with pytest.raises(ZoneMissing):
        bench.driver.change(name, 1, [soa(name, 1)])


def test_a_deleted_zone_is_not_served(bench: Bench, name: str) -> None:
    bench.driver.put_zone(zone(name, 1))
    for _ in range(2):
        bench.driver.delete_zone(name)
    assert bench.driver.serials(name) == [None]


def test_a_zone_can_come_back_with_a_smaller_serial(bench: Bench, name: str) -> None:
    bench.driver.put_zone(zone(name, 9))
    bench.driver.delete_zone(name)
    bench.driver.put_zone(zone(name, 3))
    assert bench.driver.serials(name) == [3]


def test_a_large_zone(bench: Bench, name: str) -> None:
    rrsets = [Rrset(f"h{i}.{name}", "A", 300, (f"10.1.{i // 250}.{i % 250}",)) for i in range(2500)]
    bench.driver.put_zone(zone(name, 1, *rrsets))
    assert bench.lookup(name, f"h2499.{name}", "A") == {"10.1.9.249"}


@pytest.mark.parametrize(
    ("type_", "record"),
    [
        ("AAAA", "2001:db8::5"),
        ("CAA", '0 issue "ca.example.org"'),
        ("CERT", "1 0 0 AQID"),
        ("HTTPS", '1 . alpn="h2"'),
        ("MX", "10 mail.example.org."),
        ("NAPTR", '100 10 "S" "SIP+D2U" "" _sip._udp.example.org.'),
        ("PTR", "host.example.org."),
        ("SPF", '"v=spf1 -all"'),
        ("SRV", "0 5 5060 sip.example.org."),
        ("SSHFP", "1 1 123456789abcdef67890123456789abcdef67890"),
        ("SVCB", '1 svc.example.org. port="8443"'),
        ("TLSA", "3 1 1 0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3"),
        ("TXT", '"a \\"quoted\\" text; and more" "second"'),
    ],
)
def test_every_type_arrives_as_we_write_it(bench: Bench, name: str, type_: str, record: str) -> None:
    from aerie_dns import rdata

    written = rdata.canonical(type_, record)
    bench.driver.put_zone(zone(name, 1, Rrset(f"r.{name}", type_, 300, (written,))))
    served = bench.lookup(name, f"r.{name}", type_)
    assert {rdata.canonical(type_, text) for text in served} == {written}


def test_powerdns_serves_a_change_at_once_with_its_caches_on(servers_dir) -> None:  # type: ignore[no-untyped-def]
    """A stock PowerDNS remembers answers for 20 s and the lack of them for 60 s; a change has to show all the same."""
    stock = {
        "cache-ttl": "20",
        "negquery-cache-ttl": "60",
        "query-cache-ttl": "20",
        "zone-cache-refresh-interval": "300",
    }
    server = PowerDNS(servers_dir / "powerdns-stock", settings=stock)
    server.start()
    settings = {"powerdns_url": server.api_url, "powerdns_key": server.api_key}
    driver = PowerDnsDriver(Target("stock", (("127.0.0.1", server.port),), settings))
    try:
        assert driver.serials("stock.example.") == [None]
        driver.put_zone(zone("stock.example.", 1))
        assert driver.serials("stock.example.") == [1]
        assert ask(server.port, "www.stock.example.", "A") == set()
        began = time.monotonic()
        driver.change(
            "stock.example.", 2, [soa("stock.example.", 2), Rrset("www.stock.example.", "A", 60, ("192.0.2.1",))]
        )
        assert ask(server.port, "www.stock.example.", "A") == {"192.0.2.1"}
        assert driver.serials("stock.example.") == [2]
        assert time.monotonic() - began < 15, "its caches would have kept the old answer for longer"
    finally:
        driver.close()
        server.stop()


def test_powerdns_takes_over_a_zone_that_edits_its_own_serial(
    powerdns: PowerDNS, powerdns_bench: Bench, name: str
) -> None:
    powerdns.call(
        "POST", "/zones", {"name": name, "kind": "Native", "nameservers": ["ns9.example.org."], "soa_edit_api": "EPOCH"}
    )
    powerdns_bench.driver.put_zone(zone(name, 11))
    powerdns_bench.driver.change(name, 12, [soa(name, 12)])
    assert powerdns_bench.driver.serials(name) == [12]
    assert ask(powerdns.port, name, "NS") == {"ns1.example.org."}


def test_powerdns_names_that_need_escaping(powerdns_bench: Bench) -> None:
    name = "0/25.2.0.192.in-addr.arpa."
    powerdns_bench.driver.put_zone(zone(name, 1, Rrset(f"5.{name}", "PTR", 300, ("host.example.org.",))))
    assert powerdns_bench.driver.serials(name) == [1]
    powerdns_bench.driver.delete_zone(name)
    assert powerdns_bench.driver.serials(name) == [None]


def test_powerdns_with_a_wrong_key_is_an_error_with_a_reason(powerdns: PowerDNS, name: str) -> None:
    driver = PowerDnsDriver(Target("default", (), {"powerdns_url": powerdns.api_url, "powerdns_key": "wrong"}))
    with pytest.raises(DriverError, match="401"):
        driver.put_zone(zone(name, 1))


def test_a_silent_name_server_is_an_error() -> None:
    with pytest.raises(DriverError, match="does not answer"):
        query_serial("example.org.", "127.0.0.1", free_port(), seconds=0.2)


def test_serials_wrap_around() -> None:
    assert serial_newer(2, 1) and not serial_newer(1, 2) and not serial_newer(1, 1)
    assert serial_newer(3, 0xFFFFFFF0) and not serial_newer(0xFFFFFFF0, 3)
