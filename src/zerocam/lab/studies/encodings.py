"""Chapter 5: nets that differ in their label encoding alone."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from zerocam.lab.encodings import decode, encode, scaled, squared_error
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies.runner import Found, redrawn, study
from zerocam.lab.training import fit
from zerocam.metrics import enlarge, pointing

ENCODINGS = {  # name: scale and shift of T = scale I + shift
    "one_hot": (1, 0),
    "reshuffled": (1, 0),  # the yardstick: one-hot once more, the batches in another order
    "minus_one_hot": (-1, 0),
    "plus_minus_one": (2, -1),
    "softened": (0.8, 0.1),  # 0.9 and 0.1
    "shifted": (1, 1),  # 2 and 1
}


def alike(M: Float[Tensor, "N h w"], R: Float[Tensor, "N h w"]) -> Float[Tensor, " N"]:
    """Correlation of two maps over positions, -1 to 1: blind to scale and offset; flat: 0.

    >>> M = torch.tensor([[[0.0, 1.0, 2.0]]])
    >>> alike(M, 3 * M + 5).round(decimals=3), alike(M, -M).round(decimals=3)
    (tensor([1.]), tensor([-1.]))
    """
    M, R = (V.flatten(1) - V.flatten(1).mean(1, keepdim=True) for V in (M, R))
    return F.cosine_similarity(M, R, dim=1)


def encoded(seed: int, **net: Any) -> Found:
    """Six nets that differ in their encoding alone, on both digits of 200 unseen pairs.

    accuracy: single unseen digits.  point, opposite: pointing of relu(M), of relu(-M).  sum: mean
    of sum_ij M, the score less its bias.  below: share of classes present for which it is negative.
    lowest: the smallest activation.  like: `alike` with the one-hot net's map, times the sign of
    the scale.  like_centred: the same for M less its mean over classes.  common: length of the
    mean class-weight vector, as a share of the root mean square length.
    """
    train = digit_scenes(2000, seed=seed)
    single, pairs = (
        digit_scenes(200, digits=d, split="test", seed=d * 1000 + seed) for d in (1, 2)
    )
    own, row, c = pairs.masks.flatten(0, 1), torch.arange(400) // 2, pairs.labels.flatten()
    found: dict[str, Tensor] = {}
    first: tuple[Tensor, Tensor] | None = None
    for name, (scale, shift) in ENCODINGS.items():
        T, sign = scaled(10, scale, shift), 1 if scale > 0 else -1
        model, order = SceneNet(seed=seed, **net), seed + 500 * (name == "reshuffled")
        fit(model, train.x, encode(T, train.labels[:, 0]), loss=squared_error, epochs=3, lr=0.01,
            optimiser="adam", seed=order)  # fmt: skip
        with torch.no_grad():
            right = decode(T, model(single.x)) == single.labels[:, 0]
            A, W = model.features(pairs.x), model.head.linear.weight
            M = torch.einsum("ck,nkij->ncij", W, A) / A[0, 0].numel()
        maps = M[row, c], (M - M.mean(1, keepdim=True))[row, c]
        first = first or maps
        total, big = maps[0].sum((1, 2)), enlarge(maps[0], 40)
        numbers = {
            "accuracy": right, "point": pointing(big, own), "opposite": pointing(-big, own),
            "sum": total, "below": total < 0, "lowest": A.min(),
            "like": sign * alike(maps[0], first[0]),
            "like_centred": sign * alike(maps[1], first[1]),
            "common": W.mean(0).norm() / W.square().sum(1).mean().sqrt(),
        }  # fmt: skip
        found |= {f"{key}_{name}": value for key, value in numbers.items()}
    return found


@study
@redrawn
def encodings_relu(seed: int) -> Found:
    """What six label encodings make of the same ReLU net; see `encoded`."""
    return encoded(seed, activation="relu")


@study
@redrawn
def encodings_tanh(seed: int) -> Found:
    """The same with tanh, whose activations have both signs."""
    return encoded(seed, activation="tanh")
