"""What a refusal tells to do is told in the words of where it is read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.pages import rows
from tests.house.test_pages_are_true import commands_told, fault_of
from valetkey.cli.next_actions import INSTEAD, OWN, UNKNOWN, next_action
from valetkey.core.errors import catalogue

CLI = Path(__file__).parents[2] / "src" / "valetkey" / "cli"
OF_REQUESTS = re.compile(
    r"\b(GET|POST|PUT|PATCH)\b|/v1|/oauth2|\bJSON\b|\bDPoP\b|header|Redeliver:|readyz|\broutes?\b"
    r"|Idempotency|`(ttl|scope|detail|seal_to|renewable_for)`"
)
SEALS = {"sealing_required", "sealing_failed"}
"""The command line does not ask for sealed answers, so that its words would be nobody's."""


def told(code: str, next_action_there: str) -> str:
    """What the command line says of a refusal of the broker's."""
    return next_action({"code": code, "status": 400, "next_action": next_action_there})


@pytest.mark.parametrize("error", catalogue(), ids=lambda error: error.code)
def test_the_command_line_speaks_of_commands(error: type) -> None:
    """No header, route or member of a body; every command that it names exists."""
    words = told(error.code, error.next_action)
    assert words.endswith(".")
    if error.code not in SEALS:
        assert not OF_REQUESTS.search(words), words
    assert [fault for line in commands_told(words) if (fault := fault_of(line))] == []


def test_what_is_said_instead_is_of_codes_that_exist() -> None:
    """And the command's own codes are no codes of the broker's."""
    codes = {error.code for error in catalogue()}
    assert INSTEAD.keys() <= codes
    assert not OWN.keys() & codes


def test_the_page_tells_what_is_said_instead() -> None:
    """`docs/reference/cli.md` has both tables as the code has them."""
    meant = {(f"`{code}`", words) for code, words in {**INSTEAD, **OWN}.items()}
    assert set(rows("cli.md", "Refusals")) == meant


def test_every_refusal_made_by_a_command_has_a_code_that_is_listed() -> None:
    """Whatever text stands as `code` where a command refuses is of the catalogue or its own."""
    known = {error.code for error in catalogue()} | OWN.keys()
    made = set()
    for path in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                made |= {ast.literal_eval(v) for k, v in pairs if _is_code(k) and _is_text(v)}
    assert {"unreachable", "login_failed"} <= made <= known


def test_an_answer_that_is_nobodys_is_told_as_such() -> None:
    """A page of a proxy has neither our code nor something to do."""
    assert next_action({"code": "http_502", "status": 502}) == UNKNOWN
    assert told("newer_than_we_know", "Do that.") == "Do that."


def _is_code(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == "code"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
