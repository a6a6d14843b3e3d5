# SPDX-License-Identifier: Apache-2.0
"""Network devices, through netlink.

Owns making, joining and removing devices, addresses and routes. Invariant: every `ensure_` compares first and sends
nothing when the device already is as asked. Devices the driver makes carry an alias `aerie:<kind>:<id>`: only those
are ever removed.
"""

import contextlib
import dataclasses
import errno
import fcntl
import os
import pwd
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from aerie_network.drivers.bridge.system import NETNS_DIR, HostError, sysctl

ALIAS_PREFIX = "aerie:"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_IFF_UP = 0x1
_STATIC = 4  # RTPROT_STATIC: the routes which are ours to manage inside our namespaces
_FAMILIES = (2, 10)
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_ANY_MAC = "00:00:00:00:00:00"
_NTF_SELF, _NTF_MASTER = 0x02, 0x04  # entries of the device's own table, and of the bridge it is a port of


@dataclass(frozen=True)
class Link:
    """A device as the kernel shows it."""

    index: int
    name: str
    kind: str
    master: int
    mtu: int
    up: bool
    mac: str
    alias: str
    data: dict[str, Any]

    @property
    def ours(self) -> bool:
        """Whether the driver made it."""
        return self.alias.startswith(ALIAS_PREFIX)


