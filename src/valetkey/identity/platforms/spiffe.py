"""SPIFFE: the JWT-SVID of a workload, under the keys of its trust domain's bundle.

After the JWT-SVID specification. The issuer's record is the trust domain (`spiffe://example.org`);
it is chosen by `sub`, because an SVID need not have `iss`. Keys come from the configured bundle
alone, and only those that are for JWT-SVIDs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from valetkey.core.spiffe import SpiffeId, is_trust_domain
from valetkey.core.trust import IssuerRecord
from valetkey.identity.jose import BadToken, VerifiedClaims, text
from valetkey.identity.platforms.profile import Habits, Profile

ALGORITHMS: Final = frozenset(
    f"{kind}{size}" for kind in ("RS", "ES", "PS") for size in (256, 384, 512)
)


def _check(claims: VerifiedClaims, record: IssuerRecord) -> None:
    try:
        workload = SpiffeId.parse(text(claims, "sub"))
    except ValueError as bad:
        raise BadToken(str(bad)) from None
    if workload.authority != record.issuer:
        raise BadToken("the SPIFFE ID is of another trust domain")


def _check_record(record: IssuerRecord) -> None:
    if not is_trust_domain(record.issuer):
        raise ValueError(f"issuer {record.name}: a trust domain is written spiffe://NAME")
    if not record.algorithms <= ALGORITHMS:
        raise ValueError(f"issuer {record.name}: JWT-SVIDs are not signed with these algorithms")


PROFILE: Final = Profile(
    platform="spiffe",
    kinds=frozenset({"workload"}),
    habits=Habits(
        algorithms=ALGORITHMS,
        typ=frozenset({"jwt", "jose", ""}),
        max_age=timedelta(hours=1),
        replay="reusable_until_exp",
    ),
    header=frozenset({"alg", "kid", "typ"}),
    key_use="jwt-svid",
    dated=False,
    check=_check,
    check_record=_check_record,
)
