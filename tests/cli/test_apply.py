"""`valetkey apply` and the commands for proposals: what is sent, shown, and how they exit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import valetkey.devstack
from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker, problem
from valetkey.cli.apply import MOST_AGENTS, MOST_BYTES, portions

SAMPLE = Path(valetkey.devstack.__file__).parent / "sample"
PLAN, PUT = "POST /v1/provisioning/plan", "PUT /v1/agents/refund-bot"
FILE = """\
name: refund-bot
owner: olivia@example.com
team: refunds
boundary: [orders-db:read]
"""
PROPOSAL = {
    "id": "proposal_1",
    "agent_id": "agent_1",
    "agent": "refund-bot",
    "owner": "olivia@example.com",
    "was": ["orders-db:read{region=eu}"],
    "boundary": ["orders-db:read"],
    "bindings": [],
    "rule": "refunds-ci",
    "state": "waiting",
    "current": True,
    "created_by": "https://ci job",
    "created_at": "2026-01-01T00:00:00+00:00",
    "decided_by": None,
    "decided_at": None,
    "shown_hash": "a" * 64,
    "fresh_for": "widen:proposal_1:" + "a" * 64,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reviewed folder with one agent."""
    agents = tmp_path / "reviewed" / "agents"
    agents.mkdir(parents=True)
    (agents / "refund-bot.yaml").write_text(FILE)
    return agents.parent


def change(what: str, *, waits: bool = False) -> dict[str, Any]:
    """One change of a plan."""
    return {"what": what, "part": "boundary", "was": "a", "becomes": "b", "waits": waits}


def planned(*changes: dict[str, Any], others: tuple[str, ...] = (), **agent: Any) -> dict[str, Any]:
    """The broker's plan."""
    usual = {"name": "refund-bot", "digest": "d" * 64, "changes": list(changes), "problems": []}
    one = {**usual, "proposal": None, "refused": False, **agent}
    return {
        "rule": "refunds-ci",
        "agents": [one],
        "others": [{"name": name, "digest": "e" * 64} for name in others],
    }


def test_nothing_to_do_sends_nothing(bot: Terminal, broker: FakeBroker, folder: Path) -> None:
    """The second run."""
    broker.on(PLAN, (200, planned()))
    done = bot.run("apply", str(folder))
    assert (done.exit_code, done.stdout.strip()) == (0, "Nothing to do.")
    (asked,) = broker.made(PLAN)
    assert asked.json["agents"][0] == {
        "name": "refund-bot",
        "owner": "olivia@example.com",
        "team": "refunds",
        "labels": {},
        "boundary": ["orders-db:read"],
        "bindings": [],
    }
    assert broker.made(PUT) == []


