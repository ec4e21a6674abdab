"""The Cedar schema of a catalogue: so that a typo in a policy is found before it decides.

One action for each scope, in the group `read-only` or `mutates`, with its parameters typed; and
`start_task`. Approver groups are named in the schema too, so a policy cannot wait for a group
that nobody is in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from valetkey.core.catalogue import Catalogue, ScopeDefinition

START_TASK = "start_task"
BROKER = {"type": "Broker", "id": "valetkey"}
READ_ONLY, MUTATES = "read-only", "mutates"

_STRING: dict[str, Any] = {"type": "String"}
_LONG: dict[str, Any] = {"type": "Long"}
_BOOLEAN: dict[str, Any] = {"type": "Boolean"}
_STRINGS: dict[str, Any] = {"type": "Set", "element": _STRING}


def action_of(target: str, scope: str) -> str:
    """The name of the Cedar action of one scope, like `orders-db:read`."""
    return f"{target}:{scope}"


def schema_of(catalogue: Catalogue, groups: Iterable[str]) -> dict[str, Any]:
    """The schema in Cedar's JSON form, for a catalogue and the approver groups that exist."""
    common = _common(groups)
    actions: dict[str, Any] = {READ_ONLY: {}, MUTATES: {}}
    actions[START_TASK] = _action("Broker", common, ())
    for target in catalogue.targets.values():
        for definition in target.scopes.values():
            context = common | {"parameters": _record(_parameters(definition))}
            group = MUTATES if definition.mutates else READ_ONLY
            actions[action_of(target.name, definition.name)] = _action("Target", context, (group,))
    return {"": {"entityTypes": _ENTITIES, "actions": actions}}


def _record(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Record", "attributes": attributes}


_ENTITIES: dict[str, Any] = {
    "Agent": {
        "shape": _record(
            {"name": _STRING, "owner": _STRING, "team": _STRING, "environment": _STRING}
        ),
        "tags": _STRING,
    },
    "Target": {
        "shape": _record({"environment": _STRING, "owner": _STRING, "data_classes": _STRINGS})
    },
    "Broker": {},
}


def _action(resource: str, context: dict[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    return {
        "memberOf": [{"id": group} for group in groups],
        "appliesTo": {
            "principalTypes": ["Agent"],
            "resourceTypes": [resource],
            "context": _record(context),
        },
    }


def _common(groups: Iterable[str]) -> dict[str, Any]:
    task = {"id": _STRING, "owner": _STRING, "scopes": _STRINGS, "targets": _STRINGS}
    return {
        "task": _record(task | {"mutates": _BOOLEAN}),
        "ttl": _LONG,
        "depth": _LONG,
        "hour": _LONG,
        "weekday": _LONG,
        "untrusted_input": _BOOLEAN,
        "on_behalf_of": _STRING | {"required": False},
        "person": _record({"email": _STRING, "groups": _STRINGS}) | {"required": False},
        "delegated_by": _STRING | {"required": False},
        "approvals": _record(dict.fromkeys(sorted(groups), _LONG)),
    }


def _parameters(definition: ScopeDefinition) -> dict[str, Any]:
    return {p.name: _LONG if p.kind == "integer" else _STRING for p in definition.parameters}
