"""Describing routes: what each reads and answers, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from valetkey.web.api.answers import Problem
from valetkey.web.bodies import Body
from valetkey.web.queries import Filters, path_form

_REF: Final = "#/components/schemas/{model}"
_PROBLEM: Final = {
    "description": "Refused; `code` says what to do differently.",
    "model": Problem,
    "content": {"application/problem+json": {}},
}


def answers(*, refusals: bool = True, **by_status: type[BaseModel]) -> dict[int | str, Any]:
    """Responses for a route: `s200=Model, s202=Model`, and every refusal as a problem."""
    found: dict[int | str, Any] = {
        int(status[1:]): {"model": model, "description": _first_line(model)}
        for status, model in by_status.items()
    }
    if refusals:
        found |= {"4XX": dict(_PROBLEM), "5XX": dict(_PROBLEM)}
    return found


def takes(
    body: type[BaseModel] | None = None,
    *,
    filters: Filters | None = None,
    headers: dict[str, bool] | None = None,
) -> dict[str, Any]:
    """What a route reads by itself: its body, query parameters, and headers (name: required)."""
    told: dict[str, Any] = {"parameters": filters.documented() if filters else []}
    for name, required in (headers or {}).items():
        shape = {"name": name, "in": "header", "required": required, "schema": {"type": "string"}}
        told["parameters"].append(shape)
    if body is not None:
        schema = {"$ref": _REF.format(model=body.__name__)}
        told["requestBody"] = {
            "required": bool(body.model_fields),
            "content": {"application/json": {"schema": schema}},
        }
    return told


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the models of bodies among its components."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for body in sorted(Body.__subclasses__(), key=lambda model: model.__name__):
            schema = body.model_json_schema(ref_template=_REF)
            schemas.update(schema.pop("$defs", {}))
            schemas[body.__name__] = schema
        for path, operation in _operations(made):
            _only_problems(operation)
            _form_of_paths(operation)
            if path.startswith("/v1/"):
                operation["security"] = [{"dpop": []}]
        made["components"]["securitySchemes"] = {
            "dpop": {"type": "http", "scheme": "DPoP", "description": "RFC 9449, with a proof"}
        }
        app.openapi_schema = made
    return app.openapi_schema


def _operations(made: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    paths = made["paths"].items()
    return [(path, operation) for path, item in paths for operation in item.values()]


def _only_problems(operation: dict[str, Any]) -> None:
    """Refusals are problems and nothing else; FastAPI's own 422 does not occur here."""
    operation["responses"].pop("422", None)
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if status.endswith("XX") and "application/problem+json" in content:
            schema = content.pop("application/json", {}).get("schema")
            content["application/problem+json"] = {"schema": schema} if schema else {}


def _form_of_paths(operation: dict[str, Any]) -> None:
    """What stands in a path has its form; anything else is no such object."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter["schema"]["pattern"] = f"^{path_form(parameter['name'])}$"


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").splitlines()[0]
