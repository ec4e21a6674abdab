"""Files as names and texts: what the loaders read, whether a folder or a store holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from valetkey.policy.problems import FilesInvalid, Problem

MAX_BYTES = 256 * 1024

Texts = Mapping[str, str]
"""Texts by the names that problems give as their file."""


def read_text(path: Path) -> str:
    """One file's text. Raises FilesInvalid when it cannot be read, is too large or not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _refused(path, 0, f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise _refused(path, 0, f"is larger than {MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(path, raw[: error.start].count(b"\n") + 1, "is not UTF-8") from None


def read_folder(
    folder: Path, ending: str, problems: list[Problem], besides: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The files of a folder whose names end so, by name; hidden ones and `besides` are passed over.

    Anything else in it is a problem, and so is each file that cannot be read.
    """
    if not folder.is_dir():
        problems.append(Problem(str(folder), 0, "is not a folder"))
        return {}
    seen = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    texts: dict[str, str] = {}
    only = " and ".join([f"*{ending}", *(f"{name}/" for name in sorted(besides))])
    for path in (path for path in seen if path.name not in besides):
        if path.suffix != ending or not path.is_file():
            problems.append(Problem(str(path), 0, f"only {only} belong here"))
            continue
        try:
            texts[str(path)] = read_text(path)
        except FilesInvalid as error:
            problems.extend(error.problems)
    return texts


def _refused(path: Path, line: int, message: str) -> FilesInvalid:
    return FilesInvalid([Problem(str(path), line, message)])