class Links:
    """Devices of the calling thread's namespace."""

    def __init__(self) -> None:
        self._ipr = IPRoute()
        self._cache: dict[str, Link] | None = None
        self._forwarding: dict[int, tuple[frozenset[tuple[str, str]], frozenset[str]]] | None = None
        self._permanent: dict[int, dict[str, str]] | None = None

    def close(self) -> None:
        """Closes the netlink socket."""
        self._ipr.close()

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ looking

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within it, `get` answers from one dump, kept up to date with what is changed through this object."""
        links = self.all()
        self._cache = {link.name: link for link in links}
        self._forwarding = self._permanent = None
        try:
            yield
        finally:
            self._cache = None

    def all(self) -> list[Link]:
        """All devices."""
        if self._cache is not None:
            return list(self._cache.values())
        return [_link(message) for message in self._ipr.get_links()]

    def get(self, name: str) -> Link | None:
        """The device of that name, or None."""
        if self._cache is not None:
            return self._cache.get(name)
        return self._fetch(name)

    def _fetch(self, name: str) -> Link | None:
        try:
            answers = list(self._ipr.link("get", ifname=name))
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise _refused(f"look up {name}", error) from None
        return _link(answers[0]) if answers else None

    def must_get(self, name: str) -> Link:
        """The device of that name; raises HostError when there is none."""
        link = self.get(name)
        if link is None:
            raise HostError(f"device {name} does not exist")
        return link

    def _changed(self, name: str) -> Link | None:
        link = self._fetch(name)
        if self._cache is not None:
            if link is None:
                self._cache.pop(name, None)
            else:
                self._cache[name] = link
        return link

    # ------------------------------------------------------------------------------------------------ devices

    def ensure_bridge(self, name: str, mtu: int, alias: str) -> Link:
        """A bridge that forwards at once: no spanning tree, no delay, no address of the host on it.

        Its MAC is given, not taken from its ports: with each change of it the kernel would forget the neighbours.
        """
        link = self.get(name)
        if link is None:
            self._add(
                ifname=name, kind="bridge", br_forward_delay=0, br_stp_state=0, br_mcast_snooping=0,
                br_nf_call_iptables=1, br_nf_call_ip6tables=1, address="02:" + os.urandom(5).hex(":"),
            )  # fmt: skip
            link = self._after_add(name)
        _keep_host_away(name)
        return self._ensure(link, mtu=mtu, alias=alias, up=True)

    def filter_bridge(self, link: Link) -> None:
        """Sends the frames of an existing bridge through the packet filter."""
        data = link.data
        if not (data.get("IFLA_BR_NF_CALL_IPTABLES") and data.get("IFLA_BR_NF_CALL_IP6TABLES")):
            self._set(link, kind="bridge", br_nf_call_iptables=1, br_nf_call_ip6tables=1)
            self._changed(link.name)

    def ensure_vxlan(self, name: str, vni: int, local: str, port: int, mtu: int, alias: str) -> Link:
        """A VXLAN device without learning and without multicast: it knows only the entries it is given."""
        link = self.get(name)
        if link is not None and (link.data.get("IFLA_VXLAN_ID"), link.data.get("IFLA_VXLAN_LOCAL")) != (vni, local):
            self.delete(name)
            link = None
        if link is None:
            self._add(ifname=name, kind="vxlan", vxlan_id=vni, vxlan_local=local, vxlan_port=port, vxlan_learning=False)
            link = self._after_add(name)
        _no_host_ipv6(name)
        return self._ensure(link, mtu=mtu, alias=alias, up=True)

    def ensure_vlan(self, name: str, parent: str, vlan_id: int, mtu: int, alias: str) -> Link:
        """A VLAN device on a parent device."""
        link = self.get(name)
        if link is None:
            try:
                self._add(ifname=name, kind="vlan", link=self.must_get(parent).index, vlan_id=vlan_id)
            except HostError as error:
                if "not supported" in str(error):
                    raise HostError(
                        f"this kernel has no 802.1Q VLAN devices (for VLAN {vlan_id} on {parent})"
                    ) from None
                raise
            link = self._after_add(name)
        _no_host_ipv6(name)
        return self._ensure(link, mtu=mtu, alias=alias, up=True)

    def ensure_tap(self, name: str, mac: str, mtu: int, alias: str, owner: str = "") -> Link:
        """A persistent tap, down until it is joined to its bridge."""
        link = self.get(name)
        if link is None:
            _make_tap(name, owner)
            link = self._after_add(name)
        _no_host_ipv6(name)
        # The host's end must not have the guest's own MAC: the bridge would take the guest's frames for itself.
        return self._ensure(link, mtu=mtu, alias=alias, mac="fe" + mac[2:])

    def ensure_veth(self, name: str, inner: str, namespace: str, mac: str, mtu: int, alias: str) -> Link:
        """A pair: `name` here, `inner` with `mac` in the namespace."""
        link = self.get(name)
        if link is None:
            descriptor = os.open(NETNS_DIR / namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                peer = {"ifname": inner, "net_ns_fd": descriptor, "address": mac, "mtu": mtu}
                self._add(ifname=name, kind="veth", peer=peer)
            finally:
                os.close(descriptor)
            link = self._after_add(name)
        _no_host_ipv6(name)
        return self._ensure(link, mtu=mtu, alias=alias)

    def join(self, link: Link, bridge: Link, up: bool = True) -> Link:
        """Puts the device into the bridge (only there), up or down."""
        return self._ensure(link, master=bridge.index, up=up)

    def delete(self, name: str) -> None:
        """Removes the device if it is there."""
        link = self.get(name)
        if link is None:
            return
        for table in (self._forwarding, self._permanent):
            if table is not None:
                table.pop(link.index, None)  # the kernel gives numbers again
        try:
            self._ipr.link("del", index=link.index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise _refused(f"delete {name}", error) from None
        if self._cache is not None:
            self._cache.pop(name, None)

    def _after_add(self, name: str) -> Link:
        link = self._changed(name)
        if link is None:
            raise HostError(f"device {name} vanished while it was made")
        return link

    def _add(self, **attributes: Any) -> None:
        try:
            self._ipr.link("add", **attributes)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise _refused(f"make {attributes['ifname']}", error) from None

    def _set(self, link: Link, **attributes: Any) -> None:
        try:
            self._ipr.link("set", index=link.index, **attributes)
        except NetlinkError as error:
            raise _refused(f"set {link.name}", error) from None

    def _ensure(
        self,
        link: Link,
        mtu: int | None = None,
        alias: str | None = None,
        mac: str | None = None,
        master: int | None = None,
        up: bool | None = None,
    ) -> Link:
        changes: dict[str, Any] = {}
        if mtu is not None and link.mtu != mtu:
            changes["mtu"] = mtu
        if alias is not None and link.alias != alias:
            changes["IFLA_IFALIAS"] = alias
        if mac is not None and link.mac != mac:
            changes["address"] = mac
        if master is not None and link.master != master:
            changes["master"] = master
        if up is not None and link.up != up:
            changes["state"] = "up" if up else "down"
        if not changes:
            return link
        self._set(link, **changes)
        # The kernel has confirmed it; asking again would only take time.
        link = dataclasses.replace(
            link,
            mtu=changes.get("mtu", link.mtu),
            alias=changes.get("IFLA_IFALIAS", link.alias),
            mac=changes.get("address", link.mac),
            master=changes.get("master", link.master),
            up=link.up if up is None else up,
        )
        if self._cache is not None:
            self._cache[link.name] = link
        return link

    # ------------------------------------------------------------------------- forwarding entries of a bridge

    def suppress_arp(self, link: Link) -> None:
        """Makes a bridge port answer ARP and ND from the bridge's own neighbour table, and learn nothing."""
        port = link.data.get("slave", {})  # empty for one that has just joined
        if port.get("IFLA_BRPORT_LEARNING") == 0 and port.get("IFLA_BRPORT_NEIGH_SUPPRESS") == 1:
            return
        try:
            self._ipr.brport("set", index=link.index, learning=0, neigh_suppress=1)
        except NetlinkError as error:
            raise _refused(f"set bridge port {link.name}", error) from None
        self._changed(link.name)

    def ensure_fdb(self, vxlan: Link, floods: Iterable[str], remotes: Iterable[tuple[str, str]]) -> None:
        """Where the VXLAN device sends: unknown and broadcast frames to each of `floods`, a MAC to its host."""
        wanted = frozenset({(_ANY_MAC, vtep) for vtep in floods} | set(remotes))
        found, on_bridge = self._forwarding_of(vxlan)
        for mac, vtep in found - wanted:
            self._neighbour("fdb", "del", vxlan.index, lladdr=mac, dst=vtep, flags=_NTF_SELF)
        for mac, vtep in sorted(wanted - found):
            self._neighbour("fdb", "append", vxlan.index, lladdr=mac, dst=vtep, flags=_NTF_SELF)
        macs = frozenset(mac for mac, _ in wanted if mac != _ANY_MAC)
        for mac in on_bridge - macs:
            self._neighbour("fdb", "del", vxlan.index, lladdr=mac, flags=_NTF_MASTER)
        for mac in sorted(macs - on_bridge):
            # NUD_NOARP: static, never aged out, yet not a local address of the port.
            self._neighbour("fdb", "add", vxlan.index, lladdr=mac, flags=_NTF_MASTER, state=_NUD_NOARP)
        if self._forwarding is not None:
            self._forwarding[vxlan.index] = (wanted, macs)

    def _forwarding_of(self, vxlan: Link) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
        """((MAC, host) pairs of the device's own table, static MACs of the bridge behind it), as they are.

        The kernel only lists the entries of all devices together. So they are listed once in a snapshot; after that
        what was set last counts, and a device that was not there has none.
        """
        if self._forwarding is None:
            own: dict[int, set[tuple[str, str]]] = {}
            beyond: dict[int, set[str]] = {}
            for entry in self._ipr.fdb("dump"):
                index, mac, vtep = entry["ifindex"], entry.get_attr("NDA_LLADDR"), entry.get_attr("NDA_DST")
                if vtep:
                    own.setdefault(index, set()).add((mac, vtep))
                elif entry.get_attr("NDA_MASTER") and entry["state"] == _NUD_NOARP:
                    beyond.setdefault(index, set()).add(mac)
            self._forwarding = {
                index: (frozenset(own.get(index, ())), frozenset(beyond.get(index, ())))
                for index in own.keys() | beyond.keys()
            }
        return self._forwarding.setdefault(vxlan.index, (frozenset(), frozenset()))

    def ensure_neighbours(self, bridge: Link, wanted: dict[str, str]) -> None:
        """The permanent neighbours (address -> MAC) from which suppressed ARP and ND are answered."""
        if self._permanent is None:
            self._permanent = {}
            for family in _FAMILIES:
                for entry in self._ipr.neigh("dump", family=family):
                    if entry["state"] & _NUD_PERMANENT:
                        table = self._permanent.setdefault(entry["ifindex"], {})
                        table[entry.get_attr("NDA_DST")] = entry.get_attr("NDA_LLADDR")
        found = self._permanent.get(bridge.index, {})
        for address in found.keys() - wanted.keys():
            self._neighbour("neigh", "del", bridge.index, dst=address)
        for address, mac in wanted.items():
            if found.get(address) != mac:
                self._neighbour("neigh", "replace", bridge.index, dst=address, lladdr=mac, state="permanent")
        self._permanent[bridge.index] = dict(wanted)

    def _neighbour(self, table: str, verb: str, index: int, **attributes: Any) -> None:
        if table == "neigh":
            attributes["family"] = 10 if ":" in attributes["dst"] else 2
        try:
            getattr(self._ipr, table)(verb, ifindex=index, **attributes)
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.EEXIST):
                raise _refused(f"{verb} {table} {attributes}", error) from None

    # --------------------------------------------------------------------------- addresses and routes inside

    def ensure_addresses(self, link: Link, wanted: Iterable[str]) -> tuple[set[str], set[str]]:
        """The device's addresses (as address/length), no other but the kernel's own; returns (added, removed)."""
        wanted = set(wanted)
        found = set()
        for message in self._ipr.get_addr(index=link.index):
            address = f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
            if not address.startswith("fe80:") or address in wanted:
                found.add(address)
        try:
            for address in found - wanted:
                self._ipr.addr("del", index=link.index, address=address)
            for address in sorted(wanted - found):
                # nodad: the control plane hands out addresses once; waiting a second for DAD would only delay.
                flags = {"flags": 0x02} if ":" in address else {}
                self._ipr.addr("add", index=link.index, address=address, **flags)
        except NetlinkError as error:
            raise _refused(f"set addresses of {link.name}", error) from None
        return wanted - found, found - wanted

    def ensure_routes(self, wanted: Iterable[tuple[str, str, int]]) -> dict[str, str]:
        """Static routes of this namespace: (destination CIDR, next hop or "", device index), no other static ones.

        Returns what could not be set: destination -> reason. One bad route does not keep the others away.
        """
        wanted = set(wanted)
        found = set()
        for family in _FAMILIES:
            default = "0.0.0.0/0" if family == 2 else "::/0"
            for route in self._ipr.get_routes(family=family, table=254):
                if route["proto"] == _STATIC:
                    destination = route.get_attr("RTA_DST")
                    cidr = f"{destination}/{route['dst_len']}" if destination else default
                    found.add((cidr, route.get_attr("RTA_GATEWAY") or "", route.get_attr("RTA_OIF")))
        failed: dict[str, str] = {}
        for cidr, hop, index in found - wanted:
            self._route("del", cidr, hop, index, failed)
        for cidr, hop, index in sorted(wanted - found, key=lambda entry: (entry[1] != "", entry[0])):
            self._route("replace", cidr, hop, index, failed)
        return failed

    def _route(self, verb: str, cidr: str, hop: str, index: int, failed: dict[str, str]) -> None:
        attributes: dict[str, Any] = {"dst": cidr, "oif": index, "proto": _STATIC, "family": 10 if ":" in cidr else 2}
        if hop:
            attributes["gateway"] = hop
        try:
            self._ipr.route(verb, **attributes)
        except NetlinkError as error:
            if verb == "replace":
                failed[cidr] = f"route {cidr} via {hop or 'device'}: {os.strerror(error.code)}"
            elif error.code != errno.ESRCH:
                raise _refused(f"remove route {cidr}", error) from None

    def set_up(self, name: str) -> Link:
        """Sets a device up, if it is not."""
        return self._ensure(self.must_get(name), up=True)

    def set_down(self, name: str) -> Link:
        """Sets a device down, if it is not."""
        return self._ensure(self.must_get(name), up=False)

    def ensure_inner(self, name: str, mac: str, mtu: int) -> Link:
        """The inner end of a pair: its MAC and MTU, up."""
        return self._ensure(self.must_get(name), mac=mac, mtu=mtu, up=True)


