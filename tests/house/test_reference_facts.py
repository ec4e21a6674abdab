"""docs/reference/facts.md names every kind of fact and every filter of history."""

from __future__ import annotations

import dataclasses

from tests.house.pages import first_cells, rows
from valetkey.core.facts import FactKind, HistoryQuery


def test_every_kind_of_fact_is_documented_in_order() -> None:
    """The page lists the kinds of the code, in its order, each with a sentence."""
    assert first_cells("facts.md", "Kinds") == [kind.value for kind in FactKind]
    assert all(row[1].endswith(".") for row in rows("facts.md", "Kinds"))


def test_every_filter_of_history_is_documented() -> None:
    """The filters are the fields of the query, but for paging."""
    fields = [field.name.removesuffix("_id") for field in dataclasses.fields(HistoryQuery)]
    assert first_cells("facts.md", "Searching") == fields[:-2]
    assert fields[-2:] == ["before", "limit"]
