"""Another class, or mean of classes, to compare with."""

import copy

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import small_net, with_weights

NAME = "compare_head"
AGAINST = "the map of the first class"  # one of ("the map of the first class", "the map of the last class", "the mean of the maps of the first two classes", "half of the mean of the maps of all classes")


def right(net):
    """Return a copy of the network in which each class has another map.

    Subtract {AGAINST} from the map of each class. The probabilities stay what they were.
    Change the weights of the head, `net.head.linear`.
    """
    W = net.head.linear.weight.detach()
    other = {
        "the map of the first class": W[0],
        "the map of the last class": W[-1],
        "the mean of the maps of the first two classes": W[:2].mean(0),
        "half of the mean of the maps of all classes": W.mean(0) / 2,
    }[AGAINST]
    new = copy.deepcopy(net)
    new.head.linear.weight.data = W - other
    return new


CASES = {
    "three classes": lambda: (small_net(0),),
    "five classes": lambda: (small_net(2),),
    "seven classes": lambda: (small_net(4),),
}
MISTAKES = {
    "The mean of all classes is taken off, as in the chapter.": lambda net: with_weights(
        net, lambda W: W - W.mean(0)
    ),
    "The sign is flipped: something is added.": lambda net: with_weights(
        net, lambda W: 2 * W - right(net).head.linear.weight.detach()
    ),
    "The weights are as they were.": lambda net: with_weights(net, lambda W: W),
}
TASK = Exercise(
    *(right, "06", CASES, MISTAKES),
    judged=lambda new, net: (
        new.head.linear.weight,
        new.head.linear.bias - new.head.linear.bias.mean(),
    ),
    judges="the weights of the head, and its bias but for a constant",
)
