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
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from zerocam.answers import Inputs, answer, tensors
from zerocam.hooks import Hook, Layer, find_layer, hooked, left_as_it_was
from zerocam.layers import TOLD
from zerocam.refusals import Refused
from zerocam.symmetries import Affine, Places, SoftmaxShift, Symmetry

ScoreLayer = nn.Linear | nn.Conv1d | nn.Conv2d  # what scores can be read from
NO_FREEDOM = (
    "sigmoids, regressions, and rows, features or scores of length one have no such freedom"
)


class BorderWarning(UserWarning):
    """A shift was folded through zero padding: exact `inside`, wrong by `border` at the border.

    Both are relative to the largest value of the layer behind, 0 or above.  `reparametrize` gives
    it with `fold=True, allow_border=True`.

    >>> print(BorderWarning(inside=0.0, border=0.25))
    the convolution after the shift moves by 0 of its largest value inside, and by 0.25 at its \
border, where the padding still says 0
    """

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
    x: Inputs | None = None,
    tolerance: float | None = None,
    channel_dim: int | None = None,
    allow_border: bool = False,
) -> tuple[nn.Module, str]:
    """(model', layer'): a changed copy that predicts the same, and where to take its map.

    Inserted (default, any architecture): the copy computes the layer, then T, then T^-1, and
    layer' is the point between the last two.  Folded: T goes into the weights of the convolution,
    BatchNorm or linear layer that makes A, T^-1 into the convolution or linear layer that reads
    it, and layer' = layer: a linear layer reads a convolution behind a flatten of all but the
    images.  Only permutations and positive scalings pass through a ReLU, only
    permutations and `turn_relu6` through a ReLU6; a shift does not pass zero padding, unless
    `allow_border`: then a `BorderWarning` says how wrong it is.
    A `SoftmaxShift` goes into the layer that the scores are read from, which `softmax_rows` finds.
    `Places` are inserted without T^-1, which a head that does not see the order of positions does
    not need: only x can show that it does not.

    `channel_dim` is for layers whose channels are neither on axis 1 of four axes nor last.

    Checked on random activations at the place of the change, and with x on the whole model in
    eval mode: scores, or their differences for a `SoftmaxShift`.  `tolerance` is relative to the
    largest value; by default the square root of the dtype's epsilon, 3e-4 for float32.  Raises
    `Refused`, with the measured difference, if predictions move.  `model` is not touched.

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
    name, module = find_layer(model, layer)
    if isinstance(symmetry, Places) and (fold or x is None):
        why = "no weights can move positions, and only x shows whether the head sees them move"
        raise Refused("places", "no x, or fold=True", "x and the inserted form", why)
    kept = [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    changed = copy.deepcopy(model, {id(v): v.detach() for v in kept if not v.is_leaf})
    modes = {m: m.training for m in changed.modules()}
    changed.eval()
    before = None if x is None else _predictions(changed, x, symmetry)
    border = None
    if isinstance(symmetry, SoftmaxShift):
        _shift_rows(changed, symmetry, x)
    elif fold and isinstance(symmetry, Affine):
        border = _fold(changed, name, symmetry, tolerance, allow_border)
    else:
        name = _insert(changed, name, symmetry, tolerance, channel_dim)
        # its positions are the layer's; turned places would not answer to the image in order
        TOLD[changed.get_submodule(name)] = set(TOLD.get(module, ()))
    if border is not None:
        warnings.warn(border, stacklevel=2)
    elif before is not None and x is not None:
        after = _predictions(changed, x, symmetry)
        _refuse("predictions", _moved(before[0], after[0]), before[0], tolerance)
        # a number that all scores share may be so large that it hides what moves
        if (shares := (after[1] - before[1]).abs().max().item()) > 0.01:
            _refuse("softmax of the predictions", shares, before[0], tolerance)
    for module in changed.modules():
        module.training = modes.get(module, model.training)
    return changed, name


def last_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    """(name, module) of the last nn.Linear that the model registers: usually its head.

    Raises `Refused` for a model without one.

    >>> last_linear(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()))
    ('1', Linear(in_features=4, out_features=3, bias=True))
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not found:
        got = f"a {type(model).__name__} without nn.Linear"
        mend = "a softmax shift needs a row of weights for each class"
        raise Refused("model", got, "one as the last layer", mend)
    return found[-1]


