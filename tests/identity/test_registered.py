"""What settings register: each platform as short as it can be written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.certificates import authority, bundle_pem
from tests.identity.place import US
from valetkey.bootstrap.doors import registered_of, trust_rules
from valetkey.core.errors import TrustRuleTooWide
from valetkey.identity.oidc import ProofReader
from valetkey.settings import Settings
from valetkey.testing.issuer import public_jwk


def settings(tmp_path: Path, issuer: dict[str, object], **more: object) -> Settings:
    """Settings with this issuer named `here`."""
    values: dict[str, Any] = {
        "external_url": US,
        "signing_key_file": tmp_path / "k",
        "fingerprint_key_file": tmp_path / "f",
        "database": {"url_file": tmp_path / "d"},
        "issuers": [{"name": "here", "kind": "workload", "audience": US, **issuer}],
    }
    return Settings(**{**values, **more})


def bundle(tmp_path: Path) -> Path:
    """A file of keys as SPIFFE has them."""
    from joserfc.jwk import ECKey

    jwk = {**public_jwk(ECKey.generate_key("P-256")), "kid": "k", "use": "jwt-svid"}
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"keys": [jwk]}))
    return path


def shortest(tmp_path: Path) -> dict[str, dict[str, object]]:
    """The least that each platform needs."""
    cluster = {"url": "https://10.0.0.1", "token_file": tmp_path / "token"}
    https = "https://issuer.example.com"
    keys: dict[str, object] = {"issuer": https, "jwks_uri": f"{https}/keys"}
    return {
        "github-actions": {**keys, "kind": "ci"},
        "gitlab": {**keys, "kind": "ci"},
        "kubernetes": {**keys, "cluster": cluster},
        "spiffe": {"issuer": "spiffe://example.org", "jwks_file": bundle(tmp_path)},
        "aws": keys,
        "generic": {**keys, "algorithms": ("ES256",)},
    }


@pytest.mark.parametrize(
    "platform", ["github-actions", "gitlab", "kubernetes", "spiffe", "aws", "generic"]
)
def test_a_platform_needs_little_to_be_registered(tmp_path: Path, platform: str) -> None:
    """What is left out is as its tokens are."""
    issuer = {**shortest(tmp_path)[platform], "platform": platform}
    registered = registered_of(settings(tmp_path, issuer))
    (record,) = registered.issuers
    assert record.platform == platform
    assert record.algorithms
    assert (registered.outside["here"].vouch is not None) == (platform == "kubernetes")
    assert ProofReader.of(registered.issuers, registered.outside)


def test_what_is_given_beats_the_platforms_habit(tmp_path: Path) -> None:
    """Each of them can be said."""
    said = {"algorithms": ("ES256",), "max_age": 60, "max_life": 120, "replay": "jti"}
    issuer = {**shortest(tmp_path)["gitlab"], "platform": "gitlab", **said}
    (record,) = registered_of(settings(tmp_path, issuer)).issuers
    assert record.algorithms == {"ES256"}
    assert (record.max_age.seconds, record.max_life.seconds, record.replay) == (60, 120, "jti")


def test_how_many_may_wait_for_an_issuer_is_said_by_it(tmp_path: Path) -> None:
    """Eight, unless it says otherwise; with a cluster too."""
    for platform in ("gitlab", "kubernetes"):
        issuer = {**shortest(tmp_path)[platform], "platform": platform}
        assert registered_of(settings(tmp_path, issuer)).outside["here"].at_once == 8
        more = registered_of(settings(tmp_path, {**issuer, "at_once": 20}))
        assert more.outside["here"].at_once == 20


WRONG: dict[str, tuple[str, dict[str, object]]] = {
    "kubernetes without its cluster": ("kubernetes", {"cluster": None}),
    "keys from two places": ("gitlab", {"jwks_file": "bundle.json"}),
    "keys from nowhere": ("gitlab", {"jwks_uri": None}),
    "generic without algorithms": ("generic", {"algorithms": ()}),
    "people from GitLab": ("gitlab", {"kind": "people"}),
    "a CI job from a cluster": ("kubernetes", {"kind": "ci"}),
    "GitHub's default audience": ("github-actions", {"audience": "https://github.com/acme"}),
    "the issuer as the audience": ("gitlab", {"audience": "https://issuer.example.com"}),
}


@pytest.mark.parametrize("why", WRONG)
def test_settings_are_refused_with(tmp_path: Path, why: str) -> None:
    """At the start, by the issuer's name."""
    platform, changes = WRONG[why]
    bundle(tmp_path)
    issuer = {**shortest(tmp_path)[platform], "platform": platform, **changes}
    if "jwks_file" in changes:
        issuer["jwks_file"] = tmp_path / str(changes["jwks_file"])
    with pytest.raises(ValueError, match="issuer here"):
        registered = registered_of(settings(tmp_path, issuer))
        ProofReader.of(registered.issuers, registered.outside)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 1}'])
