"""Client credentials by mTLS: certificates that are let in, and tokens that are bound to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey

from tests.certificates import Holder, authority, bundle_pem
from tests.identity.place import TOKEN_URL, US, Place
from tests.identity.test_svids import BOT, DOMAIN, Listed, record
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    InvalidDpopProof,
    KeyMismatch,
    NotReady,
    ProofReplayed,
    TokenExpired,
    Unauthenticated,
    UnknownAgent,
)
from valetkey.core.peer import Peer, certificate_thumbprint
from valetkey.core.principal import Caller
from valetkey.identity.authenticator import Registered
from valetkey.identity.authorities import BundleFile, read_authorities
from valetkey.identity.bindings import AgentIdentity, ClientKey
from valetkey.identity.jose import BadToken
from valetkey.identity.jwks import KEEP
from valetkey.identity.oidc import Outside
from valetkey.testing.issuer import public_jwk

FORM = {"grant_type": "client_credentials"}
SVID_BOT = AgentIdentity("agent_svid", "svid-bot", "binding_svid")


@dataclass
class Certified(Place):
    """The usual place with a trust domain, and an agent bound to one ID of it."""

    root: Holder = field(default_factory=authority)
    bundle: Listed = field(default_factory=Listed)

    def registered(self) -> Registered:
        """What is registered, and the trust domain."""
        usual = super().registered()
        outside = {"here": Outside(bundle=self.bundle)}
        return replace(usual, issuers=(*usual.issuers, record(DOMAIN)), outside=outside)

    def ask(
        self, peer: Peer, form: dict[str, str] | None = None, *, dpop: bool = False
    ) -> dict[str, object]:
        """Ask for a token over a connection of these certificates."""
        proofs = [self.dpop("POST", TOKEN_URL)] if dpop else []
        return dict(self.replica().exchange(form or FORM, proofs, TOKEN_URL, peer))

    def bearer(self, token: object, peer: Peer, scheme: str = "Bearer") -> Caller:
        """Call with the token as it is."""
        return self.replica().authenticate([f"{scheme} {token}"], [], "GET", f"{US}/v1/tasks", peer)


@pytest.fixture
def place() -> Iterator[Certified]:
    """A place whose trust domain has one authority."""
    with ExitStack() as stack:
        made = Certified.opened(stack)
        assert isinstance(made, Certified)
        made.bundle.holders.append(made.root)
        made.bindings.listed.append(("here", {"sub": BOT}, SVID_BOT))
        yield made


@pytest.fixture
def svid(place: Certified) -> Holder:
    """The agent's good certificate."""
    return place.root.workload(BOT)


@pytest.mark.parametrize("named", [None, BOT, "svid-bot", "agent_svid"], ids=str)
def test_a_workload_gets_a_token_bound_to_its_certificate(
    place: Certified, svid: Holder, named: str | None
) -> None:
    """By no name, its SPIFFE ID, its agent's name or id; the history names the certificate."""
    answer = place.ask(svid.peer, {**FORM, **({"client_id": named} if named else {})})
    assert (answer["token_type"], "issued_token_type" in answer) == ("Bearer", False)
    assert 0 < int(str(answer["expires_in"])) <= 300
    caller = place.bearer(answer["access_token"], svid.peer)
    assert (caller.agent_id, caller.binding_id) == ("agent_svid", "binding_svid")
    assert str(caller.principal) == f"{DOMAIN} {BOT}"
    x5t = certificate_thumbprint(svid.peer)
    assert caller.x5t == x5t
    assert (place.told[0].issuer, place.told[0].noted) == ("here", {"x5t#S256": x5t})


def test_the_claim_is_that_of_rfc_8705(place: Certified, svid: Holder) -> None:
    """`cnf` holds the certificate's thumbprint and nothing else; introspection says the same."""
    token = str(place.ask(svid.peer)["access_token"])
    about = place.replica().about_token(token)
    assert about["cnf"] == {"x5t#S256": certificate_thumbprint(svid.peer)}
    assert (about["active"], about["token_type"]) == (True, "Bearer")


def test_with_a_dpop_proof_the_token_is_bound_to_that_key_instead(
    place: Certified, svid: Holder
) -> None:
    """It is used over any connection then; the proof is used up."""
    proof = [place.dpop("POST", TOKEN_URL)]
    answer = place.replica().exchange(FORM, proof, TOKEN_URL, svid.peer)
    assert answer["token_type"] == "DPoP"
    caller = place.call(str(answer["access_token"]))
    assert (caller.agent_id, caller.x5t) == ("agent_svid", None)
    assert caller.jkt == place.dpop_key.thumbprint()
    with pytest.raises(ProofReplayed):
        place.replica().exchange(FORM, proof, TOKEN_URL, svid.peer)


def test_a_bad_dpop_proof_is_not_left_aside(place: Certified, svid: Holder) -> None:
    """Whoever sends one means to be bound to it."""
    with pytest.raises(InvalidDpopProof):
        place.replica().exchange(FORM, ["nonsense"], TOKEN_URL, svid.peer)
    assert place.told == []


