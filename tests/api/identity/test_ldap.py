# SPDX-License-Identifier: Apache-2.0
"""Users and groups of a domain in an LDAP directory: a real slapd, on loopback, with its own data."""

from __future__ import annotations

import hashlib
import itertools
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ldap
import pytest
import sqlalchemy as sa

from aerie_common.db import count_queries
from aerie_common.reconcile import Reconciler
from aerie_identity.commands import run_credential
from aerie_identity.container import Identity
from aerie_identity.db import tables as t
from aerie_identity.drivers.base import NameTest
from aerie_identity.drivers.ldap_directory import LdapDirectory
from aerie_identity.drivers.ldap_options import LdapOptions
from aerie_identity.logic import directories
from aerie_identity.logic.domain_config import DEFAULTS
from servers import free_port
from slapd import GROUPS, PEOPLE, READER, Slapd, person

NUMBERS = itertools.count(1)
BULK = 1100
BULK_BASE = f"ou=Bulk,{PEOPLE}"


@pytest.fixture(scope="session")
def slapd(servers_dir: Path) -> Iterator[Slapd]:
    server = Slapd(servers_dir / "slapd")
    server.start()
    server.add(BULK_BASE, {"objectClass": "organizationalUnit", "ou": "Bulk"})
    server.stop()
    server.load(
        (dn.replace(PEOPLE, BULK_BASE), values) for dn, values in (person(f"bulk{n:04}", "bulk") for n in range(BULK))
    )
    server.start()
    yield server
    server.stop()


def unique(stem: str) -> str:
    return f"{stem}{next(NUMBERS)}"


def options(slapd: Slapd, **more: Any) -> dict[str, Any]:
    return {
        "url": slapd.url, "user": READER, "password": slapd.password,
        "user_tree_dn": PEOPLE, "group_tree_dn": GROUPS,
        "user_id_attribute": "uid", "user_name_attribute": "uid", "group_name_attribute": "cn",
        "user_enabled_attribute": "employeeType", **more,
    }  # fmt: skip


def directory_domain(cloud: Any, slapd: Slapd, **more: Any) -> str:
    """A new domain whose users live in the directory."""
    domain: str = cloud.domain()
    configure(cloud, domain, options(slapd, **more))
    return domain


def configure(cloud: Any, domain: str, ldap: dict[str, Any], expect: int = 201) -> Any:
    config = {"identity": {"driver": "ldap"}, "ldap": ldap}
    return cloud.call("PUT", f"/domains/{domain}/config", {"config": config}, expect=expect)


@pytest.fixture(scope="module")
def home(cloud: Any, slapd: Slapd) -> str:
    """The domain of most tests."""
    return directory_domain(cloud, slapd)


def named(cloud: Any, noun: str, name: str, domain: str) -> dict[str, Any]:
    found = cloud.call("GET", f"/{noun}s?name={name}&domain_id={domain}", expect=200).json[f"{noun}s"]
    assert len(found) == 1, found
    return dict(found[0])


def user_id(cloud: Any, name: str, domain: str) -> str:
    return str(named(cloud, "user", name, domain)["id"])


def names(reply: Any, noun: str = "users") -> list[str]:
    return sorted(row["name"] for row in reply.json[noun])


def login(cloud: Any, user: str, password: str, domain: str, expect: int, scope: Any = "unscoped") -> Any:
    return cloud.authenticate(cloud.password(user, password, {"id": domain}), scope, expect=expect)


# ------------------------------------------------------------------------------------------------------------- reading


def test_users_are_shown_under_stable_ids(cloud: Any, slapd: Slapd, home: str) -> None:
    name = unique("alice")
    slapd.user(name, mail=f"{name}@example.org", description="Likes cats")
    found = named(cloud, "user", name, home)
    assert found["id"] == hashlib.sha256(f"{home}user{name}".encode()).hexdigest()
    assert (found["domain_id"], found["enabled"], found["email"], found["description"]) == (
        home, True, f"{name}@example.org", "Likes cats",
    )  # fmt: skip
    assert "password" not in str(sorted(found.keys() - {"password_expires_at"}))
    shown = cloud.call("GET", f"/users/{found['id']}", expect=200).json["user"]
    assert shown == found
    assert cloud.call("GET", f"/users/{found['id']}").json["user"]["id"] == found["id"]
    slapd.change(f"uid={name},{PEOPLE}", description="Likes dogs")
    assert cloud.call("GET", f"/users/{found['id']}").json["user"]["description"] == "Likes dogs"
    slapd.delete(f"uid={name},{PEOPLE}")
    cloud.call("GET", f"/users/{found['id']}", expect=404)


