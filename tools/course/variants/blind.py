"""How much of the masks changes, and under another change of the maps."""

import torch

from zerocam import metrics
from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.later import cut_minmax

NAME = "count_changes"
CHANGE = "raised by 1"  # one of ("raised by 1", "lowered by 2", "negated", "raised by 2")
COUNT = "positions"  # one of ("positions", "maps")


def right(rule, M):
    """Return the number of {COUNT} whose mask differs when the maps are {CHANGE}.

    `rule` is a function from maps `M` (N, h, w) to masks.
    """
    new = {
        "raised by 1": M + 1,
        "lowered by 2": M - 2,
        "negated": -M,
        "raised by 2": M + 2,
    }[CHANGE]
    differs = rule(M) != rule(new)
    return int({"positions": differs, "maps": differs.flatten(1).any(1)}[COUNT].sum())


CASES = {
    "a cut at 15 % of the maximum": lambda: (
        metrics.above,
        torch.tensor([[[4.0, -2, 0.5]], [[-3, -0.5, 2]], [[1, -6, -1]]]),
    ),
    "a cut at 15 % under min-max": lambda: (
        cut_minmax,
        torch.tensor([[[4.0, -2, 0], [1, 5, -1]], [[3, -0.5, -5], [2, 2, 1]]]),
    ),
    "the sign": lambda: (
        lambda m: m > 0,
        torch.tensor([[[0.5, -0.25, -0.5, 1.5]], [[3, -3, 1, -1.5]]]),
    ),
    "a rule that marks nothing": lambda: (
        lambda m: torch.zeros_like(m, dtype=torch.bool),
        torch.tensor([[[4.0, -2, 1, 3, 2, -1, -1]]]),
    ),
}
MISTAKES = {
    "You count what stays. What differs was asked for.": lambda rule, M: (
        (len(M) if COUNT == "maps" else M.numel()) - right(rule, M)
    ),
    "Maps and positions have changed places.": lambda rule, M: count_other(rule, M),
    "Yes or no is no number. How many?": lambda rule, M: right(rule, M) > 0,
}


def count_other(rule, M):
    """The number of maps where positions are asked for, and the reverse."""
    new = {
        "raised by 1": M + 1,
        "lowered by 2": M - 2,
        "negated": -M,
        "raised by 2": M + 2,
    }[CHANGE]
    differs = rule(M) != rule(new)
    return int({"maps": differs, "positions": differs.flatten(1).any(1)}[COUNT].sum())


TASK = Exercise(right, "07", CASES, MISTAKES)
