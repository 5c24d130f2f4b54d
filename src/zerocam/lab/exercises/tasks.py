"""The exercises of chapters 1 to 6; those of 7 to 13 are in later.py.

    @exercise       marks the right answer, a function whose docstring is the question
    NAME.cases      what is special about a case: its arguments, made anew by each call
    NAME.mistakes   what to say of a mistake: a function that makes it
    NAME.stops      words of an error message: what to say of it
    NAME.judged     what is compared, where more than one answer is right; NAME.judges in words

Cases are small, and of whole numbers, since the smallest that fails is shown, to be done by hand.
Between them they must tell all mistakes apart; tests/test_exercises.py asks that.
"""

import copy
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from zerocam.lab.exercises.marking import exercise
from zerocam.lab.nets import SceneNet


def draw(seed: int, *shape: int) -> Tensor:
    """Random whole numbers from -9 to 9 without 0, in float64."""
    g = torch.Generator().manual_seed(seed)
    size, sign = (torch.randint(*ends, shape, generator=g) for ends in ((1, 10), (0, 2)))
    return (size * (2 * sign - 1)).double()


def spread(A: Tensor, over: tuple[int, ...], least: float = 1e-300) -> Tensor:
    """A from 0, its lowest value over these dimensions, to 1.

    >>> spread(torch.tensor([[1.0, 2.0, 3.0]]), (1,))
    tensor([[0.0000, 0.5000, 1.0000]])
    """
    low, high = A.amin(over, keepdim=True), A.amax(over, keepdim=True)
    return (A - low) / (high - low).clamp(min=least)


# ---- chapter 1: what does zero mean? -------------------------------------------------------------


@exercise("01")
def lift(M, w, lowest):
    """Return a shift `t` (K,) of the channels that moves the lowest value of a map to `lowest`.

    `M` (h, w) is the signed map of a class with the weights `w` (K,) on an averaging, linear head.
    """
    return (lowest - M.min()) * M.numel() * w / (w @ w)


lift.judges, lift.judged = "the moved map", lambda t, M, w, lowest: M + w @ t / M.numel()
lift.cases = {
    "a small map": lambda: (draw(0, 2, 4), draw(1, 3), 0.5),
    "a map that is positive already": lambda: (draw(2, 3, 2).abs(), draw(3, 5), 0.1),
    "weights that sum to zero": lambda: (draw(4, 2, 3), torch.tensor([2.0, -3, 1]).double(), 1),
}
lift.mistakes = {
    "The sign is flipped: the map moves the other way.": lambda M, w, lowest: -lift(M, w, lowest),
    "Z is left out: the map's weights are w / Z.": (
        lambda M, w, lowest: lift(M, w, lowest) / M.numel()
    ),
    "Divide by w @ w, the square of the length, not by the length.": (
        lambda M, w, lowest: lift(M, w, lowest) * w.norm()
    ),
    "You move the highest value there, and the lowest ends below it.": (
        lambda M, w, lowest: (lowest - M.max()) * M.numel() * w / (w @ w)
    ),
    "The lowest value becomes 0. It should become `lowest`.": (lambda M, w, lowest: lift(M, w, 0)),
    "One constant for all channels moves the map by a multiple of sum(w), which may be zero. "
    "Take a multiple of w.": lambda M, w, lowest: (lowest - M.min()).expand_as(w),
    "You move the mean there. It is the lowest value that should end at `lowest`.": (
        lambda M, w, lowest: (lowest - M.mean()) * M.numel() * w / (w @ w)
    ),
    "The negative values are cut off before you look for the lowest. Take the minimum of M.": (
        lambda M, w, lowest: (lowest - M.relu().min()) * M.numel() * w / (w @ w)
    ),
    "The size of the minimum is taken, without its sign. It is right only if M has a negative "
    "value.": lambda M, w, lowest: (lowest + M.min().abs()) * M.numel() * w / (w @ w),
}


# ---- chapter 2: Grad-CAM from scratch ------------------------------------------------------------


