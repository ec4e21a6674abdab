"""`python -m bench.growth`: the report; goals beside what was reached, nothing is asserted."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.__main__ import circumstances, servers
from bench.ground import Ground, Standing, prepare
from bench.growth.draining import draining
from bench.growth.hanging import hanging
from bench.growth.idle import idle
from bench.growth.killing import killing
from bench.growth.lagging import lagging
from bench.growth.orphans import orphans
from bench.growth.outage import outage
from bench.growth.size import claiming, comparing, starting
from bench.report import Found, load, summary, told

Part = Callable[[Ground, argparse.Namespace], list[Found]]
PARTS: Mapping[str, Part] = {
    "idle": lambda ground, wanted: idle(ground),
    "kill": lambda ground, wanted: killing(ground, wanted.killed, wanted.rounds),
    "drain": lambda ground, wanted: draining(ground, wanted.due),
    "lag": lambda ground, wanted: lagging(ground, wanted.rate),
    "claim": lambda ground, wanted: claiming(ground, wanted.rows, wanted.rows // 10),
    "start": lambda ground, wanted: starting(ground, wanted.rows // 10, wanted.rounds),
    "orphans": lambda ground, wanted: orphans(ground, wanted.kills),
    "hang": lambda ground, wanted: hanging(ground, wanted.rounds),
    "outage": lambda ground, wanted: outage(ground, wanted.away, 20),
    "compare": lambda ground, wanted: comparing(ground, wanted.rows // 100, wanted.rounds),
}


def main() -> None:
    """Parse, stand the ground up, run the parts asked for, print as they come."""
    wanted = _arguments()
    told(*circumstances())
    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="valetkey-bench-") as place:
        folder = Path(place) / "ground"
        folder.mkdir()
        with Standing(folder, prepare) as ground:
            told(*servers(ground))
            for name in wanted.only:
                began = time.monotonic()
                found += PARTS[name](ground, wanted)
                told(f"  ({name} took {time.monotonic() - began:.0f} s; {load()})")
    summary(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side, interleaved")
    parser.add_argument("--due", type=int, default=5000, help="leases that come due at once")
    parser.add_argument("--killed", type=int, default=1000, help="leases under a kill")
    parser.add_argument("--rate", type=int, default=100, help="leases due each second")
    parser.add_argument("--rows", type=int, default=10**7, help="live leases to claim among")
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs while issuing")
    parser.add_argument("--away", type=float, default=60, help="seconds a target is away")
    parser.add_argument("--only", nargs="*", choices=tuple(PARTS), default=tuple(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
