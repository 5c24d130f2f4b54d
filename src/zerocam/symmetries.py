"""Changes of a network that leave what it predicts unchanged.

    A    activations at a layer            (N, K, h, w)   [a]
    G    ds/dA                             (N, K, h, w)   [score/a]
    T    a change of coordinates of A      A' = Q A + t
    W, b the last linear layer             (C, K), (C,)

If A' = T(A) and everything after it starts with T^-1, the network computes the same function,
and the chain rule gives G' = Q^-T G.  So alpha' . A' = alpha . A for t = 0, whatever Q is, and a
shift adds alpha' . t at every position.
"""

import copy
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn
from torch.nn import functional as F

from zerocam.hooks import Layer, channel_axis, find_layer, forked

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


# ---- the same network, told differently ---------------------------------------------------------


class BorderWarning(UserWarning):
    """A shift was folded through zero padding: exact `inside`, wrong by `border` at the border."""

    def __init__(self, inside: float, border: float) -> None:
        self.inside, self.border = inside, border
        super().__init__(
            f"the convolution after the shift moves by {inside:.2g} of its largest value inside, "
            f"and by {border:.2g} at its border, where the padding still says 0"
        )


@torch.inference_mode(False)
def reparametrize(
    model: nn.Module,
    layer: Layer,
    symmetry: Symmetry,
    *,
    fold: bool = False,
    x: Tensor | None = None,
    tolerance: float | None = None,
    channel_dim: int | None = None,
    allow_border: bool = False,
) -> tuple[nn.Module, str]:
    """(model', layer'): a changed copy that predicts the same, and where to take its map.

    Inserted (default, any architecture): the copy computes the layer, then T, then T^-1, and
    layer' is the point between the last two.  Folded: T goes into the weights of the convolution,
    BatchNorm or linear layer that makes A, T^-1 into the convolution or linear layer that reads
    it, and layer' = layer.  Only permutations and positive scalings pass through a ReLU; a shift
    does not pass zero padding, unless `allow_border`: then a `BorderWarning` says how wrong it is.
    A `SoftmaxShift` goes into the last nn.Linear that the model registers.

    `channel_dim` is for layers whose channels are neither on axis 1 of four axes nor last.

    Checked on random activations at the place of the change, and with x on the whole model in
    eval mode: scores, or their softmax for a `SoftmaxShift`.  `tolerance` is relative to the
    largest value; by default the square root of the dtype's epsilon, 3e-4 for float32.  Raises
    ValueError, with the measured difference, if predictions move.  `model` is not touched.

    A network whose score is the mean of its one channel; the channel is then counted from 4 below,
    and the map is 1 higher at each of its four positions, at the same score:

    >>> from zerocam import grad_cam
    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]])
    >>> told, layer = reparametrize(net, "0", shift(torch.tensor([4.0])), x=x)
    >>> net(x), told(x), layer
    (tensor([[-1.]]), tensor([[-1.]]), '0.change')
    >>> grad_cam(net, x, 0, layer="0", relu=False), grad_cam(told, x, 0, layer=layer, relu=False)
    (tensor([[[ 1.,  0.],
             [ 0., -2.]]]), tensor([[[ 2.,  1.],
             [ 1., -1.]]]))
    """
    name, _ = find_layer(model, layer)
    kept = [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    changed = copy.deepcopy(model, {id(v): v.detach() for v in kept if not v.is_leaf})
    modes = {m: m.training for m in changed.modules()}
    changed.eval()
    before = None if x is None else _predictions(changed, x, symmetry)
    border = None
    if isinstance(symmetry, SoftmaxShift):
        last = softmax_rows(changed)
        _set(last, *symmetry(last.weight, last.bias))
    elif fold:
        border = _fold(changed, name, symmetry, tolerance, allow_border)
    else:
        name = _insert(changed, name, symmetry, tolerance, channel_dim)
    if border is not None:
        warnings.warn(border, stacklevel=2)
    elif before is not None:
        after = _predictions(changed, x, symmetry)
        _refuse("predictions", _moved(before, after), before, tolerance)
    for module in changed.modules():
        module.training = modes.get(module, model.training)
    return changed, name


def last_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    """(name, module) of the last nn.Linear that the model registers: usually its head.

    Raises ValueError for a model without one.

    >>> last_linear(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()))
    ('1', Linear(in_features=4, out_features=3, bias=True))
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not found:
        raise ValueError(
            f"model: got a {type(model).__name__} without nn.Linear, wanted one as the last layer; "
            "a softmax shift needs a row of weights for each class"
        )
    return found[-1]


def softmax_rows(model: nn.Module) -> nn.Linear:
    """`last_linear`, if it has a row for each of several classes; else ValueError.

    >>> softmax_rows(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    Linear(in_features=4, out_features=3, bias=True)
    """
    name, last = last_linear(model)
    if last.out_features < 2:
        raise ValueError(
            f"softmax shift: got one score from {name!r}, wanted two or more; "
            "a single sigmoid or a regression has no such freedom"
        )
    return last


def rounding(dtype: torch.dtype) -> float:
    """What counts as rounding: the square root of the dtype's epsilon, 3e-4 for float32.

    Half of the digits: a long way above what a sum loses, a long way below what a symmetry moves.

    >>> f"{rounding(torch.float32):.0e}"
    '3e-04'
    """
    return torch.finfo(dtype).eps ** 0.5


def _predictions(model: nn.Module, x: Tensor, symmetry: Symmetry) -> Tensor:
    """What the symmetry must leave alone; with the same random draws at every call."""
    with torch.no_grad(), forked(x.device):
        y = model(x)
    return y.softmax(1) if isinstance(symmetry, SoftmaxShift) else y


def _moved(before: Tensor, after: Tensor) -> float:
    largest = before.abs().max().clamp(min=torch.finfo(before.dtype).tiny)  # 0 / 0 is no change
    return ((after - before).abs().max() / largest).item()


def _refuse(what: str, moved: float, like: Tensor, tolerance: float | None) -> None:
    allowed = rounding(like.dtype) if tolerance is None else tolerance
    if not moved <= allowed:
        raise ValueError(
            f"{what}: moved by {moved:.2g} of the largest value, wanted at most {allowed:.2g}; "
            "take a better conditioned change, a wider dtype, or a larger tolerance"
        )


class _Change(nn.Module):
    """A -> T(A)."""

    def __init__(self, T: Affine, channel_dim: int | None) -> None:
        super().__init__()
        self.T, self.channel_dim = T, channel_dim

    def forward(self, A: Any) -> Tensor:
        return self.T(A, self.channel_dim)


class _Recoded(nn.Module):
    """The layer, T and T^-1 in sequence, with the attributes of the layer."""

    def __init__(self, original: nn.Module, change: nn.Module, undo: nn.Module) -> None:
        super().__init__()
        self.original, self.change, self.undo = original, change, undo

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.undo(self.change(self.original(*args, **kwargs)))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original"), name)


def _insert(
    model: nn.Module, name: str, T: Affine, tolerance: float | None, channel_dim: int | None
) -> str:
    """Replace the layer, wherever it is registered, by the layer, T and T^-1 in sequence."""
    if not name:
        raise ValueError("layer: got the model itself, wanted one of the modules inside it")
    original, undo = model.get_submodule(name), T.inverse()
    places = [(m, key) for m in model.modules() for key, c in m._modules.items() if c is original]
    recoded = _Recoded(original, _Change(T, channel_dim), _Change(undo, channel_dim))
    for parent, key in places:
        parent._modules[key] = recoded
    A = _random(2, len(T.shift), like=next(model.parameters(), T.shift))
    _refuse("random activations", _moved(A, undo(T(A, 1), 1)), A, tolerance)
    return f"{name}.change"


# ---- folding into the weights -------------------------------------------------------------------

ALWAYS = "passes"
MONOTONE = "takes a maximum, which only positive scales leave in place"
POSITIVE = "is a ReLU, and only permutation and positive scaling commute with it"
BETWEEN = {
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, torch.flatten), ALWAYS),
    **dict.fromkeys((nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d, "flatten"), ALWAYS),
    **dict.fromkeys((nn.MaxPool2d, nn.AdaptiveMaxPool2d, F.max_pool2d), MONOTONE),
    **dict.fromkeys((nn.ReLU, torch.relu, F.relu, "relu", "relu_"), POSITIVE),
}


def _fold(
    model: nn.Module, name: str, T: Affine, tolerance: float | None, allow_border: bool
) -> BorderWarning | None:
    """Put T into the weights before A and T^-1 into those after it."""
    producer, consumer = _neighbours(model, name, T)
    flat = isinstance(consumer, nn.Linear)
    inputs, K = consumer.weight.shape[1], len(T.shift)
    if inputs % K or len(producer.weight) != K or (not flat and inputs != K):
        raise ValueError(
            f"fold: got {K} channels between weights {tuple(producer.weight.shape)} and "
            f"{tuple(consumer.weight.shape)}, wanted as many; use the inserted form"
        )
    z, A = _probe(producer), _probe(consumer).unflatten(1, (K, -1))
    with torch.no_grad():
        made, before = producer(z), consumer(A.flatten(1, 2))
        _recode_output(producer, T)
        _recode_input(consumer, T.inverse())
        remade, after = producer(z), consumer(T(A, 1).flatten(1, 2))
    _refuse("the layer before", _moved(T(made, 1), remade), made, tolerance)
    middle = (..., *(n // 2 for n in before.shape[2:]))
    inside, border = _moved(before[middle], after[middle]), _moved(before, after)
    _refuse("the next layer", inside, A, tolerance)
    try:
        _refuse("its border", border, A, tolerance)
    except ValueError as error:
        if allow_border:
            return BorderWarning(inside, border)
        raise ValueError(
            f"fold: a shift does not pass zero padding, which still says 0 ({error}); "
            "use the inserted form, or allow_border=True to have the error reported"
        ) from None
    return None


def _neighbours(model: nn.Module, name: str, T: Affine) -> tuple[nn.Module, nn.Module]:
    """The weighted modules that make A and that read it, if T passes all that is between."""
    try:
        nodes = list(fx.symbolic_trace(model).graph.nodes)
    except Exception as error:
        raise ValueError(
            f"fold: this {type(model).__name__} cannot be traced ({error}); use the inserted form"
        ) from error
    modules = [n.op == "call_module" and model.get_submodule(n.target) for n in nodes]
    within = [i for i, n in enumerate(nodes) if f"{n.target}.".startswith(f"{name}.")]
    weighted = nn.Conv2d | nn.Linear | nn.BatchNorm2d
    made = [i for i in range(max(within, default=-1) + 1) if isinstance(modules[i], weighted)]
    positive = T.monotone and not T.shift.any()
    for i in range(made[-1] if made else len(nodes), len(nodes) - 1):
        node, reader, module = nodes[i], nodes[i + 1], modules[i + 1]
        reason = BETWEEN.get(type(module) if module else reader.target, "is not known to let it by")
        if list(node.users) != [reader] or modules.count(modules[made[-1]]) > 1:
            reason = "is not the next link of a plain chain"
        elif isinstance(module, nn.Conv2d | nn.Linear) and modules.count(module) == 1:
            return modules[made[-1]], module
        if not {ALWAYS: True, MONOTONE: T.monotone, POSITIVE: positive}.get(reason, False):
            raise ValueError(
                f"fold: got a {T.kind}, but {reader.name!r} {reason}; use the inserted form"
            )
    raise ValueError(f"fold: no weights around {name!r} in this forward; use the inserted form")


def _probe(m: nn.Module) -> Tensor:
    """Random input for a layer, so large that the middle of its output is free of padding."""
    if isinstance(m, nn.Linear):
        return _random(2, m.in_features, like=m.weight)
    if isinstance(m, nn.BatchNorm2d):
        return _random(2, m.num_features, 4, 4, like=m.weight)
    size = 4 * max(m.kernel_size) * max(m.dilation)
    return _random(2, m.in_channels, size, size, like=m.weight)


def _recode_output(m: nn.Module, T: Affine) -> None:
    """W -> Q W, b -> Q b + t, over the output channels; a BatchNorm has a diagonal W."""
    M, t = T.matrix.to(m.weight), T.shift.to(m.weight)
    W = m.weight.diag() if isinstance(m, nn.BatchNorm2d) else m.weight
    W = torch.einsum("jk,k...->j...", M, W)
    alone = isinstance(m, nn.BatchNorm2d) or getattr(m, "groups", 1) > 1
    if alone and not torch.equal(M, M.diag().diag()):
        raise ValueError(
            f"fold: got a {T.kind} at a BatchNorm or grouped convolution, which keeps channels "
            "apart; use the inserted form"
        )
    if isinstance(m, nn.BatchNorm2d):
        W = W.diag()
    _set(m, W, t if m.bias is None else M @ m.bias + t)


def _recode_input(m: nn.Module, T: Affine) -> None:
    """W -> W Q, b -> b + W t, over the input channels and every tap of the kernel."""
    M, t = T.matrix.to(m.weight), T.shift.to(m.weight)
    W = m.weight.reshape(len(m.weight), len(t), -1)
    moved = torch.einsum("oks,k->o", W, t)
    W = torch.einsum("oks,kj->ojs", W, M).reshape(m.weight.shape)
    _set(m, W, moved if m.bias is None else m.bias + moved)


def _set(m: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """New parameters, no longer tied to those of other modules."""
    grad = m.weight.requires_grad
    m.weight = nn.Parameter(weight.detach(), requires_grad=grad)
    m.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=grad)


def _random(*shape: int, like: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(like)
