# SPDX-License-Identifier: Apache-2.0
"""What a client asks before it has a token, and how refusals are worded."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_root_answers_300_with_a_location(cloud: Any) -> None:
    reply = cloud.call("GET", "//", token=None, expect=300)
    assert reply.headers["Location"] == "http://localhost/v3/"
    [version] = reply.json["versions"]["values"]
    assert (version["id"], version["status"]) == ("v3.14", "stable")
    assert version["links"] == [{"rel": "self", "href": "http://localhost/v3/"}]


@pytest.mark.parametrize("path", ["//v3", "//v3/", "//identity/v3"])
def test_version_three_describes_itself(cloud: Any, path: str) -> None:
    version = cloud.call("GET", path, token=None, expect=200).json["version"]
    prefix = "/identity" if "identity" in path else ""
    assert version["links"][0]["href"] == f"http://localhost{prefix}/v3/"


def test_json_home_lists_addresses(cloud: Any) -> None:
    reply = cloud.call("GET", "//v3", token=None, headers={"Accept": "application/json-home"}, expect=200)
    assert reply.content_type == "application/json-home"
    resources = reply.json["resources"]
    root = "https://docs.openstack.org/api/openstack-identity/3"
    assert resources[f"{root}/rel/auth_tokens"] == {"href": "/auth/tokens"}
    assert resources[f"{root}/rel/user"]["href-template"] == "/users/{user_id}"
    trusts = f"{root}/ext/OS-TRUST/1.0"
    assert resources[f"{trusts}/rel/trust"]["href-vars"] == {"trust_id": f"{trusts}/param/trust_id"}
    for relation, path in (
        ("rel/user_change_password", "/users/{user_id}/password"),
        ("rel/implied_role", "/roles/{prior_role_id}/implies/{implied_role_id}"),
        ("rel/domain_config_option", "/domains/{domain_id}/config/{group}/{option}"),
        ("rel/application_credentials", "/users/{user_id}/application_credentials"),
        ("rel/project_user_role", "/projects/{project_id}/users/{user_id}/roles/{role_id}"),
        ("ext/OS-INHERIT/1.0/rel/domain_user_role_inherited_to_projects",
         "/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects"),
        ("ext/OS-EP-FILTER/1.0/rel/endpoint_groups", "/OS-EP-FILTER/endpoint_groups"),
        ("ext/OS-EC2/1.0/rel/ec2tokens", "/ec2tokens"),
    ):  # fmt: skip
        entry = resources[f"{root}/{relation}"]
        assert entry.get("href", entry.get("href-template")) == path
    paths = {op.path.removeprefix("/v3") for op in cloud.svc.table.operations if op.path.startswith("/v3/")}
    assert {e.get("href", e.get("href-template")) for e in resources.values()} == paths, "every address has a name"
    below = cloud.call("GET", "//", token=None, headers={"Accept": "application/json-home"}, expect=200).json[
        "resources"
    ]
    assert below[f"{root}/rel/auth_tokens"] == {"href": "/v3/auth/tokens"}


def test_the_prefix_works_for_tokens_too(cloud: Any) -> None:
    reply = cloud.authenticate(cloud.password("admin", "secret"), path="//identity/v3/auth/tokens", expect=201)
    token = reply.headers["X-Subject-Token"]
    shown = cloud.call("GET", "//identity/v3/users", token=token, expect=403)
    assert shown.json["error"]["code"] == 403


def test_strangers_learn_nothing(cloud: Any) -> None:
    for path in ("/users", "/no/such/thing", "/users/x/y/z"):
        reply = cloud.call("GET", path, token=None, expect=401)
        assert reply.headers["WWW-Authenticate"] == 'Keystone uri="http://identity.test/v3"'
        assert reply.json == {
            "error": {
                "code": 401,
                "message": "The request you have made requires authentication.",
                "title": "Unauthorized",
            }
        }
        assert reply.headers["X-Openstack-Request-Id"].startswith("req-")


def test_refusals_are_worded_as_keystone_does(cloud: Any) -> None:
    assert cloud.call("GET", "/users/nobody", expect=404).json["error"] == {
        "code": 404,
        "message": "Could not find user: nobody.",
        "title": "Not Found",
    }
    assert cloud.call("PUT", "/users", expect=405).headers["Allow"] == "GET, POST"
    assert cloud.call("GET", "/nothing", expect=404).json["error"]["title"] == "Not Found"
    assert cloud.call("POST", "/users", {"user": {}}, expect=400).json["error"]["code"] == 400
    assert cloud.call("POST", "/users", {"user": {"name": 5}}, expect=400).json["error"]["code"] == 400
    assert cloud.call("POST", "/projects", {"project": {"name": "x" * 65}}, expect=400)
