"""X.509-SVIDs: the certificate of a workload, checked against the bundle of its trust domain.

After the X509-SVID specification (sections 2 to 5) and RFC 5280. Which bundle counts is said by the
SPIFFE ID alone, so that the authorities of one trust domain never vouch for an ID of another. The
TLS library has seen that the client holds the key; nothing else that it says is relied on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from valetkey.core.errors import (
    ClockSkew,
    NotReady,
    TokenExpired,
    Unauthenticated,
    UntrustedIssuer,
)
from valetkey.core.peer import Peer, certificate_thumbprint
from valetkey.core.spiffe import SpiffeId
from valetkey.core.trust import IssuerRecord
from valetkey.identity.authorities import UNREADABLE, Authorities, TrustBundle
from valetkey.identity.jose import BadToken, VerifyingKey, verifying_key
from valetkey.identity.public_keys import members_of

LARGEST: Final = 16 * 1024
MOST: Final = 5
"""Certificates that a client may show: its own and four above it."""
_LONGEST_ID: Final = 255


@dataclass(frozen=True)
class VerifiedSvid:
    """A certificate that passed: its trust domain's record, its SPIFFE ID and what binds to it.

    `jkt` is the RFC 7638 thumbprint of its key, which stays when it is renewed with the same key;
    `x5t` that of the certificate itself.
    """

    record: IssuerRecord
    subject: str
    jkt: str
    x5t: str
    until: datetime


@dataclass(frozen=True)
class TrustDomain:
    """A registered trust domain and where its authorities are had from."""

    record: IssuerRecord
    bundle: TrustBundle


@dataclass(frozen=True)
class _Leaf:
    """A client's own certificate, read and looked at, but signed by nobody knows whom."""

    certificate: x509.Certificate
    unverified_id: SpiffeId
    key: VerifyingKey


class SvidReader:
    """Verifies X.509-SVIDs of registered trust domains. Safe for threads; keeps no state."""

    def __init__(self, domains: Sequence[TrustDomain]) -> None:
        self._domains: Mapping[str, TrustDomain] = {one.record.issuer: one for one in domains}

    def __bool__(self) -> bool:
        """Whether there is any trust domain whose certificates are taken."""
        return bool(self._domains)

    def bundles(self) -> Mapping[str, TrustBundle]:
        """Where the authorities of every trust domain are had from, by its record's name."""
        return {domain.record.name: domain.bundle for domain in self._domains.values()}

    def issuer_named(self, peer: Peer) -> str | None:
        """The name of the trust domain that unverified certificates claim, for counting."""
        try:
            leaf = _read_leaf(peer)
        except BadToken:
            return None
        found = self._domains.get(leaf.unverified_id.authority)
        return found.record.name if found else None

    def read(self, peer: Peer, now: datetime) -> VerifiedSvid:
        """Verify the certificates that a client showed.

        Raises Unauthenticated, UntrustedIssuer, TokenExpired, ClockSkew, or NotReady while the
        trust domain's bundle cannot be had.
        """
        try:
            leaf = _read_leaf(peer)
            domain = self._domains.get(leaf.unverified_id.authority)
            if domain is None:
                raise UntrustedIssuer()
            _check_times(leaf.certificate, now)
            path = _verified_path(leaf, peer, domain.bundle, now)
            self._check_sole(path[1:], domain)
        except BadToken as bad:
            raise Unauthenticated(str(bad)) from None
        x5t, until = certificate_thumbprint(peer), leaf.certificate.not_valid_after_utc
        assert x5t is not None
        return VerifiedSvid(domain.record, str(leaf.unverified_id), leaf.key.thumbprint, x5t, until)

    def _check_sole(self, above: Sequence[x509.Certificate], domain: TrustDomain) -> None:
        """No authority of another trust domain is on the path: it would vouch for two."""
        keys = set(map(_spki, above))
        for other in self._domains.values():
            if other is not domain and keys & set(map(_spki, _known(other.bundle))):
                raise BadToken("an authority above it stands in another trust domain's bundle")


def _known(bundle: TrustBundle) -> Authorities:
    try:
        return bundle.authorities()
    except NotReady:
        return ()


