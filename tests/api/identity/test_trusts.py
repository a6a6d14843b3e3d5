# SPDX-License-Identifier: Apache-2.0
"""Trusts: acting for somebody else, with no more than was given."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any


def give(cloud: Any, trustor: tuple[str, str, str], trustee: str, expect: int = 201, **values: Any) -> dict[str, Any]:
    """A trust of the trustor (token, user, project) for the trustee."""
    token, user, project = trustor
    body = {"trustor_user_id": user, "trustee_user_id": trustee, "impersonation": True, "project_id": project,
            "roles": [{"name": "member"}], **values}  # fmt: skip
    reply = cloud.call("POST", "/OS-TRUST/trusts", {"trust": body}, token=token, expect=expect)
    return dict(reply.json.get("trust", {}))


def somebody(cloud: Any) -> tuple[str, str, str]:
    name, user, project = cloud.member()
    return cloud.login(name, project=project), user, project


def take(cloud: Any, name: str, trust: dict[str, Any], expect: int = 201) -> Any:
    return cloud.authenticate(cloud.password(name, "pw"), {"OS-TRUST:trust": {"id": trust["id"]}}, expect=expect)


def test_a_trustee_acts_for_the_trustor(cloud: Any) -> None:
    trustor = somebody(cloud)
    trustee = cloud.user("trustee")
    trust = give(cloud, trustor, trustee)
    assert [r["name"] for r in trust["roles"]] == ["member"]
    assert (trust["deleted_at"], trust["remaining_uses"], trust["redelegation_count"]) == (None, None, 0)
    reply = take(cloud, "trustee", trust)
    body = reply.json["token"]
    assert body["user"]["id"] == trustor[1] and body["project"]["id"] == trustor[2]
    assert body["OS-TRUST:trust"] == {
        "id": trust["id"],
        "impersonation": True,
        "trustor_user": {"id": trustor[1]},
        "trustee_user": {"id": trustee},
    }
    assert {r["name"] for r in body["roles"]} == {"member", "reader"}
    plain = give(cloud, trustor, trustee, impersonation=False)
    assert take(cloud, "trustee", plain).json["token"]["user"]["id"] == trustee
    token = reply.headers["X-Subject-Token"]
    cloud.rescope(token, {"project": {"id": trustor[2]}}, expect=403)
    path = f"/OS-TRUST/trusts/{trust['id']}"
    assert cloud.call("GET", f"{path}/roles", token=trustor[0]).json["roles"][0]["name"] == "member"
    cloud.call("HEAD", f"{path}/roles/{cloud.role_id('member')}", token=trustor[0], expect=200)
    cloud.call("HEAD", f"{path}/roles/{cloud.role_id('admin')}", token=trustor[0], expect=404)
    cloud.call("DELETE", path, token=cloud.login("trustee"), expect=403)
    cloud.call("DELETE", path, token=trustor[0], expect=204)
    assert not cloud.valid(token)
    cloud.call("GET", path, expect=404)


def test_only_what_one_has_and_only_oneself(cloud: Any) -> None:
    trustor, other = somebody(cloud), somebody(cloud)
    trustee = cloud.user()
    give(cloud, trustor, trustee, roles=[{"name": "admin"}], expect=403)
    give(cloud, trustor, trustee, roles=[], expect=403)
    give(cloud, trustor, trustee, roles=[{"name": "nothing"}], expect=404)
    give(cloud, trustor, trustee, trustor_user_id=other[1], expect=403)
    give(cloud, trustor, "nobody", expect=404)
    give(cloud, trustor, trustee, expires_at="2001-01-01T00:00:00Z", expect=400)
    give(cloud, trustor, trustee, remaining_uses=0, expect=400)
    trust = give(cloud, trustor, trustee)
    cloud.call("GET", f"/OS-TRUST/trusts/{trust['id']}", token=other[0], expect=403)
    cloud.call("GET", "/OS-TRUST/trusts", token=other[0], expect=403)
    mine = cloud.call("GET", f"/OS-TRUST/trusts?trustor_user_id={trustor[1]}", token=trustor[0]).json["trusts"]
    assert [t["id"] for t in mine] == [trust["id"]]
    cloud.call("GET", f"/OS-TRUST/trusts?trustor_user_id={trustor[1]}", token=other[0], expect=403)
    name = cloud.call("GET", f"/users/{other[1]}").json["user"]["name"]
    take(cloud, name, trust, expect=403)


def test_a_lost_role_or_user_ends_it(cloud: Any) -> None:
    trustor = somebody(cloud)
    trustee = cloud.user("heir-of-trust")
    trust = give(cloud, trustor, trustee)
    token = take(cloud, "heir-of-trust", trust).headers["X-Subject-Token"]
    grant = f"/projects/{trustor[2]}/users/{trustor[1]}/roles/{cloud.role_id('member')}"
    cloud.call("DELETE", grant, expect=204)
    assert not cloud.valid(token)
    take(cloud, "heir-of-trust", trust, expect=403)
    cloud.call("PUT", grant, expect=204)
    token = take(cloud, "heir-of-trust", trust).headers["X-Subject-Token"]
    cloud.call("PATCH", f"/users/{trustee}", {"user": {"enabled": False}}, expect=200)
    assert not cloud.valid(token)


def test_uses_run_out_and_time_too(cloud: Any) -> None:
    trustor = somebody(cloud)
    cloud.user("limited")
    trustee = cloud.call("GET", "/users?name=limited").json["users"][0]["id"]
    trust = give(cloud, trustor, trustee, remaining_uses=2)
    for _ in range(2):
        take(cloud, "limited", trust)
    take(cloud, "limited", trust, expect=403)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    trust = give(cloud, trustor, trustee, expires_at=soon.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert take(cloud, "limited", trust).json["token"]["expires_at"] == trust["expires_at"]


def test_redelegation(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("trust", "allow_redelegation"): True})
    trustor = somebody(cloud)
    middle, last = cloud.user("middle"), cloud.user("last")
    first = give(cloud, trustor, middle, allow_redelegation=True, redelegation_count=1)
    token = take(cloud, "middle", first).headers["X-Subject-Token"]
    again = (token, trustor[1], trustor[2])
    give(cloud, again, last, roles=[{"name": "reader"}], expect=403)
    second = give(cloud, again, last, allow_redelegation=True)
    assert (second["redelegated_trust_id"], second["redelegation_count"]) == (first["id"], 0)
    third = take(cloud, "last", second).headers["X-Subject-Token"]
    give(cloud, (third, trustor[1], trustor[2]), middle, expect=403)
    cloud.call("DELETE", f"/OS-TRUST/trusts/{first['id']}", token=trustor[0], expect=204)
    assert not cloud.valid(third)
    give(cloud, trustor, middle, redelegation_count=9, allow_redelegation=True, expect=403)


def test_a_redelegated_trust_exceeds_nothing(fresh: Callable[..., Any]) -> None:
    """Neither in roles, project, time, impersonation or uses; each passing on counts down."""
    cloud = fresh({("trust", "allow_redelegation"): True})
    trustor = somebody(cloud)
    middle, last = cloud.user("middle"), cloud.user("last")
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    later = (end + datetime.timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = {"allow_redelegation": True, "expires_at": end.strftime("%Y-%m-%dT%H:%M:%SZ"), "redelegation_count": 2}
    first = give(cloud, trustor, middle, **kept)
    token = take(cloud, "middle", first).headers["X-Subject-Token"]
    again = (token, trustor[1], trustor[2])
    other = cloud.project()
    cloud.grant("member", f"projects/{other}", trustor[1])
    give(cloud, again, last, project_id=other, expect=403)
    give(cloud, again, last, expires_at=later, expect=403)
    give(cloud, again, last, remaining_uses=3, expect=403)
    give(cloud, again, last, redelegation_count=2, expect=403)
    second = give(cloud, again, last)
    assert second["redelegation_count"] == 1 and second["expires_at"] == first["expires_at"]
    assert give(cloud, again, last, allow_redelegation=False)["redelegation_count"] == 0
    plain = give(cloud, trustor, middle, allow_redelegation=True, impersonation=False)
    own = take(cloud, "middle", plain).headers["X-Subject-Token"]
    give(cloud, (own, trustor[1], trustor[2]), last, expect=403)
    counted = give(cloud, trustor, middle, remaining_uses=2, allow_redelegation=True)
    used = take(cloud, "middle", counted).headers["X-Subject-Token"]
    give(cloud, (used, trustor[1], trustor[2]), last, expect=403)
    assert cloud.call("GET", f"/OS-TRUST/trusts/{counted['id']}", token=trustor[0]).json["trust"]["remaining_uses"] == 1


def test_redelegation_is_off_unless_allowed(cloud: Any) -> None:
    trustor = somebody(cloud)
    name = f"middle-{trustor[1]}"
    middle = cloud.user(name)
    trust = give(cloud, trustor, middle, allow_redelegation=True)
    token = take(cloud, name, trust).headers["X-Subject-Token"]
    give(cloud, (token, trustor[1], trustor[2]), cloud.user(), expect=403)
