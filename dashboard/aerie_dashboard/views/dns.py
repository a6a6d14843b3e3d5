# SPDX-License-Identifier: Apache-2.0
"""DNS zones and their records."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from aerie_dashboard.cloud import together
from aerie_dashboard.tables import Cell, Row, Table
from aerie_dashboard.views import table_page


def zones(request: HttpRequest) -> HttpResponse:
    """Zones of the project."""
    found = request.cloud.get("dns", "/zones?limit=200", "zones")
    rows = [
        Row(
            z["id"],
            [
                Cell(z["name"], f"/zones/{z['id']}", mono=True),
                Cell(z["status"], status=True),
                Cell(z["email"] or ""),
                Cell(str(z["serial"])),
            ],
        )
        for z in found
    ]
    empty = "No zones. Make one with: openstack zone create --email you@example.com example.com."
    return table_page(request, Table("Zones", ("Name", "Status", "Email", "Serial"), rows, "/zones", empty))


def recordsets(request: HttpRequest, zone_id: str) -> HttpResponse:
    """Records of one zone."""
    cloud = request.cloud
    got = together(
        zone=lambda: cloud.call("GET", "dns", f"/zones/{zone_id}"),
        records=lambda: cloud.get("dns", f"/zones/{zone_id}/recordsets?limit=500", "recordsets"),
    )
    rows = [
        Row(
            r["id"],
            [
                Cell(r["name"], mono=True),
                Cell(r["type"]),
                Cell(", ".join(r["records"]), mono=True),
                Cell(r["status"], status=True),
            ],
        )
        for r in got["records"]
    ]
    return table_page(
        request, Table(got["zone"]["name"], ("Name", "Type", "Records", "Status"), rows, f"/zones/{zone_id}")
    )
