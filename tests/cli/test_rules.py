"""`valetkey rules` and the rules' part of `apply`: what is sent, shown, and how they exit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker, problem
from tests.flows.rules import SAMPLE

PLAN, PUT, LIST = "POST /v1/rules/plan", "PUT /v1/rules", "GET /v1/rules"
OLD, NEW = "a" * 64, "b" * 64
ACTIVATION = {
    "number": 2,
    "version": NEW,
    "cause": "applied",
    "by": "https://ci job",
    "at": "2026-01-01T00:00:00+00:00",
    "reason": "",
}
FIRST = {**ACTIVATION, "number": 1, "version": OLD, "cause": "begun"}
PROPOSAL = {
    "id": "proposal_1",
    "version": NEW,
    "base": OLD,
    "rule": "rules-ci",
    "state": "waiting",
    "current": True,
    "created_by": "https://ci job",
    "created_at": "2026-01-01T00:00:00+00:00",
    "decided_by": None,
    "decided_at": None,
    "shown_hash": "c" * 64,
    "fresh_for": "rules:proposal_1:" + "c" * 64,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reviewed folder with the sample's rules and no agents."""
    for name, text in SAMPLE.items():
        file = tmp_path / "reviewed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "reviewed"


def planned(**changes: Any) -> dict[str, Any]:
    """The broker's plan."""
    change = {"what": "removed", "part": "scope orders-db:read"}
    usual = {
        "digest": OLD,
        "version": NEW,
        "waits": True,
        "changes": [change],
        "unproven": [{"target": "orders-db", "why": "its pins are not at OpenBao"}],
        "leases_losing_scope": [{"scope": "orders-db:read", "leases": 3}],
        "replayed": 9,
        "verdicts": [
            {"ask": "orders-db:read", "was": "allow", "becomes": "unknown_scope", "count": 4}
        ],
        "proposal": None,
        "refused": False,
    }
    return {**usual, **changes}


def listed(*proposals: dict[str, Any], serves: int = 2) -> dict[str, Any]:
    """What is in force and was."""
    items = [ACTIVATION, FIRST]
    return {"version": NEW, "serves": serves, "activations": items, "proposals": list(proposals)}


def shown(digest: str, files: dict[str, str], fresh_for: str | None = None) -> dict[str, Any]:
    """One version."""
    return {
        "version": digest,
        "files": files,
        "catalogue_digest": "d" * 64,
        "policy_hash": "e" * 64,
        "pushed_by": "https://ci job",
        "rule": "rules-ci",
        "pushed_at": "2026-01-01T00:00:00+00:00",
        "fresh_for": fresh_for,
    }


