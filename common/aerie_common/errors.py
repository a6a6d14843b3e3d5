# SPDX-License-Identifier: Apache-2.0
"""Refusals. Each class is one refusal and knows its HTTP status and its stable code; it is raised anywhere and
rendered once, in the dialect of the API that was called (`dialects.py`).

`code` is the machine-readable name that never changes (the Designate API shows it as `type`); the class name is what
the Neutron API shows as `type`. A service adds its own refusals as subclasses in its `errors.py`.
"""

from __future__ import annotations

from typing import Any


class AerieError(Exception):
    """Base of everything a client may be told. `template` is filled with the keyword arguments."""

    status = 500
    code = "internal_error"
    template = "The server could not do what was asked. Give the request id to your operator."
    headers: dict[str, str] = {}

    def __init__(self, message: str | None = None, /, **details: Any) -> None:
        self.details = details
        self.message = message if message is not None else self.template.format(**details)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class BadRequest(AerieError):
    status, code = 400, "bad_request"
    template = "The request is malformed."


class InvalidField(BadRequest):
    """A value that the schema does not allow. `errors` lists path and message of each."""

    code = "invalid_object"
    template = "Invalid input for {path}: {reason}"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)
        self.errors = [{"path": path.split("."), "message": reason}]


class Unauthorized(AerieError):
    status, code = 401, "unauthorized"
    template = "The request you have made requires authentication."


class Forbidden(AerieError):
    status, code = 403, "forbidden"
    template = "You are not allowed to do this."


class PolicyNotAuthorized(Forbidden):
    template = "Policy doesn't allow {action} to be performed."


class NotFound(AerieError):
    status, code = 404, "not_found"
    template = "The resource could not be found."


class MethodNotAllowed(AerieError):
    status, code = 405, "method_not_allowed"
    template = "{method} is not allowed here."


class NotAcceptable(AerieError):
    status, code = 406, "not_acceptable"
    template = "Version {version} is not supported by the API. Minimum is {minimum} and maximum is {maximum}."


class RequestTimeout(AerieError):
    status, code = 408, "request_timeout"
    template = "The request did not come to its end in time."


class Conflict(AerieError):
    status, code = 409, "conflict"
    template = "The request conflicts with the present state."


class Gone(AerieError):
    status, code = 410, "gone"
    template = "This is no longer offered."


class TooLarge(AerieError):
    status, code = 413, "too_large"
    template = "The request is larger than allowed."


class OverQuota(AerieError):
    """Each service's subclass sets the status its API uses (403, 409 or 413)."""

    status, code = 403, "over_quota"
    template = "Quota exceeded."


class UnsupportedMediaType(AerieError):
    status, code = 415, "unsupported_media_type"
    template = "The content type {content_type} is not supported."


class NotImplementedHere(AerieError):
    status, code = 501, "not_implemented"
    template = "This is not available in this cloud."


class BadGateway(AerieError):
    status, code = 502, "bad_gateway"
    template = "A part of the cloud that this needs answered with an error: {reason}"


class ServiceUnavailable(AerieError):
    status, code = 503, "service_unavailable"
    template = "A part of the cloud that this needs does not answer. Try again in a moment."
    headers = {"Retry-After": "5"}
