# SPDX-License-Identifier: Apache-2.0
"""Which calls the access rules of an application credential allow."""

from __future__ import annotations

import pytest

from aerie_common import access_rules
from aerie_common.context import Context


def caller(path: str, method: str = "GET", service: str = "compute") -> Context:
    rule = {"id": "r", "service": service, "method": method, "path": path}
    return Context(user_id="u", token_data={"application_credential": {"access_rules": [rule]}})


@pytest.mark.parametrize(
    "rule, path, allowed",
    [
        ("/v2.1/servers", "/v2.1/servers", True),
        ("/v2.1/servers", "/v2.1/servers/1", False),
        ("/v2.1/servers", "/x/v2.1/servers", False),
        ("/v2.1/servers/*", "/v2.1/servers/1", True),
        ("/v2.1/servers/*", "/v2.1/servers/1/ips", False),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/1/ips", True),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers//ips", False),
        ("/v2.1/**", "/v2.1/servers/1/ips", True),
        ("/v2.1/**", "/v2.0/servers", False),
        ("/v2.1/a.b", "/v2.1/aXb", False),
        ("/v2.1/a", "/v2.1/a\n", False),
    ],
)
def test_paths(rule: str, path: str, allowed: bool) -> None:
    if allowed:
        access_rules.check(caller(rule), "compute", "GET", path)
    else:
        with pytest.raises(access_rules.NotInAccessRules):
            access_rules.check(caller(rule), "compute", "GET", path)


def test_method_and_service_count_too() -> None:
    for ctx in (caller("/x", method="POST"), caller("/x", service="image")):
        with pytest.raises(access_rules.NotInAccessRules):
            access_rules.check(ctx, "compute", "GET", "/x")


def test_who_is_not_bound() -> None:
    access_rules.check(Context(user_id="u", token_data={}), "compute", "GET", "/x")
    access_rules.check(Context(user_id="u", token_data={"application_credential": {"id": "c"}}), "compute", "GET", "/x")
    acting = caller("/y")
    acting.service_roles = ("service",)
    access_rules.check(acting, "compute", "GET", "/x")
    nothing = Context(user_id="u", token_data={"application_credential": {"access_rules": []}})
    with pytest.raises(access_rules.NotInAccessRules):
        access_rules.check(nothing, "compute", "GET", "/x")
