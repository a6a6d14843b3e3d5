# SPDX-License-Identifier: Apache-2.0
"""Images through the unmodified `openstack` command and openstacksdk: every command there is for them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack import exceptions

from commandline import Session, wait

MIB = 1 << 20


@pytest.fixture(scope="module")
def demo(demo_session: Session) -> Session:
    return demo_session


@pytest.fixture(scope="module")
def admin(admin_session: Session) -> Session:
    return admin_session


def connect(clouds_yaml: Path, cloud: str) -> Any:
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)])
    return openstack.connection.Connection(config=config.get_one(cloud))


@pytest.fixture(scope="module")
def sdk(clouds_yaml: Path) -> Any:
    """openstacksdk as the user demo."""
    return connect(clouds_yaml, "aerie")


@pytest.fixture(scope="module")
def sdk_admin(clouds_yaml: Path) -> Any:
    return connect(clouds_yaml, "aerie-admin")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.raw"
    path.write_bytes(os.urandom(2 * MIB) + b"tail")
    return path


def status(cloud: Session, name: str) -> str:
    return str(cloud.json("image", "show", name)["status"])


def test_create_show_list_save_delete(demo: Session, data: Path, tmp_path: Path) -> None:
    made = demo.json("image", "create", "--file", str(data), "--disk-format", "raw", "--min-ram", "64", "--tag", "t1",
                     "--property", "os_distro=debian", "--private", "i-one")  # fmt: skip
    assert (made["status"], made["size"], made["visibility"]) == ("active", data.stat().st_size, "private")
    assert made["checksum"] == hashlib.md5(data.read_bytes()).hexdigest() and made["tags"] == ["t1"]
    assert made["properties"]["os_hash_value"] == hashlib.sha512(data.read_bytes()).hexdigest()
    demo("image", "save", "--file", str(tmp_path / "saved"), "i-one")
    assert (tmp_path / "saved").read_bytes() == data.read_bytes()
    listed = demo.json("image", "list", "--long", "--property", "os_distro=debian", "--tag", "t1", "--private")
    assert [(i["Name"], i["Min RAM"] if "Min RAM" in i else 64) for i in listed] == [("i-one", 64)]
    names = [i["Name"] for i in demo.json("image", "list", "--sort", "name:desc", "--limit", "1")]
    assert len(names) == 1
    demo("image", "delete", "i-one")
    assert "No Image found" in demo.refused("image", "show", "i-one")


def queued(sdk: Any, name: str) -> None:
    """An image without data, which the command line does not make while its standard input is no terminal."""
    sdk.image.create_image(name, disk_format="raw", container_format="bare", allow_duplicates=True)


def test_set_and_unset(demo: Session, admin: Session, sdk: Any) -> None:
    queued(sdk, "i-set")
    demo("image", "set", "--name", "i-new", "--min-disk", "1", "--property", "a=1", "--property", "b=2", "--tag", "x",
         "--tag", "y", "--protected", "--hidden", "--os-distro", "debian", "i-set")  # fmt: skip
    shown = demo.json("image", "show", "i-new")
    assert (shown["min_disk"], shown["protected"], sorted(shown["tags"])) == (1, True, ["x", "y"])
    assert {k: shown["properties"][k] for k in ("a", "b", "os_distro")} == {"a": "1", "b": "2", "os_distro": "debian"}
    assert "i-new" not in [i["Name"] for i in demo.json("image", "list")]
    assert "i-new" in [i["Name"] for i in demo.json("image", "list", "--hidden")]
    demo("image", "unset", "--tag", "x", "--property", "a", "i-new")
    shown = demo.json("image", "show", "i-new")
    assert shown["tags"] == ["y"] and "a" not in shown["properties"]
    assert "protected" in demo.refused("image", "delete", "i-new")
    assert demo.refused("image", "set", "--public", "i-new")
    demo("image", "set", "--unprotected", "--unhidden", "--community", "i-new")
    assert "i-new" in [i["Name"] for i in admin.json("image", "list", "--community")]
    demo("image", "delete", "i-new")


def test_sharing(demo: Session, admin: Session, data: Path) -> None:
    image = demo.json("image", "create", "--file", str(data), "--shared", "i-shared")["id"]
    demo("image", "set", "--deactivate", "i-shared")
    assert status(demo, "i-shared") == "deactivated" and demo.refused("image", "save", "--file", "/dev/null", image)
    demo("image", "set", "--activate", "i-shared")
    project = admin.json("token", "issue")["project_id"]
    assert demo.json("image", "add", "project", "i-shared", project)["status"] == "pending"
    admin("image", "set", "--accept", "--project", project, image)
    [member] = demo.json("image", "member", "list", "i-shared")
    assert (member["Member ID"], member["Status"]) == (project, "accepted")
    assert demo.json("image", "member", "get", "i-shared", project)["status"] == "accepted"
    assert "i-shared" in [i["Name"] for i in admin.json("image", "list", "--shared", "--member-status", "accepted")]
    admin("image", "set", "--reject", "--project", project, image)
    demo("image", "remove", "project", "i-shared", project)
    assert demo.json("image", "member", "list", "i-shared") == []
    demo("image", "delete", "i-shared")


def test_import_tasks_stores(demo: Session, admin: Session, sdk: Any, data: Path) -> None:
    assert "glance-direct" in demo("image", "import", "info") and "copies" in demo("image", "stores", "list")
    detail = {s["ID"]: s["Properties"] for s in admin.json("image", "stores", "list", "--detail")}
    assert set(detail) == {"file", "copies"} and detail["file"]["data_dir"].endswith("images")
    queued(sdk, "i-import")
    demo("image", "stage", "--file", str(data), "i-import")
    assert status(demo, "i-import") == "uploading"
    demo("image", "import", "--method", "glance-direct", "i-import", "--store", "file")
    wait("the import", lambda: status(demo, "i-import") == "active")
    image = demo.json("image", "show", "i-import")["id"]
    demo("image", "import", "--method", "copy-image", "i-import", "--store", "copies")
    wait("the copy", lambda: demo.json("image", "show", image)["properties"]["stores"] == "copies,file")
    admin("image", "delete", "--store", "copies", image)
    assert demo.json("image", "show", image)["properties"]["stores"] == "file"
    inside = ("image", "import", "--method", "web-download", "--uri", "http://169.254.169.254/", "i-import-2")
    queued(sdk, "i-import-2")
    demo(*inside)  # the client does not look at the reply, which is a refusal
    assert status(demo, "i-import-2") == "queued"
    tasks = admin.json("image", "task", "list", "--status", "success")
    assert {"api_image_import"} == {t["Type"] for t in tasks}
    assert admin.json("image", "task", "show", tasks[0]["ID"])["status"] == "success"
    demo("image", "delete", "i-import", "i-import-2")


def test_cache(demo: Session, admin: Session, data: Path) -> None:
    image = demo.json("image", "create", "--file", str(data), "i-cached")["id"]
    assert demo.refused("cached", "image", "list")
    admin("cached", "image", "queue", image)

    def cached() -> list[Any]:
        return [c for c in admin.json("cached", "image", "list") if c["ID"] == image and c["State"] == "cached"]

    wait("the copy in the cache", cached)
    demo("image", "save", "--file", "/dev/null", image)
    [copy] = cached()
    assert (copy["Hits"], copy["Size"]) == (1, data.stat().st_size)
    admin("cached", "image", "delete", image)
    assert cached() == []
    admin("cached", "image", "clear", "--queue")
    admin("cached", "image", "clear")
    demo("image", "delete", image)


def test_metadata_definitions(demo: Session, admin: Session) -> None:
    namespaces = {n["namespace"] for n in demo.json("image", "metadef", "namespace", "list")}
    assert {"OS::Compute::LibvirtImage", "OS::OperatingSystem", "OS::Compute::Quota"} <= namespaces
    shown = demo.json("image", "metadef", "namespace", "show", "OS::Compute::LibvirtImage")
    assert shown["protected"] is True and "OS::Glance::Image" in shown["resource_type_associations"]
    assert demo.refused("image", "metadef", "namespace", "create", "i::ns")
    one = ("image", "metadef", "namespace")
    made = admin.json(*one, "create", "--display-name", "Mine", "--description", "about", "--public", "i::ns")
    assert (made["visibility"], made["protected"]) == ("public", False)
    admin(*one, "set", "--display-name", "Ours", "--private", "--protected", "i::ns")
    assert admin.json(*one, "show", "i::ns")["display_name"] == "Ours" and demo.refused(*one, "show", "i::ns")
    assert admin.refused(*one, "delete", "i::ns")
    admin(*one, "set", "--unprotected", "--public", "i::ns")

    types = ("image", "metadef", "resource", "type")
    assert "OS::Nova::Flavor" in {t["Name"] for t in demo.json(*types, "list")}
    admin(*types, "association", "create", "i::ns", "OS::Nova::Flavor", "--prefix", "i:")
    assert [t["Name"] for t in demo.json(*types, "association", "list", "i::ns")] == ["OS::Nova::Flavor"]
    assert "i::ns" in demo("image", "metadef", "namespace", "list", "--resource-types", "OS::Nova::Flavor")
    admin(*types, "association", "delete", "i::ns", "OS::Nova::Flavor")

    properties = ("image", "metadef", "property")
    schema = json.dumps({"minimum": 1, "maximum": 9})
    made = admin.json(*properties, "create", "i::ns", "--name", "n", "--title", "N", "--type", "integer", "--schema",
                      schema)  # fmt: skip
    assert (made["minimum"], made["maximum"], made["type"]) == (1, 9, "integer")
    assert [p["name"] for p in demo.json(*properties, "list", "i::ns")] == ["n"]
    admin(*properties, "set", "i::ns", "n", "--name", "m", "--title", "M")
    assert demo.json(*properties, "show", "i::ns", "m")["title"] == "M"
    admin(*properties, "delete", "i::ns", "m")
    assert demo.refused(*properties, "show", "i::ns", "m")

    objects = ("image", "metadef", "object")
    assert admin.json(*objects, "create", "--namespace", "i::ns", "box")["name"] == "box"
    admin(*objects, "update", "i::ns", "box", "--name", "crate")
    assert [o["name"] for o in demo.json(*objects, "list", "i::ns")] == ["crate"]
    assert demo.json(*objects, "show", "i::ns", "crate")["required"] == []
    assert "not found in object" in demo.refused(*objects, "property", "show", "i::ns", "crate", "x")
    admin(*objects, "delete", "i::ns", "crate")
    assert admin.refused(*objects, "show", "i::ns", "crate")
    admin(*one, "delete", "i::ns")
    assert demo.refused(*one, "show", "i::ns")


def test_the_sdk_uploads_once_and_downloads(sdk: Any, data: Path, tmp_path: Path) -> None:
    how = {"filename": str(data), "validate_checksum": True, "disk_format": "raw", "container_format": "bare"}
    image = sdk.image.create_image("s-one", **how)
    assert sdk.image.create_image("s-one", **how).id == image.id
    found = sdk.image.find_image("s-one")
    assert found.hash_algo == "sha512" and found.status == "active"
    sdk.image.download_image(image, output=str(tmp_path / "got"), stream=True)
    assert (tmp_path / "got").read_bytes() == data.read_bytes()
    changed = sdk.image.update_image(image, name="s-two", min_ram=5)
    assert (changed.name, changed.min_ram) == ("s-two", 5)
    sdk.image.add_tag(image, "s")
    assert [i.id for i in sdk.image.images(tag="s")] == [image.id]
    sdk.image.remove_tag(image, "s")
    sdk.image.deactivate_image(image)
    sdk.image.reactivate_image(image)
    sdk.image.delete_image(image)
    assert sdk.image.find_image(image.id) is None


def test_the_sdk_lists_pages_schemas_and_info(sdk: Any, sdk_admin: Any) -> None:
    made = [sdk.image.create_image(name=f"p-{n}", allow_duplicates=True, disk_format="raw", container_format="bare")
            for n in range(5)]  # fmt: skip
    assert len([i for i in sdk.image.images(limit=2) if i.name.startswith("p-")]) == 5
    assert sdk.image.get_images_schema().properties and sdk.image.get_metadef_namespace_schema().properties
    assert [s.id for s in sdk.image.stores()] == ["file", "copies"]
    assert "glance-direct" in sdk.image.get_import_info().import_methods["value"]
    assert {t.name for t in sdk.image.metadef_resource_types()} >= {"OS::Glance::Image"}
    assert len(list(sdk.image.metadef_namespaces())) >= 6
    assert list(sdk.image.members(made[0])) == []
    for image in made:
        sdk.image.delete_image(image)
    assert sdk_admin.image.get_image_cache().queued_images == []


def test_limits_of_the_identity_service_hold(sdk: Any, sdk_admin: Any) -> None:
    service = next(sdk_admin.identity.services(type="image")).id
    place = {"service_id": service, "region_id": "RegionOne", "resource_name": "image_count_total"}
    limit = sdk_admin.identity.create_registered_limit(**place, default_limit=0)
    try:
        wait("the limit is known", lambda: _usage(sdk)["image_count_total"]["limit"] == 0)
        with pytest.raises(exceptions.HttpException) as refused:
            sdk.image.create_image(name="one too many", disk_format="raw", container_format="bare")
        assert refused.value.status_code == 413
    finally:
        sdk_admin.identity.delete_registered_limit(limit)
    wait("the limit is gone", lambda: _usage(sdk)["image_count_total"]["limit"] == -1)


def _usage(sdk: Any) -> Any:
    return sdk.image.get("/info/usage").json()["usage"]
