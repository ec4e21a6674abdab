"""What a back-channel ask may say: the law of its message, and of how long people have."""

from __future__ import annotations

import json
import unicodedata
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.core.backchannel import LONGEST_WAIT
from valetkey.core.errors import InvalidRequest
from valetkey.identity.backchannel import read_ask
from valetkey.identity.details import TYPE

US = "https://valetkey.example.com"
DETAIL = {"type": TYPE, "task": "task_0", "scope": "orders-db:read", "ttl": 60}
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def read(**form: str) -> tuple[str, timedelta] | str:
    """The message and the time that are read, or the word they are refused with."""
    try:
        _, message, within, _ = read_ask(
            {"authorization_details": json.dumps([DETAIL]), **form}, US
        )
    except InvalidRequest as refused:
        return str(refused.extra["oauth_error"])
    return message, within


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=110))
def test_a_message_is_shown_as_it_came_or_not_at_all(message: str) -> None:
    """Nothing hidden, nothing that turns text round, one spelling, 100 characters."""
    seen = not any(unicodedata.category(char) in HIDDEN for char in message)
    answer = read(binding_message=message)
    if answer == "invalid_binding_message":
        assert len(message) > 100 or not (
            message.isprintable() and unicodedata.is_normalized("NFC", message)
        )
    else:
        assert answer == (message, LONGEST_WAIT)
        assert seen
        assert len(message) <= 100


@settings(max_examples=200, deadline=None)
@given(st.integers(-10, 10**10) | st.text(max_size=5))
def test_people_never_have_longer_than_they_may(asked: object) -> None:
    """Whole seconds above zero only shorten it; everything else is refused."""
    answer = read(requested_expiry=str(asked))
    if isinstance(answer, tuple):
        assert timedelta(0) < answer[1] <= LONGEST_WAIT
        assert answer[1] == min(timedelta(seconds=int(str(asked))), LONGEST_WAIT)
    else:
        assert answer == "invalid_request"
