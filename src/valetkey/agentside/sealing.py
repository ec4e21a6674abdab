"""The key that credentials are sealed to: made by this process, kept in its memory, never shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.registry import HeaderParameter

from valetkey.agentside.wire import Refusal
from valetkey.core.sealing import ALG, ENC, TYP

_REGISTRY: Final = jwe.JWERegistry(
    header_registry={"lease": HeaderParameter("the lease", "str", required=True)},
    algorithms=[ALG, ENC],
)


class CannotBeOpened(Refusal):
    """What came is not sealed to our key, for our lease, or it was changed on the way.

    It is our own refusal, with status 0 and the code `sealing_failed`.
    """

    def __init__(self, detail: str) -> None:
        told = {
            "code": "sealing_failed",
            "detail": detail,
            "next_action": "Ask again under a new idempotency key; look at what is in between.",
        }
        super().__init__(0, told)


class SealingKey:
    """A P-256 key that only this process holds; it prints nothing but its name."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256")

    @property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint, by which people and facts name it."""
        return self._key.thumbprint()

    def jwk(self) -> dict[str, Any]:
        """The public part, as `seal_to` takes it."""
        public = self._key.as_dict(private=False)
        return {name: public[name] for name in ("kty", "crv", "x", "y")}

    def open(self, sealed: object, lease_id: str) -> dict[str, Any]:
        """The credential of this lease in a compact JWE; raises CannotBeOpened.

        Its header must be exactly what the broker writes: our key, that lease, and our algorithms.
        """
        if not isinstance(sealed, str):
            raise CannotBeOpened("the sealed answer is not a text")
        try:
            found = jwe.decrypt_compact(sealed, self._key, registry=_REGISTRY)
            credential = json.loads(found.plaintext or b"")
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            raise CannotBeOpened("the sealed answer cannot be opened with our key") from None
        if self._header(lease_id) != {**found.protected, "epk": None}:
            raise CannotBeOpened("the sealed answer is another one than was asked for")
        if not isinstance(credential, dict):
            raise CannotBeOpened("the sealed answer holds no credential")
        return credential

    def _header(self, lease_id: str) -> Mapping[str, object]:
        known = {"alg": ALG, "enc": ENC, "typ": TYP, "kid": self.thumbprint, "lease": lease_id}
        return {**known, "epk": None}

    def __repr__(self) -> str:
        return f"SealingKey({self.thumbprint})"
