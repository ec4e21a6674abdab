"""Token exchange for an agent that acts for a person (RFC 8693 with an actor token).

The person's token was made for an audience of its own, `on_behalf_audience`, so that a login at our
own desk can never be passed on, and what was passed on can never become the person's own session.
The actor is proven by its platform's proof or by a token of ours, with the same DPoP key. What the
client says of actors (`act`) grants nothing: a token that has it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from valetkey.core.client_key import CLIENT_KEY
from valetkey.core.errors import (
    BrokerError,
    DelegationRefused,
    KeyMismatch,
    Unauthenticated,
)
from valetkey.core.principal import Acting, Caller, Person, Principal
from valetkey.core.trust import IssuerRecord
from valetkey.identity.details import asked_details
from valetkey.identity.dpop import Sent, bound_key
from valetkey.identity.exchange import JWT, Exchange, Exchanged, Proven, as_person
from valetkey.identity.jose import BadToken, VerifiedClaims, instant
from valetkey.identity.oauth import malformed, need, refused
from valetkey.identity.oidc import ProofReader, VerifiedProof
from valetkey.identity.replay import check_unrevoked, spend_once, spend_proof

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a type's name
NAMED: Final = frozenset({"actor_token", "actor_token_type"})
Recorded = Callable[[str, str], bool]
"""Whether a person (principal as text) lets an agent (its id) act for them now."""


@dataclass(frozen=True)
class OnBehalf:
    """The exchange of one installation for agents that act for people."""

    exchange: Exchange
    reader: ProofReader
    recorded: Recorded

    def run(self, form: Mapping[str, str], sent: Sent, now: datetime) -> Exchanged:
        """A token with which the proven agent acts for the person of the form's subject_token.

        Nothing is written before both have verified. Whatever is wrong with either is
        `invalid_request` (RFC 8693 section 2.2.2).
        """
        _check_types(form)
        details = asked_details(form)
        dpop = bound_key(sent, now)
        try:
            said = self.reader.read(need(form, "subject_token"), dpop.jkt, now)
            actor = self._actor(form, dpop.jkt, now)
            _check_client(form, actor)
            person = _person(self.exchange, said, actor.caller)
            spend_once(self.exchange.uses, "dpop", (dpop.jkt, dpop.jti), dpop.until)
            for proof in (said, actor.proof):
                if proof is not None:
                    spend_proof(self.exchange.uses, proof, dpop.jkt)
            until = self._until(said, actor.caller, person)
            made = datetime.fromtimestamp(instant(said.claims, "iat"), UTC)
            caller = replace(
                actor.caller,
                expires_at=min(actor.caller.expires_at, _end(said)),
                details=details,
                acting=Acting(person, made, until),
            )
            given = self.exchange.answered(replace(actor, caller=caller), now)
            return replace(given, unaccounted=given.unaccounted + said.unaccounted())
        except BadToken as bad:
            raise refused(Unauthenticated(str(bad)), "invalid_request") from None
        except BrokerError as because:
            issuer = self.reader.issuer_named(form.get("subject_token", ""))
            raise refused(because, "invalid_request", issuer) from None

    def _actor(self, form: Mapping[str, str], jkt: str, now: datetime) -> Proven:
        """The agent, by its platform's proof or by a token of ours that is its own."""
        token = need(form, "actor_token")
        if form["actor_token_type"] == JWT:
            proven = self.exchange.proven(token, jkt, now)
            if "act" in (proven.proof.claims if proven.proof else ()):
                raise Unauthenticated("the actor token has an actor of its own")
        else:
            proven = self._of_ours(token, jkt, now)
        if proven.caller.kind != "agent":
            raise Unauthenticated("only agents act for people")
        return proven

    def _of_ours(self, token: str, jkt: str, now: datetime) -> Proven:
        holder = self.exchange.tokens.verify(token, now)
        if holder.jkt != jkt or holder.x5t is not None:
            raise KeyMismatch()
        if holder.details or holder.acting:
            raise Unauthenticated("the actor token is not the agent's own, or only for some asks")
        check_unrevoked(self.exchange.uses, holder.token_id)
        name = self.exchange.reader.record_named(holder.principal.issuer) or CLIENT_KEY
        fresh = replace(holder, token_id=self.exchange.new_token_id())
        return Proven(fresh, None, name)

    def _until(self, said: VerifiedProof, actor: Caller, person: Person) -> datetime | None:
        """How long the person's own token lets this agent act; None where they said so here.

        Raises DelegationRefused when neither is so, and when the token names another actor.
        """
        if "may_act" in said.claims:
            if not self._names(said.claims, actor):
                raise DelegationRefused("the person's token lets another actor act")
            return _end(said)
        if not self.recorded(person.principal, actor.client_id):
            raise DelegationRefused("the person did not say that this agent may act for them")
        return None

    def _names(self, claims: VerifiedClaims, actor: Caller) -> bool:
        """`may_act` names exactly the actor, as its platform or as we do (section 4.4)."""
        principal, ours = actor.principal, {"iss": self.exchange.url, "sub": actor.client_id}
        platforms = {"iss": principal.issuer, "sub": principal.subject}
        return claims["may_act"] in (ours, platforms)


def passed_on(records: tuple[IssuerRecord, ...]) -> tuple[IssuerRecord, ...]:
    """The records by which tokens are read that people pass on to agents."""
    return tuple(
        replace(
            record,
            audience=record.on_behalf_audience,
            on_behalf_audience=None,
            uncheckable=record.uncheckable | {"act"},
            informative=record.informative | {"may_act"},
        )
        for record in records
        if record.on_behalf_audience is not None
    )


def _check_types(form: Mapping[str, str]) -> None:
    """Each token is of a type that is taken there (RFC 8693 section 2.1)."""
    if need(form, "subject_token_type") != ID_TOKEN:
        raise malformed("an agent acts for a person: the subject_token is an id_token")
    need(form, "actor_token")
    if need(form, "actor_token_type") not in (JWT, ACCESS_TOKEN):
        raise malformed("an actor_token of this type is not accepted")


def _check_client(form: Mapping[str, str], actor: Proven) -> None:
    """The client is the actor, whoever it says to be (section 2.1: the acting party)."""
    known = {None, actor.caller.client_id, actor.caller.principal.subject}
    if form.get("client_id") not in known:
        raise Unauthenticated("an actor_token is exchanged by its own subject only")


def _person(exchange: Exchange, said: VerifiedProof, actor: Caller) -> Person:
    """Who the person is, in the terms in which delegations know them."""
    whose = replace(actor, principal=Principal(said.record.issuer, said.subject))
    found = Person.of(as_person(whose, said, exchange.trust.groups))
    if found is None:
        raise Unauthenticated("the person's token proves no e-mail address")
    return found


def _end(proof: VerifiedProof) -> datetime:
    return datetime.fromtimestamp(proof.expires, UTC)
