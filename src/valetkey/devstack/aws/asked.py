"""What is judged, a `Request`; and the text patterns of policy documents.

From the IAM user guide: "Variables and tags", "Condition operators" (ARN operators), "AWS global
condition context keys". What is not known here raises `Unsupported`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Values = str | tuple[str, ...]
"""One request value: text for a single-valued context key, a tuple for a multivalued one."""

Parts = list[tuple[str, bool]]
"""A pattern: pieces of text, and whether * and ? in each are wildcards."""

Fill = Callable[[str], Parts]
"""Fills in the policy variables of a text, if its document knows any."""

KNOWN_KEYS = frozenset({
    "aws:currenttime", "aws:epochtime", "aws:tokenissuetime", "aws:userid", "aws:username",
    "aws:principalarn", "aws:principalaccount", "aws:principaltype", "aws:sourceidentity",
    "aws:sourceip", "aws:securetransport", "aws:requestedregion", "aws:tagkeys",
    "aws:multifactorauthpresent", "aws:viaawsservice", "sts:externalid", "sts:rolesessionname",
    "sts:sourceidentity", "sts:transitivetagkeys", "s3:prefix", "s3:delimiter", "s3:max-keys",
})  # fmt: skip
"""Context keys the emulator computes, or knows to be absent; in lower case."""

KNOWN_FAMILIES = ("aws:principaltag/", "aws:requesttag/")

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class Unsupported(Exception):
    """The outcome on AWS is not known to this emulator; the text names what was met."""


class Malformed(Exception):
    """AWS refuses such a document: MalformedPolicyDocument."""


@dataclass(frozen=True)
class Request:
    """What is judged: an action on a resource, with the context keys of the request.

    Names of context keys, and of tags in them, are not case-sensitive.
    """

    action: str
    resource: str
    keys: Mapping[str, Values] = field(default_factory=dict)

    def value(self, key: str) -> Values | None:
        """Return the value of context key `key`, None when the request has none.

        Raises Unsupported for a key that the emulator does not compute.
        """
        wanted = key.lower()
        if wanted not in KNOWN_KEYS and not wanted.startswith(KNOWN_FAMILIES):
            raise Unsupported(f"condition key {key}")
        return next((value for name, value in self.keys.items() if name.lower() == wanted), None)

    def fill(self, text: str) -> Parts:
        """Split `text` at its policy variables and fill them in.

        `${*}`, `${?}` and `${$}` are those characters; `${key, 'default'}` has a default. A
        variable without a value "might cause the entire statement to be invalid": Unsupported.
        """
        parts: Parts = []
        end = 0
        for found in _VARIABLE.finditer(text):
            parts += [(text[end : found.start()], True), (self._variable(found[1]), False)]
            end = found.end()
        if "${" in text[end:]:
            raise Unsupported("a policy variable that does not end")
        return [*parts, (text[end:], True)]

    def _variable(self, name: str) -> str:
        if name in ("*", "?", "$"):
            return name
        key, comma, default = name.partition(",")
        value = self.value(key.strip())
        if value is None and comma:
            value = default.strip().strip("'")
        if not isinstance(value, str):
            raise Unsupported(f"policy variable {key.strip()} without a single value")
        if set(value) & set("*?$"):
            raise Unsupported(f"policy variable {key.strip()} whose value holds * ? or $")
        return value


def plain(text: str) -> Parts:
    """Return `text` as it is: Version 2008-10-17 knows no policy variables."""
    return [(text, True)]


def like(parts: Iterable[tuple[str, bool]], value: str, *, fold: bool = False) -> bool:
    """Tell whether `value` matches a pattern in which * is any text and ? one character.

    `fold`: capitals do not matter (names of actions).
    """
    wild = {"*": ".*", "?": "."}
    pattern = "".join(
        (wild.get(char) if free else None) or re.escape(char)
        for text, free in parts
        for char in text
    )
    flags = re.DOTALL | (re.IGNORECASE if fold else 0)
    return re.fullmatch(pattern, value, flags) is not None


def arn_like(wanted: str, value: str, fill: Fill) -> bool:
    """Compare ARNs: each of the six colon-delimited components separately, with wildcards."""
    ours, theirs = wanted.split(":", 5), value.split(":", 5)
    if len(ours) < 6:
        raise Unsupported("an ARN of fewer than six components")
    return len(theirs) == 6 and all(
        like(fill(one), other) for one, other in zip(ours, theirs, strict=True)
    )
