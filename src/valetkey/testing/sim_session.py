"""How a simulated transaction reads, locks and writes: statement by statement, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from valetkey.core.errors import StoreUnavailable
from valetkey.core.facts import Fact
from valetkey.core.grant import Grant
from valetkey.core.lease import LeaseState
from valetkey.testing.memory_store import MemoryTransaction
from valetkey.testing.memory_tasks import _State
from valetkey.testing.sim_locks import KEY_SHARE, NO_KEY_UPDATE, SHARE, UPDATE, Key

if TYPE_CHECKING:
    from valetkey.testing.sim_store import SimStore


def overlay(rows: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put a transaction's own rows over others; None stands for a row that it removed."""
    rows.update(own)
    for gone in [name for name, row in own.items() if row is None]:
        del rows[gone]
    return rows


class _Seen:
    """What a statement sees: everything committed, and over it the transaction's own rows."""

    def __init__(self, store: SimStore, own: Mapping[str, Mapping[str, Any]]) -> None:
        self._store, self._own = store, own

    def __getattr__(self, table: str) -> Mapping[str, Any]:
        committed: Mapping[str, Any] = getattr(self._store.state, table)
        own = self._own.get(table)
        return overlay(dict(committed), own) if own else committed


class _Snapshot(MemoryTransaction):
    """The queries of the memory store over what a statement sees; nothing comes in between."""

    def __init__(self, store: SimStore, own: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(store)
        self.state = cast(_State, _Seen(store, own))

    @property
    def _state(self) -> _State:
        return self.state


class SimSession:
    """One open transaction. `own` holds its rows by table and id, `facts` its facts."""

    def __init__(self, store: SimStore) -> None:
        self.store = store
        self.own: dict[str, dict[str, Any]] = {}
        self.facts: list[Fact] = []
        self._unwritten: list[tuple[str, Any]] = []
        self._snapshot = _Snapshot(store, self.own)

    def now(self) -> datetime:
        return self.store.time

    def seen(self) -> MemoryTransaction:
        """The queries of one statement, over what it sees; they lock nothing."""
        return self._snapshot

    def commit(self) -> None:
        """The last statement: new rows first, then everything counts at once."""
        steps = self.store.steps
        self._write_added()
        if self.own or self.facts:
            steps.step("commit")
            omen = steps.omen("commit")
            if omen == "away":
                raise StoreUnavailable(retry_after=2)
            self.store.keep(self)
            if omen == "lost":
                raise StoreUnavailable(retry_after=2)

    # --- how statements read and write -----------------------------------------------------

    def _statement(self, what: str, about: str = "") -> None:
        """Others may act; then this statement begins, and its snapshot is what is committed."""
        if self._unwritten:
            self._write_added()
        self.store.steps.step(what, about)

    def _take(self, key: Key, strength: int, *, fair: bool = False) -> bool:
        return self.store.locks.take(self, key, strength, fair=fair)

    def _row(self, table: str, row_id: str, strength: int) -> Any:
        self._statement(_READING[table, strength], row_id)
        row = getattr(self._snapshot.state, table).get(row_id)
        return self._again(table, row, strength) if row is not None and strength else row

    def _again(self, table: str, row: Any, strength: int) -> Any:
        """Lock a row, and read it again."""
        self._take((table, row.id), strength)
        return getattr(self._snapshot.state, table)[row.id]

    def _unlocked(self, table: str, rows: Sequence[Any], limit: int) -> list[Any]:
        """SKIP LOCKED: lock what nobody else holds, up to the limit."""
        locks = self.store.locks
        got: list[Any] = []
        for row in rows:
            if len(got) < limit and locks.try_take(self, (table, row.id), UPDATE):
                got.append(row)
        return got

    def _insert(self, table: str, row: Any) -> None:
        self._unwritten.append((table, row))
        self._write(table, row)

    def _update(self, table: str, row: Any) -> None:
        self._statement("save", row.id)
        self._take((table, row.id), NO_KEY_UPDATE)
        self._write(table, row)

    def _write(self, table: str, row: Any) -> None:
        if table == "leases":
            ended = row.state is LeaseState.ENDED
            assert ended == (row.proof is not None) == (row.due_at is None), "check constraint"
        self.own.setdefault(table, {})[row.id] = row

    def _write_added(self) -> None:
        """What references a row keeps it from being deleted; a unique key is taken by the first."""
        added, self._unwritten = self._unwritten, []
        for table, row in added:
            for parents, column in _REFERENCES.get(table, ()):
                parent = getattr(row, column)
                if parent and parent not in self.own.get(parents, ()):
                    self._take((parents, parent), KEY_SHARE)
            if table == "grants":
                self._unique_grant(row)

    def _unique_grant(self, grant: Grant) -> None:
        key = (grant.task_id, grant.idempotency_key)
        self._take(("grants.key", " ".join(key)), UPDATE)
        now = {**self.store.state.grants, **self.own.get("grants", {})}
        others = [x for x in now.values() if x is not None and x.id != grant.id]
        if any((x.task_id, x.idempotency_key) == key for x in others):
            raise RuntimeError("a second grant with the same key")


_REFERENCES: Mapping[str, Sequence[tuple[str, str]]] = {
    "proposals": (("agents", "agent_id"),),
    "sealed_answers": (("leases", "lease_id"),),
    "delegations": (("agents", "agent_id"),),
    "tasks": (("agents", "agent_id"),),
    "grants": (("tasks", "task_id"), ("agents", "agent_id")),
    "leases": (("grants", "grant_id"), ("tasks", "task_id"), ("agents", "agent_id")),
}
_READING = {
    (table, strength): how
    for table in (
        *("agents", "tasks", "grants", "leases", "kills"),
        *("proposals", "sealed_answers", "delegations"),
    )
    for strength, how in ((0, "read"), (SHARE, "share"), (UPDATE, "lock"))
}
