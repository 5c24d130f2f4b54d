"""The exercises of chapters 7 to 13, written as tasks.py says."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zerocam import cam, hooks, metrics, references
from zerocam.lab.exercises.marking import exercise
from zerocam.lab.exercises.tasks import draw, small_net, spread

# ---- chapter 7: the ReLU ablation ----------------------------------------------------------------


@exercise("07")
def blind(rule, M):
    """Return True if `rule` gives the same masks for the maps `M` and for their ReLU, else False.

    `rule` is a function from maps (N, h, w) to masks.
    """
    return torch.equal(rule(M), rule(M.relu()))


TWO_MAPS = [[[4.0, -2, 0]], [[3, -0.5, -5]]]
blind.cases = {
    "a cut at 15 % of the maximum": lambda: (metrics.above, torch.tensor(TWO_MAPS)),
    "a cut at 15 % under min-max": lambda: (cut_minmax, torch.tensor(TWO_MAPS)),
    "a first map without a negative value": (
        lambda: (cut_minmax, torch.tensor([[[4.0, 0, 1]], [[3, -0.5, -5]]]))
    ),
    "a rule that marks the largest absolute value": (
        lambda: (
            lambda m: F.one_hot(m.abs().flatten(1).argmax(1), 3),
            torch.tensor([[[-1.0, -3, 2]]]),
        )
    ),
    "no negative value at all": lambda: (cut_minmax, torch.tensor([[[4.0, 0, 1]]])),
    "a rule that marks all or nothing": (
        lambda: (lambda m: (m.min() < 0).expand_as(m), torch.tensor([[[4.0, -2, 1]]]))
    ),
}
blind.mistakes = {
    "You compare the maps. Compare the masks that the rule makes of them.": (
        lambda rule, M: torch.equal(M, M.relu())
    ),
    "One position that agrees is enough for you. All must agree.": (
        lambda rule, M: bool((rule(M) == rule(M.relu())).any())
    ),
    "You compare how much is marked. Compare what is marked.": (
        lambda rule, M: int(rule(M).sum()) == int(rule(M.relu()).sum())
    ),
    "You look at the first map of the batch only.": (
        lambda rule, M: torch.equal(rule(M)[0], rule(M.relu())[0])
    ),
    "It says True of every rule. If the ReLU comes after the rule, it finds nothing negative. "
    "Apply it to the map.": lambda rule, M: True,
    "It says False of every rule. Compare two masks, with torch.equal.": lambda rule, M: False,
    "Yes and no have changed places.": lambda rule, M: not blind(rule, M),
    "You compare M with -M. Compare it with its ReLU.": (
        lambda rule, M: torch.equal(rule(M), rule(-M))
    ),
    "You compare M with its absolute value. Compare it with its ReLU.": (
        lambda rule, M: torch.equal(rule(M), rule(M.abs()))
    ),
}
blind.stops = {
    "Boolean value of Tensor": "`==` answers for each position. Do all agree? torch.equal gives "
    "one answer.",
    "Boolean inputs not supported for relu": "A mask has no negative values that a ReLU could cut. "
    "Apply the ReLU to the map, before the rule.",
}


def cut_minmax(m: Tensor) -> Tensor:
    """A cut at 15 % of the range from the lowest to the highest value."""
    return metrics.above(m, 0.15, "minmax")


@exercise("07")
def drawn(M):
    """Return signed maps `M` (N, h, w) as most libraries draw them.

    That is first the ReLU, then each map from 0, its lowest value, to 1, its highest; a constant
    one becomes 0.
    """
    return spread(M.relu(), (1, 2))


drawn.cases = {
    "two maps": lambda: (draw(0, 2, 3, 4),),
    "maps of different heights": (
        lambda: (draw(1, 3, 1, 3) * torch.tensor([1.0, 10, 100])[:, None, None],)
    ),
    "a map without a positive value": lambda: (-draw(3, 2, 2, 3).abs(),),
}
drawn.mistakes = {
    "Min-max before the ReLU: the lowest value has become the zero, and nothing is left to cut. "
    "First the ReLU.": lambda M: spread(M, (1, 2)),
    "The batch is mixed up: each map has its own highest value.": (
        lambda M: spread(M.relu(), (0, 1, 2))
    ),
    "A map without a positive value gives nan. It should be drawn as zeros.": (
        lambda M: spread(M.relu(), (1, 2), 0.0)
    ),
    "The scaling is left out: the highest value should become 1.": lambda M: M.relu(),
    "The absolute value turns evidence against the class into evidence for it.": (
        lambda M: spread(M.abs(), (1, 2))
    ),
    "The sign is flipped: what is drawn is the negative part.": (
        lambda M: spread((-M).relu(), (1, 2))
    ),
    "That marks where the map is positive, and forgets the amount.": (lambda M: (M > 0).to(M)),
    "A cut at half of the range is no ReLU. First the ReLU, then from lowest to highest.": (
        lambda M: (spread(M, (1, 2)) - 0.5).relu() * 2
    ),
    "One highest value for the whole batch. Each map has its own.": (
        lambda M: M.relu() / M.relu().max()
    ),
}


# ---- chapter 8: where zero comes from ------------------------------------------------------------


@exercise("08")
def absorb(W, m):
    """Return the bias (K,) that a convolution needs to read x, and the value to pad x with.

    It has the weights `W` (K, ch, h, w) and no bias, and was trained on x - m.
    """
    return -m * W.sum((1, 2, 3)), m


absorb.cases = {
    "four kernels": lambda: (draw(0, 4, 1, 3, 3), 0.25),
    "three colours": lambda: (draw(1, 2, 3, 5, 3), 0.5),
    "a negative mean": lambda: (draw(2, 3, 2, 1, 3), -1.5),
}
absorb.mistakes = {
    "The bias is right, the border is not. What is 0 after the mean is taken off was m before.": (
        lambda W, m: (-m * W.sum((1, 2, 3)), 0)
    ),
    "The sign of the bias is flipped.": lambda W, m: (m * W.sum((1, 2, 3)), m),
    "The sign of the padding is flipped.": lambda W, m: (-m * W.sum((1, 2, 3)), -m),
    "Padding with 1 was for 1 - x. What is 0 after the mean is taken off was m before.": (
        lambda W, m: (-m * W.sum((1, 2, 3)), 1)
    ),
    "A convolution adds up over its kernel: the sum of the weights is wanted, not the mean.": (
        lambda W, m: (-m * W.mean((1, 2, 3)), m)
    ),
    "One sum for all kernels. Each kernel has its own bias.": (
        lambda W, m: (-m * W.sum().expand(len(W)), m)
    ),
    "The weights are left out: a kernel multiplies m by the sum of its weights.": (
        lambda W, m: (torch.full((len(W),), -m), m)
    ),
    "The two have changed places: first the bias, then the value to pad with.": (
        lambda W, m: absorb(W, m)[::-1]
    ),
    "Both signs are flipped, that of the bias and that of the padding.": (
        lambda W, m: (m * W.sum((1, 2, 3)), -m)
    ),
}


# ---- chapter 9: only one zero moves along --------------------------------------------------------


@exercise("09")
def doubly_centred(M):
    """Return the signed maps `M` (N, C, h, w) of all classes, centred twice.

    Take off the mean of each map over its positions, and then the mean over classes at each
    position.
    """
    M = M - M.mean((2, 3), keepdim=True)
    return M - M.mean(1, keepdim=True)


doubly_centred.cases = {
    "two images": lambda: (draw(0, 2, 3, 4, 5),),
    "two classes": lambda: (draw(1, 1, 2, 3, 2) + 10,),
    "a single position": lambda: (draw(2, 2, 4, 1, 1),),
}
doubly_centred.mistakes = {
    "Only the mean over positions is gone. A shift of the scores still shows.": (
        lambda M: M - M.mean((2, 3), keepdim=True)
    ),
    "Only the mean over classes is gone. A shift of the features still shows.": (
        lambda M: M - M.mean(1, keepdim=True)
    ),
    "The mean of everything is taken off twice. Take the second mean of what the first step "
    "left.": lambda M: M - M.mean((2, 3), keepdim=True) - M.mean(1, keepdim=True),
    "One number for each image. Each map has its own mean, and each position has its own.": (
        lambda M: M - M.mean((1, 2, 3), keepdim=True)
    ),
    "The batch is mixed up: the mean over positions is that of one image.": (
        lambda M: less_mean(less_mean(M, (0, 2, 3)), 1)
    ),
    "The second mean goes over images. Classes are dimension 1.": (
        lambda M: less_mean(less_mean(M, (2, 3)), 0)
    ),
    "The negative values are gone. No ReLU was asked for.": lambda M: doubly_centred(M).relu(),
    "The first mean goes over rows alone. It should go over rows and columns.": (
        lambda M: less_mean(less_mean(M, 2), 1)
    ),
    "The first mean goes over columns alone. It should go over rows and columns.": (
        lambda M: less_mean(less_mean(M, 3), 1)
    ),
}
doubly_centred.stops = {
    "must match the size": "The mean has lost two axes. M.mean((2, 3), keepdim=True) keeps them.",
}


def less_mean(M: Tensor, over: int | tuple[int, ...]) -> Tensor:
    """M less its mean over these dimensions."""
    return M - M.mean(over, keepdim=True)


# ---- chapter 10: choosing the reference ----------------------------------------------------------


@exercise("10")
def added_by(net, x, without, c):
    """Return the signed map of class `c` for the images `x` at the layer `features`.

    It is compared with the activations of the images `without`.
    """
    return cam_at(net, x, c, reference=references.baseline(net, without, "features"))


def cam_at(net: nn.Module, x: Tensor, c: int, **how) -> Tensor:
    """The signed map at the features, unless `how` says otherwise."""
    chosen: dict[str, Any] = {"layer": "features", "relu": False} | how
    return cam.grad_cam(net, x, c, **chosen)


def activations(net: nn.Module, x: Tensor) -> Tensor:
    """The activations at the features, (N, K, h, w)."""
    return hooks.activations(net, x, layer="features")


added_by.cases = {
    "one image": lambda: (small_net(1), draw(1, 1, 1, 16, 16), draw(2, 1, 1, 16, 16), 1),
    "two images": lambda: (small_net(2), draw(3, 2, 1, 16, 16), draw(4, 2, 1, 16, 16), 4),
}
added_by.mistakes = {
    "The sign is flipped: this is what is lost from x to `without`.": (
        lambda net, x, without, c: added_by(net, without, x, c)
    ),
    "This is the usual map, counted from zero activations. `without` is not used.": (
        lambda net, x, without, c: cam_at(net, x, c)
    ),
    "The negative values are gone. Without them the map does not add up.": (
        lambda net, x, without, c: added_by(net, x, without, c).relu()
    ),
    "The spatial mean compares x with itself. Compare it with `without`.": (
        lambda net, x, without, c: cam_at(net, x, c, reference=references.spatial_mean)
    ),
    "You subtract the images. Subtract their activations.": (
        lambda net, x, without, c: cam_at(net, x - without, c)
    ),
    "Both maps are clipped before they are subtracted.": (
        lambda net, x, without, c: cam_at(net, x, c, relu=True) - cam_at(net, without, c, relu=True)
    ),
    "It is 0 everywhere: x is compared with itself. Compare it with `without`.": (
        lambda net, x, without, c: 0 * cam_at(net, x, c)
    ),
    "You compare with the mean over images and positions. Compare position by position, with "
    "references.baseline.": lambda net, x, without, c: cam_at(
        net, x, c, reference=references.data_mean(activations(net, without))
    ),
    "That is the class with the highest score. The class `c` was asked for.": (
        lambda net, x, without, c: added_by(net, x, without, int(net(x)[0].argmax()))
    ),
    "You average over channels before you multiply. Each channel has its own weight: multiply "
    "first, then add up.": lambda net, x, without, c: (
        net.head.linear.weight[c].mean() * (activations(net, x) - activations(net, without)).mean(1)
    ),
}


# ---- chapter 11: auditing heatmaps ---------------------------------------------------------------


@exercise("11")
def stretch(A):
    """Return the activations `A` (N, K, h, w), each channel of each image brought from 0 to 1.

    0 is its lowest value, 1 its highest; a constant channel becomes 0.
    """
    return spread(A, (2, 3))


stretch.cases = {
    "two images": lambda: (draw(0, 2, 3, 4, 5),),
    "channels of different units": (
        lambda: (draw(1, 3, 2, 2, 3) * torch.tensor([1.0, 1000])[:, None, None],)
    ),
    "a channel that is constant": (
        lambda: (draw(2, 1, 2, 2, 2).index_fill(1, torch.tensor([1]), 2.0),)
    ),
}
stretch.mistakes = {
    "A constant channel gives nan: its highest less its lowest value is 0.": (
        lambda A: spread(A, (2, 3), 0.0)
    ),
    "The wrong axis: one lowest and one highest value for all channels of an image.": (
        lambda A: spread(A, (1, 2, 3))
    ),
    "The batch is mixed up: each image has its own lowest and highest values.": (
        lambda A: spread(A, (0, 2, 3))
    ),
    "One lowest and one highest value for everything. Each channel has its own.": (
        lambda A: spread(A, (0, 1, 2, 3))
    ),
    "The lowest value is not taken off, so a shift still shows.": (
        lambda A: A / A.amax((2, 3), keepdim=True)
    ),
    "What is negative is cut off before the stretch. A channel may have both signs.": (
        lambda A: spread(A.relu(), (2, 3))
    ),
    "The sign is flipped: the lowest value has become 1.": lambda A: stretch(-A),
    "The lowest value is 0, and the highest is not 1. Divide by highest less lowest.": (
        lambda A: A - A.amin((2, 3), keepdim=True)
    ),
    "It goes from -1 to 1. From 0 to 1 was asked for.": lambda A: 2 * stretch(A) - 1,
    "A softmax makes the positions add up to 1. The highest value should be 1.": (
        lambda A: A.flatten(2).softmax(2).view_as(A)
    ),
}


# ---- chapter 12: real photographs ----------------------------------------------------------------


@exercise("12")
def one_story(M):
    """Return a table (L, L), true where two of the maps `M` (L, h, w) differ by one constant.

    They are signed maps of one class at L layers, and equal is what is equal to 1e-3 of the largest
    absolute value of the louder map of the two.
    """
    return apart(M) < 1e-3 * louder(M)


def apart(M: Tensor) -> Tensor:
    """How much the difference of each two maps varies over positions: (C, h, w) -> (C, C).

    0 where two maps differ by one constant.

    >>> apart(torch.tensor([[[1.0, 2.0]], [[5.0, 6.0]], [[0.0, 3.0]]]))
    tensor([[0., 0., 2.],
            [0., 0., 2.],
            [2., 2., 0.]])
    """
    gap = (M[:, None] - M).flatten(2)
    return gap.amax(2) - gap.amin(2)


def louder(M: Tensor) -> Tensor:
    """The largest absolute value of the one or the other of each two maps: (C, h, w) -> (C, C).

    >>> louder(torch.tensor([[[1.0, -2.0]], [[5.0, 0.0]]]))
    tensor([[2., 5.],
            [5., 5.]])
    """
    largest = M.abs().amax((1, 2))
    return torch.maximum(largest[:, None], largest)


one_story.cases = {
    "a map, the same one raised, and twice it": (
        lambda: (torch.stack([draw(0, 2, 2), draw(0, 2, 2) + 2, 2 * draw(0, 2, 2)]),)
    ),
    "maps in large units, alike up to rounding": lambda: (
        1e4 * (draw(1, 2, 3) + torch.tensor([0.0, -1, 3])[:, None, None] + 1e-5 * draw(2, 3, 2, 3)),
    ),
    "maps in small units": lambda: (1e-4 * draw(3, 2, 2, 5),),
    "two maps with one mean, and one map that differs in one place": (
        lambda: (torch.tensor([[[1.0, 2], [3, 4]], [[4, 3], [2, 1]], [[1, 2], [3, 8]]]),)
    ),
    "two faint maps beside a loud one": (
        lambda: (draw(4, 3, 2, 3) * torch.tensor([1e-5, 1e-5, 1])[:, None, None],)
    ),
}
one_story.mistakes = {
    "True and false have changed places.": lambda M: ~one_story(M),
    "A constant still counts as a difference: look at how much the difference varies, not at how "
    "large it is.": lambda M: (M[:, None] - M).abs().amax((2, 3)) < 1e-3 * louder(M),
    "The mean of the difference is the constant itself. Two other maps may have the same mean.": (
        lambda M: (M[:, None] - M).mean((2, 3)).abs() < 1e-3 * louder(M)
    ),
    "You scale the maps first, and then a multiple of a map counts as the same map.": (
        lambda M: apart(spread(M, (1, 2))) < 1e-3
    ),
    "You bring the maps to one length first: a multiple of a map counts as the same, and a raised "
    "one does not.": lambda M: apart(M / M.flatten(1).norm(dim=1)[:, None, None]) < 1e-3,
    "That is the largest value of all layers: beside one loud map, any two faint ones are one "
    "story.": lambda M: apart(M) < 1e-3 * M.abs().max(),
    "The tolerance has no unit: 1e-3 of the largest value is wanted.": lambda M: apart(M) < 1e-3,
    "No tolerance: rounding alone makes two maps differ.": lambda M: apart(M) == 0,
    "That is the first map against all. A row for each map is wanted.": lambda M: one_story(M)[0],
}


# ---- chapter 13: zero in a transformer -----------------------------------------------------------


@exercise("13")
def folded(W, b_V, b_O):
    """Return the value bias and the output bias, as a pair, when all of `b_V` (D,) has moved.

    It is moved into the output bias.  `W` (D, D) and `b_O` (D,) make the output `W @ z + b_O`.
    """
    return torch.zeros_like(b_V), b_O + W @ b_V


folded.cases = {
    "four channels": lambda: (draw(0, 4, 4), draw(1, 4), draw(2, 4)),
    "five channels, large biases": lambda: (draw(3, 5, 5), 100 * draw(4, 5), draw(5, 5)),
    "a value bias that is zero already": (
        lambda: (draw(6, 3, 3), torch.zeros(3).double(), draw(7, 3))
    ),
}
folded.mistakes = {
    "The value bias is still there, so it counts twice. It has moved: what is left of it?": (
        lambda W, b_V, b_O: (b_V, b_O + W @ b_V)
    ),
    "The sign is flipped. Here t is -b_V, so b_O - W t adds something.": (
        lambda W, b_V, b_O: (torch.zeros_like(b_V), b_O - W @ b_V)
    ),
    "The value bias goes through the matrix on its way to the output.": (
        lambda W, b_V, b_O: (torch.zeros_like(b_V), b_O + b_V)
    ),
    "That is the transposed matrix: the layer computes W @ z.": (
        lambda W, b_V, b_O: (torch.zeros_like(b_V), b_O + b_V @ W)
    ),
    "The two biases have changed places: first the value bias, then the output bias.": (
        lambda W, b_V, b_O: folded(W, b_V, b_O)[::-1]
    ),
    "Two biases are wanted, as a pair.": lambda W, b_V, b_O: folded(W, b_V, b_O)[1],
    "The output bias goes through the matrix. It is added behind it; only b_V goes through.": (
        lambda W, b_V, b_O: (torch.zeros_like(b_V), W @ (b_O + b_V))
    ),
    "The value bias is lost: what it gave to the output has to be put into the output bias.": (
        lambda W, b_V, b_O: (torch.zeros_like(b_V), b_O)
    ),
}
