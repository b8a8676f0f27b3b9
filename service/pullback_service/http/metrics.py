"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pullback_service.access.gate import Gate
from pullback_service.http.edge import record_of
from pullback_service.http.operations import problems
from pullback_service.settings import Settings
from pullback_service.telemetry.metrics import Metrics

OPENMETRICS = "application/openmetrics-text"
WRITTEN = {"text/plain": {"schema": {"type": "string"}}, OPENMETRICS: {"schema": {"type": "string"}}}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "200": {"description": "Done", "content": WRITTEN},
    **problems(400, 401, 408, 431, 500, 503),
}


def metrics_router(metrics: Metrics, gate: Gate, settings: Settings) -> APIRouter:
    """`GET /metrics`, with a key where keys are needed and metrics are not open."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response, responses=DOCUMENTED)
    async def scrape(request: Request) -> Response:
        """What Prometheus collects."""
        if gate.needs_keys and settings.metrics == "key":
            gate.holder(record_of(request.scope).asked)
        text, content_type = metrics.written(as_openmetrics=OPENMETRICS in request.headers.get("accept", ""))
        return Response(text, media_type=content_type)

    return router
