"""One run: call after call, a new child wherever one died."""

from __future__ import annotations

import json
import time
from itertools import count

from pullback_fuzz.calls import Calls
from pullback_fuzz.children import Child
from pullback_fuzz.findings import Finding, Tally, verified
from pullback_service.engine import Engine, build_engine
from pullback_service.settings import Settings
from pullback_service.workers.base import Call


def build_small_engine() -> Engine:
    """An engine whose limits are so small that what it allows takes no time."""
    return build_engine(Settings(torch_threads=1, max_nodes=100, max_tensor_elements=2**16, max_total_elements=2**20))


def fuzz(engine: Engine, calls: Calls, tally: Tally, until: float, enough: int) -> None:
    """Make calls until the time is over; each overload until it has done harm `enough` times."""
    child = Child(engine, calls)
    for number in count():
        if time.monotonic() > until:
            break
        name = calls.operator(number).name
        if len(tally.findings.get(name, ())) >= enough:
            continue
        outcome = child.run(number)
        tally.answers[name][outcome.status] += 1
        if not outcome.harm:
            continue
        found = Finding(number, outcome.harm)
        if not outcome.status:
            history = child.history
            child = Child(engine, calls)
            found = verified(engine, calls, found, history)
        tally.findings[calls.operator(found.number).name].append(found)
        print(f"call {found.number}: {calls.operator(found.number).name}: {found.harm}", flush=True)
    child.stop()


def show(engine: Engine, calls: Calls, number: int) -> None:
    """Print call `number`, make it in this very process, and print its answer."""
    request = calls.request(number)
    print(json.dumps(request.body), f"\nPOST /v1/{request.operation}", flush=True)
    reply = engine.answer(Call(request.operation, request.encoded()))
    print(reply.status, reply.body.decode())
