# SPDX-License-Identifier: Apache-2.0
"""OpenID Connect: what an identity provider says about the bearer of a token, checked by this service itself.

A token that is a JWT is verified with the keys of its issuer, found by discovery; any other by asking the issuer
(introspection), where that is switched on. Claims come out only if all of this holds: the issuer is one of the identity
provider's remote ids; the signature is asymmetric, of an allowed algorithm, by a key the issuer publishes for it; the
token is for us; it is not expired.

Options are those of the group `oidc`, or of `oidc_<identity provider>` where an identity provider has its own.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
import orjson
import requests
import urllib3
from oslo_config import cfg

from aerie_common.errors import Forbidden, ServiceUnavailable
from aerie_identity.db.models import IdentityProvider
from aerie_identity.logic import bounded_http
from aerie_identity.logic.tokens import Refused
from aerie_identity.options import OIDC

LOG = logging.getLogger(__name__)
_CURVES = {"ES256": ("P-256",), "ES384": ("P-384",), "ES512": ("P-521",), "EdDSA": ("Ed25519", "Ed448")}
_STALE_SECONDS = 3600
"""How long keys that were read once are still believed while their issuer does not answer."""
_PAUSE_SECONDS = 2.0
"""Between two tries to reach an issuer that did not answer, so that logins do not queue up behind it."""
Claims = dict[str, Any]


class Settings:
    """The options that hold for one identity provider."""

    def __init__(self, conf: cfg.ConfigOpts, idp_id: str) -> None:
        self._shared = conf.oidc
        group = f"oidc_{idp_id}"
        conf.register_opts(OIDC, group=group)
        self._own, self._given = conf[group], self._named(conf, group)

    @staticmethod
    def _named(conf: cfg.ConfigOpts, group: str) -> frozenset[str]:
        """Options that the identity provider's own group sets."""
        places = {o.name: conf.get_location(o.name, group) for o in OIDC}
        defaults = (cfg.Locations.opt_default, cfg.Locations.set_default)
        return frozenset(name for name, place in places.items() if place and place.location not in defaults)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own if name in self._given else self._shared, name)

    @property
    def accepted(self) -> list[str]:
        """Audiences that mean this cloud. Raises Forbidden when nobody said which."""
        found: list[str] = list(self.audiences) or [str(self.client_id or "")]
        if not any(found):
            raise Forbidden("This cloud's client_id at the identity provider is not configured.")
        return found


@dataclass(frozen=True)
class _Key:
    """A key that an issuer publishes. algorithm: the only one it is for; None: all of its type."""

    id: str | None
    type: str
    curve: str | None
    algorithm: str | None
    key: Any

    def fits(self, algorithm: str) -> bool:
        if self.algorithm not in (None, algorithm):
            return False
        if algorithm[0] in "RP":
            return self.type == "RSA"
        return self.curve in _CURVES[algorithm]


@dataclass(frozen=True)
class _Issuer:
    """What is known of an issuer, and since when."""

    document: dict[str, Any]
    keys: list[_Key]
    read_at: float


