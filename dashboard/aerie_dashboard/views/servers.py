# SPDX-License-Identifier: Apache-2.0
"""Servers: the list, one in detail, making and deleting, its log and screen."""

from __future__ import annotations

import base64
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from aerie_dashboard.cloud import CloudError, together
from aerie_dashboard.middleware import origin
from aerie_dashboard.tables import Action, Cell, Row, Table
from aerie_dashboard.views import table_page

VERSION = "2.71"
ACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    # what the button says, what the API is sent
    "start": ("Start", {"os-start": None}),
    "stop": ("Stop", {"os-stop": None}),
    "reboot": ("Reboot", {"reboot": {"type": "SOFT"}}),
    "hard-reboot": ("Power cycle", {"reboot": {"type": "HARD"}}),
    "pause": ("Pause", {"pause": None}),
    "unpause": ("Unpause", {"unpause": None}),
}
OFFERED = {
    "ACTIVE": ("stop", "reboot", "pause"),
    "SHUTOFF": ("start",),
    "PAUSED": ("unpause",),
    "ERROR": ("hard-reboot",),
}


def addresses(server: dict[str, Any], kind: str | None = None) -> list[str]:
    """The server's addresses, of one kind (fixed, floating) or all."""
    return [
        a["addr"]
        for found in server.get("addresses", {}).values()
        for a in found
        if kind is None or a.get("OS-EXT-IPS:type") == kind
    ]


def _status(server: dict[str, Any]) -> Cell:
    task = server.get("OS-EXT-STS:task_state")
    return Cell(server["status"], status=True, hint=task or "")


def _actions(server: dict[str, Any]) -> list[Action]:
    base = f"/servers/{server['id']}"
    offered = [Action(ACTIONS[a][0], f"{base}/do/{a}") for a in OFFERED.get(server["status"], ())]
    question = f"Delete the server {server['name']}? This cannot be undone."
    return [*offered, Action("Delete", f"{base}/delete", question, danger=True)]


def list_(request: HttpRequest) -> HttpResponse:
    """All servers of the project."""
    cloud = request.cloud
    found = cloud.get("compute", "/servers/detail?limit=200", "servers", VERSION)
    rows = [
        Row(
            s["id"],
            [
                Cell(s["name"], f"/servers/{s['id']}"),
                _status(s),
                Cell(", ".join(addresses(s, "fixed")), mono=True),
                Cell(", ".join(addresses(s, "floating")), mono=True),
                Cell(s["flavor"].get("original_name", "")),
                Cell(s.get("OS-EXT-AZ:availability_zone") or ""),
            ],
            _actions(s),
        )
        for s in found
    ]
    columns = ("Name", "Status", "Address", "Floating IP", "Flavor", "Zone")
    table = Table(
        "Servers", columns, rows, "/servers", "No servers yet. Make the first one.", ("New server", "/servers/new")
    )
    return table_page(request, table)


