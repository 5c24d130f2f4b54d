"""What is too dear for every commit: of four parts of it, each commit asks one.

Which part, is drawn by the name of the commit, as `tools.run_tests.turn` says; a thing that breaks
is so found in one commit out of four.  `make portable` asks for all of it, as does
ZEROCAM_TURNS=all in any other run.  Nothing is skipped: what has not its turn is no test.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from tools.run_tests import turn

# Seconds of one idle core; the parts take about the same.
PARTS = (
    {"hub": 40, "lites": 8},
    {"second build": 23, "encodings": 14, "photographs": 8},
    {"transformer_heads": 19, "cluster": 20, "hand-ins": 14},
    {"training": 17, "unsolved": 18, "sight": 13},
)


@cache
def number() -> int | None:
    """The number to take turns by; None if all have their turn."""
    return None if os.environ.get("ZEROCAM_TURNS") == "all" else turn()


def has_turn(name: str) -> bool:
    """Whether one of `PARTS` has its turn."""
    (part,) = [i for i, names in enumerate(PARTS) if name in names]
    return number() is None or part == number() % len(PARTS)


def some(names: Sequence[Any], every: int = 2) -> list[Any]:
    """Of a list every second, or third, thing: of each commit its own, each as often as the others.

    Drawn by other digits of the commit than the parts are.
    """
    n = number()
    return list(names) if n is None else list(names)[n // len(PARTS) % every :: every]
