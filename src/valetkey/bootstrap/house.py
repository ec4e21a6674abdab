"""One process's broker, put together from settings, with what must be asked or closed beside it."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
import uuid6

from valetkey.bootstrap.aws import aws_minter, without_aws
from valetkey.bootstrap.configuration import read_secret
from valetkey.bootstrap.keys import TurningKeys
from valetkey.bootstrap.rulebook import StoredRules, StoreRulebook
from valetkey.clockwork import Beats, Clockwork
from valetkey.core.admission import Ceilings, Rate
from valetkey.core.catalogue import Catalogue
from valetkey.core.errors import BrokerError
from valetkey.core.ids import encode_id
from valetkey.core.lease import Patience
from valetkey.flows.claim import claim_back_ends
from valetkey.flows.tell_rules import tell_activated, tell_refused
from valetkey.flows.witness import doubts
from valetkey.identity.sealing import seal
from valetkey.minters.bao import Bao, Login
from valetkey.minters.bounded import BoundedMinter
from valetkey.minters.breaker import Breakers, Temper
from valetkey.minters.lanes import ThreadLanes, Width
from valetkey.minters.openbao_database import Logins, OpenBaoDatabase
from valetkey.minters.signed_token import SignedToken
from valetkey.policy.rules import ActiveRules, Rules, load_rules
from valetkey.ports import Broker, Limits, Minter, Trouble
from valetkey.settings import Settings, Times
from valetkey.store.migrations import behind
from valetkey.store.sql_store import SqlStore, open_store

log = structlog.get_logger()
FAILPOINT = "VALETKEY_TEST_FAILPOINT"


class WrongDatabaseRole(Exception):
    """`serve` was given a role that owns the facts, and could rewrite history."""


@dataclass(frozen=True)
class MonotonicDeadline:
    """A moment on this machine's monotonic clock."""

    at: float

    def left(self) -> float:
        """Seconds left."""
        return self.at - time.monotonic()


class MonotonicClock:
    """Waiting on the monotonic clock."""

    def deadline(self, after: timedelta) -> MonotonicDeadline:
        """A deadline that much later."""
        return MonotonicDeadline(time.monotonic() + after.total_seconds())

    def wait(self, seconds: float) -> None:
        """Let that many seconds pass."""
        time.sleep(seconds)


class LoggedAlarms:
    """Alarms go to the log, as errors with a stable name, for whatever watches it."""

    def alarm(self, what: str, about: Mapping[str, str]) -> None:
        """Log it."""
        log.error("alarm", what=what, **about)


@dataclass(frozen=True)
class House:
    """One process's broker, and what must be asked or closed beside it."""

    settings: Settings
    broker: Broker
    store: SqlStore
    rules: ActiveRules
    lanes: ThreadLanes
    clockwork: Clockwork
    sign: Callable[[Mapping[str, object]], str]
    keys: TurningKeys | None = None
    closers: tuple[Callable[[], None], ...] = field(default=())

    def problems(self) -> list[str]:
        """Why this replica should not be asked for credentials; empty when it should."""
        return [trouble.detail for trouble in self.troubles()]

    def troubles(self) -> list[Trouble]:
        """The same, with the part of the replica that each is of."""
        with self.store.urgent():
            return self._troubles()

    def _troubles(self) -> list[Trouble]:
        found = [("database", self._store_problem()), ("clockwork", self.clockwork.late())]
        found += [("keys", self.keys.problem(self.broker) if self.keys else None)]
        found += [("rules", f"none are in force: {problem}") for problem in self.rules.missing]
        for name, minter in self.broker.minters.items():
            problem = minter.problem()
            doubts_of = [problem] if problem is not None else self._doubts(name)
            found += [(name, detail) for detail in doubts_of]
        return [Trouble(part, detail) for part, detail in found if detail is not None]

    def close(self) -> None:
        """Stop ticking, wait for running mints up to their limit, close every connection."""
        self.clockwork.stop()
        until = time.monotonic() + self.broker.patience.mint_limit.total_seconds()
        while self.lanes.busy() and time.monotonic() < until:
            time.sleep(0.05)
        self.lanes.close()
        for closer in self.closers:
            closer()
        self.store.close()

    def _doubts(self, minter: str) -> list[str]:
        try:
            why = doubts(self.broker, minter)
        except BrokerError:
            return []  # reconcile says so; what cannot be asked is no witness against us
        return [why] if why is not None else []

    def _store_problem(self) -> str | None:
        try:
            revision = self.store.schema()
        except BrokerError as away:
            return away.detail
        return "the schema is behind: run `valetkey migrate`" if behind(revision) else None


