"""What a trust rule or a binding must pin, by the platform that signed the identity.

Names can be taken over, reused or typed again by somebody else; the platform's own ids cannot.
So each platform says which claims must be fixed before anything may be trusted to a token of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

from valetkey.core.errors import TrustRuleTooWide
from valetkey.core.spiffe import SpiffeId

Platform = Literal["generic", "github-actions", "gitlab", "kubernetes", "spiffe", "aws"]

GITHUB_PULL_REQUESTS: Final = frozenset(
    {"pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment"}
)
"""Events that a fork may cause; the token does not say whether one did."""
AWS_CLAIM: Final = "https://sts.amazonaws.com/"
"""The claim under which AWS says all it knows besides the standard ones."""
AWS_ACCOUNT_OF: Final = re.compile(
    r"arn:aws[a-z-]*:iam::(?P<account>[0-9]{12}):(?:role|user)/[A-Za-z0-9+=,.@_/-]+"
)
"""An IAM role or user, as AWS writes it in `sub`."""
_ACCOUNT: Final = ("namespace", "serviceaccount/name", "serviceaccount/uid")
_WHERE: Final = (frozenset({"environment"}), frozenset({"ref", "ref_type"}))
_BOOLEANS: Final = frozenset({"ref_protected", "environment_protected"})
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")


def check_pins(platform: Platform, pins: Mapping[str, str]) -> None:
    """Raise TrustRuleTooWide unless these exact claim values fix what the platform demands.

    A generic issuer demands nothing here; what every rule and binding must pin is in `trust`.
    """
    if platform in _RULES:
        _RULES[platform](pins)


def _github(pins: Mapping[str, str]) -> None:
    """Ids, a place and an event; names and `sub` may be pinned as well, but prove nothing."""
    _need(pins, "repository_id", "repository_owner_id", "event_name")
    _numbers(pins, "repository_id", "repository_owner_id")
    _somewhere(pins)
    if pins["event_name"] in GITHUB_PULL_REQUESTS:
        raise TrustRuleTooWide("a pull request may come from a fork; no token of one is accepted")


def _gitlab(pins: Mapping[str, str]) -> None:
    """Ids and a place; GitLab writes its booleans as the texts "true" and "false"."""
    _need(pins, "project_id", "namespace_id")
    _numbers(pins, "project_id", "namespace_id")
    _somewhere(pins)
    if any(pins.get(name, "true") not in ("true", "false") for name in _BOOLEANS):
        raise TrustRuleTooWide('ref_protected and environment_protected are "true" or "false"')


def _kubernetes(pins: Mapping[str, str]) -> None:
    """The service account by its name and its uid: a name can be made again."""
    _need(pins, *(f"kubernetes.io/{name}" for name in _ACCOUNT))


def _spiffe(pins: Mapping[str, str]) -> None:
    """One SPIFFE ID, whole."""
    _need(pins, "sub")
    try:
        SpiffeId.parse(pins["sub"])
    except ValueError as bad:
        raise TrustRuleTooWide(str(bad)) from None


def _aws(pins: Mapping[str, str]) -> None:
    """One role or user; never what the asker may write."""
    _need(pins, "sub")
    if not AWS_ACCOUNT_OF.fullmatch(pins["sub"]):
        raise TrustRuleTooWide("sub is the ARN of one role or user")
    if any(name.startswith(f"{AWS_CLAIM}/request_tags") for name in pins):
        raise TrustRuleTooWide("request_tags are what the asker writes; they prove nothing")


def _need(pins: Mapping[str, str], *names: str) -> None:
    missing = [name for name in names if not pins.get(name)]
    if missing:
        raise TrustRuleTooWide(f"on this platform these are pinned too: {', '.join(missing)}")


def _numbers(pins: Mapping[str, str], *names: str) -> None:
    if not all(_NUMBER.fullmatch(pins[name]) for name in names):
        raise TrustRuleTooWide("an id of this platform is a number, written as text")


def _somewhere(pins: Mapping[str, str]) -> None:
    if not any(all(pins.get(name) for name in way) for way in _WHERE):
        raise TrustRuleTooWide("pin environment, or ref and ref_type")


_RULES: Final[Mapping[Platform, Callable[[Mapping[str, str]], None]]] = {
    "github-actions": _github,
    "gitlab": _gitlab,
    "kubernetes": _kubernetes,
    "spiffe": _spiffe,
    "aws": _aws,
}
