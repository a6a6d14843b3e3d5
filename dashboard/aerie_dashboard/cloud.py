# SPDX-License-Identifier: Apache-2.0
"""The dashboard's way to the cloud: the public REST APIs with the user's own token, nothing else."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests
from django.conf import settings

_MEMORY_SECONDS = 60.0
_VERSIONS = {"image": "/v2", "network": "/v2.0", "dns": "/v2"}
_http = requests.Session()
_http.trust_env = False
_http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))
_http.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=32))
_pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="cloud")
_catalogs: dict[str, tuple[float, dict[str, str]]] = {}
_projects: dict[str, tuple[float, list[dict[str, Any]]]] = {}
_lock = threading.Lock()


class CloudError(Exception):
    """An API refused: its status, its words and the request id an operator can look up. status 0: nothing answered."""

    def __init__(self, status: int, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.request_id = status, message, request_id


@dataclass(frozen=True)
class Login:
    """A token and whom it is for."""

    token: str
    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: list[str]
    expires_at: str


def _words(reply: requests.Response) -> str:
    try:
        body = reply.json()
    except requests.JSONDecodeError:
        return reply.text[:300] or reply.reason
    if isinstance(body, dict):
        inner = next((v for v in body.values() if isinstance(v, dict) and "message" in v), body)
        return str(inner.get("message") or inner.get("detail") or body)
    return str(body)


def _send(method: str, url: str, headers: Mapping[str, str], body: Any = None) -> requests.Response:
    try:
        reply = _http.request(method, url, headers=dict(headers), json=body, timeout=30)
    except requests.RequestException as e:
        raise CloudError(0, f"{url.split('/')[2]} does not answer. Is the service running? ({type(e).__name__})") from e
    if reply.status_code >= 400:
        raise CloudError(reply.status_code, _words(reply), reply.headers.get("X-Openstack-Request-Id", ""))
    return reply


def _issue(identity: dict[str, Any], scope: dict[str, Any] | None) -> Login:
    auth: dict[str, Any] = {"identity": identity}
    if scope is not None:
        auth["scope"] = scope
    reply = _send("POST", f"{settings.AERIE_AUTH_URL}/auth/tokens", {}, {"auth": auth})
    token = reply.json()["token"]
    project = token.get("project") or {}
    return Login(
        token=reply.headers["X-Subject-Token"],
        user_id=token["user"]["id"],
        user_name=token["user"]["name"],
        project_id=project.get("id", ""),
        project_name=project.get("name", ""),
        roles=[role["name"] for role in token.get("roles", ())],
        expires_at=token["expires_at"],
    )


def login(domain: str, user: str, password: str) -> Login:
    """A token by password, in the first project the user may use. CloudError with status 401 when it is wrong."""
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": user, "domain": {"name": domain}, "password": password}},
    }
    first = _issue(identity, None)
    return first if first.project_id else enter(first.token)


def enter(unscoped: str) -> Login:
    """From an unscoped token to one in the first project the user may use."""
    projects = Cloud(unscoped).projects()
    if not projects:
        raise CloudError(403, "This user has no role in any project. Ask an administrator for one.")
    return switch(unscoped, projects[0]["id"])


def switch(token: str, project_id: str) -> Login:
    """A token for another project."""
    return _issue({"methods": ["token"], "token": {"id": token}}, {"project": {"id": project_id}})


class Cloud:
    """All services, for one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def _remembered(self, memory: dict[str, tuple[float, Any]], ask: Callable[[], Any]) -> Any:
        """What was asked for with this token less than a minute ago, else the answer of `ask`."""
        key, now = hashlib.sha256(self._token.encode()).hexdigest(), time.monotonic()
        with _lock:
            known = memory.get(key)
        if known and known[0] > now:
            return known[1]
        answer = ask()
        with _lock:
            for old in [k for k, (end, _) in memory.items() if end < now]:
                del memory[old]
            memory[key] = (now + _MEMORY_SECONDS, answer)
        return answer

    def _endpoints(self) -> dict[str, str]:
        return dict(self._remembered(_catalogs, self._read_catalog))

    def _read_catalog(self) -> dict[str, str]:
        catalog = _send("GET", f"{settings.AERIE_AUTH_URL}/auth/catalog", {"X-Auth-Token": self._token})
        return {
            service["type"]: endpoint["url"].rstrip("/")
            for service in catalog.json()["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public" and endpoint.get("region") in (None, settings.AERIE_REGION)
        }

    def has(self, service: str) -> bool:
        """Does the catalog have that service?"""
        return service in self._endpoints()

    def call(self, method: str, service: str, path: str, body: Any = None, version: str | None = None) -> Any:
        """One call; the reply's JSON, None without one. Raises CloudError."""
        if service == "identity":
            url = settings.AERIE_AUTH_URL
        else:
            endpoints = self._endpoints()
            if service not in endpoints:
                raise CloudError(0, f"This cloud has no {service} service.")
            url = endpoints[service]
            suffix = _VERSIONS.get(service, "")
            url = url if not suffix or url.endswith(suffix) else url + suffix
        headers = {"X-Auth-Token": self._token, "Accept": "application/json"}
        if version:
            headers["OpenStack-API-Version"] = f"{service} {version}"
        reply = _send(method, url + path, headers, body)
        return reply.json() if reply.content and "json" in reply.headers.get("Content-Type", "") else None

    def get(self, service: str, path: str, key: str, version: str | None = None) -> Any:
        """The value under `key` of a GET."""
        return self.call("GET", service, path, version=version)[key]

    def revoke(self) -> None:
        """End the token's life."""
        headers = {"X-Auth-Token": self._token, "X-Subject-Token": self._token}
        _send("DELETE", f"{settings.AERIE_AUTH_URL}/auth/tokens", headers)

    def projects(self) -> list[dict[str, Any]]:
        """Projects the user may switch to."""
        return list(self._remembered(_projects, self._read_projects))

    def _read_projects(self) -> list[dict[str, Any]]:
        return sorted(self.get("identity", "/auth/projects", "projects"), key=lambda p: p["name"])


def together(**calls: Callable[[], Any]) -> dict[str, Any]:
    """Make independent calls at the same time; the first failure is raised when all have ended."""
    futures = {name: _pool.submit(call) for name, call in calls.items()}
    for future in futures.values():
        future.exception()
    return {name: future.result() for name, future in futures.items()}
