"""How an agent differs from the reviewed file that says what it should be; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from valetkey.core.agent import Agent, Binding, Identity
from valetkey.core.scope import Scope, within_any
from valetkey.flows.agents import NewAgent

What = Literal["create", "change", "narrow", "widen", "bind", "unbind", "withdraw"]


@dataclass(frozen=True)
class Change:
    """One line of a plan; `waits` is true of what a person must accept first."""

    what: What
    part: str
    was: str = ""
    becomes: str = ""
    waits: bool = False


@dataclass(frozen=True)
class Differences:
    """What is to be done about one agent.

    `at_once` is the boundary that it may have without asking anybody: of the wanted one what it
    has already, and of its own what the wanted one contains. `boundary` is the wanted one.
    """

    fields: Mapping[str, object] = field(default_factory=dict)
    at_once: tuple[Scope, ...] = ()
    boundary: tuple[Scope, ...] = ()
    narrows: bool = False
    widens: bool = False
    bind: tuple[Identity, ...] = ()
    unbind: tuple[Binding, ...] = ()


def compare(agent: Agent, bindings: Sequence[Binding], new: NewAgent) -> Differences:
    """What makes this agent the wanted one; its name and owner are not looked at."""
    fields: dict[str, object] = {}
    if agent.team != new.team:
        fields["team"] = new.team
    if dict(agent.labels) != dict(new.labels):
        fields["labels"] = dict(new.labels)
    wanted = identities(new)
    held = {one.identity for one in bindings}
    return Differences(
        fields=fields,
        at_once=_met(agent.boundary, new.boundary),
        boundary=new.boundary,
        narrows=not all(within_any(scope, new.boundary) for scope in agent.boundary),
        widens=not all(within_any(scope, agent.boundary) for scope in new.boundary),
        bind=tuple(one for one in wanted if one not in held),
        unbind=tuple(one for one in bindings if one.identity not in wanted),
    )


def identities(new: NewAgent) -> tuple[Identity, ...]:
    """The bindings that a file wants, each once."""
    return tuple(dict.fromkeys(one.identity for one in new.bindings))


def listed(agent: Agent, differences: Differences, *, waits: bool) -> Iterator[Change]:
    """The same as lines of a plan; `waits`: what widens waits for a person."""
    for name, value in differences.fields.items():
        yield Change("change", name, _text(getattr(agent, name)), _text(value))
    was, becomes = _scopes(agent.boundary), _scopes(differences.boundary)
    if differences.narrows:
        met = differences.at_once if differences.widens else differences.boundary
        yield Change("narrow", "boundary", was, _scopes(met))
    if differences.widens:
        yield Change("widen", "boundary", was, becomes, waits)
    for issuer, claims in differences.bind:
        yield Change("bind", "bindings", "", said(issuer, claims), waits)
    for binding in differences.unbind:
        yield Change("unbind", "bindings", said(binding.issuer, binding.claims), "")


def said(issuer: str, claims: Sequence[tuple[str, str]]) -> str:
    """An identity in one line."""
    return " ".join([issuer, *(f"{name}={value}" for name, value in sorted(claims))])


def _met(held: tuple[Scope, ...], wanted: tuple[Scope, ...]) -> tuple[Scope, ...]:
    """What both contain, without asking for more than either has."""
    kept = [scope for scope in wanted if within_any(scope, held)]
    kept += [scope for scope in held if within_any(scope, wanted) and scope not in kept]
    return tuple(kept)


def _scopes(boundary: tuple[Scope, ...]) -> str:
    return " ".join(map(str, boundary)) or "nothing"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={value[name]}" for name in sorted(value)) or "none"
    return str(value)
