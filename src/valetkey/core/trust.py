"""Whom we trust to say who somebody is, and what a CI job of theirs may set up here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from valetkey.core.client_key import CLIENT_KEY
from valetkey.core.errors import OutsideTrustRule, TrustRuleTooWide
from valetkey.core.pins import Platform, check_pins
from valetkey.core.rules import Part
from valetkey.core.scope import Scope, within_any

IssuerKind = Literal["workload", "ci", "people"]
Replay = Literal["jti", "token_hash", "reusable_until_exp"]

_ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    | {"ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
_PINNED_IDS: Final = (("repository_id", "repository_owner_id"), ("project_id", "namespace_id"))
_CONDITIONS: Final = (("environment",), ("ref", "ref_type"))
FETCHABLE: Final = ("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")
"""How an address begins that we may fetch from: https, or http on loopback."""
_ALWAYS_CHECKED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf"})


@dataclass(frozen=True)
class IssuerRecord:
    """One registered issuer: where its keys are and what its tokens must look like.

    `issuer` is compared with `iss` exactly. Keys come from `jwks_uri`, from the file `jwks_file`,
    from `jwks` (RFC 7517 sets) or from the agent at `workload_api`, never from the token.
    `audience` is the only `aud` accepted.
    `typ` is the set of header types accepted, lower-case, where "" means absent. `max_age` bounds
    now - iat, `max_life` bounds exp - iat. `replay` says whether a proof is once-only by its
    `jti`, once-only by its hash, or reusable until it expires by the first key that used it.

    Every claim of a proof is accounted for: besides those always checked, `checked` are matched
    exactly, `informative` are known and need no check (for example `run_id`), and `uncheckable`
    restrict the token in a way that we cannot check, so that its presence refuses the proof. Any
    other claim is reported by name. `platform` names a profile that accounts for more of them
    (identity/platforms).

    `on_behalf_audience` is the `aud` of tokens that people pass on to agents which act for them;
    it must be another than `audience`, or a login could be passed on.
    """

    name: str
    issuer: str
    kind: IssuerKind
    audience: str
    algorithms: frozenset[str]
    jwks_uri: str | None = None
    jwks: Mapping[str, object] | None = field(default=None, repr=False)
    jwks_file: str | None = None
    typ: frozenset[str] = frozenset({"jwt", ""})
    max_age: timedelta = timedelta(minutes=10)
    max_life: timedelta = timedelta(hours=1)
    replay: Replay = "jti"
    checked: Mapping[str, str] = field(default_factory=dict)
    informative: frozenset[str] = frozenset()
    uncheckable: frozenset[str] = frozenset({"act", "authorization_details"})
    platform: Platform = "generic"
    workload_api: str | None = None
    on_behalf_audience: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a record that could not be checked safely."""
        if [self.jwks_uri, self.jwks, self.jwks_file, self.workload_api].count(None) != 3:
            raise ValueError(f"issuer {self.name}: give one of jwks_uri, jwks_file, workload_api")
        if self.jwks_uri is not None and not self.jwks_uri.startswith(FETCHABLE):
            raise ValueError(f"issuer {self.name}: jwks_uri must be https, or http on loopback")
        if not self.algorithms or not self.algorithms <= _ASYMMETRIC:
            raise ValueError(f"issuer {self.name}: algorithms must be asymmetric and named")
        if any(word != word.lower() for word in self.typ):
            raise ValueError(f"issuer {self.name}: typ is written in small letters")
        if self.name == CLIENT_KEY:
            raise ValueError(f"issuer {self.name}: the name stands for agents' own keys")
        if not (self.issuer and self.audience) or self.max_life <= timedelta(0):
            raise ValueError(f"issuer {self.name}: issuer, audience and max_life are required")
        if self.on_behalf_audience is not None and not self._passes_on():
            raise ValueError(
                f"issuer {self.name}: on_behalf_audience is for people, and another than audience"
            )

    def _passes_on(self) -> bool:
        own = self.on_behalf_audience not in ("", self.audience)
        return own and self.kind == "people"

    def accounted(self) -> frozenset[str]:
        """The claim names that this record says something about, besides the uncheckable."""
        return _ALWAYS_CHECKED | self.checked.keys() | self.informative


@dataclass(frozen=True)
class Allowance:
    """What a CI job may set up: every part bounds, and an empty part allows nothing.

    `labels` maps each allowed label to its allowed values; `ceiling` are the scopes that a
    boundary may not exceed; `may_bind` are names of issuers whose identities it may bind.
    """

    name_prefix: str
    owners: frozenset[str]
    teams: frozenset[str]
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ceiling: tuple[Scope, ...] = ()
    may_bind: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Provision:
    """What somebody wants to set up, in the terms that a trust rule bounds."""

    name: str
    owner: str
    team: str
    labels: Mapping[str, str]
    boundary: tuple[Scope, ...]
    bind_issuers: frozenset[str]


