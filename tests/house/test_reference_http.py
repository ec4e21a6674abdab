"""docs/reference/http.md lists every route: who may call it, what it takes and answers."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType

from fastapi.routing import APIRoute

from tests.house.pages import complaint, told_rows
from valetkey.web.app import ROOMS

DOORS = {"agent": "agent", "ci": "CI", "person": "person"}


def routes() -> Iterator[APIRoute]:
    """Every route of the application."""
    for room in ROOMS:
        for route in room.router.routes:
            assert isinstance(route, APIRoute)
            yield route


def row_of(route: APIRoute) -> tuple[str, ...]:
    """What the page must say of a route: call, who, takes, answers."""
    assert route.methods is not None
    (method,) = route.methods
    return f"`{method} {route.path}`", who(route), takes(route), answers(route)


def who(route: APIRoute) -> str:
    """The doors of a route, read from the dependency that guards it; `open` without one."""
    for dependency in route.dependant.dependencies:
        enter = dependency.call
        if isinstance(enter, FunctionType) and enter.__qualname__.startswith("door."):
            cells = dict(zip(enter.__code__.co_freevars, enter.__closure__ or (), strict=True))
            return ", ".join(DOORS[kind] for kind in cells["kinds"].cell_contents)
    return "open"


def takes(route: APIRoute) -> str:
    """Members of the body, then query parameters, then headers."""
    extra = route.openapi_extra or {}
    body = extra.get("x-body")
    names = [f"`{name}`" for name in body.model_fields] if body else []
    marks = {"query": "?", "header": ""}
    names += [f"`{marks[p['in']]}{p['name']}`" for p in extra.get("parameters", [])]
    if body is None and "requestBody" in extra:
        return "form"
    return ", ".join(names) or "nothing"


def answers(route: APIRoute) -> str:
    """The statuses of success."""
    told = {int(code) for code in route.responses if str(code).isdigit() and int(code) < 300}
    return ", ".join(str(code) for code in sorted(told or {route.status_code or 200}))


def test_every_route_is_documented() -> None:
    """A route, door, member, parameter or status changed without the page fails here."""
    trouble = complaint("http.md", {row_of(r) for r in routes()}, told_rows("http.md", 5, 4))
    assert not trouble, trouble