def test_a_token_ends_with_its_certificate(place: Certified) -> None:
    """When that is sooner than 300 seconds."""
    short = place.root.workload(BOT, ends=timedelta(seconds=60))
    answer = place.ask(short.peer)
    assert 0 < int(str(answer["expires_in"])) <= 60
    place.time.at += timedelta(seconds=61)
    with pytest.raises(TokenExpired):
        place.bearer(answer["access_token"], short.peer)


def test_a_token_is_refused_over_any_other_connection(place: Certified, svid: Holder) -> None:
    """Another workload's, the same workload's with another certificate or key, and none."""
    token = place.ask(svid.peer)["access_token"]
    others = [
        place.root.workload(f"{DOMAIN}/other"),
        place.root.workload(BOT),
        place.root.workload(BOT, key=svid.key),
    ]
    for peer in ((), *(one.peer for one in others), (others[0].peer[0], *svid.peer)):
        with pytest.raises(KeyMismatch):
            place.bearer(token, peer)
    assert place.bearer(token, svid.peer).agent_id == "agent_svid"


@pytest.mark.parametrize("scheme", ["DPoP", "Basic", "", "Bearer "], ids=repr)
def test_a_bound_token_goes_under_bearer_only(place: Certified, svid: Holder, scheme: str) -> None:
    """Not under DPoP either, with or without a proof."""
    token = place.ask(svid.peer)["access_token"]
    with pytest.raises(BrokerError):
        place.bearer(token, svid.peer, scheme)
    with pytest.raises(Unauthenticated):
        place.call(str(token))


def test_a_token_of_a_key_is_no_bearer_token(place: Certified, svid: Holder) -> None:
    """Even over mTLS: the proof is not to be left out."""
    token = place.ask(svid.peer, dpop=True)["access_token"]
    with pytest.raises(Unauthenticated):
        place.bearer(token, svid.peer)


def test_a_revoked_token_is_refused(place: Certified, svid: Holder) -> None:
    """Though there is no proof that could be used up."""
    token = place.ask(svid.peer)["access_token"]
    place.uses.revoked.add(place.bearer(token, svid.peer).token_id)
    with pytest.raises(TokenExpired):
        place.bearer(token, svid.peer)