def softmax_rows(model: nn.Module, x: Inputs | None = None) -> ScoreLayer:
    """The layer that the scores are read from: a row of weights for each, or more.

    Found by trying, with x: where all outputs of the layer gain the same number, all scores gain
    one number too, while they part where each output gains another.  The last such layer to run is
    taken, a linear layer or a convolution.  Where each score has an output of its own, outputs may
    also gain different shares of the number, as before a BatchNorm.

    Raises `Refused` where no layer is like that: for one score, behind sigmoids, for rows, features
    or scores of length one.  Without x nothing can be tried: it is then refused to choose.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> net[1].register_module("unused", nn.Linear(3, 3))
    >>> softmax_rows(net, torch.ones(1, 1, 2, 2)) is net[1]
    True
    """
    return _score_rows(model, x)[0]


def _score_rows(model: nn.Module, x: Inputs | None) -> tuple[ScoreLayer, Tensor]:
    """`softmax_rows`, and the share of a common number that each of its outputs gains."""
    if x is None:
        return _only_rows(model)
    order: dict[nn.Module, None] = {}

    def note(m: nn.Module, _args: Any, _out: Any) -> None:
        order.pop(m, None)
        order[m] = None

    y = _scores(model, x, [m for m in model.modules() if isinstance(m, ScoreLayer)], note)
    if not isinstance(y, Tensor) or y.ndim < 2 or y.shape[1] < 2:
        got = "one score" if isinstance(y, Tensor) else f"a {type(y).__name__} of the model"
        raise Refused("softmax shift", got, "two or more scores", NO_FREEDOM)
    heard: list[ScoreLayer] = []  # the layers that the scores listen to, the last to run first
    silent = None
    for m in reversed(order):
        if not isinstance(m, ScoreLayer) or len(m.weight) < y.shape[1]:
            continue
        one = torch.ones(len(m.weight)).to(y)
        parted = _apart(_gained(model, x, y, m, _random(len(one), like=y)))
        if not parted > 100 * torch.finfo(y.dtype).eps * y.abs().max():
            continue
        heard.append(m)
        allowed = rounding(y.dtype) * parted
        gained = _gained(model, x, y, m, one)
        if gained.abs().max() <= allowed:
            silent = silent or ((m, one) if len(heard) == 1 else None)
            continue
        if _apart(gained) <= allowed:
            return m, one
        most = gained[gained.abs().amax(1).argmax()]
        share = most.abs().mean() / most
        if len(share) == len(one) and _apart(_gained(model, x, y, m, share)) <= allowed:
            return m, share
    if silent:
        return silent
    at = "no layer with a row for each score"
    if heard:
        at = f"what is behind the last layer with {len(heard[0].weight)} rows sees it"
    raise Refused("softmax shift", mend=NO_FREEDOM, why=f"no common shift of the scores: {at}")


def _only_rows(model: nn.Module) -> tuple[ScoreLayer, Tensor]:
    """The layer with rows of a model that has one, where there is no image to try several with."""
    name, last = last_linear(model)
    if last.out_features < 2:
        raise Refused("softmax shift", f"one score from {name!r}", "two or more", NO_FREEDOM)
    if sum(isinstance(m, ScoreLayer) for m in model.modules()) > 1:
        mend = "only trying shows from which of its layers the scores are read"
        raise Refused("softmax shift", "no x", "images", mend)
    return last, torch.ones(last.out_features).to(last.weight)


def _scores(model: nn.Module, x: Inputs, modules: Iterable[nn.Module], hook: Hook) -> Any:
    """The scores of one run with hooks; the same random draws at every call."""
    with torch.no_grad(), left_as_it_was(model, x), hooked(modules, hook):
        return answer(model, x)


def _gained(model: nn.Module, x: Inputs, y: Tensor, m: ScoreLayer, share: Tensor) -> Tensor:
    """What the scores gain where output c of a layer gains share_c v . z, as large as it is itself.

    Nothing for a layer that does more than its weights say.
    """
    v = _random(1, m.weight[0].numel(), like=m.weight).view_as(m.weight[:1])
    share = share.to(m.weight).view(-1, *[1] * (m.weight.ndim - 2))

    def add(_m: nn.Module, args: Any, out: Any) -> Tensor | None:
        plain = args and isinstance(out, Tensor) and _applied(m, args[0], m.weight, m.bias)
        if not isinstance(plain, Tensor) or not _moved(plain, out) <= rounding(out.dtype):
            return None
        gain = _applied(m, args[0], v, None)
        return out + share * gain * ((1 + out.abs().max()) / gain.abs().max())

    return _scores(model, x, [m], add) - y


