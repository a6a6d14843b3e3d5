# SPDX-License-Identifier: Apache-2.0
"""Policy files: read again when they change, in every service; and `aerie policy`, which explains and checks them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aerie_common import config, service
from aerie_common.cmd.main import parser
from aerie_common.context import Context
from aerie_common.policy import Policy

SERVICES = [name for name, spec in service.services().items() if spec.table is not None]


class Folder:
    """A configuration folder, and a service's rules as its daemon has them."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        spec = service.services()[name]
        (path / f"{name}.conf").write_text("[DEFAULT]\n")
        assert spec.table is not None
        rules = list(spec.table().policy_rules())
        self.rule = next(name for name, check, _ in rules if "role" in check or "admin" in check)
        self.policy = Policy(config.load(spec.new_conf(), [path / f"{name}.conf"]), rules)
        self._clock = 1_000_000_000

    def write(self, name: str, text: str) -> None:
        self._clock += 10
        (self.path / name).write_text(text)
        os.utime(self.path / name, (self._clock, self._clock))

    def allows(self, *roles: str) -> bool:
        self.policy._looked = float("-inf")  # half a second has passed
        return self.policy.allows(Context(user_id="u", roles=roles), self.rule, {})


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_reads_a_changed_file_without_a_restart(name: str, tmp_path: Path, caplog: Any) -> None:
    folder = Folder(tmp_path, name)
    assert not folder.allows("gardener") and folder.allows("admin")
    folder.write("policy.yaml", f'"{folder.rule}": "role:gardener"\n')
    assert folder.allows("gardener") and not folder.allows("nobody")
    folder.write("policy.yaml", f'"{folder.rule}": "role:painter"\n')
    assert folder.allows("painter") and not folder.allows("gardener")
    folder.write("policy.yaml", '"half": [a file')
    assert folder.allows("painter"), "a file that cannot be read changes nothing"
    assert "rules stay as they were" in caplog.text
    folder.write("policy.yaml", f'"{folder.rule}": "role:painter" and more: "x"')
    assert folder.allows("painter")
    (tmp_path / "policy.yaml").unlink()
    assert not folder.allows("painter") and folder.allows("admin"), "without a file the defaults are in force"
    folder.write("policy.json", json.dumps({folder.rule: "role:gardener"}))
    assert folder.allows("gardener")
    folder.write("policy.json", json.dumps({folder.rule: "this is no rule"}))
    assert not folder.allows("gardener") and not folder.allows("admin"), "a rule nobody can read allows nobody"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`aerie policy ...` with the configuration folder of this test."""

    def call(*words: str) -> tuple[int, str, str]:
        args = parser().parse_args(["policy", *words, "--config-dir", str(tmp_path)])
        status = args.call(args)
        out = capsys.readouterr()
        return status, out.out, out.err

    (tmp_path / "identity.conf").write_text("[DEFAULT]\n")
    return call


def test_who_may_do_what_and_why(run: Run, tmp_path: Path) -> None:
    ask = ("check", "--service", "identity", "--rule", "identity:list_users")
    assert run(*ask, "--role", "admin")[:2] == (0, "identity:list_users  allowed  by admin: role:admin  [default]\n")
    status, out, _ = run(*ask, "--role", "member", "--project", "p")
    assert status == 1 and "refused  wants admin (role:admin" in out
    assert run(*ask, "--role", "reader", "--system")[0] == 0
    assert run(*ask, "--role", "reader", "--domain", "d")[0] == 0
    assert run(*ask, "--role", "reader", "--domain", "d", "--target", "domain_id=other")[0] == 1
    (tmp_path / "policy.yaml").write_text('"identity:list_users": "not role:member"\n')
    status, out, _ = run(*ask, "--role", "member", "--json")
    [found] = json.loads(out)
    assert status == 1 and found["source"] == str(tmp_path / "policy.yaml") and found["why"] == "not role:member"


def test_every_rule_of_every_service_is_explained(run: Run) -> None:
    status, out, _ = run("check", "--role", "member", "--project", "p", "--json")
    found = {d["rule"]: d for d in json.loads(out)}
    assert status == 0 and len(found) > 450
    assert found["os_compute_api:servers:index"]["allowed"] and not found["identity:create_user"]["allowed"]
    assert all(d["why"] for d in found.values())


def test_a_validated_token_is_a_caller(run: Run, tmp_path: Path) -> None:
    body = {"token": {"user": {"id": "u", "name": "ann"}, "system": {"all": True}, "roles": [{"name": "reader"}]}}
    (tmp_path / "token.json").write_text(json.dumps(body))
    ask = ("check", "--rule", "identity:list_users", "--rule", "identity:delete_user", "--json")
    status, out, _ = run(*ask, "--token-file", str(tmp_path / "token.json"))
    assert status == 1
    assert {d["rule"]: d["allowed"] for d in json.loads(out)} == {
        "identity:list_users": True, "identity:delete_user": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text, complaint",
    [
        ('"identity:list_user": "role:member"', "is identity:list_users meant?"),
        ('"nothing:at_all": "role:member"', "no service asks for this rule"),
        ('"identity:list_users": "role:member and and"', "cannot be read"),
        ('"identity:list_users": "rule:mine"', "'mine' that it names is not defined"),
        ('"identity:list_users": "rule:a"\n"a": "not rule:b"\n"b": "(rule:a or role:x)"', "circle: a -> b -> a"),
        ('"identity:list_users": 5', "a rule is text"),
        ("- a\n- list", "mapping"),
        ('"a": "b": "c"', "mapping values are not allowed"),
    ],
)
def test_what_is_wrong_with_a_file(run: Run, tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "policy.yaml").write_text(text + "\n")
    status, _, err = run("check")
    assert status == 2 and complaint in err and str(tmp_path / "policy.yaml") in err


def test_a_right_file_may_name_rules_of_its_own_and_of_all_services(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text('"team": "role:ops or role:member"\n"identity:list_users": "rule:team"\n"get_images": "!"\n')
    status, out, _ = run("check", "--file", str(other))
    assert status == 0 and f"{other}: 3 rules" in out
    assert run("check", "--file", str(other), "--role", "ops", "--rule", "identity:list_users")[0] == 0
    assert run("check", "--file", str(other), "--role", "admin", "--rule", "get_images")[0] == 1
    assert run("check", "--file", str(tmp_path / "missing.yaml"))[0] == 2
    assert run("check", "--role", "x", "--rule", "identity:nonsense")[0] == 2
    assert run("check", "--service", "nonsense")[0] == 2


def test_the_sample_changes_nothing_and_the_rules_in_force_are_shown(run: Run, tmp_path: Path) -> None:
    status, sample, _ = run("show", "--service", "identity", "--sample")
    assert status == 0 and "# GET /v3/users\n" in sample and yaml.safe_load(sample) is None
    uncommented = "\n".join(line[1:] if line.startswith('#"') else line for line in sample.splitlines())
    (tmp_path / "policy.yaml").write_text(uncommented)
    assert run("check")[0] == 0
    (tmp_path / "policy.yaml").write_text('"identity:list_users": "role:ops"\n')
    shown = yaml.safe_load(run("show", "--service", "identity")[1])
    assert shown["identity:list_users"] == "role:ops" and shown["identity:create_user"].startswith("rule:admin")
