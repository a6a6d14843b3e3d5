# SPDX-License-Identifier: Apache-2.0
"""Refusals of the identity service."""

from __future__ import annotations

from aerie_common.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized


class Missing(NotFound):
    """Something that was named does not exist."""

    template = "Could not find {noun}: {id}."

    def __init__(self, noun: str, id: str) -> None:
        super().__init__(noun=noun, id=id)


class Duplicate(Conflict):
    """A name that must be unique is taken."""

    code = "duplicate"
    template = "Conflict occurred attempting to store {noun} - Duplicate entry found with {key} {value}."

    def __init__(self, noun: str, value: str, key: str = "name") -> None:
        super().__init__(noun=noun, value=value, key=key)


class ImmutableResource(Forbidden):
    code = "immutable"
    template = "Could not change {noun} {id}: it is immutable."


class StillEnabled(Forbidden):
    code = "still_enabled"
    template = "Cannot delete a domain that is enabled, please disable it first."


class ReadOnlyDirectory(Forbidden):
    code = "read_only_directory"
    template = "LDAP does not support write operations: change the users and groups of this domain in its directory."


class PasswordRefused(BadRequest):
    code = "password_refused"
    template = "The password does not match the requirements: {reason}."


class PasswordExpired(Unauthorized):
    code = "password_expired"
    template = "The password is expired and needs to be changed for user: {user_id}."


class LimitReached(Forbidden):
    code = "limit_reached"
    template = "Unable to create additional {noun}: the limit of {limit} is reached."


class BadScope(BadRequest):
    code = "bad_scope"
    template = "The scope is malformed."


class AuthMethodUnknown(Unauthorized):
    code = "auth_method_unknown"
    template = "Attempted to authenticate with an unsupported method."
