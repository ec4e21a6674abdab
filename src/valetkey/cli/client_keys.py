"""An agent's own key from a file, as the public members that are bound."""

from __future__ import annotations

import json
from pathlib import Path

import click

from valetkey.core.client_key import check_client_key
from valetkey.core.errors import InvalidRequest

_KEPT = ("kty", "crv", "x", "y")


def public_members(path: Path) -> dict[str, str]:
    """The members of a P-256 or Ed25519 key that its RFC 7638 thumbprint is made of.

    The file is a JWK or a PEM, and may be private: no private member leaves it. Raises UsageError
    for any other, without a word of what is in it.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey

    raw = path.read_text()
    for kind in (ECKey, OKPKey):
        try:
            key = kind.import_key(json.loads(raw) if raw.lstrip().startswith("{") else raw)
            public = key.as_dict(private=False)
            members = {name: str(public[name]) for name in _KEPT if name in public}
            check_client_key(members.items())
        except (JoseError, ValueError, TypeError, KeyError, InvalidRequest):
            continue
        return members
    raise click.UsageError("the key file holds no P-256 or Ed25519 key, as JWK or PEM")
