"""Files are read strictly: nothing is guessed, every fault has its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.strict_yaml import Entry, Node, load_yaml, parse_yaml
from valetkey.policy.texts import MAX_BYTES


def fault(text: str) -> Problem:
    """The one problem of a text."""
    with pytest.raises(FilesInvalid) as caught:
        parse_yaml(text, "x.yaml")
    (problem,) = caught.value.problems
    return problem


def test_values_know_their_lines() -> None:
    """A key's line and its value's line, from 1."""
    assert parse_yaml("a: 1\nb:\n  - x\n  - true\n", "x.yaml") == Node(
        {"a": Entry(1, Node(1, 1)), "b": Entry(2, Node((Node("x", 3), Node(True, 4)), 3))}, 1
    )


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\na: 2\n", 2, "duplicate key"),
        ("a:\n  b: 1\n  'b': 2\n", 3, "duplicate key"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n", 2, "tags"),
        ("a: !!str 1\n", 1, "tags"),
        ("a: &x 1\n", 1, "anchors"),
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("a: 1\n---\nb: 1\n", 2, "more than one document"),
        ("%YAML 1.1\n---\na: 1\n", 1, "directives"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", 1, "directives"),
        ("a: [1\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a: \x07\n", 1, "character"),
        ("a: 1\nb: x\u2028y\n", 2, "hides"),
        ("a: 1\n# \u202e x\n", 2, "hides"),
        ("a: 1\rb: 2\n", 1, "hides"),
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("1: a\n", 1, "key"),
        ("[a]: b\n", 1, "key"),
        ("a:\n" + "  - " + "[" * 30 + "]" * 30, 2, "nested"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: str, line: int, part: str) -> None:
    """With the line where it stands."""
    problem = fault(text)
    assert (problem.file, problem.line) == ("x.yaml", line)
    assert part in problem.message


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "Yes",
        "NO",
        "True",
        "FALSE",
        "null",
        "Null",
        "none",
        "~",
        "0o17",
        "017",
        "0x1f",
        "1_000",
        "1.5",
        ".5",
        "1e3",
        "+1",
        "12:30:45",
        "2026-01-01",
        ".inf",
        ".nan",
        "0b1",
        "-0",
    ],
)
def test_a_word_that_yaml_reads_as_something_else_must_be_quoted(word: str) -> None:
    """`no` as a region is Norway, not false."""
    assert "quote it" in fault(f"a: 1\nb: {word}\n").message
    quoted = parse_yaml(f"b: '{word}'\n", "x.yaml").value
    assert isinstance(quoted, dict)
    assert quoted["b"].node.value == word


def test_a_merge_key_is_an_ordinary_unknown_key() -> None:
    """Nothing is merged behind the reader's back."""
    value = parse_yaml("'<<': {a: 1}\n", "x.yaml").value
    assert isinstance(value, dict)
    assert list(value) == ["<<"]


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    """Before it is parsed."""
    path = tmp_path / "big.yaml"
    path.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(FilesInvalid, match="larger"):
        load_yaml(path)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    """The line of the first wrong byte."""
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(FilesInvalid, match=r"x\.yaml:2: is not UTF-8"):
        load_yaml(path)


def test_a_missing_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    """The reason is said without a trace."""
    with pytest.raises(FilesInvalid, match="cannot be read"):
        load_yaml(tmp_path / "none.yaml")


_words = st.text("abcdefgh", min_size=3, max_size=8)


@given(words=st.lists(_words, min_size=1, max_size=8, unique=True), data=st.data())
def test_a_duplicate_key_always_has_file_and_line(words: list[str], data: st.DataObject) -> None:
    """Wherever it stands."""
    again = data.draw(st.sampled_from(words))
    text = "".join(f"{word}: x\n" for word in [*words, again])
    problem = fault(text)
    assert (problem.file, problem.line) == ("x.yaml", len(words) + 1)


_trees = st.recursive(
    st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=12,
)


@given(tree=st.dictionaries(_words, _trees, min_size=1, max_size=4))
def test_what_yaml_writes_is_read_as_it_was_or_refused(tree: dict[str, object]) -> None:
    """A value is never read as another."""
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        read = parse_yaml(text, "x.yaml")
    except FilesInvalid:
        return
    assert _plain(read) == tree


@given(text=st.text(st.sampled_from("ab: -[]{}'\"\n&*!|>#,?%~01"), max_size=60))
def test_no_text_makes_the_reader_crash(text: str) -> None:
    """It is read, or refused with a place."""
    lines = [problem.line for problem in _faults(text)]
    assert all(line >= 1 for line in lines)


def _faults(text: str) -> tuple[Problem, ...]:
    try:
        parse_yaml(text, "x.yaml")
    except FilesInvalid as error:
        return error.problems
    return ()


def _plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, tuple):
        return [_plain(item) for item in node.value]
    return node.value
