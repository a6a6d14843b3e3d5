# SPDX-License-Identifier: Apache-2.0
"""Options of the DNS service. Each pool beyond the default one has a group of its own: `[pool:<name>]`."""

from __future__ import annotations

from oslo_config import cfg

DEFAULT_POOL_ID = "794ccc2c-d751-44fe-b57f-8894c9f5c842"

DNS_OPTS = [
    cfg.IntOpt("default_ttl", default=3600, min=0, help="TTL of a zone created without one."),
    cfg.IntOpt("min_ttl", help="Smallest TTL a user may choose."),
    cfg.IntOpt("soa_refresh", default=3600, help="SOA refresh of new zones, in seconds."),
    cfg.IntOpt("soa_retry", default=600, help="SOA retry of new zones, in seconds."),
    cfg.IntOpt("soa_expire", default=86400, help="SOA expire of new zones, in seconds."),
    cfg.IntOpt("soa_minimum", default=3600, help="How long resolvers may remember that a name does not exist."),
    cfg.IntOpt("quota_zones", default=10, help="Zones of a project; -1, as with all quotas: no limit."),
    cfg.IntOpt("quota_zone_recordsets", default=500, help="Record sets of a zone."),
    cfg.IntOpt("quota_zone_records", default=500, help="Records of a zone."),
    cfg.IntOpt("quota_recordset_records", default=20, help="Records of a record set."),
    cfg.IntOpt("quota_api_export_size", default=1000, help="Record sets of a zone that may be exported."),
    cfg.BoolOpt(
        "allow_reverse_zones",
        default=False,
        help="Let users make zones below in-addr.arpa. and ip6.arpa.: who has the "
        "zone of a floating address decides what it is called.",
    ),
    cfg.ListOpt("pools", default=[], help="Names of further pools, each with a group [pool:<name>]."),
    cfg.FloatOpt("recovery_interval", default=30, help="Seconds between looks for work that got stuck."),
]
POOL_OPTS = [
    cfg.StrOpt("id", help="The pool's id in the API (the default pool has Designate's)."),
    cfg.StrOpt("driver", default="powerdns", help="powerdns, axfr or fake."),
    cfg.StrOpt("description", help="Shown in the API."),
    cfg.ListOpt(
        "ns_records", default=["ns1.aerie.internal."], help="Names in the NS records of every zone, best first."
    ),
    cfg.ListOpt(
        "nameservers", default=["127.0.0.1:5300"], help="host:port of each server that must answer with a change."
    ),
    cfg.StrOpt("powerdns_url", default="http://127.0.0.1:8081", help="PowerDNS's HTTP API."),
    cfg.StrOpt("powerdns_key", default="", secret=True, help="Its key."),
    cfg.StrOpt("powerdns_server_id", default="localhost", help="The server's name in that API."),
    cfg.StrOpt(
        "catalog_zone", help="axfr: the catalog zone (RFC 9432) from which the servers learn which zones to fetch."
    ),
    cfg.ListOpt("also_notify", default=[], help="host:port of further servers which are told of changes."),
]
MDNS_OPTS = [
    cfg.StrOpt("listen", default="0.0.0.0", help="Address the transfer server listens on, for UDP and TCP."),
    cfg.PortOpt("port", default=5354, help="Its port."),
    cfg.ListOpt("allow_transfer", default=[], help="Addresses and networks that may transfer zones, besides the "
                "pools' own name servers."),
    cfg.BoolOpt("require_tsig", default=False, help="Refuse transfers that are not signed, whoever asks."),
    cfg.IntOpt("max_connections", default=64, min=1, help="TCP connections served at a time."),
]  # fmt: skip
SINK_OPTS = [
    cfg.BoolOpt("enabled", default=True, help="Make records for servers, ports and floating IPs."),
    cfg.StrOpt("zone", help="Zone for names whose network or port names none: a name in which %(project_id)s is "
               "replaced. Empty: the project's zone with the attribute `auto` = `true`, else its only zone."),
    cfg.StrOpt("address_records", default="all", choices=["all", "floating"], help="Which addresses get records."),
    cfg.IntOpt("ttl", default=60, min=1, help="TTL of these records."),
    cfg.StrOpt("ptr_email", default="hostmaster@aerie.internal", help="Mailbox of reverse zones made on demand."),
    cfg.IntOpt("ptr_prefix_v4", default=24, help="Bits of an IPv4 address in a reverse zone's name: 8, 16 or 24."),
    cfg.IntOpt("ptr_prefix_v6", default=64, help="The same for IPv6: a multiple of four."),
    cfg.FloatOpt("reconcile_interval", default=60, help="Seconds between comparisons with what exists."),
]  # fmt: skip

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    ("dns", DNS_OPTS),
    ("pool", POOL_OPTS),
    ("mdns", MDNS_OPTS),
    ("sink", SINK_OPTS),
)
