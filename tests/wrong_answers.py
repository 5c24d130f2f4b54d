"""Wrong answers as students write them: of each, what the checker must say.

A row is (exercise, what the student did, the function, words of the hint).  REVIEW holds those that
a lecturer typed in when the checkers were reviewed, exercise by exercise; OWN holds ours, for the
exercises that the review left out.
"""

import copy

import torch
import torch.nn.functional as F

import zerocam
from zerocam import references


def cam(net, x, c, **how):
    return zerocam.grad_cam(net, x, c, **{"layer": "features", "relu": False} | how)


def gap(net, x, y):
    return zerocam.activations(net, x, layer="features") - zerocam.activations(
        net, y, layer="features"
    )


def shift(M, w, lowest):
    return (lowest - M.min()) * M.numel() * w / (w @ w)


def maps(W, A):
    return torch.einsum("ck,nkij->ncij", W, A)


def scaled(M):
    low, high = M.amin((-2, -1), keepdim=True), M.amax((-2, -1), keepdim=True)
    return (M - low) / (high - low)


def corners(A, t):
    out = t.reshape(1, -1, 1, 1).repeat(len(A), 1, A.shape[2] + 2, A.shape[3] + 2)
    out[..., 1:-1, 1:-1] = A
    for i in (0, -1):
        for j in (0, -1):
            out[..., i, j] = 0
    return out


def head(change):
    def new(net):
        net = copy.deepcopy(net)
        net.head.linear.weight.data = change(net.head.linear.weight.data)
        return net

    return new


def bare_stretch(A):
    return A - A.amin((2, 3), keepdim=True)


def by_std(A):
    return (A - A.mean((2, 3), keepdim=True)) / A.std((2, 3), keepdim=True, correction=0)