def build_house(
    settings: Settings,
    sign: Callable[[Mapping[str, object]], str],
    watch: Callable[[Minter], Minter] = lambda minter: minter,
    keys: TurningKeys | None = None,
) -> House:
    """Put a broker together. Raises WrongDatabaseRole, FilesInvalid, StoreUnavailable.

    `sign` signs claims as an at+jwt under our current key; `watch` may wrap a minter to time it;
    `keys` are turned with the rest of the upkeep.
    """
    store = _opened_store(settings)
    installation = store.installation()
    alarms = LoggedAlarms()
    lanes = _lanes(settings, alarms)
    database = _database_minter(settings, store, lambda: active.current().catalogue)
    aws = aws_minter(settings, store, lambda: active.current().catalogue)
    active, gate = _rules(settings, store, database)

    def look_soon() -> None:
        clockwork.read_again()

    book = StoreRulebook(settings.approver_groups, gate, active.number, look_soon)
    minters = _bounded({"openbao-database": database, "aws-sts": aws}, settings, lanes)
    minters["signed-token"] = SignedToken(sign, settings.external_url, installation, store.now)
    broker = Broker(
        store=store,
        minters={name: watch(minter) for name, minter in minters.items()},
        rules=active.current,
        clock=MonotonicClock(),
        lanes=lanes,
        notifier=alarms,
        new_id=lambda kind: encode_id(kind, uuid6.uuid7().bytes),
        fingerprint=_fingerprints(settings.fingerprint_key_file),
        seal=seal,
        witnesses={"openbao-database": database.witness()} if database is not None else {},
        older_fingerprints=tuple(map(_fingerprints, settings.retired_fingerprint_key_files)),
        jitter=random.random,
        installation=installation,
        patience=_patience(settings.times),
        limits=_limits(settings),
        platforms={issuer.name: issuer.platform for issuer in settings.issuers},
        rulebook=book if settings.rules.source == "store" else None,
        failpoint=failpoint_of(os.environ.get(FAILPOINT)),
    )
    closers = (database.close,) if database is not None else ()
    upkeep = partial(_upkeep, broker, store, active, keys)
    clockwork: Clockwork = Clockwork(broker, _beats(settings.times), upkeep)
    return House(settings, broker, store, active, lanes, clockwork, sign, keys, closers)


def _opened_store(settings: Settings) -> SqlStore:
    """Our database under the application's role; raises WrongDatabaseRole, StoreUnavailable."""
    ours, answer = settings.database, settings.times.database_answer
    store = open_store(read_secret(ours.url_file), pool=ours.pool, kept=ours.kept, answer=answer)
    if store.owns_its_tables():
        raise WrongDatabaseRole()
    return store


def _beats(times: Times) -> Beats:
    return Beats(times.tick, times.reconcile_every, times.reload_every, times.probe_every)


def _rules(
    settings: Settings, store: SqlStore, database: OpenBaoDatabase | None
) -> tuple[ActiveRules, Callable[[Catalogue], list[tuple[str, str]]]]:
    """The rules in force, from where the settings say, and what may keep others from it."""

    def gate(catalogue: Catalogue) -> list[tuple[str, str]]:
        ours = _unfit(catalogue, settings)
        return ours + (database.not_proven(catalogue) if database is not None else [])

    def of_files() -> Rules:
        return load_rules(settings.catalogue, settings.policies, settings.approver_groups)

    stored = settings.rules.source == "store"
    load = StoredRules(store, settings.approver_groups) if stored else of_files
    return ActiveRules(load, gate), gate


def _lanes(settings: Settings, alarms: LoggedAlarms) -> ThreadLanes:
    times, most = settings.times, settings.limits

    def told(target: str, is_open: bool) -> None:
        if is_open:
            alarms.alarm("a target does not answer and is left alone", {"target": target})
        else:
            log.info("target.answers_again", target=target)

    temper = Temper(most.outages, times.hung_after, times.leave_alone)
    width = Width(target=most.calls_per_target, total=most.calls_in_all)
    return ThreadLanes(width, Breakers(temper, told))


