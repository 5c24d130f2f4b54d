"""Another change of the labels."""

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "rewrite_head"
LABELS = "(t - u) / a"  # one of ("(t - u) / a", "u - a t", "a (t - u)", "u - t / a")


def right(W, b, a, u):
    """Return the weights (C, K) and the bias (C,) of the head for the labels {LABELS}.

    `W` and `b` are those of the head that gives scores for the labels t.
    """
    scale = {"(t - u) / a": 1 / a, "u - a t": -a, "a (t - u)": a, "u - t / a": -1 / a}[LABELS]
    shift = {"(t - u) / a": -u / a, "u - a t": u, "a (t - u)": -a * u, "u - t / a": u}[LABELS]
    return scale * W, scale * b + shift


CASES = {
    "two classes": lambda: (draw(0, 2, 2), draw(1, 2), 2, 3),
    "three classes": lambda: (draw(2, 3, 2), draw(3, 3), 0.5, -1),
    "a negative a": lambda: (draw(4, 4, 3), draw(5, 4), -4, 1),
}
MISTAKES = {
    "These are the labels a t + u of the chapter. Others were asked for.": lambda W, b, a, u: (
        a * W,
        a * b + u,
    ),
    "The old bias has to be scaled as well.": lambda W, b, a, u: (
        right(W, b, a, u)[0],
        b + right(W, 0 * b, a, u)[1],
    ),
    "The shift is left out.": lambda W, b, a, u: right(W, b, a, 0),
    "The two have changed places: first the weights, then the bias.": lambda *given: right(*given)[
        ::-1
    ],
}
TASK = Exercise(right, "05", CASES, MISTAKES)
