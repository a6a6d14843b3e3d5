# SPDX-License-Identifier: Apache-2.0
"""`configuration.py CLOUDS_YAML DIRECTORY IMAGES_URL`: write DIRECTORY/tempest.conf for an all-in-one cloud.

What depends on the cloud is asked of it; the rest says what a cloud of fake guests can do: everything of the API, and
nothing for which a guest would have to be read, seen or logged into. IMAGES_URL is where image.raw and image.qcow2 are.
"""

from __future__ import annotations

import configparser
import sys
from pathlib import Path
from typing import Any

import openstack

UNABLE = ("console_output", "vnc_console", "serial_console", "spice_console", "snapshot", "shelve", "metadata_service",
          "personality", "stable_rescue", "cold_migration", "live_migration", "attach_encrypted_volume")  # fmt: skip
"""Of compute-feature-enabled: needs a guest, another host or volumes."""


def options(cloud: Any, directory: Path, images_url: str) -> dict[str, dict[str, object]]:
    """Section -> option -> value."""
    auth = cloud.config.config["auth"]
    image = next(cloud.image.images(status="active"))
    other = cloud.image.create_image(name="other", disk_format="raw", container_format="bare", visibility="public",
                                     data=bytes(1 << 20))  # fmt: skip
    flavors = sorted(cloud.compute.flavors(), key=lambda flavor: flavor.ram)
    public = next(cloud.network.networks(is_router_external=True))
    extensions = sorted(extension.alias for extension in cloud.network.extensions())
    return {
        "DEFAULT": {"log_dir": directory, "log_file": "tempest.log", "use_stderr": False},
        "oslo_concurrency": {"lock_path": directory},
        "auth": {"use_dynamic_credentials": True, "admin_username": auth["username"],
                 "admin_password": auth["password"], "admin_project_name": auth["project_name"],
                 "admin_domain_name": auth["user_domain_name"], "admin_system": "all", "tempest_roles": "member",
                 "create_isolated_networks": True},
        "identity": {"uri_v3": auth["auth_url"], "auth_version": "v3", "region": cloud.config.region_name},
        "identity-feature-enabled": {"trust": True, "access_rules": True, "api_v2": False, "api_v2_admin": False},
        "service_available": {"nova": True, "glance": True, "neutron": True, "cinder": False, "swift": False,
                              "horizon": False},
        "service-clients": {"http_timeout": 120},
        "validation": {"run_validation": False},
        "image": {"build_timeout": 120, "http_image": f"{images_url}/image.raw",
                  "http_qcow2_image": f"{images_url}/image.qcow2", "disk_formats": "raw,qcow2,vmdk,iso",
                  "container_formats": "bare,ami,ari,aki,ovf,ova,docker,compressed"},
        "image-feature-enabled": {"import_image": True, "os_glance_reserved": True, "manage_locations": False},
        "compute": {"image_ref": image.id, "image_ref_alt": other.id, "flavor_ref": flavors[0].id,
                    "flavor_ref_alt": flavors[1].id, "build_timeout": 120, "min_compute_nodes": 1,
                    "max_microversion": "latest", "hypervisor_type": "fake"},
        "compute-feature-enabled": {"rescue": True, "change_password": True, "config_drive": True,
                                    "resize": True, "enable_instance_password": True, **dict.fromkeys(UNABLE, False)},
        "placement": {"max_microversion": "latest"},
        "network": {"public_network_id": public.id, "floating_network_name": public.name, "build_timeout": 120,
                    "project_network_cidr": "10.100.0.0/16", "project_network_mask_bits": 28},
        "network-feature-enabled": {"api_extensions": ",".join(extensions), "ipv6": True, "floating_ips": True,
                                    "ipv6_subnet_attributes": True, "port_security": True,
                                    "port_admin_state_change": True},
    }  # fmt: skip


def main() -> None:
    clouds_yaml, directory, images_url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    cloud = openstack.connection.from_config(
        config=openstack.config.OpenStackConfig([str(clouds_yaml)], load_envvars=False).get_one("aerie-admin")
    )
    parser = configparser.RawConfigParser()
    parser.read_dict(options(cloud, directory, images_url))
    with (directory / "tempest.conf").open("w") as out:
        parser.write(out)


if __name__ == "__main__":
    main()
