# SPDX-License-Identifier: Apache-2.0
"""Logins in the browser: it is sent to the identity provider, comes back with a code, and takes a token to the
dashboard it came from (OpenID Connect's authorization code flow, with PKCE).

Invariants: a token goes to trusted dashboards only; a code is good for the browser that asked for it, within
LOGIN_SECONDS. What has to be remembered until it comes back is in an encrypted cookie: no table, any host will do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from aerie_common.errors import BadRequest, Unauthorized
from aerie_identity.db.models import IdentityProvider
from aerie_identity.logic import federation, openid
from aerie_identity.logic.tokens import Refused

if TYPE_CHECKING:
    from aerie_identity.container import Identity

LOGIN_SECONDS = 600


def check_origin(svc: Identity, origin: str | None) -> str:
    """The dashboard to go to in the end. Raises BadRequest without one, Unauthorized for one that is not trusted."""
    if not origin:
        raise BadRequest("Request must have an origin query parameter.")
    if origin not in svc.conf.federation.trusted_dashboard:
        raise Unauthorized(f"{origin} is not a trusted dashboard host.")
    return origin


def provider_for(svc: Identity, protocol_id: str) -> str:
    """The identity provider of logins that name none: the only one with this protocol."""
    known = svc.federations.get()
    found = [idp_id for idp_id, id in known.protocols if id == protocol_id and known.trusts(idp_id, protocol_id)]
    if len(found) != 1:
        raise BadRequest(f"Name an identity provider: {len(found)} of them have the protocol {protocol_id}.")
    return found[0]


def begin(svc: Identity, idp_id: str, protocol_id: str, origin: str, back: str) -> tuple[str, str]:
    """Where to send the browser, and the cookie it is given. back: our address, to which it returns."""
    idp, _ = federation.trusted(svc, idp_id, protocol_id)
    settings = svc.openid.settings(idp_id)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    endpoint = _endpoint(svc, idp, "authorization_endpoint")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code", "client_id": settings.client_id, "redirect_uri": back, "scope": settings.scope,
        "state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    kept = {
        "login": [idp_id, protocol_id], "origin": origin, "back": back, "state": state, "nonce": nonce,
        "verifier": verifier, "until": time.time() + LOGIN_SECONDS,
    }  # fmt: skip
    joint = "&" if "?" in endpoint else "?"
    return f"{endpoint}{joint}{urlencode(asked)}", svc.token_keys.encrypt(orjson.dumps(kept)).decode()


def _endpoint(svc: Identity, idp: IdentityProvider, name: str) -> str:
    """An address that the identity provider publishes."""
    settings = svc.openid.settings(idp.id)
    if not idp.remote_ids or not settings.client_id:
        raise BadRequest(f"The identity provider {idp.id} is not set up for logins in the browser.")
    found = str(svc.openid.issuers.document(idp.remote_ids[0], settings).get(name) or "")
    openid.check_address(found, settings)
    return found


def finish(svc: Identity, idp_id: str, protocol_id: str, answer: dict[str, str], cookie: str | None) -> tuple[str, str]:
    """The dashboard's address and the token for it, for a browser that came back. Raises Unauthorized."""
    try:
        return _finish(svc, idp_id, protocol_id, answer, cookie)
    except Refused as e:
        federation.LOG.info("a login in the browser by %s was refused: %s", idp_id, e)
        raise Unauthorized() from None


def _finish(
    svc: Identity, idp_id: str, protocol_id: str, answer: dict[str, str], cookie: str | None
) -> tuple[str, str]:
    raw = svc.token_keys.decrypt(cookie.encode()) if cookie else None
    kept = orjson.loads(raw) if raw and raw.startswith(b"{") else {}  # tokens are sealed with the same keys
    if kept.get("login") != [idp_id, protocol_id] or kept["until"] < time.time():
        raise Refused("the browser did not begin this login, or too long ago")
    if not hmac.compare_digest(kept["state"].encode(), answer.get("state", "").encode()):
        raise Refused("the identity provider's answer is to another question")
    if "error" in answer or not answer.get("code"):
        raise Refused(f"the identity provider said {answer.get('error')!r}")
    idp, _ = federation.trusted(svc, idp_id, protocol_id)
    endpoint = _endpoint(svc, idp, "token_endpoint")
    if answer.get("iss", idp.remote_ids[0]) != idp.remote_ids[0]:
        raise Refused("another identity provider answered")
    form = {
        "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": kept["back"],
        "code_verifier": kept["verifier"],
    }  # fmt: skip
    found = openid.post(endpoint, form, svc.openid.settings(idp_id))
    token, _ = federation.log_in(svc, idp_id, protocol_id, str(found.get("id_token") or ""), kept["nonce"])
    return str(kept["origin"]), token
