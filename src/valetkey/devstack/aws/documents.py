"""IAM policy documents: read, and judged together.

The IAM user guide, "Policy evaluation logic": an explicit deny anywhere wins; else every kind of
policy that applies must allow; else it is an implicit deny. "IAM JSON policy element reference"
has the elements; one we do not know raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from valetkey.devstack.aws.asked import Malformed, Request, Unsupported, arn_like, like, plain
from valetkey.devstack.aws.conditions import Condition, parse

_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource",
             "Condition"}  # fmt: skip
NEWEST = "2012-10-17"


@dataclass(frozen=True)
class Statement:
    """One statement. `but_*` says that the element was NotAction or NotResource."""

    allows: bool
    actions: tuple[str, ...]
    but_actions: bool
    resources: tuple[str, ...]
    but_resources: bool
    conditions: tuple[Condition, ...]
    principals: tuple[str, ...]
    variables: bool

    def applies(self, request: Request) -> bool:
        """Tell whether action, resource and every condition fit. Raises Unsupported."""
        return (
            self._names_action(request)
            and self._names_resource(request)
            and all(condition.holds(request) for condition in self.conditions)
        )

    def _names_action(self, request: Request) -> bool:
        hit = any(like(plain(name), request.action, fold=True) for name in self.actions)
        return hit != self.but_actions

    def _names_resource(self, request: Request) -> bool:
        if not self.resources:  # a trust policy: its resource is the role it hangs on
            return True
        hit = any(self._is(name, request) for name in self.resources)
        return hit != self.but_resources

    def _is(self, name: str, request: Request) -> bool:
        if name == "*" or request.resource == "*":
            return name == "*"
        return arn_like(name, request.resource, request.fill if self.variables else plain)


@dataclass(frozen=True)
class Document:
    """One policy document."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Verdict:
    """The outcome, and in AWS's words why: which kind of policy denied, or did not allow."""

    allowed: bool
    because: str = ""
    explicit: bool = False


@lru_cache(maxsize=4096)
def read(text: str, *, trust: bool = False) -> Document:
    """Read a policy document; `trust` for a role's trust policy, else identity or session policy.

    Raises Malformed where AWS refuses the document, Unsupported where we do not know it.
    """
    try:
        whole = json.loads(text, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise Malformed("the document is not valid JSON") from error
    if not isinstance(whole, Mapping) or "Statement" not in whole:
        raise Malformed("the document has no Statement")
    if unknown := set(whole) - {"Version", "Id", "Statement"}:
        raise Unsupported(f"policy element {sorted(unknown)[0]}")
    version = whole.get("Version", "2008-10-17")
    if version not in (NEWEST, "2008-10-17"):
        raise Malformed("the document has another Version")
    given = whole["Statement"]
    statements = given if isinstance(given, list) else [given]
    return Document(tuple(_statement(one, version == NEWEST, trust) for one in statements))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unsupported("a policy document that names an element twice")
    return found


def _statement(given: object, variables: bool, trust: bool) -> Statement:
    if not isinstance(given, Mapping):
        raise Malformed("a statement is no object")
    if unknown := set(given) - _ELEMENTS:
        raise Unsupported(f"policy element {sorted(unknown)[0]}")
    if given.get("Effect") not in ("Allow", "Deny"):
        raise Malformed("Effect is neither Allow nor Deny")
    if trust == ("Principal" not in given) or (trust and {"Resource", "NotResource"} & set(given)):
        raise Malformed("Principal belongs to trust policies, Resource to all others")
    actions, but_actions = _either(given, "Action", _action)
    resources, but_resources = _either(given, "Resource", _resource, needed=not trust)
    return Statement(
        allows=given["Effect"] == "Allow",
        actions=actions,
        but_actions=but_actions,
        resources=resources,
        but_resources=but_resources,
        conditions=parse(given.get("Condition", {}), variables=variables),
        principals=_principals(given.get("Principal", {})),
        variables=variables,
    )


def _either(
    given: Mapping[str, object], name: str, check: Callable[[str], None], *, needed: bool = True
) -> tuple[tuple[str, ...], bool]:
    """Return the texts of `name` or `Not<name>`, exactly one of which must be there."""
    present = [key for key in (name, f"Not{name}") if key in given]
    if not present and not needed:
        return (), False
    if len(present) != 1:
        raise Malformed(f"exactly one of {name} and Not{name} is needed")
    texts = _texts(given[present[0]])
    for text in texts:
        check(text)
    return texts, present[0] != name


def _action(text: str) -> None:
    if text != "*" and ":" not in text:
        raise Malformed("an action has no vendor prefix")


def _resource(text: str) -> None:
    if text != "*" and (not text.startswith("arn:") or text.count(":") < 5):
        raise Malformed("a resource is neither an ARN nor *")


def _principals(given: object) -> tuple[str, ...]:
    if given == "*":
        return ("*",)
    if not isinstance(given, Mapping):
        raise Malformed("Principal is neither * nor an object")
    if unknown := set(given) - {"AWS"}:
        raise Unsupported(f"principal of kind {sorted(unknown)[0]}")
    return _texts(given["AWS"]) if given else ()


def _texts(given: object) -> tuple[str, ...]:
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Malformed("an element holds something other than text")
    return tuple(texts)


def decide(layers: Mapping[str, Sequence[Document]], request: Request) -> Verdict:
    """Judge `request` by every kind of policy that applies to its principal.

    `layers` maps the kind's name, as AWS's messages have it ("identity-based policy", "session
    policy", "permissions boundary"), to its documents. Raises Unsupported.
    """
    for kind, found in layers.items():
        if any(not one.allows for one in applying(found, request)):
            article = "an" if kind[0] in "aeiou" else "a"
            return Verdict(False, f"with an explicit deny in {article} {kind}", explicit=True)
    for kind, found in layers.items():
        if not any(one.allows for one in applying(found, request)):
            return Verdict(False, f"because no {kind} allows the {request.action} action")
    return Verdict(True)


def applying(found: Iterable[Document], request: Request) -> list[Statement]:
    """Return the statements of `found` that apply to `request`. Raises Unsupported."""
    return [one for document in found for one in document.statements if one.applies(request)]
