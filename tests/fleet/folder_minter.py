"""A back end that is a folder: each credential is a file in it, and each end leaves a line.

It outlives whoever calls it and is shared by processes, so that what each of them did is counted
although they are killed. It is a real outside for the sweep, a thousand times cheaper than OpenBao.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import MinterRefused
from valetkey.core.ids import LeaseId, Mark
from valetkey.core.lease import Handle, Proof
from valetkey.ports import Deadline, Ending, Found, Gone, Minted, Presence, Renewed

NAME = "folder"


class FolderMinter:
    """Ends credentials by unlinking them; `who` names the process, `takes` seconds each end."""

    def __init__(self, folder: Path, who: str, takes: float = 0.0) -> None:
        self._alive, self._takes = folder / "alive", takes
        self._line = os.open(folder / f"ends-{who}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """It makes none."""
        raise MinterRefused()

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """We can look."""
        return Proof.VERIFIED

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """It makes none."""
        raise MinterRefused()

    def renews(self, wanted: CataloguedScope) -> bool:
        """It renews none."""
        return False

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """It renews none."""
        raise MinterRefused()

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """Note who was asked, take a while, and let it be gone."""
        os.write(self._line, f"{handle.name}\n".encode())
        threading.Event().wait(self._takes)
        (self._alive / handle.name).unlink(missing_ok=True)
        return Gone()

    def probe(self, handle: Handle) -> Presence:
        """Look."""
        return Presence.PRESENT if (self._alive / handle.name).exists() else Presence.ABSENT

    def found(self) -> Iterator[Found]:
        """Everything that is there."""
        for name in (file.name for file in self._alive.iterdir()):
            mark = Mark.read(name)
            if mark is not None:
                yield Found(Handle(NAME, "", name), mark.installation, mark.lease_id)

    def claim(self) -> list[str]:
        """Nothing to claim."""
        return []

    def problem(self) -> str | None:
        """Always able."""
        return None


def ends_by_replica(folder: Path) -> dict[str, Counter[str]]:
    """How often each replica was seen ending each name."""
    return {
        file.name.removeprefix("ends-"): Counter(file.read_text().splitlines())
        for file in sorted(folder.glob("ends-*"))
    }