@dataclass(frozen=True)
class TrustRule:
    """Which CI jobs of one issuer are trusted (exact claim values), and with what.

    `may_apply` are the parts of reviewed files that they may bring; `allows` bounds the agents
    among them. With `activate` a version of the rules comes into force without a person.

    Construction raises TrustRuleTooWide unless the platform's ids are pinned (GitHub
    `repository_id` and `repository_owner_id`, GitLab `project_id` and `namespace_id`) with one
    of `environment` or (`ref` and `ref_type`), or when a wildcard appears anywhere.
    """

    name: str
    issuer: str
    match: Mapping[str, str]
    allows: Allowance
    may_apply: frozenset[Part] = frozenset({"agents"})
    activate: bool = False

    def __post_init__(self) -> None:
        if not _some(_PINNED_IDS, self.match):
            raise TrustRuleTooWide(f"rule {self.name}: the platform's ids are not pinned")
        if not _some(_CONDITIONS, self.match):
            raise TrustRuleTooWide(f"rule {self.name}: no environment or ref condition")
        if any("*" in word for word in self._words()):
            raise TrustRuleTooWide(f"rule {self.name}: wildcards are not allowed")
        if "agents" in self.may_apply and not self.allows.name_prefix:
            raise TrustRuleTooWide(f"rule {self.name}: name_prefix is required")

    def _words(self) -> Iterator[str]:
        yield from (self.name, self.issuer, self.allows.name_prefix)
        yield from (word for pair in self.match.items() for word in pair)
        yield from (*self.allows.owners, *self.allows.teams, *map(str, self.allows.ceiling))
        yield from self.allows.may_bind
        for label, values in self.allows.labels.items():
            yield from (label, *values)

    def matches(self, claims: Mapping[str, object]) -> bool:
        """Whether verified claims carry every pinned value, as exactly these strings."""
        return claims_match(self.match.items(), claims)

    def admits(self, part: Part) -> None:
        """Raise OutsideTrustRule when jobs under this rule bring no such files."""
        if part not in self.may_apply:
            raise OutsideTrustRule(f"rule {self.name} does not apply {part}: see its may_apply")

    def bounds(self, wanted: Provision) -> None:
        """Raise OutsideTrustRule, naming the part, when more is wanted than the rule allows."""
        self.admits("agents")
        for part in self.outside(wanted):
            raise OutsideTrustRule(f"rule {self.name} does not allow this {part}")

    def outside(self, wanted: Provision) -> tuple[str, ...]:
        """Every part that is more than the rule allows: name, owner, team, label and so on."""
        return tuple(_outside(self.allows, wanted))


def check_binding(pairs: Iterable[tuple[str, str]], platform: Platform = "generic") -> None:
    """Raise TrustRuleTooWide unless a binding pins one identity of the platform, exactly.

    That is what the platform demands; of a generic issuer its `sub`, or ids with an environment
    or ref; without wildcards.
    """
    pinned = dict(pairs)
    if any(not value or "*" in name + value for name, value in pinned.items()):
        raise TrustRuleTooWide("a binding has exact values, no wildcards")
    ids = _some(_PINNED_IDS, pinned) and _some(_CONDITIONS, pinned)
    if platform == "generic" and "sub" not in pinned and not ids:
        raise TrustRuleTooWide("a binding pins sub, or the platform's ids and a condition")
    check_pins(platform, pinned)


def _some(ways: tuple[tuple[str, ...], ...], pinned: Mapping[str, str]) -> bool:
    """Whether all claims of at least one of the ways have a value."""
    return any(all(pinned.get(name) for name in names) for names in ways)


def claims_match(pairs: Iterable[tuple[str, str]], claims: Mapping[str, object]) -> bool:
    """Whether verified claims carry every value exactly; no pairs match nothing.

    `kubernetes.io/serviceaccount/uid` names a member inside an object, unless a claim has just
    that name.
    """
    wanted = list(pairs)
    return bool(wanted) and all(claim_at(claims, name) == value for name, value in wanted)


def claim_at(claims: Mapping[str, object], name: str) -> object:
    """A claim by its name, or a member inside an object by `claim/member`; None when absent."""
    if name in claims:
        return claims[name]
    heads = [head for head in claims if name.startswith(f"{head}/")]
    head = max(heads, key=len, default="")
    inside = claims.get(head)
    return claim_at(inside, name[len(head) + 1 :]) if isinstance(inside, Mapping) else None


@dataclass(frozen=True)
class ResourceServer:
    """A service that may ask us whether a token is still good, known by the keys it signs with.

    It authenticates by private_key_jwt (RFC 7523) with a key of `jwks`; `audience` is the only
    `aud` whose tokens it may ask about.
    """

    client_id: str
    audience: str
    jwks: Mapping[str, object] = field(repr=False)
    algorithms: frozenset[str] = frozenset({"ES256"})


@dataclass(frozen=True)
class GroupMap:
    """What groups of people mean here: roles by group, and further groups worth keeping.

    `approvers` are groups that grants may wait for; other groups of a person are forgotten.
    """

    roles: Mapping[str, frozenset[str]]
    approvers: frozenset[str] = frozenset()

    def known(self, groups: Iterable[str]) -> frozenset[str]:
        """Those of the groups that mean something here."""
        return frozenset(groups) & (self.roles.keys() | self.approvers)

    def roles_of(self, groups: Iterable[str]) -> frozenset[str]:
        """The roles that these groups give."""
        return frozenset(role for group in groups for role in self.roles.get(group, ()))


def _outside(allows: Allowance, wanted: Provision) -> Iterator[str]:
    if not wanted.name.startswith(allows.name_prefix):
        yield "name"
    if wanted.owner not in allows.owners:
        yield "owner"
    if wanted.team not in allows.teams:
        yield "team"
    if any(value not in allows.labels.get(label, ()) for label, value in wanted.labels.items()):
        yield "label"
    if not all(within_any(scope, allows.ceiling) for scope in wanted.boundary):
        yield "boundary"
    if not wanted.bind_issuers <= allows.may_bind:
        yield "binding"
