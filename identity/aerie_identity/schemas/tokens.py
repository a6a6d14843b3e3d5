# SPDX-License-Identifier: Apache-2.0
"""Bodies of authentication requests."""

from aerie_common import schema

_DOMAIN = schema.obj({"id": schema.string(), "name": schema.string()}, extra=True)
_USER = {"id": schema.string(), "name": schema.string(), "domain": _DOMAIN}
_PROJECT = schema.obj({"id": schema.string(), "name": schema.string(), "domain": _DOMAIN}, extra=True)

AUTH = schema.obj({
    "auth": schema.obj({
        "identity": schema.obj({
            "methods": schema.array(schema.string()),
            "password": schema.obj({
                "user": schema.obj({**_USER, "password": schema.string(0, 4096)}, ["password"], extra=True),
            }, ["user"], extra=True),
            "token": schema.obj({"id": schema.string(0, 4096)}, ["id"], extra=True),
            "application_credential": schema.obj({
                "id": schema.string(), "name": schema.string(), "secret": schema.string(0, 4096),
                "user": schema.obj(_USER, extra=True),
            }, ["secret"], extra=True),
            "totp": schema.obj({
                "user": schema.obj({**_USER, "passcode": schema.string(0, 32)}, ["passcode"], extra=True),
            }, ["user"], extra=True),
        }, ["methods"], extra=True),
        "scope": schema.any_of(
            schema.enum("unscoped"),
            schema.obj({
                "project": _PROJECT,
                "domain": _DOMAIN,
                "system": schema.obj({"all": schema.boolean()}, extra=True),
                "OS-TRUST:trust": schema.obj({"id": schema.string()}, ["id"], extra=True),
                "unscoped": schema.anything(),
            }),
        ),
    }, ["identity"], extra=True),
}, ["auth"], extra=True)  # fmt: skip