def _refused(what: str, error: NetlinkError) -> HostError:
    return HostError(f"cannot {what}: {os.strerror(error.code)}")


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    data: dict[str, Any] = {}
    kind = ""
    if info is not None:
        kind = info.get_attr("IFLA_INFO_KIND") or ""
        inner = info.get_attr("IFLA_INFO_DATA")
        if inner is not None and hasattr(inner, "get_attr"):
            data = dict(inner["attrs"])
        slave = info.get_attr("IFLA_INFO_SLAVE_DATA")
        if slave is not None and hasattr(slave, "get_attr"):
            data["slave"] = dict(slave["attrs"])
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind,
        master=message.get_attr("IFLA_MASTER") or 0,
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        data=data,
    )


def _make_tap(name: str, owner: str) -> None:
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"cannot make tap {name}: /dev/net/tun: {error.strerror}") from None
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        if owner:
            fcntl.ioctl(descriptor, _TUNSETOWNER, pwd.getpwnam(owner).pw_uid)
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    except KeyError:
        raise HostError(f"cannot make tap {name}: there is no user {owner}") from None
    except OSError as error:
        raise HostError(f"cannot make tap {name}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _keep_host_away(bridge: str) -> None:
    """The host has no address on the bridge, and answers there for none of its others.

    IPv6 stays on, without any address, because the neighbour table that ARP suppression reads needs it.
    """
    sysctl(f"net/ipv4/conf/{bridge}/arp_ignore", 1)
    if os.path.isdir(f"/proc/sys/net/ipv6/conf/{bridge}"):
        sysctl(f"net/ipv6/conf/{bridge}/addr_gen_mode", 1)
        sysctl(f"net/ipv6/conf/{bridge}/accept_ra", 0)


def _no_host_ipv6(name: str) -> None:
    """Keeps the host itself off the tenants' networks: no link-local address on their devices."""
    if os.path.isdir(f"/proc/sys/net/ipv6/conf/{name}"):
        sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
