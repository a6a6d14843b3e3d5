# SPDX-License-Identifier: Apache-2.0
"""Choosing hosts for a server: a pure function of (hosts, request), which explains itself.

Filters drop hosts one after the other; the explanation counts how many each dropped and why (the funnel). Weighers
order what is left. Nothing here reads a database or a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

VCPU, MEMORY, DISK = "VCPU", "MEMORY_MB", "DISK_GB"


@dataclass(frozen=True)
class Stock:
    """What a host may promise of one resource class, and what of it is promised."""

    capacity: int
    used: int
    max_unit: int

    @property
    def free(self) -> int:
        return self.capacity - self.used


@dataclass(frozen=True)
class Host:
    """A hypervisor host as filters and weighers see it."""

    host: str
    node: str
    provider_id: str
    zone: str
    enabled: bool = True
    up: bool = True
    stock: Mapping[str, Stock] = field(default_factory=dict)
    hypervisor_type: str = ""
    supported: tuple[tuple[str, str, str], ...] = ()
    aggregates: tuple[Mapping[str, str], ...] = ()
    servers: int = 0
    busy: int = 0
    traits: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """What is wanted. The lists of hosts are names; `group_hosts` counts members of the server group by host."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    zone: str | None = None
    host: str | None = None
    node: str | None = None
    excluded: tuple[str, ...] = ()
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    image_properties: Mapping[str, str] = field(default_factory=dict)
    group_policy: str | None = None
    group_rules: Mapping[str, Any] = field(default_factory=dict)
    group_hosts: Mapping[str, int] = field(default_factory=dict)
    same_host: tuple[str, ...] = ()
    different_host: tuple[str, ...] = ()
    project_id: str | None = None

    @property
    def amounts(self) -> dict[str, int]:
        """What is to be claimed, by resource class."""
        return {VCPU: self.vcpus, MEMORY: self.memory_mb, DISK: self.disk_gb}

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Request:
        """The inverse; keys this release does not know are ignored."""
        known = {name: doc[name] for name in cls.__dataclass_fields__ if name in doc}
        for name in ("excluded", "same_host", "different_host"):
            known[name] = tuple(known.get(name) or ())
        return cls(**known)


@dataclass(frozen=True)
class Explanation:
    """The funnel: `total` hosts, then (filter, reason, hosts dropped for it) in order; `hosts` tells each host's reason
    (administrators only). `hint` says what came closest."""

    total: int
    dropped: tuple[tuple[str, str, int], ...]
    hosts: Mapping[str, str]
    chosen: tuple[str, ...]
    hint: str = ""

    @property
    def left(self) -> int:
        return self.total - sum(count for _, _, count in self.dropped)

    def sentence(self) -> str:
        """For the owner of the server: no names of hosts."""
        if self.total == 0:
            return "No valid host was found. There are no compute hosts yet."
        reasons = ", ".join(f"{count} {reason}" for _, reason, count in self.dropped)
        hosts = "1 host" if self.total == 1 else f"{self.total} hosts"
        return f"No valid host was found. {hosts}: {reasons}."

    def details(self) -> str:
        """For administrators: each host's reason, and what came closest."""
        hosts = "; ".join(f"{host}: {why}" for host, why in sorted(self.hosts.items()))
        return f"{self.sentence()} {self.hint} [{hosts}]"

    def to_document(self) -> dict[str, Any]:
        doc = asdict(self)
        doc["dropped"] = [list(row) for row in self.dropped]
        return doc

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Explanation:
        return cls(
            total=doc["total"],
            dropped=tuple((name, reason, count) for name, reason, count in doc["dropped"]),
            hosts=doc["hosts"],
            chosen=tuple(doc["chosen"]),
            hint=doc.get("hint", ""),
        )


# ------------------------------------------------------------------------------------------------------------ filters

Filter = Callable[[Host, Request], str | None]
"""None: the host may do it. Text: why it may not, after "3 hosts ..."; no names in it."""


def is_wanted(host: Host, request: Request) -> str | None:
    """The host (or node) that was asked for by name, if one was; none of those that failed already."""
    if request.host is not None and host.host != request.host:
        return "are not the one asked for"
    if request.node is not None and host.node != request.node:
        return "are not the one asked for"
    return "have failed to build it" if host.host in request.excluded else None


def is_enabled(host: Host, request: Request) -> str | None:
    """Nobody has disabled it."""
    return None if host.enabled else "disabled"


def is_up(host: Host, request: Request) -> str | None:
    """Its agent reports."""
    return None if host.up else "down"


def in_zone(host: Host, request: Request) -> str | None:
    """It is in the zone asked for."""
    return None if request.zone is None or host.zone == request.zone else f"not in zone {request.zone}"


def has_room(host: Host, request: Request) -> str | None:
    """It may promise the processors, the memory and the disk."""
    for name, amount, unit in (
        (VCPU, request.vcpus, "VCPUs"),
        (MEMORY, request.memory_mb, "MiB of memory"),
        (DISK, request.disk_gb, "GiB of disk"),
    ):
        stock = host.stock.get(name)
        if amount and (stock is None or stock.free < amount or stock.max_unit < amount):
            return f"lack {amount} {unit}"
    return None


