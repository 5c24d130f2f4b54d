"""To another range, over other axes."""

import torch

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import draw

NAME = "bring_to"
LOW = -1  # one of (-4, -3, -2, -1)
HIGH = 2  # one of (2, 3, 4)
EACH = "channel of an image"  # one of ("channel of an image", "image", "position of an image")


def right(A):
    """Return the activations `A` (N, K, h, w), brought from {LOW} to {HIGH}.

    Each {EACH} has a lowest value of its own, which becomes {LOW}, and a highest value of its
    own, which becomes {HIGH}. Where all its values are equal they become {LOW}.
    """
    over = {
        "channel of an image": (2, 3),
        "image": (1, 2, 3),
        "position of an image": (1,),
    }[EACH]
    low, high = A.amin(over, keepdim=True), A.amax(over, keepdim=True)
    return LOW + (HIGH - LOW) * (A - low) / torch.where(high > low, high - low, 1)


CASES = {
    "one image": lambda: (draw(0, 1, 2, 1, 3),),
    "two images": lambda: (draw(1, 2, 3, 2, 3) * torch.tensor([1.0, 10, 100])[:, None, None],),
    "all values equal": lambda: (torch.full((1, 2, 2, 2), 5.0).double(),),
}
MISTAKES = {
    "That is the range from 0 to 1 of the chapter.": lambda A: (right(A) - LOW) / (HIGH - LOW),
    "The length of the range is right, its start is not.": lambda A: right(A) - LOW,
    "The sign is flipped: the lowest value has become the highest.": lambda A: right(-A),
    "Where all values are equal there is nan.": lambda A: (
        right(A) + 0 / (A.amax((0, 1, 2, 3)) - A.amin((0, 1, 2, 3)))
    ),
}
TASK = Exercise(right, "11", CASES, MISTAKES)
