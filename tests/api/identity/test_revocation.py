# SPDX-License-Identifier: Apache-2.0
"""What ends a token ends it for good, and moves the epoch by which every service knows. (That all do within a second:
test_advisories.py.)"""

from __future__ import annotations

from typing import Any

from aerie_identity.container import Identity


def test_enabling_again_revives_no_token(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    for path, noun in ((f"/users/{user}", "user"), (f"/projects/{project}", "project")):
        cloud.call("PATCH", path, {noun: {"enabled": False}}, expect=200)
        assert not cloud.valid(token)
        cloud.call("PATCH", path, {noun: {"enabled": True}}, expect=200)
        assert not cloud.valid(token)
        token = cloud.login(name, project=project)
        assert cloud.valid(token)


def test_a_domain_ends_the_tokens_of_its_users_and_projects(cloud: Any) -> None:
    domain = cloud.domain()
    inside, project = cloud.user("inside", domain_id=domain), cloud.project(domain_id=domain)
    name, outside, own = cloud.member()
    cloud.grant("member", f"projects/{own}", inside)
    cloud.grant("member", f"projects/{project}", outside)
    tokens = [cloud.login("inside", project=own, user_domain=domain), cloud.login(name, project=project)]
    assert all(map(cloud.valid, tokens))
    cloud.call("PATCH", f"/domains/{domain}", {"domain": {"enabled": False}}, expect=200)
    assert not any(map(cloud.valid, tokens))
    cloud.call("PATCH", f"/domains/{domain}", {"domain": {"enabled": True}}, expect=200)
    assert not any(map(cloud.valid, tokens))


def test_leaving_a_group_and_losing_an_implied_role(cloud: Any) -> None:
    name, project = "of-group", cloud.project()
    user = cloud.user(name)
    group = cloud.group(user)
    cloud.grant("member", f"projects/{project}", group=group)
    token = cloud.login(name, project=project)
    cloud.call("DELETE", f"/groups/{group}/users/{user}", expect=204)
    assert not cloud.valid(token)
    prior, then = cloud.role(), cloud.role()
    cloud.call("PUT", f"/roles/{prior}/implies/{then}", expect=201)
    cloud.grant(prior, f"projects/{project}", user)
    token = cloud.login(name, project=project)
    assert {r["id"] for r in cloud.body(token)["roles"]} == {prior, then}
    cloud.call("DELETE", f"/roles/{prior}/implies/{then}", expect=204)
    assert {r["id"] for r in cloud.body(token)["roles"]} == {prior}
    cloud.call("DELETE", f"/roles/{prior}", expect=204)
    assert not cloud.valid(token)


def test_another_worker_of_this_host_knows_at_once(cloud: Any) -> None:
    """Two processes share a page of memory; here two containers do."""
    other = Identity(cloud.svc.conf)
    name, _, project = cloud.member()
    token = cloud.login(name, project=project)
    assert other.token_cache.validate(token) is not None
    cloud.call("DELETE", "/auth/tokens", token=token, headers={"X-Subject-Token": token}, expect=204)
    assert other.token_cache.validate(token) is None
    other.db.dispose()


def test_tokens_outlive_a_restart_and_revocations_too(cloud: Any) -> None:
    name, _, project = cloud.member()
    kept, ended = cloud.login(name, project=project), cloud.login(name, project=project)
    cloud.call("DELETE", "/auth/tokens", token=ended, headers={"X-Subject-Token": ended}, expect=204)
    restarted = Identity(cloud.svc.conf)
    assert restarted.token_cache.validate(kept) is not None
    assert restarted.token_cache.validate(ended) is None
    restarted.db.dispose()


def test_the_epoch_moves_with_revocations_only(cloud: Any) -> None:
    def epoch() -> str:
        return str(cloud.call("GET", "/OS-REVOKE/epoch", token=None, expect=200).text)

    name, user, project = cloud.member()
    before = epoch()
    cloud.login(name, project=project)
    cloud.grant("reader", f"projects/{project}", user)
    cloud.project()
    assert epoch() == before
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": False}}, expect=200)
    assert int(epoch()) == int(before) + 1
