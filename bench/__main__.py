"""`python -m bench`: the report. Goals stand beside what was reached; nothing is asserted."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psycopg

from bench import ending
from bench.compare import (
    Pair,
    Plan,
    interleaved,
    table,
    throughputs,
)
from bench.ground import FOUR, ONE, TICK, TOKENS, Ground, Standing, prepare
from bench.report import Found, load, summary
from bench.served import Server, where
from bench.timed import PARTS
from bench.worker import Worker

SECTIONS = ("one", "four", "token", "where", "ending")


def main() -> None:
    """Parse, stand the ground up, run the sections asked for, print as they come."""
    wanted = _arguments()
    print(*circumstances(), sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="valetkey-bench-") as place:
        folder = Path(place) / "ground"
        folder.mkdir()
        with Standing(folder, prepare) as ground:
            print(*servers(ground), sep="\n", flush=True)
            goals = _run(ground, wanted)
    summary(goals)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side, interleaved")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--leases", type=int, default=300, help="how many are ended at once")
    parser.add_argument("--full", action="store_true", help="5 rounds, and 1,000 leases ended")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    wanted = parser.parse_args()
    if wanted.full:
        wanted.rounds, wanted.leases = 5, 1000
    return wanted


def _run(ground: Ground, wanted: argparse.Namespace) -> list[Found]:
    plan = Plan(wanted.rounds, wanted.seconds)
    goals: list[Found] = []
    if "one" in wanted.only:
        goals += _database(ground, plan, ONE, ("one", 1))
    if "four" in wanted.only:
        goals += _database(ground, plan, FOUR, ("four", 4))
    if "token" in wanted.only:
        goals += _tokens(ground, plan)
    if "where" in wanted.only:
        goals += _where(ground, plan)
    if "ending" in wanted.only:
        goals += _ending(ground, wanted.leases)
    return goals


def _database(ground: Ground, plan: Plan, target: str, lanes: tuple[str, int]) -> list[Found]:
    name, count = lanes
    title = f"Database credentials, broker over {count} connection configuration(s), direct over 1"
    pairs, memory = _section(ground, plan, (name, target, "1"), title)
    goal = {1: ">= 0.75", 4: ">= 1.00"}[count]
    goals = [
        Found(f"database, {count} lane(s), 8 clients: throughput / direct", goal,
              throughputs(pairs, 8)),
        Found(f"database, {count} lane(s), 8 clients, 23 tables: failed mints", "0",
              text=str(_failed(pairs, 8))),
    ]  # fmt: skip
    if count > 1:
        wide = Plan(plan.rounds, plan.seconds, (8,))
        both = f"The same, direct over {count} connection configurations too"
        found, _ = _section(ground, wide, (name, target, str(count)), both)
        both_sides = f"database, {count} lanes on both sides, 8 clients"
        goals.append(Found(both_sides, "(none set)", throughputs(found, 8)))
    return [*goals, _memory_goal(memory, "database")]


def _tokens(ground: Ground, plan: Plan) -> list[Found]:
    title = "Signed tokens; direct: service tokens of OpenBao, each revoked by its accessor"
    pairs, memory = _section(ground, plan, ("four", TOKENS, "token"), title)
    name = "signed token, 8 clients: throughput / direct token"
    return [
        Found(name, ">= 1.00", throughputs(pairs, 8)),
        _memory_goal(memory, "signed token"),
    ]


def _section(
    ground: Ground, plan: Plan, what: tuple[str, str, str], title: str
) -> tuple[list[Pair], int]:
    """Compare; `what` is the catalogue, what is asked for, and what the direct side does."""
    catalogue, target, direct = what
    with (
        Server(ground, catalogue) as server,
        Worker("direct", direct, ground.direct()) as plain,
        Worker("served", target, where(ground)) as ours,
    ):
        pairs = interleaved(plain, ours, server, plan)
        memory = server.memory()[1]
    print(*table(title, pairs), load(), sep="\n", flush=True)
    return pairs, memory


def _memory_goal(memory: int, during: str) -> Found:
    name = f"resident memory of the broker process, highest, {during}"
    return Found(name, "< 150 MB", text=f"{memory} MB")


def _failed(pairs: Sequence[Pair], clients: int) -> int:
    found = (pair.broker for pair in pairs if pair.broker.clients == clients)
    return sum(sum(one.failures.values()) for one in found)


def _where(ground: Ground, plan: Plan) -> list[Found]:
    """The table of where each millisecond goes, at one client, one connection configuration.

    Each side waits for the end of what it minted before it mints again, outside the latency.
    """
    with (
        Server(ground, "one", ("bench.timed",)),
        Worker("direct", "1", ground.direct()) as plain,
        Worker("served", ONE, where(ground)) as ours,
    ):
        plain.round(1, 0.5)
        ours.round(1, 0.5)
        pairs = [
            (
                plain.round(1, plan.seconds, alone=True),
                ours.round(1, plan.seconds, alone=True),
            )
            for _ in range(plan.rounds)
        ]
        time.sleep(1.5)
        kept = json.loads(ground.config("one").with_suffix(".times").read_text())
    part = {name: median(kept[name]) for name in PARTS}
    inside = part.pop("inside")
    whole = median(ours.at(0.5) for _, ours in pairs)
    plain_p50 = median(direct.at(0.5) for direct, _ in pairs)
    print("", "Where each millisecond goes (one at a time, medians, stopwatches on):", sep="\n")
    explained = {
        "auth": "our token, its DPoP proof, and the proof's id used up (a commit)",
        "commit 1": "barrier, look, decide, write grant, lease and facts, commit",
        "role write": "OpenBao: the pinned role of this lease (a raft commit)",
        "creds read": "OpenBao: the login is made; all that the direct side does",
        "commit 2": "barrier, look again, activate, commit",
    }
    for name, told in explained.items():
        print(f"  {name:12} {part[name]:6.2f}  {told}")
    print(f"  {'rest':12} {inside - sum(part.values()):6.2f}  routing, threads, JSON in and out")
    print(f"  {'outside':12} {whole - inside:6.2f}  the client: its proof, HTTP, loopback")
    print(f"  {'sum':12} {whole:6.2f}  direct at the same time: {plain_p50:.2f}", flush=True)
    ratios = [ours.at(0.5) / direct.at(0.5) for direct, ours in pairs]
    return [Found("database, one client, one at a time: p50 / direct", "<= 2.20", ratios)]


def _ending(ground: Ground, count: int) -> list[Found]:
    print("", f"Ending {count} live database leases at once, four lanes:", sep="\n")
    with Server(ground, "four"):
        ours = ending.broker(ground, count)
    plain = ending.direct(ground, count)
    print(ours.line("broker, each proven gone"), flush=True)
    print(plain.line("OpenBao revoke-prefix, unchecked"), flush=True)
    name = f"ending {count}: speed / unchecked revoke-prefix"
    return [Found(name, "(none set)", [plain.seconds / ours.seconds])]


def circumstances() -> list[str]:
    """The machine and the versions."""
    libraries = ("fastapi", "uvicorn", "sqlalchemy", "psycopg", "hvac", "urllib3", "cedarpy")
    return [
        "Valetkey bench: both sides end what they mint inside the measured loop",
        f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in libraries),
        "direct: stock hvac in a process of its own; ready-made roles with the broker's statements",
        f"broker: one `valetkey serve` over HTTP, a DPoP proof each request, sweeps every {TICK};",
        "        clients in a process of their own",
        load(),
    ]


def servers(ground: Ground) -> list[str]:
    """What the servers are, and whether they are durable."""
    with psycopg.connect(ground.stack.superuser_dsn(), autocommit=True) as connection:
        ask: Callable[[str], str] = lambda name: str(  # noqa: E731
            (connection.execute(f"SHOW {name}").fetchone() or ("?",))[0]
        )
        postgres = f"PostgreSQL {ask('server_version')}, fsync {ask('fsync')}, "
        postgres += f"synchronous_commit {ask('synchronous_commit')}"
    health = ground.stack.openbao.as_root().read("sys/health")
    return [f"{postgres}; OpenBao {health['version']} on raft", ""]


if __name__ == "__main__":
    main()