@exercise("02")
def class_maps(W, A):
    """Return all signed maps (N, C, h, w) of an averaging, linear head.

    `W` (C, K) are its weights, `A` (N, K, h, w) the activations.
    """
    return torch.einsum("ck,nkij->ncij", W, A) / A[0, 0].numel()


class_maps.cases = {
    "two images": lambda: (draw(0, 5, 3), draw(1, 2, 3, 4, 6)),
    "one class": lambda: (draw(2, 1, 3), draw(3, 1, 3, 1, 2)),
    "a single position": lambda: (draw(4, 3, 2), draw(5, 2, 2, 1, 1)),
}
class_maps.mistakes = {
    "The mean is left out: divide by the number of positions.": (
        lambda W, A: class_maps(W, A) * A[0, 0].numel()
    ),
    "You divide by the number of channels. Channels are added up; divide by the number of "
    "positions.": lambda W, A: class_maps(W, A) * A[0, 0].numel() / len(W[0]),
    "Classes and images have changed places: (N, C, h, w) is wanted.": (
        lambda W, A: class_maps(W, A).transpose(0, 1)
    ),
    "Rows and columns of the maps have changed places.": (
        lambda W, A: class_maps(W, A).transpose(2, 3)
    ),
    "The images of the batch are added up. Each has its own maps.": (
        lambda W, A: class_maps(W, A).sum(0)
    ),
    "The batch is mixed up: every image gets the mean of all maps.": (
        lambda W, A: class_maps(W, A.mean(0, keepdim=True)).expand(len(A), -1, -1, -1)
    ),
    "The negative values are gone. Signed maps were asked for, without the ReLU.": (
        lambda W, A: class_maps(W, A).relu()
    ),
    "The maps are scaled from lowest to highest. Their zero is lost; leave them as they are.": (
        lambda W, A: spread(class_maps(W, A), (2, 3))
    ),
    "You divide by the number of rows. The map has rows times columns positions.": (
        lambda W, A: class_maps(W, A) * A.shape[3]
    ),
    "You divide by the number of columns. The map has rows times columns positions.": (
        lambda W, A: class_maps(W, A) * A.shape[2]
    ),
    "You divide by the size of the batch as well. Each image has its own maps.": (
        lambda W, A: class_maps(W, A) / len(A)
    ),
    "You divide by the number of channels and the batch as well: A.numel() counts everything. "
    "Divide by the positions.": lambda W, A: class_maps(W, A) * A[0, 0].numel() / A.numel(),
    "The weights play no part: all classes get the same map. Each class has its row of W.": (
        lambda W, A: class_maps(torch.ones_like(W), A)
    ),
    "The maps are scaled from lowest to highest, so a map of one position is nan. Leave them as "
    "they are.": lambda W, A: spread(class_maps(W, A), (2, 3), 0.0),
}
class_maps.stops = {
    "batch2 tensor": "`@` multiplies the last two axes, which are rows and columns here. Add up "
    "over channels: torch.einsum with the letters of the axes."
}


# ---- chapter 3: bias shifts ----------------------------------------------------------------------


@exercise("03")
def pad_with(A, t):
    """Return the activations `A` (N, K, h, w), padded by one position on each side.

    What they are padded with is their channel's number of `t` (K,).
    """
    return F.pad(A - t[:, None, None], (1, 1, 1, 1)) + t[:, None, None]


def without_corners(A: Tensor) -> Tensor:
    """A with 0 in its four corners."""
    A = A.clone()
    A[..., [0, 0, -1, -1], [0, -1, 0, -1]] = 0
    return A


