"""What a kill names: the id or name it is kept under, and whether we know anything of it."""

from __future__ import annotations

from valetkey.core.errors import InvalidRequest, NotFound, NotReady, RoleRequired
from valetkey.core.kill import Height
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.ports import Broker, Transaction


def may_order(caller: Caller, height: Height, subject: str) -> None:
    """Raise RoleRequired for all but operators, InvalidRequest when nothing sound is named."""
    if "operator" not in caller.roles:
        raise RoleRequired()
    if (height is Height.EVERYTHING) != (subject == ""):
        raise InvalidRequest("name what to kill at every height but everything")


def known_subject(broker: Broker, tx: Transaction, height: Height, subject: str) -> str:
    """The subject that a kill is kept under: an agent may be named, a scope is written one way.

    Raises NotFound for what nobody knows, for a misspelt name must not look like a kill that
    worked; InvalidRequest or InvalidParameter for a text that is no scope.
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
    raise NotFound()


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