@require_http_methods(["GET", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """One page with the questions a server needs answered."""
    cloud = request.cloud
    problem = ""
    if request.method == "POST":
        try:
            made = cloud.call("POST", "compute", "/servers", {"server": _request(request)}, VERSION)["server"]
        except CloudError as e:
            problem = e.message
        else:
            messages.success(request, f"{request.POST['name']} is being built.")
            return redirect(f"/servers/{made['id']}")
    got = together(
        flavors=lambda: cloud.get("compute", "/flavors/detail", "flavors"),
        images=lambda: cloud.get("image", "/images?status=active&limit=200", "images"),
        networks=lambda: cloud.get("network", "/networks?router:external=false", "networks"),
        keypairs=lambda: cloud.get("compute", "/os-keypairs", "keypairs"),
        groups=lambda: cloud.get("network", "/security-groups", "security_groups"),
        limits=lambda: cloud.get("compute", "/limits", "limits")["absolute"],
    )
    got["flavors"].sort(key=lambda f: (f["ram"], f["vcpus"]))
    context = {"title": "New server", "problem": problem, "sent": request.POST, **got}
    return render(request, "server_new.html", context, status=400 if problem else 200)


def _request(request: HttpRequest) -> dict[str, Any]:
    post = request.POST
    body: dict[str, Any] = {
        "name": post["name"],
        "flavorRef": post["flavor"],
        "imageRef": post["image"],
        "networks": [{"uuid": n} for n in post.getlist("network")] or "auto",
    }
    if post.get("keypair"):
        body["key_name"] = post["keypair"]
    if post.getlist("group"):
        body["security_groups"] = [{"name": g} for g in post.getlist("group")]
    if post.get("user_data"):
        body["user_data"] = base64.b64encode(post["user_data"].replace("\r\n", "\n").encode()).decode()
    return body


def _find(request: HttpRequest, server_id: str) -> dict[str, Any]:
    found = request.cloud.get("compute", f"/servers/{server_id}", "server", VERSION)
    return {**found, "fixed": addresses(found, "fixed"), "floating": addresses(found, "floating")}


def _image_name(request: HttpRequest, server: dict[str, Any]) -> str:
    image = server.get("image") or {}
    if not image:
        return "-"
    try:
        return str(request.cloud.call("GET", "image", f"/images/{image['id']}")["name"])
    except CloudError as e:
        if e.status == 404:
            return f"{image['id']} (deleted)"
        raise


def show(request: HttpRequest, server_id: str) -> HttpResponse:
    """One server."""
    server = _find(request, server_id)
    context = {"title": server["name"], "server": server, "status": _status(server), "actions": _actions(server),
               "image_name": _image_name(request, server), "tab": "overview"}  # fmt: skip
    return render(request, "server.html", context)


def live(request: HttpRequest, server_id: str) -> HttpResponse:
    """The part of a server's page that changes."""
    try:
        server = _find(request, server_id)
    except CloudError as e:
        if e.status != 404:
            raise
        response = HttpResponse(status=204)
        response["HX-Redirect"] = "/servers"
        return response
    context = {"server": server, "status": _status(server), "actions": _actions(server)}
    return render(request, "server_live.html", context)


def log(request: HttpRequest, server_id: str) -> HttpResponse:
    """What the guest wrote on its serial console."""
    server = _find(request, server_id)
    body = {"os-getConsoleOutput": {"length": 400}}
    text = request.cloud.call("POST", "compute", f"/servers/{server_id}/action", body)["output"]
    if request.headers.get("HX-Request"):
        return render(request, "server_log_text.html", {"text": text, "server": server})
    return render(request, "server_log.html", {"title": server["name"], "server": server, "text": text, "tab": "log"})


def console(request: HttpRequest, server_id: str) -> HttpResponse:
    """The guest's screen."""
    server, url, problem = _find(request, server_id), "", ""
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    try:
        path = f"/servers/{server_id}/remote-consoles"
        url = request.cloud.call("POST", "compute", path, body, "2.6")["remote_console"]["url"]
        request.console_origin = origin(url)
    except CloudError as e:
        problem = e.message
    context = {"title": server["name"], "server": server, "url": url, "problem": problem, "tab": "console"}
    return render(request, "server_console.html", context)


def events(request: HttpRequest, server_id: str) -> HttpResponse:
    """What has happened to the server, with request ids."""
    server = _find(request, server_id)
    path = f"/servers/{server_id}/os-instance-actions"
    found = request.cloud.get("compute", path, "instanceActions", "2.62")
    return render(
        request, "server_events.html", {"title": server["name"], "server": server, "events": found, "tab": "events"}
    )


@require_POST
def delete(request: HttpRequest, server_id: str) -> HttpResponse:
    """Delete a server."""
    request.cloud.call("DELETE", "compute", f"/servers/{server_id}")
    messages.success(request, "The server is being deleted.")
    return redirect("/servers")


@require_POST
def act(request: HttpRequest, server_id: str, action: str) -> HttpResponse:
    """Start, stop, reboot, ..."""
    if action not in ACTIONS:
        raise Http404(action)
    label, body = ACTIONS[action]
    request.cloud.call("POST", "compute", f"/servers/{server_id}/action", body)
    messages.success(request, f"{label}: done as soon as the status says so.")
    return redirect(f"/servers/{server_id}")
