"""What is explained: a target turns the scores of a batch into one number per image.

    y   scores, before any softmax      (N, C)   [score]
    s   what the map explains           (N,)     [score], or a probability, or its logarithm

`c` is a class index, a LongTensor (N,) with one class per image, or None for each image's
predicted class.  The functions return callables, so a target can be written down before the
network has run: ``grad_cam(model, x, centred(281), layer="features")``.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from zerocam.refusals import Refused

Scores = Float[Tensor, "N C"]
Target = Callable[[Scores], Float[Tensor, " N"]]
Classes = int | Tensor | None


def _class_index(y: Scores, c: Classes) -> Tensor:
    """The class of each image as a LongTensor (N,); `Refused` when it does not fit y."""
    n, classes = y.shape
    if c is None:
        return y.argmax(1)
    try:
        index = torch.as_tensor(c, device=y.device)
        whole = index.dtype != torch.bool and not (index.is_floating_point() or index.is_complex())
    except (TypeError, ValueError, RuntimeError):  # a word, a ragged list
        whole = False
    if not whole:
        raise Refused("target", f"{c!r}", "a class index", "pass an int or a LongTensor")
    index = index.long()
    if index.ndim > 1 or (index.ndim == 1 and len(index) != n):
        raise Refused("target", f"classes of shape {tuple(index.shape)} for {n} images",
                      f"one int or shape ({n},)", "give every image its class")  # fmt: skip
    if bool((index < 0).any()) or bool((index >= classes).any()):
        wanted = f"0 to {classes - 1} for {classes} scores"
        raise Refused("target", f"class {index.tolist()}", wanted, "count classes from zero")
    return index.expand(n)


def _pick(y: Scores, c: Classes) -> Float[Tensor, " N"]:
    return y.gather(1, _class_index(y, c)[:, None])[:, 0]


def _several(y: Scores) -> Scores:
    if y.shape[1] < 2:
        raise Refused("target", "one score per image",
                      "two or more: compared with itself it is constant",
                      "explain it with logit(0), or with negative(0) where it says no")  # fmt: skip
    return y


def logit(c: Classes = None) -> Target:
    """s = y_c, the score before the softmax: what the Grad-CAM paper explains.

    Take it to ask "where is the evidence for c?", as everybody does.  In [score]; range: all reals.
    Not invariant under a softmax shift, y -> y + f(x) 1, which no probability notices: for a
    question that is, take `centred`.

    >>> y = torch.tensor([[2.0, 0.5, -1.0]])  # one image, three classes
    >>> logit(1)(y), logit()(y)  # class 1; the predicted class
    (tensor([0.5000]), tensor([2.]))
    """
    return lambda y: _pick(y, c)


def centred(c: Classes = None) -> Target:
    """s = y_c - mean_d y_d: how far c stands above the average class.

    Take it to ask "where is the evidence for c rather than for anything?".  In [score]; range: all
    reals; over all classes the values sum to zero.  Invariant under a softmax shift, and it does
    not saturate.  Raises `Refused` for a model of one score, when called with it.

    >>> y = torch.tensor([[3.0, 0.0, 0.0]])
    >>> centred(0)(y), centred(0)(y + 7)
    (tensor([2.]), tensor([2.]))
    """
    return lambda y: _pick(y, c) - _several(y).mean(1)


def contrast(c: Classes, d: Classes) -> Target:
    """s = y_c - y_d: why c rather than d.

    Take it where two classes are confused.  In [score]; range: all reals; contrast(d, c) is minus
    this.  Invariant under a softmax shift.

    >>> contrast(0, 2)(torch.tensor([[2.0, 0.5, -1.0]]))
    tensor([3.])
    """
    return lambda y: _pick(y, c) - _pick(y, d)


def log_odds(c: Classes = None) -> Target:
    """s = y_c - log sum_{d != c} exp y_d = log p_c / (1 - p_c): c against all others together.

    Take it to ask "what speaks for c rather than for anything else?" where zero shall be a coin
    toss: s = 0 means p_c = 1/2, as for a sigmoid.  In [score]; range: all reals; for two classes
    the difference of their scores.  Invariant under a softmax shift.  It does not saturate: its
    slope is 1 along y_c and -1 along the others together, however sure the network is.  Raises
    `Refused` for a model of one score, when called with it.

    >>> log_odds(0)(torch.tensor([[0.0, 0.0], [1000.0, 3.0]]))
    tensor([  0., 997.])
    >>> y = torch.tensor([[3.0, 1.0, 2.0]])
    >>> log_odds(0)(y).sigmoid(), y.softmax(1)[:, 0]
    (tensor([0.6652]), tensor([0.6652]))
    """

    def s(y: Scores) -> Float[Tensor, " N"]:
        others = _several(y).scatter(1, _class_index(y, c)[:, None], -torch.inf)
        return _pick(y, c) - others.logsumexp(1)

    return s


def log_probability(c: Classes = None) -> Target:
    """s = log softmax(y)_c, the logarithm of the probability: at most 0.

    Take it where the loss of training is to be explained: -s is the cross-entropy.  Invariant under
    a softmax shift.  Flat near p_c = 1, where the map fades.  Raises `Refused` for a model of one
    score, when called with it.

    >>> log_probability(0)(torch.tensor([[0.0, 0.0]]))  # log 1/2
    tensor([-0.6931])
    """
    return lambda y: _pick(_several(y).log_softmax(1), c)


def probability(c: Classes = None) -> Target:
    """s = softmax(y)_c, the probability, in [0, 1].

    Its map is p (1 - p) times smaller where the network is sure, and says so little there.
    Invariant under a softmax shift; flat near 0 and 1.  Raises `Refused` for a model of one score,
    when called with it.

    >>> probability(0)(torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    return lambda y: _pick(_several(y).softmax(1), c)


def negative(target: Target | Classes = None) -> Target:
    """s = -t: what speaks against, as in the Grad-CAM paper's section 3.3, "counterfactual".

    target: a class, or another target.  The signed map turns its sign; with the ReLU, what was cut
    off is what is left.  In the unit of t.

    >>> negative(1)(torch.tensor([[2.0, 0.5, -1.0]]))
    tensor([-0.5000])
    """
    t = target if callable(target) else logit(target)
    return lambda y: -t(y)
