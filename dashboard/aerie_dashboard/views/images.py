# SPDX-License-Identifier: Apache-2.0
"""What servers are made of: images, flavors, key pairs."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from aerie_dashboard.tables import Action, Cell, Row, Table
from aerie_dashboard.template_tags import ago, memory, size
from aerie_dashboard.views import table_page


def list_(request: HttpRequest) -> HttpResponse:
    """Images the project can boot."""
    cloud, login = request.cloud, request.login
    found = cloud.get("image", "/images?limit=200&sort=name:asc", "images")
    rows = []
    for i in found:
        question = f"Delete the image {i['name']}? This cannot be undone."
        own = i["owner"] == login["project_id"] and not i["protected"]
        actions = [Action("Delete", f"/images/{i['id']}/delete", question, danger=True)] if own else []
        cells = [
            Cell(i["name"] or i["id"]),
            Cell(i["status"], status=True),
            Cell(i["visibility"]),
            Cell(i["disk_format"] or "-"),
            Cell(size(i["size"])),
            Cell(ago(i["created_at"])),
        ]
        rows.append(Row(i["id"], cells, actions))
    columns = ("Name", "Status", "Visibility", "Format", "Size", "Made")
    empty = "No images. Upload one with: openstack image create --file FILE --disk-format qcow2 NAME"
    return table_page(request, Table("Images", columns, rows, "/images", empty))


@require_POST
def delete(request: HttpRequest, image_id: str) -> HttpResponse:
    """Delete an image of the project."""
    request.cloud.call("DELETE", "image", f"/images/{image_id}")
    messages.success(request, "The image is deleted.")
    return redirect("/images")


def flavors(request: HttpRequest) -> HttpResponse:
    """Sizes servers come in."""
    found = request.cloud.get("compute", "/flavors/detail", "flavors")
    found.sort(key=lambda f: (f["ram"], f["vcpus"], f["disk"]))
    rows = [
        Row(f["id"], [Cell(f["name"]), Cell(str(f["vcpus"])), Cell(memory(f["ram"])), Cell(f"{f['disk']} GiB")])
        for f in found
    ]
    return table_page(request, Table("Flavors", ("Name", "Cores", "Memory", "Disk"), rows))


def keypairs(request: HttpRequest) -> HttpResponse:
    """Public keys of the user."""
    found = request.cloud.get("compute", "/os-keypairs", "keypairs", "2.2")
    rows = [
        Row(
            k["keypair"]["name"],
            [Cell(k["keypair"]["name"]), Cell(k["keypair"]["type"]), Cell(k["keypair"]["fingerprint"], mono=True)],
        )
        for k in found
    ]
    empty = "No key pairs. Import yours with: openstack keypair create --public-key ~/.ssh/id_ed25519.pub NAME"
    return table_page(request, Table("Key pairs", ("Name", "Type", "Fingerprint"), rows, empty=empty))
