"""Where the HTTP process is wired. Nothing happens at import."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from pullback_service import __version__
from pullback_service.access.gate import Gate
from pullback_service.http.answers import Answers
from pullback_service.http.body import Bodies
from pullback_service.http.catalogue import catalogue_router
from pullback_service.http.computing import Application, Computing
from pullback_service.http.docs import install_docs
from pullback_service.http.edge import Edge
from pullback_service.http.health import health_router
from pullback_service.http.holdings import Holdings
from pullback_service.http.metrics import metrics_router
from pullback_service.http.openapi import install_openapi
from pullback_service.http.problems import install_problems
from pullback_service.http.reception import Reception
from pullback_service.settings import Settings
from pullback_service.telemetry.access_log import AccessLog
from pullback_service.telemetry.metrics import Metrics
from pullback_service.telemetry.reporters import Reporters
from pullback_service.telemetry.traces import traces_from
from pullback_service.workers.base import AbstractWorkers
from pullback_service.workers.inline import InlineWorkers
from pullback_service.workers.processes import ProcessWorkers

METHODS = ["GET", "POST"]
SENT = [
    *("Authorization", "X-API-Key", "Content-Type", "Content-Encoding"),
    *("Pullback-Timeout", "X-Request-ID", "traceparent", "tracestate"),
]
TOLD = ["Server-Timing", "X-Request-ID", "traceresponse", "RateLimit", "RateLimit-Policy", "Retry-After"]
"""Headers that web pages may send, and read."""

KINDS: dict[str, type[InlineWorkers] | type[ProcessWorkers]] = {
    "inline": InlineWorkers,
    "processes": ProcessWorkers,
}


def create_workers(settings: Settings) -> AbstractWorkers:
    """The workers of the chosen kind, not yet started."""
    return KINDS[settings.worker_kind](settings)


def _shared(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Open to the web pages that may call, if there are any."""
    if not settings.origins:
        return app
    return CORSMiddleware(app, settings.origins, allow_methods=METHODS, allow_headers=SENT, expose_headers=TOLD)


def create_app(settings: Settings, workers: AbstractWorkers | None = None) -> Application:
    """The service. Its workers start and stop with the application's lifespan."""
    crew = create_workers(settings) if workers is None else workers
    metrics = Metrics(crew)
    reporters = Reporters(metrics, AccessLog(settings.access_log), traces_from(os.environ))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await crew.start()
        try:
            yield
        finally:
            await crew.stop()
            reporters.stop()

    app = Application(
        title="Pullback",
        version=__version__,
        description="Exact derivatives of op graphs, over HTTP.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # they would lead wherever the Host header says
    )
    gate = Gate(settings)
    reception = Reception(gate, settings)
    holdings = Holdings(settings.max_held_bytes)
    answers = Answers(holdings, settings.body_timeout_s)
    app.computing = Computing(reception, crew, Bodies(settings, holdings), answers, settings)
    app.reporters = reporters
    app.edge = Edge(_shared(app.dispatch, settings), reporters)
    app.include_router(catalogue_router(reception, crew, answers))
    app.include_router(health_router(crew))
    if settings.metrics != "off":
        app.include_router(metrics_router(metrics, gate, settings))
    install_problems(app)
    install_openapi(app)
    install_docs(app)
    return app
