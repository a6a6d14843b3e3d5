# SPDX-License-Identifier: Apache-2.0
"""Images of other regions' image services, read on behalf of a caller: glance-download.

Which service that is the catalog of the caller's token says, so callers cannot name an address. Invariant: the token is
sent to that service alone (redirects are not followed), and waits for its use only sealed with a key that is made of
this service's own password.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import requests
import urllib3.exceptions
from cryptography.fernet import Fernet, InvalidToken
from oslo_config import cfg

from aerie_common.context import Context
from aerie_image.remote import RemoteFailure
from aerie_image.schemas.images import BASE, READ_ONLY, RESERVED, RESERVED_PREFIX

CONNECT_SECONDS, SILENCE_SECONDS = 10, 60


def endpoint(ctx: Context, region: str, interface: str) -> str | None:
    """The image service of that region, by the caller's catalog."""
    for service in (ctx.token_data or {}).get("catalog") or ():
        if service["type"] != "image":
            continue
        for found in service["endpoints"]:
            names = {str(found.get("region_id")).lower(), str(found.get("region")).lower()}
            if region.lower() in names and found["interface"] == interface:
                return str(found["url"]).rstrip("/").removesuffix("/v2")
    return None


def _box(conf: cfg.ConfigOpts) -> Fernet:
    secret = f"glance-download:{conf.keystone_authtoken.password}".encode()
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret).digest()))


def seal(conf: cfg.ConfigOpts, token: str) -> str:
    """What may lie in the database until the import begins."""
    return _box(conf).encrypt(token.encode()).decode()


def unseal(conf: cfg.ConfigOpts, sealed: str) -> str:
    """The token. RemoteFailure when this service's password has changed since."""
    try:
        return _box(conf).decrypt(sealed.encode()).decode()
    except InvalidToken as e:
        raise RemoteFailure("the caller's token cannot be read any more") from e


class Region:
    """The image service of another region."""

    def __init__(self, http: requests.Session, url: str, token: str) -> None:
        self._http, self._url, self._token = http, url, token

    def _get(self, path: str, **kw: Any) -> requests.Response:
        try:
            reply = self._http.get(
                f"{self._url}/v2/images/{path}",
                headers={"X-Auth-Token": self._token, "Accept-Encoding": "identity"},
                timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                allow_redirects=False,
                **kw,
            )
        except requests.RequestException as e:
            raise RemoteFailure("the other region's image service does not answer") from e
        if reply.status_code != 200:
            reply.close()
            raise RemoteFailure(f"the other region's image service answered {reply.status_code}")
        return reply

    def image(self, image_id: str) -> dict[str, Any]:
        """What it shows of an image, which has to have data."""
        try:
            found = dict(self._get(image_id).json())
        except (ValueError, TypeError) as e:
            raise RemoteFailure("the other region's image service does not answer in JSON") from e
        if found.get("status") != "active":
            raise RemoteFailure(f"Source image status should be active instead of {found.get('status')}")
        if not isinstance(found.get("size"), int):
            raise RemoteFailure("the source image has no size")
        return found

    def data(self, image_id: str, size: int) -> Data:
        """Its data, which has to be so many bytes."""
        return Data(self._get(f"{image_id}/file", stream=True), size)


class Data:
    """Data of an image on its way from another region."""

    def __init__(self, reply: requests.Response, size: int) -> None:
        self._reply, self._left = reply, size

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end. RemoteFailure when it breaks off."""
        try:
            piece: bytes = self._reply.raw.read(size)
        except (OSError, urllib3.exceptions.HTTPError) as e:
            raise RemoteFailure(f"the data broke off: {e}") from e
        self._left -= len(piece)
        if self._left < 0 or (not piece and self._left):
            raise RemoteFailure("the data is not of the size that the other region's image service tells")
        return piece

    def close(self) -> None:
        self._reply.close()


def properties(found: Mapping[str, Any], prefixes: list[str]) -> dict[str, str]:
    """The custom properties that are to be copied: those whose names begin so."""
    fixed = BASE | READ_ONLY | RESERVED
    return {
        name: value
        for name, value in found.items()
        if name not in fixed
        and not name.startswith(RESERVED_PREFIX)
        and isinstance(value, str)
        and name.startswith(tuple(prefixes))
    }
