"""Kubernetes: the projected token of a service account, bound to a pod.

After "Managing Service Accounts" of the Kubernetes documentation. The object `kubernetes.io` holds
namespace, service account and pod, each with a uid; accounts are pinned by name and uid, because a
name can be made again. The signature alone cannot tell that the pod or account is gone: the
cluster's API server is asked about each token (identity/api_server.py). Tokens of the older kind,
kept in secrets, have no end and no audience, and tokens bound to no pod outlive everything: both
are refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from valetkey.core.trust import IssuerRecord
from valetkey.identity.jose import BadToken, VerifiedClaims, text
from valetkey.identity.platforms.profile import Claims, Habits, Profile

CLAIM: Final = "kubernetes.io"
_LEGACY: Final = "kubernetes.io/serviceaccount"


def _check(claims: VerifiedClaims, record: IssuerRecord) -> None:
    bound = _object(claims, CLAIM)
    if "secret" in bound:
        raise BadToken("the token is bound to a secret, not to a pod")
    namespace, account = text(bound, "namespace"), _object(bound, "serviceaccount")
    for one in (account, _object(bound, "pod")):
        text(one, "name")
        text(one, "uid")
    if claims["sub"] != f"system:serviceaccount:{namespace}:{account['name']}":
        raise BadToken("sub and the claims tell of different service accounts")


def _object(claims: Claims, name: str) -> dict[str, object]:
    found = claims.get(name)
    if not isinstance(found, dict):
        raise BadToken("the token is not that of a pod's service account")
    return found


PROFILE: Final = Profile(
    platform="kubernetes",
    kinds=frozenset({"workload"}),
    habits=Habits(
        algorithms=frozenset({"RS256", "ES256", "ES384"}),
        max_age=timedelta(hours=1),
        replay="reusable_until_exp",
    ),
    uncheckable=frozenset(
        f"{_LEGACY}/{name}"
        for name in ("namespace", "secret.name", "service-account.name", "service-account.uid")
    ),
    inside={CLAIM: frozenset({"namespace", "serviceaccount", "pod", "node", "warnafter"})},
    check=_check,
    vouched=True,
    noted=(f"{CLAIM}/pod/name", f"{CLAIM}/pod/uid", f"{CLAIM}/node/name"),
)
