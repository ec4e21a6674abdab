"""Closed loops: so many clients mint and end, mint and end, for a while, and are timed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class Side(Protocol):
    """One of the two things compared; `client` makes one client's own connection."""

    def client(self) -> Client:
        """A client, ready to go."""

    def settle(self) -> int:
        """Wait until everything minted is ended; how many failed to end."""


class Client(Protocol):
    """One client."""

    def mint(self) -> str:
        """Get one credential; what to end it by."""

    def end(self, name: str) -> None:
        """End it, or see that it will be."""


@dataclass
class Round:
    """What one round came to: seconds until the last credential was ended, latencies in ms."""

    clients: int
    count: int
    seconds: float
    latencies: list[float] = field(repr=False)
    failures: dict[str, int]

    @property
    def rate(self) -> float:
        """Credentials minted and ended each second."""
        return self.count / self.seconds

    def at(self, share: float) -> float:
        """The latency in ms that this share of mints stayed below."""
        ordered = sorted(self.latencies) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def run(side: Side, clients: int, seconds: float, alone: bool = False) -> Round:
    """One round; it ends when everything minted in it is ended.

    With `alone` each client waits for that before it mints again, so that a latency is that of
    minting and of nothing else.
    """
    made = [side.client() for _ in range(clients)]
    results: list[tuple[list[float], Counter[str]]] = []
    gate = threading.Barrier(clients + 1)
    until = [0.0]

    def loop(client: Client) -> None:
        latencies: list[float] = []
        failures: Counter[str] = Counter()
        gate.wait()
        while time.perf_counter() < until[0]:
            _one(client, latencies, failures)
            if alone:
                side.settle()
        results.append((latencies, failures))

    threads = [threading.Thread(target=loop, args=[client]) for client in made]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    until[0] = began + seconds
    gate.wait()
    for thread in threads:
        thread.join()
    unended = side.settle()
    took = time.perf_counter() - began
    return _sum(clients, took, results, unended)


def _one(client: Client, latencies: list[float], failures: Counter[str]) -> None:
    try:
        began = time.perf_counter()
        name = client.mint()
        latencies.append((time.perf_counter() - began) * 1000)
        client.end(name)
    except Exception as problem:  # noqa: BLE001  a failure is a result
        failures[f"{type(problem).__name__}: {problem}"[:120]] += 1


def _sum(
    clients: int, took: float, results: Sequence[tuple[list[float], Counter[str]]], unended: int
) -> Round:
    latencies = [one for found, _ in results for one in found]
    failures: Counter[str] = Counter()
    for _, found in results:
        failures += found
    if unended:
        failures["not ended"] = unended
    return Round(clients, len(latencies), took, latencies, dict(failures))
