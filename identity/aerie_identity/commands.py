# SPDX-License-Identifier: Apache-2.0
"""What operators run: `aerie bootstrap`, `aerie identity fernet|credential|grant-global`."""

from __future__ import annotations

import argparse
import configparser
import os
from pathlib import Path

from oslo_config import cfg

from aerie_common.context import admin_context
from aerie_identity.container import Identity
from aerie_identity.db import tables as t
from aerie_identity.db import tokens as token_db
from aerie_identity.db.models import ROLES, Assignment
from aerie_identity.logic import credentials, grants
from aerie_identity.logic.bootstrap import Bootstrap, bootstrap, default_endpoints
from aerie_identity.logic.grants import EVERYWHERE

NOT_SERVICES = ("identity",)


def _service_users(folder: Path) -> dict[str, str]:
    """User and password of each service, from [keystone_authtoken] of its configuration."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.conf")):
        if path.stem in NOT_SERVICES:
            continue
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        parser.read(path)
        if parser.has_section("keystone_authtoken"):
            name = parser.get("keystone_authtoken", "username", fallback=None)
            password = parser.get("keystone_authtoken", "password", fallback=None)
            if name and password:
                found[name] = password
    return found


def run_bootstrap(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Make the first users, roles and catalog. Safe to repeat."""
    parser = argparse.ArgumentParser(prog="aerie bootstrap", description=run_bootstrap.__doc__)
    parser.add_argument("--config-dir", type=Path, help="folder with the services' files, for their users' passwords")
    parser.add_argument("--admin-password-env", default="AERIE_ADMIN_PASSWORD", help="variable with admin's password")
    parser.add_argument("--service-password", help="one password for all service users (instead of their files')")
    parser.add_argument("--demo-password", help="also make a user and a project named demo")
    parser.add_argument("--region", default="RegionOne")
    parser.add_argument("--host", default="127.0.0.1", help="address in the catalog")
    parser.add_argument("--endpoint", action="append", default=[], metavar="TYPE=URL", help="instead of the usual one")
    args = parser.parse_args(arguments)
    password = os.environ.get(args.admin_password_env)
    if not password:
        parser.error(f"the variable {args.admin_password_env} is not set: it holds the password of admin")
    endpoints = default_endpoints(args.host)
    for text in args.endpoint:
        kind, equals, url = text.partition("=")
        if not equals:
            parser.error(f"--endpoint wants TYPE=URL, not {text!r}")
        endpoints[kind] = url
    users = _service_users(args.config_dir) if args.config_dir else {}
    if args.service_password:
        users |= dict.fromkeys((k for k in endpoints if k not in (*NOT_SERVICES, "placement")), args.service_password)
    svc = Identity(conf)
    bootstrap(svc, Bootstrap(password, args.region, endpoints, users, args.demo_password))
    svc.db.dispose()
    return 0


def run_fernet(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Set up or rotate the keys of tokens."""
    parser = argparse.ArgumentParser(prog="aerie identity fernet", description=run_fernet.__doc__)
    parser.add_argument("action", choices=["setup", "rotate"])
    args = parser.parse_args(arguments)
    svc = Identity(conf)
    jws = conf.token.provider == "jws"
    if args.action == "setup":
        made = svc.token_keys.setup()
        print(f"{svc.token_keys.path}: {'made' if made else 'has keys already'}")
        if jws:
            print(f"{svc.jws_keys.private}: {'made' if svc.jws_keys.setup() else 'has a key already'}")
        return 0
    print(f"{svc.token_keys.path}: primary key is {svc.token_keys.rotate()}")
    if jws:
        print(f"{svc.jws_keys.public}: tokens are signed with the key of {svc.jws_keys.rotate(conf.token.expiration)}")
    return 0


def run_credential(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Set up or rotate the keys that encrypt stored credentials. Rotating encrypts all of them afresh, before and
    after, so that no key that is still needed goes; `migrate` does only that."""
    parser = argparse.ArgumentParser(prog="aerie identity credential", description=run_credential.__doc__)
    parser.add_argument("action", choices=["setup", "rotate", "migrate"])
    args = parser.parse_args(arguments)
    svc = Identity(conf)
    if args.action == "setup":
        made = svc.credential_keys.setup()
        print(f"{svc.credential_keys.path}: {'made' if made else 'has keys already'}")
        return 0
    count = credentials.encrypt_all(svc)
    if args.action == "rotate":
        print(f"{svc.credential_keys.path}: primary key is {svc.credential_keys.rotate()}")
        count = credentials.encrypt_all(svc)
    print(f"{count} credentials are encrypted with the primary key")
    svc.db.dispose()
    return 0


def run_grant(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Grant a role globally: in every project that exists or will exist."""
    parser = argparse.ArgumentParser(prog="aerie identity grant-global", description=run_grant.__doc__)
    parser.add_argument("--user", required=True, help="name")
    parser.add_argument("--user-domain", default="Default", help="name of the user's domain")
    parser.add_argument("--role", required=True, help="name")
    parser.add_argument("--revoke", action="store_true", help="take it away instead")
    args = parser.parse_args(arguments)
    svc = Identity(conf)
    with svc.db.read() as conn:
        login = token_db.login_by_name(conn, args.user, domain_id=None, domain_name=args.user_domain)
        role = ROLES.one(conn, t.roles.c.name == args.role, t.roles.c.domain_id == t.ROOT)
    if login is None or role is None:
        parser.error("there is no such user" if login is None else "there is no such role")
    change = grants.delete if args.revoke else grants.create
    change(svc, admin_context(), Assignment("user", login.user.id, "global", EVERYWHERE, role.id))
    return 0