def test_lists_filter_sort_and_page(cloud: Any, slapd: Slapd) -> None:
    title = unique("lists")
    domain = directory_domain(cloud, slapd, user_filter=f"(title={title})")
    for name, state in (("Anna", "TRUE"), ("anton", "FALSE"), ("berta", "TRUE"), ("Hannah", "TRUE")):
        slapd.user(f"{name}-l{domain[:6]}", title=title, employeeType=state)
    end = f"-l{domain[:6]}"

    def listed(query: str) -> list[str]:
        reply = cloud.call("GET", f"/users?domain_id={domain}{query}", expect=200)
        return [row["name"].removesuffix(end) for row in reply.json["users"]]

    assert sorted(listed("")) == ["Anna", "Hannah", "anton", "berta"]
    assert sorted(listed("&name__contains=ann")) == ["Hannah"]  # "Anna" has "nna" and "Ann"
    assert sorted(listed("&name__icontains=ann")) == ["Anna", "Hannah"]
    assert sorted(listed("&name__startswith=an")) == ["anton"]
    assert sorted(listed("&name__istartswith=an")) == ["Anna", "anton"]
    assert sorted(listed(f"&name__endswith=a{end}")) == ["Anna", "berta"]
    assert listed(f"&name=berta{end}") == ["berta"]
    assert listed("&enabled=false") == ["anton"]
    assert listed("&name__contains=an&enabled=0") == ["anton"]
    assert listed("&name=nobody") == []
    assert listed("&sort_key=name") == ["Anna", "Hannah", "anton", "berta"]
    assert listed("&sort_key=name&sort_dir=desc") == ["berta", "anton", "Hannah", "Anna"]
    first = cloud.call("GET", f"/users?domain_id={domain}&sort_key=name&limit=3", expect=200).json
    assert len(first["users"]) == 3 and f"marker={first['users'][2]['id']}" in first["links"]["next"]
    assert listed(f"&sort_key=name&limit=3&marker={first['users'][2]['id']}") == ["berta"]
    cloud.call("GET", f"/users?domain_id={domain}&marker=nobody", expect=400)


def test_lists_of_no_domain_show_the_database(cloud: Any, slapd: Slapd, home: str) -> None:
    name = unique("carol")
    slapd.user(name)
    user_id(cloud, name, home)
    assert name not in names(cloud.call("GET", "/users", expect=200))
    assert "admin" in names(cloud.call("GET", "/users", expect=200))
    assert names(cloud.call("GET", f"/users?name={name}", expect=200)) == []


def test_hostile_names_are_only_names(cloud: Any, slapd: Slapd, home: str) -> None:
    slapd.user(unique("victim"), "secret")
    for name in ("*", "*)(uid=*", "admin)(|(uid=*", "\\2a", "(", ")", "\x00", "victim*", "*)(userPassword=*", ""):
        reply = login(cloud, name, "secret", home, 401)
        assert "token" not in reply.json
        for operator in ("", "__contains", "__startswith", "__endswith"):
            if name:
                query = f"/users?domain_id={home}&name{operator}={quote(name, safe='!')}"
                assert cloud.call("GET", query, expect=200).json["users"] == [], (name, operator)
    number = next(NUMBERS)
    strange = f"o'Brien*(x)\\y,z{number}"
    dn = slapd.user(strange, "secret")
    login(cloud, strange, "secret", home, 201)
    found = cloud.call("GET", f"/users?domain_id={home}&name__contains=Brien*(x)%5Cy,z{number}", expect=200)
    assert names(found) == [strange]
    assert cloud.call("GET", f"/users/{found.json['users'][0]['id']}", expect=200).json["user"]["name"] == strange
    group = slapd.group(unique("strange group"), f"uid=o'Brien*(x)\\\\y\\,z{number},{PEOPLE}")
    name = group.partition(",")[0].removeprefix("cn=")
    members = cloud.call("GET", f"/groups/{named(cloud, 'group', name, home)['id']}/users", expect=200)
    assert names(members) == [strange]
    slapd.delete(dn)


def test_unicode(cloud: Any, slapd: Slapd, home: str) -> None:
    name = f"Zoë-Ünïcode-漢字-{next(NUMBERS)}"
    dn = slapd.user(name, "pässwörd-☃")
    login(cloud, name, "pässwörd-☃", home, 201)
    login(cloud, name, "password", home, 401)
    assert named(cloud, "user", name, home)["name"] == name
    group = f"Ökö-группа-{next(NUMBERS)}"
    slapd.group(group, dn)
    assert names(cloud.call("GET", f"/groups/{named(cloud, 'group', group, home)['id']}/users")) == [name]


def test_more_than_a_thousand_users_by_pages(cloud: Any, slapd: Slapd) -> None:
    """The directory gives 500 entries at once: without pages that is an error that says so, with pages it is enough."""
    tight = directory_domain(cloud, slapd, user_tree_dn=BULK_BASE)
    error = cloud.call("GET", f"/users?domain_id={tight}", expect=502).json["error"]
    assert "page_size" in error["message"]
    domain = directory_domain(cloud, slapd, user_tree_dn=BULK_BASE, page_size=200)
    path = f"/users?domain_id={domain}"
    assert len(cloud.call("GET", path, expect=200).json["users"]) == BULK
    with count_queries(cloud.svc.db) as long:
        cloud.call("GET", path, expect=200)
    with count_queries(cloud.svc.db) as short:
        cloud.call("GET", f"{path}&name=bulk0007", expect=200)
    assert long.count <= 2 and short.count <= 2, (long, short)  # one, and at times a look at the epoch
    assert len(cloud.call("GET", f"{path}&name__startswith=bulk00").json["users"]) == 100
    login(cloud, "bulk1099", "bulk", domain, 201)
    last = user_id(cloud, "bulk1099", domain)
    assert cloud.call("GET", f"/users/{last}", expect=200).json["user"]["name"] == "bulk1099"


