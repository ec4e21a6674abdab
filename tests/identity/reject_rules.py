"""The table of what a JWT or DPoP proof is refused for, by the numbers of the reject list.

Each rule is tried at each slot it makes sense for; `test_reject_list.py` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from joserfc.jwk import ECKey, RSAKey

from tests.identity.place import TOKEN_URL, US
from tests.identity.reject_makes import (
    ODD,
    Make,
    by_hmac,
    head,
    headed,
    header_bytes,
    json_form,
    later,
    misnamed,
    mixed,
    none,
    own_key,
    parts,
    payload,
    said,
    stranger,
    with_member,
    without_alg,
)
from tests.identity.reject_slots import (
    ALL,
    CLIENT,
    DPOP,
    ISSUED,
    OWN_TYP,
    SAID,
    Open,
    access_token,
    id_token,
    proof_of_call,
    servers_assertion,
)
from valetkey.testing.issuer import WITHOUT, public_jwk, segment

EVIL = "https://evil.example"
MEDIA = ("at+jwt", "client-authentication+jwt", "dpop+jwt", "wit+jwt", "wpt+jwt", "txntoken+jwt")
MEDIA += ("oauth-id-jag+jwt", "secevent+jwt", "logout+jwt")
KEPT = (*ISSUED, servers_assertion, access_token)
"""Slots whose key is found by `kid`."""
SUBJECT = (*ISSUED, *CLIENT)
"""Slots whose `sub` is somebody else's word."""


@cache
def rsa() -> RSAKey:
    """One RSA key for all cases: making one is slow."""
    return RSAKey.generate_key(2048)


def p384() -> ECKey:
    """A key of a curve that is good elsewhere."""
    return ECKey.generate_key("P-384")


@dataclass(frozen=True)
class Rule:
    """One way of being wrong: its id, the slots it is tried at, and how it is made."""

    id: str
    slots: tuple[Open, ...]
    make: Make


def by(change: str, text: str = "{}") -> Make:
    """A claim rewritten from what it was: `{}` stands for it."""
    return lambda slot: slot.signed(said={change: text.format(slot.said[change])})


def listed(name: str, *also: str) -> Make:
    """A claim as a list of itself and others."""
    return lambda slot: slot.signed(said={name: [slot.said[name], *also]})


