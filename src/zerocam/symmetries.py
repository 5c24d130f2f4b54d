"""Changes of a network that leave what it predicts unchanged.

    A    activations at a layer            (N, K, h, w)   [a]
    G    ds/dA                             (N, K, h, w)   [score/a]
    T    a change of coordinates of A      A' = Q A + t
    W, b the layer of the scores           (C, K), (C,)
    pi   another order of the positions    A'_p = A_pi(p), before a head that averages

If A' = T(A) and everything after it starts with T^-1, the network computes the same function,
and the chain rule gives G' = Q^-T G.  So alpha' . A' = alpha . A for t = 0, whatever Q is, and a
shift adds alpha' . t at every position.

A head that averages over positions cannot tell in which order they come: A'_p = A_pi(p) computes
the same function as well, and every map moves with its positions.  That a position of the layer
shows that place of the image is an assumption, and no fact about such a head.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zerocam import moved
from zerocam.hooks import channel_axis, refuse_no_tensor
from zerocam.refusals import Refused

Linear = tuple[Float[Tensor, "C K"], Float[Tensor, " C"] | None]  # its weight W and its bias b
KINDS = ("permutation", "scaling", "sign flip", "mixing", "shift", "affine", "softmax shift",
         "places")  # fmt: skip


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
            recoded = A.movedim(axis, -1) @ self.matrix.to(A).T + self.shift.to(A)
        return recoded.movedim(-1, axis).contiguous()

    def push_gradient(self, G: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """G' = Q^-T G.  The shift does not appear."""
        return Affine(self.inverse().matrix.T, torch.zeros_like(self.shift))(G)

    def inverse(self) -> "Affine":
        """A = Q^-1 A' - Q^-1 t.  Raises `Refused` for a singular Q.  Computed once."""
        return self._inverse

    @functools.cached_property
    def _inverse(self) -> "Affine":
        M, eye = self.matrix, torch.eye(len(self.matrix)).to(self.matrix)
        if self.unmixed:
            inverse, failed = torch.where(M == 0, 0, 1 / M).T, False
            residual = (inverse.T * M).sum(0) - 1
        else:
            inverse, failed = torch.linalg.inv_ex(M)
            if torch.equal(M, M.round()) and torch.equal(inverse.round() @ M, eye):
                inverse = inverse.round()
            residual = inverse @ M - eye
        if failed or not residual.abs().max() < 1e-6:
            wanted = "an invertible one, or the network could not undo it"
            raise Refused(self.kind, "a singular matrix, or nearly, or NaN", wanted)
        return Affine(inverse, -inverse @ self.shift, self.kind)

    def __matmul__(self, other: "Affine") -> "Affine":
        """(S @ T)(A) = S(T(A))."""
        return Affine(self.matrix @ other.matrix, self.matrix @ other.shift + self.shift)

    @property
    def unmixed(self) -> bool:
        """Whether each channel becomes a multiple of one channel, plus a constant."""
        used = self.matrix != 0
        return bool((used.sum(1) == 1).all())

    @property
    def monotone(self) -> bool:
        """Whether each channel becomes a positive multiple of one channel, plus a constant."""
        return self.unmixed and bool((self.matrix >= 0).all())


def permutation(order: Int[Tensor, " K"]) -> Affine:
    """A'_j = A_order(j): the channels in another order.

    No network means anything by the order of its channels.

    >>> permutation(torch.tensor([1, 0]))(torch.tensor([[5.0, 7.0]]))
    tensor([[7., 5.]])
    """
    return _linear(torch.eye(len(order))[order], "permutation")


def scaling(s: Float[Tensor, " K"]) -> Affine:
    """A'_k = s_k A_k, s > 0: another unit for each channel.

    BatchNorm and a ReLU let it pass.  Raises `Refused` where some s is not above 0.

    >>> scaling(torch.tensor([2.0, 0.5]))(torch.tensor([[5.0, 7.0]]))
    tensor([[10.0000,  3.5000]])
    """
    if not (s > 0).all():
        raise Refused("scaling", f"{s.min().item()}", "s > 0", "for s < 0 add a sign_flip")
    return _linear(s.diag(), "scaling")


def sign_flip(signs: Float[Tensor, " K"]) -> Affine:
    """A'_k = e_k A_k, e_k = +-1: some channels learned the other way round.

    Raises `Refused` for other numbers.

    >>> sign_flip(torch.tensor([1.0, -1.0]))(torch.tensor([[5.0, 7.0]]))
    tensor([[ 5., -7.]])
    """
    if not (signs.abs() == 1).all():
        raise Refused("sign_flip", f"{signs.tolist()}", "only +1 and -1")
    return _linear(signs.diag(), "sign flip")


def mixing(matrix: Float[Tensor, "K K"]) -> Affine:
    """A' = Q A: the same features in another basis.  Raises `Refused` for a singular Q.

    >>> T = mixing(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    >>> T(torch.tensor([[5.0, 7.0]])), T.inverse()(T(torch.tensor([[5.0, 7.0]])))
    (tensor([[12.,  7.]]), tensor([[5., 7.]]))
    """
    change = _linear(matrix, "mixing")
    change.inverse()
    return change


