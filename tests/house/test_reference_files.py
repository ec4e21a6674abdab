"""docs/reference/files.md names every key the loaders read, and its examples load."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.house.pages import REFERENCE, first_cells
from valetkey.policy import agent_files, aws_target, cases, catalogue, schema
from valetkey.policy.agent_files import load_agents
from valetkey.policy.cases import load_cases
from valetkey.policy.cedar_files import ANNOTATIONS
from valetkey.policy.rules import Rules, load_rules

READERS = {"text", "texts", "boolean", "integer", "duration", "section"}
FUNCTIONS = {"_matching", "_counts", "_pairs"}


def keys_read(module: ModuleType) -> set[str]:
    """Every key that a loader asks a section for, as it stands in its source."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call):
            called = node.func
            reads = isinstance(called, ast.Attribute) and called.attr in READERS
            reads = reads or (isinstance(called, ast.Name) and called.id in FUNCTIONS)
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if reads:
                found |= {text for text in texts if isinstance(text, str)}
    return found


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rules]:
    """The page's examples, laid out as files and loaded."""
    folder = tmp_path_factory.mktemp("files")
    page = (REFERENCE / "files.md").read_text()
    for block in re.findall(r"```(?:yaml|cedar)\n(.*?)```", page, re.S):
        path = folder / re.match(r"(?:#|//) (\S+)\n", block)[1]  # type: ignore[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    groups = ("valetkey-approvers",)
    return folder, load_rules(folder / "catalogue", folder / "policies", groups)


def test_the_examples_of_the_page_load(loaded: tuple[Path, Rules]) -> None:
    """Catalogue and policies of the page are accepted as they stand."""
    folder, rules = loaded
    assert sorted(rules.catalogue.targets) == ["orders-db", "orders-exports", "reports-api"]
    found, problems = load_cases(folder / "policies" / "tests", rules.catalogue)
    assert len(found) == 1 and not problems


def test_every_key_of_the_catalogue_is_documented() -> None:
    """What the loader reads is what the page lists."""
    told = set(first_cells("files.md", "Catalogue"))
    assert told == keys_read(catalogue) | keys_read(aws_target) | {"enum", "session_policy"}


def test_every_key_of_a_policy_test_is_documented() -> None:
    """What the loader reads is on the page; those of agent, person and task stand in their rows."""
    told = set(first_cells("files.md", "Policy tests"))
    read = keys_read(cases) - {"tests"}
    assert told == read - {"id", "owner", "scopes", "labels", "email", "groups"}


def test_every_key_of_an_agent_is_documented(loaded: tuple[Path, Rules]) -> None:
    """And the example is an agent."""
    (example,) = load_agents(loaded[0] / "agents")
    assert example.wanted.name == "refund-bot"
    read = keys_read(agent_files) | {"name", "owner", "team", "issuer", "bindings"}
    assert set(first_cells("files.md", "Agents")) == read


def test_every_annotation_and_context_attribute_is_documented() -> None:
    """The page lists the annotations that load and the context that the schema declares."""
    told = first_cells("files.md", "Policies")
    assert {cell[1:] for cell in told if cell.startswith("@")} == ANNOTATIONS
    context = {cell.removeprefix("context.") for cell in told if cell.startswith("context.")}
    assert context == schema._common(()).keys() | {"parameters"}
