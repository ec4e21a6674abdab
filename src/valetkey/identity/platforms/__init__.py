"""What the tokens of each platform are like: one file each, every claim of it accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from valetkey.core.pins import Platform
from valetkey.identity.platforms import aws, generic, github_actions, gitlab, kubernetes, spiffe
from valetkey.identity.platforms.profile import Profile

PROFILES: Final[Mapping[Platform, Profile]] = {
    "generic": generic.PROFILE,
    "github-actions": github_actions.PROFILE,
    "gitlab": gitlab.PROFILE,
    "kubernetes": kubernetes.PROFILE,
    "spiffe": spiffe.PROFILE,
    "aws": aws.PROFILE,
}
