"""`policy check` and `policy test` as values: what is wrong, and which tests hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from valetkey.core.decision import Decision
from valetkey.policy.cases import Case, Expected, load_cases, read_cases
from valetkey.policy.catalogue import load_catalogue
from valetkey.policy.problems import FilesInvalid, PolicyInvalid, Problem
from valetkey.policy.rules import TESTS, Rules, load_rules, read_rules, texts_in
from valetkey.policy.texts import Texts


@dataclass(frozen=True)
class PolicyTestResult:
    """One policy test: where it stands, and in `failure` what was not as told (None: it holds)."""

    file: str
    line: int
    name: str
    failure: str | None

    @property
    def passed(self) -> bool:
        """True when the decision was as told."""
        return self.failure is None


def check_catalogue(folder: Path) -> list[Problem]:
    """Everything wrong with a catalogue; empty when it may be used."""
    try:
        load_catalogue(folder)
    except FilesInvalid as error:
        return list(error.problems)
    return []


def check(catalogue: Path, policies: Path, groups: Iterable[str]) -> list[Problem]:
    """Everything wrong with catalogue, policies and policy tests; empty when all may be used."""
    try:
        rules = load_rules(catalogue, policies, groups)
    except FilesInvalid as error:
        return list(error.problems)
    _, problems = load_cases(policies / "tests", rules.catalogue)
    return sorted(problems)


def run_policy_tests(
    catalogue: Path, policies: Path, groups: Iterable[str]
) -> list[PolicyTestResult]:
    """Decide every case of `policies/tests/*.yaml`.

    Raises CatalogueInvalid or PolicyInvalid when the files cannot be used at all.
    """
    rules = load_rules(catalogue, policies, groups)
    return _results(rules, *load_cases(policies / "tests", rules.catalogue))


def prove(files: Texts, groups: Iterable[str]) -> Rules:
    """Read a version of the rules from texts by name, and decide each of its policy tests.

    Raises FilesInvalid with every fault, a failing test among them, by file and line.
    """
    rules = read_rules(files, groups)
    results = _results(rules, *read_cases(texts_in(files, TESTS), rules.catalogue))
    failed = [x for x in results if not x.passed]
    if failed:
        faults = (Problem(x.file, x.line, f"test {x.name!r}: {x.failure}") for x in failed)
        raise PolicyInvalid(faults)
    return rules


def _results(
    rules: Rules, cases: Iterable[Case], problems: list[Problem]
) -> list[PolicyTestResult]:
    if problems:
        raise PolicyInvalid(problems)
    return [_result(case, rules.policy.decide(case.question)) for case in cases]


def _result(case: Case, decision: Decision) -> PolicyTestResult:
    failure = "; ".join(_differences(case.expected, decision)) or None
    return PolicyTestResult(case.file, case.line, case.name, failure)


def _differences(expected: Expected, decision: Decision) -> Iterator[str]:
    if decision.problem:
        yield decision.problem
    if decision.outcome is not expected.outcome:
        yield f"expected {expected.outcome}, got {decision.outcome}"
    if expected.rules is not None and set(expected.rules) != set(decision.rules):
        yield f"expected rules {_listed(expected.rules)}, got {_listed(decision.rules)}"
    if expected.needs and expected.needs != dict(decision.needs):
        yield f"expected needs {expected.needs}, got {dict(decision.needs)}"
    if expected.max_ttl is not None and expected.max_ttl != decision.max_ttl:
        yield f"expected max_ttl {expected.max_ttl}, got {decision.max_ttl}"


def _listed(rules: Iterable[str]) -> str:
    return ", ".join(sorted(rules)) or "none"
