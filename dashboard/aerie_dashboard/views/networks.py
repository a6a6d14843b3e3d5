# SPDX-License-Identifier: Apache-2.0
"""Networks, their ports, floating IPs, security groups."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from aerie_dashboard.cloud import together
from aerie_dashboard.tables import Action, Cell, Row, Table
from aerie_dashboard.views import table_page


def list_(request: HttpRequest) -> HttpResponse:
    """Networks the project can use."""
    cloud = request.cloud
    got = together(
        networks=lambda: cloud.get("network", "/networks?sort_key=name&sort_dir=asc", "networks"),
        subnets=lambda: cloud.get("network", "/subnets", "subnets"),
    )
    cidrs: dict[str, list[str]] = {}
    for subnet in got["subnets"]:
        cidrs.setdefault(subnet["network_id"], []).append(subnet["cidr"])
    rows = []
    for n in got["networks"]:
        kind = "external" if n.get("router:external") else "shared" if n["shared"] else "project"
        cells = [
            Cell(n["name"] or n["id"], f"/networks/{n['id']}"),
            Cell(n["status"], status=True),
            Cell(", ".join(cidrs.get(n["id"], [])), mono=True),
            Cell(kind),
            Cell(str(n.get("mtu", ""))),
        ]
        rows.append(Row(n["id"], cells))
    return table_page(request, Table("Networks", ("Name", "Status", "Subnets", "Kind", "MTU"), rows, "/networks"))


def show(request: HttpRequest, network_id: str) -> HttpResponse:
    """One network: its subnets and ports."""
    cloud = request.cloud
    got = together(
        network=lambda: cloud.get("network", f"/networks/{network_id}", "network"),
        subnets=lambda: cloud.get("network", f"/subnets?network_id={network_id}", "subnets"),
        ports=lambda: cloud.get("network", f"/ports?network_id={network_id}", "ports"),
        servers=lambda: cloud.get("compute", "/servers", "servers"),
    )
    names = {s["id"]: s["name"] for s in got["servers"]}
    rows = []
    for p in got["ports"]:
        owner = p["device_owner"]
        server = names.get(p["device_id"])
        user = Cell(server, f"/servers/{p['device_id']}") if server else Cell(owner or "nobody")
        ips = ", ".join(ip["ip_address"] for ip in p["fixed_ips"])
        rows.append(
            Row(
                p["id"], [user, Cell(ips, mono=True), Cell(p["mac_address"], mono=True), Cell(p["status"], status=True)]
            )
        )
    ports = Table("Ports", ("Used by", "Addresses", "MAC", "Status"), rows, f"/networks/{network_id}")
    if request.headers.get("HX-Request"):
        return render(request, "table.html", {"table": ports})
    return render(request, "network.html", {"title": got["network"]["name"], "table": ports, **got})


def floating_ips(request: HttpRequest) -> HttpResponse:
    """Public addresses of the project."""
    found = request.cloud.get("network", "/floatingips", "floatingips")
    rows = []
    for f in found:
        question = f"Give {f['floating_ip_address']} back? Somebody else may get it."
        actions = [Action("Release", f"/floating_ips/{f['id']}/delete", question, danger=True)]
        cells = [
            Cell(f["floating_ip_address"], mono=True),
            Cell(f["fixed_ip_address"] or "-", mono=True),
            Cell(f["status"], status=True),
        ]
        rows.append(Row(f["id"], cells, actions))
    empty = "No floating IPs. Get one with: openstack floating ip create public"
    return table_page(request, Table("Floating IPs", ("Address", "Leads to", "Status"), rows, "/floating_ips", empty))


@require_POST
def release(request: HttpRequest, address_id: str) -> HttpResponse:
    """Give a floating IP back."""
    request.cloud.call("DELETE", "network", f"/floatingips/{address_id}")
    messages.success(request, "The address is released.")
    return redirect("/floating_ips")


def _rule(rule: dict[str, str | int | None]) -> str:
    ports = ""
    if rule["port_range_min"] is not None:
        low, high = rule["port_range_min"], rule["port_range_max"]
        ports = f" {low}" if low == high else f" {low}-{high}"
    peer = rule["remote_ip_prefix"] or ("the group" if rule["remote_group_id"] else "anywhere")
    way = "from" if rule["direction"] == "ingress" else "to"
    return f"{rule['protocol'] or 'anything'}{ports} {way} {peer} ({rule['ethertype']})"


def security_groups(request: HttpRequest) -> HttpResponse:
    """Which traffic reaches servers."""
    found = request.cloud.get("network", "/security-groups", "security_groups")
    rows = [
        Row(
            g["id"],
            [Cell(g["name"]), Cell(g["description"]), Cell("; ".join(_rule(r) for r in g["security_group_rules"]))],
        )
        for g in found
    ]
    return table_page(request, Table("Security groups", ("Name", "Description", "Rules"), rows))
