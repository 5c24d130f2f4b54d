"""Label encodings: which numbers the scores are taught for each class.

    T        encoding, row c is the target of class c     (C, D)   [score]
    labels   the class of each image                      (N,)
    targets  T[labels]                                    (N, D)   [score]
    y        scores, trained towards the targets          (N, D)   [score]

Every encoding here is T = a I + u: scaled by a, shifted by u, D = C.  A linear head with a bias
absorbs both: at the least-squares optimum, W -> a W and b -> a b + u (tests/test_encodings.py).
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from zerocam.refusals import Refused

Encoding = Float[Tensor, "C D"]
Loss = Callable[[Tensor, Tensor], Tensor]


def scaled(
    classes: int, scale: float | int, shift: float | int = 0, *, dtype: torch.dtype = torch.float32
) -> Encoding:
    """T = scale I + shift: `shift` for the other classes, `shift + scale` for one's own.

    (C, C), in [score].  All encodings of this module are special cases.

    >>> scaled(2, 0.8, 0.1)
    tensor([[0.9000, 0.1000],
            [0.1000, 0.9000]])
    """
    return scale * torch.eye(classes, dtype=dtype) + shift


def one_hot(classes: int, *, dtype: torch.dtype = torch.float32) -> Encoding:
    """T = I: 1 for one's own class, 0 for the others.

    >>> one_hot(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return scaled(classes, 1, dtype=dtype)


def minus_one_hot(classes: int, *, dtype: torch.dtype = torch.float32) -> Encoding:
    """T = -I: -1 for one's own class, 0 for the others.

    The same information as one-hot; a network that is taught it says yes by a low score.

    >>> minus_one_hot(2)
    tensor([[-1.,  0.],
            [ 0., -1.]])
    """
    return scaled(classes, -1, dtype=dtype)


def plus_minus_one(classes: int, *, dtype: torch.dtype = torch.float32) -> Encoding:
    """T = 2 I - 1: +1 for one's own class, -1 for the others.

    >>> plus_minus_one(2)
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    return scaled(classes, 2, -1, dtype=dtype)


def smoothed(classes: int, amount: float | int, *, dtype: torch.dtype = torch.float32) -> Encoding:
    """T = (1 - amount) I + amount / C: label smoothing; rows stay probabilities.

    amount: 0 or more and below 1; else `Refused`.

    >>> smoothed(2, 0.2)
    tensor([[0.9000, 0.1000],
            [0.1000, 0.9000]])
    """
    if not 0 <= amount < 1:
        raise Refused("amount", f"{amount}", "0 or more and below 1")
    return scaled(classes, 1 - amount, amount / classes, dtype=dtype)


def encode(T: Encoding, labels: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
    """The targets T[labels].

    >>> encode(minus_one_hot(3), torch.tensor([2, 0]))
    tensor([[ 0.,  0., -1.],
            [-1., 0., 0.]])
    """
    if len(labels) and (labels.min() < 0 or labels.max() >= len(T)):
        raise Refused("labels", f"{labels.min()} to {labels.max()}", f"0 to {len(T) - 1}")
    return T[labels]


def decode(T: Encoding, y: Float[Tensor, "N D"]) -> Int[Tensor, " N"]:
    """argmin_c |y - T_c|^2: the class whose target is nearest; of equals, the first.

    For one-hot, its shifts and its positive scalings the highest score; for minus-one-hot the
    lowest.

    >>> y = torch.tensor([[0.2, 0.7, -0.9]])
    >>> decode(one_hot(3), y), decode(minus_one_hot(3), y)
    (tensor([1]), tensor([2]))
    """
    return (y @ T.T - T.square().sum(1) / 2).argmax(1)


def squared_error(y: Float[Tensor, "N D"], targets: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """1/2 |y - t|^2, the mean over images; its slope in y is y - t.

    >>> squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
    tensor(2.)
    """
    return (y - targets).square().sum(1).mean() / 2


def loss_for(T: Encoding, kind: Literal["squared", "cross_entropy"] = "squared") -> Loss:
    """The loss (y, targets) -> scalar that fits an encoding.

    "squared" fits every T.  "cross_entropy", -sum_c t_c log softmax(y)_c, needs rows that are
    probabilities: a negative t_c rewards p_c -> 0 without end.

    Raises `Refused` for an unknown kind, and for cross-entropy where rows are not probabilities.

    >>> loss_for(minus_one_hot(3)) is squared_error
    True
    >>> loss_for(plus_minus_one(2), "cross_entropy")
    Traceback (most recent call last):
    ...
    zerocam.refusals.Refused: T: got a lowest target of -1, with which cross-entropy is unbounded \
below; use ...
    """
    if kind == "squared":
        return squared_error
    if kind != "cross_entropy":
        raise Refused("kind", f"{kind!r}", "squared or cross_entropy")
    if T.min() < 0:
        got = f"a lowest target of {T.min():g}, with which cross-entropy is unbounded below"
        mend = "use the squared error, or for minus-one-hot F.cross_entropy(-y, -targets)"
        raise Refused("T", got, mend=mend)
    if not torch.allclose(T.sum(1), torch.ones(len(T), dtype=T.dtype)):
        got, wanted = f"rows that sum to {T.sum(1).tolist()}", "1 in each for cross-entropy"
        raise Refused("T", got, wanted, "use the squared error, or smoothed()")
    return F.cross_entropy
