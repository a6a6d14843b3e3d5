# SPDX-License-Identifier: Apache-2.0
"""What every page passes: security headers, the login, refusals of the APIs turned into pages."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from aerie_dashboard.cloud import Cloud, CloudError

View = Callable[[HttpRequest], HttpResponse]
OPEN_PATHS = ("/login", "/auth/websso/", "/healthcheck", "/static/")


def security_headers(get_response: View) -> View:
    """No script, style or frame but our own; the console's origin is let in by the page that shows it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        frame = getattr(request, "console_origin", "'none'")
        response.setdefault(
            "Content-Security-Policy",
            f"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
            f"frame-ancestors 'none'; frame-src {frame}",
        )
        response.setdefault("X-Content-Type-Options", "nosniff")
        response.setdefault("Referrer-Policy", "same-origin")
        response.setdefault("X-Frame-Options", "DENY")
        if not request.path.startswith("/static/"):
            response.setdefault("Cache-Control", "no-store")
        return response

    return middleware


def origin(url: str) -> str:
    """Scheme, host and port of a URL, for the content security policy."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _to_login(request: HttpRequest, reason: str = "") -> HttpResponse:
    request.session.flush()
    target = f"/login?next={quote(request.get_full_path())}" + (f"&reason={reason}" if reason else "")
    if request.headers.get("HX-Request"):
        response = HttpResponse(status=204)
        response["HX-Redirect"] = "/login"
        return response
    return redirect(target)


def signed_in(get_response: View) -> View:
    """Give the request its `cloud`; without a valid login go to the login page. A refusal becomes a page of its own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path.startswith(OPEN_PATHS):
            return get_response(request)
        login = request.session.get("login")
        if not login or _expired(login["expires_at"]):
            return _to_login(request, "expired" if login else "")
        request.login = login
        request.cloud = Cloud(login["token"])
        return get_response(request)

    def process_exception(request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, CloudError):
            return None
        if error.status == 401 and not request.path.startswith(OPEN_PATHS):
            return _to_login(request, "expired")
        status = error.status if 400 <= error.status < 600 else 502
        return render(
            request,
            "refused.html",
            {"error": error, "fragment": bool(request.headers.get("HX-Request"))},
            status=status,
        )

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware


def _expired(expires_at: str) -> bool:
    return datetime.datetime.fromisoformat(expires_at) <= datetime.datetime.now(datetime.UTC)


SECTIONS = (
    ("Compute", (("servers", "Servers"), ("images", "Images"), ("flavors", "Flavors"), ("keypairs", "Key pairs"))),
    ("Network", (("networks", "Networks"), ("floating_ips", "Floating IPs"), ("security_groups", "Security groups"))),
    ("DNS", (("zones", "Zones"),)),
)


def page_context(request: HttpRequest) -> dict[str, Any]:
    """What the frame of every page shows."""
    login = getattr(request, "login", None)
    if login is None:
        return {"default_domain": settings.AERIE_DEFAULT_DOMAIN}
    section = request.path.strip("/").split("/")[0] or "overview"
    return {"login": login, "sections": SECTIONS, "section": section, "projects": _projects(request)}


def _projects(request: HttpRequest) -> list[dict[str, Any]]:
    """For the chooser; empty when identity refuses, since the page that tells so has the same frame."""
    try:
        return list(request.cloud.projects())
    except CloudError:
        return []
