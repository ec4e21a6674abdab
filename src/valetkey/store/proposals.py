"""Queries over proposals, and the end of a binding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.rows import tuple_row
from sqlalchemy import bindparam, or_, select

from valetkey.core.proposal import OPEN, Proposal, ProposalState
from valetkey.core.scope import Scope
from valetkey.core.words import read_word
from valetkey.store.session import Session, by_id
from valetkey.store.tables import proposals

NEWEST = 500


class Proposed(Session):
    """What jobs would have about agents."""

    def proposal(self, proposal_id: str, *, lock: bool = False) -> Proposal | None:
        """One proposal."""
        row = self._one(by_id(proposals, "change" if lock else ""), {"id": proposal_id})
        return _proposal_from(row) if row else None

    def open_proposal(self, agent_id: str) -> Proposal | None:
        """The one of an agent that a person may accept."""
        row = self._one(_OPEN, {"agent": agent_id})
        return _proposal_from(row) if row else None

    def proposals(self, owner: str | None) -> Sequence[Proposal]:
        """The newest, of one owner's agents or of all."""
        query = select(proposals).order_by(proposals.c.id.desc()).limit(NEWEST)
        own = query if owner is None else query.where(proposals.c.owner == owner)
        return [_proposal_from(row) for row in self._many(own)]

    def add_proposal(self, proposal: Proposal) -> None:
        """Write a new one."""
        self._insert(proposals, _row(proposal))

    def save_proposal(self, proposal: Proposal) -> None:
        """Write it as it is now."""
        self._update(proposals, _row(proposal))

    def remove_binding(self, binding_id: str) -> None:
        """Forget a binding."""
        self._run(tuple_row, "DELETE FROM bindings WHERE id = %(id)s", {"id": binding_id})


def _row(proposal: Proposal) -> dict[str, Any]:
    row = dict(vars(proposal))
    row["boundary"] = [str(scope) for scope in proposal.boundary]
    row["bindings"] = [[issuer, [list(x) for x in claims]] for issuer, claims in proposal.bindings]
    row["state"] = proposal.state.value
    row["was"] = None if proposal.was is None else [str(scope) for scope in proposal.was]
    return row


def _proposal_from(row: Mapping[str, Any]) -> Proposal:
    values = dict(row)
    values["boundary"] = tuple(Scope.parse(text) for text in values["boundary"])
    values["bindings"] = tuple(
        (issuer, tuple((name, value) for name, value in claims))
        for issuer, claims in values["bindings"]
    )
    values["state"] = read_word(ProposalState, values["state"])
    if values["was"] is not None:
        values["was"] = tuple(Scope.parse(text) for text in values["was"])
    return Proposal(**values)


_OPEN = select(proposals).where(
    proposals.c.agent_id == bindparam("agent"),
    or_(*(proposals.c.state == state.value for state in sorted(OPEN))),
)
