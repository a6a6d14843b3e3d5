# SPDX-License-Identifier: Apache-2.0
"""`aerie image replicate`: have every image of this host on a second image host too, under the same id.

Nothing is written down between two runs: each compares image by image what is here with what is there, copies what is
missing and corrects what differs. A copy that broke off leaves the image over there `queued`; the next run goes on with
it. Invariant: data counts as copied only if its size, md5 and sha512 are the same on both sides, and data that does not
have the checksums which this host knows of it is never sent completely.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
from keystoneauth1 import exceptions as ka
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from oslo_config import cfg

from aerie_common.errors import ServiceUnavailable
from aerie_image import db, json_patch, remote
from aerie_image.container import ImageService
from aerie_image.db.images import Image
from aerie_image.logic.content import Digests
from aerie_image.schemas.images import BASE, READ_ONLY, RESERVED_PREFIX

PAGE, PIECE = 100, 1 << 20
CONNECT_SECONDS, SILENCE_SECONDS = 10, 300
SHOW_SECONDS = 0.5
END_SECONDS = 10.0
COLUMNS = ("name", "owner", "visibility", "protected", "os_hidden", "min_disk", "min_ram")
FORMATS = ("disk_format", "container_format")
OPENRC = ("OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME", "OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME")


class Trouble(Exception):
    """This image cannot be replicated now; says why."""


@dataclass
class Tally:
    """What was done. Or would be, in a dry run."""

    copied: int = 0
    changed: int = 0
    same: int = 0
    failed: int = 0
    sent: int = 0
    """Bytes."""


@dataclass
class Target:
    """The other image host's API."""

    url: str
    session: Session
    http: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, *, absent: bool = False, **kw: Any) -> requests.Response | None:
        """One request; None where it answers 404 and that may be. Trouble for any other refusal."""
        headers = {"Accept": "application/json", **kw.pop("headers", {})}
        try:
            for attempt in (0, 1):
                headers["X-Auth-Token"] = self.session.get_token()
                reply = self.http.request(
                    method, self.url + path, headers=headers, timeout=(CONNECT_SECONDS, SILENCE_SECONDS), **kw
                )
                if reply.status_code != 401 or attempt or "data" in kw:
                    break
                self.session.invalidate()
        except (requests.RequestException, ka.ClientException) as e:
            raise Trouble(f"{self.url} does not answer: {e}") from e
        if reply.status_code == 404 and absent:
            return None
        if reply.status_code >= 400:
            raise Trouble(f"{method} {path}: {reply.status_code} {reply.text[:300]}")
        return reply

    def image(self, image_id: str) -> dict[str, Any] | None:
        """What it shows of an image, if it has it."""
        reply = self.call("GET", f"/v2/images/{image_id}", absent=True)
        return None if reply is None else dict(reply.json())


class Progress:
    """One line for each copy, which grows on a terminal."""

    def __init__(self, image: Image) -> None:
        self._image, self._began, self._shown = image, time.monotonic(), 0.0
        self._terminal = sys.stderr.isatty()

    def at(self, sent: int) -> None:
        """So many bytes are over there."""
        if self._terminal and time.monotonic() - self._shown >= SHOW_SECONDS:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{self._text(sent)} ")
            sys.stderr.flush()

    def end(self, sent: int) -> None:
        """All are."""
        print(("\r" if self._terminal else "") + self._text(sent), file=sys.stderr)

    def _text(self, sent: int) -> str:
        total, seconds = self._image.size or sent, max(time.monotonic() - self._began, 1e-6)
        share = 100 * sent // total if total else 100
        return f"{self._image.id}: {sent >> 20} of {total >> 20} MiB ({share} %), {sent / seconds / 1048576:.0f} MiB/s"