def _apart(gained: Tensor) -> Tensor:
    """How far the gains of the scores of an image are from one number."""
    return (gained - gained.mean(1, keepdim=True)).abs().max()


def _applied(m: ScoreLayer, z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What the layer would put out with these weights."""
    apply = F.linear if isinstance(m, nn.Linear) else m._conv_forward
    return apply(z, weight, bias)


def _shift_rows(model: nn.Module, symmetry: SoftmaxShift, x: Inputs | None) -> None:
    """Put a softmax shift into the layer that the scores are read from."""
    found, share = _score_rows(model, x)
    m = _plain(model, found)
    W, b = m.weight.detach().flatten(1).T / share, m.bias
    W, b = symmetry(W.T, b if b is None else b.detach() / share)
    _set(m, (W.T * share).T.view_as(m.weight), b if b is None else b * share)


def _plain(model: nn.Module, m: Any) -> Any:
    """The layer, with weights of its own where a hook or a parametrization made them."""
    if {"weight", "bias"} <= m._parameters.keys():
        return m
    kind = next(kind for kind in get_args(ScoreLayer | nn.BatchNorm2d) if isinstance(m, kind))
    plain = kind.__new__(kind)
    vars(plain).update(vars(m), _forward_pre_hooks=OrderedDict(), _modules={}, _parameters={})
    grad = any(p.requires_grad for p in m.parameters())
    for name in ("weight", "bias"):
        vars(plain).pop(name, None)
        v = getattr(m, name)
        plain._parameters[name] = None if v is None else nn.Parameter(v.detach(), grad)
    _replace(model, m, plain)
    return plain


def rounding(dtype: torch.dtype) -> float:
    """What counts as rounding: the square root of the dtype's epsilon, 3e-4 for float32.

    Half of the digits: a long way above what a sum loses, a long way below what a symmetry moves.

    >>> f"{rounding(torch.float32):.0e}"
    '3e-04'
    """
    return torch.finfo(dtype).eps ** 0.5


def _predictions(model: nn.Module, x: Inputs, symmetry: Symmetry) -> tuple[Tensor, Tensor]:
    """What the symmetry must leave alone, all answers or scores less their mean; their softmax."""
    y = _scores(model, x, [], lambda *_: None)
    if isinstance(symmetry, SoftmaxShift):
        y = y - y.mean(1, keepdim=True)
    every = torch.cat([part.flatten() for part in tensors(y) if part.is_floating_point()])
    scores = isinstance(y, Tensor) and y.ndim == 2 and y.is_floating_point()
    return every, y.softmax(1) if scores else torch.zeros(1).to(every)


def _moved(before: Tensor, after: Tensor) -> float:
    largest = before.abs().max().clamp(min=torch.finfo(before.dtype).tiny)  # 0 / 0 is no change
    return ((after - before).abs().max() / largest).item()


def _refuse(what: str, moved: float, like: Tensor, tolerance: float | None) -> None:
    """`Refused` where more has moved than rounding can explain."""
    if error := _moved_too_far(what, moved, like, tolerance):
        raise error


def _moved_too_far(
    what: str, moved: float, like: Tensor, tolerance: float | None
) -> Refused | None:
    allowed = rounding(like.dtype) if tolerance is None else tolerance
    if moved <= allowed:
        return None
    why = f"moved by {moved:.2g} of the largest value"
    mend = "take a better conditioned change, a wider dtype, or a larger tolerance"
    return Refused(what, "", f"at most {allowed:.2g}", mend, why=why)


class _Change(nn.Module):
    """A -> T(A)."""

    def __init__(self, T: Affine | Places, channel_dim: int | None) -> None:
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
    model: nn.Module,
    name: str,
    T: Affine | Places,
    tolerance: float | None,
    channel_dim: int | None,
) -> str:
    """Replace the layer, wherever it is registered, by the layer, T and T^-1 in sequence."""
    if not name:
        raise Refused("layer", "the model itself", "one of the modules inside it")
    original = model.get_submodule(name)
    undo = nn.Identity() if isinstance(T, Places) else _Change(T.inverse(), channel_dim)
    _replace(model, original, _Recoded(original, _Change(T, channel_dim), undo))
    if isinstance(T, Affine):
        A = _random(2, len(T.shift), like=next(model.parameters(), T.shift))
        _refuse("random activations", _moved(A, T.inverse()(T(A, 1), 1)), A, tolerance)
    return f"{name}.change"


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, wherever that is registered."""
    found = [(m, key) for m in model.modules() for key, c in m._modules.items() if c is old]
    for parent, key in found:
        parent._modules[key] = new


# ---- folding into the weights -------------------------------------------------------------------

Reader = nn.Conv2d | nn.Linear  # what can read A
Weighted = Reader | nn.BatchNorm2d  # what can make A
INSTEAD = "use the inserted form"  # what would help where a change cannot be folded


@dataclass(frozen=True)
class Between:
    """An operation between two layers with weights: what passes it, and what to say of the rest.

    A change can be folded into the weights around a ReLU only if it commutes with the ReLU.

    >>> from zerocam.symmetries import scaling, shift
    >>> RELU.passes(scaling(torch.tensor([2.0]))), RELU.passes(shift(torch.tensor([2.0])))
    (True, False)
    """

    passes: Callable[[Affine], bool]
    otherwise: str


def _keeps_0_to_6(q: Tensor, t: Tensor) -> bool:
    """Whether a -> q a + t takes 0 and 6 to 0 and 6, in this order (q = 1) or turned (q = -1)."""
    return bool(((q.abs() == 1) & (t == 3 - 3 * q)).all())


ANYTHING = Between(lambda T: True, "")
MAXIMUM = Between(
    lambda T: T.monotone, "takes a maximum, which only positive scales leave in place"
)
RELU = Between(
    lambda T: T.monotone and not T.shift.any(),
    "is a ReLU, and only permutation and positive scaling commute with it",
)
RELU6 = Between(
    lambda T: T.unmixed and _keeps_0_to_6(T.matrix.sum(1), T.shift),
    "is a ReLU6, and only permutations and a -> 6 - a commute with it",
)
AVERAGE = Between(lambda T: True, "averages")
FLATTEN = Between(lambda T: True, "flattens")
UNKNOWN = Between(lambda T: False, "is not known to let it by")
FORKED = Between(lambda T: False, "is not the next link of a plain chain")
ELSEWHERE = Between(lambda T: False, "works along another axis than that of the channels")
BETWEEN: dict[Any, Between] = {  # a module's type, a function, or the name of a tensor's method
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout2d), ANYTHING),
    **dict.fromkeys((nn.Flatten, torch.flatten, "flatten"), FLATTEN),
    **dict.fromkeys((nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d), AVERAGE),
    **dict.fromkeys((nn.MaxPool2d, nn.AdaptiveMaxPool2d, F.max_pool2d), MAXIMUM),
    **dict.fromkeys((nn.ReLU, torch.relu, F.relu, "relu", "relu_"), RELU),
    **dict.fromkeys((nn.ReLU6, F.relu6), RELU6),
}


