"""`python -m bench.doors`: the report; goals beside what was reached, nothing is asserted."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.__main__ import circumstances
from bench.doors.ground import NAME, Doorstep, on_stack
from bench.doors.verifying import PYJWT, cost
from bench.doors.visitors import Visiting
from bench.ground import Standing
from bench.load import Round
from bench.report import Found, load, summary, told
from bench.served import Server

DOORS = {
    "exchange": "token exchange",
    "ask": "credential request (signed by us)",
    "introspect": "introspection",
}
CLIENTS = (1, 8, 32)
PARTS = ("verify", "rates", "proof")
BEARER = ("bench.doors.bearer",)


@dataclass(frozen=True)
class Plan:
    """How long, how often and with how many clients."""

    rounds: int = 3
    seconds: float = 3.0
    clients: Sequence[int] = CLIENTS


def main() -> None:
    """Parse, stand the ground up, run the parts asked for, print as they come."""
    wanted = _arguments()
    plan = Plan(wanted.rounds, wanted.seconds)
    told(*circumstances()[1:2], "Doors: one `valetkey serve` over HTTP, clients in a process of")
    told("their own that made their requests before; nothing behind it but PostgreSQL", load())
    found: list[Found] = verified(plan) if "verify" in wanted.only else []
    if {"rates", "proof"} & set(wanted.only):
        with tempfile.TemporaryDirectory(prefix="valetkey-bench-") as place:
            folder = Path(place) / "ground"
            folder.mkdir()
            with Standing(folder, on_stack) as ground:
                found += _served(ground, plan, wanted.only)
    summary(found)


def _served(ground: Doorstep, plan: Plan, parts: Sequence[str]) -> list[Found]:
    found: list[Found] = []
    if "rates" in parts:
        with Server(ground, NAME) as server, Visiting(ground) as visitors:
            found += rates(server, visitors, plan)
    if "proof" in parts:
        with Server(ground, NAME, BEARER), Visiting(ground) as visitors:
            found += proof(visitors, plan)
    return found


def verified(plan: Plan) -> list[Found]:
    """The cost of one verification, in this process."""
    costs = cost(plan.rounds + 2, max(20, int(plan.seconds * 200)))
    told("", "One verification (ES256), and as a multiple of PyJWT's:", *costs.lines())
    names = [name for name in costs.rounds if name != PYJWT]
    return [Found(f"{name} / PyJWT alone", "(none set)", costs.ratios(name)) for name in names]


def rates(server: Server, visitors: Visiting, plan: Plan) -> list[Found]:
    """How many of each are answered in a second."""
    told("", "Answers per second, and what one costs the broker process:")
    for door in DOORS:
        _knock(visitors, 2, min(1.0, plan.seconds), door)
    asked = itertools.product(DOORS, plan.clients)
    return [_rate(server, visitors, plan, door, clients) for door, clients in asked]


def _rate(server: Server, visitors: Visiting, plan: Plan, door: str, clients: int) -> Found:
    rounds, spent = [], []
    for _ in range(plan.rounds):
        before = server.processor()
        rounds.append(visitors.round(clients, plan.seconds, door=door))
        spent.append((server.processor() - before) * 1000 / max(1, rounds[-1].count))
        visitors.rest()
    told(f"  {DOORS[door]:34} {_line(clients, rounds)}, {median(spent):.2f} ms of CPU each")
    goal = ">= 1,500/s" if door == "introspect" and clients > 1 else "(none set)"
    return Found(f"{DOORS[door]}, {clients} client(s), per second", goal, [x.rate for x in rounds])


def proof(visitors: Visiting, plan: Plan) -> list[Found]:
    """The same request with a DPoP proof and without, in turn, at one server that takes both."""
    told("", "A credential request with a DPoP proof, and without (which the product never takes):")
    found, doors = [], ("ask", "ask unproven")
    for clients in plan.clients[:2]:
        pairs = [
            [_knock(visitors, clients, plan.seconds, door) for door in doors]
            for _ in range(plan.rounds)
        ]
        told(f"  with    {_line(clients, [x for x, _ in pairs])}")
        told(f"  without {_line(clients, [x for _, x in pairs])}")
        ratios = [x.at(0.5) / y.at(0.5) for x, y in pairs]
        name = f"credential request, {clients} client(s): p50 with / without proof"
        found.append(Found(name, "<= 1.3", ratios))
    return found


def _knock(visitors: Visiting, clients: int, seconds: float, door: str) -> Round:
    """One round, and everything ended after it."""
    found = visitors.round(clients, seconds, door=door)
    visitors.rest()
    return found


def _line(clients: int, rounds: Sequence[Round]) -> str:
    rate, half, most = (
        median(values)
        for values in zip(*((x.rate, x.at(0.5), x.at(0.99)) for x in rounds), strict=True)
    )
    failures = {name: count for one in rounds for name, count in one.failures.items()}
    wrong = f", FAILED {json.dumps(failures)}" if failures else ""
    return f"{clients:>3} clients {rate:8.1f}/s  p50 {half:6.1f} ms  p99 {most:6.1f} ms{wrong}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.doors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="rounds of each")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="length of a round")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
