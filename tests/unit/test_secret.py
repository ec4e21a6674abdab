"""A secret is silent: it prints nothing, and cannot be written down by accident."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest

from valetkey.core.secret import Secret

CANARY = "canary-7f1c"
SECRET = Secret({"password": CANARY}, {"username": "vk-1"})


@dataclass(frozen=True)
class Holder:
    """Something that a careless log line might print."""

    secret: Secret


def test_a_secret_prints_nothing() -> None:
    """Not by itself, not inside other things; revealed on purpose, it is there."""
    for text in (repr(SECRET), str(SECRET), f"{SECRET}", f"{Holder(SECRET)}", repr([SECRET])):
        assert CANARY not in text
    assert CANARY in repr(SECRET.reveal())


def test_a_secret_cannot_be_written_down() -> None:
    """Pickle, copy, JSON and dataclass dumps all fail."""
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars):
        with pytest.raises(TypeError) as refused:
            write(SECRET)  # type: ignore[operator]
        assert CANARY not in str(refused.value)
    with pytest.raises(TypeError):
        asdict(Holder(SECRET))


def test_a_secret_equals_nothing_but_itself() -> None:
    """So no comparison leaks what it holds."""
    assert Secret({"password": CANARY}, {"username": "vk-1"}) != SECRET


def test_only_the_secret_parts_are_fingerprinted() -> None:
    """And what is revealed is a copy."""
    assert SECRET.parts() == {"password": CANARY}
    SECRET.reveal()["password"] = "changed"
    assert SECRET.reveal() == {"password": CANARY, "username": "vk-1"}
