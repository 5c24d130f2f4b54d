"""Two other zeros, one after the other."""

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "two_zeros"
FIRST = "lowest value"  # one of ("lowest value", "highest value", "mean")
SECOND = "highest value"  # one of ("highest value", "lowest value")


def right(M):
    """Return the signed maps `M` (N, C, h, w) of all classes, less two things.

    Take off the {FIRST} of each map over its positions, and then the {SECOND} over the classes at
    each position.
    """
    first = {
        "lowest value": M.amin((2, 3), keepdim=True),
        "highest value": M.amax((2, 3), keepdim=True),
        "mean": M.mean((2, 3), keepdim=True),
    }[FIRST]
    M = M - first
    second = {
        "highest value": M.amax(1, keepdim=True),
        "lowest value": M.amin(1, keepdim=True),
    }[SECOND]
    return M - second


CASES = {
    "two classes": lambda: (draw(1, 1, 2, 2, 2) + 10,),
    "two images": lambda: (draw(0, 2, 3, 4, 5),),
    "three images": lambda: (draw(2, 3, 4, 1, 2),),
}
MISTAKES = {
    "Both means are taken off, as in the chapter. Others were asked for.": lambda M: (
        M - M.mean((2, 3), keepdim=True) - (M - M.mean((2, 3), keepdim=True)).mean(1, keepdim=True)
    ),
    "The order is turned round. First over positions, then over classes.": lambda M: turned_round(
        M
    ),
    "Only the first is taken off.": lambda M: (
        M
        - {
            "lowest value": M.amin((2, 3), keepdim=True),
            "highest value": M.amax((2, 3), keepdim=True),
            "mean": M.mean((2, 3), keepdim=True),
        }[FIRST]
    ),
}


def turned_round(M):
    """First over the classes, then over the positions."""
    M = (
        M
        - {
            "highest value": M.amax(1, keepdim=True),
            "lowest value": M.amin(1, keepdim=True),
        }[SECOND]
    )
    return (
        M
        - {
            "lowest value": M.amin((2, 3), keepdim=True),
            "highest value": M.amax((2, 3), keepdim=True),
            "mean": M.mean((2, 3), keepdim=True),
        }[FIRST]
    )


TASK = Exercise(right, "09", CASES, MISTAKES)