class _Tracer(fx.Tracer):
    """Follows a model down to its layers with weights, whatever a subclass does inside."""

    def is_leaf_module(self, m: nn.Module, name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.Linear) or super().is_leaf_module(m, name)


def _fold(
    model: nn.Module, name: str, T: Affine, tolerance: float | None, allow_border: bool
) -> BorderWarning | None:
    """Put T into the weights before A and T^-1 into those after it."""
    producer, consumer = _neighbours(model, name, T)
    if producer.weight is None:
        raise Refused("fold", f"a {type(producer).__name__} without weights", mend=INSTEAD)
    flattened = isinstance(consumer, nn.Linear) and not isinstance(producer, nn.Linear)
    inputs, K = consumer.weight.shape[1], len(T.shift)
    if inputs % K or len(producer.weight) != K or (not flattened and inputs != K):
        between = f"{tuple(producer.weight.shape)} and {tuple(consumer.weight.shape)}"
        raise Refused("fold", f"{K} channels between weights {between}", "as many", INSTEAD)
    z, A = _probe(producer), _probe(consumer).unflatten(1, (K, -1))
    with torch.no_grad():
        made, before = producer(z), consumer(A.flatten(1, 2))
        producer, consumer = _plain(model, producer), _plain(model, consumer)
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
    why = f"a shift does not pass zero padding, which still says 0 ({error})"
    mend = f"{INSTEAD}, or allow_border=True to have the error reported"
    raise Refused("fold", mend=mend, why=why)


