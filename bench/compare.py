"""Comparisons: rounds of both sides, interleaved, and what they come to as ratios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from bench.load import Round
from bench.worker import Worker

CLIENTS = (1, 8, 16)


@dataclass(frozen=True)
class Pair:
    """One round of each side, one after the other, so that both saw the same machine."""

    direct: Round
    broker: Round
    processor_ms: float

    @property
    def throughput(self) -> float:
        """Broker's credentials per second over direct's."""
        return self.broker.rate / self.direct.rate

    @property
    def slowness(self) -> float:
        """Broker's p50 over direct's."""
        return self.broker.at(0.5) / self.direct.at(0.5)


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    clients: tuple[int, ...] = CLIENTS


def interleaved(direct: Worker, broker: Worker, used: ProcessorTime, plan: Plan) -> list[Pair]:
    """A/B/A/B for each number of clients; a short round of both warms up first."""
    for side in (direct, broker):
        side.round(2, 0.5)
    pairs = []
    for clients in plan.clients:
        for _ in range(plan.rounds):
            plain = direct.round(clients, plan.seconds)
            before = used.processor()
            ours = broker.round(clients, plan.seconds)
            spent = (used.processor() - before) * 1000 / max(1, ours.count)
            pairs.append(Pair(plain, ours, spent))
    return pairs


class ProcessorTime(Protocol):
    """Something that says how many seconds of processor time it has used."""

    def processor(self) -> float:
        """Seconds so far."""


def table(title: str, pairs: Iterable[Pair]) -> list[str]:
    """The comparison as lines: medians, and the range of the ratios in brackets."""
    lines = [
        "",
        title,
        f"{'clients':>8} {'':8} {'cred/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'failed':>7}",
    ]
    for clients, found in _by_clients(pairs):
        lines += [_line(clients, "direct", [pair.direct for pair in found])]
        lines += [_line(clients, "broker", [pair.broker for pair in found])]
        lines.append(
            f"{'':17} throughput x {spread([pair.throughput for pair in found])}, "
            f"p50 x {spread([pair.slowness for pair in found])}, "
            f"broker process {median(pair.processor_ms for pair in found):.1f} ms of CPU each"
        )
    return lines


def spread(values: Sequence[float]) -> str:
    """The median, and the range in brackets."""
    return f"{median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def throughputs(pairs: Iterable[Pair], clients: int) -> list[float]:
    """The throughput ratios at that many clients."""
    return [pair.throughput for pair in pairs if pair.broker.clients == clients]


def _by_clients(pairs: Iterable[Pair]) -> list[tuple[int, list[Pair]]]:
    grouped: dict[int, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.broker.clients, []).append(pair)
    return sorted(grouped.items())


def _line(clients: int, who: str, rounds: Sequence[Round]) -> str:
    failed = sum(sum(one.failures.values()) for one in rounds)
    rate = median(one.rate for one in rounds)
    half, most = (median(one.at(share) for one in rounds) for share in (0.5, 0.99))
    why = "  " + "; ".join({name for one in rounds for name in one.failures}) if failed else ""
    return f"{clients:>8} {who:8} {rate:8.1f} {half:8.1f} {most:8.1f} {failed:7d}{why}"
