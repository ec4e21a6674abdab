"""What a kill names: the id or name it is kept under, and whether we know anything of it."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from valetkey.core.errors import InvalidRequest, NotFound, NotReady, RoleRequired
from valetkey.core.kill import VENDOR, Height
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.ports import Broker, Transaction

CLOSEST = 3
"""How many names that are close to a misspelt one are told."""


def may_order(caller: Caller, height: Height, subject: str) -> None:
    """Raise RoleRequired for all but operators, InvalidRequest when nothing sound is named."""
    if "operator" not in caller.roles:
        raise RoleRequired()
    if (height is Height.EVERYTHING) != (subject == ""):
        raise InvalidRequest("name what to kill at every height but everything")


def known_subject(broker: Broker, tx: Transaction, height: Height, subject: str) -> str:
    """The subject that a kill is kept under: an agent may be named, a scope is written one way.

    An owner's address may be written in any case. Raises NotFound for what nobody knows, for a
    misspelt name must not look like a kill that worked; InvalidRequest or InvalidParameter for a
    text that is no scope.
    """
    if height is Height.EVERYTHING:
        return ""
    if height is Height.AGENT and (named := tx.agent_named(subject)) is not None:
        return named.id
    if height is Height.PERSON and " " not in subject:
        subject = subject.casefold()  # an address; a principal holds a space
    if height is Height.SCOPE:
        subject = str(Scope.parse(subject))
    if _in_catalogue(broker, height, subject) or tx.has_subject(height, subject):
        return subject
    names = _names(broker, tx, height)
    if height is Height.OWNER and (spelt := _spelt(subject, names)) is not None:
        return spelt
    raise NotFound(_nothing(height, subject, names))


def _spelt(subject: str, owners: Collection[str]) -> str | None:
    """The owner that is meant however the address is written; None when nobody has it.

    Raises InvalidRequest where several spellings are in use: a kill has one subject, and must not
    leave the others out unsaid.
    """
    meant = sorted(owner for owner in owners if owner.casefold() == subject.casefold())
    if len(meant) > 1:
        raise InvalidRequest("agents have it written as " + " and ".join(meant) + ": name each")
    return meant[0] if meant else None


def _nothing(height: Height, subject: str, names: Collection[str]) -> str:
    """That nothing is covered, and which of our names are close to what was written."""
    folded = {name.casefold(): name for name in names}
    close = [folded[x] for x in get_close_matches(subject.casefold(), sorted(folded), CLOSEST)]
    nothing = f"Nothing is covered: we know no such {height.value}."
    return f"{nothing} Close to it: {', '.join(close)}." if close else nothing


def _names(broker: Broker, tx: Transaction, height: Height) -> frozenset[str]:
    """What people call things at this height, where they do; ids are not guessed at."""
    match height:
        case Height.AGENT:
            return frozenset(agent.name for agent in tx.agents())
        case Height.OWNER:
            return frozenset(agent.owner for agent in tx.agents())
        case Height.VENDOR:
            labels = (agent.labels for agent in tx.agents())
            return frozenset(one[VENDOR] for one in labels if VENDOR in one)
        case Height.ISSUER:
            return frozenset(broker.platforms)
        case Height.TARGET:
            return frozenset(broker.rules().catalogue.targets)
        case Height.SCOPE:
            targets = broker.rules().catalogue.targets.values()
            return frozenset(f"{one.name}:{action}" for one in targets for action in one.scopes)
        case _:
            return frozenset()


def _in_catalogue(broker: Broker, height: Height, subject: str) -> bool:
    """Whether the catalogue has this; without one in force nobody can say that it has not.

    Somebody who kills while our own rules cannot be read must not be sent away for that.
    """
    if height not in {Height.TARGET, Height.SCOPE}:
        return False
    target, _, action = subject.partition("{")[0].partition(":")
    try:
        found = broker.rules().catalogue.targets.get(target)
    except NotReady:
        return True
    return found is not None and (height is Height.TARGET or action in found.scopes)
