"""The broker's own metrics, and the wrapper that times a minter. No label ever holds an id."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import BrokerError, DeniedByPolicy, PolicyBroken
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Proof
from valetkey.ports import Deadline, Ending, Found, Lapse, Minted, Minter, Presence, Renewed

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Counts(Protocol):
    """Reads the state of all leases in one query."""

    def __call__(self) -> Mapping[str, float]:
        """`live`, `overdue`, `stuck` and `oldest_unended_seconds`; raises StoreUnavailable.

        live: minting or active. overdue: not ended although its real end has passed.
        oldest_unended_seconds: how long the longest one has been on its way out, 0 when none is.
        """


class Calls(Protocol):
    """Calls of one target: running now, the most at once so far, and whether it is left alone."""

    @property
    def running(self) -> int: ...
    @property
    def most(self) -> int: ...
    @property
    def shut(self) -> bool: ...


class Traffic(Protocol):
    """Reads what runs in the lanes of this replica."""

    def traffic(self) -> Mapping[str, Calls]:
        """By target."""

    def most(self) -> int:
        """The most calls that ever ran at once, of all targets together."""


class Probes(Protocol):
    """What is known here of the broker's own probes, by target."""

    @property
    def outcomes(self) -> Mapping[str, str]:
        """`ok` or `failed`, whoever made it."""

    @property
    def took(self) -> Mapping[str, float]:
        """Seconds of the last one that was made here."""


class Signing(Protocol):
    """From when our signing key signs; None where its file tells no time."""

    @property
    def since(self) -> datetime | None: ...


class RulesHere(Protocol):
    """Reads which rules this replica serves."""

    @property
    def problems(self) -> Sequence[object]:
        """Why the newest are not in force here; empty when they are."""

    def number(self) -> int | None:
        """The number of the activation in force here; None where rules come from files."""


