"""The sample people and sample workloads of the dev issuer, with generated secrets.

The secrets are written once to 0600 files in the issuer's folder: a person knows a password, a
workload or CI job holds a request token, as a platform would give it one.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valetkey.devstack.folders import read_json, write_json, write_private


@dataclass(frozen=True)
class Person:
    """One sample person: login name (also `sub`), what the id_token says of them."""

    login: str
    name: str
    email: str
    groups: tuple[str, ...]


CLIENT_ID = "valetkey-cli"
"""The one client people log in to: public, PKCE, loopback redirects."""

PEOPLE = (
    Person("olivia", "Olivia Owens", "olivia@example.com", ("refunds-team",)),
    Person("arun", "Arun Rao", "arun@example.com", ("valetkey-approvers", "data-platform")),
    Person("bea", "Bea Lind", "bea@example.com", ("valetkey-approvers",)),
    Person("aud", "Aud Berg", "aud@example.com", ("valetkey-auditors",)),
    Person("opal", "Opal Reyes", "opal@example.com", ("valetkey-operators",)),
    Person("otto", "Otto Brandt", "otto@example.com", ("valetkey-operators",)),
)

WORKLOADS = {name: f"system:serviceaccount:refunds:{name}" for name in ("refund-bot", "report-bot")}


@dataclass(frozen=True, repr=False)
class Register:
    """Who exists and how each proves it; secrets stay out of `repr`."""

    passwords: dict[str, str]
    workload_tokens: dict[str, str]
    ci_token: str

    def person(self, login: str, password: str) -> Person | None:
        """Return the person if the password is right."""
        expected = self.passwords.get(login)
        if expected is None or not hmac.compare_digest(expected.encode(), password.encode()):
            return None
        return next((one for one in PEOPLE if one.login == login), None)

    def workload(self, request_token: str) -> str | None:
        """Return the name of the workload that holds `request_token`."""
        for name, token in self.workload_tokens.items():
            if hmac.compare_digest(token.encode(), request_token.encode()):
                return name
        return None

    def is_ci(self, request_token: str) -> bool:
        """Tell whether `request_token` is the CI job's."""
        return hmac.compare_digest(self.ci_token.encode(), request_token.encode())


def register(folder: Path) -> Register:
    """Read the secrets in `folder`, making them on first use."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    people = _people(folder / "people.json")
    tokens = {name: _kept_text(folder / f"{name}.request-token") for name in WORKLOADS}
    passwords = {login: entry["password"] for login, entry in people.items()}
    return Register(passwords, tokens, _kept_text(folder / "ci.request-token"))


def _people(path: Path) -> dict[str, Any]:
    """Every sample person with a password; one who is new since the last start gets one now."""
    known = read_json(path) or {}
    people = {person.login: known.get(person.login) or _entry(person) for person in PEOPLE}
    if people != known:
        write_json(path, people)
    return people


def _entry(person: Person) -> dict[str, str]:
    return {"email": person.email, "password": secrets.token_urlsafe(12)}


def _kept_text(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="ascii").strip()
