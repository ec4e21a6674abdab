"""What stands in paths, queries and headers, checked by form before the store is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import Request

from valetkey.core.errors import InvalidRequest, NotFound

_KIND_OF_ID: Final = r"{}_[0-9a-v]{{26}}"
NAME: Final = r"[a-z][a-z0-9-]{0,62}"
EMAIL: Final = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}"
PRINCIPAL: Final = r"[\x21-\x7e]{1,1024} [^\x00-\x1f\x7f]{1,255}"
"""Issuer and subject as one text, as history and delegations show it."""
WORD: Final = r"[A-Za-z][A-Za-z_]{0,40}"
NUMBER: Final = r"[1-9][0-9]{0,17}"
INSTANT: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,15}(?:Z|[+-][0-9]{2}:[0-9]{2})"


def id_form(kind: str) -> str:
    """The form of our ids: `<kind>_` and 26 base32hex characters."""
    return _KIND_OF_ID.format(kind)


PERSON: Final = f"me|{EMAIL}"
AGENT: Final = f"(?:{id_form('agent')}|{NAME})"


def path_id(kind: str, given: str) -> str:
    """An id from a path; NotFound when it cannot be one."""
    return _fits(id_form(kind), given)


def path_digest(given: str) -> str:
    """A digest from a path (SHA-256, hex); NotFound when it cannot be one."""
    return _fits(r"[0-9a-f]{64}", given)


def path_agent(given: str) -> str:
    """An agent's id or name from a path; NotFound when it cannot be one."""
    return _fits(AGENT, given)


def path_form(name: str) -> str:
    """The form of what stands in a path under this name: ids as `<kind>_id`, agents as `name`."""
    kind = name.removesuffix("_id")
    return AGENT if kind == name else id_form(kind)


@dataclass(frozen=True)
class Filters:
    """The query parameters that a route takes, each with its form as a pattern."""

    forms: Mapping[str, str]

    def read(self, request: Request) -> dict[str, str]:
        """What was given; raises InvalidRequest for a parameter unknown, doubled or out of form."""
        given = request.query_params.multi_items()
        read = dict(given)
        if len(read) != len(given):
            raise InvalidRequest("a query parameter is given twice")
        if not read.keys() <= self.forms.keys():
            raise InvalidRequest("a query parameter is not one this route takes")
        for name, value in read.items():
            if not re.fullmatch(self.forms[name], value):
                raise InvalidRequest(f"{name} is not of its form")
        return read

    def documented(self) -> list[dict[str, Any]]:
        """The same for the OpenAPI document."""
        return [
            {"name": name, "in": "query", "schema": {"type": "string", "pattern": f"^{form}$"}}
            for name, form in self.forms.items()
        ]


def instant(name: str, text: str | None) -> datetime | None:
    """An aware instant; raises InvalidRequest."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{name} is not an instant with its offset") from None


def header(request: Request, name: str, form: str, *, required: bool = False) -> str | None:
    """One header's value; raises InvalidRequest when doubled, out of form, or missing."""
    given = request.headers.getlist(name)
    if not given and not required:
        return None
    if len(given) != 1 or not re.fullmatch(form, given[0]):
        raise InvalidRequest(f"{name} is missing, doubled or not of its form")
    return given[0]


def if_match(request: Request, *, required: bool = False) -> str | None:
    """The digest that the caller knows, from `If-Match` (RFC 9110 13.1.1); raises InvalidRequest.

    One strong entity tag; neither lists nor `*`.
    """
    given = header(request, "If-Match", r'"[0-9a-f]{64}"', required=required)
    return given.strip('"') if given else None


def _fits(form: str, given: str) -> str:
    if not re.fullmatch(form, given):
        raise NotFound()
    return given
