# SPDX-License-Identifier: Apache-2.0
"""`aerie config`: every option of a service with its default and its meaning, as a file that changes nothing until its
lines lose their comment sign."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from typing import Any

from oslo_config import cfg

from aerie_common import service

WIDTH = 118
NOT_OURS = ("config_dir", "config_file", "config_source", "shell_completion")  # of oslo.config's own command lines


def run(args: argparse.Namespace) -> int:
    """Print the sample."""
    known = service.services()
    if args.name not in known:
        raise SystemExit(f"There is no service {args.name}. Known: {', '.join(sorted(known))}.")
    print("\n".join(sample(known[args.name].new_conf())))
    return 0


def options(conf: cfg.ConfigOpts) -> Iterator[tuple[str, list[Any]]]:
    """Each group's name with its options. oslo.config has no public way to ask for them."""
    yield "DEFAULT", [info["opt"] for name, info in conf._opts.items() if name not in NOT_OURS]
    for name, group in conf._groups.items():
        yield name, [info["opt"] for info in group._opts.values()]


def sample(conf: cfg.ConfigOpts) -> Iterator[str]:
    """The lines of a sample file."""
    for group, opts in options(conf):
        yield f"[{group}]"
        for opt in opts:
            choices = [str(choice) for choice in getattr(opt.type, "choices", None) or ()]
            text = " ".join((opt.help or "").split()) + (f" One of: {', '.join(choices)}." if choices else "")
            yield from textwrap.wrap(text.strip(), WIDTH, initial_indent="# ", subsequent_indent="# ")
            yield f"#{opt.name.replace('-', '_')} = {_text(opt.default)}".rstrip()
        yield ""


def _text(value: Any) -> str:
    """A default as a file spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
