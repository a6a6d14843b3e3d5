# SPDX-License-Identifier: Apache-2.0
"""Logins by an identity provider and by OAuth 2.0, through the unmodified `openstack` command and keystoneauth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from aerie_common.cmd.all_in_one import AllInOne
from commandline import OpenStack, Session, wait
from oidc_provider import CLIENT, SECRET, Provider
from servers import die_with_parent, free_port

from .test_dashboard import Browser, answers

DASHBOARD = free_port()
CLAIMS = {"preferred_username": "carol", "groups": ["engineers", "others"]}
RULES = [
    {
        "remote": [{"type": "preferred_username"}, {"type": "groups", "whitelist": ["engineers"]}],
        "local": [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"name": "Default"}}],
    },
    {
        "remote": [{"type": "sub", "any_one_of": [CLIENT]}, {"type": "sub"}],
        "local": [{"user": {"name": "{0}-robot"}, "projects": [{"name": "robots", "roles": [{"name": "reader"}]}]}],
    },
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    made.add_user("carol-sub", **CLAIMS)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AllInOne]:
    """A cloud that trusts the provider."""
    options = {
        ("oidc", "client_id"): CLIENT, ("oidc", "client_secret"): SECRET, ("oidc", "allow_http"): True,
        ("federation", "trusted_dashboard"): [f"http://127.0.0.1:{DASHBOARD}/auth/websso/"],
    }  # fmt: skip
    running = AllInOne(tmp_path_factory.mktemp("federated"), any_port=True, overrides={"identity": options})
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def clouds(cloud: AllInOne, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clouds.yaml with the administrator, who has registered the provider by the command."""
    folder = tmp_path_factory.mktemp("clouds")
    path = folder / "clouds.yaml"
    path.write_text(cloud.clouds_yaml())
    (folder / "rules.json").write_text(json.dumps(RULES))
    with closing(Session("aerie-admin", path)) as admin:
        _register(admin, provider, folder)
    return path


def _register(admin: OpenStack, provider: Provider, folder: Path) -> None:
    made = admin.json("identity", "provider", "create", "--remote-id", provider.issuer, "--description", "Corp", "corp")
    assert made["enabled"] and made["remote_ids"] == [provider.issuer]
    assert admin.json("mapping", "create", "--rules", str(folder / "rules.json"), "corp-map")["id"] == "corp-map"
    admin("federation", "protocol", "create", "--identity-provider", "corp", "--mapping", "corp-map", "openid")
    admin("group", "create", "engineers")
    admin("project", "create", "engineering")
    admin("role", "add", "--group", "engineers", "--project", "engineering", "member")


def with_cloud(clouds: Path, name: str, auth_type: str, **auth: str) -> Session:
    """The `openstack` command with one more cloud in its file."""
    content = yaml.safe_load(clouds.read_text())
    url = content["clouds"]["aerie"]["auth"]["auth_url"]
    content["clouds"][name] = {"auth_type": auth_type, "region_name": "RegionOne", "auth": {"auth_url": url, **auth}}
    path = clouds.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump(content))
    return Session(name, path)


SCOPE = {"project_name": "engineering", "project_domain_name": "Default"}
CORP = {"identity_provider": "corp", "protocol": "openid"}


def test_the_command_with_an_access_token(clouds: Path, provider: Provider) -> None:
    token = provider.token("carol-sub", header={"typ": "at+jwt"})
    with closing(with_cloud(clouds, "carol", "v3oidcaccesstoken", access_token=token, **CORP, **SCOPE)) as carol:
        issued = carol.json("token", "issue")
        carol("network", "create", "carols-net")
        assert [n["Name"] for n in carol.json("network", "list", "--internal")] == ["carols-net"]
        carol("image", "list")
    with closing(Session("aerie-admin", clouds)) as admin:
        assert admin.json("user", "show", issued["user_id"])["name"] == "carol"
        listed = admin.json("role", "assignment", "list", "--effective", "--names", "--user", issued["user_id"])
    assert {(line["Role"], line["Project"]) for line in listed} == {
        ("member", "engineering@Default"), ("reader", "engineering@Default"),
    }  # fmt: skip
    expired = provider.token("carol-sub", exp=1_600_000_000)
    with closing(with_cloud(clouds, "late", "v3oidcaccesstoken", access_token=expired, **CORP, **SCOPE)) as late:
        assert "401" in late.refused("token", "issue")


