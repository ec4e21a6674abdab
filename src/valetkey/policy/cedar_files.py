"""Policy files: `policies/*.cedar`, cut into single policies that know their file and line.

Each policy has a unique `@id`; `@max_ttl("5m")` may stand on a permit and `@description` anywhere;
any other annotation is refused, because a misspelt one would silently not limit. Templates are
refused. Every policy is checked against the schema.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any

from cedarpy import Schema, policies_to_json_str, validate_policies

from valetkey.policy.cedar_text import cut, too_large
from valetkey.policy.problems import PolicyInvalid, Problem, deceiving
from valetkey.policy.section import duration_of
from valetkey.policy.texts import Texts, read_folder

TESTS = "tests"
ANNOTATIONS = frozenset({"id", "max_ttl", "description"})

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")


@dataclass(frozen=True)
class Policy:
    """One policy: its id, its text, where it stands, and the time it allows at most."""

    id: str
    text: str
    file: str
    line: int
    max_ttl: timedelta | None


@dataclass(frozen=True)
class PolicyFiles:
    """All policies, in the order of their files, under one content hash."""

    policies: tuple[Policy, ...]
    hash: str

    @property
    def text(self) -> str:
        """All policies as one Cedar text."""
        return "\n".join(policy.text for policy in self.policies)


def load_policies(folder: Path, schema: Schema) -> PolicyFiles:
    """Read and check every policy of a folder. Raises PolicyInvalid with all problems found."""
    problems: list[Problem] = []
    texts = read_folder(folder, ".cedar", problems, besides=frozenset({TESTS}))
    return read_policies(texts, str(folder), schema, problems)


def read_policies(
    texts: Texts, place: str, schema: Schema, before: Iterable[Problem] = ()
) -> PolicyFiles:
    """Read and check every policy of these texts; `place` is all of them together.

    The hash is SHA-256 (hex) over the last parts of the names, sorted, and the texts. Raises
    PolicyInvalid with all problems found, those found `before` included.
    """
    problems = list(before)
    digest = hashlib.sha256()
    policies: list[Policy] = []
    for name, text in sorted(texts.items()):
        raw = text.encode()
        digest.update(f"{PurePath(name).name}\0{len(raw)}\0".encode() + raw)
        policies += _policies_of(name, text, problems)
    problems += _duplicates(policies)
    for policy in policies:
        problems += _schema_problems(policy, schema)
    if not policies and not problems:
        problems.append(Problem(place, 0, "holds no policy"))
    if problems:
        raise PolicyInvalid(problems)
    return PolicyFiles(tuple(policies), digest.hexdigest())


def _policies_of(name: str, text: str, problems: list[Problem]) -> list[Policy]:
    hidden = deceiving(text, name)
    if hidden is not None:
        problems.append(hidden)
        return []
    found = [_policy(name, line, piece, problems) for line, piece in cut(text)]
    return [policy for policy in found if policy is not None]


def _policy(file: str, line: int, text: str, problems: list[Problem]) -> Policy | None:
    def refuse(message: str) -> None:
        problems.append(Problem(file, line, message))

    excess = too_large(text)
    if excess is not None:
        refuse(excess)
        return None
    try:
        parsed = json.loads(policies_to_json_str(text))
    except RecursionError:
        refuse("nests too deeply to be read")
        return None
    except ValueError as error:
        refuse(f"is not Cedar: {error}")
        return None
    if parsed["templates"] or len(parsed["staticPolicies"]) != 1:
        refuse("must be one policy without slots")
        return None
    (body,) = parsed["staticPolicies"].values()
    before = len(problems)
    for message in _annotation_problems(body):
        refuse(message)
    if len(problems) > before:
        return None
    notes = body["annotations"]
    return Policy(notes["id"], text, file, line, duration_of(notes.get("max_ttl") or ""))


def _annotation_problems(body: dict[str, Any]) -> Iterator[str]:
    notes: dict[str, Any] = body.get("annotations") or {}
    for name in sorted(notes.keys() - ANNOTATIONS):
        yield f"unknown annotation @{name}"
    if not _ID.fullmatch(notes.get("id") or ""):
        yield "needs an @id of lower-case letters, digits, dots and dashes"
    if "max_ttl" in notes:
        if body["effect"] != "permit":
            yield "@max_ttl stands on permits only"
        if duration_of(notes["max_ttl"] or "") is None:
            yield "@max_ttl must be a duration like 90s, 15m or 1h"


def _duplicates(policies: list[Policy]) -> Iterator[Problem]:
    first: dict[str, Policy] = {}
    for policy in policies:
        other = first.setdefault(policy.id, policy)
        if other is not policy:
            place = f"{other.file}:{other.line}"
            yield Problem(policy.file, policy.line, f"@id {policy.id} is also at {place}")


def _schema_problems(policy: Policy, schema: Schema) -> Iterator[Problem]:
    result = validate_policies(policy.text, schema)
    if result.validation_passed:
        return
    for error in result.errors:
        message = error.error.removeprefix("for policy `policy0`, ")
        if "`approvals" in message:
            message += " (is it one of the approver groups?)"
        yield Problem(policy.file, policy.line, f"policy {policy.id}: {message}")
    if not result.errors:
        yield Problem(policy.file, policy.line, f"policy {policy.id} does not fit the schema")
