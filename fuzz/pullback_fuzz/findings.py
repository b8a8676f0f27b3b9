"""What was found, verified and told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pullback_fuzz.calls import Calls
from pullback_fuzz.children import Child
from pullback_service.engine import Engine

MAX_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """A call that did harm; `history` holds the calls before it where it does none alone."""

    number: int
    harm: str
    history: tuple[int, ...] = ()


def verified(engine: Engine, calls: Calls, found: Finding, history: Iterable[int]) -> Finding:
    """The finding of the call alone in a fresh process; if it does no harm there, of the calls before it too."""
    alone = _replay(engine, calls, [found.number])
    if alone is not None:
        return alone
    numbers = tuple(history)
    together = _replay(engine, calls, numbers)
    if together is None:
        return Finding(found.number, f"{found.harm}, not again", numbers)
    return Finding(together.number, f"{together.harm}, after others", numbers)


def _replay(engine: Engine, calls: Calls, numbers: Iterable[int]) -> Finding | None:
    child = Child(engine, calls)
    for number in numbers:
        outcome = child.run(number)
        if outcome.harm:
            if outcome.status:
                child.stop()
            return Finding(number, outcome.harm)
    child.stop()
    return None


class Tally:
    """Answers by overload and status, findings by overload."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.answers: dict[str, Counter[int]] = defaultdict(Counter)
        self.findings: dict[str, list[Finding]] = defaultdict(list)

    def report(self) -> str:
        """All findings by overload, each with its request; then how much was called."""
        lines = [line for name in sorted(self.findings) for line in self._of(name)]
        total = sum(self.answers.values(), Counter())
        each = sorted(sum(statuses.values()) for statuses in self.answers.values())
        good = [name for name, statuses in self.answers.items() if statuses[200]]
        lines.append(
            f"{sum(each):,} calls of {len(each)} overloads ({each[0]} to {each[-1]} each): {total[200]:,} answered, "
            f"{len(good)} overloads at least once; {len(self.outside())} overloads outside the isolated tier did harm"
        )
        return "\n".join(lines)

    def outside(self) -> list[str]:
        """The overloads outside the isolated tier that did harm."""
        isolated = {operator.name for operator in self.calls.operators if operator.tier == "isolated"}
        return [name for name in self.findings if name not in isolated]

    def _of(self, name: str) -> Iterable[str]:
        tier = next(operator.tier for operator in self.calls.operators if operator.name == name)
        yield f"{name} ({tier})"
        for finding in self.findings[name]:
            request = self.calls.request(finding.number)
            shown = json.dumps(request.body)
            before = f" after {list(finding.history)}" if finding.history else ""
            yield f"  {finding.harm}: call {finding.number}{before}, POST /v1/{request.operation}"
            yield f"    {shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '...'}"