RULES = (
    Rule("3.6-01-nothing", ALL, lambda slot: ""),
    Rule("3.6-01-over-8-KiB", ALL, said(pad="x" * 8200)),
    Rule("3.6-01-two-parts", ALL, parts(lambda p: ".".join(p[:2]))),
    Rule("3.6-01-detached-payload", ALL, parts(lambda p: f"{p[0]}..{p[2]}")),
    Rule("3.6-01-empty-signature", ALL, parts(lambda p: f"{p[0]}.{p[1]}.")),
    Rule("3.6-01-five-parts-as-JWE", ALL, parts(lambda p: ".".join([*p, "a", "b"]))),
    Rule("3.6-01-JSON-serialisation", ALL, json_form),
    Rule("3.6-01-padding", ALL, parts(lambda p: ".".join(p) + "==")),
    Rule("3.6-01-white-space", ALL, parts(lambda p: f"{p[0]}.{p[1]}. {p[2]}")),
    Rule("3.6-01-line-break", ALL, parts(lambda p: ".".join(p) + "\n")),
    Rule("3.6-01-letters-of-plain-base64", ALL, parts(lambda p: f"{p[0]}.{p[1]}.+/+/")),
    Rule("3.6-01-other-letters", ALL, parts(lambda p: f"{p[0]}.{p[1]}.\u00e9" + p[2][1:])),
    Rule("3.6-02-header-no-object", ALL, header_bytes(lambda raw: b"[" + raw + b"]")),
    Rule("3.6-02-header-no-JSON", ALL, header_bytes(lambda raw: raw[:-1])),
    Rule("3.6-02-repeated-member", ALL, header_bytes(lambda raw: raw[:-1] + b',"alg":"ES256"}')),
    Rule("3.6-02-crit", ALL, head(crit=["exp"])),
    Rule("3.6-02-b64", ALL, head(b64=False)),
    Rule("3.6-02-jku", ALL, head(jku=f"{EVIL}/jwks")),
    Rule("3.6-02-x5u", ALL, head(x5u=f"{EVIL}/cert")),
    Rule("3.6-02-x5c", ALL, head(x5c=["MII"])),
    Rule("3.6-02-jwk", SAID, lambda slot: slot.signed({"jwk": public_jwk(slot.key)})),
    Rule("3.6-02-zip", ALL, head(zip="DEF")),
    Rule("3.6-02-unknown-member", ALL, head(hint="x")),
    Rule("3.6-03-alg-missing", ALL, header_bytes(without_alg)),
    Rule("3.6-03-alg-no-text", ALL, headed(alg=["ES256"])),
    Rule("3.6-03-none", ALL, none("none")),
    Rule("3.6-03-none-signed", ALL, none("none", "AAAA")),
    Rule("3.6-03-none-in-other-spellings", ALL, none("NoNe", "AAAA")),
    Rule("3.6-03-none-in-capitals", ALL, none("NONE", "AAAA")),
    Rule("3.6-03-HMAC-with-the-public-key", ALL, by_hmac),
    Rule("3.6-03-alg-of-another-curve", ALL, misnamed("ES384")),
    Rule("3.6-03-alg-of-another-key-type", ALL, misnamed("EdDSA")),
    Rule("3.6-03-alg-in-small-letters", ALL, misnamed("es256")),
    Rule("3.6-03-alg-outside-the-list", (*ISSUED, *DPOP), own_key(rsa, "RS256")),
    Rule("3.6-03-alg-of-a-larger-curve", (*ISSUED, *DPOP), own_key(p384, "ES384")),
    Rule("3.6-04-unknown-issuer", SAID, said(iss=EVIL)),
    Rule("3.6-04-issuer-with-a-slash", SAID, by("iss", "{}/")),
    Rule(
        "3.6-04-issuer-in-capitals",
        SAID,
        lambda slot: slot.signed(said={"iss": str(slot.said["iss"]).upper()}),
    ),
    Rule("3.6-04-issuer-missing", SAID, said(iss=WITHOUT)),
    Rule("3.6-04-issuer-a-list", SAID, listed("iss")),
    Rule(
        "3.6-04-another-registered-issuer",
        ISSUED,
        lambda slot: slot.signed(said={"iss": slot.place.github.url}),
    ),
    Rule("3.6-05-kid-missing", KEPT, head(kid=WITHOUT)),
    Rule("3.6-05-kid-unknown", KEPT, head(kid="nobody")),
    Rule("3.6-05-kid-a-path", ALL, head(kid="../../etc/passwd")),
    Rule("3.6-05-kid-a-statement", ALL, head(kid="' OR 1=1")),
    Rule("3.6-05-kid-an-address", ALL, head(kid=f"{EVIL}/key")),
    Rule("3.6-05-kid-of-129", ALL, head(kid="k" * 129)),
    Rule("3.6-05-kid-a-number", ALL, head(kid=1)),
    Rule(
        "3.6-06-typ-missing-where-it-is-needed", (*CLIENT, access_token, *DPOP), head(typ=WITHOUT)
    ),
    Rule("3.6-06-typ-JWT-where-another-is-needed", (*CLIENT, access_token, *DPOP), head(typ="JWT")),
    *(
        Rule(
            f"3.6-06-typ-{media}",
            tuple(slot for slot in ALL if media != OWN_TYP[slot]),
            head(typ=media),
        )
        for media in MEDIA
    ),
    Rule("3.6-07-signed-by-a-stranger", ALL, stranger),
    Rule("3.6-07-signature-cut-short", ALL, parts(lambda p: f"{p[0]}.{p[1]}.{p[2][:-4]}")),
    Rule(
        "3.6-07-signature-of-nothing", ALL, parts(lambda p: f"{p[0]}.{p[1]}.{segment(bytes(64))}")
    ),
    Rule("3.6-07-claims-of-another-token", ALL, mixed),
    Rule("3.6-08-claims-no-object", ALL, payload(lambda raw: b"[" + raw + b"]")),
    Rule("3.6-08-repeated-claim", ALL, with_member(b'"jti":"again"')),
    Rule("3.6-08-NaN", ALL, with_member(b'"x":NaN')),
    Rule("3.6-08-Infinity", ALL, with_member(b'"x":-Infinity')),
    Rule("3.6-08-number-too-large", ALL, with_member(b'"x":1e999')),
    Rule("3.6-08-not-UTF-8", ALL, with_member(b'"x":"\xff"')),
    Rule("3.6-08-deeply-nested", ALL, with_member(b'"x":' + b"[" * 2000 + b"]" * 2000)),
    *(Rule(f"3.6-08-exp-{what}", SAID, said(exp=value)) for what, value in ODD.items()),
    *(Rule(f"3.6-08-iat-{what}", ALL, said(iat=value)) for what, value in ODD.items()),
    *(
        Rule(f"3.6-08-nbf-{what}", SAID, said(nbf=value))
        for what, value in ODD.items()
        if value is not WITHOUT
    ),
    Rule("3.6-08-aud-missing", SAID, said(aud=WITHOUT)),
    Rule("3.6-08-sub-missing", SUBJECT, said(sub=WITHOUT)),
    Rule(
        "3.6-08-jti-missing", tuple(slot for slot in ALL if slot is not id_token), said(jti=WITHOUT)
    ),
    Rule("3.6-08-jti-a-number", ALL, said(jti=7)),
    Rule("3.6-08-jti-empty", ALL, said(jti="")),
    Rule("3.6-09-another-audience", SAID, said(aud=EVIL)),
    Rule("3.6-09-audience-with-a-slash", SAID, said(aud=f"{US}/")),
    Rule("3.6-09-token-endpoint-as-audience", SAID, said(aud=TOKEN_URL)),
    Rule("3.6-09-several-audiences", SAID, listed("aud", EVIL)),
    Rule(
        "3.6-09-one-audience-twice",
        SAID,
        lambda slot: slot.signed(said={"aud": [slot.said["aud"]] * 2}),
    ),
    Rule("3.6-09-no-audience-in-a-list", SAID, said(aud=[])),
    Rule(
        "3.6-09-audience-an-object",
        SAID,
        lambda slot: slot.signed(said={"aud": {str(slot.said["aud"]): 1}}),
    ),
    Rule("3.6-10-over", SAID, later(iat=-60, nbf=-60, exp=-1)),
    Rule("3.6-10-not-yet-made", ALL, later(iat=120, nbf=0, exp=180)),
    Rule("3.6-10-not-yet-good", SAID, later(nbf=120)),
    Rule("3.6-10-made-too-long-ago", (*ISSUED, *DPOP), later(iat=-90_000, nbf=-90_000, exp=60)),
    Rule("3.6-10-lives-too-long", SUBJECT, later(exp=90_000)),
    Rule("3.6-10-ends-before-it-is-made", SUBJECT, later(iat=20, exp=10)),
    Rule("3.6-12-sub-empty", SUBJECT, said(sub="")),
    Rule("3.6-12-sub-of-256", SUBJECT, said(sub="s" * 256)),
    Rule("3.6-12-sub-with-a-line-break", SUBJECT, said(sub="a\nb")),
    Rule("3.6-12-sub-with-a-bidi-mark", SUBJECT, said(sub="bot\u202egro")),
    Rule("3.6-12-sub-with-a-zero-width-space", SUBJECT, by("sub", "{}\u200b")),
    Rule("3.6-12-sub-with-a-lone-surrogate", SUBJECT, said(sub="bot\ud800")),
    Rule("3.6-12-sub-a-number", SUBJECT, said(sub=7)),
    Rule(
        "3.6-12-sub-in-other-letters",
        CLIENT,
        lambda slot: slot.signed(said={"sub": str(slot.said["sub"]).upper()}),
    ),
    Rule("3.6-13-bound-to-another-key", (*ISSUED, access_token), said(cnf={"jkt": "another"})),
    Rule("3.6-13-bound-to-a-certificate", (*ISSUED, access_token), said(cnf={"x5t#S256": "abc"})),
    Rule("3.6-13-bound-to-nothing", (*ISSUED, access_token), said(cnf={})),
    Rule("3.6-13-bound-to-a-text", (*ISSUED, access_token), said(cnf="key")),
    Rule("3.6-13-our-own-token-unbound", (access_token,), said(cnf=WITHOUT)),
    Rule("3.7-02-no-JWT", DPOP, lambda slot: "hello"),
    Rule("3.7-03-htm-missing", DPOP, said(htm=WITHOUT)),
    Rule("3.7-03-htu-missing", DPOP, said(htu=WITHOUT)),
    Rule(
        "3.7-06-signed-by-another-key-than-shown",
        DPOP,
        lambda slot: slot.signed({"jwk": public_jwk(ECKey.generate_key("P-256"))}),
    ),
    Rule("3.7-06-no-key-shown", DPOP, head(jwk=WITHOUT)),
    Rule("3.7-06-a-text-for-a-key", DPOP, head(jwk="key")),
    Rule(
        "3.7-07-private-key-shown",
        DPOP,
        lambda slot: slot.signed({"jwk": slot.key.as_dict(private=True)}),
    ),
    Rule("3.7-07-symmetric-key-shown", DPOP, head(jwk={"kty": "oct", "k": "AAAA"})),
    Rule("3.7-08-another-method", DPOP, said(htm="DELETE")),
    Rule(
        "3.7-08-method-in-small-letters",
        DPOP,
        lambda slot: slot.signed(said={"htm": str(slot.said["htm"]).lower()}),
    ),
    Rule("3.7-09-another-path", DPOP, said(htu=f"{US}/v1/kill")),
    Rule(
        "3.7-09-another-host",
        DPOP,
        lambda slot: slot.signed(said={"htu": str(slot.said["htu"]).replace("valetkey", "evil")}),
    ),
    Rule(
        "3.7-09-http",
        DPOP,
        lambda slot: slot.signed(said={"htu": str(slot.said["htu"]).replace("https", "http")}),
    ),
    Rule("3.7-09-no-address", DPOP, said(htu="/v1/tasks")),
    Rule("3.7-11-over-a-minute-old", DPOP, later(iat=-62)),
    Rule("3.7-11-over-a-minute-ahead", DPOP, later(iat=62)),
    Rule("3.7-12-of-another-token", (proof_of_call,), said(ath=segment(bytes(32)))),
    Rule("3.7-12-of-no-token", (proof_of_call,), said(ath=WITHOUT)),
    Rule(
        "3.7-12-by-a-key-that-the-token-is-not-bound-to",
        (proof_of_call,),
        own_key(lambda: ECKey.generate_key("P-256"), "ES256"),
    ),
)
