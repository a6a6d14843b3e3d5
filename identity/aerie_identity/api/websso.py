# SPDX-License-Identifier: Apache-2.0
"""Handlers of logins in the browser."""

from __future__ import annotations

import html
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from aerie_common.errors import Unauthorized
from aerie_common.http import Reply, Request
from aerie_identity.logic import websso as logic
from aerie_identity.logic.auth import NeedsMore

COOKIE = "aerie_websso"
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Signing in</title></head><body>
<form id="sso" action="{origin}" method="post"><input type="hidden" name="token" value="{token}">
<noscript>Your browser runs no scripts: <button type="submit">go on</button></noscript></form>
<script nonce="{nonce}">document.getElementById("sso").submit()</script>
</body></html>
"""


def log_in(req: Request, protocol_id: str) -> Reply:
    """Log in by the only identity provider with a protocol, in the browser."""
    if not _came_back(req):
        logic.check_origin(req.svc, req.query_one("origin"))
    return log_in_by(req, logic.provider_for(req.svc, protocol_id), protocol_id)


def log_in_by(req: Request, idp_id: str, protocol_id: str) -> Reply:
    """Log in by an identity provider in the browser: there, and back with its answer."""
    if not _came_back(req):
        origin = logic.check_origin(req.svc, req.query_one("origin"))
        address, cookie = logic.begin(req.svc, idp_id, protocol_id, origin, req.url)
        return Reply(status=302, headers=[("Location", address), _cookie(req, cookie, logic.LOGIN_SECONDS)])
    answer = {name: values[-1] for name, values in req.query.items()}
    try:
        origin, token = logic.finish(req.svc, idp_id, protocol_id, answer, _sent(req))
    except NeedsMore:
        raise Unauthorized("This user needs further factors, which a login in the browser cannot ask for.") from None
    return _page(req, origin, token)


def _came_back(req: Request) -> bool:
    """Is this the identity provider's answer?"""
    return "code" in req.query or "error" in req.query


def _sent(req: Request) -> str | None:
    try:
        found = SimpleCookie(req.header("Cookie") or "").get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None else None


def _cookie(req: Request, value: str, seconds: int) -> tuple[str, str]:
    path = urlsplit(req.url).path
    secure = "; Secure" if req.url.startswith("https:") else ""
    return "Set-Cookie", f"{COOKIE}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _page(req: Request, origin: str, token: str) -> Reply:
    """A page that takes the token to the dashboard."""
    nonce, parts = secrets.token_urlsafe(16), urlsplit(origin)
    text = _PAGE.format(origin=html.escape(origin), token=html.escape(token), nonce=nonce)
    policy = f"default-src 'none'; script-src 'nonce-{nonce}'; form-action {parts.scheme}://{parts.netloc}"
    headers = [
        ("Cache-Control", "no-store"), ("Content-Security-Policy", policy), ("Referrer-Policy", "origin"),
        ("X-Content-Type-Options", "nosniff"), _cookie(req, "", 0),
    ]  # fmt: skip
    return Reply(body=text.encode(), content_type="text/html; charset=utf-8", headers=headers)
