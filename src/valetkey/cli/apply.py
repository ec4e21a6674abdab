"""`valetkey apply`: agents, catalogue and policies made equal to reviewed files, by a CI job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.apply_rules import NOTHING, RulesReport, rules_applied
from valetkey.cli.desk import DONE, REFUSED, WAITING, Desk, stands_at_desk

COLUMNS = ("agent", "what", "part", "was", "becomes", "then")
MOST_AGENTS, MOST_BYTES = 64, 48 * 1024
PARTS = ("agents", "catalogue", "policies")
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
    rules: RulesReport | None = None

    def take(self, outlook: Outlook) -> None:
        """The lines of the plan, each with what becomes of it."""
        for agent in outlook.agents:
            for change in agent["changes"]:
                if change["what"] == "unbind" and not self.prune:
                    self.add(agent["name"], {**change, "what": DRIFT}, KEPT)
                elif change["waits"]:
                    self.add(agent["name"], change, NO if agent["refused"] else WAITS)
                else:
                    self.add(agent["name"], change, AT_ONCE)
        for name in sorted(outlook.others):
            what = "disable" if self.prune else DRIFT
            change = {"what": what, "part": "agent", "was": "in no file"}
            self.add(name, change, AT_ONCE if self.prune else KEPT)

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
        of_rules = self.rules.code if self.rules else DONE
        if failed or self.has(NO) or of_rules == REFUSED:
            return REFUSED
        return WAITING if self.has(WAITS) or of_rules == WAITING else DONE


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only read the files; nobody is asked.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change; change nothing.")
@click.option("--prune", is_flag=True, help="Take away what no file names, too.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only this part; repeat it.")
@click.option("--group", "groups", multiple=True, help="With --check: a group that may approve.")
@stands_at_desk("workload")
def apply(desk: Desk, /, folder: Path, **said: Any) -> int:
    """Make agents, catalogue and policies equal to the files in FOLDER; what widens waits."""
    from valetkey.agentside.wire import Refusal
    from valetkey.cli.catalogue import problems_told
    from valetkey.policy.problems import Problem

    reviewed = Reviewed.of(folder, said["only"])
    problems = reviewed.problems(said["groups"] if said["check"] else None)
    if problems or said["check"]:
        return problems_told(desk.screen, problems)
    files, texts = reviewed.agents(), reviewed.folders.files()
    try:
        rules = rules_applied(desk, texts, said["only_plan"]) if texts else None
    except Refusal as no:
        if no.code != "rules_invalid":
            raise
        told = (Problem(x["file"], x["line"], x["message"]) for x in no.extra["problems"])
        return problems_told(desk.screen, sorted(map(reviewed.folders.placed, told)))
    report = Report(said["prune"], rules=rules)
    problems = agents_applied(desk, files, report, said["only_plan"]) if files else []
    if problems:
        return problems_told(desk.screen, problems)
    return _shown(desk, report, said["only_plan"])


@dataclass(frozen=True)
class Reviewed:
    """The parts of a reviewed folder that a run is about."""

    folder: Path
    with_agents: bool
    folders: Any

    @classmethod
    def of(cls, folder: Path, only: Sequence[str]) -> Reviewed:
        """Those that it has, or those of them that were named; raises ValueError for none."""
        from valetkey.policy.rule_files import Folders

        found = [part for part in PARTS if (folder / part).exists()]
        if missing := sorted(set(only) - set(found)):
            raise ValueError(f"{folder} has no folder {missing[0]}")
        wanted = set(only or found)
        if not wanted:
            raise ValueError(f"{folder} has none of the folders {', '.join(PARTS)}")
        rules = (folder / part if part in wanted else None for part in PARTS[1:])
        return cls(folder, PARTS[0] in wanted, Folders(*rules))

    def problems(self, groups: Sequence[str] | None) -> list[Any]:
        """All that is wrong with the files of every part; with `groups` they are tested, too."""
        from valetkey.policy.problems import FilesInvalid

        rules = self.folders.files if groups is None else lambda: self.folders.check(groups)
        found: list[Any] = []
        for read in (self.agents, rules):
            try:
                read()
            except FilesInvalid as wrong:
                found += wrong.problems
        return sorted(found)

    def agents(self) -> Sequence[Any]:
        """The files of agents; raises FilesInvalid."""
        from valetkey.policy.agent_files import load_agents

        return load_agents(self.folder / PARTS[0]) if self.with_agents else ()


def agents_applied(desk: Desk, files: Sequence[Any], report: Report, only_plan: bool) -> list[Any]:
    """Plan all agents and carry it out; what stands against it, and then nothing was changed."""
    bodies = {one.wanted.name: body_of(one.wanted) for one in files}
    outlook = planned(desk, list(bodies.values()))
    told = {agent["name"]: agent["problems"] for agent in outlook.agents}
    problems = [
        one.problem(no["part"], f"{no['part']}: {no['detail']} ({no['code']})")
        for one in files
        for no in told[one.wanted.name]
    ]
    if problems:
        return sorted(problems)
    report.take(outlook)
    if not only_plan:
        for agent in outlook.agents:
            carried_out(desk, agent, bodies[agent["name"]], report)
        for name, digest in outlook.others.items() if report.prune else ():
            _tried(desk, report, name, "POST", f"{_path(name)}/disable", {}, digest)
    return []


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
    if report.rules is not None:
        document["rules"] = report.rules.document()
    if desk.screen.as_json:
        desk.screen.document(document)
        return report.code
    if report.rules is not None:
        report.rules.tell(desk)
    if report.lines:
        desk.screen.listed(document, COLUMNS, report.lines)
    moved = report.rules is not None and report.rules.then != NOTHING
    if not moved and not any(x["then"] not in (KEPT, NO, WAITS) for x in report.lines):
        desk.screen.say("Nothing to do." if not report.has(WAITS) else "The rest waits for people.")
    if report.has(WAITS):
        desk.screen.aside("The owner or an operator decides: valetkey agent proposals")
    if report.has(KEPT):
        desk.screen.aside("What no file names is kept; --prune takes it away.")
    return report.code
