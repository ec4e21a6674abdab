"""Policy tests as files: `policies/tests/*.yaml`, asks with the decision each should get.

```yaml
tests:
  - name: a refunds agent reads its own region
    agent: {team: refunds, labels: {region: eu}}
    ask: orders-db:read{region=eu}        # or start_task: [scopes the task declares]
    ttl: 5m
    approvals: {valetkey-approvers: 1}
    expect: allow                         # allow | needs_approval | deny
    rules: [refunds-read]                 # optional: exactly the determining rules
```

Also known: `task` {id, owner, scopes}, `depth`, `on_behalf_of` with `person` {email, groups},
`untrusted_input`, `at` (an ISO 8601 time with offset, quoted), `needs` {group: count}, `max_ttl`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from valetkey.core.agent import Agent, AgentState
from valetkey.core.catalogue import Catalogue
from valetkey.core.decision import Outcome, Question
from valetkey.core.errors import BrokerError
from valetkey.core.on_behalf import Person
from valetkey.core.scope import Scope
from valetkey.policy.problems import Problem
from valetkey.policy.section import Section
from valetkey.policy.texts import Texts, read_folder

_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
_DEFAULT_TTL = timedelta(minutes=5)


@dataclass(frozen=True)
class Expected:
    """What a case says of its decision; None or empty says nothing."""

    outcome: Outcome
    rules: tuple[str, ...] | None = None
    needs: dict[str, int] = field(default_factory=dict)
    max_ttl: timedelta | None = None


@dataclass(frozen=True)
class Case:
    """One ask with the decision it should get."""

    file: str
    line: int
    name: str
    question: Question
    expected: Expected


def load_cases(folder: Path, catalogue: Catalogue) -> tuple[list[Case], list[Problem]]:
    """Read every case below `folder`; a folder that does not exist holds none."""
    problems: list[Problem] = []
    texts = read_folder(folder, ".yaml", problems) if folder.exists() else {}
    cases, found = read_cases(texts, catalogue)
    return cases, problems + found


def read_cases(texts: Texts, catalogue: Catalogue) -> tuple[list[Case], list[Problem]]:
    """Read every case of these texts, and all that is wrong with them."""
    problems: list[Problem] = []
    cases: list[Case] = []
    for top in Section.tops(texts, problems, "a test file"):
        cases += _cases(top, catalogue)
    return cases, problems


def _cases(top: Section, catalogue: Catalogue) -> list[Case]:
    listed = top.entries.get("tests")
    top.read.add("tests")
    top.finish()
    if listed is None or not isinstance(listed.node.value, tuple):
        top.note(top.line_of("tests"), "tests must be a list")
        return []
    sections = [Section.of(n, top.file, top.problems, "a test") for n in listed.node.value]
    return [case for section in sections if (case := _case(section, catalogue)) is not None]


def _case(section: Section, catalogue: Catalogue) -> Case | None:
    before = len(section.problems)
    name = section.text("name") or ""
    question = _question(section, catalogue)
    expected = _expected(section)
    section.finish()
    if len(section.problems) > before or expected is None:
        return None
    return Case(section.file, section.line, name, question, expected)


def _question(section: Section, catalogue: Catalogue) -> Question:
    ask = section.text("ask", required=False)
    starts = section.texts("start_task", required=False)
    if (ask is None) == ("start_task" not in section.entries):
        section.note(section.line, "a test has either ask or start_task")
    wanted = None
    if ask is not None and (scope := _scope(section, "ask", ask)) is not None:
        try:
            wanted = catalogue.find(scope)
        except BrokerError as error:
            section.note(section.line_of("ask"), error.detail)
    task = section.section("task", required=False)
    declared = task.texts("scopes", required=False) if task else ()
    question = Question(
        agent=_agent(section.section("agent")),
        ttl=section.duration("ttl", required=False) or _DEFAULT_TTL,
        now=_instant(section),
        task_id=(task.text("id", required=False) if task else None) or "task_test",
        task_owner=(task.text("owner", required=False) if task else None) or "owner@example.com",
        task_scopes=_declared(section, starts or declared or ((ask,) if ask else ())),
        wanted=wanted,
        approvals=_counts(section, "approvals"),
        depth=section.integer("depth", required=False) or 0,
        person=_person(section),
        untrusted_input=section.boolean("untrusted_input", required=False) or False,
    )
    if task:
        task.finish()
    return question


def _person(section: Section) -> Person | None:
    """On whose behalf: the principal, and beside it what that person's proof said."""
    principal = section.text("on_behalf_of", required=False)
    said = section.section("person", required=False)
    email = (said.text("email", required=False) if said else None) or "person@example.com"
    groups = said.texts("groups", required=False) if said else ()
    if said:
        said.finish()
        if principal is None:
            section.note(section.line_of("person"), "person goes with on_behalf_of")
    return Person(principal, email, tuple(groups)) if principal is not None else None


def _agent(section: Section | None) -> Agent:
    def text(key: str, default: str) -> str:
        return (section.text(key, required=False) if section else None) or default

    labels = section.section("labels", required=False) if section else None
    keys = labels.entries if labels else {}
    found = {key: labels.text(key) or "" for key in keys} if labels else {}
    agent = Agent(
        id=text("id", "agent_test"),
        name=text("name", "test"),
        owner=text("owner", "owner@example.com"),
        team=text("team", "none"),
        environment=text("environment", "production"),
        labels=found,
        boundary=(),
        state=AgentState.ACCEPTED,
        created_by="test",
        created_by_rule=None,
        created_at=_NOON,
    )
    if section:
        section.finish()
    return agent


def _expected(section: Section) -> Expected | None:
    word = section.text("expect")
    rules = section.texts("rules", required=False) if "rules" in section.entries else None
    needs = _counts(section, "needs")
    max_ttl = section.duration("max_ttl", required=False)
    if word is None:
        return None
    if word not in set(Outcome):
        section.note(section.line_of("expect"), "expect must be one of " + ", ".join(Outcome))
        return None
    return Expected(Outcome(word), rules, needs, max_ttl)


def _counts(section: Section, key: str) -> dict[str, int]:
    below = section.section(key, required=False)
    return {name: below.integer(name) or 0 for name in below.entries} if below else {}


def _declared(section: Section, texts: tuple[str, ...]) -> tuple[Scope, ...]:
    scopes = (_scope(section, "task", text) for text in texts)
    return tuple(scope for scope in scopes if scope is not None)


def _scope(section: Section, key: str, text: str) -> Scope | None:
    try:
        return Scope.parse(text)
    except BrokerError as error:
        section.note(section.line_of(key), error.detail)
        return None


def _instant(section: Section) -> datetime:
    text = section.text("at", required=False)
    if text is None:
        return _NOON
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        section.note(section.line_of("at"), "at must be an ISO 8601 time with its offset")
        return _NOON
    return at
