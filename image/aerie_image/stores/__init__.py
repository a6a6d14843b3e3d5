# SPDX-License-Identifier: Apache-2.0
"""Where image data lies: drivers of one interface (base.py), and which of them a configuration names."""

from __future__ import annotations

from pathlib import Path

from oslo_config import cfg

from aerie_image.options import STORE_OPTIONS
from aerie_image.remote import Rules
from aerie_image.stores.base import Store
from aerie_image.stores.file import FileStore
from aerie_image.stores.http import HttpStore


def load(conf: cfg.ConfigOpts, rules: Rules) -> dict[str, Store]:
    """The stores of `enabled_backends`, by name; the default one first."""
    kinds: dict[str, str] = conf.enabled_backends
    default = conf.glance_store.default_backend or next(iter(kinds))
    if default not in kinds:
        raise ValueError(f"[glance_store] default_backend {default} is not among enabled_backends")
    made = {name: _make(conf, rules, name, kinds[name]) for name in [default, *(k for k in kinds if k != default)]}
    if made[default].read_only:
        raise ValueError(f"[glance_store] default_backend {default} cannot be written to")
    return made


def _make(conf: cfg.ConfigOpts, rules: Rules, name: str, kind: str) -> Store:
    if kind not in STORE_OPTIONS:
        raise ValueError(f"enabled_backends: {name} is of the unknown kind {kind!r}; known: {', '.join(STORE_OPTIONS)}")
    if kind == "http":
        return HttpStore(name, rules)
    main = Path(conf.file.filesystem_store_datadir)
    if kind == name == "file":
        return FileStore(name, main)
    conf.register_opts(STORE_OPTIONS[kind], group=name)
    if kind == "file":
        return FileStore(name, Path(conf[name].filesystem_store_datadir or main.with_name(f"{main.name}-{name}")))
    if kind == "swift":
        from aerie_image.stores.swift import SwiftStore

        return SwiftStore(name, conf[name])
    try:
        from aerie_image.stores.s3 import S3Store  # its library is large, and not everybody has it
    except ModuleNotFoundError as e:
        raise ValueError(f"enabled_backends: {name} is of kind s3, which needs the library {e.name}") from e
    return S3Store(name, conf[name])