def _neighbours(model: nn.Module, name: str, T: Affine) -> tuple[Weighted, Reader]:
    """The weighted modules that make A and that read it, if T passes all that is between."""
    nodes = _traced(model)
    modules: dict[fx.Node, Any] = {
        n: model.get_submodule(str(n.target)) for n in nodes if n.op == "call_module"
    }
    runs = Counter(modules.values())
    producer = _producer(nodes, modules, name)
    flat = False  # whether the channels are on the last axis
    for node, reader in pairwise(nodes[producer:]):
        flat = flat or isinstance(modules.get(node), nn.Linear)
        module = modules.get(reader)
        plain = list(node.users) == [reader] and runs[modules[nodes[producer]]] == 1
        kind = reader.target if module is None else type(module)
        between = BETWEEN.get(kind, UNKNOWN) if plain else FORKED
        if plain and isinstance(module, Reader) and runs[module] == 1:
            if isinstance(module, nn.Linear) == flat:
                return modules[nodes[producer]], module
            between = ELSEWHERE
        elif between is FLATTEN and _flattens(reader, module):
            flat = True
        elif between is FLATTEN or (flat and between in (AVERAGE, MAXIMUM)):
            between = ELSEWHERE
        if not between.passes(T):
            got = f"a {T.kind}, but {reader.name!r} {between.otherwise}"
            raise Refused("fold", got, mend=INSTEAD)
    raise Refused("fold", mend=INSTEAD, why=f"no weights around {name!r} in this forward")


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether it makes (N, K h w) of (N, K, h, w), and not of some axes alone."""
    given = dict(zip(("input", "start_dim", "end_dim"), node.args, strict=False))
    given |= node.kwargs | (vars(module) if module else {})
    return (given.get("start_dim", 0), given.get("end_dim", -1)) in ((1, -1), (1, 3))


def _traced(model: nn.Module) -> list[fx.Node]:
    """What the model does, step by step; `Refused` if torch.fx cannot follow it."""
    try:
        return list(_Tracer().trace(model).nodes)
    except Exception as error:  # the model's own code runs on stand-ins, and may raise anything
        why = f"this {type(model).__name__} cannot be traced ({error})"
        raise Refused("fold", mend=INSTEAD, why=why) from error


def _producer(nodes: list[fx.Node], modules: dict[fx.Node, Any], name: str) -> int:
    """Where the last weighted module up to the end of the layer is; len(nodes) if nowhere."""
    inside = [i for i, n in enumerate(nodes) if f"{n.target}.".startswith(f"{name}.")]
    until = nodes[: max(inside, default=-1) + 1]
    made = [i for i, n in enumerate(until) if isinstance(modules.get(n), Weighted)]
    return made[-1] if made else len(nodes)


def _probe(m: Weighted) -> Tensor:
    """Random input for a layer, so large that the middle of its output is free of padding."""
    if isinstance(m, nn.Linear):
        return _random(2, m.in_features, like=m.weight)
    if isinstance(m, nn.BatchNorm2d):
        return _random(2, m.num_features, 4, 4, like=m.weight)
    size = 4 * max(m.kernel_size) * max(m.dilation)
    return _random(2, m.in_channels, size, size, like=m.weight)


def _recode_output(m: Weighted, T: Affine) -> None:
    """W -> Q W, b -> Q b + t, over the output channels; a BatchNorm has a diagonal W."""
    M, t = T.matrix.to(m.weight), T.shift.to(m.weight)
    W = m.weight.diag() if isinstance(m, nn.BatchNorm2d) else m.weight
    W = torch.einsum("jk,k...->j...", M, W)
    alone = isinstance(m, nn.BatchNorm2d) or getattr(m, "groups", 1) > 1
    if alone and not torch.equal(M, M.diag().diag()):
        got = f"a {T.kind} at a BatchNorm or grouped convolution, which keeps channels apart"
        raise Refused("fold", got, mend=INSTEAD)
    if isinstance(m, nn.BatchNorm2d):
        W = W.diag()
    _set(m, W, t if m.bias is None else M @ m.bias + t)


def _recode_input(m: Reader, T: Affine) -> None:
    """W -> W Q, b -> b + W t, over the input channels and every tap of the kernel."""
    M, t = T.matrix.to(m.weight), T.shift.to(m.weight)
    W = m.weight.reshape(len(m.weight), len(t), -1)
    moved = torch.einsum("oks,k->o", W, t)
    W = torch.einsum("oks,kj->ojs", W, M).reshape(m.weight.shape)
    _set(m, W, moved if m.bias is None else m.bias + moved)


def _set(m: Weighted | ScoreLayer, weight: Tensor, bias: Tensor | None) -> None:
    """New parameters, no longer tied to those of other modules."""
    grad = m.weight.requires_grad
    for name, value in (("weight", weight), ("bias", bias)):
        new = None if value is None else nn.Parameter(value.detach(), requires_grad=grad)
        m.register_parameter(name, new)


def _random(*shape: int, like: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(like)
