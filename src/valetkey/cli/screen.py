"""What is printed: one JSON document for machines, tables for people, refusals to stderr.

Text that came over the network is shown without control characters, so that it can neither move
the cursor nor turn round the reading direction.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from valetkey.cli.next_actions import next_action

Twig = tuple[str, "list[Twig]"]
"""One line of a tree, and what hangs on it."""
_WIDE = 400
_LINES = (
    ("detail", "why"),
    ("retry_after", "retry_after"),
    ("next_action", "next"),
    ("decision_id", "id"),
)
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


def clean(value: object) -> str:
    """A value as one line of text in which nothing is hidden; None is empty."""
    if value is None:
        return ""
    text = _written(value)
    return "".join("·" if unicodedata.category(char) in _HIDDEN else char for char in text)


def _written(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, list) and value and all(_is_need(item) for item in value):
        return ", ".join(f"{item['count']} of {item['group']}" for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else json.dumps(value, sort_keys=True)


def _is_need(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"count", "group"}


class Screen:
    """Where one command prints; `as_json` is what `--json` said."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, value: object, rows: Mapping[str, object]) -> None:
        """One thing: `value` for machines, `rows` (name to value) for people."""
        if self.as_json:
            return self.document(value)
        return self._table((), [(clean(name), clean(cell)) for name, cell in rows.items()])

    def listed(self, value: object, columns: Sequence[str], items: Iterable[Any]) -> None:
        """Many things: `value` for machines, for people one line each with these members."""
        if self.as_json:
            return self.document(value)
        lines = [tuple(clean(_member(item, column)) for column in columns) for item in items]
        return self._table(columns, lines) if lines else self.say("None.")

    def drawn(self, value: object, twig: Twig) -> None:
        """A tree: `value` for machines, for people its lines with branches drawn."""
        if self.as_json:
            return self.document(value)
        click.echo(clean(twig[0]))
        return self._branches(twig[1], "")

    def _branches(self, twigs: Sequence[Twig], before: str) -> None:
        for place, (line, below) in enumerate(twigs, 1):
            last = place == len(twigs)
            click.echo(f"{before}{'└── ' if last else '├── '}{clean(line)}")
            self._branches(below, before + ("    " if last else "│   "))

    def document(self, value: object) -> None:
        """Print the one JSON document."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=True))

    def say(self, text: str) -> None:
        """Tell people something; machines are told nothing."""
        if not self.as_json:
            click.echo(clean(text))

    def aside(self, text: str) -> None:
        """Say something on stderr, to people at the terminal."""
        click.echo(clean(text), err=True)

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar on stderr, filled by calling it with how many of how many; machines get none."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed())
        console = Console(file=sys.stderr)
        with Progress(*columns, console=console, disable=self.as_json) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def refused(self, problem: Mapping[str, object]) -> None:
        """A refusal: its code, why, and what to do now, to stderr; the same as JSON to stdout."""
        told = {**problem, "next_action": next_action(problem)}
        click.echo(f"refused: {clean(told.get('code'))}", err=True)
        for name, label in _LINES:
            if told.get(name):
                click.echo(f"  {label}: {clean(told[name])}", err=True)
        if told.get("nearest"):
            click.echo(f"  instead: {clean(instead(told['nearest']))}", err=True)
        if self.as_json:
            self.document({"refused": told})

    def _table(self, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=bool(columns), pad_edge=False)
        for column in columns or ("", ""):
            table.add_column(column.replace("_", " "), overflow="fold")
        for line in lines:
            table.add_row(*(Text(cell) for cell in line))
        console = Console(file=sys.stdout, highlight=False)
        if not sys.stdout.isatty():
            console.width = _WIDE
        with console.capture() as printed:
            console.print(table)
        for line in printed.get().splitlines():
            click.echo(line.rstrip())


def instead(nearest: Any) -> str | None:
    """What could be had instead of what was denied, in one line; None when nothing was found."""
    if not isinstance(nearest, dict):
        return None
    scopes, ttl = " ".join(map(str, nearest.get("scopes", ()))), nearest.get("ttl")
    people = " once people approve" if nearest.get("outcome") == "needs_approval" else ""
    return f"{scopes} for at most {ttl} s{people}"


def _member(item: Any, column: str) -> object:
    for part in column.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return item
