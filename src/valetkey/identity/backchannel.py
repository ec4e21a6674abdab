"""What asks in the back channel say, read strictly (CIBA Core 1.0 section 7.1, poll mode).

There are no ID tokens, so `scope` stays what it is everywhere here, and who decides is policy's to
say: a hint names nobody but the person for whom the task is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from valetkey.core.backchannel import LONGEST_MESSAGE, LONGEST_WAIT
from valetkey.core.detail import Detail
from valetkey.identity.details import NAME, asked_details
from valetkey.identity.oauth import check_asked, malformed

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,8}")
_HINT: Final = re.compile(r"[\x21-\x7e]{1,255}")
_REFUSED: Final = {
    "request": "signed requests are not taken",
    "client_notification_token": "answers are polled for, not sent",
    "login_hint_token": "the only hint taken is login_hint",
    "id_token_hint": "the only hint taken is login_hint",
    "user_code": "people have no code here",
}


def read_ask(form: Mapping[str, str], url: str) -> tuple[Detail, str, timedelta, str | None]:
    """The one detail, the message, how long people have, and the hint.

    Raises InvalidRequest told as `invalid_request`, `invalid_scope`, `invalid_target`,
    `invalid_binding_message`, `invalid_authorization_details` or `unknown_user_id`.
    """
    check_asked(form, url)
    for name, why in _REFUSED.items():
        if name in form:
            raise malformed(why)
    details = asked_details(form)
    if len(details) != 1:
        raise malformed(f"{NAME} holds exactly one ask", "invalid_authorization_details")
    hint = form.get("login_hint")
    if hint is not None and not _HINT.fullmatch(hint):
        raise malformed("login_hint is no address", "unknown_user_id")
    return details[0], _message(form), _within(form), hint


def _message(form: Mapping[str, str]) -> str:
    """What people are shown: up to 100 characters that can be seen and turn nothing round."""
    message = form.get("binding_message", "")
    plain = message.isprintable() and unicodedata.is_normalized("NFC", message)
    if len(message) > LONGEST_MESSAGE or not plain:
        what = "binding_message has at most 100 printable characters and none that turn text round"
        raise malformed(what, "invalid_binding_message")
    return message


def _within(form: Mapping[str, str]) -> timedelta:
    """How long people have; asked for less, less."""
    if "requested_expiry" not in form:
        return LONGEST_WAIT
    if not _SECONDS.fullmatch(form["requested_expiry"]):
        raise malformed("requested_expiry is a whole number of seconds")
    return min(timedelta(seconds=int(form["requested_expiry"])), LONGEST_WAIT)
