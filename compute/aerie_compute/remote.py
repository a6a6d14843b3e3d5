# SPDX-License-Identifier: Apache-2.0
"""What the compute service asks of the image and network services: questions on behalf of the caller, and the ports of
servers in its own name. Invariant: refusals come out as this service's own errors, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from aerie_common.clients import RemoteError, ServiceClients
from aerie_common.context import Context
from aerie_common.errors import AerieError, BadRequest, Forbidden
from aerie_compute import errors
from aerie_compute.cache import Cache

FACTS_SECONDS = 5.0
"""How long an image, a network or a security group counts as it was; a flow meets what changed meanwhile."""

_NOT_PROPERTIES = frozenset(
    {
        "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value",
        "owner", "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags",
        "min_disk", "min_ram", "self", "file", "schema", "direct_url", "locations", "stores",
    }
)  # fmt: skip


def is_property(name: str) -> bool:
    """Is this attribute of an image one that somebody added to it?"""
    return name not in _NOT_PROPERTIES


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")


class Images:
    """The image service."""

    def __init__(self, clients: ServiceClients) -> None:
        self._api = clients["image"]
        self._facts: Cache[tuple[str | None, str], dict[str, Any]] = Cache(FACTS_SECONDS)

    def facts(self, ctx: Context, image_id: str) -> dict[str, Any]:
        """What a server remembers of its image. ImageUnusable when the caller cannot see it, ImageNotActive."""

        def find() -> dict[str, Any]:
            try:
                image = self._api.get(f"/images/{_quoted(image_id)}", ctx, as_user=True)
            except RemoteError as e:
                if e.status in (400, 403, 404):
                    raise errors.ImageUnusable(image_id=image_id) from e
                raise
            if image["status"] != "active":
                raise errors.ImageNotActive(image_id=image_id, status=image["status"])
            return self._document(image)

        return self._facts.get((ctx.project_id, image_id), find)

    @staticmethod
    def _document(image: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": image["id"],
            "name": image.get("name"),
            "disk_format": image.get("disk_format") or "raw",
            "container_format": image.get("container_format") or "bare",
            "size": image.get("size") or 0,
            "virtual_size": image.get("virtual_size"),
            "hash_algo": image.get("os_hash_algo") or "",
            "hash_value": image.get("os_hash_value") or "",
            "checksum": image.get("checksum"),
            "min_disk": image.get("min_disk") or 0,
            "min_ram": image.get("min_ram") or 0,
            "properties": {k: str(v) for k, v in image.items() if is_property(k) and v is not None},
        }

    def create(self, ctx: Context, body: dict[str, Any]) -> dict[str, Any]:
        """A new, empty image of the caller's."""
        try:
            return dict(self._api.post("/images", body, ctx, as_user=True))
        except RemoteError as e:
            if e.status in (400, 403, 409, 413):
                raise _as(e) from e
            raise

    def status(self, image_id: str) -> str | None:
        """The status of an image, None when it is gone."""
        try:
            return str(self._api.get(f"/images/{_quoted(image_id)}")["status"])
        except RemoteError as e:
            if e.status == 404:
                return None
            raise

    def delete(self, image_id: str) -> None:
        """Delete an image in this service's own name; gone already is fine."""
        self._api.delete(f"/images/{_quoted(image_id)}")


def _as(error: RemoteError) -> AerieError:
    kind: type[AerieError] = {403: Forbidden}.get(error.status, BadRequest)
    return kind(error.message)


