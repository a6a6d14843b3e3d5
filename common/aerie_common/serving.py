# SPDX-License-Identifier: Apache-2.0
"""Serving a WSGI application over HTTP or HTTPS with a pool of native threads: which thread serves whom, and how long
anybody is waited for. (What is said on a connection is wire.py's.)

Several processes may serve one port (SO_REUSEPORT), so workers need nothing from one another. No request makes the
server hold more of a body than the application asked for, whatever its length and however it was answered.

Invariants. A thread is lent to a connection only while there is something to answer: clients that are silent or slow
before their request is here (a small body included) cost a socket. Whatever part of a request has come is answered, if
only with a refusal; only a connection that has been silent for IDLE seconds is closed without a word.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import select
import socket
import ssl
import sys
import threading
import time
from typing import Any

from aerie_common.errors import AerieError, RequestTimeout
from aerie_common.sockets import PlainSocket, Tls, TlsSocket, listen
from aerie_common.wire import Body, ClientGone, Exchange, Malformed, Reader, Refusal, WsgiApp, last_words, plain

__all__ = ["HttpServer", "Tls", "WsgiApp"]
LOG = logging.getLogger(__name__)
PATIENCE = 75.0
"""Seconds that a client may take to send a request's head and a small body; between the pieces of a large one; and to
take a piece of the answer."""
IDLE = 300.0
"""Seconds that a connection is kept between requests: longer than proxies keep theirs, so that it is they who close."""
LINGER = 0.02
"""Seconds a thread stays with a connection for its next request. Handing it back to the watch and to another thread
costs more than answering a small request does."""
LEAVE = 3.0
"""Seconds in which a client whose request was cut short can take the answer, before the connection is gone for good."""
MORSELS = 64
"""Reads after which a request in small pieces makes room for other connections."""
TICK = 0.5
"""Seconds between two looks at who is late."""
STOP_SECONDS = 10.0
NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


class _Connection:
    """One client's connection."""

    def __init__(self, owner: _Server, sock: socket.socket, peer: Any) -> None:
        self.server, self._peer = owner, peer
        if owner.tls is None:
            self.socket: PlainSocket | TlsSocket = PlainSocket(sock, LINGER, PATIENCE)
        else:
            self.socket = TlsSocket(sock, LINGER, PATIENCE, owner.tls)
        self.fd = self.socket.fileno()
        self.rfile = Reader(self.socket, PATIENCE)
        self.armed = False
        """Has the watch heard of it before?"""
        self._secure = owner.tls is None
        """Is the handshake done, or none needed?"""
        self._environ: dict[str, Any] = {}
        self._begun = self._leaving = False
        self.late = False
        """Has the watch found the deadline past?"""
        self.deadline = time.monotonic() + PATIENCE
        """When the watch loses its patience (monotonic)."""

    @property
    def idle(self) -> bool:
        """Would nobody miss it?"""
        return self._leaving or not self._secure or not self.rfile.begun

    @property
    def unread(self) -> bool:
        """Is there anything to read?"""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def communicate(self) -> bool:
        """Do what there is to do at once. True: watch the connection until there is more."""
        slot = self.server.lingering.acquire(blocking=False)
        try:
            return self._serve(slot)
        except ssl.SSLError as e:
            LOG.debug("no TLS: %s", e)
            if e.reason == "HTTP_REQUEST":
                headers, body = self.server.refusal(Malformed("Here HTTPS is spoken, not HTTP."))
                with contextlib.suppress(OSError):
                    os.write(self.fd, last_words(400, headers, body))
            return False
        except OSError as e:
            LOG.debug("a client went away: %s", e)
            return False
        finally:
            if slot:
                self.server.lingering.release()

    def _serve(self, linger: bool) -> bool:
        if not self._secure:
            self._secure = self.socket.shake()
            return not self.late or self._secure
        if self._leaving:
            return self._absorb()
        fresh, morsels = True, 0
        while True:
            while not self.rfile.has_data():
                busy = self.server.busy or morsels > MORSELS
                if not fresh and (not linger or busy):
                    return self._to_watch()
                fresh, morsels = False, morsels + 1
                try:
                    if not self.rfile.receive() and not self.rfile.has_data():
                        return False
                except BlockingIOError:
                    return self._to_watch()
            self._begun, morsels = False, 0
            if not self._answer():
                return self._leaving
            self.late = False
            self.deadline = time.monotonic() + IDLE

    def _to_watch(self) -> bool:
        """Set how long the client has; when that is over, refuse what has come so far."""
        now = time.monotonic()
        if self.rfile.begun and not self._begun:
            self._begun, self.deadline = True, now + PATIENCE
        if not self.late and now < self.deadline:
            return True
        if self.rfile.begun:
            self._give_up(RequestTimeout())
        return self._leaving

    def _answer(self) -> bool:
        """Answer one request. True when there may be another."""
        exchange = None
        try:
            request = self.rfile.next()
            environ = self._base() | request.environ
            body = environ["wsgi.input"] = Body(self.rfile, request, self._allow)
            environ["wsgi.input_terminated"] = "HTTP_TRANSFER_ENCODING" in environ
            exchange = Exchange(self.socket, environ, body)
            exchange.close = exchange.close or not self.server.ready
            exchange.run(self.server.app)
            if exchange.close and (not body.complete or self.unread):
                self._leave()
            return not exchange.close
        except ClientGone as e:
            LOG.debug("a client went away: %s", e)
        except AerieError as e:
            if exchange is None or not exchange.begun:
                self._give_up(e)
        except Exception:  # whatever the application lets through
            LOG.exception("a request failed")
            if exchange is None or not exchange.begun:
                self._give_up(AerieError())
        return False

    def _allow(self) -> None:
        self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _give_up(self, error: AerieError) -> None:
        LOG.info("%s: refused with %d: %s", self._peer[0], error.status, error.message)
        headers, body = self.server.refusal(error)
        self.socket.sendall(last_words(error.status, headers, body))
        self._leave()

    def _leave(self) -> None:
        """Nothing more will be said. A socket that is closed with something unread takes the answer back, so what the
        client still sends is read for a moment."""
        self._leaving, self.deadline = True, time.monotonic() + LEAVE
        self.socket.shutdown(socket.SHUT_WR)

    def _absorb(self) -> bool:
        """Read and drop what is there. False at the end of it, and of the time for it: who never stops sending is never
        found late by the watch, which sees only those that wait."""
        try:
            for _ in range(MORSELS):
                if self.late or time.monotonic() >= self.deadline or not self.socket.recv(1 << 16):
                    return False
        except BlockingIOError:
            pass
        return True

    def _base(self) -> dict[str, Any]:
        """What the environ of every request of this connection holds."""
        if not self._environ:
            host, port = self.server.address[:2]
            self._environ = {
                "REMOTE_ADDR": self._peer[0],
                "REMOTE_PORT": str(self._peer[1]),
                "SCRIPT_NAME": "",
                "SERVER_NAME": host,
                "SERVER_PORT": str(port),
                "SERVER_SOFTWARE": "Aerie",
                "wsgi.errors": sys.stderr,
                "wsgi.multiprocess": False,
                "wsgi.multithread": True,
                "wsgi.run_once": False,
                "wsgi.url_scheme": "http" if self.server.tls is None else "https",
                "wsgi.version": (1, 0),
            }
        return self._environ

    def hush(self) -> None:
        """Have a thread that waits for the client wait no longer."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()


class _Server:
    """A listening socket, the watch over connections that no thread serves, and the threads."""

    def __init__(
        self,
        app: WsgiApp,
        address: tuple[str, int],
        threads: int,
        reuse_port: bool,
        tls: Tls | None,
        refusal: Refusal,
    ) -> None:
        self.app, self.refusal = app, refusal
        self.tls = tls.context() if tls else None
        self._listener = listen(address, reuse_port)
        self.address = self._listener.getsockname()
        self.ready = True
        # Some threads never linger, so that a newcomer is served whoever else is here.
        self.lingering = threading.Semaphore(threads - max(1, threads // 4))
        self._waiting: queue.SimpleQueue[_Connection | None] = queue.SimpleQueue()
        self._working: set[_Connection] = set()
        self._watched: dict[int, _Connection] = {}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Each connection is armed for one event, and again when a thread has done with it: so it is at one place.
        self._poll = select.epoll()
        self._poll.register(self._listener.fileno(), select.EPOLLIN)
        self._poll.register(self._bell, select.EPOLLIN)
        names = [f"http-{self.address[1]}-{number}" for number in range(threads)]
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        self._watcher = threading.Thread(target=self._watch, name=f"http-{self.address[1]}", daemon=True)

    @property
    def busy(self) -> bool:
        """Do connections wait for a thread?"""
        return not self._waiting.empty()

    def start(self) -> None:
        for thread in (*self._threads, self._watcher):
            thread.start()

    def stop(self) -> None:
        """Answer what has come, then end."""
        if not self.ready:
            return
        self.ready = False
        os.eventfd_write(self._bell, 1)
        if self._watcher.is_alive():
            self._watcher.join()
            self._last_round()
        self._listener.close()
        self._poll.close()
        os.close(self._bell)

    def _last_round(self) -> None:
        self._accept()
        for conn in list(self._watched.values()):
            if conn.idle and not conn.unread:
                conn.close()
            else:
                self._late(conn)
        self._watched.clear()
        end = time.monotonic() + STOP_SECONDS
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        for conn in list(self._working):
            conn.hush()
        for thread in self._threads:
            thread.join(max(0.0, end + 1.0 - time.monotonic()))
        for conn in list(self._watched.values()):  # those that came back meanwhile
            conn.close()

    # -- threads

    def _work(self) -> None:
        while (conn := self._waiting.get()) is not None:
            self._working.add(conn)
            try:
                keep = conn.communicate()
            except Exception:  # a thread serves for ever
                LOG.exception("a connection failed")
                keep = False
            self._working.discard(conn)
            if keep and self.ready:
                self._arm(conn)
            else:
                conn.close()

    # -- the watch

    def _arm(self, conn: _Connection) -> None:
        self._watched[conn.fd] = conn
        tell, conn.armed = (self._poll.modify if conn.armed else self._poll.register), True
        try:
            tell(conn.fd, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError as e:
            if self._watched.pop(conn.fd, None):  # else it was ended this very moment, to make room
                LOG.error("a connection cannot be watched: %s", e)
                conn.close()

    def _watch(self) -> None:
        looked = time.monotonic()
        while self.ready:
            try:
                for fd, _ in self._poll.poll(TICK):
                    if fd == self._listener.fileno():
                        self._accept()
                    elif conn := self._watched.pop(fd, None):
                        self._waiting.put(conn)
                now = time.monotonic()
                if now - looked > TICK:
                    looked = now
                    for conn in list(self._watched.values()):
                        if conn.deadline <= now:
                            self._late(conn)
            except Exception:  # it watches for ever
                LOG.exception("the watch over connections stumbled")
                time.sleep(TICK)

    def _late(self, conn: _Connection) -> None:
        """Its time is over: a thread has a last look at what has come meanwhile."""
        if self._watched.pop(conn.fd, None):
            conn.late = True
            self._waiting.put(conn)

    def _accept(self) -> None:
        """Take in all who have come."""
        while True:
            try:
                sock, peer = self._listener.accept()
                self._waiting.put(_Connection(self, sock, peer))
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno not in NO_MORE_FILES:
                    LOG.debug("a client went away before it was here: %s", e)
                    return
                closed = self._make_room()
                LOG.error("a new connection has to wait: %s; closed %d idle ones", e.strerror, closed)
                if not closed:
                    time.sleep(0.1)  # the listener stays readable: do not ask it again and again
                    return

    def _make_room(self, number: int = 16) -> int:
        """Close the connections that have been idle for longest; how many."""
        idle = sorted((conn for conn in list(self._watched.values()) if conn.idle), key=lambda conn: conn.deadline)
        for conn in idle[:number]:
            del self._watched[conn.fd]
            conn.close()
        return len(idle[:number])


class HttpServer:
    """Listens when made (so that a taken port is reported at once), serves from start() to stop().

    address: (host, port); port 0 picks a free one, `.port` tells which. refusal: how those requests are answered that
    the application does not see.
    """

    def __init__(
        self,
        app: WsgiApp,
        address: tuple[str, int],
        *,
        threads: int = 16,
        reuse_port: bool = False,
        tls: Tls | None = None,
        refusal: Refusal = plain,
    ) -> None:
        self._server = _Server(app, address, threads, reuse_port, tls, refusal)
        self.port: int = self._server.address[1]

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """Finish the requests at hand (at most ten seconds), then end."""
        self._server.stop()
