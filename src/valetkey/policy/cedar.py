"""Cedar behind the PolicyEngine port: deny by default, and every doubt is a deny that says so.

Cedar skips a policy that errors, so an erroring `forbid` would vanish (ecosystem: cedar-policy
language reference, "Authorization"); here any diagnostic error, any answer but Allow and Deny,
and any exception is a deny with `problem`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from cedarpy import AuthzResult, PolicySet, Schema, is_authorized_batch
from cedarpy import Decision as Answer

from valetkey.core.catalogue import Catalogue
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.errors import BrokerError
from valetkey.policy.cedar_files import PolicyFiles, load_policies, read_policies
from valetkey.policy.request import recorded_input, refitted, request_of, with_approvals
from valetkey.policy.schema import schema_of
from valetkey.policy.texts import Texts

MOST_APPROVALS = 2
"""Approvals of one group that the search goes up to; it tries at most two groups together."""

Needs = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class CedarPolicy:
    """One checked policy set for one catalogue; safe to use from many threads."""

    catalogue: Catalogue
    files: PolicyFiles
    groups: tuple[str, ...]
    _schema: Schema = field(repr=False)
    _policies: PolicySet = field(repr=False)

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue, groups: Iterable[str]) -> Self:
        """Read `folder/*.cedar` for a catalogue and the approver groups that exist.

        Raises PolicyInvalid with every problem found.
        """
        return cls._checked(catalogue, groups, lambda schema: load_policies(folder, schema))

    @classmethod
    def read(cls, texts: Texts, place: str, catalogue: Catalogue, groups: Iterable[str]) -> Self:
        """The same from texts, of which `place` is the name of all together."""
        return cls._checked(catalogue, groups, lambda schema: read_policies(texts, place, schema))

    @classmethod
    def _checked(
        cls, catalogue: Catalogue, groups: Iterable[str], read: Callable[[Schema], PolicyFiles]
    ) -> Self:
        names = tuple(sorted(set(groups)))
        schema = Schema.from_json_str(json.dumps(schema_of(catalogue, names)))
        files = read(schema)
        return cls(catalogue, files, names, schema, PolicySet.from_str(files.text))

    @property
    def hash(self) -> str:
        """The content hash of the policy files (SHA-256, hex)."""
        return self.files.hash

    def decide(self, question: Question) -> Decision:
        """Answer one question; on a deny, find the fewest approvals that would flip it."""
        recorded: dict[str, Any] = {}
        try:
            recorded = recorded_input(question, self.catalogue, self.groups)
            return self._decide(recorded)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must deny
            problem = f"policy could not be evaluated: {type(error).__name__}"
            return self._decision(Outcome.DENY, (), recorded, problem=problem)

    def again(self, recorded: Mapping[str, object]) -> Decision | None:
        """Decide what was recorded once more, as the catalogue describes its target now.

        None when the catalogue no longer knows what was asked for, or nothing whole was recorded.
        """
        try:
            asked = refitted(recorded, self.catalogue, self.groups)
        except (BrokerError, KeyError, TypeError, ValueError):
            return None
        try:
            return self._decide(asked)
        except Exception as error:  # noqa: BLE001 - as above
            problem = f"policy could not be evaluated: {type(error).__name__}"
            return self._decision(Outcome.DENY, (), asked, problem=problem)

    def _decide(self, recorded: dict[str, Any]) -> Decision:
        (answer,) = self._ask([recorded])
        if problem := _problem(answer):
            return self._decision(Outcome.DENY, self._ids(answer), recorded, problem=problem)
        rules = self._ids(answer)
        if answer.decision is Answer.Allow:
            return self._decision(Outcome.ALLOW, rules, recorded, max_ttl=self._max_ttl(rules))
        flipped = self._search(recorded)
        if flipped is None:
            return self._decision(Outcome.DENY, rules, recorded)
        needs, would = flipped
        return self._decision(
            Outcome.NEEDS_APPROVAL,
            rules or would,
            recorded,
            needs=needs,
            max_ttl=self._max_ttl(would),
        )

    def _decision(
        self, outcome: Outcome, rules: tuple[str, ...], recorded: Mapping[str, Any], **more: Any
    ) -> Decision:
        return Decision(
            outcome=outcome,
            rules=rules,
            policy_hash=self.hash,
            catalogue_digest=self.catalogue.digest,
            recorded_input=recorded,
            **more,
        )

    def _ask(self, inputs: list[dict[str, Any]]) -> list[AuthzResult]:
        """Decide several inputs that share their entities, in one call."""
        requests = [request_of(recorded) for recorded in inputs]
        return is_authorized_batch(requests, self._policies, inputs[0]["entities"], self._schema)

    def _search(self, recorded: dict[str, Any]) -> tuple[Needs, tuple[str, ...]] | None:
        """The fewest approvals that flip a deny, and the permits that then hold."""
        have: dict[str, int] = recorded["context"]["approvals"]
        named = [group for group in self.groups if group in self.files.text]
        tries = list(candidates(named, have))
        if not tries:
            return None
        answers = self._ask([with_approvals(recorded, have | dict(needs)) for needs in tries])
        for needs, answer in zip(tries, answers, strict=True):
            if answer.decision is Answer.Allow and not _problem(answer):
                return needs, self._ids(answer)
        return None

    def _ids(self, answer: AuthzResult) -> tuple[str, ...]:
        return tuple(sorted(answer.diagnostics.id_annotations_by_reason.values()))

    def _max_ttl(self, rules: tuple[str, ...]) -> timedelta | None:
        """The lowest `@max_ttl` of the determining permits."""
        limits = [p.max_ttl for p in self.files.policies if p.id in rules and p.max_ttl]
        return min(limits, default=None)


def candidates(groups: Iterable[str], have: Mapping[str, int]) -> Iterator[Needs]:
    """Sets of approvals to try, fewest people first: one group, then two, up to two of each.

    Counts are totals, not what is still missing; what is had already is not tried.
    """
    counts = range(1, MOST_APPROVALS + 1)
    open_to = {g: [n for n in counts if n > have.get(g, 0)] for g in groups}
    single = [((group, n),) for group, ns in open_to.items() for n in ns]
    double = [
        ((first, n), (second, m))
        for first, second in itertools.combinations(open_to, 2)
        for n in open_to[first]
        for m in open_to[second]
    ]
    return iter(sorted([*single, *double], key=lambda needs: (sum(n for _, n in needs), needs)))


def _problem(answer: AuthzResult) -> str | None:
    """Why an answer cannot be trusted; None when it can. The text names no value of the ask."""
    if answer.diagnostics.errors:
        return f"policy could not be evaluated: {len(answer.diagnostics.errors)} errors"
    if answer.decision not in {Answer.Allow, Answer.Deny}:
        return "policy gave no decision"
    return None
