# SPDX-License-Identifier: Apache-2.0
"""Requests signed with EC2 keys, as AWS' documents tell how, for tests: signature versions 2 and 4, S3's 1 and 4."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
from typing import Any


def now(offset: int = 0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=offset)


def version_2(key: dict[str, Any], when: datetime.datetime) -> dict[str, Any]:
    params = {
        "Action": "DescribeInstances",
        "SignatureVersion": "2",
        "SignatureMethod": "HmacSHA256",
        "Timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    query = "&".join(f"{k}={v.replace(':', '%3A')}" for k, v in sorted(params.items()))
    text = f"GET\nec2.example.org\n/\n{query}"
    made = base64.b64encode(hmac.digest(key["secret"].encode(), text.encode(), "sha256")).decode()
    return {"access": key["access"], "signature": made, "host": "ec2.example.org", "verb": "GET", "path": "/",
            "params": params}  # fmt: skip


def version_4(key: dict[str, Any], when: datetime.datetime) -> dict[str, Any]:
    date = when.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/RegionOne/ec2/aws4_request"
    body_hash = hashlib.sha256(b"").hexdigest()
    authorization = f"Credential={key['access']}/{scope}, SignedHeaders=host;x-amz-date, Signature=x"
    headers = {
        "Host": "ec2.example.org",
        "X-Amz-Date": date,
        "Authorization": f"AWS4-HMAC-SHA256 {authorization}",
    }
    canonical = f"GET\n/\nAction=x\nhost:ec2.example.org\nx-amz-date:{date}\n\nhost;x-amz-date\n{body_hash}"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = ("AWS4" + key["secret"]).encode()
    for step in scope.split("/"):
        secret = hmac.digest(secret, step.encode(), "sha256")
    made = hmac.new(secret, text.encode(), "sha256").hexdigest()
    return {"access": key["access"], "signature": made, "host": "ec2.example.org", "verb": "GET", "path": "/",
            "params": {"Action": "x"}, "headers": headers, "body_hash": body_hash}  # fmt: skip


def version_1(key: dict[str, Any], date: str) -> dict[str, Any]:
    text = f"GET\n\n\n{date}\n/bucket/object".encode()
    made = base64.b64encode(hmac.digest(key["secret"].encode(), text, "sha1")).decode()
    return {"access": key["access"], "signature": made, "token": base64.urlsafe_b64encode(text).decode()}


def s3_version_4(key: dict[str, Any], when: datetime.datetime) -> dict[str, Any]:
    date = when.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/RegionOne/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(b'a request').hexdigest()}".encode()
    secret = ("AWS4" + key["secret"]).encode()
    for step in scope.split("/"):
        secret = hmac.digest(secret, step.encode(), "sha256")
    made = hmac.new(secret, text, "sha256").hexdigest()
    return {"access": key["access"], "signature": made, "token": base64.urlsafe_b64encode(text).decode()}