def test_large_groups(cloud: Any, slapd: Slapd) -> None:
    name = unique("crowd")
    slapd.group(name, *(f"uid=bulk{n:04},{BULK_BASE}" for n in range(700)), f"uid=gone,{BULK_BASE}", READER)
    domain = directory_domain(cloud, slapd, user_tree_dn=BULK_BASE, page_size=200)
    path = f"/groups/{named(cloud, 'group', name, domain)['id']}/users"
    assert len(cloud.call("GET", path, expect=200).json["users"]) == 700
    with count_queries(cloud.svc.db) as counter:
        cloud.call("GET", path, expect=200)
    assert counter.count <= 10, counter
    assert len(cloud.call("GET", f"{path}?name__contains=bulk000").json["users"]) == 10


def test_two_entries_of_one_name(cloud: Any, slapd: Slapd) -> None:
    """Both are listed, neither can log in by a name that may mean the other."""
    title = unique("twins")
    domain = directory_domain(cloud, slapd, user_name_attribute="sn", user_filter=f"(title={title})")
    for uid in ("twin1", "twin2"):
        slapd.user(f"{uid}-{domain[:6]}", "same", title=title, sn="Gemini")
    for _ in range(2):
        reply = cloud.call("GET", f"/users?domain_id={domain}", expect=200)
        assert names(reply) == ["Gemini", "Gemini"]
    login(cloud, "Gemini", "same", domain, 401)
    for row in reply.json["users"]:
        identity = {"methods": ["password"], "password": {"user": {"id": row["id"], "password": "same"}}}
        body = cloud.authenticate(identity, "unscoped", expect=201).json["token"]
        assert body["user"]["id"] == row["id"]


def test_names_move_between_users(cloud: Any, slapd: Slapd) -> None:
    title = unique("movers")
    domain = directory_domain(cloud, slapd, user_name_attribute="sn", user_filter=f"(title={title})")
    one = slapd.user(unique("mover"), title=title, sn="first")
    two = slapd.user(unique("mover"), title=title, sn="second")
    before = {r["name"]: r["id"] for r in cloud.call("GET", f"/users?domain_id={domain}").json["users"]}
    slapd.change(one, sn="second")
    slapd.change(two, sn="first")
    body = login(cloud, "second", "pw", domain, 201).json["token"]
    assert body["user"]["id"] == before["first"] and body["user"]["name"] == "second"
    body = login(cloud, "first", "pw", domain, 201).json["token"]
    assert body["user"]["id"] == before["second"] and body["user"]["name"] == "first"


def test_referrals_are_not_followed(cloud: Any, slapd: Slapd) -> None:
    """An address that nobody must call stands in the tree."""
    base = f"ou=Refer{next(NUMBERS)},{PEOPLE}"
    slapd.add(base, {"objectClass": "organizationalUnit", "ou": base.split(",")[0][3:]})
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    elsewhere = f"ldap://127.0.0.1:{listener.getsockname()[1]}/{PEOPLE}"
    slapd.add(
        f"cn=away,{base}",
        {"objectClass": ["referral", "extensibleObject"], "cn": "away", "ref": elsewhere},
    )
    dn, values = person("here")
    slapd.add(dn.replace(PEOPLE, base), values)
    domain = directory_domain(cloud, slapd, user_tree_dn=base, query_scope="sub", chase_referrals=True)
    assert names(cloud.call("GET", f"/users?domain_id={domain}", expect=200)) == ["here"]
    login(cloud, "here", "pw", domain, 201)
    with listener, pytest.raises(BlockingIOError):
        listener.accept()


def test_query_scope(cloud: Any, slapd: Slapd) -> None:
    base = f"ou=Deep{next(NUMBERS)},{PEOPLE}"
    below = f"ou=Below,{base}"
    slapd.add(base, {"objectClass": "organizationalUnit", "ou": base.split(",")[0][3:]})
    slapd.add(below, {"objectClass": "organizationalUnit", "ou": "Below"})
    dn, values = person("deep")
    slapd.add(dn.replace(PEOPLE, below), values)
    flat = directory_domain(cloud, slapd, user_tree_dn=base)
    deep = directory_domain(cloud, slapd, user_tree_dn=base, query_scope="sub")
    assert names(cloud.call("GET", f"/users?domain_id={flat}")) == []
    assert names(cloud.call("GET", f"/users?domain_id={deep}")) == ["deep"]
    login(cloud, "deep", "pw", flat, 401)
    login(cloud, "deep", "pw", deep, 201)


# ---------------------------------------------------------------------------------------------------------- logging in


def test_login_is_a_bind(cloud: Any, slapd: Slapd, home: str) -> None:
    name = unique("dave")
    dn = slapd.user(name, "right")
    project = cloud.project()
    scope = {"project": {"id": project}}
    login(cloud, name, "right", home, 401, scope)  # no role there yet
    cloud.grant("member", f"projects/{project}", user_id(cloud, name, home))
    reply = login(cloud, name, "right", home, 201, scope)
    body = reply.json["token"]
    assert body["user"]["name"] == name and body["user"]["domain"]["id"] == home
    assert body["user"]["password_expires_at"] is None
    assert "member" in {role["name"] for role in body["roles"]}
    token = reply.headers["X-Subject-Token"]
    assert cloud.body(token)["user"]["id"] == body["user"]["id"]
    for bad in ("wrong", "", " ", "right ", "\x00"):
        login(cloud, name, bad, home, 401)
    login(cloud, unique("stranger"), "right", home, 401)
    by_id = {"methods": ["password"], "password": {"user": {"id": body["user"]["id"], "password": "right"}}}
    cloud.authenticate(by_id, scope, expect=201)
    by_domain_name = cloud.password(
        name, "right", {"name": cloud.call("GET", f"/domains/{home}").json["domain"]["name"]}
    )
    cloud.authenticate(by_domain_name, scope, expect=201)
    slapd.change(dn, userPassword="other")
    login(cloud, name, "right", home, 401)
    login(cloud, name, "other", home, 201)


