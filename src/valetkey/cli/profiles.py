"""Client profiles: a folder each under `$VALETKEY_HOME/profiles`, every file private.

A profile knows the broker's URL and keeps one DPoP key and one short token for the person and
one for the workload that uses it. It never holds a platform's identity token.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from valetkey.agentside.files import read_json, write_private_json

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")


class NoProfile(Exception):
    """The profile is not there or does not say which broker to ask."""


@dataclass(frozen=True)
class Profile:
    """One profile's name and folder."""

    name: str
    folder: Path

    @property
    def url(self) -> str:
        """The broker's base URL; `VALETKEY_URL` beats the profile. Raises NoProfile."""
        url = os.environ.get("VALETKEY_URL") or self.settings().get("url")
        if not url:
            raise NoProfile(
                f"profile {self.name} names no broker: set VALETKEY_URL, or run "
                f"`valetkey --profile {self.name} login --url URL` (profiles are in {home()})"
            )
        return str(url).rstrip("/")

    @property
    def audience(self) -> str:
        """What a workload's proof must be made for: the broker's URL unless the profile says.

        `VALETKEY_AUDIENCE` beats both. Raises NoProfile.
        """
        named = os.environ.get("VALETKEY_AUDIENCE") or self.settings().get("audience")
        return str(named or self.url)

    def settings(self) -> Mapping[str, object]:
        """What the profile says."""
        return read_json(self.folder / "profile.json")

    def save(self, **settings: str) -> None:
        """Write what the profile says."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private_json(self.folder / "profile.json", settings)

    def key_file(self, who: str) -> Path:
        """Where the DPoP key of the `person` or `workload` is."""
        return self.folder / f"{who}.key.json"

    def token_file(self, who: str) -> Path:
        """Where the short token of the `person` or `workload` is."""
        return self.folder / f"{who}.token.json"

    @property
    def login_file(self) -> Path:
        """Where the last login of a person is."""
        return self.folder / "login.json"


def home() -> Path:
    """`$VALETKEY_HOME`, else `~/.config/valetkey`."""
    named = os.environ.get("VALETKEY_HOME")
    return Path(named) if named else Path.home() / ".config" / "valetkey"


def profile_called(name: str) -> Profile:
    """The profile of that name, there or not. Raises NoProfile for an impossible name."""
    if not _NAME.fullmatch(name):
        raise NoProfile("a profile's name is of a-z, 0-9, dot, dash and underscore")
    return Profile(name, home() / "profiles" / name)
