"""The map of a contrast, with the weights in another layout."""

import torch

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "contrast_map"
AGAINST = "the class d"  # one of ("the class d", "the mean of all classes, for which `d` is not needed", "half of the class d")
LAYOUT = "(K, C)"  # one of ("(K, C)", "(C, K)")
HEAD = "averages"  # one of ("averages", "adds up")


def right(W, A, c, d):
    """Return the signed maps (N, h, w) of the score of the class `c` less that of {AGAINST}.

    `W` {LAYOUT} are the weights of a linear head that {HEAD} over positions, `A` (N, K, h, w) the
    activations, `c` and `d` classes.
    """
    rows = {"(K, C)": W.T, "(C, K)": W}[LAYOUT]
    other = {
        "the class d": rows[d],
        "the mean of all classes, for which `d` is not needed": rows.mean(0),
        "half of the class d": rows[d] / 2,
    }[AGAINST]
    Z = {"averages": A[0, 0].numel(), "adds up": 1}[HEAD]
    return torch.einsum("k,nkij->nij", rows[c] - other, A) / Z


CASES = {
    "one image": lambda: (draw(0, 2, 2), draw(1, 1, 2, 1, 2), 0, 1),
    "two images": lambda: (draw(2, 3, 3), draw(3, 2, 3, 2, 3), 2, 0),
    "four classes": lambda: (draw(4, 4, 4), draw(5, 3, 4, 2, 1), 1, 3),
}
MISTAKES = {
    "The sign is flipped: that is the map against the class c.": lambda *given: -right(*given),
    "The negative values are gone. Signed maps were asked for.": lambda *given: right(
        *given
    ).relu(),
    "W is read the wrong way round. Which axis is for classes?": lambda W, A, c, d: right(
        W.T, A, c, d
    ),
    "The images of the batch are averaged. Each has its own map.": lambda W, A, c, d: (
        right(W, A, c, d).mean(0, keepdim=True).expand(len(A), -1, -1)
    ),
}
TASK = Exercise(right, "02", CASES, MISTAKES)