def test_an_empty_password_never_binds(slapd: Slapd) -> None:
    """This server takes a bind without password for an anonymous one and says yes: nobody must ask it."""
    dn = slapd.user(unique("empty"))
    directory = LdapDirectory(LdapOptions.parse(options(slapd)))
    user = directory.user(dn.partition(",")[0].removeprefix("uid="))
    assert user is not None and directory.authenticate(user, "pw")
    assert not directory.authenticate(user, "")
    conn = ldap.initialize(slapd.url)
    conn.simple_bind_s(dn, "")  # the careless server itself says yes
    conn.unbind_s()
    directory.close()


def test_lockout_spares_the_directory(fresh: Any, slapd: Slapd) -> None:
    cloud = fresh({("security_compliance", "lockout_failure_attempts"): 2})
    domain, name = directory_domain(cloud, slapd), unique("erin")
    slapd.user(name)
    for _ in range(2):
        login(cloud, name, "wrong", domain, 401)
    login(cloud, name, "pw", domain, 401)


@pytest.mark.parametrize(
    ("more", "attribute", "on", "off"),
    [
        ({}, "employeeType", ["TRUE", "true", "True", "1", "yes", None], ["FALSE", "false", "0", "no", "off", "junk"]),
        ({"user_enabled_default": "False"}, "employeeType", ["TRUE", "1"], ["FALSE", None]),
        (
            {"user_enabled_invert": True, "user_enabled_default": "False"},
            "employeeType",
            ["FALSE", "false", "0", "no", None],
            ["TRUE", "true", "1", "yes", "junk"],
        ),
        (
            {"user_enabled_mask": 2, "user_enabled_default": "512"},
            "employeeType",
            ["512", "0", None],
            ["514", "2", "x"],
        ),
        ({"user_attribute_ignore": ["enabled"]}, "employeeType", ["FALSE", None], []),
    ],
    ids=["plain", "default", "invert", "mask", "ignored"],
)
def test_ossa_2026_007_enabled_is_read_in_every_spelling(
    cloud: Any, slapd: Slapd, more: dict[str, Any], attribute: str, on: list[Any], off: list[Any]
) -> None:
    domain, name = directory_domain(cloud, slapd, **more), unique("frank")
    dn = slapd.user(name)
    for value, enabled in [*((v, True) for v in on), *((v, False) for v in off)]:
        slapd.change(dn, **{attribute: value})
        assert named(cloud, "user", name, domain)["enabled"] is enabled, value
        login(cloud, name, "pw", domain, 201 if enabled else 401)


def test_enabled_are_the_members_of_a_group(cloud: Any, slapd: Slapd) -> None:
    name, other = unique("grace"), unique("heidi")
    dn = slapd.user(name, title="emulated")
    slapd.user(other, title="emulated")
    enabled = slapd.group(unique("enabled"), dn)
    domain = directory_domain(
        cloud, slapd, user_enabled_emulation=True, user_enabled_emulation_dn=enabled, user_filter="title=emulated"
    )
    login(cloud, name, "pw", domain, 201)
    login(cloud, other, "pw", domain, 401)


# ----------------------------------------------------------------------------------------------------- groups and roles


def test_groups_and_membership(cloud: Any, slapd: Slapd, home: str) -> None:
    one, two, three = (unique("ivan") for _ in range(3))
    dns = [slapd.user(name) for name in (one, two, three)]
    staff, empty = unique("staff"), unique("empty")
    slapd.group(staff, *dns[:2], description="Who works here")
    slapd.group(empty)
    group = named(cloud, "group", staff, home)
    assert group["id"] == hashlib.sha256(f"{home}group{staff}".encode()).hexdigest()
    assert group["description"] == "Who works here"
    assert cloud.call("GET", f"/groups/{group['id']}").json["group"] == group
    assert names(cloud.call("GET", f"/groups/{group['id']}/users")) == [one, two]
    assert names(cloud.call("GET", f"/groups/{named(cloud, 'group', empty, home)['id']}/users")) == []
    ids = [user_id(cloud, name, home) for name in (one, two, three)]
    assert names(cloud.call("GET", f"/users/{ids[0]}/groups"), "groups") == [staff]
    assert names(cloud.call("GET", f"/users/{ids[2]}/groups"), "groups") == []
    cloud.call("HEAD", f"/groups/{group['id']}/users/{ids[0]}", expect=204)
    cloud.call("HEAD", f"/groups/{group['id']}/users/{ids[2]}", expect=404)
    assert staff in names(cloud.call("GET", f"/groups?domain_id={home}&name__contains={staff[1:]}"), "groups")
    assert staff not in names(cloud.call("GET", "/groups"), "groups")
    slapd.delete(f"cn={staff},{GROUPS}")
    cloud.call("GET", f"/groups/{group['id']}", expect=404)