def _bounded(
    minters: Mapping[str, Minter | None], settings: Settings, lanes: ThreadLanes
) -> dict[str, Minter]:
    """Those that are configured, each call in its target's lane."""
    within = settings.times.answer_within
    return {name: BoundedMinter(x, lanes, within) for name, x in minters.items() if x is not None}


def _unfit(catalogue: Catalogue, settings: Settings) -> list[tuple[str, str]]:
    """Targets whose tokens would be taken for those of our own API, or whose minter is not here."""
    return without_aws(settings, catalogue) + [
        (target.name, "its audience is our own address, so its tokens would open our API")
        for target in catalogue.targets.values()
        if target.audience.rstrip("/") == settings.external_url.rstrip("/")
    ]


def _upkeep(
    broker: Broker, store: SqlStore, active: ActiveRules, keys: TurningKeys | None
) -> None:
    """Forget what has had its time, look at clocks, read the files again, claim what they name."""
    store.forget_uses()  # first: a back end that is away must not let them pile up
    store.forget_sealed()
    if keys is not None:
        keys.turn(broker)
    for minter in broker.minters.values():
        minter.problem()  # what it sees of clocks and targets, it minds when it is asked to mint
    if active.reload():
        tell_activated(broker, *active.current().version)
        claim_back_ends(broker)
    else:
        tell_refused(broker, [str(problem) for problem in active.problems])


def failpoint_of(wanted: str | None) -> Callable[[str], None]:
    """What happens at each step: nothing, unless a test names a step to die at.

    `step` dies there the first time; `step*n` the n-th time. `stop:step` stands still instead
    (SIGSTOP), until somebody lets the process go on.
    """
    if not wanted:
        return lambda step: None
    how, _, where = wanted.rpartition(":")
    name, _, nth = where.partition("*")
    left = [int(nth or 1)]

    def fall(step: str) -> None:
        if step == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)
                time.sleep(0.2)  # other threads may take the signal; this one goes no further

    return fall


def _database_minter(
    settings: Settings, store: SqlStore, catalogue: Callable[[], Catalogue]
) -> OpenBaoDatabase | None:
    where = settings.openbao
    if where is None:
        return None
    bao = Bao(where.address, ca_file=str(where.ca_file) if where.ca_file else None)
    names = (where.writer_role, where.reader_role, where.ender_role, where.inspector_role)
    logins = Logins(
        *(Login(bao, name, where.identity_token_file, mount=where.jwt_mount) for name in names)
    )
    failpoint = failpoint_of(os.environ.get(FAILPOINT))
    installation = store.installation()
    return OpenBaoDatabase(bao, logins, installation, catalogue, store.now, failpoint)


def _fingerprints(key_file: Path) -> Callable[[str], str]:
    """Keyed hashes of secrets (HMAC-SHA-256); the key's own short name says which key it was."""
    key = key_file.read_bytes().strip()
    name = hashlib.sha256(b"name of " + key).hexdigest()[:8]
    return lambda part: f"{name}:{hmac.new(key, part.encode(), hashlib.sha256).hexdigest()}"


def _patience(times: Times) -> Patience:
    return Patience(
        mint_limit=times.mint_limit,
        second_tap=times.second_tap,
        claim=times.claim,
        longest_retry=times.longest_retry,
        stuck_after_tries=times.stuck_after_tries,
        stuck_after=times.stuck_after,
    )


def _limits(settings: Settings) -> Limits:
    times, most = settings.times, settings.limits
    per_target, in_all = most.leases_per_target, most.leases_in_all
    return Limits(
        ceilings=Ceilings(most.leases_per_task, most.leases_per_agent, per_target, in_all),
        rate=Rate(most.rate, most.burst),
        issuer_rates={
            one.name: Rate(one.rate, one.burst) for one in settings.issuers if one.rate is not None
        },
        deepest_task=most.deepest_task,
        open_tasks=most.open_tasks,
        leak_ends_siblings=settings.leaks.end_siblings,
        longest_task=times.longest_task,
        longest_delegation=times.longest_delegation,
        missed_beats=times.missed_beats,
        approval_wait=times.approval_wait,
        fresh_login=times.fresh_login,
    )