NONE = "`return`"
LIFT = [
    ("forgets Z", lambda M, w, low: shift(M, w, low) / M.numel(), "Z is left out"),
    ("sign turned round", lambda M, w, low: -shift(M, w, low), "sign is flipped"),
    ("rows only", lambda M, w, low: (low - M.min()) * M.shape[0] * w / (w @ w), "factor"),
    ("the chapter's Z", lambda M, w, low: (low - M.min()) * 98 * w / (w @ w), "factor"),
    ("abs of the minimum", lambda M, w, low: (low + M.min().abs()) * M.numel() * w / (w @ w),
     "without its sign"),
    ("the lifted map", lambda M, w, low: M + low - M.min(), "shape"),
    ("the constant", lambda M, w, low: low - M.min(), "shape"),
    ("every channel alike", lambda M, w, low: ((low - M.min()) * M.numel() / w.sum()).expand_as(w),
     "nan or inf"),
    ("length, not its square", lambda M, w, low: (low - M.min()) * M.numel() * w / w.norm(),
     "square of the length"),
    ("sign and Z", lambda M, w, low: (M.min() - low) * w / (w @ w), "factor"),
    ("minimum after the ReLU", lambda M, w, low: (low - M.relu().min()) * M.numel() * w / (w @ w),
     "cut off"),
    ("mean, not minimum", lambda M, w, low: (low - M.mean()) * M.numel() * w / (w @ w), "mean"),
    ("prints", lambda M, w, low: print(shift(M, w, low)), NONE),
]  # fmt: skip
CLASS_MAPS = [
    ("no division", maps, "mean is left out"),
    ("by channels", lambda W, A: maps(W, A) / A.shape[1], "number of channels"),
    ("by rows", lambda W, A: maps(W, A) / A.shape[2], "rows times columns"),
    ("by all numbers", lambda W, A: maps(W, A) / A.numel(), "A.numel()"),
    ("by the batch, too", lambda W, A: maps(W, A) / (A.numel() / A.shape[1]), "batch"),
    ("first image", lambda W, A: maps(W, A)[0] / A[0, 0].numel(), "shape"),
    ("W @ A", lambda W, A: W @ A, "`@` multiplies"),
    ("scores", lambda W, A: A.mean((2, 3)) @ W.T, "shape"),
    ("ReLU", lambda W, A: maps(W, A).relu() / A[0, 0].numel(), "without the ReLU"),
    ("the chapter's Z", lambda W, A: maps(W, A) / 100, "factor"),
    ("no weights", lambda W, A: A.sum(1, keepdim=True).expand(-1, len(W), -1, -1).clone()
     / A[0, 0].numel(), "W"),
    ("min-max", lambda W, A: scaled(maps(W, A)), "nan"),
    ("prints", lambda W, A: print(maps(W, A)), NONE),
]  # fmt: skip
PAD_WITH = [
    ("zeros", lambda A, t: F.pad(A, (1, 1, 1, 1)), "border is 0"),
    ("value=t", lambda A, t: F.pad(A, (1, 1, 1, 1), value=t), "Each channel has its own"),
    ("no new axes", lambda A, t: F.pad(A - t, (1, 1, 1, 1)) + t, "one axis"),
    ("minus t", lambda A, t: F.pad(A + t[:, None, None], (1, 1, 1, 1)) - t[:, None, None],
     "sign is flipped"),
    ("t inside", lambda A, t: F.pad(A, (1, 1, 1, 1)) + t[:, None, None], "inside"),
    ("replicate", lambda A, t: F.pad(A, (1, 1, 1, 1), mode="replicate"), "edge"),
    ("two sides", lambda A, t: F.pad(A - t[:, None, None], (1, 1)) + t[:, None, None],
     "Two sides"),
    ("two positions", lambda A, t: F.pad(A - t[:, None, None], (2, 2, 2, 2)) + t[:, None, None],
     "shape"),
    ("four corners", corners, "corners"),
    ("mean of t", lambda A, t: F.pad(A, (1, 1, 1, 1), value=t.mean().item()), "One number"),
    ("first of t", lambda A, t: F.pad(A, (1, 1, 1, 1), value=t[0].item()), "first channel"),
    ("a batch of one", lambda A, t: (F.pad(A - t[:, None, None], (1,) * 4) + t[:, None, None])[0],
     "shape"),
    ("prints", lambda A, t: print(F.pad(A, (1, 1, 1, 1))), NONE),
]  # fmt: skip
RELABEL = [
    ("bias not scaled", lambda W, b, a, u: (a * W, b + u), "old bias"),
    ("no u", lambda W, b, a, u: (a * W, a * b), "left out"),
    ("inverse", lambda W, b, a, u: (W / a, (b - u) / a), "way back"),
    ("shift first", lambda W, b, a, u: (a * W, a * (b + u)), "shift first"),
    ("u in the weights", lambda W, b, a, u: (a * W + u, a * b + u), "weights"),
    ("turned round", lambda W, b, a, u: (a * b + u, a * W), "changed places"),
    ("weights alone", lambda W, b, a, u: a * W, "1 things, wanted 2"),
    ("minus u", lambda W, b, a, u: (a * W, a * b - u), "sign"),
    ("u times a", lambda W, b, a, u: (a * W, a * b + u * a), "shift first"),
    ("prints", lambda W, b, a, u: print(a * W), NONE),
]
BLIND = [
    ("the maps", lambda rule, M: torch.equal(M, M.relu()), "compare the maps"),
    ("a tensor", lambda rule, M: rule(M) == rule(M.relu()), "shape"),
    ("any", lambda rule, M: (rule(M) == rule(M.relu())).any(), "All must agree"),
    ("sums", lambda rule, M: rule(M).sum() == rule(M.relu()).sum(), "how much"),
    ("always", lambda rule, M: True, "True of every rule"),
    ("never", lambda rule, M: False, "False of every rule"),
    ("ReLU of the mask", lambda rule, M: torch.equal(rule(M), rule(M).relu()),
     "before the rule"),
    ("bool of many", lambda rule, M: bool(rule(M) == rule(M.relu())), "torch.equal"),
    ("is", lambda rule, M: rule(M) is rule(M.relu()), "False of every rule"),
    ("each map", lambda rule, M: (rule(M) == rule(M.relu())).flatten(1).all(1), "shape"),
    ("no negative value", lambda rule, M: bool((M >= 0).all()), "compare the maps"),
    ("absolute value", lambda rule, M: torch.equal(rule(M), rule(M.abs())), "absolute value"),
    ("prints", lambda rule, M: print(torch.equal(rule(M), rule(M.relu()))), NONE),
    ("a word", lambda rule, M: "blind", "True or False"),
]  # fmt: skip
ADDED_BY = [
    ("usual map", lambda net, x, y, c: cam(net, x, c), "not used"),
    ("ReLU", lambda net, x, y, c: cam(
        net, x, c, relu=True, reference=references.baseline(net, y, "features")),
     "negative values"),
    ("x - without", lambda net, x, y, c: cam(net, x - y, c), "subtract the images"),
    ("reference=without", lambda net, x, y, c: cam(net, x, c, reference=y), "reference"),
    ("turned round", lambda net, x, y, c: cam(
        net, y, c, reference=references.baseline(net, x, "features")), "sign is flipped"),
    ("x against itself", lambda net, x, y, c: cam(
        net, x, c, reference=references.baseline(net, x, "features")), "itself"),
    ("mean over the images", lambda net, x, y, c: cam(
        net, x, c, reference=references.data_mean(
            zerocam.activations(net, y, layer="features"))), "mean"),
    ("clipped both", lambda net, x, y, c: cam(net, x, c, relu=True) - cam(net, y, c, relu=True),
     "clipped before"),
    ("batch added up", lambda net, x, y, c: (cam(net, x, c) - cam(net, y, c)).sum(0), "shape"),
    ("no layer", lambda net, x, y, c: zerocam.grad_cam(net, x, c), "layer"),
    ("scores", lambda net, x, y, c: net(x)[:, c] - net(y)[:, c], "shape"),
    ("the winner", lambda net, x, y, c: cam(
        net, x, int(net(x)[0].argmax()), reference=references.baseline(net, y, "features")),
     "class"),
    ("means only", lambda net, x, y, c: (
        gap(net, x, y).mean(1) * net.head.linear.weight[c].mean()), "weight"),
    ("prints", lambda net, x, y, c: print(cam(net, x, c)), NONE),
]  # fmt: skip
REVIEW = {
    "lift": LIFT,
    "class_maps": CLASS_MAPS,
    "pad_with": PAD_WITH,
    "relabel": RELABEL,
    "blind": BLIND,
    "added_by": ADDED_BY,
}
OWN = {
    "heatmap_channel": [
        ("alpha alone", lambda alpha: alpha[None], "shape"),
        ("a vector", lambda alpha: alpha, "shape"),
        ("first column", lambda alpha: torch.eye(len(alpha)).double().index_copy(
            1, torch.tensor([0]), alpha[:, None]), "first column"),
        ("zeros below", lambda alpha: torch.zeros(len(alpha), len(alpha)).double().index_copy(
            0, torch.tensor([0]), alpha[None]), "multiples of the first"),
        ("the identity", lambda alpha: torch.eye(len(alpha)), "identity"),
    ],
    "centre_head": [
        ("the map is centred", lambda net: net.head.linear.weight.data
         - net.head.linear.weight.data.mean(0), "wanted a network"),
        ("in place", lambda net: (net.head.linear.weight.data.sub_(
            net.head.linear.weight.data.mean(0)), net)[1], "changes `net`"),
        ("standardised", head(lambda W: (W - W.mean(0)) / W.std(0)), "standard deviation"),
        ("last class", head(lambda W: W - W[-1]), "last class"),
    ],
    "absorb": [
        ("bias alone", lambda W, m: -m * W.sum((1, 2, 3)), "1 things, wanted 2"),
        ("places", lambda W, m: (m, -m * W.sum((1, 2, 3))), "changed places"),
        ("each colour apart", lambda W, m: (-m * W.sum((2, 3)), m), "shape"),
        ("both signs", lambda W, m: (m * W.sum((1, 2, 3)), -m), "Both signs"),
        ("border of the bias", lambda W, m: (-m * W.sum((1, 2, 3)), -m * W.sum((1, 2, 3))),
         "Result 2 of 2 has the shape"),
    ],
    "doubly_centred": [
        ("positions alone, per image", lambda M: M - M.mean((1, 2, 3), keepdim=True),
         "One number for each image"),
        ("no keepdim", lambda M: M - M.mean((2, 3)), "keepdim"),
        ("rows only", lambda M: (M - M.mean(2, keepdim=True))
         - (M - M.mean(2, keepdim=True)).mean(1, keepdim=True), "rows"),
        ("unit spread", lambda M: by_std(M - M.mean(1, keepdim=True)), "nan or inf"),
    ],
    "stretch": [
        ("to a mean of 0", by_std, "nan or inf"),
        ("lowest alone", bare_stretch, "highest"),
        ("from -1 to 1", lambda A: 2 * scaled(A).nan_to_num() - 1, "-1"),
        ("softmax", lambda A: A.flatten(2).softmax(2).view_as(A), "positions"),
    ],
    "drawn": [
        ("the batch's maximum", lambda M: M.relu() / M.relu().max(), "batch"),
        ("no guard", lambda M: scaled(M.relu()), "nan"),
        ("after min-max a cut at half", lambda M: (scaled(M) - 0.5).relu() * 2, "no ReLU"),
        ("a mask", lambda M: (M > 0).double(), "amount"),
    ],
    "one_story": [
        ("equal maps", lambda M: (M[:, None] == M).flatten(2).all(2), "constant"),
        ("a number", lambda M: torch.tensor(True), "shape"),
        ("correlation", lambda M: torch.corrcoef(M.flatten(1)) > 0.999, "multiple of a map"),
    ],
    "folded": [
        ("the sum alone", lambda W, v, o: (v, o + W @ v), "counts twice"),
        ("weight moved", lambda W, v, o: (torch.zeros_like(v), W @ (o + v)), "output bias"),
        ("value bias cut", lambda W, v, o: (torch.zeros_like(v), o), "lost"),
    ],
}  # fmt: skip