def run(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Copy this host's images to a second image host, and correct what differs there. 1 when some could not be."""
    parser = argparse.ArgumentParser(
        "aerie image replicate",
        description=run.__doc__,
        epilog="Who is logged in over there: the user of OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME "
        "(an openrc file of an administrator), or without them this service's own user.",
    )
    parser.add_argument("url", help="the other host's image API, e.g. http://images2:9292")
    parser.add_argument("image", nargs="*", help="only these images")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    parser.add_argument("--members", action="store_true", help="also the projects that images are shared with")
    parser.add_argument(
        "--verify", action="store_true", help="also read, on both sides, the data that is there already"
    )
    given = parser.parse_args(arguments)
    svc = ImageService(conf)
    try:
        session = _session(svc)
    except KeyError as e:
        parser.error(f"OS_AUTH_URL is set, but {e.args[0]} is not")
    target = Target(given.url.rstrip("/").removesuffix("/v2"), session)
    target.http.trust_env = False
    tally = Replication(svc, target, given).run(given.image)
    verb = "would be " if given.dry_run else ""
    print(
        f"{tally.copied} {verb}copied ({tally.sent >> 20} MiB), {tally.changed} {verb}changed, {tally.same} the same, "
        f"{tally.failed} failed"
    )
    return 1 if tally.failed else 0


def _session(svc: ImageService) -> Session:
    """Logged in as the environment says, or as the service's own user."""
    if "OS_AUTH_URL" not in os.environ:
        return svc.clients.session
    user, password, project, user_domain, project_domain = (
        os.environ.get(n, "Default") if n.endswith("DOMAIN_NAME") else os.environ[n] for n in OPENRC
    )
    auth = v3.Password(
        auth_url=os.environ["OS_AUTH_URL"],
        username=user,
        password=password,
        project_name=project,
        user_domain_name=user_domain,
        project_domain_name=project_domain,
    )
    return Session(auth=auth, user_agent="aerie")


class Replication:
    """One run."""

    def __init__(self, svc: ImageService, target: Target, given: argparse.Namespace) -> None:
        self._svc, self._target, self._tally = svc, target, Tally()
        self._dry, self._members, self._verify = given.dry_run, given.members, given.verify

    def run(self, only: list[str]) -> Tally:
        """All images that have data, or only these."""
        missing = set(only)
        for image in self._images():
            if only and image.id not in missing:
                continue
            missing.discard(image.id)
            try:
                self._replicate(image)
            except (Trouble, ServiceUnavailable) as e:
                self._failed(image.id, str(e))
        for image_id in sorted(missing):
            self._failed(image_id, "there is no such image here, or it has no data")
        return self._tally

    def _failed(self, image_id: str, why: str) -> None:
        self._tally.failed += 1
        print(f"{image_id}: {why}", file=sys.stderr)

    def _images(self) -> Iterator[Image]:
        last = ""
        while True:
            with self._svc.db.read() as conn:
                page = db.images.with_data(conn, last, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1].id

    def _replicate(self, image: Image) -> None:
        found = self._target.image(image.id)
        if found is not None and found["status"] not in ("queued", "active", "deactivated"):
            raise Trouble(f"it is {found['status']} over there: somebody is at work on it")
        copies = found is None or found["status"] == "queued"
        changed = found is not None and bool(_differences(image, found))
        if found is not None and not copies:
            self._compare(image, found)
            changed = changed or found["status"] != image.status
        if not self._dry:
            if found is None:
                self._target.call("POST", "/v2/images", json=_record(image))
            elif _differences(image, found):
                self._change(image, found)
            if copies:
                self._copy(image)
            self._set_active(image, "active" if copies or found is None else found["status"])
            if self._members and image.visibility == "shared":
                changed = self._share(image) or changed
        elif copies:
            self._tally.sent += image.size or 0
            print(f"{image.id}: would be copied ({(image.size or 0) >> 20} MiB)")
        elif changed:
            names = sorted(_differences(image, found or {})) or ["status"]
            print(f"{image.id}: would be changed: {', '.join(names)}")
        if copies:
            self._tally.copied += 1
        elif changed:
            self._tally.changed += 1
        else:
            self._tally.same += 1

    def _compare(self, image: Image, found: dict[str, Any]) -> None:
        """Trouble unless the data over there is said to be the same; or, with --verify, is."""
        pairs = [(image.size, found["size"]), (image.checksum, found["checksum"])]
        if image.os_hash_algo == found["os_hash_algo"]:
            pairs.append((image.os_hash_value, found["os_hash_value"]))
        if any(here is not None and here != there for here, there in pairs):
            raise Trouble("over there is other data under the same id")
        if self._verify:
            here = self._read_here(image)
            reply = self._target.call("GET", f"/v2/images/{image.id}/file", stream=True)
            there = _digest(reply.iter_content(PIECE) if reply is not None else iter(()))
            if here != there:
                raise Trouble(f"the data over there has the sha512 {there[1]}, here it has {here[1]}")

    def _read_here(self, image: Image) -> tuple[str, str]:
        size = image.size or 0
        for store, location in self._places(image):
            try:
                return _digest(iter(store.read(location, 0, size)))
            except (OSError, remote.RemoteFailure, remote.RefusedUrl) as e:
                trouble = f"cannot be read from {store.name}: {e}"
        raise Trouble(trouble)

    def _places(self, image: Image) -> list[Any]:
        found = [(self._svc.stores[name], place) for name, place in image.locations.items() if name in self._svc.stores]
        if not found:
            raise Trouble("no store that is configured here has its data")
        return found

    def _copy(self, image: Image) -> None:
        troubles: list[str] = []
        for store, location in self._places(image):
            if troubles:
                self._await_end(image)
            try:
                self._send(image, store, location)
                return
            except Trouble as e:
                troubles.append(f"from {store.name}: {e}")
        raise Trouble("; ".join(troubles))

    def _await_end(self, image: Image) -> None:
        """Until the other host has noticed that an upload broke off."""
        end = time.monotonic() + END_SECONDS
        while (self._target.image(image.id) or {}).get("status") == "saving" and time.monotonic() < end:
            time.sleep(0.1)

    def _send(self, image: Image, store: Any, location: str) -> None:
        """Send the data, the last piece only once all of it is known to be right."""
        size, sent, sums, progress = image.size or 0, 0, ("", ""), Progress(image)
        broken: list[str] = []

        def pieces() -> Iterator[bytes]:
            nonlocal sent, sums
            held = b""
            try:
                with Digests() as digests:
                    for piece in store.read(location, 0, size):
                        digests.update(piece)
                        if held:
                            yield held
                            sent += len(held)
                            progress.at(sent)
                        held = piece
                    sums = digests.result()
            except (OSError, remote.RemoteFailure, remote.RefusedUrl) as e:
                broken.append(f"it cannot be read: {e}")
                raise
            if _wrong(image, sent + len(held), sums):
                broken.append(f"the data here is damaged: its md5 is {sums[0]}, its sha512 {sums[1]}")
                raise OSError(broken[0])
            yield held
            sent += len(held)

        headers = {"Content-Type": "application/octet-stream", "X-OpenStack-Image-Size": str(size)}
        try:
            self._target.call("PUT", f"/v2/images/{image.id}/file", data=pieces(), headers=headers)
        except (Trouble, OSError, remote.RemoteFailure, remote.RefusedUrl) as e:
            raise Trouble(broken[0] if broken else str(e)) from e
        found = self._target.image(image.id) or {}
        if (found.get("size"), found.get("checksum"), found.get("os_hash_value")) != (sent, *sums):
            raise Trouble(f"over there it became something else: sha512 {found.get('os_hash_value')}, not {sums[1]}")
        self._tally.sent += sent
        progress.end(sent)

    def _change(self, image: Image, found: dict[str, Any]) -> None:
        self._target.call(
            "PATCH",
            f"/v2/images/{image.id}",
            json=list(_differences(image, found).values()),
            headers={"Content-Type": json_patch.V21},
        )

    def _set_active(self, image: Image, status: str) -> None:
        """Deactivate it over there, or the opposite, where that differs."""
        if status != image.status:
            action = "deactivate" if image.status == "deactivated" else "reactivate"
            self._target.call("POST", f"/v2/images/{image.id}/actions/{action}")

    def _share(self, image: Image) -> bool:
        """Share it over there with whom it is shared here. True when something differed."""
        with self._svc.db.read() as conn:
            wanted = {member.member: member.status for member in db.members.list_(conn, image.id)}
        path = f"/v2/images/{image.id}/members"
        reply = self._target.call("GET", path)
        present = {m["member_id"]: m["status"] for m in (reply.json()["members"] if reply is not None else ())}
        for member in sorted({*wanted, *present}):
            if member not in wanted:
                self._target.call("DELETE", f"{path}/{member}", absent=True)
                continue
            if member not in present:
                self._target.call("POST", path, json={"member": member})
            if present.get(member, "pending") != wanted[member]:
                self._target.call("PUT", f"{path}/{member}", json={"status": wanted[member]})
        return wanted != present


def _digest(pieces: Iterator[bytes]) -> tuple[str, str]:
    with Digests() as digests:
        for piece in pieces:
            digests.update(piece)
        return digests.result()


def _wrong(image: Image, size: int, sums: tuple[str, str]) -> bool:
    """Is it not what this host knows of the data?"""
    known = (image.checksum, image.os_hash_value if image.os_hash_algo == "sha512" else None)
    return image.size not in (None, size) or any(k not in (None, s) for k, s in zip(known, sums, strict=True))


def _record(image: Image) -> dict[str, Any]:
    """The image as it is created."""
    return {
        **image.properties,
        **{name: getattr(image, name) for name in ("id", *COLUMNS, *FORMATS)},
        "tags": image.tags,
    }


def _differences(image: Image, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """attribute -> the change it needs over there."""
    wanted: dict[str, Any] = {name: getattr(image, name) for name in COLUMNS}
    if found.get("status") == "queued":
        wanted |= {name: getattr(image, name) for name in FORMATS}
    changes = {n: _patch("replace", n, v) for n, v in wanted.items() if found.get(n) != v}
    if sorted(found.get("tags") or ()) != sorted(image.tags):
        changes["tags"] = _patch("replace", "tags", image.tags)
    there = {n for n in found if n not in BASE and n not in READ_ONLY and not n.startswith(RESERVED_PREFIX)}
    changes |= {n: _patch("add", n, v) for n, v in image.properties.items() if found.get(n) != v}
    changes |= {n: {"op": "remove", "path": _pointer(n)} for n in there - set(image.properties)}
    return changes


def _patch(verb: str, name: str, value: Any) -> dict[str, Any]:
    return {"op": verb, "path": _pointer(name), "value": value}


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
