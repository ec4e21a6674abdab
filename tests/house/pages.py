"""Reading the tables of our reference pages, and what the code says should stand in them."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from valetkey.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"


def rows(page: str, section: str = "") -> list[tuple[str, ...]]:
    """The cells of every table row of a page (of one `## section`), code marks taken away."""
    text = (REFERENCE / page).read_text()
    if section:
        text = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = []
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
            found.append(tuple(cell.strip().replace("\\|", "|") for cell in cells))
    return found


def first_cells(page: str, section: str = "") -> list[str]:
    """The first cell of each row, without its code marks."""
    return [row[0].strip("`") for row in rows(page, section)]


def settings_rows(model: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, ...]]:
    """Every setting as the page must show it: dotted name, default, sentence."""
    for name, field in model.model_fields.items():
        path = f"{above}{name}"
        inner, many = _section(field.annotation)
        if inner is not None:
            yield from settings_rows(inner, f"{path}[]." if many else f"{path}.")
        else:
            yield f"`{path}`", _shown(field.default), field.description or ""


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section that a field holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for inner in get_args(annotation):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner, get_origin(annotation) not in {Union, types.UnionType}
    return None, False


def _shown(default: Any) -> str:
    """A default as people write it in the file."""
    if default is PydanticUndefined:
        return "required"
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, timedelta):
        return f"`{_duration(int(default.total_seconds()))}`"
    if isinstance(default, tuple):
        return "`[" + ", ".join(str(item) or '""' for item in default) + "]`"
    return f"`{default}`"


def _duration(seconds: int) -> str:
    """ISO 8601, the largest unit that fits evenly."""
    for unit, size in (("H", 3600), ("M", 60)):
        if seconds % size == 0:
            return f"PT{seconds // size}{unit}"
    return f"PT{seconds}S"


def told_rows(page: str, cells: int, compared: int) -> set[tuple[str, ...]]:
    """The first `compared` cells of every row that has `cells`; each must end in a sentence."""
    wide = [row for row in rows(page) if len(row) == cells]
    assert all(row[-1].endswith((".", ":")) for row in wide), "a row lacks its sentence"
    return {row[:compared] for row in wide}


def complaint(page: str, meant: set[tuple[str, ...]], told: set[tuple[str, ...]]) -> str:
    """What to do about a difference; empty when there is none."""
    missing = sorted("| " + " | ".join(row) + " |" for row in meant - told)
    stale = sorted("| " + " | ".join(row) + " |" for row in told - meant)
    if not missing and not stale:
        return ""
    return "\n".join([f"docs/reference/{page} lacks:", *missing, "and has too much:", *stale])
