"""Once-only use, through the store, so that it holds across replicas and restarts."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from valetkey.core.errors import KeyMismatch, ProofReplayed, TokenExpired
from valetkey.identity.oidc import VerifiedProof
from valetkey.ports import Uses as Uses

MARGIN: Final = timedelta(minutes=2)


def spend_proof(uses: Uses, proof: VerifiedProof, jkt: str) -> None:
    """Use an outside proof up, as its issuer's record says.

    Raises ProofReplayed when it was used before, KeyMismatch when another key used it first.
    """
    record = proof.record
    until = datetime.fromtimestamp(proof.expires, UTC) + MARGIN
    if record.replay == "reusable_until_exp":
        if uses.pin(_digest(record.issuer, proof.signed_part), jkt, until) != jkt:
            raise KeyMismatch("another key used this proof first")
        return
    word = proof.signed_part if record.replay == "token_hash" else str(proof.claims["jti"])
    if not uses.first_use(f"proof:{record.replay}", _digest(record.issuer, word), until):
        raise ProofReplayed()


def spend_once(uses: Uses, slot: str, words: tuple[str, ...], until: datetime) -> None:
    """Use up a `jti` within a slot; raises ProofReplayed when it was used before."""
    if not uses.first_use(slot, _digest(*words), until + MARGIN):
        raise ProofReplayed()


def spend_with(uses: Uses, token_id: str, words: tuple[str, ...], until: datetime) -> None:
    """Use up the DPoP `jti` that came with a token of ours, unless that token was revoked.

    It asks once for both. Raises TokenExpired for a revoked token, else ProofReplayed.
    """
    if uses.first_use("dpop", _digest(*words), until + MARGIN, token_id):
        return
    check_unrevoked(uses, token_id)
    raise ProofReplayed()


def check_unrevoked(uses: Uses, token_id: str) -> None:
    """Raise TokenExpired for a token of ours that was revoked."""
    if uses.is_revoked(token_id):
        raise TokenExpired("the token was revoked")


def _digest(*words: str) -> str:
    """A fixed-size key without ambiguity: SHA-256 over each word with its length."""
    digest = hashlib.sha256()
    for word in words:
        raw = word.encode()
        digest.update(len(raw).to_bytes(4) + raw)
    return digest.hexdigest()