@dataclass(frozen=True)
class Metrics:
    """Every metric object, in a registry of its own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        made: dict[str, object] = {
            "leases": _gauge(self, "valetkey_leases", "Leases by kind of attention", "kind"),
            "oldest": _gauge(
                self, "valetkey_oldest_unended_seconds", "How long the longest ending has taken"
            ),
            "store_up": _gauge(self, "valetkey_store_up", "1 when the database answers"),
            "decisions": _counter(self, "valetkey_decisions", "Decisions by outcome", "outcome"),
            "refusals": _counter(self, "valetkey_refusals", "Refusals by code", "code"),
            "knocks": _counter(self, "valetkey_knocks", "Unauthenticated requests", "code"),
            "seen_twice": _counter(
                self, "valetkey_identities_seen_twice", "Identities in two places at once"
            ),
            "calls": _gauge(self, "valetkey_calls", "Calls running now", "target"),
            "calls_most": _gauge(
                self, "valetkey_calls_most", "The most calls at once since the start", "target"
            ),
            "calls_in_all_most": _gauge(
                self, "valetkey_calls_in_all_most", "The same, of all targets together"
            ),
            "left_alone": _gauge(
                self, "valetkey_target_left_alone", "1 while it does not answer", "target"
            ),
            "probe_ok": _gauge(
                self, "valetkey_probe_ok", "1 when the last probe was made and ended", "target"
            ),
            "probe_took": _gauge(
                self, "valetkey_probe_seconds", "How long our last probe took", "target"
            ),
            "bundle_ok": _gauge(
                self, "valetkey_bundle_ok", "1 when a trust domain's bundle is had", "issuer"
            ),
            "signing_since": _gauge(
                self, "valetkey_signing_key_since_seconds", "Unix time from which our key signs"
            ),
            "rules_number": _gauge(
                self, "valetkey_rules_activation", "Number of the activation in force here"
            ),
            "rules_refused": _gauge(
                self, "valetkey_rules_refused", "1 while the newest rules are not in force here"
            ),
            "mints": _histogram(self, "valetkey_mint_seconds", "Time to mint"),
            "ends": _histogram(self, "valetkey_end_seconds", "Time to end at the back end"),
            "renewals": _histogram(
                self, "valetkey_renew_seconds", "Time to renew at the back end"
            ),
        }
        for name, metric in made.items():
            object.__setattr__(self, name, metric)

    leases: Gauge = field(init=False)
    oldest: Gauge = field(init=False)
    store_up: Gauge = field(init=False)
    decisions: Counter = field(init=False)
    refusals: Counter = field(init=False)
    knocks: Counter = field(init=False)
    seen_twice: Counter = field(init=False)
    calls: Gauge = field(init=False)
    calls_most: Gauge = field(init=False)
    calls_in_all_most: Gauge = field(init=False)
    left_alone: Gauge = field(init=False)
    probe_ok: Gauge = field(init=False)
    probe_took: Gauge = field(init=False)
    bundle_ok: Gauge = field(init=False)
    signing_since: Gauge = field(init=False)
    rules_number: Gauge = field(init=False)
    rules_refused: Gauge = field(init=False)
    mints: Histogram = field(init=False)
    ends: Histogram = field(init=False)
    renewals: Histogram = field(init=False)

    def text(self, counts: Counts) -> bytes:
        """The exposition; a database that does not answer shows as `valetkey_store_up 0`."""
        try:
            now = counts()
        except BrokerError:
            self.store_up.set(0)
            self.leases.clear()
            self.oldest.set(float("nan"))
        else:
            self.store_up.set(1)
            for kind in ("live", "overdue", "stuck"):
                self.leases.labels(kind).set(now[kind])
            self.oldest.set(now["oldest_unended_seconds"])
        return generate_latest(self.registry)

    @contextmanager
    def counting_denials(self) -> Iterator[None]:
        """Count what policy denies in the block."""
        try:
            yield
        except (DeniedByPolicy, PolicyBroken):
            self.decisions.labels("deny").inc()
            raise

    def note(self, traffic: Traffic) -> None:
        """Set what is read of the lanes."""
        for target, calls in traffic.traffic().items():
            self.calls.labels(target).set(calls.running)
            self.calls_most.labels(target).set(calls.most)
            self.left_alone.labels(target).set(calls.shut)
        self.calls_in_all_most.set(traffic.most())

    def note_rules(self, rules: RulesHere) -> None:
        """Set which rules are in force here, and whether newer ones are not."""
        self.rules_number.set(rules.number() or 0)
        self.rules_refused.set(bool(rules.problems))

    def note_probes(self, probes: Probes) -> None:
        """Set what probes came to; a target that is no longer probed is not told."""
        self.probe_ok.clear()
        for target, outcome in probes.outcomes.items():
            self.probe_ok.labels(target).set(outcome == "ok")
        for target, seconds in dict(probes.took).items():
            self.probe_took.labels(target).set(seconds)


    def note_bundles(self, well: Mapping[str, bool]) -> None:
        """Set whether the X.509 bundle of each trust domain can be had."""
        for issuer, had in well.items():
            self.bundle_ok.labels(issuer).set(had)

    def note_signing(self, signing: Signing) -> None:
        """Set since when our key signs."""
        self.signing_since.set(signing.since.timestamp() if signing.since else 0)


@dataclass(frozen=True)
class TimedMinter:
    """A minter whose mints and endings are timed by target and outcome."""

    inner: Minter
    metrics: Metrics

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """As the minter says."""
        return self.inner.handle_for(lease_id, wanted)

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """As the minter says."""
        return self.inner.end_class(wanted)

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Mint, timed."""
        with _timed(self.metrics.mints, handle.target):
            return self.inner.mint(handle, wanted, ttl, deadline)

    def renews(self, wanted: CataloguedScope) -> bool:
        """As the minter says."""
        return self.inner.renews(wanted)

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Renew, timed."""
        with _timed(self.metrics.renewals, handle.target):
            return self.inner.renew(handle, back_ref, ttl, deadline)

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """End, timed."""
        with _timed(self.metrics.ends, handle.target):
            return self.inner.end(handle, backend_expires_at)

    def probe(self, handle: Handle) -> Presence:
        """As the minter says."""
        return self.inner.probe(handle)

    def targets(self) -> Sequence[str]:
        """As the minter says."""
        return self.inner.targets()

    def found(self, target: str) -> Iterator[Found]:
        """As the minter says."""
        return self.inner.found(target)

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """As the minter says."""
        return self.inner.lives_until(handle, back_ref)

    def skew(self, target: str) -> timedelta:
        """As the minter says."""
        return self.inner.skew(target)

    def claim(self) -> Sequence[str]:
        """As the minter does."""
        return self.inner.claim()

    def problem(self) -> str | None:
        """As the minter says."""
        return self.inner.problem()

    def longest_life(self, ttl: timedelta) -> timedelta:
        """As the minter says."""
        return self.inner.longest_life(ttl)

    def reassert(self, *, renew: bool = True) -> Sequence[Lapse]:
        """As the minter does."""
        return self.inner.reassert(renew=renew)


@contextmanager
def _timed(histogram: Histogram, target: str) -> Iterator[None]:
    began, outcome = time.monotonic(), "defect"
    try:
        yield
        outcome = "done"
    except BrokerError as refused:
        outcome = refused.code
        raise
    finally:
        histogram.labels(target, outcome).observe(time.monotonic() - began)


def _gauge(metrics: Metrics, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=metrics.registry)


def _counter(metrics: Metrics, name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=metrics.registry)


def _histogram(metrics: Metrics, name: str, text: str) -> Histogram:
    labels = ("target", "outcome")
    return Histogram(name, text, labels, registry=metrics.registry, buckets=_SECONDS)
