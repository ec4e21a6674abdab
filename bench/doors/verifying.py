"""What it costs to verify one proof, in this process, against PyJWT and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import jwt
from joserfc.jwk import ECKey

from tests.certificates import Holder, authority
from valetkey.agentside.dpop import DpopKey
from valetkey.core.principal import Caller, Principal
from valetkey.core.trust import IssuerRecord
from valetkey.identity.authorities import Authorities
from valetkey.identity.dpop import Sent, verify_dpop
from valetkey.identity.keys import SigningKeys
from valetkey.identity.svids import SvidReader, TrustDomain
from valetkey.identity.tokens import AccessTokens

URL = "https://valetkey.example.com"
PYJWT = "PyJWT: signature, exp, aud, iss"


@dataclass(frozen=True)
class Cost:
    """Milliseconds each took, round by round; rounds are interleaved."""

    rounds: Mapping[str, list[float]]

    def ratios(self, name: str) -> list[float]:
        """This one's cost over PyJWT's, round by round."""
        return [x / y for x, y in zip(self.rounds[name], self.rounds[PYJWT], strict=True)]

    def lines(self) -> list[str]:
        """A line for each."""
        return [
            f"  {name:44} {median(took) * 1000:7.0f} us   x {median(self.ratios(name)):.2f}"
            for name, took in self.rounds.items()
        ]


def cost(rounds: int, each: int) -> Cost:
    """Each way of verifying, `each` times a round, in turn."""
    ways = _ways(rounds * each)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, once in ways.items():
            began = time.perf_counter()
            for _ in range(each):
                once()
            found[name].append((time.perf_counter() - began) * 1000 / each)
    return Cost(found)


def _ways(proofs: int) -> dict[str, Callable[[], Any]]:
    """Every proof is one that was not seen before, as it is in a request."""
    key = ECKey.generate_key("P-256")
    keys, own, now = SigningKeys(key), DpopKey.new(), datetime.now(UTC)
    tokens = AccessTokens(URL, keys)
    token = tokens.issue(_caller(own.thumbprint, now), now)
    fresh = [tokens.issue(_caller(own.thumbprint, now), now) for _ in range(proofs)]
    unseen = iter(fresh)
    made = iter([own.make_proof("POST", f"{URL}/v1/credentials", token) for _ in range(proofs)])
    loaded = jwt.PyJWK(json.loads(json.dumps(key.as_dict(private=False))), algorithm="ES256")

    def alone() -> object:
        options: Any = {"require": ["exp", "aud", "iss"]}
        return jwt.decode(token, loaded, ["ES256"], options, audience=URL, issuer=URL)

    def ours(shown: str = token) -> Caller:
        return tokens.verify(shown, now)

    def proven() -> object:
        caller = ours()
        sent = Sent((next(made),), "POST", f"{URL}/v1/credentials")
        return verify_dpop(sent, now, token, caller.jkt)

    return {
        PYJWT: alone,
        "our token (RFC 9068), the first time": lambda: ours(next(unseen)),
        "our token, seen before": ours,
        "our token, seen before, with a DPoP proof": proven,
        "a certificate (X.509-SVID), at a token request": _certificate(now),
    }


class _Bundle:
    """One authority, as a trust domain's bundle."""

    def __init__(self, root: Holder) -> None:
        self._found = (root.certificate,)

    def authorities(self) -> Authorities:
        return self._found

    def problem(self) -> str | None:
        return None


def _certificate(now: datetime) -> Callable[[], object]:
    """The whole check of a workload's certificate right under its authority."""
    root = authority()
    keys: Mapping[str, object] = {"keys": []}
    es256 = frozenset({"ES256"})
    record = IssuerRecord(
        "mesh", "spiffe://example.org", "workload", URL, es256, jwks=keys, platform="spiffe"
    )
    reader = SvidReader([TrustDomain(record, _Bundle(root))])
    peer = root.workload("spiffe://example.org/refund-bot").peer
    return lambda: reader.read(peer, now)


def _caller(jkt: str, now: datetime) -> Caller:
    return Caller(
        kind="agent",
        principal=Principal("https://platform.invalid", "refund-bot"),
        jkt=jkt,
        expires_at=now.replace(microsecond=0) + timedelta(seconds=290),
        token_id="bench",
        agent_id="agent_bench",
        agent="bench-bot",
        binding_id="binding_bench",
    )
