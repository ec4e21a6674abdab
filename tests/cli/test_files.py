"""The commands that work on files of this machine: catalogue and policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import valetkey.devstack
from tests.cli.conftest import Terminal

SAMPLE = Path(valetkey.devstack.__file__).parent / "sample"
GROUPS = ("--group", "valetkey-approvers")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The sample catalogue and policies, to be broken."""
    for name in ("catalogue", "policies"):
        shutil.copytree(SAMPLE / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A user without any profile."""
    return Terminal(tmp_path / "home")


def _policy(files: Path, *argv: str) -> tuple[str, ...]:
    folders = ("--catalogue", str(files / "catalogue"), "--policies", str(files / "policies"))
    return ("policy", *argv, *folders, *GROUPS)


def test_good_files_pass(terminal: Terminal, files: Path) -> None:
    """Exit 0 for catalogue, policies and their tests."""
    assert terminal.run("catalogue", "check", str(files / "catalogue")).exit_code == 0
    assert terminal.run(*_policy(files, "check")).exit_code == 0
    told = terminal.json(*_policy(files, "test"))
    assert told["ok"] is True
    assert len(told["tests"]) >= 8


def test_a_broken_catalogue_exits_1_with_file_and_line(terminal: Terminal, files: Path) -> None:
    """The place of every fault is on stderr, and in the JSON."""
    broken = files / "catalogue" / "orders-db.yaml"
    broken.write_text(broken.read_text().replace("mutates: false", "mutates: perhaps", 1))
    done = terminal.run("catalogue", "check", str(files / "catalogue"))
    assert done.exit_code == 1
    assert f"{broken}:" in done.stderr
    told = json.loads(terminal.run("catalogue", "check", str(files / "catalogue"), "--json").stdout)
    assert told["ok"] is False
    assert told["problems"][0]["line"] > 0


def test_a_policy_test_that_fails_exits_1(terminal: Terminal, files: Path) -> None:
    """What was expected and what came is told."""
    case = files / "policies" / "tests" / "refunds.yaml"
    case.write_text(case.read_text().replace("expect: allow", "expect: deny", 1))
    done = terminal.run(*_policy(files, "test"))
    assert done.exit_code == 1
    assert "expected deny, got allow" in done.stdout


def test_a_broken_policy_exits_1(terminal: Terminal, files: Path) -> None:
    """Files are refused as a whole, for `check` and for `test`."""
    rules = files / "policies" / "refunds.cedar"
    rules.write_text(rules.read_text().replace("principal.team", "principal.tea", 1))
    for verb in ("check", "test"):
        assert terminal.run(*_policy(files, verb)).exit_code == 1


def test_the_pins_are_printed_as_hcl(terminal: Terminal, files: Path) -> None:
    """One path per scope and lane, for the administrator of OpenBao."""
    pins = ("catalogue", "openbao-policy", str(files / "catalogue"), "--installation", "abcdefe1")
    done = terminal.run(*pins)
    assert done.exit_code == 0
    assert 'path "database-orders/roles/vk-abcdefe1-' in done.stdout
    texts = terminal.json(*pins)
    parts = {f"part of the {whose}'s, for database-orders" for whose in ("reader", "ender")}
    assert set(texts) == {"valetkey-writer-orders-db", *parts}
    assert 'path "sys/leases/renew/database-orders/creds/vk-*"' in texts[min(parts, key=len)] + texts[max(parts)]
    assert 'path "database-orders/roles/end-vk-*"' in texts["part of the ender's, for database-orders"]
    assert terminal.run(*pins, "--target", "nowhere").exit_code == 2


def test_a_folder_that_is_not_there_is_a_usage_error(terminal: Terminal, tmp_path: Path) -> None:
    """Exit 2."""
    assert terminal.run("catalogue", "check", str(tmp_path / "none")).exit_code == 2


def test_a_group_that_is_not_named_is_hinted_at(terminal: Terminal, files: Path) -> None:
    """Who forgets `--group` is told what the rule's unknown attribute may be."""
    folders = ("--catalogue", str(files / "catalogue"), "--policies", str(files / "policies"))
    done = terminal.run("policy", "check", *folders)
    assert done.exit_code == 1
    assert "approver group" in done.stderr
