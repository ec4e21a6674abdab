"""Any other OpenID Connect issuer: what its claims mean is said in the settings alone."""

from __future__ import annotations

from typing import Final

from valetkey.identity.platforms.profile import Habits, Profile

PROFILE: Final = Profile(
    platform="generic", kinds=frozenset({"workload", "ci", "people"}), habits=Habits()
)
