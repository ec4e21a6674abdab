"""Which permission an IAM request needs, and what IAM refuses before moto sees it.

"Actions, resources, and condition keys for AWS Identity and Access Management". Of a role
its inline and managed policies and its permissions boundary are judged, of a user only the
first two; what else would change a verdict is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from valetkey.devstack.aws import documents
from valetkey.devstack.aws.asked import Malformed, Request
from valetkey.devstack.aws.directory import ACCOUNT, INLINE_LIMIT, Directory
from valetkey.devstack.aws.wire import Refused, not_judged

_LOOKS = ("Get", "List")
_KINDS = (("RoleName", "role"), ("UserName", "user"), ("InstanceProfileName", "instance-profile"))


def read(form: Mapping[str, str], directory: Directory, own_user: str | None) -> Request:
    """Return the permission that an IAM call needs; `own_user` is meant where none is named."""
    action = form.get("Action", "")
    if "PolicyArn" in form and "RoleName" not in form and "UserName" not in form:
        return Request(f"iam:{action}", form["PolicyArn"])
    for parameter, kind in _KINDS:
        if parameter in form:
            return Request(f"iam:{action}", _arn(kind, form, parameter, directory))
    if own_user is not None and action in ("GetUser", "ListAccessKeys", "CreateAccessKey"):
        return Request(f"iam:{action}", f"arn:aws:iam::{ACCOUNT}:user/{own_user}")
    return Request(f"iam:{action}", "*")


def _arn(kind: str, form: Mapping[str, str], parameter: str, directory: Directory) -> str:
    name = form[parameter]
    role = directory.role(name) if kind == "role" else None
    return role.arn if role else f"arn:aws:iam::{ACCOUNT}:{kind}{form.get('Path', '/')}{name}"


def changes(form: Mapping[str, str]) -> bool:
    """Tell whether the call may change something."""
    return not form.get("Action", "").startswith(_LOOKS)


def check(form: Mapping[str, str], directory: Directory) -> None:
    """Refuse what AWS refuses of policy documents, and what would escape our judgement.

    Raises Refused; Unsupported for documents we cannot judge.
    """
    action = form.get("Action", "")
    if "PermissionsBoundary" in form and "RoleName" not in form:
        raise not_judged("permissions boundaries of users")
    if "Group" in action:
        raise not_judged("groups of users")
    try:
        if "PolicyDocument" in form:
            trust = action == "UpdateAssumeRolePolicy"
            documents.read(form["PolicyDocument"], trust=trust)
        if "AssumeRolePolicyDocument" in form:
            documents.read(form["AssumeRolePolicyDocument"], trust=True)
    except Malformed as error:
        raise Refused(400, "MalformedPolicyDocument", str(error)) from error
    if action == "PutRolePolicy":
        _check_size(form, directory)


def _check_size(form: Mapping[str, str], directory: Directory) -> None:
    role = form.get("RoleName", "")
    size = directory.inline_size(role, form.get("PolicyName", ""), form.get("PolicyDocument", ""))
    if size > INLINE_LIMIT:
        raise Refused(
            409,
            "LimitExceeded",
            f"Maximum policy size of {INLINE_LIMIT} bytes exceeded for role {role}",
        )
