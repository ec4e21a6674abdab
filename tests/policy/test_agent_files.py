"""Agents as files: read strictly, refused as a whole, every fault with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from valetkey.core.scope import Scope
from valetkey.flows.agents import NewBinding
from valetkey.policy import agent_files
from valetkey.policy.agent_files import load_agents
from valetkey.policy.problems import FilesInvalid
from valetkey.web import queries
from valetkey.web.api import asks

GOOD = """\
name: refund-bot
owner: olivia@example.com
team: refunds
labels: {region: eu}
boundary:
  - orders-db:read{region=eu}
bindings:
  - issuer: workloads
    claims: {sub: "system:serviceaccount:refunds:refund-bot"}
"""


def written(folder: Path, **files: str) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def faults(folder: Path) -> list[str]:
    """What is wrong, each as `file:line: message`, without the folder."""
    with pytest.raises(FilesInvalid) as caught:
        load_agents(folder)
    return [str(one).removeprefix(f"{folder}/") for one in caught.value.problems]


def test_a_file_is_read_with_the_lines_of_its_parts(tmp_path: Path) -> None:
    """Everything that a job may say of an agent."""
    (found,) = load_agents(written(tmp_path, bot=GOOD))
    assert found.wanted.name == "refund-bot"
    assert found.wanted.boundary == (Scope.parse("orders-db:read{region=eu}"),)
    sub = ("sub", "system:serviceaccount:refunds:refund-bot")
    assert found.wanted.bindings == (NewBinding("workloads", (sub,)),)
    assert str(found.problem("boundary", "no")) == f"{tmp_path}/bot.yaml:5: no"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("team: refunds", "team: Refunds", "bot.yaml:3: team is not of its form"),
        ("team: refunds\n", "", "bot.yaml:1: team is missing"),
        ("owner: olivia@example.com", "owner: Olivia", "bot.yaml:2: owner is not of its form"),
        ("team: refunds", "team: refunds\nadmin: true", "bot.yaml:4: unknown key 'admin'"),
        ("team: refunds", "team: refunds\nteam: x", "bot.yaml:4: duplicate key 'team'"),
        ("{region: eu}", "{Region: eu}", "bot.yaml:4: a name in labels is not of its form"),
        ("{region: eu}", "{region: e u}", "bot.yaml:4: region is not of its form"),
        ("{region=eu}", "{region}", "bot.yaml:5: boundary: a parameter is key=value of"),
        ("    claims: {", "    claim: {", "bot.yaml:8: claims is missing"),
        ("{sub: ", "{'s ub': ", "bot.yaml:9: a name in claims is not of its form"),
        ("bindings:\n  - issuer", "bindings:\n    issuer", "bot.yaml:8: bindings must be a list"),
        ("{region: eu}", "&x {region: eu}", "bot.yaml:4: anchors are not allowed"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    """Before anything is sent."""
    assert old in GOOD
    found = faults(written(tmp_path, bot=GOOD.replace(old, new)))
    assert any(one.startswith(fault) for one in found), found


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    """So that one run tells all."""
    bad = GOOD.replace("team: refunds", "team: T").replace("olivia@example.com", "o")
    found = faults(written(tmp_path, a=bad, b=bad.replace("refund-bot", "refund-two")))
    assert [one.partition(": ")[0] for one in found] == [
        "a.yaml:2",
        "a.yaml:3",
        "b.yaml:2",
        "b.yaml:3",
    ]


def test_an_agent_has_one_file_and_an_identity_one_agent(tmp_path: Path) -> None:
    """Also an identity that every proof of another fits."""
    wider = GOOD.replace("name: refund-bot", "name: refund-two").replace(
        "{sub:", "{namespace: x, sub:"
    )
    found = faults(written(tmp_path, a=GOOD, b=GOOD, c=wider))
    assert found == [
        f"b.yaml:1: name is also in {tmp_path}/a.yaml",
        f"b.yaml:7: an identity is also in {tmp_path}/a.yaml",
        f"c.yaml:7: an identity is also in {tmp_path}/a.yaml",
        f"c.yaml:7: an identity is also in {tmp_path}/b.yaml",
    ]


def test_a_folder_without_an_agent_is_no_wish_to_have_none(tmp_path: Path) -> None:
    """Pruning by an empty folder would end everything."""
    assert faults(tmp_path) == [f"{tmp_path}: holds no agent"]
    assert faults(tmp_path / "nowhere") == [f"{tmp_path}/nowhere: is not a folder"]


def test_the_forms_are_those_of_the_contract() -> None:
    """What passes here is not refused there for its form."""
    contract = {queries.NAME, queries.EMAIL, asks.LABEL_VALUE}
    assert contract == {agent_files.NAME, agent_files.EMAIL, agent_files.LABEL_VALUE}
    schema = str(asks.AgentAsk.model_json_schema())
    for form in (agent_files.LABEL, agent_files.CLAIM, agent_files.CLAIM_VALUE):
        assert repr(f"^(?:{form})$")[1:-1] in schema
    assert repr(f"^(?:{agent_files.ISSUER})$")[1:-1] in schema
    most = {key: f"'{'maxProperties' if key in ('labels', 'claims') else 'maxItems'}': {count}"
            for key, count in agent_files.MOST.items()}
    assert all(told in schema for told in most.values())
