"""The shape of a platform's profile: what its tokens are like and what is done about each claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from valetkey.core.pins import Platform
from valetkey.core.trust import IssuerKind, IssuerRecord, Replay, claim_at
from valetkey.identity.jose import BadToken, VerifiedClaims

Claims = Mapping[str, object]


@dataclass(frozen=True)
class Habits:
    """What an issuer's record says where the settings leave it out.

    `typ` holds header types in small letters, "" for none. `max_age` bounds now - iat,
    `max_life` bounds exp - iat.
    """

    algorithms: frozenset[str] = frozenset()
    typ: frozenset[str] = frozenset({"jwt", ""})
    max_age: timedelta = timedelta(minutes=10)
    max_life: timedelta = timedelta(hours=1)
    replay: Replay = "jti"


def _any_claims(claims: VerifiedClaims, record: IssuerRecord) -> None:
    """Nothing more to check."""


def _any_record(record: IssuerRecord) -> None:
    """Nothing more to ask of a record."""


def _nothing(claims: Claims) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class Profile:
    """One platform: each claim of its tokens is checked, uncheckable, ignored by name or reported.

    `checked` are claims that `check` looks at or that rules are expected to pin; `ignored` are
    known to need no check; `uncheckable` refuse the proof by being there; any other claim is
    reported. Of claims that are objects, `inside` names the members that are accounted for.
    `header` are the only header members accepted, None for the usual, and `key_use` what its keys
    say they are for. Its tokens always have `iat` if `dated`; if `vouched`, somebody outside must
    vouch for each of them. `check` raises BadToken, `check_record` ValueError. `must_pin` names
    claims of which the rule or binding that a proof fits has to pin one; empty when this proof
    asks for none. `noted` are kept in history.
    """

    platform: Platform
    kinds: frozenset[IssuerKind]
    habits: Habits
    checked: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    uncheckable: frozenset[str] = frozenset()
    inside: Mapping[str, frozenset[str]] = field(default_factory=dict)
    header: frozenset[str] | None = None
    key_use: str = "sig"
    dated: bool = True
    vouched: bool = False
    check: Callable[[VerifiedClaims, IssuerRecord], None] = _any_claims
    check_record: Callable[[IssuerRecord], None] = _any_record
    must_pin: Callable[[Claims], frozenset[str]] = _nothing
    noted: tuple[str, ...] = ()

    def admits(self, record: IssuerRecord) -> None:
        """Raise ValueError for a record that this platform's tokens cannot safely have."""
        if record.kind not in self.kinds:
            raise ValueError(f"issuer {record.name}: {self.platform} is not of kind {record.kind}")
        if self.platform != "generic" and record.audience == record.issuer:
            raise ValueError(f"issuer {record.name}: the audience is the platform's default")
        self.check_record(record)

    def unaccounted(self, claims: Claims) -> set[str]:
        """Names of claims of which this profile says nothing; `claim/member` inside an object."""
        known = self.checked | self.ignored | self.uncheckable | self.inside.keys()
        return (claims.keys() - known) | {
            f"{name}/{member}"
            for name, members in self.inside.items()
            for member in _members(claims.get(name)) - members
        }

    def worth_noting(self, claims: Claims) -> dict[str, str]:
        """Those verified claims that tell later which job or pod it was."""
        found = {name: claim_at(claims, name) for name in self.noted}
        return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _members(value: object) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


def optional_text(claims: Claims, name: str) -> str:
    """A claim that is a text; "" when it is absent; raises BadToken for anything else."""
    found = claims.get(name, "")
    if not isinstance(found, str):
        raise BadToken(f"{name} is not a text")
    return found