class Issuers:
    """The issuers this process has met: discovery documents and keys, read when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Issuer] = {}
        self._tried: dict[str, float] = {}
        self._turns: dict[str, threading.Lock] = {}

    def document(self, issuer: str, settings: Settings) -> dict[str, Any]:
        """The discovery document."""
        return self._get(issuer, settings).document

    def key(self, issuer: str, settings: Settings, kid: str | None, algorithm: str) -> _Key:
        """The key that a signature names. An unknown one is looked for afresh: keys are rotated."""
        known = self._get(issuer, settings)
        found = _choose(known.keys, kid, algorithm)
        if found is None and time.monotonic() - known.read_at >= settings.keys_pause:
            known = self._get(issuer, settings, newer_than=known.read_at)
            found = _choose(known.keys, kid, algorithm)
        if found is None:
            raise Refused(f"{issuer} has no key {kid!r} for {algorithm}")
        return found

    def _get(self, issuer: str, settings: Settings, newer_than: float | None = None) -> _Issuer:
        with self._lock:
            turn = self._turns.setdefault(issuer, threading.Lock())
        with turn:  # one reads, the others wait for what it found
            known, now = self._known.get(issuer), time.monotonic()
            if known is not None and (now - known.read_at < settings.keys_seconds if newer_than is None
                                      else known.read_at > newer_than):  # fmt: skip
                return known
            usable = known is not None and now - known.read_at < _STALE_SECONDS
            if now - self._tried.get(issuer, float("-inf")) < _PAUSE_SECONDS:
                if known is not None and usable:
                    return known
                raise ServiceUnavailable("The identity provider does not answer. Try again in a moment.")
            try:
                self._known[issuer] = found = _read(issuer, settings)
            except ServiceUnavailable:
                self._tried[issuer] = now
                if known is None or not usable:
                    raise
                LOG.warning("the keys of %s are %d s old and cannot be read again", issuer, now - known.read_at)
                return known
            self._tried.pop(issuer, None)
            return found


def _read(issuer: str, settings: Settings) -> _Issuer:
    document = fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration", settings)
    if document.get("issuer") != issuer:
        raise Refused(f"what {issuer} publishes names the issuer {document.get('issuer')!r}")
    published = fetch(str(document.get("jwks_uri")), settings).get("keys")
    keys: list[_Key] = []
    for each in published if isinstance(published, list) else []:
        if isinstance(each, dict) and each.get("kty") in ("RSA", "EC", "OKP") and each.get("use", "sig") == "sig":
            try:
                key = jwt.PyJWK.from_dict(each).key
                keys.append(_Key(each.get("kid"), each["kty"], each.get("crv"), each.get("alg"), key))
            except jwt.PyJWTError as e:
                LOG.info("a key of %s cannot be used: %s", issuer, e)
    return _Issuer(document, keys, time.monotonic())


def _choose(keys: list[_Key], kid: str | None, algorithm: str) -> _Key | None:
    """The key with that id; without an id, the only one for the algorithm."""
    fitting = [key for key in keys if key.fits(algorithm) and kid in (None, key.id)]
    return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None


# ------------------------------------------------------------------------------------------------------------ the wire


def check_address(url: str, settings: Settings) -> None:
    """Refused unless it may be an address of an identity provider."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.allow_http) or not parts.hostname:
        raise Refused(f"{url!r} is no address of an identity provider: it must be https")


def fetch(url: str, settings: Settings, bearer: str | None = None) -> dict[str, Any]:
    """A JSON document of an identity provider. ServiceUnavailable when there is none to be had."""
    return _ask("GET", url, settings, {"Authorization": f"Bearer {bearer}"} if bearer else {})


def post(url: str, form: dict[str, str], settings: Settings) -> dict[str, Any]:
    """Send a form as this cloud's client. Refused when the identity provider says no."""
    client = (settings.client_id or "", settings.client_secret or "")
    return _ask("POST", url, settings, {}, may_refuse=True, data=form, auth=client)


def _ask(
    method: str, url: str, settings: Settings, headers: dict[str, str], *, may_refuse: bool = False, **sent: Any
) -> dict[str, Any]:
    """A JSON object. ServiceUnavailable for anything else; Refused where the identity provider may say no, and does."""
    check_address(url, settings)
    headers = {"Accept": "application/json", **headers}
    try:
        status, kind, raw = bounded_http.ask(
            method, url, seconds=settings.timeout, headers=headers, verify=settings.cafile or True, **sent
        )
        if may_refuse and 400 <= status < 500:
            raise Refused(f"{url} said {status}: {raw[:200]!r}")
        if status != 200:
            raise ValueError(f"status {status}")
        if "json" not in kind.lower():  # application/json, application/jwk-set+json
            raise ValueError(f"content type {kind!r}")
        found = orjson.loads(raw)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as e:
        LOG.warning("%s gives no answer that can be used: %s", url, e)
        raise ServiceUnavailable("The identity provider does not answer. Try again in a moment.") from None
    if not isinstance(found, dict):
        raise ServiceUnavailable("The identity provider gave an answer that is not understood.")
    return found


# -------------------------------------------------------------------------------------------------------- verification


