"""AWS: tokens of `sts:GetWebIdentityToken`, which an account's own issuer signs.

After "Understanding token claims" of the IAM user guide (outbound identity federation). `sub` is
the ARN of a role or user; what AWS knows besides stands in one object. `request_tags` in it are
what the asker wrote, so nothing may be pinned there.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from valetkey.core.pins import AWS_ACCOUNT_OF, AWS_CLAIM
from valetkey.core.trust import IssuerRecord
from valetkey.identity.jose import BadToken, VerifiedClaims, text
from valetkey.identity.platforms.profile import Habits, Profile

_ACCOUNT: Final = re.compile(r"[0-9]{12}")


def _check(claims: VerifiedClaims, record: IssuerRecord) -> None:
    principal = AWS_ACCOUNT_OF.fullmatch(text(claims, "sub"))
    known = claims.get(AWS_CLAIM)
    if principal is None or not isinstance(known, dict):
        raise BadToken("the token is not that of a role or user of AWS")
    account = text(known, "aws_account")
    if not _ACCOUNT.fullmatch(account) or account != principal["account"]:
        raise BadToken("sub and the claims tell of different accounts")


PROFILE: Final = Profile(
    platform="aws",
    kinds=frozenset({"workload"}),
    habits=Habits(
        algorithms=frozenset({"RS256", "ES384"}),
        max_age=timedelta(hours=1),
        replay="reusable_until_exp",
    ),
    inside={
        AWS_CLAIM: frozenset(
            {"aws_account", "source_region", "org_id", "ou_path", "principal_tags"}
            | {"request_tags", "principal_id", "lambda_source_function_arn"}
            | {"ec2_source_instance_arn", "ec2_role_delivery", "ec2_instance_source_vpc"}
            | {"ec2_instance_source_private_ipv4", "source_identity", "federated_provider"}
            | {"original_session_exp", "identity_store_user_id"}
        )
    },
    check=_check,
    noted=(
        f"{AWS_CLAIM}/source_region",
        f"{AWS_CLAIM}/ec2_source_instance_arn",
        f"{AWS_CLAIM}/lambda_source_function_arn",
        f"{AWS_CLAIM}/source_identity",
    ),
)
