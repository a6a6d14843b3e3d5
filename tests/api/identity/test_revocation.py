# SPDX-License-Identifier: Apache-2.0
"""OSSA-2016-005, 2016-008, 2014-026, 2013-011: what ends a token ends it everywhere, within a second, and for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aerie_common import config
from aerie_common.auth import TokenCache
from aerie_common.clients import RemoteTokens, ServiceClients
from aerie_common.serving import HttpServer
from aerie_identity.container import Identity


@pytest.fixture(scope="module")
def other_service(cloud: Any) -> Iterator[TokenCache]:
    """The token cache of another service, which asks the identity API over HTTP."""
    server = HttpServer(cloud.app, ("127.0.0.1", 0))
    server.start()
    values = {
        ("keystone_authtoken", "auth_url"): f"http://127.0.0.1:{server.port}/v3",
        ("keystone_authtoken", "username"): "compute",
        ("keystone_authtoken", "password"): "service-pw",
    }
    conf = config.load(config.new(), [], values)
    yield TokenCache(RemoteTokens(ServiceClients(conf)))
    server.stop()


def _password(cloud: Any, user: str, project: str, grant: str) -> None:
    cloud.call("PATCH", f"/users/{user}", {"user": {"password": "other"}}, expect=200)


def _own_password(cloud: Any, user: str, project: str, grant: str) -> None:
    body = {"user": {"original_password": "pw", "password": "other"}}
    cloud.call("POST", f"/users/{user}/password", body, token=None, expect=204)


def _disable_user(cloud: Any, user: str, project: str, grant: str) -> None:
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": False}}, expect=200)


def _delete_user(cloud: Any, user: str, project: str, grant: str) -> None:
    cloud.call("DELETE", f"/users/{user}", expect=204)


def _disable_project(cloud: Any, user: str, project: str, grant: str) -> None:
    cloud.call("PATCH", f"/projects/{project}", {"project": {"enabled": False}}, expect=200)


def _delete_project(cloud: Any, user: str, project: str, grant: str) -> None:
    cloud.call("DELETE", f"/projects/{project}", expect=204)


def _remove_role(cloud: Any, user: str, project: str, grant: str) -> None:
    cloud.call("DELETE", grant, expect=204)


EVENTS = [_password, _own_password, _disable_user, _delete_user, _disable_project, _delete_project, _remove_role]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.__name__.strip("_"))
def test_every_service_refuses_within_a_second(
    cloud: Any, other_service: TokenCache, event: Callable[..., None]
) -> None:
    name = f"ends-by-{event.__name__}"
    user, project = cloud.user(name), cloud.project()
    grant = cloud.grant("member", f"projects/{project}", user)
    token = cloud.login(name, project=project)
    body = other_service.validate(token)
    assert body is not None and body["user"]["id"] == user
    event(cloud, user, project, grant)
    assert not cloud.valid(token)
    time.sleep(1)
    assert other_service.validate(token) is None


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
