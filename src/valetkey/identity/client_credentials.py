"""Client credentials by private_key_jwt: an agent's own key signs, and a token of ours comes out.

RFC 6749 section 4.4 with RFC 7523 section 2.2, as rfc7523bis tightens it. There are no shared
secrets. What can be seen without looking anything up is looked at first. A form without an
assertion is one of a client that proves itself by its certificate (`client_certificate`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from valetkey.core.client_key import CLIENT_KEY
from valetkey.core.errors import AgentDisabled, BrokerError, Unauthenticated
from valetkey.core.principal import Caller, Principal
from valetkey.identity.bindings import AgentIdentity, Bindings, ClientKey
from valetkey.identity.client_assertion import checked_assertion, shown_assertion
from valetkey.identity.client_certificate import ClientCertificates
from valetkey.identity.details import asked_details
from valetkey.identity.dpop import DpopProof, Sent, bound_key
from valetkey.identity.exchange import Exchanged
from valetkey.identity.jose import (
    BadToken,
    UnverifiedJws,
    VerifiedClaims,
    instant,
    text,
    verified_claims,
    verifying_key,
)
from valetkey.identity.oauth import check_asked, refused
from valetkey.identity.replay import Uses, spend_once
from valetkey.identity.tokens import LONGEST, AccessTokens

CLIENT_CREDENTIALS: Final = "client_credentials"
ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519")
_SAID: Final = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti"})


@dataclass(frozen=True)
class ClientCredentials:
    """The grant of one installation, at one external URL."""

    url: str
    bindings: Bindings
    tokens: AccessTokens
    uses: Uses
    certificates: ClientCertificates

    def run(self, form: Mapping[str, str], sent: Sent, now: datetime) -> Exchanged:
        """A token for the agent whose bound key signed the form's `client_assertion`.

        It is bound to the key of the DPoP proof, which may be another. Nothing is written before
        both have verified. Raises a BrokerError with its RFC 6749 code in
        `extra["oauth_error"]`: `invalid_client` for all that is wrong with the assertion.
        """
        if sent.peer and "client_assertion" not in form:
            return self.certificates.run(form, sent, now)
        check_asked(form, self.url)
        details = asked_details(form)
        dpop = bound_key(sent, now)
        client, claims = self._proven(form, now, dpop)
        caller = self._caller(client, dpop.jkt, now)
        return self._answer(replace(caller, details=details), claims, now)

    def authenticate(
        self, form: Mapping[str, str], now: datetime, dpop: DpopProof | None = None
    ) -> Caller:
        """The agent whose bound key signed the form's `client_assertion`, which is used up.

        Calls that give no token want no DPoP key (RFC 7009 section 2.1). Raises as `run` does.
        """
        client, _ = self._proven(form, now, dpop)
        return self._caller(client, dpop.jkt if dpop is not None else "", now)

    def _proven(
        self, form: Mapping[str, str], now: datetime, dpop: DpopProof | None = None
    ) -> tuple[AgentIdentity, VerifiedClaims]:
        """Who signed, once only; the DPoP proof that came with it is used up first."""
        try:
            client, claims = self._verified(form, now)
            if dpop is not None:
                spend_once(self.uses, "dpop", (dpop.jkt, dpop.jti), dpop.until)
            until = datetime.fromtimestamp(instant(claims, "exp"), UTC)
            spend_once(self.uses, "client", ("agent", client.agent_id, text(claims, "jti")), until)
            if client.disabled:
                raise AgentDisabled()
        except BadToken as bad:
            raise refused(Unauthenticated(str(bad)), "invalid_client") from None
        except BrokerError as because:
            because.extra.pop("oauth_error", None)
            raise refused(because, "invalid_client", CLIENT_KEY) from None
        return client, claims

    def _verified(
        self, form: Mapping[str, str], now: datetime
    ) -> tuple[AgentIdentity, VerifiedClaims]:
        """Who signed the assertion, and what it says; form and times before any look-up."""
        jws, named = shown_assertion(form)
        if jws.alg not in ALGORITHMS:
            raise BadToken("the assertion's algorithm is not accepted")
        checked_assertion(jws.unverified_claims(), self.url, now)
        keys = self.bindings.client_keys(named)
        return _by_one_of(keys, jws)

    def _caller(self, client: AgentIdentity, jkt: str, now: datetime) -> Caller:
        return Caller(
            kind="agent",
            principal=Principal(self.url, client.agent_id),
            jkt=jkt,
            expires_at=now.replace(microsecond=0) + LONGEST,
            token_id=secrets.token_urlsafe(18),
            agent_id=client.agent_id,
            agent=client.name,
            binding_id=client.binding_id,
        )

    def _answer(self, caller: Caller, claims: VerifiedClaims, now: datetime) -> Exchanged:
        unaccounted = tuple(sorted(claims.keys() - _SAID))
        return Exchanged(self.tokens.answer(caller, now), caller, CLIENT_KEY, unaccounted)


def _by_one_of(
    keys: Iterable[ClientKey], jws: UnverifiedJws
) -> tuple[AgentIdentity, VerifiedClaims]:
    """The key that verifies, whatever `kid` says: an agent has few, and clients name their own."""
    for key in keys:
        try:
            return key.identity, verified_claims(jws, verifying_key(key.jwk))
        except BadToken:
            continue
    raise Unauthenticated("no such client, or the assertion is not signed with its key")
