# SPDX-License-Identifier: Apache-2.0
"""The metadata API as a WSGI application.

Invariant: whose metadata is shown is decided by the instance id that a metadata proxy signed, never by anything the
guest says. Unknown paths are answered 404 without a look at the database wherever the path alone tells, as cloud-init
tries many.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from aerie_compute.logic.metadata import InstanceFacts
from aerie_compute.logic.passwords import MAX_LENGTH
from aerie_compute.metadata import documents

LOG = logging.getLogger(__name__)
REMEMBER_SECONDS = 5.0
REMEMBER_COUNT = 1000

Load = Callable[[str], InstanceFacts | None]
Password = Callable[[str], str]
StorePassword = Callable[[str, str], bool]
StartResponse = Callable[..., Any]


class NotThere(Exception):
    """There is nothing at this path."""


class Refused(Exception):
    """The request is answered with this status and text."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class MetadataApplication:
    """``load(server_id)`` reads a server, see ``logic.metadata.load_instance``; ``password`` and ``store_password`` are
    those of ``logic.passwords``."""

    def __init__(self, conf: cfg.ConfigOpts, load: Load, password: Password, store_password: StorePassword) -> None:
        self._conf = conf
        self._load = load
        self._password = password
        self._store_password = store_password
        self._secret = conf.metadata_proxy_shared_secret.encode()
        self._known: OrderedDict[str, tuple[float, InstanceFacts | None]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        media = "text/plain; charset=utf-8"
        try:
            body = self._answer(environ)
            status = "200 OK"
            if environ.get("PATH_INFO", "").endswith(".json"):
                media = "application/json"
        except NotThere:
            status, body = "404 Not Found", b"404 Not Found\n"
        except Refused as exc:
            status, body = exc.status, exc.text.encode() + b"\n"
        headers = [("Content-Type", media), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: dict[str, Any]) -> bytes:
        parts = [part for part in environ.get("PATH_INFO", "").split("/") if part]
        if parts == ["healthcheck"]:
            return b"OK"
        is_password = len(parts) == 3 and parts[0] == "openstack" and parts[2] == "password"
        allowed = ("GET", "HEAD", "POST") if is_password else ("GET", "HEAD")
        if environ["REQUEST_METHOD"] not in allowed:
            raise Refused("405 Method Not Allowed", "Metadata can only be read.")
        if not parts:
            return _lines([*documents.EC2_VERSIONS])
        openstack = parts[0] == "openstack"
        if openstack and len(parts) == 1:
            return _lines(documents.OPENSTACK_VERSIONS)
        if openstack and (parts[1] not in documents.OPENSTACK_VERSIONS or len(parts) > 3):
            raise NotThere
        if openstack and len(parts) == 3 and parts[2] not in documents.SINCE:
            raise NotThere
        if not openstack and (parts[0] not in documents.EC2_VERSIONS or len(parts) > 1 and parts[1] not in _EC2_TOP):
            raise NotThere
        facts = self._facts(environ)
        if is_password and environ["REQUEST_METHOD"] == "POST":
            return self._take_password(facts, environ)
        return self._openstack(facts, parts[1:]) if openstack else self._ec2(facts, parts[1:])

    def _take_password(self, facts: InstanceFacts, environ: dict[str, Any]) -> bytes:
        """The guest tells its administrator's password, encrypted for its owner."""
        length = environ.get("CONTENT_LENGTH") or "0"
        if not length.isdigit() or int(length) > MAX_LENGTH:
            raise Refused("400 Bad Request", f"The password is longer than {MAX_LENGTH} characters.")
        text = environ["wsgi.input"].read(int(length))
        if not text.isascii():
            raise Refused("400 Bad Request", "The password is not plain text.")
        if not self._store_password(facts.server_id, text.decode("ascii")):
            raise Refused("409 Conflict", "There is a password already.")
        return b""

    def _facts(self, environ: dict[str, Any]) -> InstanceFacts:
        """The server the proxy vouches for. Raises Refused for a forged or missing signature."""
        server_id = environ.get("HTTP_X_INSTANCE_ID", "")
        project_id = environ.get("HTTP_X_TENANT_ID", "")
        given = environ.get("HTTP_X_INSTANCE_ID_SIGNATURE", "")
        expected = hmac.new(self._secret, server_id.encode(), hashlib.sha256).hexdigest()
        if not self._secret or not hmac.compare_digest(given.encode(), expected.encode()):
            LOG.warning("a metadata request without a valid signature came from %s", environ.get("REMOTE_ADDR"))
            raise Refused("403 Forbidden", "This request did not come through a metadata proxy.")
        facts = self._remembered(server_id)
        if facts is None:
            raise NotThere
        if facts.project_id != project_id:
            LOG.warning("server %s was asked for in the name of another project", server_id)
            raise NotThere
        return facts

    def _remembered(self, server_id: str) -> InstanceFacts | None:
        """A boot asks for dozens of files within a second: one read serves them."""
        now = time.monotonic()
        with self._lock:
            known = self._known.get(server_id)
            if known is not None and now - known[0] < REMEMBER_SECONDS:
                return known[1]
        facts = self._load(server_id)
        with self._lock:
            self._known[server_id] = (now, facts)
            self._known.move_to_end(server_id)
            while len(self._known) > REMEMBER_COUNT:
                self._known.popitem(last=False)
        return facts

    def _openstack(self, facts: InstanceFacts, parts: list[str]) -> bytes:
        files = documents.openstack_files(facts, self._conf, parts[0])
        has_password = parts[0] == "latest" or documents.SINCE["password"] <= parts[0]
        if len(parts) == 1:
            return _lines([*files, "password"] if has_password else files)
        if parts[1] == "password" and has_password:
            return self._password(facts.server_id).encode()
        if parts[1] not in files:
            raise NotThere
        return files[parts[1]]

    def _ec2(self, facts: InstanceFacts, parts: list[str]) -> bytes:
        if not parts:
            return _lines(["meta-data/", *(["user-data"] if facts.user_data is not None else [])])
        if parts[0] == "user-data":
            if facts.user_data is None or len(parts) > 1:
                raise NotThere
            return facts.user_data
        node: documents.Tree | str = documents.ec2_meta_data(facts, self._conf.dhcp_domain)
        for part in parts[1:]:
            if isinstance(node, str) or part not in node or part == "_name":
                raise NotThere
            node = node[part]
        return node.encode() if isinstance(node, str) else _lines(_listing(node))


_EC2_TOP = ("meta-data", "user-data")


def _listing(tree: documents.Tree) -> list[str]:
    """Names in a directory: subdirectories with a slash behind, keys with their name."""
    names = []
    for name, node in tree.items():
        if name == "_name":
            continue
        if isinstance(node, dict):
            label = node.get("_name")
            names.append(label if isinstance(label, str) else f"{name}/")
        else:
            names.append(name)
    return names


def _lines(names: Iterable[str]) -> bytes:
    return "\n".join(names).encode()
