"""Bodies: strict JSON first, strict models second. A refusal names the field, never a value.

Python's parser keeps the last of two equal names and takes NaN; both are refused here
(RFC 8259 section 4 calls them unpredictable).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from valetkey.core.errors import BrokerError, InvalidRequest, UnsupportedMedia

DEEPEST = 8
_UNCLEAN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's categories Cc, but for newline and tab, and Cs."""
JSON = ("application/json", "application/json;charset=utf-8")

Model = TypeVar("Model", bound="Body")


class Body(BaseModel):
    """A request body: exact types, no unknown members."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Nothing(Body):
    """A call that says everything in its path: no body, or `{}`."""


def reads(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that reads the body as this model; it comes after the door.

    Raises BodyTooLarge, UnsupportedMedia or InvalidRequest.
    """

    async def body(request: Request) -> Model:
        if not hasattr(request.state, "caller"):
            raise RuntimeError("a body is read before its caller is known")
        raw = raw_body(request)
        if model is Nothing and not raw:
            return model()
        of_media(request, JSON)
        return checked(model, parse(raw))

    return body


def raw_body(request: Request) -> bytes:
    """What came; raises what the frame found wrong with it."""
    body: bytes | BrokerError = request.state.body
    if isinstance(body, BrokerError):
        raise body
    return body


def of_media(request: Request, allowed: tuple[str, ...]) -> None:
    """Raise UnsupportedMedia unless the one Content-Type is among these."""
    given = request.headers.getlist("content-type")
    if len(given) != 1 or given[0].lower().replace(" ", "").replace('"', "") not in allowed:
        raise UnsupportedMedia()


def parse(raw: bytes) -> object:
    """Read one JSON value; raises InvalidRequest.

    Refused: other encodings than UTF-8, equal names, NaN and infinities (also by overflow),
    nesting deeper than DEEPEST, and texts with lone surrogates or control characters.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    _look_through(value)
    return value


def checked(model: type[Model], value: object) -> Model:
    """The value as this model; raises InvalidRequest that names what is wrong with which field."""
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        raise InvalidRequest(_sentence(model, wrong)) from None


def clean(text: str) -> bool:
    """Whether a text can be stored and shown: no lone surrogates, no controls but \\n and \\t."""
    return _UNCLEAN.search(text) is None


def _sentence(model: type[Body], wrong: ValidationError) -> str:
    first = wrong.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "extra_forbidden":
        return "the body has a member that this route does not take"
    where = list(_known(model, first["loc"]))
    what = "is missing" if first["type"] == "missing" else "is not of its type or form"
    return f"{'.'.join(where) or 'the body'} {what}"


def _known(model: type[Body], path: tuple[int | str, ...]) -> Iterator[str]:
    """The leading part of a path whose words are ours."""
    for part in path[:1]:
        if part in model.model_fields:
            yield str(part)
            yield from (str(part) for part in path[1:2] if isinstance(part, int))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise InvalidRequest("a member is given twice")
    return read


def _no_constant(_: str) -> object:
    raise InvalidRequest("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequest("a number is out of range")
    return number


def _look_through(value: object) -> None:
    """Walk without recursion: depth and texts."""
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        here, depth = waiting.pop()
        if depth > DEEPEST:
            raise InvalidRequest("the body is nested too deeply")
        if isinstance(here, dict):
            waiting += [(name, depth) for name in here]
            waiting += [(inner, depth + 1) for inner in here.values()]
        elif isinstance(here, list):
            waiting += [(inner, depth + 1) for inner in here]
        elif isinstance(here, str) and not clean(here):
            raise InvalidRequest("a text has characters that texts may not have")