def test_a_file_that_holds_no_keys_is_noticed_at_the_start(tmp_path: Path, text: str) -> None:
    """Not at the first proof."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    issuer = {**shortest(tmp_path)["spiffe"], "platform": "spiffe", "jwks_file": path}
    with pytest.raises(ValueError):
        registered_of(settings(tmp_path, issuer))


def test_a_trust_domain_may_have_certificates_only(tmp_path: Path) -> None:
    """A bundle in a file, with TLS of our own, and no keys for tokens."""
    path = tmp_path / "bundle.pem"
    path.write_bytes(bundle_pem(authority()))
    domain = {"issuer": "spiffe://example.org", "platform": "spiffe", "x509_bundle_file": path}
    server = {"tls_certificate_file": tmp_path / "tls.pem"}
    registered = registered_of(settings(tmp_path, domain, server=server))
    reader = ProofReader.of(registered.issuers, registered.outside)
    assert list(reader.svids.bundles()) == ["here"]


@pytest.mark.parametrize(
    ("changes", "tls", "why"),
    [
        ({}, False, "TLS of our own"),
        ({"platform": "generic", "algorithms": ("ES256",)}, True, "trust domains of SPIFFE"),
        ({"x509_bundle_file": "nowhere.pem"}, True, "cannot be read"),
        ({"x509_bundle_file": "empty.pem"}, True, "x509_bundle_file"),
    ],
    ids=["without TLS of our own", "of another platform", "missing", "empty"],
)
def test_a_bundle_that_could_never_be_of_use_is_refused(
    tmp_path: Path, changes: dict[str, object], tls: bool, why: str
) -> None:
    """At the start, by the issuer's name."""
    (tmp_path / "bundle.pem").write_bytes(bundle_pem(authority()))
    (tmp_path / "empty.pem").write_bytes(b"")
    issuer = {"platform": "spiffe", "issuer": "spiffe://example.org", **changes}
    issuer["x509_bundle_file"] = tmp_path / str(changes.get("x509_bundle_file", "bundle.pem"))
    server = {"tls_certificate_file": tmp_path / "tls.pem"} if tls else {}
    with pytest.raises(ValueError, match=f"issuer here.*{why}"):
        registered = registered_of(settings(tmp_path, issuer, server=server))
        ProofReader.of(registered.issuers, registered.outside)


def test_an_unknown_platform_is_refused(tmp_path: Path) -> None:
    """There is no guessing."""
    with pytest.raises(ValidationError):
        settings(tmp_path, {**shortest(tmp_path)["aws"], "platform": "gcp"})


def test_a_trust_rule_must_pin_what_its_platform_demands(tmp_path: Path) -> None:
    """The event too, for GitHub; a generic issuer asks for less."""
    rule: dict[str, Any] = {
        "name": "refunds",
        "issuer": "here",
        "match": {"repository_id": "1", "repository_owner_id": "2", "environment": "p"},
        "name_prefix": "refund-",
        "owners": [],
        "teams": [],
    }
    for platform in ("generic", "github-actions"):
        issuer = {**shortest(tmp_path)[platform], "platform": platform, "kind": "ci"}
        made = settings(tmp_path, issuer, trust_rules=[rule])
        if platform == "generic":
            assert trust_rules(made)
        else:
            with pytest.raises(TrustRuleTooWide, match="event_name"):
                trust_rules(made)
