"""Run every test in three processes at once: what breaks things, what runs whole, and the rest.

`python -m tests.thirds`; the exit code is that of the worst third. Most of the time a test waits,
for a server, a clock or a death, and each third has servers of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

TESTS = Path(__file__).parent
BREAKING = ("attacks", "faults", "fleet")
WHOLE = ("acceptance", "aws", "deploy", "devstack", "migrations", "simulation")


def thirds() -> tuple[list[str], list[str], list[str]]:
    """The folders with tests of each third; none is left out."""
    folders = sorted(x.name for x in TESTS.iterdir() if any(x.glob("test_*.py")))
    rest = [name for name in folders if name not in (*BREAKING, *WHOLE, "soak")]
    breaking, whole, others = ([f"tests/{x}" for x in part] for part in (BREAKING, WHOLE, rest))
    return breaking, whole, others


def main() -> int:
    """Run all, show the last third as it goes and the others after it."""
    *beside, here = thirds()
    pytest = [sys.executable, "-m", "pytest"]
    with ExitStack() as running:
        others = []
        for part in beside:
            told = running.enter_context(tempfile.TemporaryFile())
            other = subprocess.Popen([*pytest, *part], stdout=told, stderr=subprocess.STDOUT)
            running.callback(other.terminate)
            others.append((part, other, told))
        worst = abs(subprocess.run([*pytest, *here], check=False).returncode)  # a signal is below 0
        for part, other, told in others:
            worst = max(worst, abs(other.wait()))
            told.seek(0)
            print(f"\n{' '.join(part)}:\n{told.read().decode(errors='replace')}", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
