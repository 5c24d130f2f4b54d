"""Another value is moved, on a head that averages or adds up."""

import torch

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "place_value"
WHICH = "highest"  # one of ("highest", "mean", "top left", "bottom right")
HEAD = "averages"  # one of ("averages", "adds up")
VALUE = 2  # one of (-2, -1, 2, 3)


def right(M, w):
    """Return a shift `t` (K,) of the channels that moves the {WHICH} value of a map to {VALUE}.

    `M` (h, w) is the signed map of a class with the weights `w` (K,), on a linear head that {HEAD}
    over the positions.
    """
    now = {
        "highest": M.max(),
        "mean": M.mean(),
        "top left": M[0, 0],
        "bottom right": M[-1, -1],
    }[WHICH]
    Z = {"averages": M.numel(), "adds up": 1}[HEAD]
    return (VALUE - now) * Z * w / (w @ w)


CASES = {
    "a small map": lambda: (draw(0, 2, 4), draw(1, 3)),
    "a map without a negative value": lambda: (draw(2, 3, 2).abs(), draw(3, 5)),
    "weights that sum to zero": lambda: (draw(4, 2, 3), torch.tensor([2.0, -3, 1]).double()),
}
MISTAKES = {
    "The sign is flipped: the map moves the other way.": lambda M, w: -right(M, w),
    "That moves the lowest value, as in the chapter. Another one was asked for.": lambda M, w: (
        (VALUE - M.min()) * {"averages": M.numel(), "adds up": 1}[HEAD] * w / (w @ w)
    ),
    "Divide by w @ w, the square of the length.": lambda M, w: right(M, w) * w.norm(),
}
TASK = Exercise(
    *(right, "01", CASES, MISTAKES),
    judged=lambda t, M, w: M + w @ t / {"averages": M.numel(), "adds up": 1}[HEAD],
    judges="the moved map",
)
