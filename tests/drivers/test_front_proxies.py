# SPDX-License-Identifier: Apache-2.0
"""A proxy in front and the server behind agree on where each request begins and ends.

Invariant: the server is never asked for a path that the proxy does not know to have asked for, so nobody gets a request
past the proxy's rules, nor the answer to another one's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import http_corpus
from aerie_common.serving import HttpServer
from front_proxies import HAProxy, Nginx, Proxy
from wsgi_sample import application, seen


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    made = HttpServer(application, ("127.0.0.1", 0), threads=4)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module", params=[Nginx, HAProxy], ids=["nginx", "haproxy"])
def proxy(request: pytest.FixtureRequest, server: HttpServer, servers_dir: Path) -> Iterator[Proxy]:
    made: Proxy = request.param(servers_dir / f"front-{request.param.name}", server.port)
    made.start()
    yield made
    made.stop()


def path_of(target: str) -> str:
    return unquote(urlsplit(target).path.replace("%2F", "%252F").replace("%2f", "%252F")) or "/"


def test_proxy_and_server_see_the_same_requests(proxy: Proxy) -> None:
    """And after each case the next client, on the same kept-alive connections to the server, gets its own answer."""
    seen.clear()
    for number, case in enumerate(http_corpus.ALL):
        sent = case.sent.replace(b"/smuggled", b"/smug%04d" % number)
        http_corpus.exchange(proxy.port, sent, 0, quiet=0.05)
        body = b"of client %d" % number
        mine = http_corpus.post(b"Connection: close", b"Content-Length: %d" % len(body), body=body)
        found, got, _ = http_corpus.exchange(proxy.port, mine, 1)
        assert found == [200] and got.endswith(body), (case.name, got)
        proxy.passed()
    reached = Counter(environ["PATH_INFO"] for environ in seen)
    end = time.monotonic() + 20
    while not reached <= (passed := Counter(map(path_of, proxy.passed()))):  # its log comes a moment later
        assert time.monotonic() < end, reached - passed
        time.sleep(0.05)
    assert reached.total() > len(http_corpus.ALL) + len(http_corpus.WELL_FORMED) / 2, "the corpus hardly got through"
