# SPDX-License-Identifier: Apache-2.0
"""Log lines: `TIME PID LEVEL module [request-id user project] text`, to standard error or a file.

Secrets never reach a line: what looks like a password or token value is masked here as the last resort.
"""

from __future__ import annotations

import logging
import logging.handlers
import re

from oslo_config import cfg

from aerie_common import context

_SECRET = re.compile(
    r"""((?:["']?(?:password|adminPass|admin_pass|secret|auth_token|x-auth-token|x-subject-token|signature)["']?)"""
    r"""\s*[:=]\s*["']?)([^"'\s,}&]+)""",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^:/@\s]+:)[^@\s]+@")


def mask(text: str) -> str:
    """The text with values of passwords, tokens and secrets replaced by ***."""
    if "://" in text:
        text = _URL_PASSWORD.sub(r"\1***@", text)
    return _SECRET.sub(r"\1***", text)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        ctx = context.current()
        record.who = f"[{ctx.request_id} {ctx.user_name or '-'} {ctx.project_name or '-'}]" if ctx else "[-]"
        return mask(super().format(record))


def setup(conf: cfg.ConfigOpts, name: str) -> None:
    """Send this process's log to `log_file`, else `log_dir`/<name>.log, else standard error."""
    path = conf.log_file or (f"{conf.log_dir}/{name}.log" if conf.log_dir else None)
    handler: logging.Handler = logging.handlers.WatchedFileHandler(path) if path else logging.StreamHandler()
    handler.setFormatter(
        _Formatter(
            "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s %(who)s %(message)s", "%Y-%m-%d %H:%M:%S"
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if conf.debug else logging.INFO)
    for noisy in (
        "amqp",
        "kombu",
        "oslo.messaging",
        "oslo_messaging",
        "keystoneauth",
        "urllib3",
        "oslo_policy",
        "alembic",
        "pyroute2",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