def affine(matrix: Float[Tensor, "K K"], t: Float[Tensor, " K"]) -> Affine:
    """A' = Q A + t: all of these at once.  Raises `Refused` if Q is singular.

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


def turn_relu6(turned: Tensor) -> Affine:
    """A'_k = 6 - A_k for the channels that are turned, A'_k = A_k for the others.

    What was off (0) is then fully on (6), and the reverse.  A ReLU6 lets this pass, since
    relu6(6 - a) = 6 - relu6(a); a ReLU does not.  With `reparametrize(..., fold=True)` the weights
    around the ReLU6 take it in: the network keeps its modules, the number of its parameters, and
    its function.  `turned` (K,) holds True and False; else `Refused`.

    >>> turn_relu6(torch.tensor([True, False]))(torch.tensor([[0.0, 4.0], [6.0, 1.0]]))
    tensor([[6., 4.],
            [0., 1.]])
    """
    if turned.dtype != torch.bool:
        raise Refused("turn_relu6", f"{turned.dtype}", "True where a channel is turned")
    on = turned.double()
    return Affine((1 - 2 * on).diag(), 6 * on, "turn")


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

    def __call__(self, W: Float[Tensor, "C K"], b: Float[Tensor, " C"] | None = None) -> Linear:
        """(W', b'); a missing b counts as 0 and stays missing for beta = 0."""
        if W.shape[1] != len(self.v):
            wanted = f"{W.shape[1]}, the number of inputs of the layer of the scores"
            raise Refused(self.kind, f"v of length {len(self.v)}", wanted)
        if b is None and self.beta:
            b = W.new_zeros(len(W))
        return W + self.v.to(W), b if b is None else b + self.beta

    def inverse(self) -> "SoftmaxShift":
        """v -> -v, beta -> -beta."""
        return SoftmaxShift(-self.v, -self.beta)

    def __matmul__(self, other: "SoftmaxShift") -> "SoftmaxShift":
        """Softmax shifts add."""
        return SoftmaxShift(self.v + other.v, self.beta + other.beta)


@dataclass(frozen=True, eq=False)
class Places:
    """A'_p = A_order(p): the activations at other positions, the same for all channels.

    order (Z,), positions counted row by row.  Where the head averages over positions, takes their
    maximum, or lets a class token attend to them, it computes the same function; where it reads a
    position's neighbours it does not, and `reparametrize` says so.  reshape: as in `grad_cam`, for
    tokens, a rearrangement; what it leaves out, such as the class token, stays where it is.  Raises
    `Refused` for activations with another number of positions.

    >>> swap = Places(torch.tensor([1, 0, 2]))
    >>> swap(torch.tensor([[[[5.0, 7.0, 9.0]]]]))
    tensor([[[[7., 5., 9.]]]])
    """

    order: Int[Tensor, " Z"]
    reshape: Callable[[Tensor], Tensor] | None = None
    kind: str = "places"

    def __call__(self, A: Any, channel_dim: int | None = None) -> Float[Tensor, "..."]:
        """A', of the same shape; `channel_dim` does not matter."""
        refuse_no_tensor(A)
        index = torch.arange(A[0].numel(), dtype=torch.float64).view(A[:1].shape)
        grid = self._grid(index)
        if grid.shape[2] != len(self.order):
            got, wanted = f"activations with {grid.shape[2]} positions", f"{len(self.order)}"
            mend = "make it for this layer and this size of image"
            raise Refused("places", got, wanted, mend)
        taken = grid[..., self.order]
        source = index.flatten().scatter(0, grid.flatten().long(), taken.flatten())
        if not torch.equal(self._grid(source.view_as(index)), taken):
            got = "a reshape that does more than rearrange the layer's output"
            wanted = (
                "one that puts its numbers into (N, K, h, w) as they are, as tokens_to_map does"
            )
            raise Refused("places", got, wanted)
        return A.flatten(1)[:, source.long().to(A.device)].view(A.shape)

    def _grid(self, index: Tensor) -> Tensor:
        return (index if self.reshape is None else self.reshape(index)).double().flatten(2)

    def inverse(self) -> "Places":
        """A_p = A'_inverse(p)."""
        return Places(self.order.argsort(), self.reshape)

    def __matmul__(self, other: "Places") -> "Places":
        """(S @ T)(A) = S(T(A))."""
        return Places(other.order[self.order], self.reshape)


Symmetry = Affine | SoftmaxShift | Places


def random_symmetry(kind: str, K: int, seed: int = 0, size: float = 1.0) -> Symmetry:
    """A well-conditioned symmetry of one of `KINDS` for K channels, the same for the same seed.

    For "softmax shift" K counts the inputs of the layer of the scores, for "places" the positions:
    they go round in one circle, so that only a map that is the same everywhere stays.  `size` is a
    typical activation (for "softmax shift", a typical weight): shifts are normal with this standard
    deviation.  Scales lie in [1/4, 4]; mixings have condition number at most 4; half the channels
    are flipped.  Raises `Refused` for another kind.

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
    if kind == "places":
        return Places(order.scatter(0, order, order.roll(1)))
    if kind not in KINDS:
        raise Refused("kind", f"{kind!r}", f"one of {', '.join(KINDS)}")
    Q, R = torch.linalg.qr(torch.randn(2, K, K, generator=draw, dtype=torch.float64))[0]
    M = (Q * stretch) @ R
    return Affine(M, t if kind == "affine" else 0 * t, kind)


def __getattr__(name: str) -> object:
    return moved.find(__name__, name)
