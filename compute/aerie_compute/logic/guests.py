# SPDX-License-Identifier: Apache-2.0
"""A server as its hypervisor driver wants to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerie_common.db import retried
from aerie_compute.db import servers
from aerie_compute.db.servers import Server
from aerie_compute.drivers.base import GuestSpec, ImageFacts, Nic
from aerie_compute.logic import metadata

if TYPE_CHECKING:
    from aerie_compute.container import Compute


def guest_name(template: str, server_id: str) -> str:
    """What the hypervisor calls the guest."""
    return template.format(id=server_id, short_id=server_id.partition("-")[0])


def image_facts(image: dict[str, Any]) -> ImageFacts:
    """A remembered image as drivers know it."""
    return ImageFacts(
        image_id=image["id"],
        disk_format=image["disk_format"],
        size=image["size"],
        virtual_size=image["virtual_size"],
        hash_algo=image["hash_algo"],
        hash_value=image["hash_value"],
        min_disk_gib=image["min_disk"],
        properties=image["properties"],
    )


def nic(entry: dict[str, Any], model: str = "virtio") -> Nic:
    """A port of the server's network information as a card."""
    return Nic(
        port_id=entry["port_id"], network_id=entry["network_id"], mac=entry["mac"], tap=entry["tap"], mtu=entry["mtu"],
        model=model,
    )  # fmt: skip


def card_model(image: dict[str, Any]) -> str:
    return str(image["properties"].get("hw_vif_model", "virtio"))


@retried
def spec_document(svc: Compute, server_id: str, **changes: Any) -> dict[str, Any]:
    """`GuestSpec.to_document()` of a server as it is now. `changes` replace fields of the GuestSpec."""
    with svc.db.read() as conn:
        server = servers.get(conn, server_id)
        if server is None:
            raise LookupError(f"server {server_id} is gone")
        facts = metadata.facts(conn, server)
    files: dict[str, bytes] = {}
    if server.spec.get("config_drive"):
        import aerie_compute.metadata.documents as documents

        files = documents.config_drive_files(facts, svc.conf)
    return guest_spec(server, svc.conf.instance_name_template, config_files=files, **changes).to_document()


def guest_spec(server: Server, template: str, **changes: Any) -> GuestSpec:
    """What a driver needs to build or to define the server's guest."""
    flavor, image = changes.pop("flavor", server.flavor), server.spec["image"]
    model = card_model(image)
    values: dict[str, Any] = {
        "server_id": server.id,
        "name": guest_name(template, server.id),
        "hostname": server.hostname,
        "project_id": server.project_id,
        "user_id": server.user_id,
        "flavor_name": flavor["name"],
        "vcpus": flavor["vcpus"],
        "memory_mib": flavor["memory_mb"],
        "root_gib": flavor["root_gb"],
        "ephemeral_gib": flavor["ephemeral_gb"],
        "swap_mib": flavor["swap"],
        "image": image_facts(image),
        "nics": tuple(nic(entry, model) for entry in server.network_info),
        "config_drive": bool(server.spec.get("config_drive")),
        "extra_specs": flavor["extra_specs"],
    }
    return GuestSpec(**{**values, **changes})
