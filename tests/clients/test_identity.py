# SPDX-License-Identifier: Apache-2.0
"""Identity through the unmodified `openstack` command, openstacksdk and keystoneauth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from commandline import OpenStack, Session

DOMAIN = "c-home"
IN = ("--domain", DOMAIN)


@pytest.fixture(scope="module")
def admin(admin_session: Session) -> Session:
    return admin_session


@pytest.fixture(scope="module")
def demo(demo_session: Session) -> Session:
    return demo_session


@pytest.fixture(scope="module")
def home(admin: Session) -> Iterator[str]:
    """A domain for all that the command line makes; it takes everything with it."""
    yield str(admin.json("domain", "create", "--description", "of tests", DOMAIN)["id"])
    admin("domain", "set", "--disable", DOMAIN)
    admin("domain", "delete", DOMAIN)


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


# ------------------------------------------------------------------------------------------ the command line, by noun


def names(items: list[dict[str, Any]], column: str = "Name") -> set[str]:
    return {item[column] for item in items}


def test_domains(admin: Session) -> None:
    assert admin.json("domain", "create", "--description", "d", "c-short")["description"] == "d"
    assert admin.json("domain", "create", "--or-show", "c-short")["description"] == "d"
    admin("domain", "set", "--name", "c-long", "--description", "other", "--disable", "c-short")
    shown = admin.json("domain", "show", "c-long")
    assert (shown["description"], shown["enabled"]) == ("other", False)
    assert "c-long" in names(admin.json("domain", "list"))
    admin("domain", "delete", "c-long")
    assert "c-long" in admin.refused("domain", "show", "c-long")


def test_projects(admin: Session, home: str) -> None:
    admin("project", "create", *IN, "--tag", "red", "--property", "colour=red", "c-top")
    low = admin.json("project", "create", *IN, "--parent", "c-top", "--disable", "c-low")
    assert low["enabled"] is False
    assert list(admin.json("project", "show", *IN, "--children", "c-top")["subtree"]) == [low["id"]]
    assert len(admin.json("project", "show", "--parents", low["id"])["parents"]) == 1
    admin("project", "set", *IN, "--name", "c-deep", "--enable", "--description", "x", "--tag", "blue", "c-low")
    assert admin.json("project", "show", *IN, "c-deep")["tags"] == ["blue"]
    assert names(admin.json("project", "list", *IN, "--tags", "red")) == {"c-top"}
    assert names(admin.json("project", "list", *IN, "--parent", "c-top")) == {"c-deep"}
    assert names(admin.json("project", "list", *IN, "--sort", "name:desc")) == {"c-top", "c-deep"}
    assert "below" in admin.refused("project", "delete", *IN, "c-top")
    admin("project", "delete", low["id"])
    admin("project", "delete", *IN, "c-top")


def test_users(admin: Session, home: str, auth_url: str) -> None:
    admin("project", "create", *IN, "c-work")
    rules = ("--multi-factor-auth-rule", "password", "--multi-factor-auth-rule", "password,totp")
    flags = ("--ignore-lockout-failure-attempts", "--ignore-password-expiry", "--enable-multi-factor-auth", *rules)
    where = ("--project", "c-work", "--project-domain", DOMAIN)
    made = admin.json("user", "create", *IN, *where, "--password", "pw", *flags, "c-ann")
    assert made["options"]["multi_factor_auth_rules"] == [["password"], ["password", "totp"]]
    assert made["options"]["ignore_password_expiry"] is True
    admin(
        "user", "set", *IN, "--email", "ann@example.org", "--description", "d", "--disable-multi-factor-auth", "c-ann"
    )
    shown = admin.json("user", "show", *IN, "c-ann")
    assert (shown["email"], shown["options"]["multi_factor_auth_enabled"]) == ("ann@example.org", False)
    assert names(admin.json("user", "list", *IN, "--long")) == {"c-ann"}
    admin("role", "add", "--user", "c-ann", "--user-domain", DOMAIN, *where, "member")
    assert names(admin.json("user", "list", "--project", admin.json("project", "show", *IN, "c-work")["id"])) == {
        "c-ann"
    }
    who = {"user_domain_name": DOMAIN, "username": "c-ann"}
    assert token(v3.Password(auth_url, password="pw", **who))
    own = v3.Password(auth_url, password="pw", project_name="c-work", project_domain_name=DOMAIN, **who)
    conn = openstack.connection.Connection(session=session.Session(auth=own), region_name="RegionOne")
    user_id = conn.current_user_id
    conn.session.post(
        f"{auth_url}/users/{user_id}/password", json={"user": {"original_password": "pw", "password": "new"}}
    )
    with pytest.raises(exceptions.Unauthorized):
        token(v3.Password(auth_url, password="pw", **who))
    admin("user", "set", *IN, "--password", "third", "c-ann")
    assert token(v3.Password(auth_url, password="third", **who))
    admin("user", "set", *IN, "--disable", "c-ann")
    with pytest.raises(exceptions.Unauthorized):
        token(v3.Password(auth_url, password="third", **who))
    admin("user", "delete", *IN, "c-ann")
    admin("project", "delete", *IN, "c-work")


def test_a_user_changes_the_own_password(admin: Session) -> None:
    admin("user", "create", "--password", "pw", "c-own")
    admin("role", "add", "--user", "c-own", "--project", "demo", "reader")

    def own(password: str, *command: str) -> tuple[str, ...]:
        return "--os-username", "c-own", "--os-password", password, "--os-project-name", "demo", *command

    admin(*own("pw", "user", "password", "set", "--original-password", "pw", "--password", "changed"))
    assert "401" in admin.refused(*own("pw", "token", "issue"))
    admin(*own("changed", "token", "issue"))
    admin("user", "delete", "c-own")


def test_groups(admin: Session, home: str) -> None:
    admin("group", "create", *IN, "--description", "d", "c-team")
    admin("user", "create", *IN, "c-bob")
    both = ("--group-domain", DOMAIN, "--user-domain", DOMAIN, "c-team", "c-bob")
    admin("group", "add", "user", *both)
    assert names(admin.json("group", "list", "--user", "c-bob", "--user-domain", DOMAIN)) == {"c-team"}
    team = admin.json("group", "show", *IN, "c-team")["id"]
    assert names(admin.json("user", "list", "--group", team)) == {"c-bob"}
    admin("group", "remove", "user", *both)
    assert "not in group" in admin.run("group", "contains", "user", *both).stderr
    admin("group", "set", *IN, "--name", "c-crew", "--description", "e", "c-team")
    assert names(admin.json("group", "list", *IN)) == {"c-crew"}
    admin("group", "delete", *IN, "c-crew")
    admin("user", "delete", *IN, "c-bob")


def test_roles(admin: Session, home: str) -> None:
    admin("role", "create", "--description", "d", "c-role")
    admin("role", "create", "--domain", DOMAIN, "c-role-of-domain")
    admin("role", "set", "--name", "c-duty", "--immutable", "c-role")
    assert "immutable" in admin.refused("role", "delete", "c-duty")
    admin("role", "set", "--no-immutable", "c-duty")
    assert admin.json("role", "show", "c-duty")["description"] == "d"
    assert names(admin.json("role", "list", "--domain", DOMAIN)) == {"c-role-of-domain"}
    assert "c-duty" in names(admin.json("role", "list"))
    admin("implied", "role", "create", "c-duty", "--implied-role", "reader")
    pairs = {(r["Prior Role Name"], r["Implied Role Name"]) for r in admin.json("implied", "role", "list")}
    assert {("c-duty", "reader"), ("admin", "manager"), ("manager", "member"), ("member", "reader")} <= pairs
    admin("implied", "role", "delete", "c-duty", "--implied-role", "reader")
    admin("role", "delete", "c-duty")
    admin("role", "delete", "--domain", DOMAIN, "c-role-of-domain")


def test_role_assignments(admin: Session, home: str, auth_url: str) -> None:
    """Direct, inherited, by group, implied, for the system, and global: each is listed by where it takes effect."""
    admin("project", "create", *IN, "c-grants")
    admin("user", "create", *IN, "c-eve")
    admin("group", "create", *IN, "c-guests")
    pair = ("--group-domain", DOMAIN, "--user-domain", DOMAIN, "c-guests", "c-eve")
    admin("group", "add", "user", *pair)
    eve, guests = ("--user", "c-eve", "--user-domain", DOMAIN), ("--group", "c-guests", "--group-domain", DOMAIN)
    project = ("--project", "c-grants", "--project-domain", DOMAIN)
    admin("role", "add", *guests, *project, "member")
    admin("role", "add", *eve, "--system", "all", "reader")
    admin("role", "create", "c-heir")
    admin("role", "add", *eve, *IN, "--inherited", "c-heir")

    def effective(*which: str) -> set[tuple[str, str]]:
        lines = admin.json("role", "assignment", "list", "--effective", "--names", *which)
        return {(line["Role"], line["Project"] or line["Domain"] or line["System"]) for line in lines}

    here = f"c-grants@{DOMAIN}"
    assert effective(*eve) == {("member", here), ("reader", here), ("c-heir", here), ("reader", "all")}
    plain = admin.json("role", "assignment", "list", "--names", *eve)
    assert {(line["Role"], line["Inherited"]) for line in plain} == {("reader", False), ("c-heir", True)}
    user_id = admin.json("user", "show", *IN, "c-eve")["id"]
    service = session.Session(auth=v3.Password(auth_url, username="admin", password="secret", project_name="admin",
                                               user_domain_name="Default", project_domain_name="Default"))  # fmt: skip
    duty = admin.json("role", "create", "c-everywhere")["id"]
    service.put(f"{auth_url}/global/users/{user_id}/roles/{duty}")
    admin("project", "create", *IN, "c-future")
    assert {("c-everywhere", here), ("c-everywhere", f"c-future@{DOMAIN}")} <= effective(*eve)
    reply = service.get(f"{auth_url}/role_assignments?effective&include_names&user.id={user_id}&role.id={duty}").json()
    assert all("/global/users/" in line["links"]["assignment"] for line in reply["role_assignments"])
    service.delete(f"{auth_url}/global/users/{user_id}/roles/{duty}")
    admin("role", "remove", *eve, *IN, "--inherited", "c-heir")
    admin("role", "remove", *eve, "--system", "all", "reader")
    admin("role", "remove", *guests, *project, "member")
    assert effective(*eve) == set()
    for role in ("c-heir", "c-everywhere"):
        admin("role", "delete", role)
    for name in ("c-grants", "c-future"):
        admin("project", "delete", *IN, name)


def test_the_catalog(admin: Session, home: str, tmp_path: Path) -> None:
    """Regions, services, endpoints, and what narrows a project's view: filters and groups."""
    admin("region", "create", "--parent-region", "RegionOne", "c-region")
    admin("region", "set", "--description", "x", "c-region")
    assert admin.json("region", "show", "c-region")["description"] == "x"
    assert names(admin.json("region", "list", "--parent-region", "RegionOne"), "Region") == {"c-region"}
    admin("service", "create", "--name", "c-service", "--description", "d", "c-type")
    admin("service", "set", "--disable", "c-service")
    assert admin.json("service", "show", "c-service")["enabled"] is False
    admin("service", "set", "--enable", "c-service")
    assert "c-service" in names(admin.json("service", "list"))
    url = "http://c.example.org/v1/%(project_id)s"
    made = admin.json("endpoint", "create", "--region", "c-region", "c-service", "public", url)
    admin("endpoint", "set", "--interface", "internal", made["id"])
    [found] = admin.json("endpoint", "list", "--service", "c-service")
    assert (found["Interface"], found["URL"], found["Region"]) == ("internal", url, "c-region")
    [entry] = [s for s in admin.json("catalog", "list") if s["Name"] == "c-service"]
    filled = entry["Endpoints"][0]["url"]
    assert filled.startswith("http://c.example.org/v1/") and "%" not in filled
    assert admin.json("catalog", "show", "c-service")["type"] == "c-type"

    narrow = admin.json("project", "create", *IN, "c-narrow")["id"]
    to = ("--project-domain", DOMAIN)
    admin("endpoint", "add", "project", *to, made["id"], "c-narrow")
    assert len(admin.json("endpoint", "list", "--project", "c-narrow", *to)) == 1
    admin("endpoint", "remove", "project", *to, made["id"], "c-narrow")
    filters = tmp_path / "filters.json"
    filters.write_text(json.dumps({"interface": "public"}))
    admin("endpoint", "group", "create", "c-group-of-endpoints", str(filters))
    admin("endpoint", "group", "set", "--name", "c-public", "--description", "d", "c-group-of-endpoints")
    assert admin.json("endpoint", "group", "show", "c-public")["filters"] == {"interface": "public"}
    admin("endpoint", "group", "add", "project", "c-public", narrow)
    assert names(admin.json("endpoint", "group", "list", "--project", narrow)) == {"c-public"}
    admin("endpoint", "group", "remove", "project", "c-public", narrow)
    admin("endpoint", "group", "delete", "c-public")
    admin("endpoint", "delete", made["id"])
    admin("service", "delete", "c-service")
    admin("region", "delete", "c-region")


