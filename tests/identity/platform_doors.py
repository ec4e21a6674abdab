"""One issuer of one platform, the rule or binding that fits its good token, and the way in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from joserfc.jwk import ECKey

from tests.identity.place import ALLOWS, JWT, TOKEN_URL, US
from valetkey.core.principal import Caller
from valetkey.core.trust import IssuerRecord, TrustRule
from valetkey.identity.authenticator import Authenticator, Behind, Registered
from valetkey.identity.bindings import AgentIdentity
from valetkey.identity.exchange import Exchanged
from valetkey.identity.keys import SigningKeys
from valetkey.identity.oidc import Outside
from valetkey.identity.platforms import PROFILES
from valetkey.testing.issuer import LocalIssuer, dpop_proof, filled
from valetkey.testing.replay import FixedBindings, MemoryUses, VariableTime

ES256 = frozenset({"ES256"})


@dataclass
class Door:
    """An issuer of kind ci with one trust rule, or of kind workload with one bound agent.

    `good` are the claims of a token that is let in; `record` changes the issuer's record.
    """

    issuer: LocalIssuer
    platform: str
    good: Mapping[str, object]
    pins: dict[str, str]
    kind: str = "ci"
    record: dict[str, object] = field(default_factory=dict)
    time: VariableTime = field(default_factory=VariableTime)
    uses: MemoryUses = field(default_factory=MemoryUses)
    keys: SigningKeys = field(default_factory=SigningKeys.generate)
    dpop_key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    told: list[Exchanged] = field(default_factory=list)
    outside: dict[str, Outside] = field(default_factory=dict)

    def registered(self) -> Registered:
        """The issuer as settings would register it, its keys taken from its address."""
        usual = PROFILES[self.platform].habits  # type: ignore[index]
        values: dict[str, object] = {
            "name": "here",
            "issuer": self.issuer.url,
            "kind": self.kind,
            "audience": US,
            "algorithms": ES256,
            "jwks_uri": self.issuer.jwks_uri,
            "typ": usual.typ,
            "max_age": usual.max_age,
            "max_life": usual.max_life,
            "replay": usual.replay,
            "platform": self.platform,
        }
        record = IssuerRecord(**filled(values, self.record))  # type: ignore[arg-type]
        rules = (TrustRule("refunds", "here", self.pins, ALLOWS),) if self.kind == "ci" else ()
        return Registered((record,), rules, outside=self.outside)

    def token(self, header: Mapping[str, object] | None = None, /, **claims: object) -> str:
        """The platform's good token for us, with changes."""
        at = self.time.at.timestamp()
        return self.issuer.sign(at, {"aud": US, **self.good, **claims}, header)

    def enter(self, token: str) -> Caller:
        """Exchange a token at a fresh replica, and who that made us."""
        bot = AgentIdentity("agent_bot", "refund-bot", "binding_1")
        bindings = FixedBindings([("here", self.pins, bot)] if self.kind == "workload" else [])
        behind = Behind(self.uses, bindings, self.time.now, self.told.append)
        replica = Authenticator(US, self.keys, self.registered(), behind)
        said = {"htm": "POST", "htu": TOKEN_URL}
        proof = dpop_proof(self.dpop_key, self.time.at.timestamp(), said)
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": JWT,
        }
        replica.exchange(form, [proof], TOKEN_URL)
        return self.told[-1].caller


@contextmanager
def door(
    platform: str, good: Mapping[str, object], pins: Mapping[str, str], kind: str = "ci"
) -> Iterator[Door]:
    """A door with its issuer running."""
    with LocalIssuer() as issuer:
        yield Door(issuer, platform, good, dict(pins), kind)
