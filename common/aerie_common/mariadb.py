# SPDX-License-Identifier: Apache-2.0
"""The connection to MariaDB: PyMySQL, with its slowest parts done more cheaply.

Reading a result costs PyMySQL more than all else, most of it for the description of the columns, which the server sends
with every result. Those of one statement are the same bytes each time, so they are parsed once. Rows are cut out of
what has been received without an object for each packet. And limits of time are kept by the kernel: Python's own would
cost two more system calls a statement, at each of which the threads of a process contend for the interpreter.

Invariant: what a cursor returns is what PyMySQL's own connection returns, except times, which are parsed by Python.
Of a cursor's kinds, those that return dictionaries are not supported.
"""

from __future__ import annotations

import datetime
import functools
import socket
import struct
from collections.abc import Callable
from typing import Any

from pymysql import connections, converters, err
from pymysql.constants import CR, FIELD_TYPE

PIECE = 64 << 10
WHOLE = 0xFFFFFF
"""The length of a packet that the next one continues."""
_UNUSUAL = 0xFC
"""First bytes from here on: an error, the end, or a first column of some length (251 is one that is NULL)."""
LAYOUTS = 1024

Convert = Callable[[bytes], Any]
Layout = tuple[tuple[Any, ...], list[Any], list[Convert]]
"""The cursor's description, PyMySQL's converters, and ours."""


def _moment(text: str) -> Any:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:  # MariaDB knows times that Python does not
        return converters.convert_datetime(text)


def _same(data: bytes) -> Any:
    return data


def _convert(encoding: str | None, decode: Callable[[Any], Any] | None) -> Convert:
    """The two steps of PyMySQL as one."""
    if encoding is None:
        return decode or _same
    if decode is int or decode is float:  # both take ASCII as it is
        return decode
    text: Convert = bytes.decode if encoding in ("ascii", "utf8") else functools.partial(_text, encoding)
    if decode is None:
        return text
    convert = decode
    return lambda data: convert(text(data))


def _text(encoding: str, data: bytes) -> str:
    return data.decode(encoding)


class _Stream:
    """What the server has sent. `data` is what has been received, `at` how far it has been read."""

    __slots__ = ("_socket", "at", "data")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.data = b""
        self.at = 0

    def need(self, size: int) -> None:
        """See to it that so many bytes are there to be read. OSError when they do not come."""
        missing = size - len(self.data) + self.at
        if missing <= 0:
            return
        pieces = [self.data[self.at :]]
        while missing > 0:
            piece = self._socket.recv(max(missing, PIECE))
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            pieces.append(piece)
            missing -= len(piece)
        self.data, self.at = b"".join(pieces), 0

    def read(self, size: int) -> bytes:
        """That many bytes."""
        self.need(size)
        start, self.at = self.at, self.at + size
        return self.data[start : self.at]

    def packet(self) -> int:
        """The length of the next packet, with its head; see to it that it is there."""
        self.need(4)
        size = int.from_bytes(self.data[self.at : self.at + 3], "little") + 4
        self.need(size)
        return size

    def packets(self, count: int) -> bytes:
        """The next packets, without going past them."""
        data, end = self.data, self.at
        for _ in range(count):
            if end + 4 > len(data):
                end -= self.at
                self.need(end + 4)
                data, end = self.data, self.at + end
            end += 4 + data[end] + (data[end + 1] << 8) + (data[end + 2] << 16)
        size = end - self.at
        self.need(size)
        return self.data[self.at : self.at + size]

    def close(self) -> None:
        """As a file has it: the socket is closed by itself."""


# The stubs of PyMySQL do not tell of what is overridden here.
_MySQLResult: Any = connections.MySQLResult
_MySQLConnection: Any = connections.Connection


class _Result(_MySQLResult):  # type: ignore[misc]
    """The answer to one statement."""

    connection: Any
    description: tuple[Any, ...]
    converters: list[Any]
    _converts: list[Convert]

    def _get_descriptions(self) -> None:
        connection = self.connection
        stream, layouts = connection.stream, connection.layouts
        head = stream.packets(self.field_count)
        known = layouts.get(head)
        if known is None:
            super()._get_descriptions()
            known = (self.description, self.converters, [_convert(*pair) for pair in self.converters])
            if len(layouts) >= LAYOUTS:
                layouts.clear()
            layouts[head] = known
        else:
            stream.at += len(head)
            connection._next_seq_id = (connection._next_seq_id + self.field_count) % 256
            if not connection._read_packet().is_eof_packet():
                raise err.InternalError(CR.CR_MALFORMED_PACKET, "The columns of a result do not end")
        self.fields = None  # only cursors that return dictionaries look at them
        self.description, self.converters, self._converts = known

    def _read_rowdata_packet(self) -> None:
        connection = self.connection
        stream, sequence = connection.stream, connection._next_seq_id
        rows = []
        while True:
            size = stream.packet()
            data, at = stream.data, stream.at
            if size < WHOLE and data[at + 3 : at + 4] == sequence.to_bytes() and data[at + 4] < _UNUSUAL:
                rows.append(_row(data, at + 4, at + size, self._converts))
                stream.at += size
                sequence = (sequence + 1) % 256
                continue
            connection._next_seq_id = sequence
            packet = connection._read_packet()  # refuses what is wrong
            if self._check_packet_is_eof(packet):
                break
            data, sequence = packet.get_all_data(), connection._next_seq_id
            rows.append(_row(data, 0, len(data), self._converts))
        self.connection = None
        self.affected_rows, self.rows = len(rows), tuple(rows)


def _row(data: bytes, at: int, end: int, converts: list[Convert]) -> tuple[Any, ...]:
    values: list[Any] = []
    for convert in converts:
        size = data[at]
        at += 1
        if size > 250:
            if size == 251:
                values.append(None)
                continue
            digits = {252: 2, 253: 3, 254: 8}[size]
            size = int.from_bytes(data[at : at + digits], "little")
            at += digits
        values.append(convert(data[at : at + size]))
        at += size
    if at != end:
        raise err.InternalError(CR.CR_MALFORMED_PACKET, "A row does not end where it should")
    return tuple(values)


class Connection(_MySQLConnection):  # type: ignore[misc]
    """One connection. What it raises when a limit of time is over is what PyMySQL raises when the server is gone."""

    _read_timeout: float | None
    _write_timeout: float | None

    def connect(self, sock: Any = None) -> None:
        super().connect(sock)
        self.layouts = _layouts.setdefault(self.encoding, {})
        self.stream = self._rfile = _Stream(self._sock)
        if type(self._sock) is not socket.socket:
            return  # TLS would wait on after a limit of the kernel
        self._sock.settimeout(None)
        for option, limit in ((socket.SO_RCVTIMEO, self._read_timeout), (socket.SO_SNDTIMEO, self._write_timeout)):
            self._sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(limit or 0), 0))
        self._current_timeout = self._read_timeout = self._write_timeout = None

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        self._result = None
        result = _Result(self)
        if unbuffered:
            result.init_unbuffered_query()
        else:
            try:
                result.read()
            except OSError as e:
                self._force_close()
                raise err.OperationalError(
                    CR.CR_SERVER_LOST, f"Lost connection to the server during query ({e})"
                ) from e
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows


DECODERS: dict[Any, Any] = {**converters.conversions, FIELD_TYPE.DATETIME: _moment, FIELD_TYPE.TIMESTAMP: _moment}
"""What PyMySQL calls `conv`."""

_layouts: dict[str, dict[bytes, Layout]] = {}
"""By encoding, by the bytes of the description."""