def test_keystoneauths_grants(cloud: AllInOne, clouds: Path, provider: Provider) -> None:
    """Password, client credentials and authorization code: the plugins fetch their tokens at the provider."""
    discovery = f"{provider.issuer}/.well-known/openid-configuration"
    common: dict[str, Any] = {
        "auth_url": cloud.auth_url, "client_id": CLIENT, "client_secret": SECRET, "discovery_endpoint": discovery,
        **CORP,
    }  # fmt: skip
    for kind in ("access_token", "id_token"):
        password = {"username": "carol-sub", "password": "carol-sub-password", "access_token_type": kind}
        access = v3.OidcPassword(**common, **password, **SCOPE).get_access(session.Session())
        assert access.username == "carol" and access.project_scoped and access.is_federated
        assert set(access.role_names) == {"member", "reader"}
    robot = v3.OidcClientCredentials(**common).get_access(session.Session())
    assert robot.username == f"{CLIENT}-robot" and not robot.project_scoped
    scoped = v3.Token(cloud.auth_url, robot.auth_token, project_name="robots", project_domain_id=robot.user_domain_id)
    assert scoped.get_access(session.Session()).role_names == ["reader"]
    asked = {"response_type": "code", "client_id": CLIENT, "redirect_uri": "http://127.0.0.1/cli", "scope": "openid"}
    reply = requests.get(f"{provider.issuer}/authorize", params=asked, allow_redirects=False, timeout=60)
    code = parse_qs(urlsplit(reply.headers["Location"]).query)["code"][0]
    coded = v3.OidcAuthorizationCode(**common, code=code, redirect_uri="http://127.0.0.1/cli", **SCOPE)
    assert coded.get_access(session.Session()).username == "carol"
    with pytest.raises(exceptions.HttpError):
        wrong = {"username": "carol-sub", "password": "wrong"}
        v3.OidcPassword(**common, **wrong).get_access(session.Session())


def test_the_command_with_oauth2_client_credentials(cloud: AllInOne, clouds: Path) -> None:
    demo = OpenStack("aerie", clouds)
    made = demo.json("application", "credential", "create", "--role", "member", "oauth2-client")
    key = "id" if "id" in made else "ID"
    client = {
        "oauth2_endpoint": f"{cloud.auth_url}/OS-OAUTH2/token",
        "oauth2_client_id": made[key],
        "oauth2_client_secret": made["secret" if key == "id" else "Secret"],
    }
    with closing(with_cloud(clouds, "robot", "v3oauth2clientcredential", **client)) as robot:
        robot("network", "list")
        assert "oauth2-client" in robot("application", "credential", "list")
    form = {"grant_type": "client_credentials"}
    basic = (client["oauth2_client_id"], client["oauth2_client_secret"])
    token = requests.post(client["oauth2_endpoint"], data=form, auth=basic, timeout=60).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    host = f"http://{cloud.host}"
    for daemon, path in (
        ("identity-api", "/v3/auth/projects"), ("image-api", "/v2/images"), ("network-api", "/v2.0/networks"),
        ("compute-api", "/v2.1/servers"), ("dns-api", "/v2/zones"),
    ):  # fmt: skip
        url = f"{host}:{cloud.ports[f'aerie-{daemon}']}{path}"
        assert requests.get(url, headers=bearer, timeout=60).status_code == 200, daemon
        assert requests.get(url, headers={"Authorization": f"Bearer {token}x"}, timeout=60).status_code == 401, daemon
    client["oauth2_client_secret"] = "wrong"
    with closing(with_cloud(clouds, "wrong", "v3oauth2clientcredential", **client)) as wrong:
        assert "401" in wrong.refused("network", "list")
    demo("application", "credential", "delete", made[key])
    assert requests.get(f"{cloud.auth_url}/auth/projects", headers=bearer, timeout=60).status_code == 401


@pytest.fixture
def site(cloud: AllInOne, clouds: Path, tmp_path: Path) -> Iterator[str]:
    """A dashboard that offers logins by the provider."""
    way = f"{cloud.auth_url}/auth/OS-FEDERATION/identity_providers/corp/protocols/openid/websso"
    (tmp_path / "dashboard.conf").write_text(
        f"[api]\nlisten = 127.0.0.1\nport = {DASHBOARD}\n[keystone_authtoken]\nauth_url = {cloud.auth_url}\n"
        f"[dashboard]\nsecret_key = test\nwebsso_url = {way}\nwebsso_label = Log in at Corp\n"
    )
    command = [str(Path(sys.executable).with_name("aerie")), "run", "dashboard", "--config-dir", str(tmp_path)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
    try:
        wait("the dashboard listens", lambda: answers(f"http://127.0.0.1:{DASHBOARD}/healthcheck"))
        yield f"http://127.0.0.1:{DASHBOARD}"
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.terminate()
        process.wait(20)


def test_the_browser_logs_in_at_the_provider(site: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "chromium")
    try:
        browser.get(site)
        browser.click("Log in at Corp")
        wait("the dashboard", lambda: browser.current_url == f"{site}/")
        assert "carol" in browser.text() and "engineering" in browser.text()
        assert browser.complaints() == []
    finally:
        browser.quit()
    for sender in ({}, {"Origin": "https://evil.example.org"}, {"Origin": "null"}):
        reply = requests.post(f"{site}/auth/websso/", data={"token": "x"}, headers=sender, timeout=60)
        assert reply.status_code == 403 and "did not come from where it should" in reply.text
