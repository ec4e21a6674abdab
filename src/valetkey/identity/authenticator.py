"""The front of the identity room: what the web asks, answered from the verifiers behind it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from valetkey.core.backchannel import BackchannelAsk
from valetkey.core.detail import Detail
from valetkey.core.errors import (
    BrokerError,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
    WrongDoor,
)
from valetkey.core.peer import NOBODY, Peer
from valetkey.core.principal import Caller
from valetkey.core.tokens import OurToken
from valetkey.core.trust import GroupMap, IssuerRecord, ResourceServer, TrustRule
from valetkey.identity.acting import NAMED, OnBehalf, Recorded, passed_on
from valetkey.identity.authorities import TrustBundle
from valetkey.identity.backchannel import read_ask
from valetkey.identity.bindings import Bindings
from valetkey.identity.client_assertion import ClientAssertions
from valetkey.identity.client_certificate import ClientCertificates, check_holder
from valetkey.identity.client_credentials import CLIENT_CREDENTIALS, ClientCredentials
from valetkey.identity.details import echoed
from valetkey.identity.doorstep import Waits
from valetkey.identity.dpop import Sent, bound_key, verify_dpop
from valetkey.identity.exchange import (
    GRANT_TYPE,
    JWT_BEARER,
    Exchange,
    Exchanged,
    Trust,
    issued_type,
)
from valetkey.identity.jose import instant
from valetkey.identity.keys import OurKeys
from valetkey.identity.metadata import authorization_server, protected_resource
from valetkey.identity.minted_tokens import MintedTokens
from valetkey.identity.nonces import Nonces
from valetkey.identity.oauth import malformed, need, refused
from valetkey.identity.oidc import Outside, ProofReader
from valetkey.identity.replay import Uses, check_unrevoked, spend_with
from valetkey.identity.tokens import AccessTokens, acting_claims, bound_to, token_type

Grant = Callable[[Mapping[str, str], Sent, datetime], Exchanged]
IntrospectLease = Callable[[str, ResourceServer], Mapping[str, object] | None]


@dataclass(frozen=True)
class Registered:
    """Everything that configuration registers: issuers, rules, groups, resource servers.

    `outside` says by issuers' names how keys are fetched and who vouches, where that is unusual.
    """

    issuers: tuple[IssuerRecord, ...]
    rules: tuple[TrustRule, ...] = ()
    groups: GroupMap = field(default_factory=lambda: GroupMap({}))
    resource_servers: tuple[ResourceServer, ...] = ()
    outside: Mapping[str, Outside] = field(default_factory=dict)


@dataclass(frozen=True)
class Behind:
    """What stands behind identity: once-only uses, bindings, and the database's time.

    `told` hears of every token before it leaves (a fact is written there; if it raises, no token
    leaves). `introspect_lease` answers for tokens that were minted as credentials, None for
    those it does not know. With `nonces` every DPoP proof must hold one. `lets_act` says whether a
    person lets an agent act for them.
    """

    uses: Uses
    bindings: Bindings
    now: Callable[[], datetime]
    told: Callable[[Exchanged], None] = lambda exchanged: None
    introspect_lease: IntrospectLease = lambda token, server: None
    nonces: Nonces | None = None
    lets_act: Recorded = lambda person, agent_id: False


class Authenticator:
    """Turns proofs into callers, at one external URL. Safe for threads.

    It keeps nothing but which keys were told to wait, for a while and for this replica alone.
    """

    def __init__(self, url: str, keys: OurKeys, registered: Registered, behind: Behind) -> None:
        """`url` is the external base URL, without a trailing slash: `iss` and `aud` of tokens.

        Raises ValueError when what is registered contradicts itself.
        """
        names = {record.name for record in registered.issuers if record.kind == "ci"}
        if any(rule.issuer not in names for rule in registered.rules):
            raise ValueError("a trust rule names no registered issuer of kind ci")
        self._url = url.rstrip("/")
        self._waits = Waits()
        self._keys = keys
        self._behind = behind
        self._tokens = AccessTokens(self._url, keys)
        self._minted = MintedTokens(url, keys)
        trust = Trust(registered.rules, behind.bindings, registered.groups)
        reader = ProofReader.of(registered.issuers, registered.outside)
        self._exchange = Exchange(self._url, reader, trust, self._tokens, behind.uses)
        self._svids = reader.svids
        there = self._url, self._svids, behind.bindings, self._tokens, behind.uses
        acted_for = ProofReader.of(passed_on(registered.issuers), registered.outside)
        self._on_behalf = OnBehalf(self._exchange, acted_for, behind.lets_act)
        self._agents = ClientCredentials(
            self._url, behind.bindings, self._tokens, behind.uses, ClientCertificates(*there)
        )
        self._grants: Mapping[str, Grant] = {
            GRANT_TYPE: self._exchanged,
            JWT_BEARER: self._exchange.run_bearer,
            CLIENT_CREDENTIALS: self._agents.run,
        }
        self._clients = ClientAssertions(self._url, registered.resource_servers, behind.uses)

    def authenticate(
        self,
        authorization: Sequence[str],
        dpop: Sequence[str],
        method: str,
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller:
        """Who makes this call: our token, by the key or the certificate that it is bound to.

        Under the DPoP scheme with a proof used once; under Bearer over a connection of just that
        certificate. `url` is built from the configured external address. Raises Unauthenticated,
        TokenExpired, InvalidDpopProof, UseDpopNonce, ClockSkew, KeyMismatch or ProofReplayed.
        """
        now = self._behind.now()
        scheme, token = _presented(authorization)
        caller = self._tokens.verify(token, now)
        if scheme != token_type(caller).lower():
            raise Unauthenticated(f"the token goes under the {token_type(caller)} scheme")
        if caller.x5t is not None:
            check_holder(caller, peer)
            check_unrevoked(self._behind.uses, caller.token_id)
            return caller
        proof = verify_dpop(self._sent(dpop, method, url), now, token, caller.jkt)
        spend_with(self._behind.uses, caller.token_id, (proof.jkt, proof.jti), proof.until)
        return caller if proof.seals_to is None else replace(caller, seals_to=proof.seals_to)

    def exchange(
        self, form: Mapping[str, str], dpop: Sequence[str], url: str, peer: Peer = NOBODY
    ) -> Mapping[str, object]:
        """Answer `POST /oauth2/token` made at `url`, for each grant there is.

        Raises BrokerErrors with their RFC 6749 code in `extra["oauth_error"]`.
        """
        grant = self._grants.get(need(form, "grant_type"))
        if grant is None:
            raise malformed("this grant is not offered", "unsupported_grant_type")
        sent = replace(self._sent(dpop, "POST", url), peer=peer, waits=self._waits)
        exchanged = grant(form, sent, self._behind.now())
        try:
            self._behind.told(exchanged)
        except RateLimited as fast:
            self._waits.told(exchanged.caller.jkt, fast)
            raise
        return exchanged.response

    def _exchanged(self, form: Mapping[str, str], sent: Sent, now: datetime) -> Exchanged:
        """Token exchange: for somebody by an actor token, else for oneself."""
        self._exchange.check_form(form)
        grant = self._on_behalf.run if NAMED & form.keys() else self._exchange.run
        return issued_type(grant(form, sent, now))

    def _sent(self, dpop: Sequence[str], method: str, url: str) -> Sent:
        return Sent(dpop, method, url, self._behind.nonces)

    def authenticate_resource_server(self, form: Mapping[str, str]) -> ResourceServer:
        """The registered resource server that signed the form's `client_assertion`."""
        return self._clients.authenticate(form, self._behind.now())

    def introspect(self, form: Mapping[str, str]) -> Mapping[str, object]:
        """Answer `POST /oauth2/introspect` (RFC 7662) to a resource server that proves itself.

        Whatever is wrong with the token, the answer is only that it is not active; a server
        hears about tokens for its own audience alone.
        """
        server = self.authenticate_resource_server(form)
        token = need(form, "token")
        minted = self._behind.introspect_lease(token, server)
        if minted is not None:
            return minted
        return self.about_token(token) if server.audience == self._url else {"active": False}

    def revoker(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller | ResourceServer:
        """Who asks for a revocation at `url`.

        The holder of a token of ours, an agent by its own key, or a resource server. Raises a
        BrokerError whose `extra["oauth_error"]` is `invalid_client`.
        """
        if not authorization:
            if self._clients.knows(form):
                return self.authenticate_resource_server(form)
            return self._agents.authenticate(form, self._behind.now())
        return self._holder(form, authorization, dpop, url, peer)

    def _holder(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller:
        """Whoever proves itself by a token of ours, and in no other way beside it."""
        if "client_assertion" in form or "client_secret" in form:
            raise malformed("a client proves itself in one way only")
        try:
            return self.authenticate(authorization, dpop, "POST", url, peer)
        except BrokerError as because:
            raise refused(because, "invalid_client") from None

    def backchannel_ask(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> BackchannelAsk:
        """What an agent asks for at `POST /oauth2/bc-authorize`, made at `url`, and that agent.

        Raises BrokerErrors with their code in `extra["oauth_error"]`.
        """
        read = read_ask(form, self._url)
        return BackchannelAsk(self.asker(form, authorization, dpop, url, peer), *read)

    def asker(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller:
        """The agent that asks or polls at `url`, and the DPoP key that it does it with.

        It shows a token of ours, or signs with its own key (RFC 7523). Raises a BrokerError whose
        `extra["oauth_error"]` is `invalid_client`, `invalid_dpop_proof` or `unauthorized_client`.
        """
        if not authorization:
            now = self._behind.now()
            proof = bound_key(self._sent(dpop, "POST", url), now)
            return self._agents.authenticate(form, now, proof)
        caller = self._holder(form, authorization, dpop, url, peer)
        if caller.kind != "agent":
            raise refused(WrongDoor(), "unauthorized_client")
        return caller

    def token_for(self, caller: Caller, granted: Detail) -> Mapping[str, object]:
        """A token answer for what was granted and for nothing else, by the key that polled.

        It lives no longer than what the agent proved itself with.
        """
        now = self._behind.now()
        narrowed = replace(caller, details=(granted,), token_id=secrets.token_urlsafe(18))
        return self._tokens.answer(narrowed, now)

    def our_token(self, token: str) -> OurToken | None:
        """What a live token of ours is; None for any other, whatever is wrong with it."""
        now = self._behind.now()
        try:
            holder = self._tokens.verify(token, now)
            return OurToken(holder.token_id, self._url, holder.expires_at, holder)
        except StoreUnavailable:
            raise
        except BrokerError:
            return self._credential(token, now)

    def _credential(self, token: str, now: datetime) -> OurToken | None:
        try:
            claims = self._minted.read_any(token, now)
        except BrokerError:
            return None
        ends = datetime.fromtimestamp(instant(claims, "exp"), UTC)
        return OurToken(str(claims["jti"]), str(claims["aud"]), ends)

    def about_token(self, token: str) -> Mapping[str, object]:
        """What RFC 7662 says of one of our own access tokens now."""
        try:
            caller = self._tokens.verify(token, self._behind.now())
        except StoreUnavailable:
            raise
        except BrokerError:
            return {"active": False}
        if self._behind.uses.is_revoked(caller.token_id):
            return {"active": False}
        return {
            "active": True,
            "token_type": token_type(caller),
            "iss": self._url,
            "aud": self._url,
            "sub": caller.subject,
            "client_id": caller.client_id,
            "exp": int(caller.expires_at.timestamp()),
            "jti": caller.token_id,
            **bound_to(caller),
            **acting_claims(caller),
            **echoed(caller.details),
        }

    def trust_bundles(self) -> Mapping[str, TrustBundle]:
        """By issuers' names those of whose workloads may prove themselves by certificate."""
        return self._svids.bundles()

    def jwks(self) -> Mapping[str, object]:
        """Our public keys (RFC 7517)."""
        return self._keys.jwks()

    def metadata(self) -> Mapping[str, object]:
        """Authorization server metadata (RFC 8414)."""
        return authorization_server(self._url, mtls=bool(self._svids))

    def resource_metadata(self) -> Mapping[str, object]:
        """Protected resource metadata of `/v1` (RFC 9728)."""
        return protected_resource(self._url, mtls=bool(self._svids))


def _presented(authorization: Sequence[str]) -> tuple[str, str]:
    """The scheme, in small letters, and the token."""
    if len(authorization) != 1:
        raise Unauthenticated("exactly one Authorization header is needed")
    scheme, _, token = authorization[0].partition(" ")
    return scheme.lower(), token