def test_an_agent_that_is_not_there_is_made(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """By the call that is refused when the name is taken meanwhile."""
    create = {**change("create"), "part": "agent"}
    broker.on(PLAN, (200, planned(create, digest=None)))
    broker.on("POST /v1/agents", (201, samples.AGENT))
    assert bot.run("apply", str(folder)).exit_code == 0
    assert len(broker.made("POST /v1/agents")) == 1


def test_a_change_is_sent_under_the_digest_of_the_plan(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """Once for all that is different; exit 3 when a part of it waits."""
    broker.on(PLAN, (200, planned(change("narrow"), change("widen", waits=True))))
    broker.on(PUT, (202, {}))
    told = bot.json("apply", str(folder))
    assert (told["status"], [x["then"] for x in told["changes"]]) == (
        "waiting",
        ["at once", "waits for a person"],
    )
    (sent,) = broker.made(PUT)
    assert (sent.headers["if-match"], sent.query) == (f'"{"d" * 64}"', {})
    assert bot.run("apply", str(folder)).exit_code == 3


def test_a_plan_alone_changes_nothing(bot: Terminal, broker: FakeBroker, folder: Path) -> None:
    """It is shown, and exits as the run would."""
    broker.on(PLAN, (200, planned(change("widen", waits=True))))
    done = bot.run("apply", "--plan", str(folder))
    assert (done.exit_code, "widen" in done.stdout) == (3, True)
    assert broker.made(PUT) == []


def test_what_waits_already_is_not_sent_again(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """Exit 3 while it waits, 1 once a person refused it."""
    waits = planned(change("widen", waits=True), proposal="proposal_1")
    refused = planned(change("widen", waits=True), proposal="proposal_1", refused=True)
    broker.on(PLAN, (200, waits), (200, refused))
    assert bot.run("apply", str(folder)).exit_code == 3
    done = bot.run("apply", str(folder))
    assert (done.exit_code, "refused by a person" in done.stdout) == (1, True)
    assert broker.made(PUT) == []


def test_nothing_is_taken_away_without_prune(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """It is told as drift, and kept."""
    broker.on(PLAN, (200, planned(change("unbind"), others=("refund-old",))))
    told = bot.json("apply", str(folder))
    assert [(x["agent"], x["what"], x["then"]) for x in told["changes"]] == [
        ("refund-bot", "drift", "kept"),
        ("refund-old", "drift", "kept"),
    ]
    assert [call.path for call in broker.calls if call.method == "PUT"] == []


def test_with_prune_it_is_taken_away_as_it_was_seen(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """Bindings by the same call, agents by being disabled, each under its digest."""
    broker.on(PLAN, (200, planned(change("unbind"), others=("refund-old",))))
    broker.on(PUT, (200, {}))
    broker.on("POST /v1/agents/refund-old/disable", (200, samples.AGENT))
    told = bot.json("apply", "--prune", str(folder))
    assert [(x["what"], x["then"]) for x in told["changes"]] == [
        ("unbind", "at once"),
        ("disable", "at once"),
    ]
    assert broker.made(PUT)[0].query == {"prune": "true"}
    (ended,) = broker.made("POST /v1/agents/refund-old/disable")
    assert ended.headers["if-match"] == f'"{"e" * 64}"'


def test_all_problems_are_told_before_anything_changes(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """With the line of the part, and exit 1."""
    no = {"part": "team", "code": "outside_trust_rule", "detail": "not this", "next_action": "x"}
    broker.on(PLAN, (200, planned(change("narrow"), problems=[no])))
    done = bot.run("apply", str(folder))
    assert done.exit_code == 1
    assert f"{folder}/agents/refund-bot.yaml:3: team: not this (outside_trust_rule)" in done.stderr
    assert broker.made(PUT) == []


def test_a_job_that_was_overtaken_says_so_and_exits_1(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """What was planned for the agent did not happen."""
    broker.on(PLAN, (200, planned(change("narrow"))))
    broker.on(PUT, (412, problem("changed_meanwhile", 412)))
    told = bot.json("apply", str(folder))
    assert (told["status"], told["changes"][0]["then"]) == (
        "refused",
        "failed: changed_meanwhile",
    )


def test_files_that_are_wrong_are_told_without_asking_anybody(
    bot: Terminal, broker: FakeBroker, folder: Path
) -> None:
    """The same with `--check`, which never asks."""
    assert bot.json("apply", "--check", str(folder)) == {"ok": True, "problems": []}
    (folder / "agents" / "refund-bot.yaml").write_text(FILE.replace("refunds", "R"))
    for argv in (("apply", str(folder)), ("apply", "--check", str(folder))):
        told = bot.json(*argv)
        assert [(x["line"], x["message"]) for x in told["problems"]] == [
            (3, "team is not of its form")
        ]
    assert broker.calls == []


@pytest.mark.parametrize("only", [(), ("--only", "policies")])
def test_a_broken_policy_is_told_whichever_parts_are_named(
    bot: Terminal, folder: Path, only: tuple[str, ...]
) -> None:
    """Policies are tested with the catalogue beside them, and faults of all parts are told."""
    for part in ("catalogue", "policies"):
        shutil.copytree(SAMPLE / part, folder / part)
    with (folder / "policies" / "refunds.cedar").open("a") as file:
        file.write("garbage")
    (folder / "agents" / "refund-bot.yaml").write_text(FILE.replace("refunds", "R"))
    told = bot.json("apply", "--check", *only, "--group", "valetkey-approvers", str(folder))
    faulty = [Path(x["file"]).name for x in told["problems"]]
    assert faulty == (["refunds.cedar"] if only else ["refund-bot.yaml", "refunds.cedar"])


def test_policies_without_a_catalogue_are_not_called_well(bot: Terminal, folder: Path) -> None:
    """What could not be checked was not checked."""
    shutil.copytree(SAMPLE / "policies", folder / "policies")
    [told] = bot.json("apply", "--check", "--only", "policies", str(folder))["problems"]
    assert told["message"] == "policies can be checked only with the catalogue beside them"


def test_many_files_go_in_parts_that_one_call_may_carry() -> None:
    """Nothing is lost between them; no files still ask for the others."""
    bodies = [{"name": f"bot-{number}", "boundary": ["x" * 900]} for number in range(150)]
    parts = list(portions(bodies))
    assert [one for part in parts for one in part] == bodies
    assert max(map(len, parts)) <= MOST_AGENTS
    assert max(len(str(part)) for part in parts) < MOST_BYTES * 1.1
    assert list(portions([])) == [[]]


def test_proposals_are_listed_shown_and_refused(person: Terminal, broker: FakeBroker) -> None:
    """Each one call, answered as it came."""
    broker.on("GET /v1/proposals", (200, {"items": [PROPOSAL]}))
    broker.on("GET /v1/proposals/proposal_1", (200, PROPOSAL))
    broker.on("POST /v1/proposals/proposal_1/refuse", (200, {**PROPOSAL, "state": "refused"}))
    assert person.json("agent", "proposals") == {"items": [PROPOSAL]}
    assert person.json("agent", "proposals", "proposal_1") == PROPOSAL
    assert person.json("agent", "refuse", "proposal_1")["state"] == "refused"


def test_a_proposal_is_shown_and_not_accepted_by_who_says_no(
    person: Terminal, broker: FakeBroker
) -> None:
    """Everything that would change comes before the question."""
    broker.on("GET /v1/proposals/proposal_1", (200, PROPOSAL))
    done = person.run("agent", "accept", "proposal_1", stdin="n\n")
    assert done.exit_code == 1
    assert "was: orders-db:read{region=eu}" in done.stderr
    assert "boundary: orders-db:read" in done.stderr
    assert broker.made("POST /v1/proposals/proposal_1/accept") == []


def test_an_agent_may_be_accepted_only_as_it_was_seen(
    person: Terminal, broker: FakeBroker
) -> None:
    """The digest that `agent show` told goes along."""
    broker.on("POST /v1/agents/refund-bot/accept", (200, samples.AGENT))
    assert person.run("agent", "accept", "refund-bot", "--digest", "d" * 64).exit_code == 0
    (call,) = broker.made("POST /v1/agents/refund-bot/accept")
    assert call.headers["if-match"] == f'"{"d" * 64}"'