class Networks:
    """The network service."""

    def __init__(self, clients: ServiceClients) -> None:
        self._api = clients["network"]
        self._networks: Cache[tuple[str | None, str], dict[str, Any]] = Cache(FACTS_SECONDS)
        self._groups: Cache[tuple[str | None, str], tuple[str, str]] = Cache(FACTS_SECONDS)
        self._subnets: Cache[str, list[dict[str, Any]]] = Cache(FACTS_SECONDS)

    # -- on behalf of the caller

    def network(self, ctx: Context, network_id: str) -> dict[str, Any]:
        """A network the caller may use. NetworkUnusable otherwise."""

        def find() -> dict[str, Any]:
            try:
                found = self._api.get(f"/networks/{_quoted(network_id)}", ctx, as_user=True)["network"]
            except RemoteError as e:
                if e.status in (400, 403, 404):
                    raise errors.NetworkUnusable(network_id=network_id) from e
                raise
            if found.get("router:external") and not found.get("shared") and not ctx.is_admin:
                raise Forbidden(f"It is not allowed to create an interface on external network {network_id}")
            if not found.get("subnets"):
                raise BadRequest(f"Network {network_id} requires a subnet in order to boot instances on.")
            return dict(found)

        return self._networks.get((ctx.project_id, network_id), find)

    def available(self, ctx: Context) -> list[dict[str, Any]]:
        """Networks a server of the caller's project goes to when its owner names none: the project's own, or else the
        shared ones."""
        query = urlencode({"tenant_id": ctx.project_id or "", "router:external": "False"})
        own = self._api.get(f"/networks?{query}", ctx, as_user=True)["networks"]
        if not own:
            own = self._api.get("/networks?shared=True&router:external=False", ctx, as_user=True)["networks"]
        return [n for n in own if n.get("subnets")]

    def auto_allocated(self, ctx: Context) -> str:
        """The network of the project's automatic topology, made if need be."""
        try:
            found = self._api.get(f"/auto-allocated-topology/{ctx.project_id}", ctx, as_user=True)
        except RemoteError as e:
            if e.status in (400, 404, 409):
                raise BadRequest("Unable to automatically allocate a network for project " + str(ctx.project_id)) from e
            raise
        return str(found["auto_allocated_topology"]["id"])

    def port(self, ctx: Context, port_id: str) -> dict[str, Any]:
        """A port the caller may use. PortUnusable, PortInUse."""
        try:
            port = dict(self._api.get(f"/ports/{_quoted(port_id)}", ctx, as_user=True)["port"])
        except RemoteError as e:
            if e.status in (400, 403, 404):
                raise errors.PortUnusable(port_id=port_id) from e
            raise
        if port.get("device_id"):
            raise errors.PortInUse(port_id=port_id)
        if not port.get("fixed_ips"):
            raise BadRequest(f"Port {port_id} requires a FixedIP in order to be used.")
        return port

    def security_group(self, ctx: Context, name: str) -> tuple[str, str]:
        """Id and name of a security group of the caller's project, by either. SecurityGroupUnusable."""

        def find() -> tuple[str, str]:
            for key in ("name", "id"):
                query = urlencode({key: name, "tenant_id": ctx.project_id or ""}) + "&fields=id&fields=name"
                try:
                    found = self._api.get(f"/security-groups?{query}", ctx, as_user=True)["security_groups"]
                except RemoteError as e:
                    if e.status == 400:
                        found = []
                    else:
                        raise
                if len(found) > 1:
                    raise errors.SecurityGroupUnusable(
                        f"Multiple security groups found matching '{name}'. Use an ID to be more specific."
                    )
                if found:
                    return str(found[0]["id"]), str(found[0]["name"])
            raise errors.SecurityGroupUnusable(group=name, project_id=ctx.project_id)

        return self._groups.get((ctx.project_id, name), find)

    # -- in the service's own name

    def ports_of(
        self, server_id: str, ctx: Context | None = None, *, project_id: str | None = None
    ) -> list[dict[str, Any]]:
        """The ports that say they are the server's; only those of `project_id`, where it is given. Anybody may write
        any server's id into a port: what is done for a server is done with those of its own project."""
        query = f"device_id={_quoted(server_id)}" + (f"&project_id={_quoted(project_id)}" if project_id else "")
        return list(self._api.get(f"/ports?{query}", ctx)["ports"])

    def ports_of_many(self, server_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The ports that say they are these servers', in one question; whose they are is for the caller to look at."""
        query = "&".join(f"device_id={_quoted(i)}" for i in server_ids)
        return list(self._api.get(f"/ports?{query}")["ports"])

    def create_ports(self, bodies: Sequence[dict[str, Any]], ctx: Context | None = None) -> list[dict[str, Any]]:
        """Create ports, all or none."""
        return list(self._api.post("/ports", {"ports": list(bodies)}, ctx)["ports"])

    def update_port(self, port_id: str, values: dict[str, Any], ctx: Context | None = None) -> dict[str, Any]:
        return dict(self._api.put(f"/ports/{_quoted(port_id)}", {"port": values}, ctx)["port"])

    def delete_port(self, port_id: str, ctx: Context | None = None) -> None:
        """Delete a port; gone already is fine."""
        self._api.delete(f"/ports/{_quoted(port_id)}", ctx)

    def release_port(self, port_id: str, ctx: Context | None = None) -> None:
        """Leave a port that its owner made as it was before; gone already is fine."""
        try:
            self.update_port(port_id, {"device_id": "", "device_owner": "", "binding:host_id": ""}, ctx)
        except RemoteError as e:
            if e.status != 404:
                raise

    def floating_ips(self, port_ids: Iterable[str]) -> dict[str, list[dict[str, str]]]:
        """port id -> [{"fixed", "floating"}]."""
        query = "&".join(f"port_id={_quoted(i)}" for i in port_ids)
        found: dict[str, list[dict[str, str]]] = {}
        if query:
            for ip in self._api.get(f"/floatingips?{query}")["floatingips"]:
                pair = {"fixed": ip["fixed_ip_address"], "floating": ip["floating_ip_address"]}
                found.setdefault(ip["port_id"], []).append(pair)
        return found

    def describe(self, network_id: str) -> dict[str, Any]:
        """A network as every administrator sees it."""
        return self._networks.get((None, network_id), lambda: dict(self._api.get(f"/networks/{network_id}")["network"]))

    def subnets(self, network_id: str) -> list[dict[str, Any]]:
        """The subnets of a network."""
        return self._subnets.get(
            network_id, lambda: list(self._api.get(f"/subnets?network_id={_quoted(network_id)}")["subnets"])
        )

    def set_port_groups(self, port_id: str, group_ids: Sequence[str]) -> None:
        self.update_port(port_id, {"security_groups": list(group_ids)})
