# SPDX-License-Identifier: Apache-2.0
"""Mappings: what their rules make of an assertion, and which rules are kept."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_common.errors import BadRequest
from aerie_identity.logic.mapping_rules import Mapped, MappedGroup, MappedProject, MappedUser, Unmapped, apply, check

ALICE = {
    "name": ["alice"],
    "mail": ["alice@example.org"],
    "groups": ["staff", "admins", "guests"],
    "kind": ["Employee"],
    "empty": [],
}
D = {"id": "default"}


def rule(remote: Any, **local: Any) -> dict[str, Any]:
    return {"remote": remote if isinstance(remote, list) else [remote], "local": [local]}


def run(*rules: dict[str, Any], version: str = "1.0", **changes: list[str]) -> Mapped:
    check(list(rules), version)
    return apply(list(rules), {**ALICE, **changes}, version)


def test_values_fill_blanks() -> None:
    found = run(rule([{"type": "name"}, {"type": "mail"}], user={"name": "{0}", "email": "{1}", "id": "x-{0}-{1}"}))
    assert found.user == MappedUser("x-alice-alice@example.org", "alice", "alice@example.org")


def test_conditions_yield_no_value() -> None:
    remote = [{"type": "kind", "any_one_of": ["Employee"]}, {"type": "name"}]
    assert run(rule(remote, user={"name": "{0}"})).user == MappedUser(None, "alice")


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({"type": "kind", "any_one_of": ["Employee", "Contractor"]}, True),
        ({"type": "kind", "any_one_of": ["Contractor"]}, False),
        ({"type": "kind", "any_one_of": ["Empl"]}, False),
        ({"type": "kind", "any_one_of": ["^Empl"], "regex": True}, True),
        ({"type": "kind", "any_one_of": ["^ployee"], "regex": True}, False),
        ({"type": "kind", "not_any_of": ["Contractor"]}, True),
        ({"type": "kind", "not_any_of": ["Employee"]}, False),
        ({"type": "kind", "not_any_of": ["ploy"], "regex": True}, False),
        ({"type": "groups", "not_any_of": ["guests"]}, False),
        ({"type": "missing"}, False),
        ({"type": "missing", "not_any_of": ["x"]}, False),
        ({"type": "empty"}, False),
    ],
)
def test_conditions(condition: dict[str, Any], applies: bool) -> None:
    one = rule([condition, {"type": "name"}], group={"id": "g"})
    if applies:
        assert run(one).groups == (MappedGroup(id="g"),)
    else:
        with pytest.raises(Unmapped):
            run(one)


@pytest.mark.parametrize(
    ("filtered", "names"),
    [
        ({"type": "groups"}, ["staff", "admins", "guests"]),
        ({"type": "groups", "whitelist": ["staff", "other"]}, ["staff"]),
        ({"type": "groups", "blacklist": ["guests"]}, ["staff", "admins"]),
        ({"type": "groups", "whitelist": ["^.*s$", "^g"], "regex": True}, ["admins", "guests"]),
        ({"type": "groups", "blacklist": ["^a"], "regex": True}, ["staff", "guests"]),
        ({"type": "groups", "whitelist": ["nothing"]}, []),
    ],
)
def test_filters_and_several_values(filtered: dict[str, Any], names: list[str]) -> None:
    found = run(rule([{"type": "name"}, filtered], user={"name": "{0}"}, groups="{1}", domain=D))
    assert [g.name for g in found.groups] == names and all(g.domain == D for g in found.groups)


def test_a_list_of_ids_and_one_with_words_around() -> None:
    found = run(rule([{"type": "groups", "blacklist": ["guests"]}], group_ids="{0}"))
    assert found.groups == (MappedGroup(id="staff"), MappedGroup(id="admins"))
    found = run(rule([{"type": "groups", "blacklist": ["guests"]}], groups="sso-{0}", domain=D))
    assert [g.name for g in found.groups] == ["sso-staff", "sso-admins"]
    assert [g.name for g in run(rule({"type": "name"}, groups="['a', 'b']", domain=D)).groups] == ["a", "b"]


def test_values_are_never_templates_nor_lists() -> None:
    found = run(rule([{"type": "name"}, {"type": "mail"}], user={"name": "{0}"}, groups="{1}", domain=D),
                name=["{1}"], mail=["['admins']"])  # fmt: skip
    assert found.user is not None and found.user.name == "{1}"
    assert [g.name for g in found.groups] == ["['admins']"]
    assert [g.name for g in run(rule({"type": "mail"}, groups="{0}", domain=D), mail=["a;admins"]).groups] == [
        "a;admins"
    ]


def test_who_one_is_must_not_be_ambiguous() -> None:
    for values in (["a", "b"], [" "]):
        with pytest.raises(Unmapped):
            run(rule({"type": "name"}, user={"name": "{0}"}), name=values)
    with pytest.raises(Unmapped):
        run(rule({"type": "groups", "whitelist": ["x"]}, user={"name": "{0}"}))


def test_all_rules_count_and_the_first_user_wins() -> None:
    found = run(
        rule({"type": "name"}, user={"name": "{0}"}),
        rule({"type": "missing"}, group={"id": "never"}),
        rule({"type": "mail"}, user={"name": "{0}"}, group={"id": "g"}),
        rule({"type": "mail"}, group={"id": "g"}),
    )
    assert found.user == MappedUser(None, "alice") and found.groups == (MappedGroup(id="g"),)


def test_local_users() -> None:
    found = run(rule({"type": "name"}, user={"name": "{0}", "type": "local", "domain": {"name": "{0}"}}))
    assert found.user == MappedUser(None, "alice", None, {"name": "alice"}, "local")


def test_projects() -> None:
    projects = [{"name": "home of {0}", "roles": [{"name": "member"}, {"name": "{1}"}]}]
    found = run(rule([{"type": "name"}, {"type": "kind"}], projects=projects))
    assert found.projects == (MappedProject("home of alice", ("member", "Employee")),)


def test_version_2_knows_domains() -> None:
    projects = [{"name": "p", "roles": []}, {"name": "q", "roles": [], "domain": {"id": "{0}"}}]
    one = rule({"type": "name"}, user={"name": "{0}"}, domain={"name": "D"}, projects=projects, groups="g")
    found = run(one, version="2.0")
    assert found.user is not None and found.user.domain == {"name": "D"}
    assert [p.domain for p in found.projects] == [{"name": "D"}, {"id": "alice"}]
    assert found.groups == (MappedGroup(name="g", domain={"name": "D"}),)
    with pytest.raises(BadRequest):
        check([one], "1.0")


@pytest.mark.parametrize(
    "one",
    [
        rule({"type": "name"}, user={"name": "{1}"}),
        rule({"type": "name", "any_one_of": ["x"]}, user={"name": "{0}"}),
        rule({"type": "name"}, groups="{0}"),
        rule({"type": "name", "any_one_of": ["("], "regex": True}, user={"name": "x"}),
        rule({"type": "name", "blacklist": ["*"], "regex": True}, user={"name": "x"}),
    ],
)
def test_rules_that_cannot_work(one: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        check([one], "1.0")


# ------------------------------------------------------------------------------------------------------------- the API

RULES = [rule({"type": "name"}, user={"name": "{0}"})]


def test_mappings_are_kept(cloud: Any) -> None:
    path = "/OS-FEDERATION/mappings/m-1"
    sent = {"mapping": {"id": "m-1", "rules": RULES, "schema_version": None}}  # as the openstack command sends it
    made = cloud.call("PUT", path, sent, expect=201).json["mapping"]
    assert made == {
        "id": "m-1",
        "rules": RULES,
        "schema_version": "1.0",
        "links": {"self": f"http://localhost/v3{path}"},
    }
    cloud.call("PUT", path, {"mapping": {"rules": RULES}}, expect=409)
    assert cloud.call("GET", path, expect=200).json["mapping"] == made
    assert made in cloud.call("GET", "/OS-FEDERATION/mappings", expect=200).json["mappings"]
    changed = {"mapping": {"rules": RULES * 2, "schema_version": "2.0"}}
    assert cloud.call("PATCH", path, changed, expect=200).json["mapping"]["schema_version"] == "2.0"
    cloud.call("DELETE", path, expect=204)
    for method in ("GET", "DELETE"):
        error = cloud.call(method, path, expect=404).json["error"]
        assert error == {"code": 404, "message": "Could not find mapping: m-1.", "title": "Not Found"}


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"rules": []},
        {"rules": [{"local": []}]},
        {"rules": [{"local": [], "remote": []}]},
        {"rules": [{"local": [], "remote": [{"name": "x"}]}]},
        {"rules": [{"local": [], "remote": [{"type": "x", "any_one_of": ["a"], "not_any_of": ["b"]}]}]},
        {"rules": [{"local": [], "remote": [{"type": "x", "any_one_of": "a"}]}]},
        {"rules": [{"local": [{"user": {"nick": "x"}}], "remote": [{"type": "x"}]}]},
        {"rules": [{"local": [{"user": {"type": "other"}}], "remote": [{"type": "x"}]}]},
        {"rules": [{"local": [{"group": {"name": "x"}}], "remote": [{"type": "x"}]}]},
        {"rules": [{"local": [{"projects": [{"name": "x"}]}], "remote": [{"type": "x"}]}]},
        {"rules": RULES, "schema_version": "3.0"},
    ],
)
def test_malformed_mappings_are_refused(cloud: Any, mapping: dict[str, Any]) -> None:
    cloud.call("PUT", "/OS-FEDERATION/mappings/m-bad", {"mapping": mapping}, expect=400)
    cloud.call("GET", "/OS-FEDERATION/mappings/m-bad", expect=404)
