# SPDX-License-Identifier: Apache-2.0
"""Access rules of application credentials: a token that carries them may make only the calls they name.

A rule names a service by its catalog type, a method and a path in which `*` and `{name}` stand for one part and `**`
for any number. Services that act for the caller (X-Service-Token) are not bound by the caller's rules.
"""

from __future__ import annotations

import functools
import re

from aerie_common.context import Context
from aerie_common.errors import Forbidden


class NotInAccessRules(Forbidden):
    code = "not_in_access_rules"
    template = "The application credential's access rules do not allow {method} {path} of the {service} service."


@functools.lru_cache(maxsize=4096)
def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\{[^/{}]*\})", path)
    words = [{"**": ".*", "*": "[^/]+"}.get(p, "[^/]+") if i % 2 else re.escape(p) for i, p in enumerate(parts)]
    return re.compile("".join(words) + r"\Z")


def check(ctx: Context, service: str, method: str, path: str) -> None:
    """Raise NotInAccessRules unless the caller's token may make this call."""
    rules = ((ctx.token_data or {}).get("application_credential") or {}).get("access_rules")
    if rules is None or "service" in ctx.service_roles:
        return
    for rule in rules:
        if rule["service"] == service and rule["method"] == method and _pattern(rule["path"]).match(path):
            return
    raise NotInAccessRules(method=method, path=path, service=service)
