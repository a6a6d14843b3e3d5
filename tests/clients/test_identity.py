# SPDX-License-Identifier: Apache-2.0
"""Identity through the unmodified `openstack` command, openstacksdk and keystoneauth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from commandline import OpenStack


@pytest.fixture(scope="module")
def auth_url(clouds_yaml: Path) -> str:
    return str(yaml.safe_load(clouds_yaml.read_text())["clouds"]["aerie"]["auth"]["auth_url"])


@pytest.fixture(scope="module")
def sdk(clouds_yaml: Path) -> Any:
    """openstacksdk as the administrator."""
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)])
    return openstack.connection.Connection(config=config.get_one("aerie-admin"))


def token(auth: Any) -> str:
    return str(session.Session(auth=auth).get_token())


def test_people_projects_and_roles(admin: OpenStack) -> None:
    domain = admin.json("domain", "create", "c-domain")["id"]
    project = admin.json("project", "create", "--domain", "c-domain", "--tag", "blue", "c-project")
    assert (project["domain_id"], project["tags"]) == (domain, ["blue"])
    named = ("--domain", "c-domain", "--password", "pw", "--email", "c@example.org")
    user = admin.json("user", "create", *named, "c-user")
    assert user["email"] == "c@example.org"
    admin("group", "create", "--domain", "c-domain", "c-group")
    admin("group", "add", "user", "--group-domain", "c-domain", "--user-domain", "c-domain", "c-group", "c-user")
    assert "in group" in admin("group", "contains", "user", "--group-domain", "c-domain", "--user-domain", "c-domain",
                               "c-group", "c-user")  # fmt: skip
    where = ("--project", "c-project", "--project-domain", "c-domain")
    admin("role", "add", "--group", "c-group", "--group-domain", "c-domain", *where, "member")
    lines = admin.json("role", "assignment", "list", "--effective", "--names", *where)
    assert {(line["Role"], line["User"], line["Project"]) for line in lines} == {
        ("member", "c-user@c-domain", "c-project@c-domain"),
        ("reader", "c-user@c-domain", "c-project@c-domain"),
    }
    assert "enabled" in admin.refused("domain", "delete", "c-domain")
    admin("domain", "set", "--disable", "c-domain")
    admin("domain", "delete", "c-domain")


def test_application_credentials_log_in(demo: OpenStack, auth_url: str) -> None:
    made = demo.json("application", "credential", "create", "--role", "reader", "c-ci")

    def plugin() -> Any:
        return v3.ApplicationCredential(
            auth_url, application_credential_id=made["ID"], application_credential_secret=made["Secret"]
        )

    access = plugin().get_access(session.Session())
    assert access.role_names == ["reader"] and access.username == "demo"
    assert "c-ci" in demo("application", "credential", "list")
    demo("application", "credential", "delete", "c-ci")
    with pytest.raises(exceptions.Unauthorized):
        token(plugin())


def test_every_way_to_a_token(sdk: Any, auth_url: str) -> None:
    """keystoneauth's plugins: password, token, trust, TOTP with several factors, system and domain scope."""
    domain = sdk.identity.find_domain("Default")
    project = sdk.identity.create_project(name="k-project", domain_id=domain.id)
    users = {n: sdk.identity.create_user(name=n, domain_id=domain.id, password="pw") for n in ("k-giver", "k-taker")}
    member, reader = (sdk.identity.find_role(name) for name in ("member", "reader"))
    sdk.identity.assign_project_role_to_user(project, users["k-giver"], member)
    sdk.identity.assign_domain_role_to_user(domain, users["k-giver"], reader)
    sdk.identity.assign_system_role_to_user(users["k-giver"], reader, "all")
    who = {"auth_url": auth_url, "password": "pw", "user_domain_id": domain.id}
    scoped = v3.Password(username="k-giver", project_id=project.id, **who)
    given = token(scoped)
    assert token(v3.Token(auth_url, given, project_name="k-project", project_domain_name="Default"))
    assert v3.Password(username="k-giver", domain_id=domain.id, **who).get_access(session.Session()).domain_scoped
    assert v3.Password(username="k-giver", system_scope="all", **who).get_access(session.Session()).system_scoped
    giver = openstack.connection.Connection(session=session.Session(auth=scoped), region_name="RegionOne")
    trust = giver.identity.create_trust(
        trustor_user_id=users["k-giver"].id, trustee_user_id=users["k-taker"].id, project_id=project.id,
        impersonation=True, roles=[{"name": "member"}],
    )  # fmt: skip
    access = v3.Password(username="k-taker", trust_id=trust.id, **who).get_access(session.Session())
    assert access.username == "k-giver" and access.trust_id == trust.id
    sdk.identity.delete_user(users["k-giver"])
    with pytest.raises(exceptions.Unauthorized):
        token(v3.Token(auth_url, given))


def test_the_sdk_lists_pages_and_finds(sdk: Any) -> None:
    for i in range(5):
        sdk.identity.create_project(name=f"l-{i}", domain_id="default")
    assert len([p for p in sdk.identity.projects(limit=2) if p.name.startswith("l-")]) == 5
    assert sdk.identity.find_project("l-3").name == "l-3"
    assert sdk.identity.find_project("no such", ignore_missing=True) is None
    assert {r.name for r in sdk.identity.roles()} >= {"admin", "manager", "member", "reader", "service"}
    assert sdk.identity.get_region("RegionOne").id == "RegionOne"
    limit = sdk.identity.create_registered_limit(
        service_id=next(sdk.identity.services(type="image")).id, resource_name="l-images", default_limit=5
    )
    assert limit.default_limit == 5
    sdk.identity.delete_registered_limit(limit)
    for i in range(5):
        sdk.identity.delete_project(sdk.identity.find_project(f"l-{i}"))
