"""A part of the bias moves, through a matrix in another layout."""

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "moved_part"
PART = 0.5  # one of (0.25, 0.5, 0.75, 2)
OUTPUT = "z @ W + b_O"  # one of ("z @ W + b_O", "W @ z + b_O")


def right(W, b_V, b_O):
    """Return the value bias and the output bias, as a pair, when {PART} times `b_V` has moved.

    It is moved into the output bias, and the output `{OUTPUT}` stays.  `W` is (D, D), the biases
    are (D,).
    """
    through = {"z @ W + b_O": b_V @ W, "W @ z + b_O": W @ b_V}[OUTPUT]
    return (1 - PART) * b_V, b_O + PART * through


CASES = {
    "two channels": lambda: (draw(0, 2, 2), draw(1, 2), draw(2, 2)),
    "five channels, large biases": lambda: (draw(3, 5, 5), 100 * draw(4, 5), draw(5, 5)),
    "three channels": lambda: (draw(6, 3, 3), draw(7, 3), draw(8, 3)),
}
MISTAKES = {
    "All of it has moved, as in the chapter. A part was asked for.": lambda W, b_V, b_O: (
        0 * b_V,
        b_O + {"z @ W + b_O": b_V @ W, "W @ z + b_O": W @ b_V}[OUTPUT],
    ),
    "That is the transposed matrix.": lambda W, b_V, b_O: right(W.T, b_V, b_O),
    "The value bias is still all there.": lambda W, b_V, b_O: (b_V, right(W, b_V, b_O)[1]),
    "The two biases have changed places.": lambda *given: right(*given)[::-1],
}
TASK = Exercise(right, "13", CASES, MISTAKES)