def suits_image(host: Host, request: Request) -> str | None:
    """It can run what the image needs."""
    wanted = {
        0: request.image_properties.get("hw_architecture") or request.image_properties.get("architecture"),
        1: request.image_properties.get("img_hv_type") or request.image_properties.get("hypervisor_type"),
        2: request.image_properties.get("hw_vm_mode") or request.image_properties.get("vm_mode"),
    }
    if not any(wanted.values()) or not host.supported:
        return None
    for kind in host.supported:
        if all(value is None or value.lower() == kind[i].lower() for i, value in wanted.items()):
            return None
    return "cannot run this image"


def suits_flavor(host: Host, request: Request) -> str | None:
    """Extra specs of the flavor: traits, and keys that its aggregates must carry."""
    for key, value in request.extra_specs.items():
        if key.startswith("trait:"):
            has = key[6:] in host.traits
            if (value == "required" and not has) or (value == "forbidden" and has):
                return "do not fit the flavor's traits"
        elif key.startswith("aggregate_instance_extra_specs:"):
            name = key.partition(":")[2]
            if not any(value == aggregate.get(name) for aggregate in host.aggregates):
                return "are in no aggregate that fits the flavor"
    return None


def admits_project(host: Host, request: Request) -> str | None:
    """An aggregate with `filter_tenant_id` takes servers of those projects only."""
    for aggregate in host.aggregates:
        allowed = {value for key, value in aggregate.items() if key.startswith("filter_tenant_id")}
        if allowed and request.project_id not in {p.strip() for value in allowed for p in value.split(",")}:
            return "are reserved for other projects"
    return None


def suits_group(host: Host, request: Request) -> str | None:
    """Members of an affinity group are on one host, of an anti-affinity group on different ones."""
    members = request.group_hosts.get(host.host, 0)
    if request.group_policy == "affinity" and request.group_hosts and not members:
        return "are not the one of its server group"
    if request.group_policy == "anti-affinity":
        limit = int(request.group_rules.get("max_server_per_host", 1))
        return "hold members of its server group" if members >= limit else None
    return None


def suits_hints(host: Host, request: Request) -> str | None:
    """Scheduler hints same_host and different_host."""
    if request.same_host and host.host not in request.same_host:
        return "are not where it is wanted"
    return "are where it is not wanted" if host.host in request.different_host else None


FILTERS: tuple[Filter, ...] = (
    is_wanted, is_enabled, is_up, in_zone, admits_project, suits_image, suits_flavor, suits_group, suits_hints,
    has_room,
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- weighers

Weigher = Callable[[Host, Request], float]


def free_memory(host: Host, request: Request) -> float:
    """Spread: most free memory first."""
    stock = host.stock.get(MEMORY)
    return float(stock.free) if stock else 0.0


def free_vcpus(host: Host, request: Request) -> float:
    stock = host.stock.get(VCPU)
    return float(stock.free) if stock else 0.0


def quiet(host: Host, request: Request) -> float:
    """Few servers with work under way."""
    return -float(host.busy)


def soft_group(host: Host, request: Request) -> float:
    """Soft affinity and anti-affinity."""
    members = request.group_hosts.get(host.host, 0)
    if request.group_policy == "soft-affinity":
        return float(members)
    return -float(members) if request.group_policy == "soft-anti-affinity" else 0.0


WEIGHERS: tuple[tuple[Weigher, float], ...] = ((soft_group, 100.0), (free_memory, 1.0), (free_vcpus, 1.0), (quiet, 0.5))


def order(hosts: Sequence[Host], request: Request, weighers: Iterable[tuple[Weigher, float]] = WEIGHERS) -> list[Host]:
    """Best first. Each weigher's values are brought to 0..1 before they are added up."""
    totals = [0.0] * len(hosts)
    for weigh, factor in weighers:
        values = [weigh(host, request) for host in hosts]
        low, high = min(values, default=0.0), max(values, default=0.0)
        if high > low:
            for i, value in enumerate(values):
                totals[i] += factor * (value - low) / (high - low)
    ranked = sorted(range(len(hosts)), key=lambda i: (-totals[i], hosts[i].host))
    return [hosts[i] for i in ranked]


def select(
    hosts: Sequence[Host], request: Request, *, filters: Sequence[Filter] = FILTERS
) -> tuple[list[Host], Explanation]:
    """The hosts that may take the server, best first, and why the others may not."""
    reasons: dict[str, str] = {}
    counts: Counter[tuple[str, str]] = Counter()
    left = []
    for host in hosts:
        for check in filters:
            why = check(host, request)
            if why is not None:
                reasons[host.host] = why
                counts[check.__name__, why] += 1
                break
        else:
            left.append(host)
    position = {check.__name__: i for i, check in enumerate(filters)}
    dropped = sorted(((name, why, count) for (name, why), count in counts.items()), key=lambda row: position[row[0]])
    ranked = order(left, request)
    explanation = Explanation(
        total=len(hosts),
        dropped=tuple(dropped),
        hosts=reasons,
        chosen=tuple(host.host for host in ranked[:10]),
        hint="" if ranked else _hint(hosts, request, reasons),
    )
    return ranked, explanation


def _hint(hosts: Sequence[Host], request: Request, reasons: Mapping[str, str]) -> str:
    """What the roomiest host that lacks nothing but room has free."""
    tight = [host for host in hosts if reasons.get(host.host, "").startswith("lack ")]
    if not tight:
        return ""
    best = max(tight, key=lambda host: free_memory(host, request))
    free = {name: max(0, stock.free) for name, stock in best.stock.items()}
    return (
        f"The most that fits is {free.get(VCPU, 0)} VCPUs, {free.get(MEMORY, 0)} MiB of memory"
        f" and {free.get(DISK, 0)} GiB of disk."
    )
