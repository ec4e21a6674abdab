"""Makes docs/reference/fault-matrix.md from the rows and from the tests that name them.

    python -m tests.house.fault_matrix
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import TypeAdapter

from tests.faults.ground import REQUEST_LIMIT, SCALE
from tests.faults.rows import NOT_RUN, ROWS
from tests.house.measure import ROOT
from valetkey.settings import Times

PAGE = ROOT / "docs" / "reference" / "fault-matrix.md"
INVARIANTS = tuple(f"I{number}" for number in range(1, 21))
HEAD = """\
# The fault matrix

What breaks, when, and what it must end as. Each row is run by the tests it names, against real
OpenBao and PostgreSQL unless the test stands in `tests/flows` or `tests/simulation`; most of them
end with `valetkey doctor`, a look at the target as superuser and one at OpenBao as root. This page
is made from the tests: `python -m tests.house.fault_matrix`.

Steps: S1 before the first commit, S2 committed and nothing outside, S3 role written, S5a the
credential's read in flight, S5b it exists and its answer was not read, S5c read and not recorded,
S6 recorded and not answered, S7 answered; R1 an ending recorded, R2 in flight, R3 done and not
recorded; N1 a renewal recorded, N2 done and not answered.
"""


@dataclass(frozen=True)
class Marked:
    """A test that names rows: its file under tests/, its name and its first sentence."""

    path: str
    name: str
    sentence: str
    ids: tuple[str, ...]


def marked_tests() -> Iterator[Marked]:
    """Every test that says which rows it is the test of."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (ids := _rows_of(node)):
                sentence = (ast.get_docstring(node) or "").partition("\n")[0]
                yield Marked(str(path.relative_to(ROOT)), node.name, sentence, ids)


def complaints(tests: Sequence[Marked]) -> list[str]:
    """Rows neither run nor excused, excused though run, and rows that nobody knows."""
    known = {*ROWS, *INVARIANTS}
    named = {name for test in tests for name in test.ids}
    found = [f"{test.name} names {x}" for test in tests for x in test.ids if x not in known]
    found += [f"{x} has neither a test nor a reason" for x in ROWS if x not in named | {*NOT_RUN}]
    found += [f"{x} is run: take it out of NOT_RUN" for x in NOT_RUN if x in named]
    return found + [f"NOT_RUN names {x}" for x in NOT_RUN if x not in ROWS]


def page(tests: Sequence[Marked]) -> str:
    """The whole page."""
    lines = [HEAD, "| row | fault | at | must end as | test |", "|---|---|---|---|---|"]
    for name, row in ROWS.items():
        told = _told(name, tests) or f"not run: {NOT_RUN.get(name, '')}"
        lines.append(f"| `{name}` | {row.fault} | {row.at} | {row.ends} | {told} |")
    run = sum(1 for name in ROWS if _told(name, tests))
    lines += ["", f"{run} of {len(ROWS)} rows are run.", ""]
    held = [name for name in INVARIANTS if _told(name, tests)]
    if held:
        lines += ["## Invariants with a test of their own", ""]
        lines += ["| invariant | test |", "|---|---|"]
        lines += [f"| `{name}` | {_told(name, tests)} |" for name in held]
        lines.append("")
    return "\n".join([*lines, *_scale()]) + "\n"


def _scale() -> list[str]:
    """What is shorter here than in production."""
    lines = ["## The scale", "", "Every duration is a setting. The tests run with these:", ""]
    lines += ["| setting | here | default |", "|---|---|---|"]
    for name, value in SCALE.items():
        field = Times.model_fields[name]
        meant = TypeAdapter(field.annotation).validate_python(value)
        lines.append(f"| `times.{name}` | {_plain(meant)} | {_plain(field.default)} |")
    lines.append(f"| OpenBao's `max_request_duration` | {REQUEST_LIMIT} | 90 s |")
    return lines


def _plain(value: object) -> str:
    return f"{value.total_seconds():g} s" if isinstance(value, timedelta) else str(value)


def _told(name: str, tests: Sequence[Marked]) -> str:
    links = (
        f"[{test.name.removeprefix('test_').replace('_', ' ')}](../../{test.path})"
        for test in tests
        if name in test.ids
    )
    return "; ".join(links)


def _rows_of(node: ast.FunctionDef) -> tuple[str, ...]:
    """The arguments of its `@row(...)`, all of them plain text."""
    return tuple(
        str(argument.value)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "row"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(list(marked_tests())))
    print(Path(PAGE).relative_to(ROOT))


if __name__ == "__main__":
    main()
