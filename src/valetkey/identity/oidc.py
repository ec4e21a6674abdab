"""A platform's or person's signed proof, checked against the record of its issuer.

The steps are those of RFC 8725 and RFC 7519 in the order that lets a stranger cost us least:
nothing is fetched before the issuer is known, nothing in the payload is believed before the
signature. Once-only use is `replay`, what the subject may be here is `exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from valetkey.core.errors import (
    ClockSkew,
    KeyMismatch,
    TokenExpired,
    Unauthenticated,
    UntrustedIssuer,
)
from valetkey.core.spiffe import authority_of
from valetkey.core.trust import IssuerRecord
from valetkey.identity.authorities import TrustBundle
from valetkey.identity.doorstep import Places
from valetkey.identity.jose import (
    BadToken,
    UnverifiedJws,
    VerifiedClaims,
    instant,
    read_compact,
    text,
    verified_claims,
)
from valetkey.identity.jwks import KeySource, fetch_bounded
from valetkey.identity.platforms import PROFILES
from valetkey.identity.platforms.profile import Profile
from valetkey.identity.svids import SvidReader, TrustDomain

LEEWAY: Final = 30


@dataclass(frozen=True)
class VerifiedProof:
    """A proof that passed: its issuer's record, its claims, and the token it came in."""

    record: IssuerRecord
    claims: VerifiedClaims
    token: str

    def __repr__(self) -> str:
        return f"VerifiedProof({self.record.name})"

    @property
    def subject(self) -> str:
        """The `sub` claim."""
        return str(self.claims["sub"])

    @property
    def signed_part(self) -> str:
        """Header and payload: what makes it this proof (an ECDSA signature can be rewritten)."""
        return self.token.rpartition(".")[0]

    @property
    def expires(self) -> int:
        """The `exp` claim, in seconds since 1970."""
        return instant(self.claims, "exp")

    @property
    def profile(self) -> Profile:
        """What is known of its platform."""
        return PROFILES[self.record.platform]

    def unaccounted(self, also: Iterable[str] = ()) -> tuple[str, ...]:
        """Names of claims that neither record, profile nor `also` says anything about, sorted."""
        unknown = self.profile.unaccounted(self.claims)
        return tuple(sorted(unknown - self.record.accounted() - set(also)))


@dataclass(frozen=True)
class Outside:
    """What stands behind an issuer: how its keys are fetched, who vouches for each of its proofs.

    `vouch` raises Unauthenticated, or NotReady when nobody can be asked. `bundle` holds the X.509
    authorities of a trust domain, whose workloads then prove themselves by certificate as well.
    `at_once` is how many of our threads may wait for keys or for whoever vouches.
    """

    fetch: Callable[[str], bytes] = fetch_bounded
    vouch: Callable[[VerifiedProof], None] | None = None
    bundle: TrustBundle | None = None
    at_once: int = 8


@dataclass(frozen=True)
class Source:
    """A registered issuer: its record, its keys, and who vouches for its proofs, if somebody."""

    record: IssuerRecord
    keys: KeySource
    places: Places
    vouch: Callable[[VerifiedProof], None] | None = None
    bundle: TrustBundle | None = None

    @classmethod
    def of(cls, record: IssuerRecord, outside: Outside) -> Source:
        """The source of a record; raises ValueError when its platform cannot be so."""
        profile = PROFILES[record.platform]
        profile.admits(record)
        if profile.vouched and outside.vouch is None:
            raise ValueError(f"issuer {record.name}: nobody is there to vouch for its tokens")
        if outside.bundle is not None and record.platform != "spiffe":
            raise ValueError(
                f"issuer {record.name}: only trust domains of SPIFFE have certificates"
            )
        places = Places(outside.at_once)
        keys = KeySource(record, fetch=outside.fetch, places=places)
        return cls(record, keys, places, outside.vouch, outside.bundle)


