"""Where the HTTP process is wired. Nothing happens at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from pullback_service import __version__
from pullback_service.http.answers import Answers
from pullback_service.http.body import Bodies
from pullback_service.http.catalogue import catalogue_router
from pullback_service.http.computing import Application, Computing
from pullback_service.http.health import health_router
from pullback_service.http.holdings import Holdings
from pullback_service.http.openapi import install_openapi
from pullback_service.http.problems import install_problems
from pullback_service.settings import Settings
from pullback_service.workers.base import AbstractWorkers
from pullback_service.workers.inline import InlineWorkers
from pullback_service.workers.processes import ProcessWorkers

KINDS: dict[str, type[InlineWorkers] | type[ProcessWorkers]] = {
    "inline": InlineWorkers,
    "processes": ProcessWorkers,
}


def create_workers(settings: Settings) -> AbstractWorkers:
    """The workers of the chosen kind, not yet started."""
    return KINDS[settings.worker_kind](settings)


def create_app(settings: Settings, workers: AbstractWorkers | None = None) -> Application:
    """The service. Its workers start and stop with the application's lifespan."""
    crew = create_workers(settings) if workers is None else workers

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await crew.start()
        try:
            yield
        finally:
            await crew.stop()

    app = Application(
        title="Pullback",
        version=__version__,
        description="Exact derivatives of op graphs, over HTTP.",
        lifespan=lifespan,
        redoc_url=None,
    )
    holdings = Holdings(settings.max_held_bytes)
    answers = Answers(holdings, settings.body_timeout_s)
    app.computing = Computing(crew, Bodies(settings, holdings), answers, settings)
    app.include_router(catalogue_router(crew, answers, settings))
    app.include_router(health_router(crew))
    install_problems(app)
    install_openapi(app)
    return app
