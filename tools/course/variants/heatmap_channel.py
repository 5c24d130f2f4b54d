"""Another channel becomes a multiple of the map."""

import torch

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "map_in_channel"
ROW = "last"  # one of ("last", "second")
FACTOR = 2  # one of (-3, -2, 0.5, 2, 3)


def right(alpha):
    """Return an invertible matrix Q (K, K) that puts {FACTOR} times the map into a channel.

    It is the {ROW} of the channels Q A.  The map is the signed one of the weights `alpha` (K,),
    K > 1, which are not all zeros.
    """
    row = {"last": len(alpha) - 1, "second": 1}[ROW]
    Q, free = torch.eye(len(alpha)).to(alpha), int(alpha.abs().argmax())
    Q[free], Q[row] = Q[row].clone(), FACTOR * alpha
    return Q


CASES = {
    "two weights": lambda: (draw(0, 2),),
    "four weights": lambda: (draw(1, 4),),
    "one weight that is not zero": lambda: (torch.tensor([3.0, 0, 0]).double(),),
}
MISTAKES = {
    "That is the map itself. A multiple of it was asked for.": lambda alpha: right(alpha / FACTOR),
    "The sign is flipped.": lambda alpha: right(-alpha),
    "That is the first channel, as in the chapter. Another one was asked for.": lambda alpha: right(
        alpha
    ).roll(1 if ROW == "last" else -1, 0),
    "The weights stand in a column of Q. A channel is made by a row.": lambda alpha: right(alpha).T,
}
TASK = Exercise(
    *(right, "04", CASES, MISTAKES),
    judged=lambda Q, alpha: (Q[-1 if ROW == "last" else 1], torch.linalg.matrix_rank(Q)),
    judges="the row, and how many rows are independent",
)
