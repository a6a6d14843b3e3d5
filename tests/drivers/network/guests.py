# SPDX-License-Identifier: Apache-2.0
"""Guests without a hypervisor: a namespace at the other end of a port's device, and packets made by hand."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from aerie_network.drivers.base import Port
from aerie_network.drivers.bridge.system import in_namespace

T = TypeVar("T")

LEASE_SCRIPT = """#!/bin/sh
case "$1" in
bound|renew)
    ip addr flush dev "$interface" scope global
    ip link set dev "$interface" mtu "${mtu:-1500}"
    ip addr add "$ip/$mask" dev "$interface"
    if [ -n "$staticroutes" ]; then
        set -- $staticroutes
        while [ -n "$1" ]; do
            ip route add "$1" via "$2" dev "$interface"
            shift 2
        done
    elif [ -n "$router" ]; then
        ip route add default via "$router"
    fi
    { echo "ip=$ip"; echo "dns=$dns"; echo "mtu=$mtu"; echo "hostname=$hostname"; } >"$LEASE_FILE" ;;
esac
exit 0
"""


def sh(command: str, check: bool = True, timeout: float = 120) -> str:
    """Output of a shell command in this namespace."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def eventually(what: str, check: Callable[[], T], timeout: float = 60.0) -> T:
    """What `check` returns as soon as it is true."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} not within {timeout} s")
        time.sleep(0.02)


class Machine:
    """A namespace with one interface, eth0, whose other end is `device` here."""

    def __init__(self, name: str, device: str, mac: str | None = None) -> None:
        self.name = name
        self.device = device
        sh(f"ip netns add {name}")
        address = f"address {mac}" if mac else ""
        sh(f"ip link add {device} type veth peer name eth0 netns {name} {address}")
        sh(f"sysctl -qw net/ipv6/conf/{device}/disable_ipv6=1")
        sh(f"ip netns exec {name} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 "
           "net.ipv6.conf.eth0.accept_dad=0")  # fmt: skip
        sh(f"ip -n {name} link set lo up; ip -n {name} link set eth0 up")

    def sh(self, command: str, check: bool = True, timeout: float = 120) -> str:
        return self.inside(lambda: sh(command, check, timeout))

    def inside(self, function: Callable[[], T]) -> T:
        return in_namespace(self.name, function)

    def destroy(self) -> None:
        sh(f"ip netns delete {self.name}; ip link delete {self.device} 2>/dev/null", check=False)

    # ------------------------------------------------------------------------------------------- as a guest does it

    def lease(self, directory: Path) -> dict[str, str]:
        """Asks for a lease, once, and applies it."""
        script, file = directory / "lease.sh", directory / f"{self.name}.lease"
        script.write_text(LEASE_SCRIPT)
        script.chmod(0o755)
        file.unlink(missing_ok=True)
        client = shutil.which("busybox") or "busybox"
        patience = "-n -q -f -t 1 -T 20 -A 1"
        self.sh(f"LEASE_FILE={file} {client} udhcpc -i eth0 {patience} -s {script} -O staticroutes -O mtu")
        return dict(line.split("=", 1) for line in file.read_text().splitlines())

    def lease6(self, mac: str) -> str | None:
        """The address that the DHCPv6 server gives the holder of `mac`, None when it gives none."""
        return self.inside(lambda: _lease6(mac))

    def address(self, cidr: str, gateway: str | None = None) -> None:
        self.sh(f"ip addr add {cidr} dev eth0 {'nodad' if ':' in cidr else ''}")
        if gateway:
            self.sh(f"ip route add default via {gateway}")

    def pings(self, address: str, wait: float = 20.0) -> bool:
        """Whether a single question is answered within `wait` seconds."""
        command = f"ping -c 1 -W {wait} {address}"
        return self.inside(lambda: subprocess.run(command.split(), capture_output=True).returncode == 0)

    def connects(self, address: str, port: int, timeout: float = 20.0) -> str | None:
        """What a TCP server there says, with what it saw of us; None when no connection comes about."""

        def connect() -> str | None:
            try:
                with socket.create_connection((address, port), timeout) as sock:
                    return sock.recv(200).decode()
            except OSError:
                return None

        return self.inside(connect)

    @contextlib.contextmanager
    def serving(self, port: int) -> Iterator[None]:
        """A TCP server that tells everybody `<this machine> sees <the peer's address>`."""
        listener = self.inside(lambda: socket.create_server(("", port)))

        def serve() -> None:
            while True:
                try:
                    connection, peer = listener.accept()
                except OSError:
                    return
                connection.sendall(f"{self.name} sees {peer[0]}".encode())
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(60)

    # ------------------------------------------------------------------------------------------------ raw packets

    def wire(self) -> Wire:
        return self.inside(Wire)


class Guest(Machine):
    """The machine behind a port."""

    def __init__(self, name: str, port: Port) -> None:
        super().__init__(name, port.device, port.mac)
        self.port = port
        self.mac = port.mac


class Wire:
    """Frames in and out of eth0, by hand."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self._socket.bind(("eth0", 0))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def hears(self, mark: bytes, timeout: float = 0.5) -> bool:
        """Whether a frame with these bytes in it arrives."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, sender = self._socket.recvfrom(65536)
            except TimeoutError:
                return False
            if mark in frame and sender[2] != socket.PACKET_OUTGOING:
                return True
        return False


def _lease6(mac: str) -> str | None:
    """Solicit, advertise, request, reply."""

    def option(code: int, value: bytes) -> bytes:
        return struct.pack("!HH", code, len(value)) + value

    identity = option(1, struct.pack("!HH", 3, 1) + mac_bytes(mac))
    asking = option(3, struct.pack("!III", 7, 0, 0))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(("::", 546))
        group = ("ff02::1:2", 547, 0, socket.if_nametoindex("eth0"))
        sock.sendto(b"\x01\x00\x00\x01" + identity + asking, group)
        offered = _options6(sock.recv(2000)[4:])
        if 3 not in offered:
            return None
        sock.sendto(b"\x03\x00\x00\x02" + identity + option(2, offered[2]) + option(3, offered[3]), group)
        given = _options6(_options6(sock.recv(2000)[4:]).get(3, b"")[12:])
    return socket.inet_ntop(socket.AF_INET6, given[5][:16]) if 5 in given else None


def _options6(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        code, length = struct.unpack("!HH", data[:4])
        found[code], data = data[4 : 4 + length], data[4 + length :]
    return found


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return mac_bytes(target) + mac_bytes(source) + struct.pack("!H", kind) + payload


BROADCAST = "ff:ff:ff:ff:ff:ff"


def arp_reply(source_mac: str, claimed_mac: str, claimed_ip: str, mark: bytes) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac_bytes(claimed_mac) + socket.inet_aton(claimed_ip)
    body += b"\xff" * 6 + socket.inet_aton(claimed_ip)
    return ethernet(source_mac, BROADCAST, 0x0806, body + mark)


def arp_request(source_mac: str, source_ip: str, wanted_ip: str) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac_bytes(source_mac) + socket.inet_aton(source_ip)
    return ethernet(source_mac, BROADCAST, 0x0806, body + bytes(6) + socket.inet_aton(wanted_ip))


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp4(source_mac: str, source: str, target: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """A UDP packet to everybody on the wire (the IP target is given)."""
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return ethernet(source_mac, BROADCAST, 0x0800, header + udp)


def ip6(source_mac: str, source: str, target: str, protocol: int, payload: bytes, checksum_at: int) -> bytes:
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    pseudo = addresses + struct.pack("!IHBB", len(payload), 0, 0, protocol)
    value = struct.pack("!H", _checksum(pseudo + payload))
    payload = payload[:checksum_at] + value + payload[checksum_at + 2 :]
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + addresses
    group = "33:33:00:00:00:01"
    return ethernet(source_mac, group, 0x86DD, header + payload)


def neighbour_advertisement(source_mac: str, source: str, claimed: str) -> bytes:
    """Claims `claimed` for `source_mac`, to all nodes."""
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ipaddress.IPv6Address(claimed).packed
    body += b"\x02\x01" + mac_bytes(source_mac)
    return ip6(source_mac, source, "ff02::1", 58, body, 2)


def router_advertisement(source_mac: str, source: str, mark: bytes) -> bytes:
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\x01\x01" + mac_bytes(source_mac)
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + mark.ljust(16, b"\0")
    return ip6(source_mac, source, "ff02::1", 58, body + prefix, 2)


def udp6(source_mac: str, source: str, target: str, ports: tuple[int, int], payload: bytes) -> bytes:
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    return ip6(source_mac, source, target, 17, udp, 6)


def link_local(mac: str) -> str:
    raw = mac_bytes(mac)
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]))


def process_start(pid: int) -> str:
    """When a process began: together with the pid it names one process for good."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but whom nobody has asked about yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
