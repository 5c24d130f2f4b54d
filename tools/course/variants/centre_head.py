"""Another class, or mean of classes, to compare with."""

import copy

from zerocam.lab.exercises import Exercise
from zerocam.lab.exercises.tasks import small_net, with_weights

NAME = "compare_head"
AGAINST = "the first"  # one of ("the first", "the last", "the first two, averaged", "all, averaged and halved")


def right(net):
    """Return a copy of the network whose map of each class is less that of others.

    The map of which classes is taken off: {AGAINST}.  The network's last layer is `net.head.linear`.  The probabilities stay what they were.
    """
    W = net.head.linear.weight.detach()
    other = {
        "the first": W[0],
        "the last": W[-1],
        "the first two, averaged": W[:2].mean(0),
        "all, averaged and halved": W.mean(0) / 2,
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
    judges="the weights of the last layer, and its bias but for a constant",
)
