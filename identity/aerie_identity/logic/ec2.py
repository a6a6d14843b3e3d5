# SPDX-License-Identifier: Apache-2.0
"""Tokens for requests that were signed with EC2 keys (AWS signature versions 2 and 4; S3's versions 1 and 4).

Only other services of the cloud may ask, and a signature that is older than `[credential] auth_ttl` is refused. A key
that was made with an application credential gets no more than that one.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aerie_common.db import utcnow
from aerie_common.errors import NotFound, Unauthorized
from aerie_identity.db import tokens as db
from aerie_identity.logic import credentials
from aerie_identity.logic.auth import Target, check_alive, issue
from aerie_identity.logic.tokens import Refused, TokenBody

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def token(svc: Identity, signed: dict[str, Any], *, s3: bool = False) -> tuple[str, TokenBody]:
    """The token of the key's owner on the key's project. Raises Unauthorized."""
    try:
        row, blob = credentials.show_ec2(svc, signed["access"])
        secret = str(blob["secret"])
        wanted = s3_signature(signed, secret) if s3 else signature(signed, secret)
        if not hmac.compare_digest(wanted.encode(), signed["signature"].encode()):
            raise Refused("the signature is wrong")
        _check_age(svc, _s3_time(signed) if s3 else _time(signed))
        with svc.db.read() as conn:
            login = db.login_by_id(conn, row.user_id)
        if login is None or blob.get("trust_id"):
            raise Refused("the key's user is gone, or the key is of a trust, which makes none")
        check_alive(login)
        target = Target("project", row.project_id)
        credential_id = blob.get("app_cred_id")
        return issue(svc, login, target, ("ec2credential",), application_credential_id=credential_id)
    except (Refused, NotFound):
        raise Unauthorized() from None


_TIMES = ("%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S",
          "%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S +0000")  # fmt: skip


def _time(signed: dict[str, Any]) -> str:
    """When an EC2 request was signed."""
    headers = {k.lower(): v for k, v in (signed.get("headers") or {}).items()}
    params = signed.get("params") or {}
    return str(params.get("X-Amz-Date") or headers.get("x-amz-date") or params.get("Timestamp"))


def _s3_time(signed: dict[str, Any]) -> str:
    """When an S3 request was signed, from the signed text: the second line of version 4; of version 1 the header
    x-amz-date, else the fourth line, Date."""
    lines = _s3_text(signed).decode("utf-8", "replace").split("\n")
    if lines[0] == "AWS4-HMAC-SHA256":
        return lines[1] if len(lines) > 1 else ""
    own = next((line.partition(":")[2] for line in lines if line.startswith("x-amz-date:")), None)
    return own or (lines[3] if len(lines) > 3 else "")


def _check_age(svc: Identity, text: str) -> None:
    limit = datetime.timedelta(minutes=svc.conf.credential.auth_ttl)
    if text.isdigit():  # an address that was signed to be good until then
        if int(text) <= time.time():
            raise Refused("the signed address is no longer good")
        return
    for form in _TIMES:
        try:
            when = datetime.datetime.strptime(text.strip(), form)
        except ValueError:
            continue
        if abs(utcnow() - when) > limit:
            raise Refused("the signature is too old")
        return
    raise Refused("the request carries no time")


def signature(signed: dict[str, Any], secret: str) -> str:
    """The signature this request should have."""
    params = dict(signed.get("params") or {})
    headers = {k.lower(): str(v) for k, v in (signed.get("headers") or {}).items()}
    authorization = headers.get("authorization", "")
    if authorization.startswith("AWS4-HMAC-SHA256") or params.get("X-Amz-Algorithm") == "AWS4-HMAC-SHA256":
        return _version_4(signed, params, headers, secret)
    if str(params.get("SignatureVersion")) == "2":
        return _version_2(signed, params, secret)
    raise Refused("the signature's version is not supported")


def _quote(text: Any) -> str:
    return quote(str(text), safe="-_~.")


def _version_2(signed: dict[str, Any], params: dict[str, Any], secret: str) -> str:
    params.pop("Signature", None)
    query = "&".join(f"{_quote(k)}={_quote(params[k])}" for k in sorted(params))
    host = str(signed.get("host", "")).lower()
    text = "\n".join((str(signed.get("verb", "")).upper(), host, signed.get("path") or "/", query))
    algorithm = "sha256" if params.get("SignatureMethod") == "HmacSHA256" else "sha1"
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), algorithm)).decode()


def _version_4(signed: dict[str, Any], params: dict[str, Any], headers: dict[str, str], secret: str) -> str:
    authorization = headers.get("authorization", "")

    def part(name: str, parameter: str) -> str:
        found = re.search(rf"{name}=([^,\s]+)", authorization)
        return found[1] if found else str(params.get(parameter, ""))

    credential, names = part("Credential", "X-Amz-Credential"), part("SignedHeaders", "X-Amz-SignedHeaders")
    scope = credential.split("/")[1:]
    if len(scope) != 4:
        raise Refused("the signature's scope is malformed")
    params.pop("X-Amz-Signature", None)
    canonical = "\n".join((
        str(signed.get("verb", "")).upper(),
        quote(signed.get("path") or "/", safe="/-_~."),
        "&".join(f"{_quote(k)}={_quote(params[k])}" for k in sorted(params)),
        *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names.split(";")),
        "",
        names,
        str(signed.get("body_hash") or ""),
    ))  # fmt: skip
    date = headers.get("x-amz-date") or str(params.get("X-Amz-Date", ""))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", date, "/".join(scope), digest))
    return hmac.new(_signing_key(secret, scope), text.encode(), "sha256").hexdigest()


def _signing_key(secret: str, scope: list[str]) -> bytes:
    key = b"AWS4" + secret.encode()
    for step in scope:
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def _s3_text(signed: dict[str, Any]) -> bytes:
    """S3 services send the text that was signed, in base64."""
    try:
        return base64.urlsafe_b64decode(str(signed.get("token", "")))
    except binascii.Error:
        raise Refused("the signed text is malformed") from None


def s3_signature(signed: dict[str, Any], secret: str) -> str:
    """The signature this S3 request should have."""
    text = _s3_text(signed)
    if text.startswith(b"AWS4-HMAC-SHA256\n"):
        lines = text.decode("utf-8", "replace").split("\n")
        scope = lines[2].split("/") if len(lines) > 2 else []
        return hmac.new(_signing_key(secret, scope), text, "sha256").hexdigest()
    return base64.b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()
