"""Moods: how often others act in between, and what goes wrong how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from tests.simulation.scheduler import Mood

Omens = Mapping[str, tuple[float, Sequence[str]]]

_LANES: Omens = {"lane": (0.4, ("apart", "apart", "undone"))}
_BACK_END: Omens = {
    "ask": (0.1, ("unable",)),
    "mint": (0.5, ("refused", "away", "before", "after", "late", "longer")),
    "renew": (0.5, ("refused", "away", "before", "after", "late", "longer")),
    "end": (0.3, ("refused", "away", "after")),
    "look": (0.2, ("away",)),
}
_LATE: Omens = {"mint": (0.8, ("late",)), "renew": (0.5, ("late",)), "look": (0.05, ("away",))}
SLEEPY = 0.12
_SHUT: Omens = {"shut": (0.4, ("alone",)), "trial": (0.4, ("try",))}
_STORE: Omens = {"begin": (0.05, ("away",)), "commit": (0.1, ("away", "lost"))}
_OMENS: Sequence[Omens] = (
    {},
    _LANES,
    {**_BACK_END, **_LANES},
    _BACK_END,
    {**_LATE, **_LANES},
    {**_STORE, **_LANES},
    {**_SHUT, **_LANES, **_BACK_END},
    {**_BACK_END, **_STORE, **_LANES},
)


def mood_of(random: Random) -> Mood:
    """A mood for one schedule: some are calm, some are wild, few are all at once."""
    if random.random() < SLEEPY:
        return Mood(0.0, random.choice((0.04, 0.1)), 0.0, 0.0, _LATE, naps=(30, 100, 135))
    return Mood(
        stay=random.choice((0.0, 0.5, 0.8, 0.95)),
        freeze=random.choice((0.0, 0.0, 0.01, 0.04)),
        crash=random.choice((0.0, 0.0, 0.005, 0.02)),
        jump=random.choice((0.0, 0.0, 0.01, 0.05)),
        omens=random.choice(_OMENS),
    )
