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

    @router.get("/ready", responses={503: {"model": Health, "description": "No worker is up yet"}})
    async def ready(response: Response) -> Health:
        """A worker is up, so requests are answered."""
        counts = workers.counts()
        if not counts["ready"]:
            response.status_code = 503
        return Health(status="ok" if counts["ready"] else "starting", workers=counts, fences=workers.fences())

    return router
