"""A platform's proof in, our own token out: by token exchange (RFC 8693) or jwt-bearer (RFC 7523).

For oneself only.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from valetkey.core.detail import Detail
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    TrustRuleTooWide,
    Unauthenticated,
    UnknownAgent,
)
from valetkey.core.pins import check_pins
from valetkey.core.principal import Caller, Principal
from valetkey.core.trust import GroupMap, TrustRule
from valetkey.identity.bindings import AgentIdentity, Bindings
from valetkey.identity.details import asked_details
from valetkey.identity.dpop import Sent, bound_key
from valetkey.identity.jose import BadToken, instant, text
from valetkey.identity.oauth import OAuthCode, check_asked, malformed, need, refused
from valetkey.identity.oidc import LEEWAY, ProofReader, VerifiedProof
from valetkey.identity.replay import Uses, spend_once, spend_proof
from valetkey.identity.tokens import LONGEST, AccessTokens

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_ACCESS_TOKEN: Final = f"{_TYPE}access_token"
JWT: Final = f"{_TYPE}jwt"
_SUBJECT_TYPES: Final = {
    "workload": JWT,
    "ci": JWT,
    "people": f"{_TYPE}id_token",
}


@dataclass(frozen=True)
class Trust:
    """Whom an exchange trusts and with what: CI rules, agents' bindings, people's groups."""

    rules: tuple[TrustRule, ...]
    bindings: Bindings
    groups: GroupMap


@dataclass(frozen=True)
class Exchanged:
    """A token that was given: the RFC 8693 answer, whom it is for, and where that came from.

    `issuer` is the issuer record's name; `unaccounted` are names of claims that nothing is said
    about in the record, and `noted` are claims that tell which job or pod it was, for the history.
    """

    response: dict[str, object]
    caller: Caller
    issuer: str
    unaccounted: tuple[str, ...]
    noted: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Exchanged({self.caller.kind}, {self.issuer})"


@dataclass(frozen=True)
class _Shown:
    """A proof as a form shows it, what it says to be, and the code for what is wrong with it."""

    token: str = field(repr=False)
    kind: str
    code: OAuthCode
    client_id: str | None
    details: tuple[Detail, ...]


@dataclass(frozen=True)
class Proven:
    """A caller as its proof says, the proof if it was a platform's, and its record's name."""

    caller: Caller
    proof: VerifiedProof | None
    issuer: str


@dataclass(frozen=True)
class Exchange:
    """The exchange of one installation, at one external URL."""

    url: str
    reader: ProofReader
    trust: Trust
    tokens: AccessTokens
    uses: Uses

    def run(self, form: Mapping[str, str], sent: Sent, now: datetime) -> Exchanged:
        """Exchange the form's subject_token for a token bound to the key of the DPoP proof.

        Nothing is written before both proofs have verified, so that a stranger cannot fill the
        store.

        Raises a BrokerError that names its RFC 6749 code in `extra["oauth_error"]`, unless the
        fault is ours (NotReady, StoreUnavailable).
        """
        kind = need(form, "subject_token_type")
        if kind not in _SUBJECT_TYPES.values():
            raise malformed("a subject_token of this type is not accepted")
        shown = _shown(form, "subject_token", kind, "invalid_request")
        return self._redeem(shown, sent, now)

    def run_bearer(self, form: Mapping[str, str], sent: Sent, now: datetime) -> Exchanged:
        """The same for a workload's or job's proof as an `assertion` (RFC 7523 section 2.1).

        Whatever is wrong with the assertion is `invalid_grant`. People exchange their login.
        """
        check_asked(form, self.url)
        _check_alone(form)
        if "actor_token" in form or "actor_token_type" in form:
            raise malformed("this grant is for oneself")
        return self._redeem(_shown(form, "assertion", JWT, "invalid_grant"), sent, now)

    def _redeem(self, shown: _Shown, sent: Sent, now: datetime) -> Exchanged:
        dpop = bound_key(sent, now)
        try:
            proof = self.reader.read(shown.token, dpop.jkt, now)
            _check_slot(shown, proof)
            spend_once(self.uses, "dpop", (dpop.jkt, dpop.jti), dpop.until)
            spend_proof(self.uses, proof, dpop.jkt)
            caller = self._caller(proof, dpop.jkt, now)
            if shown.details and caller.kind != "agent":
                raise malformed("only agents ask", "invalid_authorization_details")
            told = Proven(replace(caller, details=shown.details), proof, proof.record.name)
            return self.answered(told, now)
        except BadToken as bad:
            raise refused(Unauthenticated(str(bad)), shown.code) from None
        except BrokerError as because:
            issuer = self.reader.issuer_named(shown.token)
            raise refused(because, shown.code, issuer) from None

    def check_form(self, form: Mapping[str, str]) -> None:
        """What no token exchange of ours takes; raises InvalidRequest with its RFC 6749 code."""
        check_asked(form, self.url)
        _check_alone(form)
        if form.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
            raise malformed("only access tokens are given")

    def proven(self, token: str, jkt: str, now: datetime) -> Proven:
        """Who a platform's proof is of; it is not used up yet. Raises what reading it does."""
        proof = self.reader.read(token, jkt, now)
        return Proven(self._caller(proof, jkt, now), proof, proof.record.name)

    def new_token_id(self) -> str:
        """A `jti` that nobody guesses."""
        return secrets.token_urlsafe(18)

    def _caller(self, proof: VerifiedProof, jkt: str, now: datetime) -> Caller:
        caller = Caller(
            kind="agent",
            principal=Principal(proof.record.issuer, proof.subject),
            jkt=jkt,
            expires_at=min(_whole(now) + LONGEST, datetime.fromtimestamp(proof.expires, UTC)),
            token_id=self.new_token_id(),
        )
        if proof.record.kind == "people":
            return as_person(caller, proof, self.trust.groups)
        rule = self._rule(proof) if proof.record.kind == "ci" else None
        if rule is not None:
            _check_pins(proof, rule.match)
            return replace(caller, kind="ci", rule=rule.name)
        agent = self.trust.bindings.binding_for(proof.record.name, proof.claims)
        if agent is not None:
            _check_pins(proof, agent.pins)
        return as_agent(caller, agent)

    def _rule(self, proof: VerifiedProof) -> TrustRule | None:
        of_issuer = (rule for rule in self.trust.rules if rule.issuer == proof.record.name)
        matching = [rule for rule in of_issuer if rule.matches(proof.claims)]
        if len(matching) > 1:
            raise UnknownAgent("several trust rules match; they must exclude each other")
        return matching[0] if matching else None

    def answered(self, told: Proven, now: datetime) -> Exchanged:
        """A token for a proven caller, in the words of RFC 8693."""
        caller, proof = told.caller, told.proof
        pinned = next((r.match for r in self.trust.rules if r.name == caller.rule), {})
        return Exchanged(
            response=self.tokens.answer(caller, now),
            caller=caller,
            issuer=told.issuer,
            unaccounted=proof.unaccounted(pinned) if proof else (),
            noted=proof.profile.worth_noting(proof.claims) if proof else {},
        )


