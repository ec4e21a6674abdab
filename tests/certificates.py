"""Certificates as tests want them: authorities of trust domains, and what they sign, with flaws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def usage(*names: str) -> x509.KeyUsage:
    """A key usage of these names and no others."""
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


def uris(*written: str) -> x509.SubjectAlternativeName:
    """A subject alternative name of these URIs."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in written])


def dns(*names: str) -> x509.SubjectAlternativeName:
    """One of these DNS names."""
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


SIGNS: Extensions = (
    (x509.BasicConstraints(True, None), True),
    (usage("key_cert_sign", "crl_sign"), True),
)
OWN: Extensions = (
    (x509.BasicConstraints(False, None), True),
    (usage("digital_signature", "key_agreement"), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
)


def changed(
    usual: Extensions, *more: tuple[x509.ExtensionType, bool], drop: str = ""
) -> Extensions:
    """The usual extensions, those of the same kind replaced by `more`, and one kind dropped."""
    kinds = {type(extension) for extension, _ in more if not isinstance(extension, UNKNOWN)}
    kept = [x for x in usual if type(x[0]) not in kinds and type(x[0]).__name__ != drop]
    return (*kept, *more)


UNKNOWN = x509.UnrecognizedExtension


@dataclass(frozen=True)
class Wanted:
    """A certificate to be made: its name, extensions and times around now."""

    name: str = ""
    extensions: Extensions = OWN
    begins: timedelta = timedelta(minutes=-5)
    ends: timedelta = timedelta(hours=1)
    key: Key = field(default_factory=ec_key)


@dataclass(frozen=True)
class Holder:
    """Somebody with a key and a certificate; `above` are those that signed, the root left out."""

    key: Key
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()
    root: bool = False

    @property
    def peer(self) -> tuple[bytes, ...]:
        """What a TLS connection shows of it."""
        return tuple(one.public_bytes(Encoding.DER) for one in (self.certificate, *self.above))

    @property
    def pem(self) -> bytes:
        """The chain, PEM."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, wanted: Wanted, at: datetime | None = None) -> Holder:
        """A certificate under this one; whatever is wanted is signed."""
        return _signed(self, wanted, at)

    def workload(self, written: str, **changes: object) -> Holder:
        """A good X.509-SVID of this ID, with changes to what is wanted."""
        extensions = (*OWN, (uris(written), True))
        return self.sign(replace(Wanted(extensions=extensions), **changes))  # type: ignore[arg-type]

    def server(self, *names: str) -> Holder:
        """A certificate for a server of these names."""
        ours = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        return self.sign(Wanted(names[0], changed(OWN, ours, (dns(*names), False))))

    def written(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Files of the chain and the key."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        return chain, key


def authority(name: str = "root", extensions: Extensions = SIGNS, **more: object) -> Holder:
    """An authority that signed itself."""
    wanted = replace(Wanted(name, extensions), **more)  # type: ignore[arg-type]
    return replace(_signed(None, wanted, None), root=True)


def bundle_pem(*holders: Holder) -> bytes:
    """A bundle of these authorities."""
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in holders)


def _signed(by: Holder | None, wanted: Wanted, at: datetime | None) -> Holder:
    now = at or datetime.now(UTC)
    issuer = by.certificate.subject if by else _name(wanted.name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(wanted.name))
        .issuer_name(issuer)
        .public_key(wanted.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wanted.begins)
        .not_valid_after(now + wanted.ends)
    )
    signer = by.key if by else wanted.key
    marks = (
        (x509.SubjectKeyIdentifier.from_public_key(wanted.key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    )
    for extension, critical in (*wanted.extensions, *marks):
        builder = builder.add_extension(extension, critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = builder.sign(signer, algorithm)
    return Holder(wanted.key, made, _above(by))


def _above(by: Holder | None) -> tuple[x509.Certificate, ...]:
    return () if by is None or by.root else (by.certificate, *by.above)


def _name(common: str) -> x509.Name:
    parts: Sequence[x509.NameAttribute[str]] = (
        [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    )
    return x509.Name(parts)
