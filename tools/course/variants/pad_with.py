"""Other sides, and another width."""

import torch.nn.functional as F

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "pad_sides"
SIDES = "left and top"  # one of ("left and top", "right and bottom", "left and right", "top only")
P = 2  # one of (1, 2, 3)


def right(A, t):
    """Return the activations `A` (N, K, h, w), with {P} more positions: {SIDES}.

    What they are padded with is their channel's number of `t` (K,).
    """
    sides = {
        "left and top": (P, 0, P, 0),
        "right and bottom": (0, P, 0, P),
        "left and right": (P, P, 0, 0),
        "top only": (0, 0, P, 0),
    }[SIDES]
    return F.pad(A - t[:, None, None], sides) + t[:, None, None]


CASES = {
    "a single position": lambda: (draw(0, 1, 2, 1, 1), draw(1, 2)),
    "two images": lambda: (draw(2, 2, 3, 2, 4), draw(3, 3)),
    "more rows than columns": lambda: (draw(4, 1, 4, 5, 2), draw(5, 4)),
}
MISTAKES = {
    "The border is 0. Zero has moved, and t is its new place.": lambda A, t: right(A, 0 * t),
    "The sign is flipped: the border is -t.": lambda A, t: right(A, -t),
    "One number for all channels. Each channel has its own t.": lambda A, t: right(
        A, t.mean().expand_as(t)
    ),
    "One position on every side, as in the chapter. Which sides are asked for here?": (
        lambda A, t: F.pad(A - t[:, None, None], (1, 1, 1, 1)) + t[:, None, None]
    ),
}
TASK = Exercise(right, "03", CASES, MISTAKES)
