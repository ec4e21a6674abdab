"""Sealing: a credential as a JWE (RFC 7516) that only its asker can open.

ECDH-ES+A256KW (RFC 7518, 4.6) with A256GCM: a fresh ephemeral key and a fresh content key for each
answer. Key, lease and kind stand in the protected header, so that none can be exchanged.
"""

from __future__ import annotations

import json
from typing import Final

from joserfc import jwe
from joserfc.jwk import ECKey, OKPKey
from joserfc.registry import HeaderParameter

from valetkey.core.ids import LeaseId
from valetkey.core.sealing import ALG, ENC, TYP, SealTo
from valetkey.core.secret import Secret

_REGISTRY: Final = jwe.JWERegistry(
    header_registry={"lease": HeaderParameter("the lease", "str", required=True)},
    algorithms=[ALG, ENC],
)


def seal(to: SealTo, lease_id: LeaseId, secret: Secret) -> str:
    """The credential's JSON as a compact JWE to this key; raises what joserfc raises.

    `kid` is the key's thumbprint, `lease` the lease that the credential is of.
    """
    kind = ECKey if to.kty == "EC" else OKPKey
    header = {"alg": ALG, "enc": ENC, "typ": TYP, "kid": to.thumbprint, "lease": lease_id}
    public: dict[str, str | list[str]] = {**to.jwk()}
    plain = json.dumps(secret.reveal(), separators=(",", ":"), ensure_ascii=False)
    return jwe.encrypt_compact(
        header, plain.encode(), kind.import_key(public), registry=_REGISTRY
    )