def test_application_credentials_and_access_rules(admin: Session, auth_url: str) -> None:
    rules = json.dumps([{"service": "image", "method": "GET", "path": "/v2/images"}])
    limits = ("--secret", "s3cret", "--role", "member", "--expiration", "2040-01-01T00:00:00", "--unrestricted")
    made = admin.json("application", "credential", "create", *limits, "--access-rules", rules, "c-bound")
    shown = admin.json("application", "credential", "show", "c-bound")
    assert (shown["Unrestricted"], shown["Expires At"]) == (True, "2040-01-01T00:00:00.000000")
    [rule] = admin.json("access", "rule", "list")
    assert admin.json("access", "rule", "show", rule["ID"])["Path"] == "/v2/images"
    plugin = v3.ApplicationCredential(
        auth_url, application_credential_id=made["ID"], application_credential_secret="s3cret"
    )
    bound = openstack.connection.Connection(session=session.Session(auth=plugin), region_name="RegionOne")
    assert list(bound.image.images())
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(bound.compute.servers())
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(bound.network.networks())
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(bound.identity.projects())
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(bound.dns.zones())
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(bound.placement.resource_providers())
    assert "403" in admin.refused("access", "rule", "delete", rule["ID"])
    admin("application", "credential", "delete", "c-bound")
    admin("access", "rule", "delete", rule["ID"])


