# SPDX-License-Identifier: Apache-2.0
"""`aerie image replicate` between two real image hosts, and `aerie image scrub` on both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_image import commands, replication
from image_hosts import PASSWORD, IdentityHost, ImageHost, Person
from servers import wait_for

MIB = 1 << 20
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
DATA = os.urandom(3 * MIB) + b"end"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityHost]:
    made = IdentityHost(tmp_path_factory.mktemp("hosts") / "identity")
    yield made
    made.stop()


@pytest.fixture
def hosts(identity: IdentityHost, tmp_path: Path) -> Iterator[tuple[ImageHost, ImageHost]]:
    here, there = (ImageHost(tmp_path / name, identity) for name in ("here", "there"))
    yield here, there
    here.stop()
    there.stop()


@pytest.fixture
def admin(identity: IdentityHost) -> Person:
    return identity.login("admin")


@pytest.fixture
def demo(identity: IdentityHost) -> Person:
    return identity.login("demo")


class Replicate:
    """The command, from the first host to the second."""

    def __init__(self, hosts: tuple[ImageHost, ImageHost], capsys: pytest.CaptureFixture[str]) -> None:
        self.here, self.there = hosts
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        found = replication.run(self.here.conf, [self.there.url, *arguments])
        out, self.err = self._capsys.readouterr()
        assert found == code, out + self.err
        return out


@pytest.fixture
def replicate(hosts: tuple[ImageHost, ImageHost], capsys: pytest.CaptureFixture[str]) -> Replicate:
    return Replicate(hosts, capsys)


def make(by: Person, host: ImageHost, data: bytes = DATA, **values: Any) -> str:
    image_id = by.create(host, **values)
    by.upload(host, image_id, data)
    return image_id


def change(by: Person, host: ImageHost, image_id: str, *changes: dict[str, Any]) -> None:
    by.call("PATCH", f"{host.url}/v2/images/{image_id}", 200, json=list(changes), headers=PATCH)


def seen(by: Person, host: ImageHost, image_id: str) -> dict[str, Any]:
    return {k: v for k, v in by.image(host, image_id).items() if k not in ("created_at", "updated_at")}


def stored(host: ImageHost, image_id: str) -> Path:
    return Path(host.conf.file.filesystem_store_datadir) / image_id


def queued(by: Person, host: ImageHost, image_id: str) -> None:
    """The image has no data, once the host has noticed that the upload broke off."""
    wait_for("the end of the upload", lambda: by.image(host, image_id)["status"] == "queued")


def test_all_of_an_image_is_copied_and_nothing_twice(replicate: Replicate, admin: Person, demo: Person) -> None:
    here, there = replicate.here, replicate.there
    odd = {"os_distro": "debian", "with/slash~": "x", "hw_disk_bus": "virtio"}
    first = make(demo, here, name="first", tags=["a", "b"], min_ram=64, protected=True, **odd)
    second = make(admin, here, data=b"x" * 1000, name="second", visibility="public", os_hidden=True)
    third = make(demo, here, data=b"y" * 10)
    demo.create(here)  # has no data: there is nothing to copy
    admin.call("POST", f"{here.url}/v2/images/{third}/actions/deactivate", 204)
    assert "3 would be copied (3 MiB)" in replicate("--dry-run")
    admin.call("GET", f"{there.url}/v2/images/{first}", 404)
    assert replicate().startswith("3 copied (3 MiB), 0 changed, 0 the same, 0 failed")
    assert f"{first}: 3 of 3 MiB (100 %)" in replicate.err
    for image_id in (first, second, third):
        assert seen(admin, here, image_id) == seen(admin, there, image_id)
    assert demo.call("GET", f"{there.url}/v2/images/{first}/file", 200).content == DATA
    assert admin.image(there, third)["status"] == "deactivated"
    assert replicate("--verify").startswith("0 copied (0 MiB), 0 changed, 3 the same")


def test_what_differs_is_corrected(replicate: Replicate, admin: Person, demo: Person) -> None:
    here, there = replicate.here, replicate.there
    image_id, other = make(demo, here, name="old", gone="x"), make(demo, here, data=b"other")
    replicate()
    change(demo, here, image_id, {"op": "replace", "path": "/name", "value": "new"},
           {"op": "remove", "path": "/gone"}, {"op": "add", "path": "/more~1", "value": "y"},
           {"op": "replace", "path": "/tags", "value": ["t"]})  # fmt: skip
    admin.call("POST", f"{here.url}/v2/images/{other}/actions/deactivate", 204)
    out = replicate("--dry-run")
    assert f"{image_id}: would be changed: gone, more/, name, tags" in out
    assert f"{other}: would be changed: status" in out and admin.image(there, image_id)["name"] == "old"
    assert replicate().startswith("0 copied (0 MiB), 2 changed")
    assert seen(admin, here, image_id) == seen(admin, there, image_id)
    admin.call("POST", f"{here.url}/v2/images/{other}/actions/reactivate", 204)
    replicate()
    assert admin.image(there, other)["status"] == "active"


def test_members_on_demand(replicate: Replicate, admin: Person, demo: Person) -> None:
    here, there = replicate.here, replicate.there
    image_id = make(demo, here)
    path = f"/v2/images/{image_id}/members"
    demo.call("POST", here.url + path, 200, json={"member": admin.project_id})
    demo.call("POST", here.url + path, 200, json={"member": "some-project"})
    admin.call("PUT", f"{here.url}{path}/{admin.project_id}", 200, json={"status": "accepted"})
    replicate()
    assert demo.call("GET", there.url + path, 200).json()["members"] == []
    assert "1 changed" in replicate("--members")

    def members() -> dict[str, str]:
        return {m["member_id"]: m["status"] for m in demo.call("GET", there.url + path, 200).json()["members"]}

    assert members() == {admin.project_id: "accepted", "some-project": "pending"}
    demo.call("DELETE", f"{here.url}{path}/some-project", 204)
    replicate("--members")
    assert members() == {admin.project_id: "accepted"} and "0 changed" in replicate("--members")


def test_a_copy_that_broke_off_is_taken_up(
    replicate: Replicate, admin: Person, demo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, fine = make(demo, replicate.here), make(demo, replicate.here, data=b"fine")
    from aerie_image.stores.file import FileStore

    read = FileStore.read

    def breaks(store: FileStore, location: str, offset: int, length: int) -> Any:
        for piece in read(store, location, offset, length):
            yield piece
            if location.endswith(image_id):
                raise OSError("the disk is gone")

    monkeypatch.setattr(FileStore, "read", breaks)
    assert "1 copied" in replicate(code=1) and "the disk is gone" in replicate.err
    assert admin.image(replicate.there, fine)["status"] == "active"
    queued(admin, replicate.there, image_id)
    monkeypatch.undo()
    assert "1 copied" in replicate()
    assert seen(admin, replicate.here, image_id) == seen(admin, replicate.there, image_id)


def test_damaged_data_is_not_spread(replicate: Replicate, admin: Person, demo: Person) -> None:
    image_id = make(demo, replicate.here)
    with stored(replicate.here, image_id).open("r+b") as file:
        file.write(b"rot")
    replicate(code=1)
    assert "damaged" in replicate.err
    queued(admin, replicate.there, image_id)
    assert commands.scrub(replicate.here.conf, []) == 1 and commands.scrub(replicate.there.conf, []) == 0


def test_a_damaged_replica_is_found(replicate: Replicate, demo: Person) -> None:
    image_id = make(demo, replicate.here)
    replicate()
    with stored(replicate.there, image_id).open("r+b") as file:
        file.write(b"rot")
    replicate()  # nothing is said to have changed
    for arguments in (("--verify",), ("--verify", "--dry-run")):
        replicate(*arguments, code=1)
        assert f"{image_id}: the data over there has the sha512" in replicate.err
    assert commands.scrub(replicate.there.conf, [image_id]) == 1


def test_what_cannot_be_replicated_is_told(
    replicate: Replicate, identity: IdentityHost, admin: Person, demo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = replicate.here, replicate.there
    image_id = make(demo, here)
    same_id = demo.create(there, id=image_id)
    demo.upload(there, same_id, b"other data")
    replicate(image_id, code=1)
    assert "other data under the same id" in replicate.err
    replicate("no-such-image", code=1)
    assert "no such image" in replicate.err
    another = make(demo, here)
    there.stop()
    replicate(another, code=1)
    assert "does not answer" in replicate.err
    there.start()
    for name, value in (("OS_AUTH_URL", identity.auth_url), ("OS_USERNAME", "demo"), ("OS_PROJECT_NAME", "demo")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        replicate()
    monkeypatch.setenv("OS_PASSWORD", PASSWORD)
    public = make(admin, here, visibility="public")
    replicate(public, code=1)  # a member may not publish images
    monkeypatch.setenv("OS_USERNAME", "admin")
    monkeypatch.setenv("OS_PROJECT_NAME", "admin")
    assert "1 copied" in replicate(public)


def test_another_store_helps_out(replicate: Replicate, admin: Person, demo: Person) -> None:
    """Where one copy here is damaged, a good one is sent."""
    here = replicate.here
    here.stop()
    here.set("enabled_backends", {"file": "file", "copies": "file"})
    here.start()
    image_id = make(demo, here)
    body = {"method": {"name": "copy-image"}, "stores": ["copies"]}
    demo.call("POST", f"{here.url}/v2/images/{image_id}/import", 202, json=body)
    wait_for("the copy", lambda: demo.image(here, image_id)["stores"] == "copies,file")
    with stored(here, image_id).open("r+b") as file:
        file.write(b"rot")
    assert "1 copied" in replicate()
    assert admin.call("GET", f"{replicate.there.url}/v2/images/{image_id}/file", 200).content == DATA
