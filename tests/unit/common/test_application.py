# SPDX-License-Identifier: Apache-2.0
"""The HTTP framework: what an operation's row alone makes happen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import webob

from aerie_common import config, dialects, policy, schema
from aerie_common.application import Application
from aerie_common.context import Context
from aerie_common.errors import Conflict, NotFound
from aerie_common.fields import Field, Resource
from aerie_common.http import Reply, Request
from aerie_common.listing import ListStyle
from aerie_common.microversions import Microversions
from aerie_common.operations import Operation, Table
from aerie_common.policy import Policy

COLOUR = Resource(
    "colour",
    "colours",
    [
        Field("id", schema.string(), filter=True),
        Field("name", schema.name(), create="required", update=True, filter=True, sort=True),
        Field("shade", schema.integer(0, 9), create=True, default=5, since="2.5"),
        Field("secret", schema.string(), show=False),
    ],
)


def list_(req: Request) -> Any:
    """List colours."""
    return {"colours": [], "seen": {k: list(v) for k, v in req.listing.filters.items()}, "sort": list(req.listing.sort)}


def create(req: Request) -> Any:
    """Make a colour."""
    values = COLOUR.values(req.body["colour"], with_defaults=True)
    row = SimpleNamespace(id="1", secret="x", **values)
    return Reply({"colour": COLOUR.show(row, req.ctx, req.version)}, headers=[("Location", req.url + "/1")])


def show(req: Request, colour_id: str) -> Any:
    """Show a colour."""
    if colour_id == "boom":
        raise RuntimeError("a mistake")
    raise NotFound(f"Colour {colour_id} could not be found.")


def fade(req: Request, colour_id: str) -> None:
    """Fade a colour."""
    raise Conflict("It is faded already.")


def versions(req: Request) -> Any:
    """Say which versions there are."""
    return {"versions": [req.base_url]}


TABLE = Table(
    "compute",
    [
        Operation("GET", "/", versions, None),
        Operation("GET", "/v2.1/colours", list_, "colours:list", policy.PROJECT_READER, filters=COLOUR),
        Operation("POST", "/v2.1/colours", create, "colours:create", policy.PROJECT_MEMBER, request=COLOUR,
                  verb="create", status=201, reply=COLOUR),
        Operation("GET", "/v2.1/colours/{colour_id}", show, "colours:show", policy.PROJECT_READER),
        Operation("POST", "/v2.1/colours/{colour_id}/action", fade, "colours:fade", policy.PROJECT_MEMBER,
                  action="fade", request=schema.obj({"fade": {"type": "null"}}), status=202),
    ],
    dialect=dialects.nova,
    versions=Microversions("compute", (2, 1), (2, 96), "X-OpenStack-Nova-API-Version"),
    style=ListStyle(unknown="refuse", max_limit=100),
    prefixes=("/compute",),
)  # fmt: skip


class App:
    def __init__(self) -> None:
        conf = config.load(config.new(), [])
        conf.set_override("response_validation", "error", group="api")
        self.svc = SimpleNamespace(
            conf=conf, table=TABLE, policy=Policy(conf, TABLE.policy_rules()), auth_uri="http://id/v3"
        )
        self.wsgi = Application(self.svc)

    def call(
        self, method: str, path: str, body: Any = None, roles: tuple[str, ...] = ("member", "reader"), **headers: str
    ) -> Any:
        request = webob.Request.blank(path, method=method)
        if body is not None:
            request.body = body if isinstance(body, bytes) else orjson.dumps(body)
            request.content_type = "application/json"
        for name, value in headers.items():
            request.headers[name.replace("_", "-")] = value
        request.environ["aerie.context"] = Context(user_id="u" if roles else None, project_id="p", roles=roles)
        return request.get_response(self.wsgi)


@pytest.fixture(scope="module")
def app() -> App:
    return App()


def test_create_fills_defaults_and_shows_only_what_the_version_knows(app: App) -> None:
    old = app.call("POST", "/v2.1/colours", {"colour": {"name": "red"}})
    assert (old.status_int, old.json) == (201, {"colour": {"id": "1", "name": "red"}})
    assert old.headers["Location"] == "http://localhost/v2.1/colours/1"
    new = app.call("POST", "/v2.1/colours", {"colour": {"name": "red"}}, OpenStack_API_Version="compute 2.5")
    assert new.json["colour"]["shade"] == 5
    assert new.headers["OpenStack-API-Version"] == "compute 2.5"
    assert new.headers["X-OpenStack-Nova-API-Version"] == "2.5"


def test_a_field_of_a_later_version_is_refused_before_it(app: App) -> None:
    reply = app.call("POST", "/v2.1/colours", {"colour": {"name": "red", "shade": 1}})
    assert reply.status_int == 400 and "shade" in reply.json["badRequest"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"colour": {}},
        {"colour": {"name": ""}},
        {"colour": {"name": 7}},
        {"colour": {"name": "a\nb"}},
        b"{",
        b"\xff",
    ],
)
def test_bad_bodies_are_refused_in_the_dialect(app: App, body: Any) -> None:
    reply = app.call("POST", "/v2.1/colours", body)
    assert reply.status_int == 400 and reply.json["badRequest"]["code"] == 400


def test_versions_are_negotiated(app: App) -> None:
    assert app.call("GET", "/v2.1/colours", OpenStack_API_Version="compute 9.9").status_int == 406
    assert app.call("GET", "/v2.1/colours", OpenStack_API_Version="compute x").status_int == 400
    assert app.call("GET", "/v2.1/colours", OpenStack_API_Version="volume 3.1").status_int == 200
    latest = app.call("GET", "/v2.1/colours", X_OpenStack_Nova_API_Version="latest")
    assert latest.headers["OpenStack-API-Version"] == "compute 2.96"


def test_no_token_no_role_no_path(app: App) -> None:
    stranger = app.call("GET", "/v2.1/colours", roles=())
    assert stranger.status_int == 401 and stranger.headers["WWW-Authenticate"] == 'Keystone uri="http://id/v3"'
    assert app.call("GET", "/nowhere", roles=()).status_int == 401
    assert app.call("GET", "/", roles=()).status_int == 200
    refused = app.call("POST", "/v2.1/colours", {"colour": {"name": "red"}}, roles=("reader",))
    assert refused.status_int == 403 and "colours:create" in refused.json["forbidden"]["message"]
    assert app.call("GET", "/nowhere").status_int == 404
    wrong = app.call("DELETE", "/v2.1/colours")
    assert wrong.status_int == 405 and wrong.headers["Allow"] == "GET, POST"


def test_prefix_and_links(app: App) -> None:
    assert app.call("GET", "/compute/").json == {"versions": ["http://localhost/compute"]}


def test_names_in_paths_are_utf_8(app: App) -> None:
    reply = app.call("GET", "/v2.1/colours/%D0%BA%D1%80%D0%B0%D1%81%D0%BD%D1%8B%D0%B9")
    assert reply.json["itemNotFound"]["message"] == "Colour красный could not be found."
    assert app.call("GET", "/v2.1/colours/%FF%FE").status_int == 400


@pytest.mark.parametrize("limit", ["-1", "x", "", "1_0", "%D9%A3", "1.0", "+1", "%201"])
def test_limits_that_are_none(app: App, limit: str) -> None:
    assert app.call("GET", f"/v2.1/colours?limit={limit}").status_int == 400


def test_a_huge_limit_is_the_largest(app: App) -> None:
    assert app.call("GET", "/v2.1/colours?limit=" + "9" * 5000).status_int == 200


def test_lists_know_their_filters(app: App) -> None:
    reply = app.call("GET", "/v2.1/colours?name=a&name=b&sort_key=name&sort_dir=desc&limit=5")
    assert reply.json["seen"] == {"name": ["a", "b"]} and reply.json["sort"] == [["name", "desc"]]
    assert app.call("GET", "/v2.1/colours?size=1").status_int == 400
    assert app.call("GET", "/v2.1/colours?limit=x").status_int == 400
    assert app.call("GET", "/v2.1/colours?sort_key=id").status_int == 400


def test_actions_are_chosen_by_the_bodys_key(app: App) -> None:
    assert app.call("POST", "/v2.1/colours/1/action", {"fade": None}).status_int == 409
    assert app.call("POST", "/v2.1/colours/1/action", {"paint": None}).status_int == 400
    assert app.call("POST", "/v2.1/colours/1/action", {"fade": None, "more": 1}).status_int == 400
    assert app.call("POST", "/v2.1/colours/1/action", {"fade": 1}).status_int == 400


def test_a_mistake_of_ours_is_500_without_details(app: App) -> None:
    reply = app.call("GET", "/v2.1/colours/boom")
    assert reply.status_int == 500 and "a mistake" not in reply.text and reply.json["computeFault"]["code"] == 500


def test_too_large_a_body(app: App) -> None:
    assert app.call("POST", "/v2.1/colours", {"colour": {"name": "x" * (2 << 20)}}).status_int == 413


def test_unknown_schema_keyword_is_an_error() -> None:
    with pytest.raises(ValueError, match="additonalProperties"):
        schema.compile_schema({"type": "object", "additonalProperties": False})


def test_the_same_row_twice_is_an_error() -> None:
    row = Operation("GET", "/x", show, None)
    with pytest.raises(ValueError, match="twice"):
        Table("x", [row, row], dialect=dialects.nova)
