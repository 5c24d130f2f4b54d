"""The weights of all classes by a short way through the head, proved on the data at hand.

    A    activations of the target layer                            (N, K, h, w)   [a]
    t    a lift of whole channels, A_k + t_k                        (K,)           [a]
    u    a value inside the head that a lift moves by S t           (N, D)
    S    du/dt                                                      (D, K)
    y    scores, y = W z + b if the head ends in a linear layer     (N, C)         [score]

The channel weights are Z alpha_k = dy/dt_k, whatever the head: the mean gradient is the slope
along a lift.  Averaging passes a lift on as it is, and so does flattening for each position, even
behind a max-pooling: for a linear layer next to them, S is its weight matrix, summed over
positions.  Then the gradient of 1,000 scores need not go back to A, only to u; and where u is y
itself, alpha = S / Z and there is nothing to differentiate.

Nobody can know from outside that a lift reaches u in this way.  So it is tried: a candidate must
give the textbook weights of one random combination v . y of all the scores, for every image.  A
candidate that is wrong for any class, by more than the rounding of the image's largest weight,
fails with probability close to 1 (Freivalds, 1977).
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

WATCHED = (nn.Linear, nn.AdaptiveAvgPool2d)


class Step(NamedTuple):
    """A linear or pooling layer that ran behind the target layer."""

    module: nn.Module
    z: Tensor
    out: GradientEdge
    size: torch.Size

    @classmethod
    def of(cls, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> "Step":
        """What a forward hook sees; the edge survives later in-place work on `out`."""
        return cls(module, args[0], get_gradient_edge(out), out.shape)


def pull_back(y: Tensor, at: Tensor | GradientEdge, rows: Tensor, **unused: bool) -> Tensor | None:
    """The gradient of each of rows . y: (c, N, C) -> (c, *shape of `at`).

    A single row goes without vmap, which is slow to set up.

    >>> z = torch.ones(1, 2, requires_grad=True)
    >>> y = z @ torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> pull_back(y, z, torch.eye(2)[:, None])  # the gradient of each of two scores
    tensor([[[1., 3.]],
    <BLANKLINE>
            [[2., 4.]]])
    """
    if len(rows) > 1:
        with suppress(RuntimeError):  # of a step that cannot take many rows at once
            return torch.autograd.grad(
                y, at, rows, is_grads_batched=True, retain_graph=True, **unused
            )[0]
    each = [torch.autograd.grad(y, at, row, retain_graph=True, **unused)[0] for row in rows]
    return None if each[0] is None else torch.stack(each)


class Way(NamedTuple):
    """From rows of W, dy/dz, to channel weights: back from z to u, then times S."""

    W: Float[Tensor, "C Dz"]
    z: Tensor | None  # None: dy/dz is Z alpha already
    u: GradientEdge | None
    S: Float[Tensor, "D K"] | None  # None: the identity

    def back(self, rows: Float[Tensor, "c _ Dz"]) -> Float[Tensor, "c _ K"]:
        """Z alpha of each row, for each image, or once where it is the same for all."""
        if self.z is None or self.u is None:
            return rows
        rows = rows.expand(-1, len(self.z), -1)
        g = pull_back(self.z, self.u, rows, allow_unused=True)
        if g is None:  # z does not come from u, as in a second head
            return rows.new_full((*rows.shape[:2], 1), torch.nan)
        return g.flatten(2) if self.S is None else g @ self.S.to(g)


def short_way(
    steps: list[Step], y: Tensor, K: int, textbook: Callable[[Tensor], Tensor]
) -> Way | None:
    """The first way whose weights are the textbook's, or None.

    textbook: combinations of the scores (c, N, C) -> their Z alpha (c, N, K), through the whole
    head.  Equal means within 100 machine epsilons of each image's largest weight.  Half precision
    is too coarse to prove anything by, and a head without such layers has no short way:

    >>> short_way([], torch.zeros(1, 3), 8, lambda v: v) is None
    True
    """
    allowed = 100 * torch.finfo(y.dtype).eps
    if not steps or allowed > 1e-4:
        return None
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
    expected = textbook(v[None])[0]
    for way in _candidates(steps, y, K):
        off = (way.back((v @ way.W)[None])[0] - expected).abs().amax(1)
        if bool((off <= allowed * expected.abs().amax(1)).all()):
            return way
    return None


def _candidates(steps: list[Step], y: Tensor, K: int) -> Iterator[Way]:
    """Ways that would be right if a lift reached a linear layer, or a pooled vector, unchanged."""
    last = [step for step in steps if step.out.node is y.grad_fn]
    if last and isinstance(last[0].module, nn.Linear):
        W, z = last[0].module.weight.detach(), last[0].z
    else:
        W, z = torch.eye(y.shape[1], dtype=y.dtype, device=y.device), y
    linear_first = sorted(steps, key=lambda step: not isinstance(step.module, nn.Linear))
    for module, _, out, size in linear_first:
        if isinstance(module, nn.Linear) and len(size) == 2 and module.in_features % K == 0:
            S = module.weight.detach()
            S = S if S.shape[1] == K else S.unflatten(1, (K, -1)).sum(-1)
            yield Way(S, None, None, None) if out.node is y.grad_fn else Way(W, z, out, S)
        elif isinstance(module, nn.AdaptiveAvgPool2d) and size == (len(y), K, 1, 1):
            yield Way(W, z, out, None)
