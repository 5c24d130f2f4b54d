"""The network was trained on another change of the picture."""

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "read_raw"
TRAINED = "(x - m) / s"  # one of ("(x - m) / s", "s (x - m)", "m - s x", "(m - x) / s")


def right(W, m, s):
    """Return the weights, the bias (K,) and the padding value with which a convolution reads x.

    It has the weights `W` (K, ch, h, w) and no bias, is padded with 0, and was trained on {TRAINED}.
    """
    scale = {"(x - m) / s": 1 / s, "s (x - m)": s, "m - s x": -s, "(m - x) / s": -1 / s}[TRAINED]
    shift = {"(x - m) / s": -m / s, "s (x - m)": -s * m, "m - s x": m, "(m - x) / s": m / s}[
        TRAINED
    ]
    return scale * W, shift * W.sum((1, 2, 3)), -shift / scale


CASES = {
    "two kernels": lambda: (draw(0, 2, 1, 1, 2), 0.25, 0.5),
    "three colours": lambda: (draw(1, 2, 3, 3, 3), 0.5, 2.0),
    "a negative mean": lambda: (draw(2, 3, 2, 1, 3), -1.5, 4.0),
}
MISTAKES = {
    "The border is not right. Which x becomes 0 by that change?": lambda W, m, s: (
        *right(W, m, s)[:2],
        0,
    ),
    "The sign of the bias is flipped.": lambda W, m, s: (
        right(W, m, s)[0],
        -right(W, m, s)[1],
        right(W, m, s)[2],
    ),
    "The weights are as they were. They have to be scaled as well.": lambda W, m, s: (
        W,
        *right(W, m, s)[1:],
    ),
}
TASK = Exercise(right, "08", CASES, MISTAKES)
