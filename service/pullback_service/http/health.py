"""Health, answered by the HTTP process alone, whatever the workers do."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pullback_schemas.results import Health
from pullback_service.workers.base import AbstractWorkers


def health_router(workers: AbstractWorkers) -> APIRouter:
    """`GET /health/live` and `/health/ready`."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", response_model_exclude_none=True)
    async def live() -> Health:
        """The HTTP process answers."""
        return Health(status="ok")

    @router.get(
        "/ready",
        response_model_exclude_none=True,
        responses={503: {"model": Health, "description": "Not now; status and reason tell why"}},
    )
    async def ready(response: Response) -> Health:
        """A worker is up and there is room in the queue, so requests are answered."""
        readiness = workers.readiness()
        if readiness.status != "ok":
            response.status_code = 503
        return Health(
            status=readiness.status,
            reason=readiness.reason,
            workers=workers.counts(),
            devices=workers.devices(),
            fences=workers.fences(),
        )

    return router
