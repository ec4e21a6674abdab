"""How big everything is: `python -m tests.house.measure` prints the report that people judge.

Files count lines, functions the lines from `def` to their end, parameters without self and cls.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "valetkey"


@dataclass(frozen=True, order=True)
class Measure:
    """One number about one thing."""

    size: int
    name: str


def modules() -> Iterator[tuple[str, str]]:
    """Every module of the package: its path below it, and its text."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), path.read_text()


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method, named `path:name`."""
    for name, text in modules():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}:{node.name}", node


def files() -> list[Measure]:
    """Lines of each module, longest first."""
    return sorted((Measure(text.count("\n"), name) for name, text in modules()), reverse=True)


def lengths() -> list[Measure]:
    """Lines of each function, longest first."""
    found = (Measure((f.end_lineno or 0) - f.lineno + 1, name) for name, f in functions())
    return sorted(found, reverse=True)


def parameters() -> list[Measure]:
    """Parameters of each function, most first."""
    return sorted((Measure(_count(f.args), name) for name, f in functions()), reverse=True)


def median(measures: list[Measure]) -> float:
    """The middle size."""
    return statistics.median(measure.size for measure in measures)


def report() -> str:
    """The three tables, their medians first."""
    lines = []
    for title, found in (
        ("lines of a file", files()),
        ("lines of a function", lengths()),
        ("parameters", parameters()),
    ):
        lines.append(f"{title}: median {median(found):g}, of {len(found)}; the largest:")
        lines += [f"  {measure.size:4d}  {measure.name}" for measure in found[:12]]
    return "\n".join(lines)


def _count(args: ast.arguments) -> int:
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])


if __name__ == "__main__":
    print(report())
