# SPDX-License-Identifier: Apache-2.0
"""What a whole cloud refuses over plain HTTP: the right status, the error body of the API that was asked, and nothing
changed. Rows that hold for every API come first, then what each of them refuses by its own rules."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import http_corpus
from plain_http import APIS, NOBODY, Api, Cloud


@pytest.fixture(scope="module", autouse=True)
def nothing_changes(cloud: Cloud, things: dict[str, str]) -> Any:
    """Whatever this module tries, the cloud holds afterwards what it held before."""
    cloud.call("network", "GET", "/v2.0/security-groups")  # the default group of a project comes with the first look
    before = cloud.holds()
    yield
    assert cloud.holds() == before


@pytest.fixture(scope="module")
def things(cloud: Cloud) -> Any:
    """A network, subnet, key pair, image, zone and port of the user demo, by whose names refusals are tried."""
    network = cloud.made("network", "/v2.0/networks", {"network": {"name": "r-net"}})["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.91.0.0/24"}
    zone = {"name": "r.example.", "email": "a@example.org"}
    made = {
        "network": network,
        "subnet": cloud.made("network", "/v2.0/subnets", {"subnet": subnet})["subnet"]["id"],
        "port": cloud.made("network", "/v2.0/ports", {"port": {"network_id": network}})["port"]["id"],
        "image": cloud.made("image", "/v2/images", {"name": "r", "disk_format": "raw", "container_format": "bare"})[
            "id"
        ],
        "zone": cloud.made("dns", "/v2/zones", zone)["id"],
        "flavor": cloud.call("compute", "GET", "/v2.1/flavors")[1]["flavors"][0]["id"],
        "guest": cloud.call("image", "GET", "/v2/images?name=aerie-guest")[1]["images"][0]["id"],
        "demo": cloud.projects["demo"],
    }
    cloud.made("compute", "/v2.1/os-keypairs", {"keypair": {"name": "r-key"}})
    yield made
    cloud.call("compute", "DELETE", "/v2.1/os-keypairs/r-key")
    cloud.call("dns", "DELETE", f"/v2/zones/{made['zone']}")
    cloud.call("image", "DELETE", f"/v2/images/{made['image']}")
    cloud.call("network", "DELETE", f"/v2.0/ports/{made['port']}")
    cloud.call("network", "DELETE", f"/v2.0/networks/{network}")


def refused(api: Api, answer: tuple[int, Any], status: int, words: str = "") -> None:
    code, message = api.error(answer[1])
    assert (answer[0], code in (None, status)) == (status, True), answer
    assert words in message, answer


# --------------------------------------------------------------------------------------------- what every API refuses

DEEP = b"[" * 100_000 + b"]" * 100_000
EVERYWHERE: dict[str, tuple[str, str, dict[str, Any], int]] = {
    # name: (method, path with {c} for the collection and {o} for the missing one, what is sent with it, status)
    "no token": ("GET", "{c}", {"who": None}, 401),
    "an empty token": ("GET", "{c}", {"X-Auth-Token": ""}, 401),
    "a garbage token": ("GET", "{c}", {"X-Auth-Token": "gAAAAAB\xff\xfe';--"}, 401),
    "a long token": ("GET", "{c}", {"X-Auth-Token": "a" * 50_000}, 401),
    "a made-up identity": ("GET", "{c}", {"who": None, "X-User-Id": "a", "X-Roles": "admin"}, 401),
    "a stranger with a body": ("POST", "{c}", {"who": None, "body": b"{"}, 401),
    "a stranger nowhere": ("GET", "/no/such/path", {"who": None}, 401),
    "an unknown path": ("GET", "/no/such/path", {}, 404),
    "a path below": ("GET", "{o}/no/such/path", {}, 404),
    "dots": ("GET", "{c}/%2e%2e/%2e%2e/%2e%2e/etc/passwd", {}, 404),
    "plain dots": ("GET", "{c}/../../../etc/passwd", {}, 404),
    "a path that is not UTF-8": ("GET", "{c}/%ff%fe", {}, 400),
    "no such object": ("GET", "{o}", {}, 404),
    "a wrong method": ("PATCH", "{c}", {}, 405),
    "a method of others": ("LOCK", "{c}", {}, 405),
    "no JSON": ("POST", "{c}", {"body": b"{'a': 1}"}, 400),
    "half a JSON": ("POST", "{c}", {"body": b'{"a": '}, 400),
    "JSON of a wrong encoding": ("POST", "{c}", {"body": b'{"name": "\xff\xfe"}'}, 400),
    "half a character": ("POST", "{c}", {"body": b'{"name": "\\ud800"}'}, 400),
    "no number": ("POST", "{c}", {"body": b'{"name": NaN}'}, 400),
    "JSON without a bottom": ("POST", "{c}", {"body": DEEP}, 400),
    "no body": ("POST", "{c}", {}, 400),
    "a list": ("POST", "{c}", {"body": []}, 400),
    "a text": ("POST", "{c}", {"body": "server"}, 400),
    "null": ("POST", "{c}", {"body": b"null"}, 400),
    "another wrapper": ("POST", "{c}", {"body": {"thing": {"name": "a"}}}, 400),
    "two wrappers": ("POST", "{c}", {"wrapped": {"name": "a"}, "also": {"thing": {}}}, 400),
    "an unknown attribute": ("POST", "{c}", {"wrapped": {"name": "a.example.", "\x00": {"b": []}}}, 400),
    "a name that is a number": ("POST", "{c}", {"wrapped": {"name": 5}}, 400),
    "a name that is a list": ("POST", "{c}", {"wrapped": {"name": ["a"]}}, 400),
    "a name without an end": ("POST", "{c}", {"wrapped": {"name": "a" * 70_000}}, 400),
    "too much": ("POST", "{c}", {"body": b" " * (3 << 20)}, 413),
    "XML": ("POST", "{c}", {"body": b"<server/>", "Content-Type": "application/xml"}, 415),
    "a type that is none": ("POST", "{c}", {"body": b"{}", "Content-Type": "\xff/\xfe;;="}, 415),
}  # fmt: skip
ADMINS = {"identity", "placement"}
"""Whose collections only administrators change."""
TAKEN = {("identity", "an unknown attribute")}
"""What an API takes: Keystone keeps what it does not know."""


@pytest.mark.parametrize(
    ("api", "name"), [(api, name) for api in APIS for name in EVERYWHERE if (api, name) not in TAKEN]
)
def test_refused_everywhere(cloud: Cloud, api: str, name: str) -> None:
    _try(cloud, APIS[api], name)


def _try(cloud: Cloud, api: Api, name: str) -> None:
    method, path, sent, status = EVERYWHERE[name]
    sent = dict(sent)
    who = sent.pop("who", "admin" if api.type in ADMINS else "demo")
    headers = {"X-Auth-Token": cloud.tokens[who]} if who else {}
    body = sent.pop("body", None)
    if "wrapped" in sent:
        body = sent.pop("wrapped")
        body = {api.key: body, **sent.pop("also", {})} if api.key else {**body, **sent.pop("also", {})}
    headers |= sent
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    found = cloud.send(api.type, method, path.format(c=api.collection, o=api.one), headers, raw)
    refused(api, found[:2], status)
    assert found[2]["X-Openstack-Request-Id"].startswith("req-")
    if status == 401:
        assert "Keystone uri=" in found[2]["WWW-Authenticate"]
    if status == 405:
        assert method not in found[2]["Allow"] and "GET" in found[2]["Allow"]


# ---------------------------------------------------------------------------------------------- what each one refuses

SERVER = {"name": "x", "flavorRef": "{flavor}", "networks": "none"}
V = "X-OpenStack-Nova-API-Version"
HUGE = "9" * 4000
ROWS: list[tuple[str, str | None, str, str, Any, dict[str, str], int, str]] = [
    # (api, who, method, path, body, headers, status, words); {names} are those of `things`
    ("identity", "demo", "POST", "/v3/projects", {"project": {"name": "x"}}, {}, 403, ""),
    ("identity", "demo", "GET", "/v3/users", None, {}, 403, ""),
    # Keystone tells only those who may see any project that there is none; others learn nothing from the answer.
    ("identity", "demo", "GET", "/v3/projects/{nobody}", None, {}, 403, ""),
    ("identity", "admin", "GET", "/v3/projects/{nobody}", None, {}, 404, ""),
    ("identity", "stranger", "GET", "/v3/projects/{demo}", None, {}, 403, ""),
    ("identity", "stranger", "PATCH", "/v3/projects/{demo}", {"project": {"name": "mine"}}, {}, 403, ""),
    ("identity", "stranger", "DELETE", "/v3/projects/{demo}", None, {}, 403, ""),
    ("identity", "admin", "POST", "/v3/projects", {"project": {"name": "demo"}}, {}, 409, "demo"),
    ("identity", "admin", "POST", "/v3/users", {"user": {"name": "demo"}}, {}, 409, "demo"),
    ("identity", "admin", "POST", "/v3/roles", {"role": {"name": "member"}}, {}, 409, "member"),
    ("identity", "admin", "POST", "/v3/users", {"user": {"name": "x", "enabled": "yes"}}, {}, 400, "enabled"),
    ("identity", "admin", "POST", "/v3/users", {"user": {"name": "x", "domain_id": "nowhere"}}, {}, 404, ""),
    ("identity", "admin", "GET", "/v3/projects?limit=-1", None, {}, 400, "limit"),
    ("identity", None, "POST", "/v3/auth/tokens", {"auth": {}}, {}, 400, ""),
    ("identity", None, "POST", "/v3/auth/tokens", {"auth": {"identity": {"methods": ["guess"]}}}, {}, 401, ""),
    ("identity", None, "POST", "/v3/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": {
        "name": "demo", "domain": {"id": "default"}, "password": "wrong"}}}}}, {}, 401, ""),
    ("identity", None, "POST", "/v3/auth/tokens",
     {"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}}}, {},
     401, ""),
    ("image", "demo", "GET", "/v2/images?limit=-1", None, {}, 400, "limit"),
    ("image", "demo", "GET", "/v2/images?limit=x", None, {}, 400, "limit"),
    ("image", "demo", "GET", "/v2/images?marker={nobody}", None, {}, 400, ""),
    ("image", "demo", "GET", "/v2/images?sort_key=__class__", None, {}, 400, "Sort"),
    ("image", "demo", "GET", "/v2/images?created_at=0001-01-01T00:00:00%2B14:00", None, {}, 400, "time"),
    ("image", "demo", "POST", "/v2/images", {"id": "{image}", "name": "x"}, {}, 409, ""),
    ("image", "demo", "POST", "/v2/images", {"id": "no-uuid"}, {}, 400, "id"),
    ("image", "demo", "POST", "/v2/images", {"disk_format": "floppy"}, {}, 400, "disk_format"),
    ("image", "demo", "POST", "/v2/images", {"min_ram": -1}, {}, 400, "min_ram"),
    ("image", "demo", "POST", "/v2/images", {"min_disk": 1 << 40}, {}, 400, "min_disk"),
    ("image", "demo", "POST", "/v2/images", {"visibility": "public"}, {}, 403, ""),
    ("image", "demo", "POST", "/v2/images", {"owner": "{nobody}"}, {}, 403, ""),
    ("image", "demo", "POST", "/v2/images", {"p" * 256: "x"}, {}, 400, "255"),
    ("image", "demo", "POST", "/v2/images", {"tags": ["t" * 256]}, {}, 400, "tags"),
    ("image", "demo", "PUT", "/v2/images/{image}/tags/" + "t" * 256, None, {}, 400, "255"),
    ("image", "stranger", "GET", "/v2/images/{image}", None, {}, 404, ""),
    ("image", "stranger", "DELETE", "/v2/images/{image}", None, {}, 404, ""),
    ("image", "stranger", "PUT", "/v2/images/{image}/file",
     b"x", {"Content-Type": "application/octet-stream"}, 404, ""),
    ("image", "demo", "PUT", "/v2/images/{image}/file", b"x", {"Content-Type": "application/json"}, 415, ""),
    ("image", "demo", "PATCH", "/v2/images/{image}", [{"op": "replace", "path": "/name", "value": "x"}], {}, 415, ""),
    ("compute", "demo", "GET", "/v2.1/servers", None, {V: "2.999"}, 406, "2.999"),
    ("compute", "demo", "GET", "/v2.1/servers", None, {V: "two"}, 400, "two"),
    ("compute", "demo", "GET", "/v2.1/servers", None, {V: "3.0"}, 406, "3.0"),
    ("compute", "demo", "GET", "/v2.1/servers?limit=-1", None, {}, 400, "limit"),
    ("compute", "demo", "GET", "/v2.1/servers?limit=" + HUGE + "x", None, {}, 400, "limit"),
    ("compute", "demo", "GET", "/v2.1/servers?marker={nobody}", None, {}, 400, "marker"),
    ("compute", "demo", "GET", "/v2.1/servers?changes-since=9999-12-31T23:59:59-01:00", None, {}, 400, "changes-since"),
    ("compute", "demo", "GET", "/v2.1/servers?sort_key=user_data", None, {}, 400, ""),
    ("compute", "demo", "POST", "/v2.1/servers",
     {"server": {**SERVER, "flavorRef": "{nobody}"}}, {V: "2.37"}, 400, "lavor"),
    ("compute", "demo", "POST", "/v2.1/servers",
     {"server": {**SERVER, "imageRef": "{nobody}"}}, {V: "2.37"}, 400, "mage"),
    ("compute", "demo", "POST", "/v2.1/servers",
     {"server": {**SERVER, "imageRef": "{image}", "networks": [{"uuid": "{nobody}"}]}}, {}, 400, ""),
    ("compute", "stranger", "POST", "/v2.1/servers",
     {"server": {**SERVER, "imageRef": "{image}", "networks": [{"uuid": "{network}"}]}}, {}, 400, ""),
    ("compute", "demo", "POST", "/v2.1/servers",
     {"server": {**SERVER, "imageRef": "{image}", "min_count": "999999"}}, {V: "2.37"}, 400, "min_count"),
    ("compute", "demo", "POST", "/v2.1/servers", {"server": {**SERVER, "name": "\x00"}}, {V: "2.37"}, 400, "name"),
    ("compute", "demo", "POST", "/v2.1/os-keypairs", {"keypair": {"name": "r-key"}}, {}, 409, "r-key"),
    ("compute", "demo", "POST", "/v2.1/os-keypairs", {"keypair": {"name": "a\nb"}}, {}, 400, "name"),
    ("compute", "demo", "POST", "/v2.1/os-keypairs", {"keypair": {"name": "x", "public_key": "none"}}, {}, 400, ""),
    ("compute", "demo", "POST", "/v2.1/flavors",
     {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 1}}, {}, 403, ""),
    ("compute", "admin", "POST", "/v2.1/flavors", {"flavor": {"name": "x", "ram": 1, "vcpus": "-5", "disk": 1}}, {},
     400, "vcpus"),
    ("compute", "admin", "POST", "/v2.1/flavors", {"flavor": {"name": "x", "ram": HUGE, "vcpus": 1, "disk": 1}}, {},
     400, "ram"),
    ("compute", "admin", "POST", "/v2.1/flavors",
     {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 1, "rxtx_factor": HUGE}}, {}, 400, "rxtx_factor"),
    ("compute", "stranger", "GET", "/v2.1/os-keypairs/r-key", None, {}, 404, ""),
    ("compute", "demo", "POST", "/v2.1/servers/{nobody}/action", {"reboot": {"type": "SOFT"}}, {}, 404, ""),
    ("compute", "demo", "POST", "/v2.1/servers/{nobody}/action", {"fly": {}}, {}, 400, "fly"),
    ("compute", "demo", "POST", "/v2.1/servers/{nobody}/action",
     {"reboot": {"type": "SOFT"}, "pause": None}, {}, 400, ""),
    ("compute", "demo", "PUT", "/v2.1/os-quota-sets/{demo}", {"quota_set": {"cores": -1}}, {}, 403, ""),
    ("compute", "admin", "PUT", "/v2.1/os-quota-sets/{demo}", {"quota_set": {"cores": HUGE}}, {}, 400, "cores"),
    ("placement", "demo", "GET", "/resource_providers", None, {}, 403, ""),
    ("placement", "admin", "GET", "/resource_providers", None, {"OpenStack-API-Version": "placement 9.9"}, 406, "9.9"),
    ("network", "demo", "POST", "/v2.0/networks", {"network": {"name": "x", "shared": True}}, {}, 403, ""),
    ("network", "demo", "POST", "/v2.0/networks", {"network": {"project_id": "{nobody}"}}, {}, 400, "admin"),
    ("network", "demo", "POST", "/v2.0/networks", {"network": {"mtu": "-5"}}, {}, 400, "mtu"),
    ("network", "demo", "POST", "/v2.0/networks",
     {"network": {"admin_state_up": "perhaps"}}, {}, 400, "admin_state_up"),
    ("network", "demo", "GET", "/v2.0/networks?limit=x", None, {}, 400, "limit"),
    ("network", "demo", "GET", "/v2.0/networks?colour=red", None, {}, 400, "colour"),
    ("network", "demo", "GET", "/v2.0/networks?marker={nobody}", None, {}, 404, ""),
    ("network", "admin", "GET", "/v2.0/agents?alive=perhaps", None, {}, 400, "alive"),
    ("network", "admin", "PUT", "/v2.0/quotas/{demo}", {"quota": {"port": "many"}}, {}, 400, "port"),
    ("network", "admin", "PUT", "/v2.0/quotas/{demo}", {"quota": {"port": "-2"}}, {}, 400, "port"),
    ("network", "demo", "PUT", "/v2.0/quotas/{demo}", {"quota": {"port": -1}}, {}, 403, ""),
    ("network", "stranger", "GET", "/v2.0/networks/{network}", None, {}, 404, ""),
    ("network", "stranger", "DELETE", "/v2.0/networks/{network}", None, {}, 404, ""),
    ("network", "stranger", "PUT", "/v2.0/ports/{port}", {"port": {"name": "mine"}}, {}, 404, ""),
    ("network", "stranger", "POST", "/v2.0/ports", {"port": {"network_id": "{network}"}}, {}, 404, ""),
    ("network", "demo", "DELETE", "/v2.0/networks/{network}", None, {}, 409, "in use"),
    ("network", "demo", "POST", "/v2.0/ports", {"port": {"network_id": "{nobody}"}}, {}, 404, ""),
    ("network", "demo", "POST", "/v2.0/ports",
     {"port": {"network_id": "{network}", "fixed_ips": [{"ip_address": "10.92.0.1"}]}}, {}, 400, "10.92.0.1"),
    ("network", "demo", "POST", "/v2.0/ports",
     {"port": {"network_id": "{network}", "mac_address": "zz"}}, {}, 400, "zz"),
    ("network", "demo", "POST", "/v2.0/subnets",
     {"subnet": {"network_id": "{network}", "ip_version": 4, "cidr": "10.91.0.0/25"}}, {}, 400, "overlap"),
    ("network", "demo", "POST", "/v2.0/subnets",
     {"subnet": {"network_id": "{network}", "ip_version": 5, "cidr": "10.93.0.0/25"}}, {}, 400, "ip_version"),
    ("network", "demo", "POST", "/v2.0/subnets",
     {"subnet": {"network_id": "{network}", "ip_version": 4, "cidr": "10.93.0.0/99"}}, {}, 400, "10.93.0.0/99"),
    ("network", "demo", "POST", "/v2.0/security-groups", {"security_group": {"name": "default"}}, {}, 409, ""),
    ("network", "demo", "POST", "/v2.0/floatingips", {"floatingip": {"floating_network_id": "{network}"}}, {}, 400, ""),
    ("network", "admin", "POST", "/v2.0/default-security-group-rules", {"default_security_group_rule": {
        "direction": "ingress", "remote_group_id": "{nobody}"}}, {}, 404, ""),
    ("dns", "demo", "POST", "/v2/zones", {"name": "r.example.", "email": "a@example.org"}, {}, 409, ""),
    ("dns", "demo", "POST", "/v2/zones", {"name": "no-dot", "email": "a@example.org"}, {}, 400, ""),
    ("dns", "demo", "POST", "/v2/zones", {"name": "a..b.", "email": "a@example.org"}, {}, 400, ""),
    ("dns", "demo", "POST", "/v2/zones", {"name": "x.example.", "email": "nobody"}, {}, 400, ""),
    ("dns", "demo", "POST", "/v2/zones", {"name": "x.example.", "email": "a@example.org", "ttl": -1}, {}, 400, ""),
    ("dns", "demo", "POST", "/v2/zones/{zone}/recordsets",
     {"name": "w.r.example.", "type": "A", "records": ["::1"]}, {},
     400, ""),
    ("dns", "demo", "POST", "/v2/zones/{zone}/recordsets",
     {"name": "w.other.", "type": "A", "records": ["192.0.2.1"]}, {},
     400, ""),
    ("dns", "demo", "GET", "/v2/zones?limit=0", None, {}, 400, "limit"),
    ("dns", "demo", "GET", "/v2/zones?marker=x", None, {}, 400, "marker"),
    ("dns", "demo", "GET", "/v2/zones/no-uuid", None, {}, 400, "no-uuid"),
    ("dns", "stranger", "GET", "/v2/zones/{zone}", None, {}, 404, ""),
    ("dns", "stranger", "DELETE", "/v2/zones/{zone}", None, {}, 404, ""),
    ("dns", "stranger", "POST", "/v2/zones", {"name": "sub.r.example.", "email": "a@example.org"}, {}, 403, ""),
]  # fmt: skip


def _filled(value: Any, things: dict[str, str]) -> Any:
    """The value with {names} replaced."""
    if isinstance(value, str):
        for name, found in {**things, "nobody": NOBODY}.items():
            value = value.replace("{" + name + "}", found)
        return value
    if isinstance(value, dict):
        return {key: _filled(inner, things) for key, inner in value.items()}
    return [_filled(inner, things) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row[0]} {row[1]} {row[2]} {row[3]} {str(row[4])[:60]} {row[6]}"[:110]
)
def test_refused(cloud: Cloud, things: dict[str, str], row: Any) -> None:
    api, who, method, path, body, headers, status, words = row
    raw = body if body is None or isinstance(body, bytes) else json.dumps(_filled(body, things)).encode()
    token = {"X-Auth-Token": cloud.tokens[who]} if who else {}
    found = cloud.send(api, method, _filled(path, things), {**token, **headers}, raw)
    refused(APIS[api], found[:2], status, words)


def _as_before(limit: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The limits that a change names, as they were (and its wish to be below what is used, which is no limit)."""
    return {k: _as_before(v, before[k]) if isinstance(v, dict) else before.get(k, v) for k, v in limit.items()}


