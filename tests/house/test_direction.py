"""The rooms and their direction, as the linter sees them."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path
from subprocess import run

from tests.house.measure import ROOT

LINTER = Path(sysconfig.get_path("scripts")) / "lint-imports"


def test_rooms_import_only_inwards() -> None:
    """All contracts of import-linter are kept."""
    done = run([sys.executable, LINTER, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_settings_are_read_in_one_place() -> None:
    """No room that thinks or decides looks at the environment."""
    inner = ("core", "flows", "identity", "policy", "store", "minters", "web")
    readers = [
        path.relative_to(ROOT).as_posix()
        for room in inner
        for path in (ROOT / "src" / "valetkey" / room).rglob("*.py")
        if re.search(r"\benviron\b(?!ment)|\bgetenv\b", path.read_text())
    ]
    assert readers == []


def test_thinking_has_no_clock() -> None:
    """Core and flows never ask what time it is; transactions tell them."""
    asking = [
        path.relative_to(ROOT).as_posix()
        for room in ("core", "flows")
        for path in (ROOT / "src" / "valetkey" / room).rglob("*.py")
        if re.search(r"\.now\(UTC\)|\bimport time$", path.read_text(), re.MULTILINE)
    ]
    assert asking == []
