"""What our pages tell people to type exists, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.house.test_reference_cli import commands
from valetkey.core.invariants import CHECKED, ELSEWHERE

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KNOWN = dict(commands())


def commands_told(text: str) -> set[str]:
    """Every `valetkey ...` line of a code block and every such word in running text."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines()]
    found = {line for line in lines if line.startswith("valetkey ")}
    running = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return found | set(re.findall(r"`(valetkey [a-z][^`\n]*)`", running))


def fault_of(line: str) -> str | None:
    """What is wrong with one command line as told; None when it could be typed."""
    words = shlex.split(line, comments=True)[1:]
    if words[:1] == ["--profile"]:
        words = words[2:]
    name = next(
        (n for n in (" ".join(["valetkey", *words[:k]]) for k in (2, 1)) if n in KNOWN), None
    )
    if name is None:
        nouns = {known.split()[1] for known in KNOWN}
        alone = len(words) == 1 or all("|" in word for word in words[1:])
        return None if words[0] in nouns and alone else "no such command"
    taken = words[: words.index("--")] if "--" in words else words
    options = {opt for parameter in KNOWN[name].params for opt in parameter.opts}
    unknown = [word for word in taken if word.startswith("--") and word not in options]
    return f"no such option: {unknown}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page: Path) -> None:
    """Command and options of every line that a reader might type are known to the CLI."""
    faults = {line: fault_of(line) for line in commands_told(page.read_text())}
    assert not {line: fault for line, fault in faults.items() if fault}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    """What `make` is asked for stands in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.M)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Relative links name a file that exists, and a heading that stands in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            slugs = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert heading in slugs, link


def test_every_invariant_that_doctor_checks_is_explained() -> None:
    """The table of operations.md names the invariants of the code, in order."""
    page = (ROOT / "docs" / "operations.md").read_text()
    assert tuple(re.findall(r"^\| (I\d+) \|", page, re.M)) == CHECKED
    assert re.findall(r"^- (I\d+): ", page, re.M) == list(ELSEWHERE)


def test_commands_that_do_not_exist_are_found() -> None:
    """The check itself finds a missing command and a missing option."""
    assert fault_of("valetkey frobnicate now") == "no such command"
    assert fault_of("valetkey --profile dev lease list --colour") is not None
    assert isinstance(KNOWN["valetkey lease list"], click.Command)