def issued_type(given: Exchanged) -> Exchanged:
    """The same, saying of which type the token is, as RFC 8693 section 2.2.1 wants it."""
    return replace(given, response={**given.response, "issued_token_type": _ACCESS_TOKEN})


def _check_alone(form: Mapping[str, str]) -> None:
    for name in ("client_assertion", "client_assertion_type"):
        if name in form:
            raise malformed("the platform's proof itself authenticates the client")


def _shown(form: Mapping[str, str], name: str, kind: str, code: OAuthCode) -> _Shown:
    return _Shown(need(form, name), kind, code, form.get("client_id"), asked_details(form))


def _check_slot(shown: _Shown, proof: VerifiedProof) -> None:
    """The proof is of the type the form says, and nobody says to be somebody else."""
    if shown.kind != _SUBJECT_TYPES[proof.record.kind]:
        raise Unauthenticated("this issuer's tokens are of another subject_token_type")
    if shown.client_id not in (None, proof.subject, proof.record.audience):
        raise Unauthenticated("a proof is exchanged by its own subject only")


def _check_pins(proof: VerifiedProof, pins: Mapping[str, str]) -> None:
    """What was pinned is enough for this platform and this very proof.

    Checked at each exchange, because a binding may be older than the issuer's profile.
    """
    try:
        check_pins(proof.record.platform, pins)
    except TrustRuleTooWide as wide:
        raise UnknownAgent(f"the binding is too wide: {wide.detail}") from None
    one_of = proof.profile.must_pin(proof.claims)
    if one_of and not one_of & pins.keys():
        raise UnknownAgent(f"one of these must be pinned: {', '.join(sorted(one_of))}")


def as_agent(caller: Caller, agent: AgentIdentity | None) -> Caller:
    """The caller as the agent it is bound to; raises UnknownAgent or AgentDisabled."""
    if agent is None:
        raise UnknownAgent()
    if agent.disabled:
        raise AgentDisabled()
    return replace(caller, agent_id=agent.agent_id, agent=agent.name, binding_id=agent.binding_id)


def as_person(caller: Caller, proof: VerifiedProof, known: GroupMap) -> Caller:
    """A person: only a verified e-mail address and groups that mean something here are kept."""
    claims = proof.claims
    listed = claims.get("groups", [])
    groups = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    email = claims.get("email") if claims.get("email_verified") is True else None
    return replace(
        caller,
        kind="person",
        groups=known.known(groups),
        roles=known.roles_of(groups),
        email=text(claims, "email") if email is not None else None,
        auth_time=_login_time(proof),
        fresh_for=text(claims, "nonce") if "nonce" in claims else None,
    )


def _login_time(proof: VerifiedProof) -> datetime | None:
    """When the person logged in (`auth_time`); never later than the proof was made."""
    if "auth_time" not in proof.claims:
        return None
    at, made = instant(proof.claims, "auth_time"), instant(proof.claims, "iat")
    if at > made + LEEWAY:
        raise Unauthenticated("the login is later than its proof")
    return datetime.fromtimestamp(at, UTC)


def _whole(now: datetime) -> datetime:
    return now.replace(microsecond=0)