def test_over_quota(cloud: Cloud, things: dict[str, str]) -> None:
    """Nothing may be made beyond a quota, each API in its own way."""
    project = things["demo"]
    one = {"server": {"name": "x", "flavorRef": things["flavor"], "imageRef": things["guest"], "networks": "none"}}
    rows = [
        ("compute", f"/v2.1/os-quota-sets/{project}", {"quota_set": {"key_pairs": 0, "force": True}},
         "/v2.1/os-keypairs", {"keypair": {"name": "x"}}, 403),
        ("compute", f"/v2.1/os-quota-sets/{project}", {"quota_set": {"instances": 0, "force": True}}, "/v2.1/servers",
         one, 403),
        ("network", f"/v2.0/quotas/{project}", {"quota": {"network": 0}}, "/v2.0/networks", {"network": {}}, 409),
        ("dns", f"/v2/quotas/{project}", {"zones": 0}, "/v2/zones", {"name": "q.example.", "email": "a@b.org"}, 413),
    ]  # fmt: skip
    for api, quota, limit, path, body, status in rows:
        method = "PATCH" if api == "dns" else "PUT"
        before = cloud.call(api, "GET", quota, who="admin")[1]
        assert cloud.call(api, method, quota, limit, who="admin")[0] == 200
        found = cloud.call(api, "POST", path, body, X_OpenStack_Nova_API_Version="2.37")
        assert cloud.call(api, method, quota, _as_before(limit, before), who="admin")[0] == 200
        refused(APIS[api], found, status, "")


