"""`valetkey apply`: registered agents made equal to reviewed files, by a CI job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.desk import DONE, REFUSED, WAITING, Desk, stands_at_desk

COLUMNS = ("agent", "what", "part", "was", "becomes", "then")
MOST_AGENTS, MOST_BYTES = 64, 48 * 1024
AT_ONCE, WAITS, NO, KEPT = "at once", "waits for a person", "refused by a person", "kept"
FAILED, DRIFT = "failed", "drift"
Json = dict[str, Any]


@dataclass(frozen=True)
class Outlook:
    """The broker's plan for all files: its agents, and the rule's others by their digest."""

    agents: Sequence[Json]
    others: Mapping[str, str]


@dataclass
class Report:
    """What is planned, line by line, and what came of it."""

    prune: bool
    lines: list[Json] = field(default_factory=list)

    def add(self, agent: str, change: Json, then: str) -> None:
        """One more line."""
        members = {name: change.get(name, "") for name in ("what", "part", "was", "becomes")}
        self.lines.append({"agent": agent, **members, "then": then})

    def has(self, then: str) -> bool:
        """Whether a line ends so."""
        return any(line["then"] == then for line in self.lines)

    def fail(self, agent: str, code: str) -> None:
        """What was to be done at once about an agent was not."""
        for line in self.lines:
            if line["agent"] == agent and line["then"] in (AT_ONCE, WAITS):
                line["then"] = f"{FAILED}: {code}"

    @property
    def code(self) -> int:
        """How the command exits."""
        failed = any(str(line["then"]).startswith(FAILED) for line in self.lines)
        if failed or self.has(NO):
            return REFUSED
        return WAITING if self.has(WAITS) else DONE


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only read the files; nobody is asked.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change; change nothing.")
@click.option("--prune", is_flag=True, help="Take away what no file names, too.")
@stands_at_desk("workload")
def apply(desk: Desk, folder: Path, check: bool, only_plan: bool, prune: bool) -> int:
    """Make agents equal to the files in FOLDER/agents; what widens waits for a person."""
    from valetkey.cli.catalogue import problems_told
    from valetkey.policy.agent_files import load_agents
    from valetkey.policy.problems import FilesInvalid

    try:
        files = load_agents(folder / "agents")
    except FilesInvalid as wrong:
        return problems_told(desk.screen, list(wrong.problems))
    if check:
        return problems_told(desk.screen, [])
    bodies = {one.wanted.name: body_of(one.wanted) for one in files}
    outlook = planned(desk, list(bodies.values()))
    told = {agent["name"]: agent["problems"] for agent in outlook.agents}
    problems = [
        one.problem(no["part"], f"{no['part']}: {no['detail']} ({no['code']})")
        for one in files
        for no in told[one.wanted.name]
    ]
    if problems:
        return problems_told(desk.screen, sorted(problems))
    report = reported(outlook, prune)
    if not only_plan:
        for agent in outlook.agents:
            carried_out(desk, agent, bodies[agent["name"]], report)
        for name, digest in outlook.others.items() if prune else ():
            _tried(desk, report, name, "POST", f"{_path(name)}/disable", {}, digest)
    return _shown(desk, report, only_plan)


def body_of(wanted: Any) -> Json:
    """What a file wants, as the contract takes it."""
    bindings = [{"issuer": x.issuer, "claims": dict(x.claims)} for x in wanted.bindings]
    return {
        "name": wanted.name,
        "owner": wanted.owner,
        "team": wanted.team,
        "labels": dict(wanted.labels),
        "boundary": [str(scope) for scope in wanted.boundary],
        "bindings": bindings,
    }


def planned(desk: Desk, bodies: Sequence[Json]) -> Outlook:
    """The broker's plan, asked for in as many parts as fit into its limits."""
    named = {body["name"] for body in bodies}
    agents: list[Json] = []
    others: dict[str, str] = {}
    for part in portions(bodies):
        found = desk.post("/v1/provisioning/plan", {"agents": part})
        agents += found["agents"]
        others |= {x["name"]: x["digest"] for x in found["others"] if x["name"] not in named}
    return Outlook(agents, others)


def portions(bodies: Sequence[Json]) -> Iterator[list[Json]]:
    """The bodies in order, in parts that one call may carry."""
    part: list[Json] = []
    size = 0
    for body in bodies:
        length = len(json.dumps(body)) + 2
        if part and (len(part) == MOST_AGENTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(body)
        size += length
    yield part


def reported(outlook: Outlook, prune: bool) -> Report:
    """The lines of the plan, each with what becomes of it."""
    report = Report(prune)
    for agent in outlook.agents:
        for change in agent["changes"]:
            if change["what"] == "unbind" and not prune:
                report.add(agent["name"], {**change, "what": DRIFT}, KEPT)
            elif change["waits"]:
                report.add(agent["name"], change, NO if agent["refused"] else WAITS)
            else:
                report.add(agent["name"], change, AT_ONCE)
    for name in sorted(outlook.others):
        what = "disable" if prune else DRIFT
        change = {"what": what, "part": "agent", "was": "in no file"}
        report.add(name, change, AT_ONCE if prune else KEPT)
    return report


def carried_out(desk: Desk, agent: Json, body: Json, report: Report) -> None:
    """Have one agent changed as planned, unless nothing is to be sent for it."""
    name, prune = agent["name"], report.prune
    if agent["digest"] is None:
        _tried(desk, report, name, "POST", "/v1/agents", body, None)
        return
    waiting_already = agent["proposal"] is not None
    for change in agent["changes"]:
        if change["waits"] and waiting_already:
            continue
        if change["what"] == "unbind" and not prune:
            continue
        _tried(desk, report, name, "PUT", _path(name), body, agent["digest"])
        return


def _tried(
    desk: Desk, report: Report, name: str, method: str, path: str, body: Json, digest: str | None
) -> None:
    """One call; a refusal (somebody was quicker) is told, and the other agents go on."""
    from valetkey.agentside.wire import Refusal

    headers = {} if digest is None else {"If-Match": f'"{digest}"'}
    query = {"prune": "true"} if method == "PUT" and report.prune else None
    try:
        desk.broker.call(method, path, json=body, query=query, headers=headers)
    except Refusal as no:
        report.fail(name, no.code)
        desk.screen.aside(f"{name}: {no.code}: {no.detail}")


def _path(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"


def _shown(desk: Desk, report: Report, only_plan: bool) -> int:
    status = {DONE: "done", WAITING: "waiting", REFUSED: "refused"}[report.code]
    document = {"status": status, "planned_only": only_plan, "changes": report.lines}
    if desk.screen.as_json:
        desk.screen.document(document)
        return report.code
    if report.lines:
        desk.screen.listed(document, COLUMNS, report.lines)
    if not any(line["then"] not in (KEPT, NO, WAITS) for line in report.lines):
        desk.screen.say("Nothing to do." if not report.has(WAITS) else "The rest waits for people.")
    if report.has(WAITS):
        desk.screen.aside("The owner or an operator decides: valetkey agent proposals")
    if report.has(KEPT):
        desk.screen.aside("What no file names is kept; --prune takes it away.")
    return report.code
