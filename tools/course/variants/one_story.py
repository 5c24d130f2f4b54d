"""Other pairs of layers, and another tolerance."""

import torch

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.later import apart
from zerocam.lab.exercises.tasks import draw

NAME = "same_as"
WITH = "the next layer"  # one of ("the next layer", "the first layer", "the last layer")
PART = 0.01  # one of (0.1, 0.01, 0.001)


def right(M):
    """Return for each of the maps but one whether it differs from that of {WITH} by one constant.

    `M` (L, h, w) are signed maps of one class at L layers; the result has L - 1 values.  Two
    maps count as equal up to a constant if the highest value of their difference, minus its lowest
    value, is below {PART} times the largest absolute value of all maps.
    """
    gap = (M[:, None] - M).flatten(2)
    near = gap.amax(2) - gap.amin(2) < PART * M.abs().max()
    return {
        "the next layer": near.diagonal(1),
        "the first layer": near[0, 1:],
        "the last layer": near[-1, :-1],
    }[WITH]


CASES = {
    "a map, the same one raised, and twice it": lambda: (
        torch.stack([draw(0, 2, 2), draw(0, 2, 2) + 2, 2 * draw(0, 2, 2)]),
    ),
    "four maps": lambda: (
        torch.stack([draw(0, 2, 3), 1 - draw(0, 2, 3), draw(0, 2, 3) - 5, draw(0, 2, 3)]),
    ),
    "alike up to rounding": lambda: (
        1e4 * (draw(1, 2, 4) + torch.tensor([0.0, -1, 3])[:, None, None] + 1e-5 * draw(2, 3, 2, 4)),
    ),
    "small differences": lambda: (
        torch.tensor([0, 1, 2, 0, 0.0])[:, None, None] + PART * draw(3, 5, 1, 5),
    ),
}
MISTAKES = {
    "True and false have changed places.": lambda M: ~right(M),
    "No tolerance: rounding alone makes two maps differ.": lambda M: {
        "the next layer": (apart(M) == 0).diagonal(1),
        "the first layer": (apart(M) == 0)[0, 1:],
        "the last layer": (apart(M) == 0)[-1, :-1],
    }[WITH],
    "That is the table of all pairs, as in the chapter.": lambda M: apart(M) < PART * M.abs().max(),
}
TASK = Exercise(right, "12", CASES, MISTAKES)
