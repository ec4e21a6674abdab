"""Our signing keys in time: each file says from when its key signs, and the clock does the rest.

A key is published from the moment its file is there, signs from the instant its name tells, and
verifies for as long after its successor took over as anything that it signed may live. So all
replicas that hold the same files do the same, and no step needs a restart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Final, Literal

from joserfc.jwk import ECKey

from valetkey.identity.jose import VerifyingKey
from valetkey.identity.keys import SigningKeys, read_key

Stage = Literal["next", "signs", "verifies", "over"]

_TIMED: Final = re.compile(r"(\d{8}T\d{6}Z)\.(?:pem|jwk)")
_FORM: Final = "%Y%m%dT%H%M%SZ"
_EVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class TimedKey:
    """A key of ours in its file. `signs_from` is None for one that no longer signs."""

    file: str
    key: ECKey = field(repr=False)
    signs_from: datetime | None

    @property
    def kid(self) -> str:
        """Its RFC 7638 thumbprint."""
        return self.key.thumbprint()


@dataclass(frozen=True)
class Standing:
    """Where a key stands now; `until` is when it stops verifying, where that is known."""

    key: TimedKey
    stage: Stage
    until: datetime | None = None


@dataclass(frozen=True)
class KeyFiles:
    """Where our keys are: one that signs from ever, a folder of timed ones, retired ones.

    `kept` is how long the longest-lived thing may live that a key has signed.
    """

    first: Path | None
    folder: Path | None
    retired: tuple[Path, ...]
    kept: timedelta

    def read(self) -> tuple[TimedKey, ...]:
        """All keys, those that sign in the order of their times. Raises OSError, ValueError."""
        signing = [TimedKey(self.first.name, read_key(self.first), _EVER)] if self.first else []
        signing += [_timed(path) for path in self._timed_files()]
        if len({key.signs_from for key in signing}) != len(signing):
            raise ValueError(f"{self.folder}: two keys would sign from the same instant")
        retired = [TimedKey(path.name, read_key(path), None) for path in self.retired]
        return (*sorted(signing, key=lambda key: key.signs_from or _EVER), *retired)

    def standing(self, keys: Sequence[TimedKey], now: datetime) -> tuple[Standing, ...]:
        """Where each key stands at an instant."""
        timed = [key for key in keys if key.signs_from is not None]
        pairs = zip_longest(timed, timed[1:])
        found = [self._stands(key, then, now) for key, then in pairs]
        retired = [Standing(key, "verifies") for key in keys if key.signs_from is None]
        return (*found, *retired)

    def _stands(self, key: TimedKey, then: TimedKey | None, now: datetime) -> Standing:
        replaced_at = then.signs_from if then is not None else None
        if key.signs_from is not None and key.signs_from > now:
            return Standing(key, "next")
        if replaced_at is None or replaced_at > now:
            return Standing(key, "signs")
        until = replaced_at + self.kept
        return Standing(key, "verifies" if until > now else "over", until)

    def _timed_files(self) -> list[Path]:
        """The folder's files; those with a dot in front are none of ours (Kubernetes has such)."""
        if self.folder is None:
            return []
        first = self.first.resolve() if self.first else None
        named = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        return [path for path in named if path.resolve() != first]


class KeyRing:
    """The keys of this replica as they stand; swapped as a whole, so safe for threads."""

    def __init__(self, files: KeyFiles, now: datetime) -> None:
        """Read them; raises OSError or ValueError when they cannot be used, or none signs yet."""
        self._files = files
        self._keys = files.read()
        self._set, self._since = _chosen(files, self._keys, now)

    def turn(self, now: datetime) -> str | None:
        """Read the files again, and let the key sign whose time has come.

        What is wrong with the files, which leaves the last good ones in use; else None.
        """
        try:
            keys = self._files.read()
            self._set, self._since = _chosen(self._files, keys, now)
            self._keys = keys
        except (OSError, ValueError) as wrong:
            self._set, self._since = _chosen(self._files, self._keys, now)
            return str(wrong)
        return None

    @property
    def kid(self) -> str:
        """The id of the key that signs."""
        return self._set.kid

    @property
    def since(self) -> datetime | None:
        """From when it signs; None for one whose file tells no time."""
        return None if self._since == _EVER else self._since

    def kids(self) -> frozenset[str]:
        """The ids of all that are published."""
        return self._set.kids()

    def sign(self, typ: str, payload: bytes) -> str:
        """A compact JWS of this payload (RFC 7515) with the key that signs now."""
        return self._set.sign(typ, payload)

    def verifying(self, kid: str) -> VerifyingKey:
        """The public key of this id; raises BadToken when it is not ours."""
        return self._set.verifying(kid)

    def jwks(self) -> dict[str, object]:
        """The public keys as a JWK Set (RFC 7517), the one that signs first."""
        return self._set.jwks()


def file_name(signs_from: datetime) -> str:
    """The name of the file whose key signs from an instant on, whole seconds in UTC."""
    return f"{signs_from.astimezone(UTC).strftime(_FORM)}.pem"


_FORM_SHOWN: Final = file_name(datetime(2027, 1, 31, 9, 0, 0, tzinfo=UTC))


def _timed(path: Path) -> TimedKey:
    """The key of a file of the folder; a name that tells no time would silently never sign."""
    name = _TIMED.fullmatch(path.name)
    if name is None:
        raise ValueError(f"{path}: a key's file is named like {_FORM_SHOWN}")
    key = read_key(path)
    if not key.is_private:
        raise ValueError(f"{path} does not hold a private key, and could not sign")
    return TimedKey(path.name, key, datetime.strptime(name[1], _FORM).replace(tzinfo=UTC))


def _chosen(
    files: KeyFiles, keys: Sequence[TimedKey], now: datetime
) -> tuple[SigningKeys, datetime | None]:
    """The set in use at an instant, and from when its signing key signs; raises ValueError."""
    stood = files.standing(keys, now)
    signs = next((one.key for one in stood if one.stage == "signs"), None)
    if signs is None:
        raise ValueError("no signing key's time has come yet")
    others = [one.key.key for one in stood if one.stage in ("next", "verifies")]
    return SigningKeys(signs.key, others), signs.signs_from
