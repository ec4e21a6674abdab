"""X.509-SVIDs: which certificates speak for a workload, and every reason why one does not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import (
    OWN,
    SIGNS,
    Holder,
    Wanted,
    authority,
    changed,
    dns,
    uris,
    usage,
)
from tests.identity.place import US
from valetkey.core.errors import (
    BrokerError,
    ClockSkew,
    NotReady,
    TokenExpired,
    Unauthenticated,
    UntrustedIssuer,
)
from valetkey.core.trust import IssuerRecord
from valetkey.identity.authorities import Authorities
from valetkey.identity.svids import SvidReader, TrustDomain, VerifiedSvid

DOMAIN, OTHER = "spiffe://example.org", "spiffe://example.com"
BOT = f"{DOMAIN}/ns/refunds/sa/refund-bot"
STRANGE = (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.1"), b"\x05\x00"), True)


def record(issuer: str, name: str = "here") -> IssuerRecord:
    """A trust domain as settings register it."""
    algorithms = frozenset({"ES256"})
    keys = {"keys": list[object]()}
    return IssuerRecord(name, issuer, "workload", US, algorithms, jwks=keys, platform="spiffe")


@dataclass
class Listed:
    """A bundle as a variable; without authorities it is not to be had."""

    holders: list[Holder] = field(default_factory=list)

    def authorities(self) -> Authorities:
        """The certificates listed."""
        if not self.holders:
            raise NotReady("away")
        return tuple(one.certificate for one in self.holders)

    def problem(self) -> str | None:
        """None is told."""
        return None


@dataclass
class Domains:
    """Two trust domains with an authority each."""

    root: Holder = field(default_factory=authority)
    other: Holder = field(default_factory=authority)

    def __post_init__(self) -> None:
        self.bundle, self.others = Listed([self.root]), Listed([self.other])
        listed = [TrustDomain(record(DOMAIN), self.bundle)]
        listed.append(TrustDomain(record(OTHER, "other"), self.others))
        self.reader = SvidReader(listed)

    def read(self, holder: Holder, at: datetime | None = None) -> VerifiedSvid:
        """What the certificate of a connection says."""
        return self.reader.read(holder.peer, at or datetime.now(UTC))


@pytest.fixture(scope="module")
def domains() -> Iterator[Domains]:
    """Keys take time to make, so that the tests of this file share them."""
    yield Domains()


def between(by: Holder, *more: tuple[x509.ExtensionType, bool], drop: str = "") -> Holder:
    """An authority in the middle."""
    return by.sign(Wanted("between", changed(SIGNS, *more, drop=drop)))


GOOD: dict[str, Callable[[Domains], Holder]] = {
    "right under the root": lambda d: d.root.workload(BOT),
    "under one between": lambda d: between(d.root).workload(BOT),
    "under three between": lambda d: between(between(between(d.root))).workload(BOT),
    "under one of its trust domain's name": lambda d: between(
        d.root, (uris(DOMAIN), False)
    ).workload(BOT),
    "with a DNS name beside": lambda d: d.root.sign(
        Wanted(
            extensions=(
                *OWN,
                (
                    x509.SubjectAlternativeName(
                        [x509.UniformResourceIdentifier(BOT), x509.DNSName("refund-bot")]
                    ),
                    False,
                ),
            )
        )
    ),
    "without basic constraints": lambda d: d.root.workload(
        BOT, extensions=(*changed(OWN, drop="BasicConstraints"), (uris(BOT), True))
    ),
    "without extended usage": lambda d: d.root.workload(
        BOT, extensions=(*changed(OWN, drop="ExtendedKeyUsage"), (uris(BOT), True))
    ),
    "with P-384": lambda d: d.root.workload(BOT, key=ec.generate_private_key(ec.SECP384R1())),
    "with RSA 2048": lambda d: d.root.workload(BOT, key=rsa.generate_private_key(65537, 2048)),
    "with Ed25519": lambda d: d.root.workload(BOT, key=ed25519.Ed25519PrivateKey.generate()),
    "of another registered domain": lambda d: d.other.workload(f"{OTHER}/x"),
}


@pytest.mark.parametrize("what", GOOD)
def test_a_good_certificate_speaks_for_its_id(domains: Domains, what: str) -> None:
    """With the domain's record, the thumbprints and the end that tokens are bound by."""
    holder = GOOD[what](domains)
    read = domains.read(holder)
    assert read.subject == (f"{OTHER}/x" if "another" in what else BOT)
    assert read.record.issuer == read.subject[: len(DOMAIN)]
    assert (len(read.jkt), len(read.x5t)) == (43, 43)
    assert read.until == holder.certificate.not_valid_after_utc


def own(*more: tuple[x509.ExtensionType, bool], drop: str = "") -> Callable[[Domains], Holder]:
    """The good certificate with other extensions."""
    extensions = changed((*OWN, (uris(BOT), True)), *more, drop=drop)
    return lambda d: d.root.sign(Wanted(extensions=extensions))