def _read_leaf(peer: Peer) -> _Leaf:
    """The client's own certificate, as far as it can be judged alone; raises BadToken."""
    if not peer or len(peer) > MOST or max(map(len, peer)) > LARGEST:
        raise BadToken("no certificate was shown, too many, or one that is too large")
    certificate = _load(peer[0])
    try:
        extensions = certificate.extensions
        _check_usage(extensions)
        written = _sole_uri(extensions)
    except (*UNREADABLE, x509.ExtensionNotFound):
        raise BadToken("an extension of the certificate is missing or cannot be read") from None
    try:
        found = SpiffeId.parse(written)
    except ValueError as bad:
        raise BadToken(str(bad)) from None
    if len(written) > _LONGEST_ID:
        raise BadToken("the SPIFFE ID has more than 255 characters")
    return _Leaf(certificate, found, _key_of(certificate))


def _load(der: bytes) -> x509.Certificate:
    try:
        read = x509.load_der_x509_certificate(der)
    except (*UNREADABLE, x509.InvalidVersion):
        raise BadToken("a certificate cannot be read") from None
    if read.serial_number <= 0:
        raise BadToken("the serial number of a certificate is not positive")
    return read


def _check_usage(extensions: x509.Extensions) -> None:
    """X509-SVID section 4: no authority, and a key for signatures of a client."""
    for basic in extensions:
        if isinstance(basic.value, x509.BasicConstraints) and basic.value.ca:
            raise BadToken("the certificate is one of an authority")
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    if not usage.critical or not usage.value.digital_signature:
        raise BadToken("the certificate's key is not for signatures")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise BadToken("the certificate's key could sign certificates or lists")
    for more in extensions:
        if isinstance(more.value, x509.ExtendedKeyUsage):
            _for_clients(more.value)


def _for_clients(usages: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise BadToken("the certificate is not for clients")


def _sole_uri(extensions: x509.Extensions) -> str:
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise BadToken("the certificate does not name exactly one URI")
    return uris[0]


def _key_of(certificate: x509.Certificate) -> VerifyingKey:
    """Its public key, held to what keys of tokens are held to: kinds, sizes, exponents."""
    try:
        return verifying_key(members_of(certificate.public_key()))
    except (ValueError, UnsupportedAlgorithm):
        raise BadToken("the certificate's key is of a kind that is not accepted") from None


def _check_times(certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_after_utc <= now:
        raise TokenExpired("the certificate is past its end")
    if certificate.not_valid_before_utc > now:
        raise ClockSkew("the certificate begins in the future by our clock")


def _verified_path(
    leaf: _Leaf, peer: Peer, bundle: TrustBundle, now: datetime
) -> Sequence[x509.Certificate]:
    """From the client's certificate up to an authority of the bundle; raises BadToken, NotReady."""
    between = [_load(der) for der in peer[1:]]
    builder = verification.PolicyBuilder().store(verification.Store(list(bundle.authorities())))
    builder = builder.time(now).max_chain_depth(MOST - 1)
    verifier = builder.extension_policies(ca_policy=_ABOVE, ee_policy=_OWN).build_client_verifier()
    try:
        path = verifier.verify(leaf.certificate, between).chain
    except (verification.VerificationError, *UNREADABLE):
        raise BadToken("no path leads from the certificate to its trust domain") from None
    for authority in path[1:]:
        _check_authority(authority, leaf.unverified_id)
    return path


def _check_authority(authority: x509.Certificate, vouched: SpiffeId) -> None:
    """Its key is good enough; if it names a trust domain, that is the one it vouches in."""
    _key_of(authority)
    for found in authority.extensions:
        if isinstance(found.value, x509.SubjectAlternativeName):
            uris = found.value.get_values_for_type(x509.UniformResourceIdentifier)
            if any(uri != vouched.authority for uri in uris):
                raise BadToken("an authority above it is named for something else")


def _signs_certificates(
    policy: verification.Policy, above: x509.Certificate, usage: x509.KeyUsage
) -> None:
    if not usage.key_cert_sign:
        raise ValueError("not for signing certificates")


def _vouches_for_clients(
    policy: verification.Policy, above: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    if usage is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("not for clients")


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


_ANY: Final = verification.Criticality.AGNOSTIC
_OWN: Final = verification.ExtensionPolicy.permit_all()
_ABOVE: Final = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, verification.Criticality.CRITICAL, None)
    .require_present(x509.KeyUsage, _ANY, _signs_certificates)
    .may_be_present(x509.ExtendedKeyUsage, _ANY, _vouches_for_clients)
)
