# SPDX-License-Identifier: Apache-2.0
"""Logging in and out, choosing the project."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from aerie_dashboard import cloud
from aerie_dashboard.cloud import CloudError
from aerie_dashboard.middleware import origin

REASONS = {"expired": "Your login has expired. Please log in again."}


def _next(request: HttpRequest) -> str:
    """Where to go afterwards: a page of this site only."""
    target = request.POST.get("next") or request.GET.get("next") or "/"
    safe = url_has_allowed_host_and_scheme(target, allowed_hosts=None) and target.startswith("/")
    return target if safe else "/"


@require_http_methods(["GET", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    """Ask for user and password; begin a session when they are right."""
    problem = REASONS.get(request.GET.get("reason", ""), "")
    status = 200
    if request.method == "POST":
        try:
            found = cloud.login(
                request.POST.get("domain", ""), request.POST.get("user", ""), request.POST.get("password", "")
            )
        except CloudError as e:
            problem = "User or password is wrong." if e.status == 401 else e.message
            status = 401 if e.status == 401 else 502
        else:
            request.session.cycle_key()
            request.session["login"] = asdict(found)
            return redirect(_next(request))
    return _ask(request, problem, status)


def _ask(request: HttpRequest, problem: str, status: int) -> HttpResponse:
    """The login page."""
    context = {"problem": problem, "next": _next(request), "user": request.POST.get("user", "")}
    if settings.AERIE_WEBSSO_URL:
        back = urlencode({"origin": request.build_absolute_uri("/auth/websso/")})
        context |= {"sso_url": f"{settings.AERIE_WEBSSO_URL}?{back}", "sso_label": settings.AERIE_WEBSSO_LABEL}
    return render(request, "login.html", context, status=status)


@csrf_exempt
@require_POST
def websso(request: HttpRequest) -> HttpResponse:
    """Begin a session with the token of a login by an identity provider, which a page of identity's brings here.

    Only identity's: its origin stands in for the CSRF token, so that no other site can log somebody in as itself.
    """
    sent_by = request.headers.get("Origin", "")
    if not settings.AERIE_WEBSSO_URL or sent_by != origin(settings.AERIE_WEBSSO_URL):
        return _ask(request, "This login did not come from where it should. Please try again.", 403)
    try:
        found = cloud.enter(request.POST.get("token", ""))
    except CloudError as e:
        return _ask(request, "Please log in again." if e.status == 401 else e.message, e.status or 502)
    request.session.cycle_key()
    request.session["login"] = asdict(found)
    return redirect("/")


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """End the session and its token."""
    try:
        request.cloud.revoke()
    finally:
        request.session.flush()
    return redirect("/login")


@require_POST
def project(request: HttpRequest) -> HttpResponse:
    """Go on in another project."""
    found = cloud.switch(request.login["token"], request.POST["project_id"])
    request.session["login"] = asdict(found)
    return redirect("/")
