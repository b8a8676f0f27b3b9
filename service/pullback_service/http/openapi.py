"""The OpenAPI document, with the models of bodies that the HTTP process hands on unread."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from pullback_schemas.problems import Problem
from pullback_schemas.results import OpInfo, OpList
from pullback_service.http.operations import OPERATIONS, paths

KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "the key is the password; any user name"},
}
"""The ways to send a key; none is needed where the service has none."""


def install_openapi(app: FastAPI) -> None:
    """Let `app` document the models of its raw routes."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            document["paths"] = {**paths(), **document["paths"]}
            document["security"] = [{}, *({name: []} for name in KEYS)]
            components = document.setdefault("components", {})
            components["securitySchemes"] = KEYS
            components.setdefault("schemas", {}).update(_models())
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _models() -> dict[str, Any]:
    sent = [(request, "validation") for request, _, _ in OPERATIONS.values()]
    answered = [(result, "serialization") for _, result, _ in OPERATIONS.values()]
    answered += [(model, "serialization") for model in (OpList, OpInfo, Problem)]
    _, definitions = models_json_schema(
        [*sent, *answered],  # type: ignore[list-item]
        ref_template="#/components/schemas/{model}",
    )
    models: dict[str, Any] = definitions["$defs"]
    return models
