"""What only a target of AWS has in the catalogue: its role, its room for cuts, its policies."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from valetkey.core.catalogue import ScopeDefinition
from valetkey.core.session_policies import session_policy_problems
from valetkey.policy.section import Section
from valetkey.policy.strict_yaml import Node

MOST_SLOTS = 250
"""Of 29 characters each, in the 10,240 that all inline policies of a role have together."""
USUAL_SLOTS = 150
USUAL_SESSION = timedelta(hours=1)

_ROLE = re.compile(r"arn:aws(?:-cn|-us-gov)?:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,500}")
_UNCUTTABLE = (":role/aws-service-role/", ":role/aws-reserved/")
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+){1,3}-[0-9]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,200}")


def aws_target(top: Section) -> dict[str, Any]:
    """The keys of an AWS target; faults are noted."""
    role = _matching(top, "role_arn", _ROLE)
    if any(part in role for part in _UNCUTTABLE):
        top.note(top.line_of("role_arn"), "nobody can write a policy of that role, so no cut")
    slots = top.integer("slots", required=False)
    if slots is not None and not 0 < slots <= MOST_SLOTS:
        top.note(top.line_of("slots"), f"slots must be 1 to {MOST_SLOTS}")
    return {
        "role_arn": role,
        "region": _matching(top, "region", _REGION),
        "slots": USUAL_SLOTS if slots is None else slots,
        "max_session": top.duration("max_session", required=False) or USUAL_SESSION,
        "witness": _witness(top),
        "address": _address(top),
    }


def session_policy(section: Section) -> dict[str, Any]:
    """A scope's statements, each as canonical JSON; `checked` looks at them."""
    return {"session_policy": tuple(_canonical(node) for node in _statements(section))}


def check_session_policy(section: Section, definition: ScopeDefinition) -> None:
    """Note what is wrong with them, at the line of the statement."""
    nodes = _statements(section)
    statements = [plain(node) for node in nodes]
    for number, message in session_policy_problems(statements, definition):
        line = nodes[number].line if nodes else section.line_of("session_policy")
        section.note(line, f"scope {definition.name}: {message}")


def plain(node: Node) -> object:
    """A strictly read document as plain values."""
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    return node.value


def _canonical(node: Node) -> str:
    return json.dumps(plain(node), sort_keys=True, separators=(",", ":"))


def _statements(section: Section) -> tuple[Node, ...]:
    """The items of `session_policy`; not being a list is noted once, by the first reader."""
    section.read.add("session_policy")
    entry = section.entries.get("session_policy")
    if entry is None or not isinstance(entry.node.value, tuple):
        return ()
    return entry.node.value


def _witness(top: Section) -> dict[str, str]:
    below = top.section("witness", required=False)
    if below is None:
        return {}
    found = {"bucket": _matching(below, "bucket", _BUCKET), "key": _matching(below, "key", _KEY)}
    below.finish()
    return found


def _address(top: Section) -> dict[str, str]:
    below = top.section("address", required=False)
    if below is None:
        return {}
    given = below.entries.keys() & {"bucket", "endpoint_url"}
    found = {
        "bucket": _matching(below, "bucket", _BUCKET) if "bucket" in given else "",
        "endpoint_url": _matching(below, "endpoint_url", _URL) if "endpoint_url" in given else "",
    }
    below.finish()
    return {key: value for key, value in found.items() if value}


def _matching(section: Section, key: str, pattern: re.Pattern[str]) -> str:
    text = section.text(key)
    if text is not None and not pattern.fullmatch(text):
        section.note(section.line_of(key), f"{key} is not well formed")
    return text or ""