pad_with.cases = {
    "two images": lambda: (draw(0, 2, 3, 2, 4), draw(1, 3)),
    "a constant layer": lambda: (draw(2, 3)[:, None, None].expand(1, 3, 2, 1).clone(), draw(2, 3)),
    "a single position": lambda: (draw(3, 1, 2, 1, 1), draw(4, 2)),
}
pad_with.mistakes = {
    "The border is 0. Zero has moved, and t is its new place.": (
        lambda A, t: F.pad(A, (1, 1, 1, 1))
    ),
    "The sign is flipped: the border is -t.": lambda A, t: pad_with(A, -t),
    "One number for all channels. Each channel has its own t.": (
        lambda A, t: pad_with(A, t.mean().expand_as(t))
    ),
    "You take the first channel's number for all. Each channel has its own t.": (
        lambda A, t: pad_with(A, t[0].expand_as(t))
    ),
    "t is added inside as well. Only the border should hold it.": (
        lambda A, t: F.pad(A, (1, 1, 1, 1)) + t[:, None, None]
    ),
    "t is taken off before the padding and not put back.": (
        lambda A, t: pad_with(A, t) - t[:, None, None]
    ),
    "Two sides only. F.pad wants (left, right, top, bottom).": (
        lambda A, t: pad_with(A, t)[:, :, 1:-1]
    ),
    "The four corners are 0. They belong to the border too.": (
        lambda A, t: without_corners(pad_with(A, t))
    ),
    "The border repeats the edge of the map. It should hold t.": (
        lambda A, t: F.pad(A, (1, 1, 1, 1), mode="replicate")
    ),
}
pad_with.stops = {
    "must be float, not Tensor": "F.pad writes one number everywhere. Each channel has its own: "
    "what can you do before and after, so that 0 is the number to pad with?",
    "must match the size": "t has one axis, for channels. t[:, None, None] has the axes of a "
    "channel's map too.",
}


# ---- chapter 4: signs and mixtures ---------------------------------------------------------------


@exercise("04")
def heatmap_channel(alpha):
    """Return an invertible matrix Q (K, K) such that the first of the channels Q A is the map.

    It is asked for any weights `alpha` (K,) that are not all zeros; the map is the signed one.
    """
    return with_row(alpha, int(alpha.abs().argmax()))


def with_row(alpha: Tensor, row: int) -> Tensor:
    """The identity with alpha as its first row, and the row it would lose moved into its place.

    >>> with_row(torch.tensor([3.0, 4.0]), 1)
    tensor([[3., 4.],
            [1., 0.]])
    """
    Q = torch.eye(len(alpha)).to(alpha)
    Q[row], Q[0] = Q[0].clone(), alpha
    return Q


heatmap_channel.judges = "the first row, and how many rows are independent"
heatmap_channel.judged = lambda Q, alpha: (Q[0], torch.linalg.matrix_rank(Q))
heatmap_channel.cases = {
    "four weights": lambda: (draw(0, 4),),
    "a first weight of zero": lambda: (torch.tensor([0.0, 2, -1]).double(),),
    "one weight that is not zero": lambda: (torch.tensor([0.0, 0, 0, 0, 3]).double(),),
}
heatmap_channel.mistakes = {
    "Right, unless the first weight is 0: then Q cannot be inverted. Which row of the identity may "
    "go?": lambda alpha: with_row(alpha, 0),
    "alpha is the first column. A'_1 is made by the first row.": (
        lambda alpha: with_row(alpha, 0).T
    ),
    "The sign is flipped: the first channel is minus the map.": (
        lambda alpha: with_row(-alpha, int(alpha.abs().argmax()))
    ),
    "alpha has been scaled to length one, so the channel is a fraction of the map.": (
        lambda alpha: heatmap_channel(alpha / alpha.norm())
    ),
    "The other rows are multiples of the first, or zero, so Q cannot be inverted.": lambda alpha: (
        alpha.expand(len(alpha), -1)
    ),
    "A diagonal Q only scales the channels. The map is their weighted sum.": torch.diag,
    "This is the inverse of Q, which belongs to the head.": (
        lambda alpha: torch.linalg.inv(heatmap_channel(alpha))
    ),
    "This is the identity, which leaves the channels as they are. The first row should make the "
    "map.": lambda alpha: torch.eye(len(alpha)),
}


# ---- chapter 5: label encoding -------------------------------------------------------------------


@exercise("05")
def relabel(W, b, a, u):
    """Return the weights (C, K) and the bias (C,) of the head that gives scores for labels a t + u.

    `W` and `b` are those of the head for the labels t.
    """
    return a * W, a * b + u


