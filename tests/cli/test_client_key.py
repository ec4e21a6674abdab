"""`agent bind --key-file`: the public part of a key is sent, whatever the file holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker

ROUTE = "POST /v1/agents/refund-bot/bindings"
KEYS = {"EC": ECKey.generate_key("P-256"), "OKP": OKPKey.generate_key("Ed25519")}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
@pytest.mark.parametrize("form", ["jwk", "pem"])
def test_only_the_public_members_of_a_key_are_sent(
    person: Terminal, broker: FakeBroker, tmp_path: Path, kind: str, private: bool, form: str
) -> None:
    """From a JWK or a PEM, private or not: what the thumbprint is made of."""
    key, path = KEYS[kind], tmp_path / "key"
    said = json.dumps(key.as_dict(private=private)).encode()
    path.write_bytes(said if form == "jwk" else key.as_pem(private=private))
    broker.on(ROUTE, (201, samples.AGENT["bindings"][0]))
    done = person.run("agent", "bind", "refund-bot", "--key-file", str(path))
    assert done.exit_code == 0, done.output
    (call,) = broker.made(ROUTE)
    public = key.as_dict(private=False)
    names = {"kty", "crv", "x", "y"} & public.keys()
    assert call.json == {"issuer": "client-key", "claims": {name: public[name] for name in names}}


@pytest.mark.parametrize("what", ["nonsense", "RSA", "P-384"])
def test_a_file_without_such_a_key_is_a_usage_error(
    person: Terminal, broker: FakeBroker, tmp_path: Path, what: str
) -> None:
    """Nothing is sent, and nothing of the file is said."""
    path = tmp_path / "key"
    texts = {
        "nonsense": "canary-77aa",
        "RSA": RSAKey.generate_key(2048).as_pem(private=True).decode(),
        "P-384": json.dumps(ECKey.generate_key("P-384").as_dict(private=True)),
    }
    path.write_text(texts[what])
    done = person.run("agent", "bind", "refund-bot", "--key-file", str(path))
    assert done.exit_code == 2
    assert texts[what][-20:] not in done.output
    assert not broker.made(ROUTE)


@pytest.mark.parametrize("argv", [(), ("workloads",), ("workloads", "sub=x", "--key-file", "k")])
def test_a_binding_is_a_key_or_claims(person: Terminal, tmp_path: Path, argv: tuple[str]) -> None:
    """Not neither, and not both."""
    assert person.run("agent", "bind", "refund-bot", *argv).exit_code == 2


@pytest.mark.parametrize(
    "argv",
    [
        ("bind", "refund-bot", "workloads", "sub=a", "sub=b"),
        ("register", "x", "--owner=o@example.com", "--team=t", "--label=a=1", "--label=a=2"),
    ],
)
def test_what_is_given_twice_is_a_usage_error(
    person: Terminal, broker: FakeBroker, argv: tuple[str, ...]
) -> None:
    """One of the two would be lost: exit 2, and nothing is sent."""
    done = person.run("agent", *argv)
    assert (done.exit_code, "given twice" in done.stderr) == (2, True)
    assert not broker.made(ROUTE) + broker.made("POST /v1/agents")
