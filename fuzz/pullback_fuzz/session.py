"""One run: call after call, a new child wherever one died."""

from __future__ import annotations

import json
import time
from itertools import count

from pullback_fuzz.calls import Calls
from pullback_fuzz.children import LIFE, Child
from pullback_fuzz.findings import Finding, Tally, verified
from pullback_service.engine import Engine, build_engine
from pullback_service.settings import Settings
from pullback_service.workers.base import Call


def build_small_engine() -> Engine:
    """An engine whose limits are so small that what it allows takes no time; it runs isolated operators too."""
    engine = build_engine(Settings(max_nodes=100, max_tensor_elements=2**16, max_total_elements=2**20))
    engine.settle(threads=1, is_alone=True)
    return engine


def fuzz(engine: Engine, calls: Calls, tally: Tally, until: float, enough: int) -> None:
    """Make calls until the time is over; each overload until it has done harm `enough` times.

    Isolated operators have a process of their own: what they spoil in it must not be put down to others.
    """
    children: dict[bool, Child] = {}
    for number in count():
        if time.monotonic() > until:
            break
        operator = calls.operator(number)
        if len(tally.findings.get(operator.name, ())) >= enough:
            continue
        is_isolated = operator.tier == "isolated"
        child = children.pop(is_isolated, None) or Child(engine, calls)
        outcome = child.run(number)
        tally.answers[operator.name][outcome.status] += 1
        if outcome.status and len(child.history) < LIFE:
            children[is_isolated] = child
        elif outcome.status:
            child.stop()
        if outcome.harm:
            found = Finding(number, outcome.harm)
            if not outcome.status:
                found = verified(engine, calls, found, child.history)
            name = calls.operator(found.number).name
            tally.findings[name].append(found)
            print(f"call {found.number}: {name}: {found.harm}", flush=True)
    for child in children.values():
        child.stop()


def show(engine: Engine, calls: Calls, number: int) -> None:
    """Print call `number`, make it in this very process, and print its answer."""
    request = calls.request(number)
    print(json.dumps(request.body), f"\nPOST /v1/{request.operation}", flush=True)
    reply = engine.answer(Call(request.operation, request.encoded())).joined()
    print(reply.status, reply.body.decode())
