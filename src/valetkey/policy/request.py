"""One question as Cedar's input: data only, nothing is pasted into policy text.

The same value is recorded with the decision, so that it can be decided again for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

from valetkey.core.catalogue import Catalogue, CataloguedScope
from valetkey.core.decision import Question
from valetkey.core.scope import Scope
from valetkey.policy.schema import BROKER, START_TASK, action_of


def recorded_input(
    question: Question, catalogue: Catalogue, groups: Iterable[str]
) -> dict[str, Any]:
    """The whole input as JSON-able data: principal, action, resource, context, entities, now.

    Approvals of groups outside `groups` are left out: they can only ever have allowed more.
    """
    wanted = question.wanted
    return {
        "principal": {"type": "Agent", "id": question.agent.id},
        "action": {"type": "Action", "id": _action(wanted)},
        "resource": {"type": "Target", "id": wanted.target.name} if wanted else BROKER,
        "context": _context(question, catalogue, groups),
        "entities": [_agent(question), _resource(wanted)],
        "now": question.now.astimezone(UTC).isoformat(),
    }


def with_approvals(recorded: Mapping[str, Any], approvals: Mapping[str, int]) -> dict[str, Any]:
    """The same input with other approvals."""
    context = {**recorded["context"], "approvals": dict(approvals)}
    return {**recorded, "context": context}


def request_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the input that Cedar calls the request."""
    return {key: recorded[key] for key in ("principal", "action", "resource", "context")}


def refitted(
    recorded: Mapping[str, Any], catalogue: Catalogue, groups: Iterable[str]
) -> dict[str, Any]:
    """A recorded input as it would be asked under this catalogue and these groups.

    Raises UnknownScope or InvalidParameter when the catalogue does not know what it asks for,
    KeyError or TypeError when nothing whole was recorded.
    """
    context = dict(recorded["context"])
    wanted = _wanted(recorded, catalogue)
    task = context["task"]
    scopes = [Scope.parse(text) for text in task["scopes"]]
    mutates = any(_mutates(catalogue, scope.target, scope.name) for scope in scopes)
    context["task"] = {**task, "mutates": mutates}
    had = context["approvals"]
    context["approvals"] = {group: had.get(group, 0) for group in sorted(groups)}
    if wanted is not None:
        context["parameters"] = _parameters(wanted)
    whole = ("principal", "action", "resource", "now")
    entities = [recorded["entities"][0], _resource(wanted)]
    return {**{key: recorded[key] for key in whole}, "context": context, "entities": entities}


def _wanted(recorded: Mapping[str, Any], catalogue: Catalogue) -> CataloguedScope | None:
    action = recorded["action"]["id"]
    if action == START_TASK:
        return None
    target, _, name = action.partition(":")
    given = recorded["context"]["parameters"]
    pairs = tuple(sorted((key, str(value)) for key, value in given.items()))
    return catalogue.find(Scope(target, name, pairs))


def _action(wanted: CataloguedScope | None) -> str:
    return action_of(wanted.target.name, wanted.definition.name) if wanted else START_TASK


def _agent(question: Question) -> dict[str, Any]:
    agent = question.agent
    return {
        "uid": {"type": "Agent", "id": agent.id},
        "attrs": {
            "name": agent.name,
            "owner": agent.owner,
            "team": agent.team,
            "environment": agent.environment,
        },
        "tags": dict(sorted(agent.labels.items())),
        "parents": [],
    }


def _resource(wanted: CataloguedScope | None) -> dict[str, Any]:
    if wanted is None:
        return {"uid": BROKER, "attrs": {}, "parents": []}
    target = wanted.target
    return {
        "uid": {"type": "Target", "id": target.name},
        "attrs": {
            "environment": target.environment,
            "owner": target.owner,
            "data_classes": sorted(target.data_classes),
        },
        "parents": [],
    }


def _context(question: Question, catalogue: Catalogue, groups: Iterable[str]) -> dict[str, Any]:
    now = question.now.astimezone(UTC)
    context: dict[str, Any] = {
        "task": _task(question, catalogue),
        "ttl": int(question.ttl.total_seconds()),
        "depth": question.depth,
        "hour": now.hour,
        "weekday": now.isoweekday(),
        "untrusted_input": question.untrusted_input,
        "approvals": {group: question.approvals.get(group, 0) for group in sorted(groups)},
    }
    if question.person is not None:
        person = question.person
        context["on_behalf_of"] = person.principal
        context["person"] = {"email": person.email, "groups": sorted(person.groups)}
    if question.delegated_by is not None:
        context["delegated_by"] = question.delegated_by
    if question.wanted is not None:
        context["parameters"] = _parameters(question.wanted)
    return context


def _task(question: Question, catalogue: Catalogue) -> dict[str, Any]:
    scopes = question.task_scopes
    return {
        "id": question.task_id,
        "owner": question.task_owner,
        "scopes": sorted(map(str, scopes)),
        "targets": sorted({scope.target for scope in scopes}),
        "mutates": any(_mutates(catalogue, scope.target, scope.name) for scope in scopes),
    }


def _mutates(catalogue: Catalogue, target: str, name: str) -> bool:
    """A scope that is unknown counts as one that changes things."""
    known = catalogue.targets.get(target)
    definition = known.scopes.get(name) if known else None
    return definition is None or definition.mutates


def _parameters(wanted: CataloguedScope) -> dict[str, str | int]:
    kinds = {parameter.name: parameter.kind for parameter in wanted.definition.parameters}
    return {
        key: int(value) if kinds.get(key) == "integer" else value
        for key, value in wanted.scope.parameters
    }
