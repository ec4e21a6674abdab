"""Policies that are too much for Cedar's parser or Python's are refused before either sees them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from cedarpy import policies_to_json_str, validate_policies

from tests.policy.conftest import GROUPS, SAMPLE
from valetkey.core.catalogue import Catalogue
from valetkey.policy.cedar import CedarPolicy
from valetkey.policy.cedar_text import MOST_BYTES, MOST_DEPTH, MOST_OPERATORS, cut, too_large
from valetkey.policy.problems import PolicyInvalid

NESTED: dict[str, Callable[[int], str]] = {
    "round": lambda n: "(" * n + "true" + ")" * n,
    "square": lambda n: "[" * n + "]" * n + " == []",
    "curly": lambda n: '{"a": ' * n + "1" + "}" * n + " == 1",
    "calls": lambda n: "[1].contains(" * n + "1" + ")" * n,
    "negated": lambda n: "!(" * n + "true" + ")" * n,
    "closed before": lambda n: ")" * n + "(" * n,
    "over lines": lambda n: "( // )\n" * n + "true" + ")" * n,
    "behind texts": lambda n: '"\\")" == ")))" && ' + "(" * n + "true" + ")" * n,
}
CHAINED: dict[str, Callable[[int], str]] = {
    "and": lambda n: "true" + " && true" * n,
    "or": lambda n: "true" + "||true" * n,
    "sums": lambda n: "1" + " + 1" * n + " == 2",
    "products": lambda n: "1" + " * 1" * n + " == 2",
    "ifs": lambda n: "if true then " * n + "true" + " else true" * n,
    "members": lambda n: "context" + ".a" * n,
    "has": lambda n: "context has a" + ".a" * n,
    "indexes": lambda n: "context" + '["a"]' * n,
    "spaced indexes": lambda n: "context" + ' // "\n ["a"]' * n,
    "methods": lambda n: "[1]" + ".contains(1)" * n,
    "calls of calls": lambda n: "ip" + "(1)" * n,
    "negations": lambda n: "true" + " && !!!true" * (n // 4),
    "conditions": lambda n: "true }" + " when { true }" * n + " when { true",
}


def when(body: str) -> str:
    """One policy with this condition."""
    return f'@id("deep")\npermit (principal, action, resource)\nwhen {{ {body} }};'


def refusal(catalogue: Catalogue, text: str) -> list[str]:
    """What is said of a file of one policy, behind another one."""
    first = '@id("first") permit (principal, action, resource);\n\n'
    with pytest.raises(PolicyInvalid) as caught:
        CedarPolicy.read({"policies/x.cedar": first + text}, "policies", catalogue, GROUPS)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("depth", [MOST_DEPTH + 1, 1000, 8000])
@pytest.mark.parametrize("kind", NESTED)
def test_brackets_within_brackets_are_refused_by_file_and_line(
    catalogue: Catalogue, kind: str, depth: int
) -> None:
    """As deep as ended the process, and deeper; the policy's own braces are one more."""
    (told,) = refusal(catalogue, when(NESTED[kind](depth)))
    assert told.startswith(("policies/x.cedar:3: has more than", "policies/x.cedar:3: is larger"))


@pytest.mark.parametrize("length", [MOST_OPERATORS + 1, 480, 20_000])
@pytest.mark.parametrize("kind", CHAINED)
def test_chains_of_operators_are_refused_by_file_and_line(
    catalogue: Catalogue, kind: str, length: int
) -> None:
    """As long as ended the process or could be read by some and not by others, and longer."""
    (told,) = refusal(catalogue, when(CHAINED[kind](length)))
    assert told.startswith(("policies/x.cedar:3: has more than", "policies/x.cedar:3: is larger"))


def test_everything_within_the_bounds_is_read_by_both_even_far_down_the_stack() -> None:
    """Cedar in a thread of its own, and Python with 300 calls above it."""
    deepest = "!" + "(" * (MOST_DEPTH - 1) + "true" + " && true)" * (MOST_DEPTH - 1)
    left = MOST_OPERATORS - 2 - MOST_DEPTH
    texts = [when(deepest + " && true" * left)]
    texts += [when(NESTED[kind](MOST_DEPTH - 3)) for kind in ("round", "square", "curly")]
    texts += [when(CHAINED[kind](MOST_OPERATORS - 8)) for kind in CHAINED if "calls" not in kind]
    failed: list[str] = []

    def below(calls: int, text: str) -> None:
        if calls:
            return below(calls - 1, text)
        json.loads(policies_to_json_str(text))
        validate_policies(text, "{}")
        return None

    def run() -> None:
        for text in texts:
            try:
                below(300, text)
            except (RecursionError, ValueError) as error:
                failed.append(f"{type(error).__name__}: {text[:80]}")

    assert [too_large(text) for text in texts] == [None] * len(texts)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []


def test_brackets_and_operators_in_texts_and_comments_do_not_count() -> None:
    """Nor do lists as long as a policy may be, nor long names."""
    assert too_large(when('"' + "((((&&.." * 1000 + '" like "*"')) is None
    assert too_large(when("true // " + "[[[[ || " * 1000 + "\n")) is None
    assert too_large(when('["a"' + ', "b"' * 5000 + "].contains(principal.name)")) is None
    assert too_large(when("principal is " + "A::" * 5000 + "A")) is None


def test_a_policy_larger_than_the_bound_is_refused(catalogue: Catalogue) -> None:
    """In bytes, so that no other alphabet has more."""
    (told,) = refusal(catalogue, when('"' + "ä" * (MOST_BYTES // 2) + '" == ""'))
    assert told == f"policies/x.cedar:3: is larger than {MOST_BYTES} bytes"


def test_the_samples_stay_far_below_the_bounds() -> None:
    """People have four times what our own policies need."""
    for path in (SAMPLE / "policies").glob("*.cedar"):
        for _, text in cut(path.read_text()):
            body = text.partition("when {")[2].rpartition("}")[0] or "true"
            assert too_large(f"{text} {' && '.join([f'({body})'] * 3)}") is None


@pytest.mark.parametrize("unit", ['\\"', '"', '"\\', 'a"//', "/", "//", '"a\n', "\\"])
def test_cutting_takes_time_by_the_size_alone(unit: str) -> None:
    """However quotes and backslashes are heaped up, closed or not."""
    begun = time.perf_counter()
    pieces = list(cut(unit * 200_000))
    for _, piece in pieces:
        too_large(piece)
    assert time.perf_counter() - begun < 2


def test_a_text_that_is_not_closed_goes_to_the_end() -> None:
    """Nothing in it is taken for the end of a policy."""
    assert list(cut('permit;\nforbid "a; // b;\n c;')) == [
        (1, "permit;"),
        (2, 'forbid "a; // b;\n c;'),
    ]
