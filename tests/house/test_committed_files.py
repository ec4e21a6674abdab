"""What is committed: no address of a registry, no path of one machine, no secret, no empty page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from tests.house.measure import ROOT

# Written with a needless class of one letter, so that this file does not hold what it looks for.
HOSTS = re.compile(r"(?i)pyp[i]\.org|python[h]osted\.org|registry\.npm[j]s|deb\.deb[i]an\.org")
PATHS = re.compile(r"/wor[k]/|/roo[t]/|/hom[e]/(?!nonroot|valetkey)[a-z]")
KEYS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVAT[E] KEY-----|\bhvs\.[A-Za-z0-9]{20}|\bAKIA[A-Z0-9]{16}\b"
)
KEY = ("-----BEGIN PRIV", "ATE KEY-----")


def committed() -> Iterator[tuple[str, str]]:
    """Every committed text file: its path and its text."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(errors="replace")


def holding(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern stands, as path and line."""
    return [
        f"{name}:{number}"
        for name, text in committed()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_registry() -> None:
    """Requirements are pinned by hash, and come from wherever one is told to get them."""
    assert holding(HOSTS) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """Nothing is true only where it was written."""
    assert holding(PATHS) == []


def test_no_file_holds_a_key() -> None:
    """Keys are made when they are needed."""
    assert holding(KEYS) == []


def test_what_is_looked_for_would_be_found() -> None:
    """Each pattern matches what it is meant for."""
    apart = {HOSTS: ("py", "pi.org/simple"), PATHS: ("cd /wo", "rk/main"), KEYS: KEY}
    assert all(pattern.search("".join(parts)) for pattern, parts in apart.items())
