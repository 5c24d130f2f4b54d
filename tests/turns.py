"""What is too dear for every commit: one half of it is asked in one commit, the other in the next.

Which half, is drawn by the name of the commit, as `tools.run_tests.turn` says; a thing that breaks
is so found in one commit out of two.  `make portable` asks for all of it, as ZEROCAM_TURNS=all does
in any other run.  Nothing is skipped: what has not its turn is not among the tests.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from tools.run_tests import turn

# Seconds of one idle core; the halves take about the same.
HALVES = (
    {"hub": 34, "cluster": 20, "transformer_heads": 19},
    {"training": 17, "unsolved": 18, "encodings": 14, "sight": 13, "photographs": 8, "lites": 8},
)


@cache
def number() -> int | None:
    """The number to take turns by; None if all have their turn."""
    return None if os.environ.get("ZEROCAM_TURNS") == "all" else turn()


def has_turn(name: str) -> bool:
    """Whether one of `HALVES` has its turn."""
    (half,) = [i for i, names in enumerate(HALVES) if name in names]
    return number() is None or half == number() % 2


def some(names: Sequence[Any], every: int = 2) -> list[Any]:
    """Of a list every second, or third, thing: of each commit its own, each as often as the others.

    Drawn by other digits of the commit than the halves are.
    """
    n = number()
    return list(names) if n is None else list(names)[n // 2 % every :: every]
