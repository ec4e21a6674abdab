"""One word, one meaning: what is written everywhere, and words that stand nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.measure import ROOT, functions, modules

VAGUE = re.compile(r"(?i)(?:^|_)(utils?|managers?|helpers?|misc|common)(?:$|_)")
VAGUE_ENDS = ("Manager", "Helper", "Utils", "Handler", "Impl")
VAGUE_CALLS = {"process", "handle", "do", "execute", "data"}
PUBLIC = ("core/", "flows/", "store/", "policy/", "minters/", "identity/")


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class, named `path:name`."""
    for name, text in modules():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                yield f"{name}:{node.name}", node


def test_every_module_says_what_it_is() -> None:
    """Each has a docstring, packages too."""
    silent = [name for name, text in modules() if not ast.get_docstring(ast.parse(text))]
    assert silent == []


def test_every_public_class_says_what_it_is() -> None:
    """Each has a docstring."""
    public = (x for x in classes() if not x[1].name.startswith("_") and not _foreign(x[1]))
    assert [name for name, node in public if not ast.get_docstring(node)] == []


def test_every_public_function_of_a_module_says_what_it_does() -> None:
    """Each has a docstring."""
    silent = [
        f"{name}:{node.name}"
        for name, text in modules()
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_name_is_vague() -> None:
    """Nothing is called a manager, a helper or utils, nothing merely processes or handles.

    The standard library's request handlers are what they are called there.
    """
    vague = [name for name, _ in modules() if VAGUE.search(name.rsplit("/")[-1].split(".")[0])]
    vague += [
        name for name, node in classes() if node.name.endswith(VAGUE_ENDS) and not _foreign(node)
    ]
    vague += [
        name
        for name, node in functions()
        if not node.name.startswith("_") and name.startswith(PUBLIC)
        if node.name in VAGUE_CALLS or VAGUE.search(node.name)
    ]
    assert vague == []


def test_no_end_is_a_bare_revoked() -> None:
    """No state and no proof is called revoked; it is a reason at most."""
    from valetkey.core.lease import LeaseState, Proof

    assert "revoked" not in {*LeaseState, *Proof}


def test_the_house_has_its_papers() -> None:
    """What a stranger looks for first is there, and says something."""
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        assert (ROOT / name).stat().st_size > 0, name


def _foreign(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("RequestHandler") for base in node.bases)