def test_groups_whose_members_are_ids(cloud: Any, slapd: Slapd) -> None:
    name, posix = unique("judy"), unique("posix")
    slapd.user(name)
    slapd.add(
        f"cn={posix},{GROUPS}",
        {"objectClass": "posixGroup", "cn": posix, "gidNumber": "7", "memberUid": [name, "ghost"]},
    )
    domain = directory_domain(
        cloud, slapd, group_objectclass="posixGroup", group_member_attribute="memberUid", group_members_are_ids=True
    )
    group = named(cloud, "group", posix, domain)["id"]
    assert names(cloud.call("GET", f"/groups/{group}/users")) == [name]
    user = user_id(cloud, name, domain)
    assert names(cloud.call("GET", f"/users/{user}/groups"), "groups") == [posix]
    cloud.call("HEAD", f"/groups/{group}/users/{user}", expect=204)


def test_roles_by_way_of_groups(cloud: Any, slapd: Slapd, home: str) -> None:
    name, team = unique("ken"), unique("team")
    dn = slapd.user(name)
    slapd.group(team, dn)
    project, group = cloud.project(), named(cloud, "group", team, home)["id"]
    cloud.grant("member", f"projects/{project}", group=group)
    user = user_id(cloud, name, home)
    path = f"/role_assignments?scope.project.id={project}&effective&include_names"
    for query in (path, f"{path}&user.id={user}"):
        lines = cloud.call("GET", query, expect=200).json["role_assignments"]
        mine = [line for line in lines if line.get("user", {}).get("id") == user]
        assert {line["role"]["name"] for line in mine} == {"member", "reader"}, query
        assert mine[0]["user"]["name"] == name and mine[0]["user"]["domain"]["id"] == home
        assert group in mine[0]["links"]["membership"]
    stored = cloud.call("GET", f"/role_assignments?group.id={group}&include_names").json["role_assignments"]
    assert [line["group"]["name"] for line in stored] == [team]
    assert project in [p["id"] for p in cloud.call("GET", f"/users/{user}/projects").json["projects"]]
    body = login(cloud, name, "pw", home, 201, {"project": {"id": project}}).json["token"]
    assert {role["name"] for role in body["roles"]} == {"member", "reader"}
    slapd.change(f"cn={team},{GROUPS}", member=[f"cn=nobody,{GROUPS}"])
    assert cloud.call("GET", path, expect=200).json["role_assignments"] == []
    login(cloud, name, "pw", home, 401, {"project": {"id": project}})


def test_application_credentials_and_trusts(cloud: Any, slapd: Slapd, home: str) -> None:
    name = unique("lea")
    dn = slapd.user(name)
    project, user = cloud.project(), user_id(cloud, name, home)
    cloud.grant("member", f"projects/{project}", user)
    token = login(cloud, name, "pw", home, 201, {"project": {"id": project}}).headers["X-Subject-Token"]
    sent = {"application_credential": {"name": "robot"}}
    path = f"/users/{user}/application_credentials"
    made = cloud.call("POST", path, sent, token=token, expect=201).json["application_credential"]
    identity = {
        "methods": ["application_credential"],
        "application_credential": {"id": made["id"], "secret": made["secret"]},
    }
    robot = cloud.authenticate(identity, expect=201).headers["X-Subject-Token"]
    trustee = cloud.user()
    trust = {
        "trustor_user_id": user, "trustee_user_id": trustee, "project_id": project, "impersonation": True,
        "roles": [{"name": "member"}],
    }  # fmt: skip
    cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=token, expect=201)
    assert cloud.valid(robot)
    slapd.delete(dn)
    directories.refresh(cloud.svc)
    assert not cloud.valid(robot)
    cloud.authenticate(identity, expect=401)


# -------------------------------------------------------------------------------------------------- what ends, and when


def test_who_is_gone_loses_tokens(cloud: Any, slapd: Slapd, home: str) -> None:
    """Deleted, disabled, or out of the group that had the role: each ends at the next comparison, others stay."""
    team = unique("team")
    people = {what: unique(what) for what in ("stays", "deleted", "disabled", "leaves")}
    dns = {what: slapd.user(name) for what, name in people.items()}
    slapd.group(team, *dns.values())
    project = cloud.project()
    cloud.grant("member", f"projects/{project}", group=named(cloud, "group", team, home)["id"])
    scope = {"project": {"id": project}}
    tokens = {
        what: login(cloud, name, "pw", home, 201, scope).headers["X-Subject-Token"] for what, name in people.items()
    }
    directories.refresh(cloud.svc)
    assert all(cloud.valid(token) for token in tokens.values())
    slapd.delete(dns["deleted"])
    slapd.change(dns["disabled"], employeeType="no")
    slapd.change(f"cn={team},{GROUPS}", member=[dns[what] for what in ("stays", "deleted", "disabled")])
    directories.refresh(cloud.svc)
    assert [what for what, token in tokens.items() if cloud.valid(token)] == ["stays"]
    login(cloud, people["deleted"], "pw", home, 401)
    login(cloud, people["disabled"], "pw", home, 401)
    login(cloud, people["leaves"], "pw", home, 401, scope)
    login(cloud, people["leaves"], "pw", home, 201)
    slapd.change(dns["disabled"], employeeType="yes")
    login(cloud, people["disabled"], "pw", home, 201, scope)
    assert not cloud.valid(tokens["disabled"]), "what was revoked does not come back"