REFUSED: dict[str, tuple[Callable[[Certified], Holder], dict[str, str], str]] = {
    "it says to be another": (
        lambda p: p.root.workload(BOT),
        {"client_id": "refund-bot"},
        "invalid_client",
    ),
    "it has no agent": (lambda p: p.root.workload(f"{BOT}-2"), {}, "invalid_client"),
    "it is a path below the bound one": (
        lambda p: p.root.workload(f"{BOT}/child"),
        {},
        "invalid_client",
    ),
    "nobody knows its authority": (lambda p: authority().workload(BOT), {}, "invalid_client"),
    "its trust domain is unknown": (
        lambda p: p.root.workload("spiffe://example.net/x"),
        {},
        "invalid_client",
    ),
    "it sends a secret": (
        lambda p: p.root.workload(BOT),
        {"client_secret": "s"},
        "invalid_client",
    ),
    "it wants a scope": (lambda p: p.root.workload(BOT), {"scope": "x"}, "invalid_scope"),
    "it wants another audience": (
        lambda p: p.root.workload(BOT),
        {"resource": "https://other.example"},
        "invalid_target",
    ),
    "it is over": (
        lambda p: p.root.workload(BOT, ends=timedelta(minutes=-1)),
        {},
        "invalid_client",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_no_token_is_given_when(place: Certified, why: str) -> None:
    """Nothing is used up, and no token is told of."""
    made, more, code = REFUSED[why]
    with pytest.raises(BrokerError) as refused:
        place.ask(made(place).peer, {**FORM, **more}, dpop=True)
    assert refused.value.extra["oauth_error"] == code
    assert (place.uses.kept_until(), place.told) == ([], [])


def test_refusals_are_counted_for_the_trust_domain_that_was_named(place: Certified) -> None:
    """And for nobody where it is unknown."""
    with pytest.raises(BrokerError) as named:
        place.ask(authority().workload(BOT).peer)
    with pytest.raises(BrokerError) as unknown:
        place.ask(place.root.workload("spiffe://example.net/x").peer)
    assert (named.value.extra.get("issuer"), unknown.value.extra.get("issuer")) == ("here", None)


def test_a_disabled_agent_is_denied(place: Certified, svid: Holder) -> None:
    """access_denied: its certificate is good, and it may not."""
    place.bindings.listed[:] = [("here", {"sub": BOT}, replace(SVID_BOT, disabled=True))]
    with pytest.raises(AgentDisabled) as refused:
        place.ask(svid.peer)
    assert refused.value.extra["oauth_error"] == "access_denied"


def test_a_binding_that_pins_too_little_lets_nobody_in(place: Certified, svid: Holder) -> None:
    """One made before the issuer was known to be a trust domain."""
    place.bindings.listed[:] = [("here", {"sub": "spiffe://example.org"}, SVID_BOT)]
    with pytest.raises(UnknownAgent):
        place.ask(svid.peer)


def test_an_assertion_in_the_form_counts_and_not_the_connection(
    place: Certified, svid: Holder
) -> None:
    """A client on a mesh, where every connection has a certificate, may still use its own key."""
    place.bindings.keys.append(ClientKey(SVID_BOT, public_jwk(ECKey.generate_key("P-256"))))
    form = {**FORM, "client_assertion": "nonsense", "client_assertion_type": "x"}
    with pytest.raises(BrokerError) as refused:
        place.ask(svid.peer, form, dpop=True)
    assert refused.value.extra["oauth_error"] == "invalid_client"


def test_while_the_bundle_is_away_nobody_of_its_domain_gets_in(
    place: Certified, svid: Holder
) -> None:
    """503 and no word against the client; others go on, and so do tokens that were given."""
    token = place.ask(svid.peer)["access_token"]
    place.bundle.holders.clear()
    with pytest.raises(NotReady) as away:
        place.ask(svid.peer)
    assert "oauth_error" not in away.value.extra
    assert place.token()
    assert place.bearer(token, svid.peer).agent_id == "agent_svid"


def test_a_flood_of_bad_certificates_for_a_client_does_not_lock_it_out(
    place: Certified, svid: Holder
) -> None:
    """Fifty strangers of its name; its own is taken."""
    stranger = authority().workload(BOT)
    for _ in range(50):
        with pytest.raises(BrokerError):
            place.ask(stranger.peer)
    assert place.ask(svid.peer)


def test_the_metadata_says_what_there_is(place: Certified) -> None:
    """With a trust domain's bundle; without one there is nothing of it."""
    told, there = place.replica().metadata(), place.replica().resource_metadata()
    assert "tls_client_auth" in str(told["token_endpoint_auth_methods_supported"])
    assert "self_signed" not in str(told)
    for document in (told, there):
        assert document["tls_client_certificate_bound_access_tokens"] is True
    assert there["dpop_bound_access_tokens_required"] is False


def spiffe_bundle(*holders: Holder, use: str = "x509-svid") -> bytes:
    """The bundle as SPIFFE servers publish it."""
    import base64

    ders = [one.certificate.public_bytes(Encoding.DER) for one in holders]
    keys = [{"kty": "EC", "use": use, "x5c": [base64.b64encode(der).decode()]} for der in ders]
    return json.dumps({"keys": [{"kty": "EC", "use": "jwt-svid"}, *keys]}).encode()


@pytest.mark.parametrize("written", [bundle_pem, spiffe_bundle], ids=["PEM", "SPIFFE"])
def test_a_bundle_is_read_in_both_forms_and_again_when_it_changes(
    tmp_path: Path, written: Callable[..., bytes]
) -> None:
    """A new authority counts at once, and one that was taken out does not."""
    first, second = authority(), authority()
    path = tmp_path / "bundle"
    path.write_bytes(written(first))
    bundle = BundleFile(str(path))
    assert bundle.authorities() == (first.certificate,)
    path.write_bytes(written(first, second))
    assert bundle.authorities() == (first.certificate, second.certificate)
    path.write_bytes(written(second))
    assert bundle.authorities() == (second.certificate,)


@pytest.mark.parametrize("broken", [None, b"", b"nonsense", b'{"keys": []}'], ids=str)
def test_a_bundle_that_breaks_leaves_what_was_read_in_force_for_a_day(
    tmp_path: Path, broken: bytes | None
) -> None:
    """And says what is wrong; a bundle that never was is not ready."""
    now, root, path = [0.0], authority(), tmp_path / "bundle"
    path.write_bytes(bundle_pem(root))
    bundle = BundleFile(str(path), lambda: now[0])
    assert (bundle.authorities(), bundle.problem()) == ((root.certificate,), None)
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken)
    for _ in range(2):
        assert bundle.authorities() == (root.certificate,)
        assert bundle.problem()
    now[0] = KEEP + 1
    with pytest.raises(NotReady):
        bundle.authorities()
    path.write_bytes(bundle_pem(root))
    assert (bundle.authorities(), bundle.problem()) == ((root.certificate,), None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        spiffe_bundle(authority(), use="sig"),
        b'{"keys": [{"use": "x509-svid"}]}',
        b'{"keys": [{"use": "x509-svid", "x5c": ["%"]}]}',
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        bundle_pem(authority().workload(BOT)),
    ],
    ids=["empty", "list", "other use", "no x5c", "no base64", "no certificate", "no authority"],
)
def test_what_is_no_bundle_is_refused(raw: bytes) -> None:
    """Rather than read as an empty one."""
    with pytest.raises(BadToken):
        read_authorities(raw)
