"""SPIFFE: JWT-SVIDs of a trust domain, and what a SPIFFE ID may look like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.identity.place import US
from tests.identity.platform_doors import Door, door
from valetkey.core.errors import NotReady, Unauthenticated, UnknownAgent, UntrustedIssuer
from valetkey.core.spiffe import SpiffeId, authority_of
from valetkey.core.trust import TrustRuleTooWide, check_binding
from valetkey.identity.jwks import KeySource, Pace
from valetkey.testing.issuer import WITHOUT

DOMAIN = "spiffe://example.org"
BOT = f"{DOMAIN}/ns/refunds/sa/refund-bot"
GOOD = {"iss": WITHOUT, "jti": WITHOUT, "nbf": WITHOUT, "sub": BOT, "aud": [US]}


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Door]:
    """A trust domain whose bundle is a file."""
    with door("spiffe", GOOD, {"sub": BOT}, "workload") as opened:
        opened.record.update(issuer=DOMAIN, jwks_uri=WITHOUT)
        opened.record["jwks_file"] = str(tmp_path / "bundle.json")
        write_bundle(opened, "jwt-svid")
        yield opened


def write_bundle(opened: Door, *uses: str) -> None:
    """The bundle: each shown key under each use."""
    keys = [{**jwk, "use": use} for jwk in opened.issuer.shown for use in uses]
    bundle = {"spiffe_sequence": 1, "spiffe_refresh_hint": 300, "keys": keys}
    Path(str(opened.record["jwks_file"])).write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iat": WITHOUT},
        {"iss": "https://oidc.spire.example.org"},
        {"iss": DOMAIN},
        {"aud": US},
    ],
    ids=str,
)
def test_an_svid_is_let_in_by_its_trust_domain(domain: Door, changes: dict[str, object]) -> None:
    """Whatever its issuer says, or does not say."""
    caller = domain.enter(domain.token(**changes))
    assert caller.agent == "refund-bot"
    assert str(caller.principal) == f"{DOMAIN} {BOT}"
    assert domain.told[0].unaccounted == ()


@pytest.mark.parametrize("typ", [WITHOUT, "JWT", "JOSE"], ids=str)
def test_each_type_that_the_specification_names_is_accepted(domain: Door, typ: object) -> None:
    """None, JWT and JOSE."""
    assert domain.enter(domain.token({"typ": typ})).agent == "refund-bot"


HEADERS: dict[str, dict[str, object]] = {
    "names another type": {"typ": "at+jwt"},
    "names where keys are": {"jku": "https://evil.example/keys"},
    "carries a key": {"jwk": {}},
    "has a certificate's thumbprint": {"x5t": "abc"},
    "is critical": {"crit": ["exp"]},
}


@pytest.mark.parametrize("why", HEADERS)
def test_an_svid_is_refused_when_its_header(domain: Door, why: str) -> None:
    """There is nothing but alg, kid and typ."""
    with pytest.raises(Unauthenticated):
        domain.enter(domain.token(HEADERS[why]))


CLAIMS: dict[str, dict[str, object]] = {
    "has no end": {"exp": WITHOUT},
    "has no audience": {"aud": WITHOUT},
    "is for others as well": {"aud": [US, "https://other.example"]},
    "is for another": {"aud": ["https://other.example"]},
    "lives too long without saying since when": {"iat": WITHOUT, "exp": 4102444800},
    "has a trailing slash": {"sub": f"{BOT}/", "iss": DOMAIN},
    "has an empty segment": {"sub": f"{DOMAIN}/ns//refund-bot", "iss": DOMAIN},
    "climbs": {"sub": f"{DOMAIN}/ns/../sa", "iss": DOMAIN},
    "has a query": {"sub": f"{BOT}?x=1", "iss": DOMAIN},
    "is encoded": {"sub": f"{DOMAIN}/ns/%72efunds", "iss": DOMAIN},
    "is of another trust domain": {"sub": "spiffe://example.com/x", "iss": DOMAIN},
    "is of a longer trust domain": {"sub": "spiffe://example.org.evil/x", "iss": DOMAIN},
    "is the trust domain itself": {"sub": DOMAIN, "iss": DOMAIN},
    "is no SPIFFE ID": {"sub": "refund-bot", "iss": DOMAIN},
}


@pytest.mark.parametrize("why", CLAIMS)
def test_an_svid_is_refused_when_it(domain: Door, why: str) -> None:
    """Each of these alone is enough."""
    with pytest.raises(Unauthenticated):
        domain.enter(domain.token(**CLAIMS[why]))


@pytest.mark.parametrize("subject", ["spiffe://example.com/x", DOMAIN, "refund-bot"])
def test_an_unknown_trust_domain_is_an_unknown_issuer(domain: Door, subject: str) -> None:
    """No key is looked up for it."""
    with pytest.raises(UntrustedIssuer):
        domain.enter(domain.token(sub=subject))


@pytest.mark.parametrize("other", [f"{BOT}-2", f"{BOT}/child", f"{DOMAIN}/ns/refunds/sa"])
def test_bindings_are_by_the_whole_id(domain: Door, other: str) -> None:
    """Never by how it begins."""
    with pytest.raises(UnknownAgent):
        domain.enter(domain.token(sub=other))


@pytest.mark.parametrize("uses", [(), ("x509-svid",), ("sig",)], ids=str)
def test_only_keys_for_jwt_svids_count(domain: Door, uses: tuple[str, ...]) -> None:
    """Other keys of the bundle are for other things."""
    write_bundle(domain, *uses)
    with pytest.raises(Unauthenticated):
        domain.enter(domain.token())


def test_a_rotated_bundle_is_read_again(domain: Door) -> None:
    """A key that is new in the file is found by a source that has read it before."""
    keys = KeySource(domain.registered().issuers[0], Pace(cool_down=0))
    old = domain.issuer.key.thumbprint()
    assert keys.key(str(domain.issuer.key.kid)).thumbprint == old
    domain.issuer.rotate()
    write_bundle(domain, "jwt-svid")
    assert keys.key(str(domain.issuer.key.kid)).thumbprint == domain.issuer.key.thumbprint() != old


def test_a_bundle_that_is_away_for_a_moment_changes_nothing(domain: Door) -> None:
    """What was read last stays good; a source that never read one is not ready."""
    record = domain.registered().issuers[0]
    keys = KeySource(record, Pace(ttl=0, cool_down=0))
    kid = str(domain.issuer.key.kid)
    found = keys.key(kid)
    Path(str(domain.record["jwks_file"])).unlink()
    assert keys.key(kid).thumbprint == found.thumbprint
    with pytest.raises(NotReady):
        KeySource(record).key(kid)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"issuer": "https://example.org"}, "trust domain"),
        ({"issuer": "spiffe://example.org/x"}, "trust domain"),
        ({"algorithms": frozenset({"EdDSA"})}, "algorithms"),
        ({"kind": "ci"}, "kind"),
    ],
    ids=str,
)
def test_a_trust_domain_that_is_none_cannot_be_registered(
    domain: Door, changes: dict[str, object], why: str
) -> None:
    """Refused at the start."""
    domain.record.update(changes)
    with pytest.raises(ValueError, match=why):
        domain.enter(domain.token())


@pytest.mark.parametrize(
    "pins",
    [
        {"sub": DOMAIN},
        {"sub": "refund-bot"},
        {"sub": f"{DOMAIN}/ns/"},
        {"iss": DOMAIN},
        {"sub": f"{DOMAIN}/*"},
    ],
    ids=str,
)
def test_a_binding_to_less_than_one_id_is_refused(pins: dict[str, str]) -> None:
    """One whole SPIFFE ID."""
    assert check_binding([("sub", BOT)], "spiffe") is None
    with pytest.raises(TrustRuleTooWide):
        check_binding(pins.items(), "spiffe")


MISSPELT = {
    "another scheme": "https://example.org/bot",
    "a scheme in capitals": "SPIFFE://example.org/bot",
    "no trust domain": "spiffe:///bot",
    "no path": DOMAIN,
    "the root for a path": f"{DOMAIN}/",
    "a user": "spiffe://root@example.org/bot",
    "a port": "spiffe://example.org:8443/bot",
    "capitals in its trust domain": "spiffe://Example.org/bot",
    "a trust domain of 256": f"spiffe://{'a' * 256}/bot",
    "more than 2048 bytes": f"{DOMAIN}/{'a' * 2048}",
    "a query": f"{BOT}?x=1",
    "a fragment": f"{BOT}#x",
    "an encoded letter": f"{DOMAIN}/%62ot",
    "an empty segment": f"{DOMAIN}/ns//bot",
    "a dot for a segment": f"{DOMAIN}/./bot",
    "two dots for a segment": f"{DOMAIN}/ns/../bot",
    "a slash at its end": f"{BOT}/",
    "a letter of another script": f"{DOMAIN}/b\u043et",
    "a line break": f"{BOT}\n",
    "a blank": f"{DOMAIN}/b ot",
}


@pytest.mark.parametrize("why", MISSPELT)
def test_a_spiffe_id_is_refused_when_it_has(why: str) -> None:
    """It has one spelling; whatever else reads it must see the same workload."""
    with pytest.raises(ValueError, match="SPIFFE ID"):
        SpiffeId.parse(MISSPELT[why])


@given(st.text(alphabet="abZ09._-/:@%?#é ", max_size=40))
def test_what_is_read_as_a_spiffe_id_is_written_the_same_way(rest: str) -> None:
    """There is one spelling, and every segment of it is a plain one."""
    written = f"spiffe://{rest}"
    if authority_of(written) is None:
        with pytest.raises(ValueError, match="SPIFFE"):
            SpiffeId.parse(written)
        return
    read = SpiffeId.parse(written)
    assert str(read) == written
    assert not {"", ".", ".."} & set(read.segments)
