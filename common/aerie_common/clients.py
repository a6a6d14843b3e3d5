# SPDX-License-Identifier: Apache-2.0
"""Calls from one service to another's REST API: endpoint from the catalog, token of the service's own user or of the
caller, the request id passed on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import requests
from keystoneauth1 import exceptions as ka
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from oslo_config import cfg

from aerie_common.context import Context
from aerie_common.errors import AerieError, ServiceUnavailable

LOG = logging.getLogger(__name__)
_VERSION_PATHS = {"identity": "/v3", "image": "/v2", "network": "/v2.0", "dns": "/v2"}


class RemoteError(AerieError):
    """The other service refused: its status, its refusal's name (`kind`, e.g. IpAddressInUse), its words."""

    code = "remote_error"

    def __init__(self, service: str, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.service, self.status, self.kind = service, status, kind


class ServiceClient:
    """One other service's API. Paths are relative to its versioned root (`/v2.0` etc. are added)."""

    def __init__(self, clients: ServiceClients, service_type: str) -> None:
        self._clients, self._type = clients, service_type

    def request(
        self,
        method: str,
        path: str,
        ctx: Context | None = None,
        *,
        as_user: bool = False,
        body: Any = None,
        headers: dict[str, str] | None = None,
        microversion: str | None = None,
        timeout: float = 30,
        stream: bool = False,
        data: Any = None,
    ) -> requests.Response:
        """The raw reply of a successful call. RemoteError for a refusal, ServiceUnavailable when nothing answers.

        as_user: with the caller's token; else with the service's own.
        """
        sent = {"Accept": "application/json", **(headers or {})}
        if ctx is not None:
            sent["X-Openstack-Request-Id"] = ctx.global_request_id or ctx.request_id
        if microversion:
            sent["OpenStack-API-Version"] = f"{self._type} {microversion}"
        if body is not None:
            data, sent["Content-Type"] = orjson.dumps(body), "application/json"
        session = self._clients.session
        again = data is None or isinstance(data, bytes) or hasattr(data, "seek")  # what is read once is sent once
        begin = data.tell() if hasattr(data, "seek") else None
        user_token = ctx.token if ctx is not None and as_user else None
        try:
            url = self._clients.endpoint(self._type) + path
            for attempt in (0, 1):
                sent["X-Auth-Token"] = user_token or self._clients.token()
                if user_token:
                    sent["X-Service-Token"] = self._clients.token()
                reply = self._clients.http.request(method, url, data=data, headers=sent, timeout=timeout, stream=stream)
                if reply.status_code == 401 and attempt == 0 and not user_token:
                    session.invalidate()
                    if again:
                        if begin is not None:
                            data.seek(begin)
                        continue
                break
        except (ka.ClientException, requests.RequestException) as e:
            LOG.warning("the %s service does not answer: %s", self._type, e)  # callers learn no addresses
            raise ServiceUnavailable(f"The {self._type} service does not answer. Try again in a moment.") from e
        if reply.status_code >= 400:
            raise _refusal(self._type, reply)
        return reply

    def json(self, method: str, path: str, ctx: Context | None = None, **kw: Any) -> Any:
        """The reply's JSON, None without a body."""
        reply = self.request(method, path, ctx, **kw)
        return orjson.loads(reply.content) if reply.content else None

    def get(self, path: str, ctx: Context | None = None, **kw: Any) -> Any:
        return self.json("GET", path, ctx, **kw)

    def post(self, path: str, body: Any, ctx: Context | None = None, **kw: Any) -> Any:
        return self.json("POST", path, ctx, body=body, **kw)

    def put(self, path: str, body: Any, ctx: Context | None = None, **kw: Any) -> Any:
        return self.json("PUT", path, ctx, body=body, **kw)

    def delete(self, path: str, ctx: Context | None = None, **kw: Any) -> None:
        """Delete; what is gone already is fine."""
        try:
            self.request("DELETE", path, ctx, **kw)
        except RemoteError as e:
            if e.status != 404:
                raise

    def pages(
        self, path: str, collection: str, ctx: Context | None = None, limit: int = 1000, **kw: Any
    ) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page (marker = the last id)."""
        marker = ""
        while True:
            joint = "&" if "?" in path else "?"
            items = self.get(f"{path}{joint}limit={limit}{marker}", ctx, **kw)[collection]
            yield from items
            if len(items) < limit:
                return
            marker = f"&marker={items[-1]['id']}"


class ServiceClients:
    """All other services, by catalog type: `clients["network"].get("/ports")`."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._http: requests.Session | None = None
        self._endpoints: dict[str, str] = {}
        self._made: dict[str, ServiceClient] = {}

    def __getitem__(self, service_type: str) -> ServiceClient:
        found = self._made.get(service_type)
        if found is None:
            found = self._made[service_type] = ServiceClient(self, service_type)
        return found

    def _connect(self) -> tuple[Session, requests.Session]:
        with self._lock:
            if self._session is None or self._http is None:
                options = self._conf.keystone_authtoken
                auth = v3.Password(
                    auth_url=options.auth_url,
                    username=options.username,
                    password=options.password,
                    project_name=options.project_name,
                    user_domain_name=options.user_domain_name,
                    project_domain_name=options.project_domain_name,
                )
                self._http = requests.Session()
                self._http.trust_env = False
                self._http.verify = verify = False if options.insecure else options.cafile or True
                adapter = requests.adapters.HTTPAdapter(pool_connections=8, pool_maxsize=32)
                self._http.mount("http://", adapter)
                self._http.mount("https://", adapter)
                self._session = Session(auth=auth, session=self._http, verify=verify, user_agent="aerie")
            return self._session, self._http

    @property
    def session(self) -> Session:
        """The keystoneauth session of the service's own user."""
        return self._session or self._connect()[0]

    @property
    def http(self) -> requests.Session:
        return self._http or self._connect()[1]

    def token(self) -> str:
        """A valid token of the service's own user."""
        token = self.session.get_token()
        if token is None:
            raise ServiceUnavailable("The identity service gives no token.")
        return str(token)

    def endpoint(self, service_type: str) -> str:
        """The versioned root of a service, without trailing slash."""
        found = self._endpoints.get(service_type)
        if found is None:
            if service_type == "identity":
                url: str | None = self._conf.keystone_authtoken.auth_url
            else:
                url = self.session.get_endpoint(
                    service_type=service_type,
                    interface=self._conf.keystone_authtoken.interface,
                    region_name=self._conf.region_name,
                    skip_discovery=True,
                )
            if not url:
                raise ServiceUnavailable(f"The catalog has no endpoint for {service_type}.")
            found = url.rstrip("/")
            version = _VERSION_PATHS.get(service_type, "")
            if version and not found.endswith(version):
                found += version
            self._endpoints[service_type] = found
        return found


def _refusal(service: str, reply: requests.Response) -> RemoteError:
    kind, message = "", reply.text[:500]
    try:
        body = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        inner = next((v for v in body.values() if isinstance(v, dict) and "message" in v), body)
        kind = str(inner.get("type") or inner.get("code") or "")
        message = str(inner.get("message") or message)
    return RemoteError(service, reply.status_code, kind, message)


class RemoteTokens:
    """TokenSource of every service but identity: asks the identity API."""

    def __init__(self, clients: ServiceClients) -> None:
        self._identity = clients["identity"]
        self._clients = clients

    def validate(self, token: str) -> dict[str, Any] | None:
        if not token.isascii() or not token.isprintable():
            return None
        try:
            body = self._identity.get("/auth/tokens", headers={"X-Subject-Token": token})
        except RemoteError as e:
            if e.status in (400, 404):
                return None
            raise ServiceUnavailable(f"The identity service refused to validate a token: {e}") from e
        return dict(body["token"])

    def epoch(self) -> str:
        try:
            reply = self._clients.http.get(f"{self._clients.endpoint('identity')}/OS-REVOKE/epoch", timeout=5)
        except requests.RequestException as e:
            LOG.warning("the identity service does not answer: %s", e)
            raise ServiceUnavailable("The identity service does not answer. Try again in a moment.") from e
        if reply.status_code != 200:
            raise ServiceUnavailable(f"The identity service answers {reply.status_code} for its revocation epoch.")
        return reply.text