def of_id(written: str) -> Callable[[Domains], Holder]:
    """A certificate of another ID."""
    return own((uris(written), True))


def under(*more: tuple[x509.ExtensionType, bool], drop: str = "") -> Callable[[Domains], Holder]:
    """A good certificate under an authority that is not."""
    return lambda d: between(d.root, *more, drop=drop).workload(BOT)


def permits(*names: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    """Name constraints."""
    return x509.NameConstraints(list(names), None), True


def small_key() -> rsa.RSAPrivateKey:
    """An RSA key that can be broken."""
    return rsa.generate_private_key(65537, 1024)  # noqa: S505


def too_deep(domains: Domains) -> Holder:
    """Five authorities between it and the root."""
    above = domains.root
    for _ in range(5):
        above = between(above)
    return above.workload(BOT)


REFUSED: dict[str, Callable[[Domains], Holder]] = {
    "an unknown authority signed it": lambda d: authority().workload(BOT),
    "it signed itself": lambda d: authority(extensions=(*OWN, (uris(BOT), True))),
    "another trust domain's authority signed it": lambda d: d.other.workload(BOT),
    "another workload signed it": lambda d: d.root.workload(BOT).workload(BOT),
    "it is one of an authority": own((x509.BasicConstraints(True, None), True)),
    "its key may sign certificates": own((usage("digital_signature", "key_cert_sign"), True)),
    "its key may sign lists": own((usage("digital_signature", "crl_sign"), True)),
    "its key may not sign": own((usage("key_agreement"), True)),
    "it does not say what its key is for": own(drop="KeyUsage"),
    "what its key is for is not critical": own((usage("digital_signature"), False)),
    "it is for servers only": own(
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    ),
    "it names two URIs": own((uris(BOT, f"{BOT}-2"), True)),
    "it names the same URI twice": own((uris(BOT, BOT), True)),
    "it names nothing": own(drop="SubjectAlternativeName"),
    "it names a host only": own((dns("refund-bot"), True)),
    "it names an https URI": of_id("https://example.org/refund-bot"),
    "its path is the root": of_id(f"{DOMAIN}/"),
    "it is of the trust domain itself": of_id(DOMAIN),
    "its ID is encoded": of_id(f"{DOMAIN}/ns/%72efunds"),
    "its ID climbs": of_id(f"{DOMAIN}/ns/../refunds"),
    "its ID has a query": of_id(f"{BOT}?x=1"),
    "its ID has a port": of_id("spiffe://example.org:443/x"),
    "its ID is in capitals": of_id("SPIFFE://example.org/x"),
    "its ID is too long": of_id(f"{DOMAIN}/{'x' * 300}"),
    "it has a critical extension that is unknown": own(STRANGE),
    "an authority of it has one": under(STRANGE),
    "an authority of it may not sign certificates": under((usage("digital_signature"), True)),
    "an authority of it does not say so": under(drop="KeyUsage"),
    "an authority of it is none": under((x509.BasicConstraints(False, None), True)),
    "an authority of it does not say that it is one": under(drop="BasicConstraints"),
    "an authority of it is for servers": under(
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    ),
    "an authority of it names another trust domain": under((uris(OTHER), False)),
    "an authority of it is a workload by name": under((uris(BOT), False)),
    "an authority may have no other under it": lambda d: between(
        between(d.root, (x509.BasicConstraints(True, 0), True))
    ).workload(BOT),
    "an authority may name other hosts only": under(
        permits(x509.UniformResourceIdentifier("example.com"))
    ),
    "an authority has constraints that cannot be judged": under(
        permits(x509.UniformResourceIdentifier("example.org"))
    ),
    "there are too many above it": too_deep,
    "its RSA key is small": lambda d: d.root.workload(BOT, key=small_key()),
    "its curve is unusual": lambda d: d.root.workload(
        BOT, key=ec.generate_private_key(ec.SECP256K1())
    ),
    "an authority's RSA key is small": lambda d: d.root.sign(
        Wanted("between", SIGNS, key=small_key())
    ).workload(BOT),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_certificate_is_refused_when(domains: Domains, why: str) -> None:
    """Each of these alone is enough."""
    with pytest.raises(Unauthenticated):
        domains.read(REFUSED[why](domains))


@pytest.mark.parametrize(
    ("begins", "ends", "error"),
    [(-60, -1, TokenExpired), (1, 60, ClockSkew)],
    ids=["it is over", "it has not begun"],
)
def test_a_certificate_counts_by_the_databases_time(
    domains: Domains, begins: int, ends: int, error: type[BrokerError]
) -> None:
    """Before its beginning and after its end it is refused with a word of its own."""
    times = {"begins": timedelta(minutes=begins), "ends": timedelta(minutes=ends)}
    holder = domains.root.workload(BOT, **times)
    with pytest.raises(error):
        domains.read(holder)
    within = datetime.now(UTC) + timedelta(minutes=(begins + ends) / 2)
    if begins < 0:  # the root is as young as it is
        within = max(within, domains.root.certificate.not_valid_before_utc)
    assert domains.read(holder, within).subject == BOT


def test_an_authority_that_is_over_vouches_for_nobody(domains: Domains) -> None:
    """Though the certificate itself is still good."""
    old = authority(ends=timedelta(minutes=-1))
    domain = SvidReader([TrustDomain(record(DOMAIN), Listed([old]))])
    with pytest.raises(Unauthenticated):
        domain.read(old.workload(BOT).peer, datetime.now(UTC))


def test_a_signature_with_sha_1_is_none(domains: Domains, tmp_path: Path) -> None:
    """Made by OpenSSL, because our own library does not make them any more."""
    key, root = domains.root.written(tmp_path, "root")[1], tmp_path / "root.pem"
    request, more, made = (tmp_path / name for name in ("csr", "ext", "made.der"))
    ours = domains.root.workload(BOT).written(tmp_path, "ours")[1]
    more.write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        f"extendedKeyUsage=clientAuth\nsubjectAltName=critical,URI:{BOT}\n"
    )

    def openssl(*words: str | Path) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    openssl("req", "-new", "-key", ours, "-subj", "/CN=x", "-out", request)
    signing = ("-CA", root, "-CAkey", key, "-days", "1", "-extfile", more, "-outform", "DER")
    for digest, good in (("-sha256", True), ("-sha1", False)):
        openssl("x509", "-req", "-in", request, *signing, digest, "-out", made)
        if good:
            assert domains.reader.read((made.read_bytes(),), datetime.now(UTC)).subject == BOT
            continue
        with pytest.raises(Unauthenticated):
            domains.reader.read((made.read_bytes(),), datetime.now(UTC))


@pytest.mark.parametrize(
    "peer", [(), (b"",), (b"\x30\x03\x02\x01\x01",), (b"x" * 20_000,)], ids=str
)
def test_what_is_no_certificate_is_refused(domains: Domains, peer: tuple[bytes, ...]) -> None:
    """None, nonsense, and more than anybody needs."""
    with pytest.raises(Unauthenticated):
        domains.reader.read(peer, datetime.now(UTC))
    assert domains.reader.issuer_named(peer) is None


def test_an_unknown_trust_domain_is_an_unknown_issuer(domains: Domains) -> None:
    """Whoever signed it."""
    with pytest.raises(UntrustedIssuer):
        domains.read(domains.root.workload("spiffe://example.net/x"))


def test_an_authority_in_two_bundles_vouches_for_neither(domains: Domains) -> None:
    """It could sign for the other domain; so could one in the middle that is the other's root."""
    shared, middle = authority(), between(domains.root)
    for holder, roots in ((shared, [shared]), (middle, [domains.root])):
        other = Listed([holder])
        pair = [TrustDomain(record(DOMAIN), Listed(roots)), TrustDomain(record(OTHER, "o"), other)]
        svid = holder.workload(BOT)
        with pytest.raises(Unauthenticated, match="another trust domain"):
            SvidReader(pair).read(svid.peer, datetime.now(UTC))
        other.holders.clear()
        assert SvidReader(pair).read(svid.peer, datetime.now(UTC)).subject == BOT


def test_while_a_bundle_is_away_its_domain_is_not_ready_and_others_are(domains: Domains) -> None:
    """NotReady, which uses nothing up and blames nobody."""
    away = Listed()
    pair = [TrustDomain(record(DOMAIN), away), TrustDomain(record(OTHER, "o"), domains.others)]
    reader = SvidReader(pair)
    with pytest.raises(NotReady):
        reader.read(domains.root.workload(BOT).peer, datetime.now(UTC))
    found = reader.read(domains.other.workload(f"{OTHER}/x").peer, datetime.now(UTC))
    assert found.record.name == "o"


def test_a_renewed_certificate_of_the_same_key_has_the_same_key_thumbprint(
    domains: Domains,
) -> None:
    """So that tasks bound to the key outlive the certificate."""
    first = domains.root.workload(BOT)
    again, other = domains.root.workload(BOT, key=first.key), domains.root.workload(BOT)
    reads = [domains.read(one) for one in (first, again, other)]
    assert reads[0].jkt == reads[1].jkt != reads[2].jkt
    assert len({read.x5t for read in reads}) == 3


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.data())
def test_no_change_of_one_byte_makes_another_identity(
    domains: Domains, data: st.DataObject
) -> None:
    """A certificate with one byte altered is refused, or it is one of the same key and ID."""
    good = _KEPT.setdefault("svid", domains.root.workload(BOT))
    der = bytearray(good.peer[0])
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= data.draw(st.integers(1, 255))
    try:
        read = domains.reader.read((bytes(der),), datetime.now(UTC))
    except BrokerError:
        return
    assert (read.subject, read.jkt) == (BOT, domains.read(good).jkt)


_KEPT: dict[str, Holder] = {}
