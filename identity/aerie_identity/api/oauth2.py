# SPDX-License-Identifier: Apache-2.0
"""Handler of OAuth 2.0's token endpoint, which speaks RFC 6749: forms in, OAuth's own errors out."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qs

from aerie_common.http import Reply, Request
from aerie_identity.logic import oauth2 as logic
from aerie_identity.logic.oauth2 import OAuthRefused

_MAX_FORM = 16384
_NEVER_KEPT = [("Cache-Control", "no-store"), ("Pragma", "no-cache")]


def _form(req: Request) -> dict[str, str]:
    """The form's parameters; none of them may come twice."""
    kind = (req.header("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise OAuthRefused("invalid_request", "The body must be application/x-www-form-urlencoded.")
    length = int(req.header("Content-Length") or 0)
    if length > _MAX_FORM:
        raise OAuthRefused("invalid_request", "The body is too large.", 413)
    raw = req.stream.read(length)
    try:
        sent = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise OAuthRefused("invalid_request", "The body is malformed.") from None
    if any(len(values) > 1 for values in sent.values()):
        raise OAuthRefused("invalid_request", "A parameter is given twice.")
    return {name: values[0] for name, values in sent.items()}


def _basic(req: Request) -> tuple[str, str] | None:
    """Client id and secret of an HTTP Basic header, where there is one."""
    kind, _, text = (req.header("Authorization") or "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        client, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise OAuthRefused("invalid_client", "Client authentication failed.", 401)
    return client, secret


def token(req: Request) -> Reply:
    """Issue an OAuth 2.0 access token to an application credential."""
    try:
        form = _form(req)
        client_id, secret = _basic(req) or (form.get("client_id"), form.get("client_secret"))
        access_token, seconds = logic.token(req.svc, form.get("grant_type"), client_id, secret)
    except OAuthRefused as e:
        headers = [*_NEVER_KEPT]
        if e.status == 401:
            headers.append(("WWW-Authenticate", 'Basic realm="identity", charset="UTF-8"'))
        return Reply({"error": e.error, "error_description": e.description}, e.status, headers)
    return Reply({"access_token": access_token, "token_type": "Bearer", "expires_in": seconds}, headers=[*_NEVER_KEPT])
