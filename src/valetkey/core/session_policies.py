"""AWS session policies: from a catalogued scope to the document that an AssumeRole call carries.

What a session may do is what its role may and this document allows (IAM user guide, "Session
policies"). It is made as data, never as text; parameters stand in it only as whole segments of a
path; and it ends itself: from its fence on it denies everything, so that a life shorter than the
900 s which STS gives at least is kept all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from valetkey.core.catalogue import Parameter, ScopeDefinition

LONGEST_DOCUMENT = 2048
"""Characters of an inline session policy (STS API reference, AssumeRole, `Policy`)."""
READING = ("Get", "List", "Describe", "Head")
NEVER = frozenset({"sts", "iam"})
Statement = Mapping[str, Any]

_PLACE = re.compile(r"\$\{([a-z][a-z0-9_]{0,30})\}")
_ACTION = re.compile(r"([a-z0-9-]{1,40}):([A-Z][A-Za-z0-9]{1,80}\*?)")
_ARN = re.compile(r"arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[^*?\s][^\s]*")
_ELEMENTS = frozenset({"Sid", "Effect", "Action", "Resource", "Condition"})
_OPERATORS = re.compile(
    r"(?:String(?:Not)?(?:Equals|Like|EqualsIgnoreCase)|Bool|Null|(?:Not)?IpAddress"
    r"|Date(?:Less|Greater)Than(?:Equals)?|Numeric(?:Not)?(?:Equals|LessThan|GreaterThan)"
    r"|Arn(?:Not)?(?:Equals|Like))(?:IfExists)?"
)
_NO_ESCAPE: Statement = {
    "Sid": "NoEscape",
    "Effect": "Deny",
    "Action": ["iam:*", "sts:*"],
    "Resource": "*",
}


def document(definition: ScopeDefinition, values: Mapping[str, str], fence: datetime) -> str:
    """The whole session policy of one ask, as the compact JSON that is sent.

    `fence` is rounded down to a second. Raises ValueError when a parameter cannot stand where the
    catalogue puts it, or when the document is longer than a session policy may be.
    """
    end: Statement = {
        "Sid": "End",
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateGreaterThanEquals": {"aws:CurrentTime": instant(fence)}},
    }
    allowed = [rendered(json.loads(text), values) for text in definition.session_policy]
    text = compact({"Version": "2012-10-17", "Statement": [*allowed, _NO_ESCAPE, end]})
    if len(text) > LONGEST_DOCUMENT:
        raise ValueError("the session policy is longer than AWS takes")
    return text


def compact(value: object) -> str:
    """JSON without whitespace: what counts against AWS's limits."""
    return json.dumps(value, separators=(",", ":"))


def instant(at: datetime) -> str:
    """An instant as IAM's date operators read it (ISO 8601), down to its second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rendered(statement: Statement, values: Mapping[str, str]) -> Statement:
    """One statement with its parameters, which stand only in resources and in conditions' values.

    Raises ValueError for a parameter that is not given or is no whole segment there, and for
    whatever else begins with `${`: AWS would read it as a policy variable.
    """
    made = dict(statement)
    if "Resource" in made:
        made["Resource"] = _each(made["Resource"], values, ":/")
    if "Condition" in made:
        made["Condition"] = {
            operator: {key: _each(one, values, "^/") for key, one in tests.items()}
            for operator, tests in made["Condition"].items()
        }
    if "${" in compact(made):
        raise ValueError("a policy variable is left in the session policy")
    return made


def session_policy_problems(
    statements: Sequence[object], definition: ScopeDefinition
) -> Iterator[tuple[int, str]]:
    """What is wrong with a scope's statements: which one, and a sentence each."""
    before = False
    for number, statement in enumerate(statements):
        for message in _statement_problems(statement, definition):
            before = True
            yield number, message
    if not any(isinstance(x, dict) and x.get("Effect") == "Allow" for x in statements):
        yield 0, "session_policy must allow something"
    elif not before:
        yield from ((0, message) for message in _rendered_problems(definition))


