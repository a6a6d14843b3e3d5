# SPDX-License-Identifier: Apache-2.0
"""Log lines: `TIME PID LEVEL module [request-id user project] text`, to standard error or a file.

Secrets never reach a line: what looks like a password or token value is masked here as the last resort. Nor does
anything a caller sent make a line of its own: control characters are written as escapes.
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
_HINTS = ("pass", "secret", "_token", "-token", "signature")
"""Each word that _SECRET knows holds one of them. Most lines hold none, and looking for words costs less."""
_URL_PASSWORD = re.compile(r"(://[^:/@\s]+:)[^@\s]+@")


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029) if code != 9}


def mask(text: str) -> str:
    """The text with values of passwords, tokens and secrets replaced by ***."""
    if "://" in text:
        text = _URL_PASSWORD.sub(r"\1***@", text)
    small = text.lower()
    return _SECRET.sub(r"\1***", text) if any(hint in small for hint in _HINTS) else text


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        ctx = context.current()
        record.who = f"[{ctx.request_id} {ctx.user_name or '-'} {ctx.project_name or '-'}]" if ctx else "[-]"
        return mask(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return line if line.isprintable() else line.translate(_CONTROL)


_QUIET = (
    "amqp",
    "kombu",
    "oslo.messaging",
    "oslo_messaging",
    "keystoneauth",
    "urllib3",
    "oslo_policy",
    "alembic",
    "pyroute2",
)
"""Libraries that tell of every step: only their warnings are kept."""


def _set_level(logger: logging.Logger, level: int) -> None:
    """Setting a level makes every logger of the process forget what it knows of levels, and that writes to memory all
    over: in a forked daemon each page of it becomes a copy. So only when there is something to set."""
    if logger.level != level:
        logger.setLevel(level)


def set_levels(debug: bool = False) -> None:
    """The levels of all loggers. A forking parent calls this before it forks, so that its children need not."""
    _set_level(logging.getLogger(), logging.DEBUG if debug else logging.INFO)
    for name in _QUIET:
        _set_level(logging.getLogger(name), logging.WARNING)


def setup(conf: cfg.ConfigOpts, name: str) -> None:
    """Send this process's log to `log_file`, else `log_dir`/<name>.log, else standard error."""
    path = conf.log_file or (f"{conf.log_dir}/{name}.log" if conf.log_dir else None)
    handler: logging.Handler = logging.handlers.WatchedFileHandler(path) if path else logging.StreamHandler()
    handler.setFormatter(
        _Formatter(
            "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s %(who)s %(message)s", "%Y-%m-%d %H:%M:%S"
        )
    )
    logging.getLogger().handlers = [handler]
    # Who logged from which line and thread is in no line of ours, and finding it out would be a tenth of the cost.
    logging._srcfile = None
    logging.logThreads = logging.logMultiprocessing = False
    set_levels(conf.debug)
