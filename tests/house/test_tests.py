"""The tests themselves: each claims something, says it in a sentence, and patches nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.measure import ROOT

CLAIMING = {"raises", "warns", "fail"}
PATCHING = ("monkeypatch.", "mocker.")
PAUSING = {
    "test_issuer.py": "the device flow demands its interval between two polls (RFC 8628 3.5)",
}


NOT_RAISING = {
    "test_every_object_is_valid_for_kubernetes",
    "test_a_binding_that_pins_one_identity_is_accepted",
    "test_every_catalogued_role_can_be_written",
}  # what they call raises when it is not so


def every_test() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every test function there is."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path, node


def called(node: ast.AST) -> set[str]:
    """The last names of everything called below a node."""
    names = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            function = inner.func
            names.add(getattr(function, "attr", getattr(function, "id", "")))
    return names


def claiming_functions() -> set[str]:
    """Functions of the tests that assert something for others."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and _claims(node, set()):
                found.add(node.name)
    return found


def test_no_test_is_without_a_claim() -> None:
    """Each asserts, or expects an error, itself or in a function of the tests that it calls."""
    claiming = claiming_functions()
    empty = [
        f"{path.name}:{node.name}" for path, node in every_test() if not _claims(node, claiming)
    ]
    assert [name for name in empty if name.split(":")[1] not in NOT_RAISING] == []


def test_every_test_says_what_is_true() -> None:
    """A docstring under a name that is a sentence."""
    silent = [f"{p.name}:{n.name}" for p, n in every_test() if not ast.get_docstring(n)]
    assert silent == []
    short = [f"{p.name}:{n.name}" for p, n in every_test() if n.name.count("_") < 2]
    assert short == []


def test_no_test_patches_anything() -> None:
    """Fakes are real things of our own; only the environment of a process may be set."""
    guilty = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text())
        imported = {
            name.name.split(".")[-1]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        }
        patched = {
            ast.unparse(node.func).split(".")[-1]
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(PATCHING)
        }
        if imported & {"mock", "patch"} or patched - {"setenv", "delenv", "chdir"}:
            guilty.append(path.name)
    assert guilty == []


def test_waiting_is_polling() -> None:
    """A pause stands in a loop that looks; a wait of a fixed time proves nothing."""
    pausing = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text())
        loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]
        looped = {id(inner) for loop in loops for inner in ast.walk(loop)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "sleep":
                pausing += [] if id(node) in looped else [path.name]
    assert sorted(set(pausing) - PAUSING.keys()) == []


def _claims(node: ast.FunctionDef, others: set[str]) -> bool:
    asserts = any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
    return asserts or bool(called(node) & (CLAIMING | others))
