"""Cuts beside a store in memory: the newest list of each place, and when it was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from valetkey.core.cut import Cut, recut
from valetkey.core.lease import LeaseState
from valetkey.testing.memory_store import MemoryStore


@dataclass
class MemoryCuts:
    """What the real store keeps in its table of cuts."""

    store: MemoryStore
    newest: dict[str, Cut] = field(default_factory=dict)
    looked_at: dict[str, datetime] = field(default_factory=dict)

    def cut(self, place: str) -> Cut:
        """The newest at a place."""
        return self.newest.get(place, Cut(place))

    def next_cut(self, place: str, slots: int) -> Cut:
        """The next there, from every lease whose end was asked for."""
        asked, now = {LeaseState.ENDING, LeaseState.STUCK}, self.store.time
        leases = self.store.state.leases.values()
        there = [x for x in leases if x.place == place and x.state in asked]
        self.newest[place] = recut(self.cut(place), there, slots, now)
        self.looked_at[place] = now
        return self.newest[place]

    def cuts_to_look_at(self, minter: str, every: timedelta) -> Sequence[Cut]:
        """Those of a minter that refuse something and were not looked at for so long."""
        now, mine = self.store.time, f"{minter} "
        due = [
            cut
            for place, cut in self.newest.items()
            if place.startswith(mine) and not cut.empty and self.looked_at[place] <= now - every
        ]
        self.looked_at.update({cut.place: now for cut in due})
        return due
