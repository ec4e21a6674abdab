"""What could be had instead: the nearest shorter time or other scope that policy would not deny.

Nothing is guessed: each answer was decided, as a request for it would be, by everybody who must
allow it. It is looked for only where something was refused, among a bounded number of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice, product

from valetkey.core.catalogue import Catalogue, CataloguedScope, Parameter, ScopeDefinition
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.errors import BrokerError
from valetkey.core.scope import Scope

Decide = Callable[[Question], Decision]
MOST_SCOPES = 16
MOST_TRIED = 256
CLOSE = timedelta(seconds=1)


@dataclass(frozen=True)
class Nearest:
    """What would not be denied: a scope, or the scopes of a task, for so long.

    With `needs_approval` people would be asked first.
    """

    scopes: tuple[Scope, ...]
    ttl: timedelta
    needs_approval: bool

    def told(self) -> dict[str, object]:
        """The same as callers are told it; the time in seconds."""
        return {
            "scopes": [str(scope) for scope in self.scopes],
            "ttl": int(self.ttl.total_seconds()),
            "outcome": "needs_approval" if self.needs_approval else "allow",
        }


def nearest_ask(
    decide: Decide, catalogue: Catalogue, question: Question, fits: Callable[[Scope], bool]
) -> Nearest | None:
    """The nearest to a credential that was denied: the same scope for less time, or another one.

    Others are of the same target: the same action with other listed values, then such as change
    nothing. `fits` says whether task and boundaries reach a scope.
    """
    wanted = question.wanted
    if wanted is None:
        return None
    if fits(wanted.scope) and (ttl := _longest(decide, question)) is not None:
        return _found(decide, replace(question, ttl=ttl), (wanted.scope,))
    for other in islice(_others(catalogue, wanted, fits), MOST_SCOPES):
        ttl = min(question.ttl, other.definition.max_ttl)
        found = _found(decide, replace(question, wanted=other, ttl=ttl), (other.scope,))
        if found is not None:
            return found
    return None


def nearest_task(decide: Decide, question: Question) -> Nearest | None:
    """The nearest to a task that was denied: the same for less time, or with fewer scopes.

    Nobody can be asked for a task, so only what is allowed outright counts.
    """

    def outright(other: Question) -> Decision:
        decision = ask(other)
        allowed = decision.outcome is Outcome.ALLOW
        return decision if allowed else replace(decision, outcome=Outcome.DENY)

    ask, decide = decide, outright
    scopes = question.task_scopes
    if (ttl := _longest(decide, question)) is not None:
        return _found(decide, replace(question, ttl=ttl), scopes)
    alone = (scope for scope in scopes[:MOST_SCOPES] if len(scopes) > 1)
    good = tuple(x for x in alone if _found(decide, replace(question, task_scopes=(x,)), (x,)))
    for fewer in (good, *((x,) for x in good)):
        found = _found(decide, replace(question, task_scopes=fewer), fewer) if fewer else None
        if found is not None:
            return found
    return None


def _found(decide: Decide, question: Question, scopes: tuple[Scope, ...]) -> Nearest | None:
    decision = decide(question)
    if decision.outcome is Outcome.DENY:
        return None
    return Nearest(scopes, question.ttl, decision.outcome is Outcome.NEEDS_APPROVAL)


def _longest(decide: Decide, question: Question) -> timedelta | None:
    """A time shorter than the denied one that is not denied, as long as halving finds it."""
    denied = question.ttl
    allowed = next((t for t in _halves(denied) if _passes(decide, question, t)), None)
    if allowed is None:
        return None
    too_long = min(denied, 2 * allowed + CLOSE)
    while too_long - allowed > CLOSE:
        middle = timedelta(seconds=int((allowed + too_long).total_seconds() / 2))
        if _passes(decide, question, middle):
            allowed = middle
        else:
            too_long = middle
    return allowed


def _halves(ttl: timedelta) -> Iterator[timedelta]:
    seconds = int(ttl.total_seconds()) // 2
    while seconds > 0:
        yield timedelta(seconds=seconds)
        seconds //= 2


def _passes(decide: Decide, question: Question, ttl: timedelta) -> bool:
    return decide(replace(question, ttl=ttl)).outcome is not Outcome.DENY


def _others(
    catalogue: Catalogue, wanted: CataloguedScope, fits: Callable[[Scope], bool]
) -> Iterator[CataloguedScope]:
    """Other scopes of the target that task and boundaries reach, the most alike first."""
    target = wanted.target
    same = target.scopes[wanted.scope.name]
    reading = [one for one in target.scopes.values() if not one.mutates and one != same]
    for definition in (same, *reading):
        for values in islice(product(*_values(definition, wanted.scope)), MOST_TRIED):
            names = (parameter.name for parameter in definition.parameters)
            pairs = tuple(sorted(zip(names, values, strict=True)))
            scope = Scope(target.name, definition.name, pairs)
            if scope != wanted.scope and fits(scope):
                try:
                    yield catalogue.find(scope)
                except BrokerError:
                    continue


def _values(definition: ScopeDefinition, asked: Scope) -> Iterator[Sequence[str]]:
    """For each parameter the asked value, if it has one that fits, then the other listed ones."""
    given = dict(asked.parameters)
    for parameter in definition.parameters:
        kept = [given[parameter.name]] if _accepts(parameter, given.get(parameter.name)) else []
        yield kept + [value for value in parameter.values if value not in kept]


def _accepts(parameter: Parameter, value: str | None) -> bool:
    try:
        parameter.check(value or "")
    except BrokerError:
        return False
    return True
