"""Costs as medians of ratios, each call timed between two runs of the unit."""

import statistics
import time
from collections.abc import Callable
from typing import Any

Calls = dict[str, Callable[[], Any]]


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratios(unit: Callable[[], Any], calls: Calls, rounds: int) -> dict[str, dict[str, float]]:
    """name -> median, lowest and highest ratio of the call's time to the unit's.

    A round runs the unit, then each call and the unit again, the calls in an order that turns by
    one place from round to round.  A call counts in units of the mean of its two neighbours, so
    that a drift of the machine within a round cancels too; "noise" is the unit, timed as a call.
    """
    calls = calls | {"noise": unit}
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    names, spent = list(calls), []
    for i in range(rounds):
        turn = i % len(names)
        spent.append(seconds(unit))
        for name in names[turn:] + names[:turn]:
            took = seconds(calls[name])
            spent.append(seconds(unit))
            found[name].append(took / (spent[-2] + spent[-1]) * 2)
    summary = {
        name: {"median": statistics.median(v), "low": min(v), "high": max(v)}
        for name, v in found.items()
    }
    return summary | {"unit_seconds": {"median": statistics.median(spent)}}
