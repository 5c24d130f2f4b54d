"""Costs as medians of ratios, each call timed between two runs of the unit."""

import math
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


def interval(values: list[float]) -> tuple[float, float]:
    """Bounds of a 95 % interval for the median, whatever the distribution; of all below six.

    The median lies between the k-th lowest and the k-th highest of n values unless fewer than k of
    them fall on one side of it, which has probability 2 P(Binomial(n, 1/2) < k).
    """
    n, k, outside = len(values), 0, 2 / 2 ** len(values)
    while outside <= 0.05:
        k += 1
        outside += 2 * math.comb(n, k) / 2**n
    ordered = sorted(values)
    return ordered[max(k - 1, 0)], ordered[n - max(k, 1)]


def ratios(
    unit: Callable[[], Any], calls: Calls, rounds: int, least: float = 0
) -> dict[str, dict[str, float]]:
    """name -> median of the ratios of the call's time to the unit's, and its 95 % interval.

    A round runs the unit, then each call and the unit again, the calls in an order that turns by
    one place from round to round.  A call counts in units of the mean of its two neighbours, so
    that a drift of the machine within a round cancels too; "noise" is the unit, timed as a call.
    There are `rounds` of them, and more until `least` seconds have passed.
    """
    calls = calls | {"noise": unit}
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    names, spent, start = list(calls), [], time.perf_counter()
    while len(found["noise"]) < rounds or time.perf_counter() < start + least:
        turn = len(found["noise"]) % len(names)
        spent.append(seconds(unit))
        for name in names[turn:] + names[:turn]:
            took = seconds(calls[name])
            spent.append(seconds(unit))
            found[name].append(took / (spent[-2] + spent[-1]) * 2)
    summary = {}
    for name, values in found.items():
        low, high = interval(values)
        summary[name] = {"median": statistics.median(values), "low": low, "high": high}
    middle = {"median": statistics.median(spent), "rounds": len(found["noise"])}
    return summary | {"unit_seconds": middle}
