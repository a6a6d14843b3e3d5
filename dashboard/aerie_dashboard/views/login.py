# SPDX-License-Identifier: Apache-2.0
"""Logging in and out, choosing the project."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from aerie_dashboard import cloud
from aerie_dashboard.cloud import CloudError

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
    context = {"problem": problem, "next": _next(request), "user": request.POST.get("user", "")}
    return render(request, "login.html", context, status=status)


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