def test_trusts(admin: Session) -> None:
    parties = ("--project", "admin", "--role", "reader", "--expiration", "2040-01-01T00:00:00")
    made = admin.json("trust", "create", *parties, "--impersonate", "admin", "demo")
    assert made["is_impersonation"] is True and [r["name"] for r in made["roles"]] == ["reader"]
    assert made["id"] in names(admin.json("trust", "list"), "ID")
    assert admin.json("trust", "show", made["id"])["trustee_user_id"] == made["trustee_user_id"]
    admin("trust", "delete", made["id"])
    assert made["id"] not in names(admin.json("trust", "list"), "ID")


def test_credentials_and_ec2_keys(admin: Session) -> None:
    made = admin.json("credential", "create", "--type", "cert", "--project", "admin", "admin", "the-data")
    admin("credential", "set", "--user", "admin", "--type", "cert", "--data", "other", "--project", "admin", made["id"])
    assert admin.json("credential", "show", made["id"])["blob"] == "other"
    assert made["id"] in names(admin.json("credential", "list", "--type", "cert", "--user", "admin"), "ID")
    admin("credential", "delete", made["id"])
    key = admin.json("ec2", "credentials", "create")
    assert admin.json("ec2", "credentials", "show", key["access"])["secret"] == key["secret"]
    assert key["access"] in names(admin.json("ec2", "credentials", "list"), "Access")
    admin("ec2", "credentials", "delete", key["access"])