def test_a_plan_tells_what_people_must_know_and_pushes_nothing(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """Changes, leases that lose their scope, missing pins, and answers that would differ."""
    broker.on(PLAN, (200, planned()))
    done = bot.run("apply", "--plan", str(folder))
    assert done.exit_code == 3, done.stderr
    for told in (
        "scope orders-db:read",
        "orders-db:read: 3 leases live and end as they would have",
        "orders-db: its pins are not at OpenBao",
        "orders-db:read: allow becomes unknown_scope (4 asked lately)",
    ):
        assert told in done.stdout + done.stderr
    assert broker.made(PLAN)[0].json == {"files": SAMPLE}
    assert not broker.made(PUT)


def test_a_push_names_what_its_plan_saw(bot: Terminal, broker: FakeBroker, folder: Path) -> None:
    """And waits until the broker serves what came into force."""
    broker.on(PLAN, (200, planned(waits=False)))
    pushed = {"version": NEW, "activation": ACTIVATION, "proposal": None, "refused": False}
    broker.on(PUT, (200, pushed))
    broker.on(LIST, (200, listed(serves=1)), (200, listed()))
    done = bot.run("apply", str(folder))
    assert (done.exit_code, "in force" in done.stdout) == (0, True), done.stderr
    [put] = broker.made(PUT)
    assert put.headers["if-match"] == f'"{OLD}"'
    assert len(broker.made(LIST)) == 2


@pytest.mark.parametrize(("refused", "code"), [(False, 3), (True, 1)])
def test_what_waits_exits_3_and_what_was_refused_1(
    bot: Terminal, broker: FakeBroker, folder: Path, refused: bool, code: int
) -> None:
    """In JSON the plan stands beside what became of it."""
    broker.on(PLAN, (200, planned()))
    answer = {"version": NEW, "activation": None, "proposal": "proposal_1", "refused": refused}
    broker.on(PUT, (202, answer))
    done = bot.run("apply", "--json", str(folder))
    assert done.exit_code == code
    assert '"proposal": "proposal_1"' in done.stdout


def test_what_the_broker_refuses_is_told_at_its_place(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """File and line in the reviewed folder; any other refusal as it came."""
    fault = {"file": "catalogue/orders-db.yaml", "line": 7, "message": "mount is missing"}
    broker.on(PLAN, (422, problem("rules_invalid", 422, problems=[fault])))
    done = bot.run("apply", str(folder))
    assert done.exit_code == 1
    assert f"{folder}/catalogue/orders-db.yaml:7: mount is missing" in done.stderr
    broker.on(PLAN, (409, problem("rules_from_files", 409)))
    done = bot.run("apply", str(folder))
    assert (done.exit_code, "rules_from_files" in done.stderr) == (1, True)


def test_only_what_is_named_is_applied(bot: Terminal, broker: FakeBroker, folder: Path) -> None:
    """A part that is not there, or no part at all, is wrong use."""
    broker.on(PLAN, (200, planned(version=OLD, changes=[])))
    broker.on(PUT, (200, {"version": OLD, "activation": None, "proposal": None, "refused": False}))
    assert bot.run("apply", "--only", "catalogue", str(folder)).exit_code == 0
    assert {name.partition("/")[0] for name in broker.made(PLAN)[0].json["files"]} == {"catalogue"}
    assert bot.run("apply", "--only", "agents", str(folder)).exit_code == 2
    assert bot.run("apply", str(folder / "catalogue")).exit_code == 2


def test_a_check_reads_and_tests_without_asking_anybody(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """What may not be pushed for its form is found here too."""
    check = ("apply", "--check", "--group", "valetkey-approvers", str(folder))
    assert bot.run(*check).exit_code == 0
    (folder / "catalogue" / "a b.yaml").write_text("x\x01")
    done = bot.run(*check)
    assert done.exit_code == 1
    assert "a b.yaml: a name is letters" in done.stderr
    assert "a b.yaml: holds a control character" in done.stderr
    assert not broker.calls


def test_rules_are_listed_shown_and_compared(person: Terminal, broker: FakeBroker) -> None:
    """By the beginnings of their digests; which one the replica serves is told if not the last."""
    broker.on(LIST, (200, listed(PROPOSAL, serves=1)))
    done = person.run("rules", "list")
    assert (done.exit_code, OLD[:12] in done.stdout) == (0, True), done.stderr
    assert "proposal_1" in done.stdout
    assert "serves number 1" in done.stderr
    broker.on(f"GET /v1/rules/versions/{OLD}", (200, shown(OLD, {"catalogue/a.yaml": "one\n"})))
    broker.on(f"GET /v1/rules/versions/{NEW}", (200, shown(NEW, {"catalogue/a.yaml": "two\n"})))
    assert "# catalogue/a.yaml\none" in person.run("rules", "show", OLD[:8]).stdout
    told = person.run("rules", "diff", OLD[:9], NEW).stdout.splitlines()
    assert told == [
        "--- a/catalogue/a.yaml",
        "+++ b/catalogue/a.yaml",
        "@@ -1 +1 @@",
        "-one",
        "+two",
    ]
    assert person.run("rules", "show", "aaaa").exit_code == 2


def test_a_version_is_accepted_with_a_login_for_it(person: Terminal, broker: FakeBroker) -> None:
    """After its differences were shown; without a yes nothing is sent."""
    broker.on(LIST, (200, listed(PROPOSAL)))
    broker.on(f"GET /v1/rules/versions/{OLD}", (200, shown(OLD, {"catalogue/a.yaml": "one\n"})))
    broker.on(f"GET /v1/rules/versions/{NEW}", (200, shown(NEW, {"catalogue/a.yaml": "two\n"})))
    accept = "POST /v1/rules/proposals/proposal_1/accept"
    broker.on(accept, (200, ACTIVATION))
    done = person.run("rules", "accept", "proposal_1", stdin="n\n")
    assert (done.exit_code, "+two" in done.stderr) == (1, True)
    assert not broker.made(accept)
    assert person.run("rules", "accept", "proposal_9").exit_code == 2
    broker.on("POST /v1/rules/proposals/proposal_1/refuse", (200, {**PROPOSAL, "state": "refused"}))
    assert "refused" in person.run("rules", "refuse", "proposal_1").stdout


def test_texts_of_a_version_cannot_move_the_cursor(person: Terminal, broker: FakeBroker) -> None:
    """Whoever pushed it."""
    broker.on(LIST, (200, listed()))
    files = {"catalogue/a.yaml": "a\x1b[2Jb\u202e\n"}
    broker.on(f"GET /v1/rules/versions/{NEW}", (200, shown(NEW, files)))
    out = person.run("rules", "show", NEW).stdout
    assert "a·[2Jb·" in out
