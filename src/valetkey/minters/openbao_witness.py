"""OpenBao as the witness of our database: one note per installation and epoch, in KV version 2."""

from __future__ import annotations

from valetkey.core.tally import Noted, Tally
from valetkey.minters.bao import Bao, Login, NothingThere, mapped

NOTES = "valetkey/data/tallies"
NAMES = "valetkey/metadata/tallies/"


class OpenBaoWitness:
    """Notes are written by compare-and-set over their version; reading needs no more than `read`.

    `login` needs create, read and update under NOTES, and list on NAMES.
    """

    def __init__(self, bao: Bao, login: Login) -> None:
        self._bao, self._login = bao, login

    def noted(self, installation: str) -> Noted | None:
        """What is noted for a name like `abcdefe1`; raises as every call to OpenBao does."""
        try:
            answer = self._bao.call(self._login, "GET", f"{NOTES}/{installation}")
        except NothingThere:
            return None
        with mapped():
            note, version = answer["data"]["data"], answer["data"]["metadata"]["version"]
            return Noted(Tally(int(note["number"]), str(note["word"])), int(version))

    def note(self, installation: str, tally: Tally, over: int) -> None:
        """Note it over that version; raises MinterRefused when another one is there."""
        data = {"number": tally.number, "word": tally.word}
        body = {"options": {"cas": over}, "data": data}
        self._bao.call(self._login, "POST", f"{NOTES}/{installation}", body)

    def installations(self) -> list[str]:
        """Every name for which something was ever noted."""
        return self._bao.names(self._login, NAMES)
