# SPDX-License-Identifier: Apache-2.0
"""`aerie bootstrap` and the other commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aerie_identity import commands


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration folder with the files of two services."""
    made = tmp_path / "etc"
    made.mkdir()
    for name in ("image", "compute", "identity"):
        text = f"[DEFAULT]\ndebug = false\n[keystone_authtoken]\nusername = {name}\npassword = pw-of-{name}\n"
        (made / f"{name}.conf").write_text(text)
    (made / "dashboard.conf").write_text("[DEFAULT]\n")
    return made


def run(cloud: Any, folder: Path, *more: str) -> None:
    assert commands.run_bootstrap(cloud.svc.conf, ["--config-dir", str(folder), "--host", "10.0.0.1", *more]) == 0


def state(cloud: Any) -> dict[str, Any]:
    nouns = ("users", "projects", "domains", "roles", "services", "endpoints", "regions", "role_assignments")
    return {noun: cloud.call("GET", f"/{noun}", expect=200).json[noun] for noun in nouns}


def test_it_can_be_repeated(fresh: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = fresh()
    monkeypatch.setenv("AERIE_ADMIN_PASSWORD", "secret")
    run(cloud, folder)
    token = cloud.login("admin", "secret", project="admin")
    before = state(cloud)
    run(cloud, folder)
    assert state(cloud) == before
    assert cloud.valid(token)
    assert {u["name"] for u in before["users"]} == {"admin", "compute", "image"}
    urls = {e["url"] for e in before["endpoints"] if e["interface"] == "public"}
    assert "http://10.0.0.1:8774/v2.1" in urls and len(before["endpoints"]) == 18


def test_service_users_log_in_with_the_passwords_of_their_files(
    fresh: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = fresh()
    monkeypatch.setenv("AERIE_ADMIN_PASSWORD", "secret")
    run(cloud, folder)
    body = cloud.body(cloud.login("image", "pw-of-image", project="service"))
    assert {"service", "admin"} <= {r["name"] for r in body["roles"]}
    cloud.login("compute", "pw-of-compute", project="service")
    cloud.authenticate(cloud.password("compute", "service-pw"), expect=401)


def test_endpoints_move_and_demo_appears(
    fresh: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = fresh()
    monkeypatch.setenv("AERIE_ADMIN_PASSWORD", "secret")
    run(cloud, folder, "--endpoint", "image=https://images.example.org", "--demo-password", "demo-pw")
    images = [e for e in state(cloud)["endpoints"] if "images.example.org" in e["url"]]
    assert {e["interface"] for e in images} == {"public", "internal", "admin"}
    token = cloud.login("demo", "demo-pw", project="demo")
    assert {r["name"] for r in cloud.body(token)["roles"]} == {"member", "reader"}


def test_the_password_is_required(fresh: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AERIE_ADMIN_PASSWORD", raising=False)
    with pytest.raises(SystemExit):
        run(fresh(), folder)


def test_a_global_role_by_one_command(fresh: Callable[..., Any]) -> None:
    cloud = fresh()
    cloud.user("operator")
    command = ["--user", "operator", "--role", "reader"]
    assert commands.run_grant(cloud.svc.conf, command) == 0
    assert cloud.valid(cloud.login("operator", project=cloud.project()))
    assert commands.run_grant(cloud.svc.conf, [*command, "--revoke"]) == 0
    cloud.authenticate(cloud.password("operator", "pw"), {"project": {"id": cloud.project()}}, expect=401)


def test_fernet_command(fresh: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    cloud = fresh()
    assert commands.run_fernet(cloud.svc.conf, ["setup"]) == 0
    assert "has keys already" in capsys.readouterr().out
    assert commands.run_fernet(cloud.svc.conf, ["rotate"]) == 0
    assert "primary key is 2" in capsys.readouterr().out