def test_a_revoked_token_is_refused_everywhere(cloud: Cloud, clouds_yaml: Path) -> None:
    cloud.log_in("revoked", "stranger", "stranger-secret", "refused")
    token = cloud.tokens["revoked"]
    assert cloud.call("compute", "GET", "/v2.1/servers", who="revoked")[0] == 200
    assert cloud.call("identity", "DELETE", "/v3/auth/tokens", who="revoked", X_Subject_Token=token)[0] == 204
    time.sleep(1.0)
    for api in APIS.values():
        refused(api, cloud.call(api.type, "GET", api.collection, who="revoked"), 401)


@pytest.mark.parametrize("api", APIS)
def test_repeated_and_odd_queries_are_no_accident(cloud: Cloud, api: str) -> None:
    """Taken or refused, but understood."""
    path = APIS[api].collection
    for query in ("limit=1&limit=2", "name=a&name=b&name=%00", "%00=1", "a=%ff", "=", "&&&", "limit=" + HUGE,
                  "name=" + "%F0%9F%98%80" * 300, "name=%27%20OR%201=1--", "sort_key=id&sort_key=id&sort_dir=desc",
                  "marker=%00", "page_reverse=perhaps", "fields=%00&fields=id"):  # fmt: skip
        status, body = cloud.call(api, "GET", f"{path}?{query}", who="admin")
        assert status in (200, 400, 404), (query, status, body)
        if status != 200:
            APIS[api].error(body)


