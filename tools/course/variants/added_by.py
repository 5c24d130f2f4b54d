"""Another reference, and another target."""

import zerocam
from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.later import cam_at
from zerocam.lab.exercises.tasks import draw, small_net

NAME = "against_others"
REFERENCE = "mean over images"  # one of ("mean over images", "mean over images and positions")
TARGET = "`c` less the score of `d`"  # one of ("`c` less the score of `d`", "`c`, for which `d` is not needed", "`c` plus the score of `d`")


def right(net, x, others, c, d):
    """Return the signed map for the images `x` at the layer `features`.

    It explains the score of the class {TARGET}. It is compared with the {REFERENCE} of the activations of the images `others`.
    """
    B = zerocam.activations(net, others, layer="features")
    B = {
        "mean over images": B.mean(0, keepdim=True),
        "mean over images and positions": B.mean((0, 2, 3), keepdim=True),
    }[REFERENCE]
    how = {"layer": "features", "relu": False, "reference": B}
    one, two = (zerocam.grad_cam(net, x, k, **how) for k in (c, d))
    return {
        "`c` less the score of `d`": one - two,
        "`c`, for which `d` is not needed": one,
        "`c` plus the score of `d`": one + two,
    }[TARGET]


CASES = {
    "one image": lambda: (small_net(1), draw(1, 1, 1, 16, 16), draw(2, 3, 1, 16, 16), 1, 0),
    "two images": lambda: (small_net(2), draw(3, 2, 1, 16, 16), draw(4, 2, 1, 16, 16), 4, 2),
}
MISTAKES = {
    "The sign is flipped.": lambda *given: -right(*given),
    "This is the usual map, counted from zero activations. `others` is not used.": (
        lambda net, x, others, c, d: usual(net, x, c, d)
    ),
    "The negative values are gone. A signed map was asked for.": lambda *given: right(
        *given
    ).relu(),
}


def usual(net, x, c, d):
    """The map without a reference."""
    one, two = (cam_at(net, x, k) for k in (c, d))
    return {
        "`c` less the score of `d`": one - two,
        "`c`, for which `d` is not needed": one,
        "`c` plus the score of `d`": one + two,
    }[TARGET]


TASK = Exercise(right, "10", CASES, MISTAKES)
