# SPDX-License-Identifier: Apache-2.0
"""What a fake guest shows: an empty VNC screen and a serial line that echoes. Real sockets, real protocols."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading

WIDTH, HEIGHT = 640, 400
# Bits per pixel, depth, big endian, true colour, three maxima, three shifts, padding.
PIXELS = struct.pack("!BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
CLIENT_MESSAGE_SIZES = {0: 20, 4: 8, 5: 6}
SET_ENCODINGS, UPDATE_REQUEST, CUT_TEXT = 2, 3, 6


class _Closed(Exception):
    """The other side hung up."""


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise _Closed
        data += part
    return data


def serve_rfb(sock: socket.socket, name: str) -> None:
    """Speak RFB 3.8 without authentication: a grey screen, repainted when the client asks for all of it."""
    sock.sendall(b"RFB 003.008\n")
    _read(sock, 12)
    sock.sendall(b"\x01\x01")  # one security type: none
    _read(sock, 1)
    sock.sendall(bytes(4))
    _read(sock, 1)
    title = name.encode()
    sock.sendall(struct.pack("!HH", WIDTH, HEIGHT) + PIXELS + struct.pack("!I", len(title)) + title)
    while True:
        kind = _read(sock, 1)[0]
        if kind == SET_ENCODINGS:
            _, count = struct.unpack("!BH", _read(sock, 3))
            _read(sock, 4 * count)
        elif kind == UPDATE_REQUEST:
            incremental = struct.unpack("!BHHHH", _read(sock, 9))[0]
            if not incremental:
                sock.sendall(struct.pack("!BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0))
                sock.sendall(b"\x40\x40\x40\x00" * (WIDTH * HEIGHT))
        elif kind == CUT_TEXT:
            _read(sock, struct.unpack("!3xI", _read(sock, 7))[0])
        else:
            _read(sock, CLIENT_MESSAGE_SIZES[kind] - 1 if kind in CLIENT_MESSAGE_SIZES else 0)


def serve_serial(sock: socket.socket, name: str) -> None:
    """A login prompt, then whatever comes in goes out again."""
    sock.sendall(f"\r\n{name} login: ".encode())
    while data := sock.recv(4096):
        sock.sendall(data.replace(b"\r", b"\r\n"))


class Console:
    """A listening socket on the loopback which serves one of the functions above to any number of clients."""

    def __init__(self, kind: str, name: str) -> None:
        serve = serve_rfb if kind == "vnc" else serve_serial

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    serve(self.request, name)
                except (_Closed, OSError):
                    return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name=f"fake-{kind}", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
