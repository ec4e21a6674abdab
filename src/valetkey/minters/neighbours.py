"""Which of several targets on one PostgreSQL server a role belongs to.

Roles are the whole server's (manual, chapter 21), so a look inside one target shows those of its
neighbours too, and only the target that made a role can end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from valetkey.core.catalogue import Target
from valetkey.core.ids import Mark
from valetkey.core.statements import expansions

Listed = Callable[[Target], set[str]]
"""What OpenBao has roles or leases of at the mount of a target; raises what a minter raises."""


class Neighbours:
    """The database targets of one catalogue, asked about one look at it."""

    def __init__(self, targets: Iterable[Target], listed: Listed) -> None:
        self._targets, self._list = list(targets), listed
        self._lists: dict[str, set[str]] = {}

    def belongs(self, name: str, here: Target) -> bool:
        """Whether a role seen inside a target, but not at its mount, is that target's.

        The scope digest of its mark says so, because it is made of the target's name too. A
        digest of no scope that is catalogued now leaves it to the one that OpenBao lists it for,
        and then to whoever looks: its lease, once there is one, is known by its name.
        """
        others = [x for x in self._targets if _server(x) == _server(here) and x.name != here.name]
        if not others:
            return True
        mark = Mark.read(name)
        owner = self._by_digest.get(mark.digest) if mark else None
        if owner is not None:
            return owner == here.name
        return not any(name in self._listed(other) for other in others)

    def _listed(self, target: Target) -> set[str]:
        if target.name not in self._lists:
            self._lists[target.name] = self._list(target)
        return self._lists[target.name]

    @cached_property
    def _by_digest(self) -> dict[str, str]:
        each = ((role.digest, x.name) for x in self._targets for _, role in expansions(x))
        return dict(each)


def _server(target: Target) -> tuple[str, str]:
    return str(target.address.get("host")), str(target.address.get("port"))
