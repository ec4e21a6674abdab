"""Run every test in two processes at once: what breaks things on purpose, and all the rest.

`python -m tests.halves`; the exit code is that of the worse half. Most of the time a test waits,
for a server, a clock or a death, and each half has servers of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
BREAKING = ("attacks", "faults", "fleet")


def halves() -> tuple[list[str], list[str]]:
    """The folders with tests of either half; none is left out."""
    folders = sorted(x.name for x in TESTS.iterdir() if any(x.glob("test_*.py")))
    calm = [f"tests/{name}" for name in folders if name not in BREAKING and name != "soak"]
    return [f"tests/{name}" for name in BREAKING], calm


def main() -> int:
    """Run both, show the calm half as it goes and the other one after it."""
    breaking, calm = halves()
    pytest = [sys.executable, "-m", "pytest"]
    with tempfile.TemporaryFile() as told:
        beside = subprocess.Popen([*pytest, *breaking], stdout=told, stderr=subprocess.STDOUT)
        try:
            here = subprocess.run([*pytest, *calm], check=False).returncode
            there = beside.wait()
        finally:
            beside.terminate()
        told.seek(0)
        print(f"\n{' '.join(breaking)}:\n{told.read().decode(errors='replace')}")
    return max(here, there)


if __name__ == "__main__":
    sys.exit(main())
