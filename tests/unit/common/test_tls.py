# SPDX-License-Identifier: Apache-2.0
"""HTTPS from both sides, and what a proxy in front may say about its clients."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import http_corpus
import tls_front
from aerie_common import config, serving
from aerie_common.clients import ServiceClients
from aerie_common.errors import ServiceUnavailable
from aerie_common.pipeline import behind_proxy, tls
from aerie_common.serving import HttpServer, Tls
from wsgi_sample import application


def certificate(folder: Path) -> Tls:
    """A key, and a certificate for 127.0.0.1 that is its own authority."""
    return Tls(str(tls_front.certificate(folder)), str(folder / "server.key"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(files: Tls) -> Iterator[HttpServer]:
    made = HttpServer(application, ("127.0.0.1", 0), threads=2, tls=files)
    made.start()
    yield made
    made.stop()


def connect(server: HttpServer, files: Tls) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=files.cert_file)
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=context)


def test_requests_over_tls(server: HttpServer, files: Tls) -> None:
    client = connect(server, files)
    big = bytes(range(256)) * 4000
    for body in (b"", b"x", big):
        client.request("POST", "/echo", body)
        assert client.getresponse().read() == body
    client.request("GET", "/file/8")
    assert client.getresponse().read() == b"23456789"
    time.sleep(serving.LINGER * 3)  # with the watch by now
    client.request("GET", "/pieces")
    assert client.getresponse().read() == b"a" * 10 + b"b" * 100_000
    client.request("GET", "/none", headers={"Connection": "close"})
    assert client.getresponse().status == 204
    client.close()


def test_what_is_sent_in_one_record_is_all_seen(server: HttpServer, files: Tls) -> None:
    """Two requests and a half that are decrypted at once."""
    context = ssl.create_default_context(cafile=files.cert_file)
    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", server.port), timeout=20), server_hostname="127.0.0.1"
    ) as s:
        s.sendall(http_corpus.get() + http_corpus.post(b"Content-Length: 9000", body=b"x" * 9000) + b"GET /lines HT")
        got = b""
        while len(http_corpus.statuses(got)) < 2 or not got.endswith(b"x" * 9000):
            got += s.recv(65536)
        s.sendall(b"TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while piece := s.recv(65536):  # an end without TLS's own farewell would raise
            got += piece
        assert http_corpus.statuses(got) == [200, 200, 200]


def test_plain_http_is_told_so(server: HttpServer) -> None:
    found, got, closed = http_corpus.exchange(server.port, http_corpus.get(), 1)
    assert (found, closed) == ([400], True) and b"HTTPS" in got


def test_silence_and_nonsense_before_the_handshake_hold_nobody_up(server: HttpServer, files: Tls) -> None:
    """Of two threads, whatever comes instead of a handshake."""
    starts = (b"", b"\x16\x03\x01", b"nonsense\r\n\r\n", b"\0" * 100)
    others = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(20)]
    try:
        for number, other in enumerate(others):
            other.sendall(starts[number % len(starts)])
        client = connect(server, files)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        client.close()
    finally:
        for other in others:
            other.close()


def test_old_versions_of_tls_are_refused(server: HttpServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s, pytest.raises(ssl.SSLError):
        context.wrap_socket(s)


def clients(server: HttpServer, **options: Any) -> ServiceClients:
    values = {("keystone_authtoken", name): value for name, value in options.items()}
    address = {("keystone_authtoken", "auth_url"): f"https://127.0.0.1:{server.port}/v3"}
    return ServiceClients(config.load(config.new(), [], values | address))


def test_services_verify_each_other(server: HttpServer, files: Tls) -> None:
    url = f"https://127.0.0.1:{server.port}/"
    assert clients(server, cafile=files.cert_file).http.get(url, timeout=20).text == "ok"
    assert clients(server, insecure=True).http.get(url, timeout=20).text == "ok"
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        clients(server).http.get(url, timeout=20)
    with pytest.raises(ServiceUnavailable):  # not a traceback
        clients(server)["identity"].get("/")


def test_certificate_and_key_go_together(files: Tls) -> None:
    def told(**options: Any) -> Tls | None:
        return tls(config.load(config.new(), [], {("api", name): value for name, value in options.items()}))

    assert told() is None
    assert told(cert_file=files.cert_file, key_file=files.key_file) == files
    with pytest.raises(SystemExit):
        told(cert_file=files.cert_file)


def test_what_a_proxy_says_of_its_client() -> None:
    def seen(**headers: str) -> tuple[str, str, str, str]:
        environ = {"wsgi.url_scheme": "http", "HTTP_HOST": "inner:1", "REMOTE_ADDR": "10.0.0.1", "SCRIPT_NAME": ""}
        environ |= {f"HTTP_X_FORWARDED_{name}": value for name, value in headers.items()}
        behind_proxy(lambda environ, start: [])(environ, lambda *_: None)
        return environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["REMOTE_ADDR"], environ["SCRIPT_NAME"]

    untouched = ("http", "inner:1", "10.0.0.1", "")
    assert seen() == untouched
    assert seen(PROTO="https", HOST="cloud.example", FOR="192.0.2.1", PREFIX="/x/") == (
        "https", "cloud.example", "192.0.2.1", "/x",
    )  # fmt: skip
    assert seen(PROTO="https, http", HOST="a, b", FOR="192.0.2.1, 10.0.0.9")[:3] == ("https", "a", "192.0.2.1")
    assert seen(PROTO="gopher", HOST="a b/c", PREFIX="x") == untouched