class OpenId:
    """The identity providers that speak OpenID Connect, as one process knows them."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf, self.issuers = conf, Issuers()
        self._settings: dict[str, Settings] = {}

    def settings(self, idp_id: str) -> Settings:
        found = self._settings.get(idp_id)
        if found is None:
            found = self._settings[idp_id] = Settings(self._conf, idp_id)
        return found

    def verify(self, idp: IdentityProvider, token: str, nonce: str | None = None) -> Claims:
        """The claims of a token of this identity provider. Refused unless all holds that the module says.

        nonce: what the token must repeat, where a browser was sent to fetch it.
        """
        return _verify(self.issuers, self.settings(idp.id), idp, token, nonce)


def _verify(issuers: Issuers, settings: Settings, idp: IdentityProvider, token: str, nonce: str | None) -> Claims:
    if not idp.remote_ids:
        raise Refused(f"identity provider {idp.id} has no remote id, so no issuer is trusted")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        claims = _introspect(issuers, settings, idp, token)
    else:
        audiences = settings.accepted if nonce is None else [str(settings.client_id)]
        claims = _verify_jwt(issuers, settings, idp, token, header, audiences)
    if nonce is not None and claims.get("nonce") != nonce:
        raise Refused("the token was made for another login")
    return _with_userinfo(issuers, settings, claims, token) if settings.userinfo and nonce is None else claims


def _verify_jwt(
    issuers: Issuers,
    settings: Settings,
    idp: IdentityProvider,
    token: str,
    header: dict[str, Any],
    audiences: list[str],
) -> Claims:
    algorithm = str(header.get("alg"))
    if algorithm not in settings.algorithms:
        raise Refused(f"the signature's algorithm {algorithm!r} is not accepted")
    if header.get("typ", "JWT").lower() in ("logout+jwt", "dpop+jwt") or "crit" in header:
        raise Refused(f"the token is of another kind: {header}")
    try:
        shown = jwt.decode(token, options={"verify_signature": False})
        issuer = str(shown.get("iss"))
        if issuer not in idp.remote_ids:
            raise Refused(f"the issuer {issuer!r} is not one of {idp.id}")
        key = issuers.key(issuer, settings, header.get("kid"), algorithm)
        claims: Claims = jwt.decode(
            token, key.key, algorithms=[algorithm], audience=audiences, issuer=issuer, leeway=settings.leeway,
            options={"require": ["exp", "iss", "sub", "aud"]},
        )  # fmt: skip
    except jwt.PyJWTError as e:
        raise Refused(f"the token of {idp.id} is not valid: {e}") from None
    return claims


def _introspect(issuers: Issuers, settings: Settings, idp: IdentityProvider, token: str) -> Claims:
    """Ask each issuer (there is hardly ever more than one) whose token it is."""
    if not settings.introspection or not settings.client_secret:
        raise Refused("the token is no JWT, and introspection is not switched on")
    for issuer in idp.remote_ids:
        endpoint = issuers.document(issuer, settings).get("introspection_endpoint")
        if not endpoint:
            continue
        claims = post(str(endpoint), {"token": token}, settings)
        if claims.get("active") is not True:
            continue
        if claims.setdefault("iss", issuer) != issuer:
            raise Refused(f"{issuer} speaks of a token of {claims['iss']!r}")
        audience = claims.get("aud", claims.get("client_id"))
        named = audience if isinstance(audience, list) else [audience]
        if not set(map(str, named)) & set(settings.accepted):
            raise Refused(f"the token is for {named}")
        expires = claims.get("exp")
        if isinstance(expires, int | float) and expires + settings.leeway < time.time():
            raise Refused("the token has expired")
        if not claims.get("sub"):
            raise Refused(f"{issuer} does not say whose the token is")
        return claims
    raise Refused("no issuer knows the token")


def _with_userinfo(issuers: Issuers, settings: Settings, claims: Claims, token: str) -> Claims:
    """The claims with those of the userinfo endpoint, which must speak of the same subject."""
    endpoint = issuers.document(str(claims["iss"]), settings).get("userinfo_endpoint")
    if not endpoint:
        return claims
    more = fetch(str(endpoint), settings, token)
    if more.get("sub") != claims["sub"]:
        raise Refused("userinfo speaks of somebody else")
    return {**more, **claims}


# ----------------------------------------------------------------------------------------------------------- assertion


def assertion(claims: Claims) -> dict[str, list[str]]:
    """Claims as attributes for a mapping: `email`, and the names that Apache's module gives it, `OIDC-email` and
    `HTTP_OIDC_EMAIL`, so that mappings written for it go on working. Nested claims are joined by dots."""
    found: dict[str, list[str]] = {"REMOTE_USER": [str(claims["sub"])]}
    for name, values in _flat("", claims):
        found[name] = found[f"OIDC-{name}"] = values
        found[f"HTTP_OIDC_{name.upper().replace('-', '_').replace('.', '_')}"] = values
    return found


def _flat(prefix: str, claims: Claims) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for name, value in claims.items():
        if isinstance(value, dict):
            found += _flat(f"{prefix}{name}.", value)
        else:
            listed = value if isinstance(value, list) else [value]
            texts = [_text(each) for each in listed if isinstance(each, str | int | float)]
            if texts:
                found.append((f"{prefix}{name}", texts))
    return found


def _text(value: str | int | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
