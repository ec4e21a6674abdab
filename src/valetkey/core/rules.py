"""Versions of the rules in our store: exact texts under one digest, activations, and proposals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from valetkey.core.ask import canonical_hash
from valetkey.core.errors import InvalidRequest
from valetkey.core.proposal import ProposalState

Part = Literal["agents", "catalogue", "policies"]
"""What reviewed files can say, by the name of their folder."""

PARTS: Final[tuple[Part, ...]] = ("catalogue", "policies")
"""The parts that a version of the rules is made of."""

MOST_FILES, MOST_BYTES = 200, 512 * 1024
"""How many files a version has at most, and how many bytes of UTF-8 all together."""

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_FILE = re.compile(
    rf"catalogue/{_WORD}\.yaml|policies/{_WORD}\.cedar|policies/tests/{_WORD}\.yaml", re.ASCII
)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Cause(StrEnum):
    """Why a version came into force."""

    BEGUN = "begun"
    APPLIED = "applied"
    ACCEPTED = "accepted"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class RulesVersion:
    """Texts by name (`catalogue/orders-db.yaml`), as they were pushed first, and by whom.

    `digest` names exactly these texts; `catalogue_digest` and `policy_hash` are what decisions
    under them record.
    """

    digest: str
    files: Mapping[str, str] = field(repr=False)
    catalogue_digest: str
    policy_hash: str
    pushed_by: str
    rule: str | None
    pushed_at: datetime


@dataclass(frozen=True)
class Activation:
    """One entry of the list that says which version is in force: the one with the last number."""

    number: int
    digest: str
    cause: Cause
    by: str
    at: datetime
    reason: str = ""


@dataclass(frozen=True)
class RulesProposal:
    """A version that waits for an operator; `base` is the version that it would replace."""

    id: str
    digest: str
    base: str
    rule: str
    created_by: str
    created_at: datetime
    state: ProposalState = ProposalState.WAITING
    decided_by: str | None = None
    decided_at: datetime | None = None

    @property
    def shown_hash(self) -> str:
        """The name of exactly what a person is shown and says yes to."""
        shown = {"proposal": self.id, "version": self.digest, "base": self.base, "rule": self.rule}
        return canonical_hash(shown)

    def decided(self, state: ProposalState, by: str, at: datetime) -> RulesProposal:
        """The same proposal, decided by a person or overtaken by a later push."""
        return replace(self, state=state, decided_by=by, decided_at=at)


@dataclass(frozen=True, order=True)
class RuleChange:
    """One difference between two versions; `part` is a target, a scope or a policy, by name."""

    part: str
    what: Literal["added", "changed", "removed"]


def version_digest(files: Mapping[str, str]) -> str:
    """The name of exactly these texts under these names (SHA-256, hex)."""
    return canonical_hash(dict(files))


def folder_of(name: str) -> str:
    """The part that a file belongs to."""
    return name.partition("/")[0]


def file_faults(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What keeps files from being pushed, whatever they say: (name, or "" for all; why)."""
    for name, text in sorted(files.items()):
        if not _FILE.fullmatch(name):
            yield name, "a name is letters, digits, dots and dashes, and ends in .yaml or .cedar"
        if _UNSEEN.search(text):
            yield name, "holds a control character; lines end with a newline alone"
    if len(files) > MOST_FILES:
        yield "", f"more than {MOST_FILES} files"
    if sum(len(text.encode(errors="surrogatepass")) for text in files.values()) > MOST_BYTES:
        yield "", f"more than {MOST_BYTES} bytes in all"


def check_files(files: Mapping[str, str]) -> None:
    """Raise InvalidRequest, echoing no name, for files that no version may have."""
    for _, why in file_faults(files):
        raise InvalidRequest(f"files: {why}")


def changed_parts(was: Mapping[str, str], becomes: Mapping[str, str]) -> frozenset[str]:
    """The parts of which some file differs."""
    names = was.keys() | becomes.keys()
    return frozenset(folder_of(name) for name in names if was.get(name) != becomes.get(name))


def with_parts(was: Mapping[str, str], pushed: Mapping[str, str]) -> dict[str, str]:
    """The whole version: each part that was pushed, whole, and the others as they were."""
    parts = {folder_of(name) for name in pushed}
    kept = {name: text for name, text in was.items() if folder_of(name) not in parts}
    return {**kept, **pushed}


def rule_changes(was: Mapping[str, str], becomes: Mapping[str, str]) -> tuple[RuleChange, ...]:
    """How two outlines differ: what each thing is called, and a digest of what is said of it."""
    found = [RuleChange(part, "removed") for part in was.keys() - becomes.keys()]
    found += [RuleChange(part, "added") for part in becomes.keys() - was.keys()]
    both = was.keys() & becomes.keys()
    found += [RuleChange(part, "changed") for part in both if was[part] != becomes[part]]
    return tuple(sorted(found))


def rolled_back_from(activations: Sequence[Activation], digest: str) -> bool:
    """Whether people went back from this version; `activations` are in any order.

    Until they themselves go forward to it again. Who goes back over several versions goes back
    from each that came after the one they chose.
    """
    since: list[str] = []  # what has been in force, the latest last, nothing twice
    taken_back: set[str] = set()
    for one in sorted(activations, key=lambda one: one.number):
        if one.cause is Cause.ROLLED_BACK:
            again = since.index(one.digest) + 1 if one.digest in since else 0
            taken_back |= set(since[again:])
        taken_back.discard(one.digest)
        since = [*(x for x in since if x != one.digest), one.digest]
    return digest in taken_back
