# SPDX-License-Identifier: Apache-2.0
"""The few packets the driver itself sends, all from within a namespace.

Owns gratuitous ARP, DHCPRELEASE and the DNS question by which a name server tells what it has loaded. Each function
works in the calling thread's namespace.
"""

import ipaddress
import os
import socket
import struct

_BROADCAST = b"\xff" * 6
_ETH_ARP = 0x0806


def gratuitous_arp(device: str, mac: str, addresses: list[str]) -> None:
    """Tells the neighbours on `device` that the IPv4 addresses are at `mac` now."""
    raw = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ARP)) as sock:
        sock.bind((device, 0))
        for address in addresses:
            if ":" in address:
                continue  # the kernel announces IPv6 addresses itself (ndisc_notify)
            packed = ipaddress.IPv4Address(address).packed
            for operation in (1, 2):  # some stacks heed only requests, some only replies
                target = _BROADCAST if operation == 2 else bytes(6)
                arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + raw + packed + target + packed
                sock.send(_BROADCAST + raw + struct.pack("!H", _ETH_ARP) + arp)


def dhcp_release(device: str, server: str, mac: str, address: str, client_id: str) -> None:
    """Gives an IPv4 lease back in the name of its holder; `client_id` is hexadecimal with colons, or "*"."""
    header = struct.pack("!BBBBIHH", 1, 1, 6, 0, int.from_bytes(os.urandom(4)), 0, 0)
    message = header + ipaddress.IPv4Address(address).packed + bytes(12)
    message += bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0") + bytes(192)
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x07" + b"\x36\x04" + ipaddress.IPv4Address(server).packed
    if client_id != "*":
        identifier = bytes.fromhex(client_id.replace(":", ""))
        options += bytes([61, len(identifier)]) + identifier
    message += options + b"\xff"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        sock.sendto(message, (server, 67))


def ask_address(server: str, name: str, timeout: float) -> str | None:
    """The first IPv4 address the DNS server gives for a name, or None (no answer, or no such name)."""
    query_id = int.from_bytes(os.urandom(2))
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack("!HH", 1, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((server, 53))
            sock.send(struct.pack("!HHHHHH", query_id, 0x0100, 1, 0, 0, 0) + question)
            answer = sock.recv(512)
        except OSError:
            return None
    answer_id, flags, _, count, _, _ = struct.unpack("!HHHHHH", answer[:12])
    if answer_id != query_id or flags & 0x000F or not count:
        return None
    record = answer[12 + len(question) :]
    if len(record) < 16 or record[0] & 0xC0 != 0xC0 or record[10:12] != b"\x00\x04":
        return None
    return str(ipaddress.IPv4Address(record[12:16]))
