# SPDX-License-Identifier: Apache-2.0
"""A domain whose users and groups live in an LDAP directory, through the unmodified `openstack` command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from commandline import Session
from slapd import GROUPS, PEOPLE, READER, Slapd

DOMAIN = "l-company"
IN = ("--domain", DOMAIN)


@pytest.fixture(scope="module")
def slapd(servers_dir: Path) -> Iterator[Slapd]:
    server = Slapd(servers_dir / "slapd-clients")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def admin(admin_session: Session) -> Session:
    return admin_session


@pytest.fixture(scope="module")
def domain(admin: Session, clouds_yaml: Path, slapd: Slapd) -> Iterator[str]:
    """A domain with two people and their group; how it is configured is the API's matter, the command has no word."""
    people = [slapd.user(name, mail=f"{name}@example.org") for name in ("l-ada", "l-grace")]
    slapd.group("l-builders", *people)
    made = str(admin.json("domain", "create", DOMAIN)["id"])
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)])
    sdk = openstack.connection.Connection(config=config.get_one("aerie-admin"))
    ldap = {
        "url": slapd.url, "user": READER, "password": slapd.password, "user_tree_dn": PEOPLE, "group_tree_dn": GROUPS,
        "user_id_attribute": "uid", "user_name_attribute": "uid", "group_name_attribute": "cn",
    }  # fmt: skip
    body = {"config": {"identity": {"driver": "ldap"}, "ldap": ldap}}
    assert sdk.identity.put(f"/domains/{made}/config", json=body).status_code == 201
    sdk.close()
    yield made
    admin("domain", "set", "--disable", DOMAIN)
    admin("domain", "delete", DOMAIN)


def login(clouds_yaml: Path, domain: str, name: str, password: str, **scope: str) -> Any:
    url = yaml.safe_load(clouds_yaml.read_text())["clouds"]["aerie"]["auth"]["auth_url"]
    plugin = v3.Password(str(url), username=name, password=password, user_domain_id=domain, **scope)
    return plugin.get_access(session.Session())


def test_people_of_a_directory(admin: Session, domain: str, clouds_yaml: Path, slapd: Slapd) -> None:
    listed = admin.json("user", "list", *IN, "--long")
    assert {(row["Name"], row["Email"], row["Enabled"]) for row in listed} == {
        ("l-ada", "l-ada@example.org", True),
        ("l-grace", "l-grace@example.org", True),
    }
    group = admin.json("group", "show", *IN, "l-builders")["id"]
    assert {row["Name"] for row in admin.json("user", "list", "--group", group)} == {"l-ada", "l-grace"}
    assert [row["Name"] for row in admin.json("group", "list", *IN, "--user", "l-ada", "--user-domain", DOMAIN)] == [
        "l-builders"
    ]
    assert admin.json("user", "show", *IN, "l-ada")["email"] == "l-ada@example.org"
    project = admin.json("project", "create", *IN, "l-site")["id"]
    where = ("--project", "l-site", "--project-domain", DOMAIN)
    admin("role", "add", "--group", "l-builders", "--group-domain", DOMAIN, *where, "member")
    lines = admin.json("role", "assignment", "list", "--effective", "--names", *where)
    assert {(line["User"], line["Role"]) for line in lines} == {
        (f"{name}@{DOMAIN}", role) for name in ("l-ada", "l-grace") for role in ("member", "reader")
    }
    access = login(clouds_yaml, domain, "l-ada", "pw", project_id=project)
    assert access.username == "l-ada" and set(access.role_names) == {"member", "reader"}
    with pytest.raises(exceptions.Unauthorized):
        login(clouds_yaml, domain, "l-ada", "wrong")
    assert "write" in admin.refused("user", "create", *IN, "--password", "pw", "l-new")
    assert "write" in admin.refused("user", "set", *IN, "--disable", "l-ada")
    slapd.kill()
    with pytest.raises(exceptions.ServiceUnavailable):
        login(clouds_yaml, domain, "l-ada", "pw")
    assert "directory" in admin.refused("user", "list", *IN)
    slapd.start()
    login(clouds_yaml, domain, "l-ada", "pw")
