"""A changed copy of a network that predicts the same: a symmetry inserted, or folded into weights.

    A    activations at a layer            (N, K, h, w)   [a]
    T    a change of coordinates of A      A' = Q A + t, see `zerocam.symmetries`
    W, b the weights of a layer            W A + b

Inserted, T and T^-1 become two modules behind the layer: any architecture will do.  Folded, the
weights around A take them in, W -> Q W before it and W -> W Q^-1 behind it, and no module is
added: what stands between must let T pass, and `BETWEEN` knows what that is.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from zerocam.hooks import Layer, find_layer, forked
from zerocam.symmetries import Affine, SoftmaxShift, Symmetry


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
    >>> from zerocam.symmetries import shift
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
    """ValueError where more has moved than rounding can explain."""
    if error := _moved_too_far(what, moved, like, tolerance):
        raise error


def _moved_too_far(
    what: str, moved: float, like: Tensor, tolerance: float | None
) -> ValueError | None:
    allowed = rounding(like.dtype) if tolerance is None else tolerance
    if moved <= allowed:
        return None
    return ValueError(
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


@dataclass(frozen=True)
class Between:
    """An operation between two layers with weights: what passes it, and what to say of the rest."""

    passes: Callable[[Affine], bool]
    otherwise: str


ANYTHING = Between(lambda T: True, "")
MAXIMUM = Between(
    lambda T: T.monotone, "takes a maximum, which only positive scales leave in place"
)
RELU = Between(
    lambda T: T.monotone and not T.shift.any(),
    "is a ReLU, and only permutation and positive scaling commute with it",
)
UNKNOWN = Between(lambda T: False, "is not known to let it by")
FORKED = Between(lambda T: False, "is not the next link of a plain chain")
BETWEEN: dict[Any, Between] = {  # a module's type, a function, or the name of a tensor's method
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, torch.flatten), ANYTHING),
    **dict.fromkeys((nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d, "flatten"), ANYTHING),
    **dict.fromkeys((nn.MaxPool2d, nn.AdaptiveMaxPool2d, F.max_pool2d), MAXIMUM),
    **dict.fromkeys((nn.ReLU, torch.relu, F.relu, "relu", "relu_"), RELU),
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
    error = _moved_too_far("its border", border, A, tolerance)
    if error is None:
        return None
    if allow_border:
        return BorderWarning(inside, border)
    raise ValueError(
        f"fold: a shift does not pass zero padding, which still says 0 ({error}); "
        "use the inserted form, or allow_border=True to have the error reported"
    )


def _neighbours(model: nn.Module, name: str, T: Affine) -> tuple[nn.Module, nn.Module]:
    """The weighted modules that make A and that read it, if T passes all that is between."""
    nodes = _traced(model)
    modules = {n: model.get_submodule(n.target) for n in nodes if n.op == "call_module"}
    runs = Counter(modules.values())
    producer = _producer(nodes, modules, name)
    for node, reader in pairwise(nodes[producer:]):
        module = modules.get(reader)
        plain = list(node.users) == [reader] and runs[modules[nodes[producer]]] == 1
        if plain and isinstance(module, nn.Conv2d | nn.Linear) and runs[module] == 1:
            return modules[nodes[producer]], module
        kind = reader.target if module is None else type(module)
        between = BETWEEN.get(kind, UNKNOWN) if plain else FORKED
        if not between.passes(T):
            raise ValueError(
                f"fold: got a {T.kind}, but {reader.name!r} {between.otherwise}; "
                "use the inserted form"
            )
    raise ValueError(f"fold: no weights around {name!r} in this forward; use the inserted form")


def _traced(model: nn.Module) -> list[fx.Node]:
    """What the model does, step by step; ValueError if torch.fx cannot follow it."""
    try:
        return list(fx.symbolic_trace(model).graph.nodes)
    except Exception as error:  # the model's own code runs on stand-ins, and may raise anything
        raise ValueError(
            f"fold: this {type(model).__name__} cannot be traced ({error}); use the inserted form"
        ) from error


def _producer(nodes: list[fx.Node], modules: dict[fx.Node, nn.Module], name: str) -> int:
    """Where the last weighted module up to the end of the layer is; len(nodes) if nowhere."""
    inside = [i for i, n in enumerate(nodes) if f"{n.target}.".startswith(f"{name}.")]
    weighted = nn.Conv2d | nn.Linear | nn.BatchNorm2d
    until = nodes[: max(inside, default=-1) + 1]
    made = [i for i, n in enumerate(until) if isinstance(modules.get(n), weighted)]
    return made[-1] if made else len(nodes)


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
