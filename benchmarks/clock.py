"""Costs as medians of ratios, taken inside rounds in which every call runs once."""

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

    A round runs the unit, each call, and the unit again, the calls in an order that turns by one
    place from round to round.  The unit of a round is the mean of its two runs, so that a slow
    drift of the machine cancels; "noise" is the second run over the first.
    """
    unit()
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in (*calls, "noise")}
    names, spent = list(calls), []
    for i in range(rounds):
        turn = i % len(names)
        first = seconds(unit)
        took = {name: seconds(calls[name]) for name in names[turn:] + names[:turn]}
        last = seconds(unit)
        spent.append((first + last) / 2)
        found["noise"].append(last / first)
        for name, value in took.items():
            found[name].append(value / spent[-1])
    summary = {
        name: {"median": statistics.median(v), "low": min(v), "high": max(v)}
        for name, v in found.items()
    }
    return summary | {"unit_seconds": {"median": statistics.median(spent)}}