def test_tokens_die_without_anybody_asking(cloud: Any, slapd: Slapd, home: str) -> None:
    """The daemon compares by itself, every `[identity] directory_refresh_interval` seconds."""
    name = unique("mallory")
    dn = slapd.user(name)
    token = login(cloud, name, "pw", home, 201).headers["X-Subject-Token"]
    loop = Reconciler("directories", lambda: directories.refresh(cloud.svc), 0.5, singleton=cloud.svc.db)
    loop.start()
    try:
        time.sleep(1.2)
        assert cloud.valid(token)
        slapd.delete(dn)
        end = time.monotonic() + 60
        while cloud.valid(token):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        loop.stop()


# -------------------------------------------------------------------------------------------------------- not answering


def test_a_directory_that_is_down(cloud: Any, slapd: Slapd, home: str) -> None:
    """503 in the API's own words, at once; tokens that were issued hold; other domains do not notice."""
    name = unique("nina")
    slapd.user(name)
    user = user_id(cloud, name, home)
    token = login(cloud, name, "pw", home, 201).headers["X-Subject-Token"]
    sql = cloud.user(password="pw")
    slapd.kill()
    try:
        began = time.monotonic()
        error = login(cloud, name, "pw", home, 503).json["error"]
        assert error["code"] == 503 and "directory" in error["message"] and slapd.url not in error["message"]
        for path in (
            f"/users?domain_id={home}",
            f"/users/{user}",
            f"/groups?domain_id={home}",
            f"/users/{user}/groups",
        ):
            assert cloud.call("GET", path, expect=503).json["error"]["code"] == 503
        assert time.monotonic() - began < 10, "one wait for its connection would be as long"
        cloud.call("GET", "/users", expect=200)
        cloud.call("GET", f"/users/{sql}", expect=200)
        cloud.call("GET", "/role_assignments?effective&include_names", expect=200)
        directories.refresh(cloud.svc)
        assert cloud.valid(token)
    finally:
        slapd.start()
    login(cloud, name, "pw", home, 201)
    cloud.call("GET", f"/users/{user}", expect=200)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "ldaps"])
def test_a_directory_that_hangs(fresh: Any, slapd: Slapd, tls: bool) -> None:
    """Waits are bounded, threads that wait are few, and after a wait in vain everybody is refused at once."""
    cloud = fresh()
    more = {"url": slapd.tls_url, "tls_cacertfile": str(slapd.authority)} if tls else {}
    domain = directory_domain(cloud, slapd, connection_timeout=3, **more)
    name, sql = unique("olaf"), unique("sql")
    slapd.user(name)
    cloud.user(sql)
    login(cloud, name, "pw", domain, 201)
    results: list[tuple[int, float]] = []

    def attempt() -> None:
        began = time.monotonic()
        status = cloud.authenticate(cloud.password(name, "pw", {"id": domain}), "unscoped").status_int
        results.append((status, time.monotonic() - began))

    slapd.freeze()
    try:
        threads = [threading.Thread(target=attempt) for _ in range(20)]
        for thread in threads:
            thread.start()
        cloud.login(sql)
        assert any(thread.is_alive() for thread in threads), "who is not of the directory does not wait for it"
        for thread in threads:
            thread.join(60)
        assert len(results) == 20 and {status for status, _ in results} == {503}
        assert max(seconds for _, seconds in results) < 15, "not one after the other"
        began = time.monotonic()
        login(cloud, name, "pw", domain, 503)
        assert time.monotonic() - began < 3, "it has not waited again"
    finally:
        slapd.thaw()
    end = time.monotonic() + 60
    while cloud.authenticate(cloud.password(name, "pw", {"id": domain}), "unscoped").status_int != 201:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_directory_that_refuses_the_service(cloud: Any, slapd: Slapd) -> None:
    domain = directory_domain(cloud, slapd, password="not it")
    error = cloud.call("GET", f"/users?domain_id={domain}", expect=502).json["error"]
    assert slapd.url not in error["message"] and READER not in error["message"]


@pytest.mark.parametrize("how", ["starttls", "ldaps"])
def test_tls(cloud: Any, slapd: Slapd, how: str) -> None:
    name = unique("peggy")
    slapd.user(name)
    secure = {"use_tls": True} if how == "starttls" else {"url": slapd.tls_url}
    domain = directory_domain(cloud, slapd, tls_cacertfile=str(slapd.authority), **secure)
    login(cloud, name, "pw", domain, 201)
    stranger = directory_domain(cloud, slapd, **secure)  # its authority is not known here
    login(cloud, name, "pw", stranger, 503)
    careless = directory_domain(cloud, slapd, tls_req_cert="never", **secure)
    login(cloud, name, "pw", careless, 201)


# ------------------------------------------------------------------------------------------------------- only reading