def test_limits(admin: Session) -> None:
    where = ("--service", "image", "--region", "RegionOne")
    made = admin.json("registered", "limit", "create", *where, "--default-limit", "5", "c-things")
    admin("registered", "limit", "set", "--default-limit", "6", made["id"])
    assert admin.json("registered", "limit", "show", made["id"])["default_limit"] == 6
    assert "c-things" in names(admin.json("registered", "limit", "list"), "Resource Name")
    own = admin.json("limit", "create", "--project", "admin", *where, "--resource-limit", "9", "c-things")
    admin("limit", "set", "--resource-limit", "8", "--description", "d", own["id"])
    assert admin.json("limit", "show", own["id"])["resource_limit"] == 8
    assert names(admin.json("limit", "list", "--resource-name", "c-things"), "ID") == {own["id"]}
    assert admin.run("registered", "limit", "delete", made["id"]).returncode != 0
    admin("limit", "delete", own["id"])
    admin("registered", "limit", "delete", made["id"])


def test_policies(admin: Session, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text('{"a": "b"}')
    made = admin.json("policy", "create", "--type", "application/json", str(tmp_path / "rules"))
    admin("policy", "set", "--type", "text/plain", made["id"])
    shown = admin.json("policy", "show", made["id"])
    assert (shown["type"], shown["rules"]) == ("text/plain", '{"a": "b"}')
    assert made["id"] in names(admin.json("policy", "list"), "ID")
    admin("policy", "delete", made["id"])


def test_tokens(admin: Session) -> None:
    issued = admin.json("token", "issue")
    assert issued.keys() == {"expires", "id", "project_id", "user_id"}
    admin("token", "revoke", issued["id"])
    assert admin.run("token", "revoke", issued["id"]).returncode != 0


def test_a_domains_configuration(sdk: Any) -> None:
    domain = sdk.identity.create_domain(name="c-configured")
    config = {"identity": {"driver": "sql"}, "ldap": {"url": "ldap://c.example.org"}}
    reply = sdk.identity.put(f"/domains/{domain.id}/config", json={"config": config})
    assert reply.status_code == 201 and reply.json()["config"] == config
    changed = sdk.identity.patch(
        f"/domains/{domain.id}/config/ldap/url", json={"config": {"url": "ldap://d.example.org"}}
    )
    assert changed.json()["config"]["ldap"]["url"] == "ldap://d.example.org"
    assert sdk.identity.get(f"/domains/{domain.id}/config/ldap").json()["config"]["ldap"].keys() == {"url"}
    assert sdk.identity.delete(f"/domains/{domain.id}/config").status_code == 204
    sdk.identity.update_domain(domain, is_enabled=False)
    sdk.identity.delete_domain(domain)