def _statement_problems(statement: object, definition: ScopeDefinition) -> Iterator[str]:
    if not isinstance(statement, dict):
        yield "a statement of session_policy must be a mapping"
        return
    for name in sorted(statement.keys() - _ELEMENTS):
        yield f"{name} may not stand in a statement"
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield "Effect must be Allow or Deny"
    yield from _action_problems(statement, definition)
    yield from _resource_problems(statement)
    yield from _condition_problems(statement.get("Condition", {}))
    if not isinstance(statement.get("Sid", ""), str) or "${" in str(statement.get("Sid")):
        yield "Sid must be a text"


def _action_problems(statement: Statement, definition: ScopeDefinition) -> Iterator[str]:
    actions = _texts(statement.get("Action"))
    if not actions:
        yield "Action must name actions"
    allows = statement.get("Effect") != "Deny"
    for action in actions or ():
        found = _ACTION.fullmatch(action)
        if found is None:
            yield "each action is written service:Verb, a wildcard only at its end"
        elif allows and found[1] in NEVER:
            yield f"no session may be given actions of {found[1]}"
        elif allows and not definition.mutates and not found[2].startswith(READING):
            yield "a scope that does not mutate has only actions that read: " + ", ".join(READING)


def _resource_problems(statement: Statement) -> Iterator[str]:
    resources = _texts(statement.get("Resource"))
    if not resources:
        yield "Resource must name resources"
    for resource in resources or ():
        if statement.get("Effect") == "Deny" and resource == "*":
            continue
        if not _ARN.fullmatch(resource):
            yield "each resource is an ARN, a wildcard only after the beginning of its last part"


def _condition_problems(condition: object) -> Iterator[str]:
    if not isinstance(condition, dict):
        yield "Condition must be a mapping"
        return
    for operator, tests in condition.items():
        if not _OPERATORS.fullmatch(operator):
            yield "Condition has an operator that is not known here"
        elif not isinstance(tests, dict) or not all(_texts(one) for one in tests.values()):
            yield "a condition is a mapping of keys to texts"
        elif any("${" in key for key in tests):
            yield "a parameter may not stand in a condition's key"


def _rendered_problems(definition: ScopeDefinition) -> Iterator[str]:
    """With the longest values there can be."""
    values = {parameter.name: _longest(parameter) for parameter in definition.parameters}
    try:
        text = document(definition, values, datetime(2026, 1, 1, tzinfo=UTC))
    except ValueError as problem:
        yield str(problem)
        return
    for name, value in values.items():
        if value not in text:
            yield f"parameter {name} stands nowhere in session_policy, so it would narrow nothing"


def _longest(parameter: Parameter) -> str:
    match parameter.kind:
        case "enum":
            return max(parameter.values, key=len, default="")
        case "identifier":
            return "a" * 41
        case "path_prefix":
            return "a" * 127 + "/"
        case "integer":
            return str(parameter.maximum)


def _each(value: object, values: Mapping[str, str], before: str) -> object:
    if isinstance(value, list):
        return [_filled(str(text), values, before) for text in value]
    return _filled(str(value), values, before)


def _filled(text: str, values: Mapping[str, str], before: str) -> str:
    """Put values where they are whole segments: after a separator, and before one or the end.

    A value that ends in `/` closes its own segment, and what comes after it is free.
    """
    pieces: list[str] = []
    at = 0
    for place in _PLACE.finditer(text):
        if place[1] not in values:
            raise ValueError("session_policy names a parameter that the scope does not have")
        value = values[place[1]]
        _is_plain(value)
        ahead = text[place.start() - 1] if place.start() else "^"
        behind = text[place.end() : place.end() + 1]
        if ahead not in before or not (value.endswith("/") or behind in ("", "/", ":")):
            raise ValueError("a parameter must stand as whole segments of a path or an ARN")
        pieces += [text[at : place.start()], value]
        at = place.end()
    return "".join([*pieces, text[at:]])


def _is_plain(value: str) -> None:
    """Raise ValueError for what could be read as anything but itself."""
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", value):
        raise ValueError("a parameter holds a character that means something to AWS")
    if any(part in ("", ".", "..") for part in value.removesuffix("/").split("/")):
        raise ValueError("a parameter holds an empty or dotted path segment")


def _texts(value: object) -> list[str]:
    """One text or a list of them, as AWS takes both; empty for anything else."""
    found = [value] if isinstance(value, str) else value
    if isinstance(found, list) and all(isinstance(text, str) and text for text in found):
        return found
    return []
