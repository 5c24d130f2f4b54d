"""Changes of a network that leave what it predicts unchanged.

    A    activations at a layer            (N, K, h, w)   [a]
    G    ds/dA                             (N, K, h, w)   [score/a]
    T    a change of coordinates of A      A' = Q A + t
    W, b the last linear layer             (C, K), (C,)

If A' = T(A) and everything after it starts with T^-1, the network computes the same function,
and the chain rule gives G' = Q^-T G.  So alpha' . A' = alpha . A for t = 0, whatever Q is, and a
shift adds alpha' . t at every position.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zerocam import _moved
from zerocam.hooks import channel_axis

KINDS = ("permutation", "scaling", "sign flip", "mixing", "shift", "affine", "softmax shift")


@dataclass(frozen=True, eq=False)
class Affine:
    """A'_j = sum_k Q_jk A_k + t_j at every position, Q invertible.

    Linear re-codings leave Grad-CAM alone; the shift moves its zero.  The constructors
    `permutation`, `scaling`, `sign_flip`, `mixing`, `shift` and `affine` name the special cases.
    An integer Q with an integer inverse is inverted exactly, and so, up to the rounding of a
    division, is one with a single number in each row and column.

    T(A) recodes, T.inverse() undoes, S @ T does T first:

    >>> T = shift(torch.tensor([100.0, 0.0])) @ scaling(torch.tensor([2.0, 2.0]))
    >>> T(torch.tensor([[5.0, 7.0]])), T.inverse()(T(torch.tensor([[5.0, 7.0]])))
    (tensor([[110.,  14.]]), tensor([[5., 7.]]))
    """

    matrix: Float[Tensor, "K K"]
    shift: Float[Tensor, " K"]
    kind: str = "affine"

    def __call__(self, A: Any, channel_dim: int | None = None) -> Float[Tensor, "..."]:
        """A' = Q A + t, along `channel_dim` (None: axis 1 of (N, K, h, w), else the last)."""
        axis = channel_axis(A, len(self.shift)) if channel_dim is None else channel_dim
        with torch.autocast(A.device.type, enabled=False):
            moved = A.movedim(axis, -1) @ self.matrix.to(A).T + self.shift.to(A)
        return moved.movedim(-1, axis).contiguous()

    def push_gradient(self, G: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """G' = Q^-T G.  The shift does not appear."""
        return Affine(self.inverse().matrix.T, torch.zeros_like(self.shift))(G)

    def inverse(self) -> "Affine":
        """A = Q^-1 A' - Q^-1 t.  Raises ValueError for a singular Q.  Computed once."""
        return self._inverse

    @functools.cached_property
    def _inverse(self) -> "Affine":
        M, eye = self.matrix, torch.eye(len(self.matrix)).to(self.matrix)
        if self._unmixed:
            inverse, failed = torch.where(M == 0, 0, 1 / M).T, False
            residual = (inverse.T * M).sum(0) - 1
        else:
            inverse, failed = torch.linalg.inv_ex(M)
            if torch.equal(M, M.round()) and torch.equal(inverse.round() @ M, eye):
                inverse = inverse.round()
            residual = inverse @ M - eye
        if failed or not residual.abs().max() < 1e-6:
            raise ValueError(
                f"{self.kind}: got a singular matrix, or nearly, or NaN; wanted an invertible one, "
                "or the network could not undo it"
            )
        return Affine(inverse, -inverse @ self.shift, self.kind)

    def __matmul__(self, other: "Affine") -> "Affine":
        """(S @ T)(A) = S(T(A))."""
        return Affine(self.matrix @ other.matrix, self.matrix @ other.shift + self.shift)

    @property
    def _unmixed(self) -> bool:
        """Whether each channel becomes a multiple of one channel, plus a constant."""
        used = self.matrix != 0
        return bool((used.sum(1) == 1).all())

    @property
    def monotone(self) -> bool:
        """Whether each channel becomes a positive multiple of one channel, plus a constant."""
        return self._unmixed and bool((self.matrix >= 0).all())


def permutation(order: Int[Tensor, " K"]) -> Affine:
    """A'_j = A_order(j): the channels in another order.

    No network means anything by the order of its channels.

    >>> permutation(torch.tensor([1, 0]))(torch.tensor([[5.0, 7.0]]))
    tensor([[7., 5.]])
    """
    return _linear(torch.eye(len(order))[order], "permutation")


def scaling(s: Float[Tensor, " K"]) -> Affine:
    """A'_k = s_k A_k, s > 0: another unit for each channel.

    BatchNorm and a ReLU let it pass.  Raises ValueError where some s is not above 0.

    >>> scaling(torch.tensor([2.0, 0.5]))(torch.tensor([[5.0, 7.0]]))
    tensor([[10.0000,  3.5000]])
    """
    if not (s > 0).all():
        raise ValueError(f"scaling: got {s.min().item()}, wanted s > 0; for s < 0 add a sign_flip")
    return _linear(s.diag(), "scaling")


def sign_flip(signs: Float[Tensor, " K"]) -> Affine:
    """A'_k = e_k A_k, e_k = +-1: some channels learned the other way round.

    Raises ValueError for other numbers.

    >>> sign_flip(torch.tensor([1.0, -1.0]))(torch.tensor([[5.0, 7.0]]))
    tensor([[ 5., -7.]])
    """
    if not (signs.abs() == 1).all():
        raise ValueError(f"sign_flip: got {signs.tolist()}, wanted only +1 and -1")
    return _linear(signs.diag(), "sign flip")


def mixing(matrix: Float[Tensor, "K K"]) -> Affine:
    """A' = Q A: the same features in another basis.  Raises ValueError for a singular Q.

    >>> T = mixing(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    >>> T(torch.tensor([[5.0, 7.0]])), T.inverse()(T(torch.tensor([[5.0, 7.0]])))
    (tensor([[12.,  7.]]), tensor([[5., 7.]]))
    """
    change = _linear(matrix, "mixing")
    change.inverse()
    return change


def affine(matrix: Float[Tensor, "K K"], t: Float[Tensor, " K"]) -> Affine:
    """A' = Q A + t: all of these at once.  Raises ValueError if Q is singular.

    >>> T = affine(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.tensor([100.0, 0.0]))
    >>> T(torch.tensor([[5.0, 7.0]]))
    tensor([[112.,   7.]])
    """
    return Affine(mixing(matrix).matrix, t.double())


def _linear(matrix: Float[Tensor, "K K"], kind: str) -> Affine:
    return Affine(matrix.double(), torch.zeros(len(matrix)).double(), kind)


def shift(t: Float[Tensor, " K"]) -> Affine:
    """A' = A + t: another zero for each channel, t (K,) in [a].

    A bias before it and a bias after it cancel, as the mean of a BatchNorm does: this is the change
    that a Grad-CAM map does not survive.

    >>> shift(torch.tensor([100.0, 0.0]))(torch.tensor([[5.0, 7.0]]))
    tensor([[105.,   7.]])
    """
    return Affine(torch.eye(len(t)).double(), t.double(), "shift")


@dataclass(frozen=True, eq=False)
class SoftmaxShift:
    """W'_ck = W_ck + v_k, b'_c = b_c + beta: every class gains the same score v . z + beta.

    The softmax does not see it.  Below global average pooling every class map gains the same
    field v . A / Z, and that is not one constant.  v (K,) in [score/a], beta in [score].

    >>> twist = SoftmaxShift(torch.tensor([10.0, 20.0]))
    >>> W, b = torch.eye(2), None
    >>> twist(W, b)
    (tensor([[11., 20.],
            [10., 21.]]), None)
    """

    v: Float[Tensor, " K"]
    beta: float = 0.0
    kind: str = "softmax shift"

    def __call__(self, W: Float[Tensor, "C K"], b: Float[Tensor, " C"] | None = None) -> tuple:
        """(W', b'); a missing b counts as 0 and stays missing for beta = 0."""
        if W.shape[1] != len(self.v):
            raise ValueError(
                f"softmax shift: got v of length {len(self.v)}, wanted {W.shape[1]}, the number of "
                "inputs of the last linear layer"
            )
        if b is None and self.beta:
            b = W.new_zeros(len(W))
        return W + self.v.to(W), b if b is None else b + self.beta

    def inverse(self) -> "SoftmaxShift":
        """v -> -v, beta -> -beta."""
        return SoftmaxShift(-self.v, -self.beta)

    def __matmul__(self, other: "SoftmaxShift") -> "SoftmaxShift":
        """Softmax shifts add."""
        return SoftmaxShift(self.v + other.v, self.beta + other.beta)


Symmetry = Affine | SoftmaxShift


def random_symmetry(kind: str, K: int, seed: int = 0, size: float = 1.0) -> Symmetry:
    """A well-conditioned symmetry of one of `KINDS` for K channels, the same for the same seed.

    `size` is a typical activation (for "softmax shift", a typical weight): shifts are normal with
    this standard deviation.  Scales lie in [1/4, 4]; mixings have condition number at most 4;
    half the channels are flipped.  Raises ValueError for another kind.

    >>> T = random_symmetry("permutation", 4, seed=0)
    >>> sorted(T(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))[0].tolist())
    [1.0, 2.0, 3.0, 4.0]
    """
    draw = torch.Generator().manual_seed(seed)
    t = size * torch.randn(K, generator=draw, dtype=torch.float64)
    order = torch.randperm(K, generator=draw)
    stretch = 2 ** (2 * torch.rand(K, generator=draw, dtype=torch.float64) - 1)
    if kind == "permutation":
        return permutation(order)
    if kind == "scaling":
        return scaling(stretch**2)
    if kind == "sign flip":
        return sign_flip(torch.ones(K).index_fill(0, order[: (K + 1) // 2], -1.0))
    if kind == "shift":
        return shift(t)
    if kind == "softmax shift":
        return SoftmaxShift(t)
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, wanted one of {', '.join(KINDS)}")
    Q, R = torch.linalg.qr(torch.randn(2, K, K, generator=draw, dtype=torch.float64))[0]
    M = (Q * stretch) @ R
    return Affine(M, t if kind == "affine" else 0 * t, kind)


def __getattr__(name: str) -> object:
    return _moved.find(__name__, name)
