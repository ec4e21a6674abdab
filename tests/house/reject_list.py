"""Makes docs/reference/reject-list.md from the rows, and finds the test of each.

python -m tests.house.reject_list
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from tests.house.measure import ROOT
from tests.identity.reject_rows import ROWS
from tests.identity.reject_rules import RULES

PAGE = ROOT / "docs" / "reference" / "reject-list.md"
CASES = "identity/test_reject_list.py::test_a_token_is_refused_by_the_rule"
HEAD = """\
# The reject list

What is refused of tokens and proofs that come in, one row for each rule: 3.5 by platform, 3.6 for
any JWT, 3.7 for DPoP proofs. A case is tried at each slot that it makes sense for: the
`subject_token` of a workload and of a person, the `assertion` of jwt-bearer, the `client_assertion`
of an agent and of a resource server, our own access token, and the DPoP proof of a call and of a
token request. X.509 certificates and what is not built (WIMSE) are not listed. This page is made
from the tests: `python -m tests.house.reject_list`.
"""


def cases_of(row: str) -> list[str]:
    """The names of the cases under a row, without its number."""
    return [rule.id.removeprefix(f"{row}-") for rule in RULES if rule.id.startswith(f"{row}-")]


def page() -> str:
    """The whole page."""
    lines = [HEAD, "| rule | refused | cases | tests beside |", "|---|---|---|---|"]
    for name, row in ROWS.items():
        cases = ", ".join(case.replace("-", " ") for case in cases_of(name))
        tests = "<br>".join(f"`{test}`" for test in row.tests)
        lines.append(f"| {name} | {row.refused} | {cases} | {tests} |")
    count = sum(len(rule.slots) for rule in RULES)
    lines += ["", f"{len(RULES)} cases, {count} with their slots, run by `{CASES}`.", ""]
    return "\n".join(lines)


def complaints() -> list[str]:
    """Rows without a test, cases without a row, and tests that are not there."""
    found = [
        f"{name} has no test" for name, row in ROWS.items() if not row.tests and not cases_of(name)
    ]
    found += [rule.id for rule in RULES if not any(rule.id.startswith(f"{x}-") for x in ROWS)]
    return found + [test for row in ROWS.values() for test in row.tests if not is_there(test)]


def is_there(test: str) -> bool:
    """Whether `file::test` or `file::test[case]` is a test that would be run."""
    named = re.fullmatch(r"(\w+)/(\w+)\.py::(test_\w+)(?:\[(.*)\])?", test)
    if named is None or not (ROOT / "tests" / named[1] / f"{named[2]}.py").exists():
        return False
    module = importlib.import_module(f"tests.{named[1]}.{named[2]}")
    function = getattr(module, named[3], None)
    if not isinstance(function, FunctionType):
        return False
    return named[4] is None or named[4] in _cases(function)


def _cases(function: FunctionType) -> Sequence[Any]:
    """The values of its one parametrised argument."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    return list(marks[0].args[1]) if len(marks) == 1 else []


if __name__ == "__main__":
    PAGE.write_text(page())
