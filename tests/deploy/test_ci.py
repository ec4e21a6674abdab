"""The files of deploy/ci run as they stand: as jobs of GitHub and of GitLab, each with its claims."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.deploy.ci_places import Place
from valetkey.core.proposal import ProposalState
from valetkey.flows.agents import accept_agent
from valetkey.flows.look import agent as looked_at
from valetkey.flows.proposals import proposals

CI = Path(__file__).parents[2] / "deploy" / "ci"
OTHERS = {"github-actions": {"repository_id": "9"}, "gitlab": {"project_id": "9"}}
WAITS = {"github-actions": 0, "gitlab": 3}


def script(platform: str, job: str) -> str:
    """What a job of the platform's file runs, but for the installation."""
    if platform == "gitlab":
        lines = yaml.safe_load((CI / "gitlab-ci.yml").read_text())[f"valetkey-{job}"]["script"]
        return "\n".join(lines)
    steps = yaml.safe_load((CI / "github-actions.yml").read_text())["jobs"][job]["steps"]
    return "\n".join(x["run"] for x in steps if x.get("name") not in (None, "Install"))


@pytest.fixture(params=["github-actions", "gitlab"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A broker that lets in jobs of one platform."""
    with ExitStack() as stack:
        yield Place(stack, request.param)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the example's files, for another agent than the stage's own."""
    folder = tmp_path / "valetkey" / "agents"
    shutil.copytree(CI / "agents", folder)
    file = folder / "refund-bot.yaml"
    file.write_text(file.read_text().replace("name: refund-bot", "name: refund-two"))
    return tmp_path


def changed(checkout: Path, old: str, new: str) -> None:
    """A reviewed change of the file."""
    file = checkout / "valetkey" / "agents" / "refund-bot.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_a_job_provisions_and_what_it_widens_waits_for_the_owner(
    place: Place, checkout: Path
) -> None:
    """Made, accepted, run again with nothing to do, widened: on record, and not yet so."""
    broker, owner, apply = place.stage.broker, place.stage.owner, script(place.platform, "apply")
    first = place.job(apply, checkout)
    assert first.code == 0, first.err
    assert "create" in first.out
    agent = accept_agent(broker, owner, "refund-two")
    assert agent.created_by_rule == "jobs"
    second = place.job(apply, checkout)
    assert (second.code, second.out.strip()) == (0, "Nothing to do.")
    changed(checkout, "orders-db:read{region=eu}", "orders-db:read")
    third = place.job(apply, checkout)
    assert third.code == WAITS[place.platform], third.err
    assert "waits for a person" in third.out
    (waiting,) = proposals(broker, owner)
    assert waiting.proposal.state is ProposalState.WAITING
    assert looked_at(broker, owner, agent.id).agent.boundary == agent.boundary


def test_a_job_of_another_project_changes_nothing(place: Place, checkout: Path) -> None:
    """Signed by the same platform, with other ids: refused at the door."""
    refused = place.job(script(place.platform, "apply"), checkout, **OTHERS[place.platform])
    assert refused.code == 1
    assert "refused:" in refused.err
    assert len(looked_at_all(place)) == 1


def test_a_job_outside_its_rule_is_told_every_part_with_its_line(
    place: Place, checkout: Path
) -> None:
    """File and line of each, and no agent is made."""
    changed(checkout, "team: refunds", "team: shop")
    changed(checkout, "orders-db:read{region=eu}", "orders-db:write")
    refused = place.job(script(place.platform, "apply"), checkout)
    assert refused.code == 1
    file = "valetkey/agents/refund-bot.yaml"
    assert f"{file}:4: team: rule jobs does not allow this team" in refused.err
    assert f"{file}:5: boundary: rule jobs does not allow this boundary" in refused.err
    assert len(looked_at_all(place)) == 1


def test_a_review_only_reads_the_files(place: Place, checkout: Path) -> None:
    """Without any identity: good files pass, bad ones are told with their line."""
    check = script(place.platform, "check").replace("valetkey apply", "env -i valetkey apply")
    check = check.replace("env -i", 'env -i PATH="$PATH" HOME="$HOME"')
    assert place.job(check, checkout).code == 0
    changed(checkout, "team: refunds", "team: Refunds")
    bad = place.job(check, checkout)
    assert (bad.code, "refund-bot.yaml:4: team is not of its form" in bad.err) == (1, True)


def looked_at_all(place: Place) -> list[str]:
    """The names of all agents."""
    with place.stage.broker.store.transaction() as tx:
        return [one.name for one in tx.agents()]