def test_nothing_is_written(cloud: Any, slapd: Slapd, home: str) -> None:
    name, team = unique("quinn"), unique("team")
    dn = slapd.user(name)
    slapd.group(team, dn)
    user, group = user_id(cloud, name, home), named(cloud, "group", team, home)["id"]
    local_user, local_group = cloud.user(), cloud.group()
    own = {"user": {"original_password": "pw", "password": "new"}}
    token = login(cloud, name, "pw", home, 201).headers["X-Subject-Token"]
    refused: list[tuple[str, str, Any]] = [
        ("POST", "/users", {"user": {"name": "x", "domain_id": home, "password": "y"}}),
        ("PATCH", f"/users/{user}", {"user": {"enabled": False}}),
        ("PATCH", f"/users/{user}", {"user": {"password": "new"}}),
        ("DELETE", f"/users/{user}", None),
        ("POST", "/groups", {"group": {"name": "x", "domain_id": home}}),
        ("PATCH", f"/groups/{group}", {"group": {"description": "x"}}),
        ("DELETE", f"/groups/{group}", None),
        ("PUT", f"/groups/{group}/users/{user}", None),
        ("DELETE", f"/groups/{group}/users/{user}", None),
        ("PUT", f"/groups/{group}/users/{local_user}", None),
        ("PUT", f"/groups/{local_group}/users/{user}", None),
    ]
    for method, path, body in refused:
        error = cloud.call(method, path, body, expect=403).json["error"]
        assert "LDAP does not support write operations" in error["message"], path
    cloud.call("POST", f"/users/{user}/password", own, token=token, expect=403)
    assert names(cloud.call("GET", f"/groups/{group}/users")) == [name]
    login(cloud, name, "pw", home, 201)


# -------------------------------------------------------------------------------------------------------- configuration