@pytest.mark.parametrize("api", APIS.values(), ids=list(APIS))
def test_what_is_no_http(cloud: Cloud, api: Api) -> None:
    """Refused in the words of the API, and the connection ends, though no operation has seen it."""
    port = int(cloud.hosts[api.type].rpartition(":")[2])
    token = f"X-Auth-Token: {cloud.tokens['admin']}".encode()
    post = b"POST " + api.collection.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + token
    for sent in (
        http_corpus.get(token, host=b""),
        http_corpus.get(token, b"Host: b"),
        http_corpus.get(token, b"X-A : b"),
        http_corpus.get(token, target=b"/a%00b"),
        post + b"\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
        post + b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ):
        found, got, closed = http_corpus.exchange(port, sent + http_corpus.HIDDEN, 2, 60)
        assert (found, closed) == ([400], True), (sent, got)
        head, _, body = got.partition(b"\r\n\r\n")
        refused(api, (400, json.loads(body)), 400)
        assert b"\r\nContent-Type: application/json\r\n" in head and b"\r\nX-Openstack-Request-Id: req-" in head


@pytest.mark.parametrize("api", APIS.values(), ids=list(APIS))
def test_odd_paths_and_headers_are_no_accident(cloud: Cloud, api: Api) -> None:
    port = int(cloud.hosts[api.type].rpartition(":")[2])
    token = f"X-Auth-Token: {cloud.tokens['admin']}".encode()
    one = api.one.rpartition("/")[0].encode()
    for target in (b"/%ff", b"/%2e%2e/%2e%2e/etc/passwd", b"/%2f", b"/%0d%0aSet-Cookie:a", b"/%00", b"/\xff"):
        found, got, _ = http_corpus.exchange(port, http_corpus.get(token, target=one + target), 1, 60)
        assert found in ([400], [404]), (target, got)
        api.error(json.loads(got.partition(b"\r\n\r\n")[2]))
    for header in (b"X-Auth-Token: \xff\xfe", b"X-Auth-Token: " + b"x" * 20_000, b"X-Auth-Token:"):
        found, got, _ = http_corpus.exchange(port, http_corpus.get(header, target=api.collection.encode()), 1, 60)
        assert found == [401], (header, got)