relabel.cases = {
    "1 and -1 for 1 and 0": lambda: (draw(0, 4, 3), draw(1, 4), 2, -1),
    "0.9 and 0.1 for 1 and 0": lambda: (draw(2, 3, 2), draw(3, 3), 0.8, 0.1),
    "minus-one-hot": lambda: (draw(4, 2, 5), draw(5, 2), -1, 0),
}
relabel.mistakes = {
    "The old bias has to be scaled as well.": lambda W, b, a, u: (a * W, b + u),
    "The shift u is left out.": lambda W, b, a, u: (a * W, a * b),
    "The weights are not scaled.": lambda W, b, a, u: (W, a * b + u),
    "Only the shift is there. Weights and bias have to be scaled by a.": (
        lambda W, b, a, u: (W, b + u)
    ),
    "The shift is in the weights, where it depends on the picture. It is the bias's.": (
        lambda W, b, a, u: (a * W + u, a * b)
    ),
    "You shift first and scale afterwards. The labels are a t + u.": (
        lambda W, b, a, u: (a * W, a * (b + u))
    ),
    "This is the way back, from the new labels to the old ones.": (
        lambda W, b, a, u: (W / a, (b - u) / a)
    ),
    "The shift is in the bias, where it belongs, and in the weights as well.": (
        lambda W, b, a, u: (a * W + u, a * b + u)
    ),
    "The sign of the shift is flipped.": lambda W, b, a, u: (a * W, a * b - u),
    "The two have changed places: first the weights, then the bias.": (
        lambda W, b, a, u: (a * b + u, a * W)
    ),
}


# ---- chapter 6: the softmax freedom --------------------------------------------------------------


@exercise("06")
def centre_head(net):
    """Return a copy of the network whose plain logit map is the centred map.

    Its last layer is `net.head.linear`.
    """
    return with_weights(net, lambda W: W - W.mean(0))


def small_net(seed: int) -> SceneNet:
    """An untrained network of 3 + seed classes, with biases."""
    return copy.deepcopy(_made(seed))


@cache
def _made(seed: int) -> SceneNet:
    net = SceneNet(3 + seed, seed=seed, dtype=torch.float64).eval()
    net.head.linear.bias.data = draw(seed, 3 + seed)
    return net


def with_weights(net: SceneNet, change) -> SceneNet:
    """A copy of the network with changed weights of the last layer."""
    new = copy.deepcopy(net)
    new.head.linear.weight.data = change(net.head.linear.weight.data)
    return new


centre_head.judges = "the weights of the last layer, and its bias but for a constant"
centre_head.judged = lambda new, net: (
    new.head.linear.weight,
    new.head.linear.bias - new.head.linear.bias.mean(),
)
centre_head.cases = {
    "three classes": lambda: (small_net(0),),
    "four classes": lambda: (small_net(1),),
    "seven classes": lambda: (small_net(4),),
}
centre_head.mistakes = {
    "The wrong axis: you subtract each class's mean over channels. The average class is the mean "
    "of the rows.": lambda net: with_weights(net, lambda W: W - W.mean(1, keepdim=True)),
    "You subtract one number. The mean row has one for each channel.": (
        lambda net: with_weights(net, lambda W: W - W.mean())
    ),
    "The sign is flipped: the mean row is added.": (
        lambda net: with_weights(net, lambda W: W + W.mean(0))
    ),
    "You subtract the largest weights, which turns every map blue. Subtract the mean.": (
        lambda net: with_weights(net, lambda W: W - W.amax(0))
    ),
    "You subtract the sum of the rows. The mean is left out.": (
        lambda net: with_weights(net, lambda W: W - W.sum(0))
    ),
    "The weights are as they were. The field sits in them, not in the bias.": (
        lambda net: with_weights(net, lambda W: W)
    ),
    "You subtract the first class. That is a contrast with it, not with the average.": (
        lambda net: with_weights(net, lambda W: W - W[:1])
    ),
    "You subtract the last class. That is a contrast with it, not with the average.": (
        lambda net: with_weights(net, lambda W: W - W[-1])
    ),
    "You divide by the standard deviation as well. Only the mean row should go.": (
        lambda net: with_weights(net, lambda W: (W - W.mean(0)) / W.std(0))
    ),
}