def test_the_password_is_encrypted_and_never_shown(cloud: Any, slapd: Slapd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    domain = directory_domain(cloud, slapd)
    path = f"/domains/{domain}/config"
    assert slapd.password not in cloud.call("GET", path, expect=200).text
    cloud.call("GET", f"{path}/ldap/password", expect=404)
    reply = cloud.call("PATCH", f"{path}/ldap", {"config": {"ldap": {"password": slapd.password}}}, expect=200)
    assert slapd.password not in reply.text
    with cloud.svc.db.read() as conn:
        stored = [
            str(row.value)
            for row in conn.execute(sa.select(t.domain_options).where(t.domain_options.c.domain_id == domain))
        ]
    assert len(stored) > 5 and not any(slapd.password in value for value in stored)
    cloud.call("GET", f"/users?domain_id={domain}&name=nobody", expect=200)
    slapd.kill()
    try:
        cloud.call("GET", f"/users?domain_id={domain}&name=nobody", expect=503)
    finally:
        slapd.start()
    assert slapd.password not in caplog.text


def test_the_password_outlives_a_rotation_of_keys(fresh: Any, slapd: Slapd) -> None:
    cloud = fresh()
    domain = directory_domain(cloud, slapd)
    for _ in range(5):
        assert run_credential(cloud.svc.conf, ["rotate"]) == 0
    again = Identity(cloud.svc.conf)  # as after a restart: nothing is remembered
    home = again.directories.get(domain)
    assert home is not None and home.directory.users(NameTest(("nobody",))) == []
    again.db.dispose()


@pytest.mark.parametrize(
    "bad",
    [
        {"url": "ldap://x:port"}, {"query_scope": "all"}, {"page_size": "many"},
        {"use_tls": "perhaps"}, {"tls_req_cert": "sometimes"}, {"url": "ldaps://x", "use_tls": True}, {"pool_size": 0},
        {"user_attribute_ignore": 7}, {"user_additional_attribute_mapping": ["a"]},
    ],
    ids=str,
)  # fmt: skip
def test_configuration_that_means_nothing_is_refused(cloud: Any, bad: dict[str, Any]) -> None:
    domain = cloud.domain()
    configure(cloud, domain, bad, expect=400)
    cloud.call("GET", f"/domains/{domain}/config", expect=404)


def test_an_unfinished_configuration_is_kept(cloud: Any) -> None:
    """Options may come one by one; until they make a directory, the domain's users cannot be asked for."""
    domain = cloud.domain()
    body = {"config": {"identity": {"driver": "ldap"}, "ldap": {"url": "http://x", "user_tree_dn": "ou=x"}}}
    cloud.call("PUT", f"/domains/{domain}/config", body, expect=201)
    cloud.call("GET", f"/users?domain_id={domain}", expect=502)
    cloud.call("GET", "/users?name=admin", expect=200)
    cloud.authenticate(cloud.password("anybody", "pw", {"id": domain}), expect=502)


def test_configuration_of_no_driver_of_ours_is_kept_and_changes_nothing(cloud: Any) -> None:
    """As Keystone keeps it: a driver nobody has, options of one that is not in use."""
    domain = cloud.domain()
    body = {"config": {"identity": {"driver": "magic"}, "ldap": {"url": "http://x"}}}
    cloud.call("PUT", f"/domains/{domain}/config", body, expect=201)
    user = cloud.user("in-the-database", domain_id=domain)
    found = cloud.call("GET", f"/users?domain_id={domain}", expect=200).json["users"]
    assert [u["id"] for u in found] == [user]
    cloud.login("in-the-database", user_domain=domain)


def test_an_installation_without_the_library_says_what_to_install(
    fresh: Any, slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = fresh()
    for name in [name for name in sys.modules if name.startswith("aerie_identity.drivers.ldap_")]:
        monkeypatch.delitem(sys.modules, name)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "ldap", None)
        domain = directory_domain(cloud, slapd)
        message = cloud.call("GET", f"/users?domain_id={domain}", expect=502).json["error"]["message"]
    assert "pip install 'python-ldap" in message and "libldap-dev" in message
    cloud.call("GET", "/users", expect=200)  # others do not notice


def test_defaults_are_those_of_the_driver() -> None:
    ours = LdapOptions()
    for name, value in DEFAULTS["ldap"].items():
        if hasattr(ours, name):
            used = getattr(ours, name)
            assert ((list(used) if isinstance(used, tuple) else used) or None) == (value or None), name


def test_a_domain_moves_to_a_directory_and_back(cloud: Any, slapd: Slapd) -> None:
    """Who was a user of the domain before is none any more, whatever they hold; afterwards the database decides."""
    domain = cloud.domain()
    local = cloud.user("local", domain_id=domain)
    project = cloud.project()
    cloud.grant("member", f"projects/{project}", local)
    scope = {"project": {"id": project}}
    token = login(cloud, "local", "pw", domain, 201, scope).headers["X-Subject-Token"]
    credential = cloud.call(
        "POST", f"/users/{local}/application_credentials", {"application_credential": {"name": "x"}},
        token=token, expect=201,
    ).json["application_credential"]  # fmt: skip
    identity = {
        "methods": ["application_credential"],
        "application_credential": {"id": credential["id"], "secret": credential["secret"]},
    }
    cloud.authenticate(identity, expect=201)
    name = unique("rupert")
    slapd.user(name)
    configure(cloud, domain, options(slapd))
    assert not cloud.valid(token)
    login(cloud, "local", "pw", domain, 401)
    cloud.authenticate(identity, expect=401)
    cloud.call("GET", f"/users/{local}", expect=404)
    theirs = login(cloud, name, "pw", domain, 201).headers["X-Subject-Token"]
    cloud.call("DELETE", f"/domains/{domain}/config", expect=204)
    assert not cloud.valid(theirs)
    login(cloud, name, "pw", domain, 401)
    login(cloud, "local", "pw", domain, 201, scope)
    cloud.call("GET", f"/users/{local}", expect=200)


def test_a_domain_manager_sees_the_directory(cloud: Any, slapd: Slapd, home: str) -> None:
    name = unique("sybil")
    slapd.user(name)
    cloud.grant("manager", f"domains/{home}", user_id(cloud, name, home))
    token = login(cloud, name, "pw", home, 201, {"domain": {"id": home}}).headers["X-Subject-Token"]
    assert name in names(cloud.call("GET", f"/users?name__contains={name}", token=token, expect=200))
    assert "admin" not in names(cloud.call("GET", "/users?name__contains=admin", token=token, expect=200))


def test_a_login_costs_few_statements(cloud: Any, slapd: Slapd, home: str) -> None:
    name = unique("trent")
    slapd.user(name)
    login(cloud, name, "pw", home, 201)
    with count_queries(cloud.svc.db) as counter:
        login(cloud, name, "pw", home, 201)
    assert counter.count <= 12, counter


def test_domains_go_with_their_copies(cloud: Any, slapd: Slapd) -> None:
    domain, name = directory_domain(cloud, slapd), unique("ursula")
    slapd.user(name)
    cloud.grant("member", f"projects/{cloud.project()}", user_id(cloud, name, domain))
    cloud.call("PATCH", f"/domains/{domain}", {"domain": {"enabled": False}}, expect=200)
    login(cloud, name, "pw", domain, 401)
    cloud.call("DELETE", f"/domains/{domain}", expect=204)
    login(cloud, name, "pw", domain, 401)
    slapd.delete(f"uid={name},{PEOPLE}")


def test_trees_that_do_not_exist_are_empty(cloud: Any, slapd: Slapd) -> None:
    """Many a directory has no groups; that keeps nobody from logging in."""
    name = unique("victor")
    slapd.user(name)
    groupless = directory_domain(cloud, slapd, group_tree_dn=f"ou=Nowhere,{PEOPLE}")
    login(cloud, name, "pw", groupless, 201)
    assert cloud.call("GET", f"/groups?domain_id={groupless}", expect=200).json["groups"] == []
    userless = directory_domain(cloud, slapd, user_tree_dn=f"ou=Nowhere,{PEOPLE}")
    login(cloud, name, "pw", userless, 401)
    assert cloud.call("GET", f"/users?domain_id={userless}", expect=200).json["users"] == []


def test_further_attributes(cloud: Any, slapd: Slapd) -> None:
    name, project = unique("wendy"), cloud.project()
    slapd.user(name, title="Engineer", employeeNumber=project, description="hidden")
    domain = directory_domain(
        cloud, slapd, user_additional_attribute_mapping=["title:job"], user_attribute_ignore=["description"],
        user_default_project_id_attribute="employeeNumber",
    )  # fmt: skip
    found = named(cloud, "user", name, domain)
    assert (found["job"], found["default_project_id"]) == ("Engineer", project) and "description" not in found
    cloud.grant("member", f"projects/{project}", found["id"])
    body = cloud.authenticate(cloud.password(name, "pw", {"id": domain}), expect=201).json["token"]
    assert body["project"]["id"] == project


def test_a_changed_address_counts_at_once(cloud: Any, slapd: Slapd) -> None:
    name = unique("xaver")
    slapd.user(name)
    domain = directory_domain(cloud, slapd)
    login(cloud, name, "pw", domain, 201)
    url = f"/domains/{domain}/config/ldap/url"
    cloud.call("PATCH", url, {"config": {"url": f"ldap://127.0.0.1:{free_port()}"}}, expect=200)
    login(cloud, name, "pw", domain, 503)
    cloud.call("PATCH", url, {"config": {"url": slapd.url}}, expect=200)
    login(cloud, name, "pw", domain, 201)
