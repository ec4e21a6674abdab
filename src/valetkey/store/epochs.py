"""Our own name and its epoch, and the tallies that tell our database from its copies."""

from __future__ import annotations

from psycopg.rows import tuple_row

from valetkey.core.tally import Tallies, Tally
from valetkey.store.session import Session

_NAME = "SELECT id || 'e' || epoch FROM installation"
_BEGIN = """
UPDATE installation SET epoch = greatest(epoch + 1, %(least)s) RETURNING id || 'e' || epoch
"""
_HURRY = """
UPDATE tasks SET deadline_at = least(deadline_at, clock_timestamp()) WHERE state = 'open'
"""
_TALLIES = "SELECT number, word, coming_number, coming_word FROM tallies WHERE name = %(name)s"
_SAVE = """
INSERT INTO tallies (name, number, word, coming_number, coming_word)
VALUES (%(name)s, %(number)s, %(word)s, %(coming_number)s, %(coming_word)s)
ON CONFLICT (name) DO UPDATE SET number = excluded.number, word = excluded.word,
    coming_number = excluded.coming_number, coming_word = excluded.coming_word
"""


class Epochs(Session):
    """What makes this database the one that it is."""

    def installation(self) -> str:
        """Our name with its epoch, as marks carry it."""
        row = self._run(tuple_row, _NAME, {}).fetchone()
        assert row is not None
        return str(row[0])

    def begin_epoch(self, least: int) -> str:
        """Raise the epoch by one, or to `least`; only the owner may. Our new name."""
        row = self._run(tuple_row, _BEGIN, {"least": least}).fetchone()
        assert row is not None
        return str(row[0])

    def hurry_tasks(self) -> int:
        """Every open task's deadline is now, and the clock ends it; how many there are."""
        return self._run(tuple_row, _HURRY, {}).rowcount

    def tallies(self, name: str) -> Tallies:
        """What we know of a witness's note; nothing when it is not known."""
        row = self._run(tuple_row, _TALLIES, {"name": name}).fetchone()
        return Tallies(_tally(*row[:2]), _tally(*row[2:])) if row else Tallies()

    def save_tallies(self, name: str, tallies: Tallies) -> None:
        """Keep it."""
        last, coming = tallies.last, tallies.coming
        values = {
            "name": name,
            "number": last.number if last else None,
            "word": last.word if last else None,
            "coming_number": coming.number if coming else None,
            "coming_word": coming.word if coming else None,
        }
        self._run(tuple_row, _SAVE, values)


def _tally(number: int | None, word: str | None) -> Tally | None:
    return None if number is None or word is None else Tally(number, word)