class ProofReader:
    """Verifies proofs of registered issuers; an unknown issuer costs no network call."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """`sources` maps each registered `iss` to what we have of it."""
        self._sources = sources
        domains = [(one.record, one.bundle) for one in sources.values()]
        self.svids = SvidReader([TrustDomain(of, by) for of, by in domains if by is not None])

    @classmethod
    def of(
        cls, records: Iterable[IssuerRecord], outside: Mapping[str, Outside] | None = None
    ) -> ProofReader:
        """A reader for these records, `outside` by their names.

        Raises ValueError when an issuer is there twice, or is not as its platform demands.
        """
        sources: dict[str, Source] = {}
        for record in records:
            if record.issuer in sources:
                raise ValueError(f"issuer {record.name}: registered twice")
            behind = (outside or {}).get(record.name, Outside())
            sources[record.issuer] = Source.of(record, behind)
        return cls(sources)

    def issuer_named(self, token: str) -> str | None:
        """The name of the registered issuer that an unverified token claims, for counting."""
        try:
            return self._select(read_compact(token).unverified_claims()).record.name
        except (BadToken, UntrustedIssuer):
            return None

    def record_named(self, issuer: str) -> str | None:
        """The name of the record of an `iss`; None for one that is not registered."""
        found = self._sources.get(issuer)
        return found.record.name if found is not None else None

    def read(self, token: str, jkt: str, now: datetime) -> VerifiedProof:
        """Verify a proof presented with the DPoP key `jkt`.

        Raises Unauthenticated, UntrustedIssuer, TokenExpired, ClockSkew, KeyMismatch, or
        NotReady when the issuer's keys cannot be had, or nobody can be asked to vouch for it.
        """
        try:
            jws = read_compact(token)
            source = self._select(jws.unverified_claims())
            record = source.record
            _check_header(jws, record)
            claims = verified_claims(jws, source.keys.key(jws.kid()))
            _check_shape(claims, record)
            PROFILES[record.platform].check(claims, record)
        except BadToken as bad:
            raise Unauthenticated(str(bad)) from None
        _check_times(claims, record, int(now.timestamp()))
        _check_binding(claims, jkt)
        _check_accounts(claims, record)
        proof = VerifiedProof(record, claims, token)
        if source.vouch is not None:
            with source.places.taken():
                source.vouch(proof)
        return proof

    def _select(self, unverified_claims: Mapping[str, object]) -> Source:
        """By `iss`, or by the trust domain of a SPIFFE ID, for an SVID need not have `iss`."""
        named = unverified_claims.get("iss")
        found = self._sources.get(named) if isinstance(named, str) else None
        if found is None:
            authority = authority_of(unverified_claims.get("sub"))
            found = self._sources.get(authority) if authority is not None else None
            if found is None or found.record.platform != "spiffe":
                raise UntrustedIssuer()
        return found


def _check_header(jws: UnverifiedJws, record: IssuerRecord) -> None:
    if jws.alg not in record.algorithms:
        raise BadToken("the algorithm is not accepted from this issuer")
    if jws.typ() not in record.typ:
        raise BadToken("the token is of another type than expected here")
    members = PROFILES[record.platform].header
    if members is not None and not jws.unverified_header.keys() <= members:
        raise BadToken("the header has a member that this platform does not write")


def _check_shape(claims: VerifiedClaims, record: IssuerRecord) -> None:
    text(claims, "sub")
    instant(claims, "exp")
    if "iat" in claims or PROFILES[record.platform].dated:
        instant(claims, "iat")
    if "nbf" in claims:
        instant(claims, "nbf")
    if record.replay == "jti" or "jti" in claims:
        text(claims, "jti")
    if claims.get("aud") not in (record.audience, [record.audience]):
        raise BadToken("the token is not for us alone")
    if record.kind == "people":
        _check_login(claims, record)


def _check_login(claims: VerifiedClaims, record: IssuerRecord) -> None:
    """OpenID Connect Core 3.1.3.7: `azp` is the client; `auth_time` and `nonce` are typed."""
    if claims.get("azp", record.audience) != record.audience:
        raise BadToken("the login was made for another client")
    if "auth_time" in claims:
        instant(claims, "auth_time")
    if "nonce" in claims:
        text(claims, "nonce")


def _check_times(claims: VerifiedClaims, record: IssuerRecord, now: int) -> None:
    expires = instant(claims, "exp")
    issued = instant(claims, "iat") if "iat" in claims else now
    if expires <= now:
        raise TokenExpired("the proof is past its end")
    if max(issued, instant(claims, "nbf") if "nbf" in claims else 0) > now + LEEWAY:
        raise ClockSkew("the proof was made in the future by our clock")
    if now - issued > record.max_age.total_seconds() + LEEWAY:
        raise ClockSkew("the proof was made too long ago")
    if not 0 < expires - issued <= record.max_life.total_seconds():
        raise Unauthenticated("the proof lives longer than accepted from this issuer")


def _check_binding(claims: VerifiedClaims, jkt: str) -> None:
    if "cnf" not in claims:
        return
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or confirmation.keys() != {"jkt"}:
        raise Unauthenticated("the proof is bound to something that cannot be checked here")
    if confirmation["jkt"] != jkt:
        raise KeyMismatch()


def _check_accounts(claims: VerifiedClaims, record: IssuerRecord) -> None:
    if claims.keys() & (record.uncheckable | PROFILES[record.platform].uncheckable):
        raise Unauthenticated("the proof has a restriction that cannot be checked here")
    if any(claims.get(name) != value for name, value in record.checked.items()):
        raise Unauthenticated("a claim is not as this issuer's record demands")
