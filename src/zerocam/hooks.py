"""One run of a model: a layer's output, the scores, and the gradient between them.

    x    images, or all that the model takes             (N, ch, H, W)
    A    the layer's output, with positions              (N, K, h, w)   [a]
    y    class scores, before the softmax                (N, C)         [score]
    s    what is explained, usually y[:, c]              (N,)           [score]
    G    ds/dA                                           (N, K, h, w)   [score/a]

Everything that can go wrong between a model and its A is refused here, and here the model is put
back as it was.  Only the layers after A need a gradient, so only those get one: `run` cuts A out
of the graph and lets the head compute the scores from it.

Where you need more than a heatmap, `tap` gives A, G, y and s; `hooked` calls a function of yours
behind any modules, in this thread only; `run` is what both `tap` and `grad_cam_all` are made of.
"""

import difflib
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam.answers import (
    FLOATS,
    REENTRANT,
    End,
    Inputs,
    answer,
    images,
    no_gradient,
    reaches,
    reentrant,
    refuse_bad_input,
    refuse_bad_scores,
    refuse_non_finite,
    refuse_one_image,
    tensors,
)
from zerocam.refusals import LayerRefused, Refused
from zerocam.shortcuts import WATCHED, Step
from zerocam.targets import Classes, Target, logit

Features = Float[Tensor, "N K h w"]
Layer = str | nn.Module
Reshape = Callable[[Tensor], Tensor]
Hook = Callable[[nn.Module, Any, Any], Any]

LOOK: list[Callable[[nn.Module, Inputs, str, Tensor], None]] = []  # `zerocam.layers` looks here
OF_TORCH = frozenset(vars(nn.Module()))  # the attributes that every module has
GROWS = {dict, OrderedDict, defaultdict, list, deque}  # what a module may keep its state in


class Tap(NamedTuple):
    """What one forward and half a backward pass leave behind; nothing carries a graph.

    A (N, K, h, w) in [a], G = ds/dA, the same shape, in [score/a], y (N, C) and s (N,) in [score].
    Of a model that answers something else than a tensor, y is s as its only column.
    Made by `tap`; every equation of `zerocam.methods` needs no more than A and G.

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> made = tap(net, torch.tensor([[[[4.0, 0.0]]]]), 0, layer="0")
    >>> made.A, made.G
    (tensor([[[[4., 0.]]]]), tensor([[[[0.5000, 0.5000]]]]))
    """

    A: Features
    G: Features
    y: Float[Tensor, "N C"]
    s: Float[Tensor, " N"]


def tap(
    model: nn.Module,
    x: Inputs,
    target: Target | Classes = None,
    *,
    layer: Layer,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Tap:
    """A = the layer's output and G = ds/dA, from one forward pass and the head's own backward.

    The raw material of every method in `zerocam.methods`.  Arguments, refusals and side effects
    as in `grad_cam`.  A is what the named layer put out, even if a later operation works on it in
    place.  Half-precision activations come back as float32.

    A network whose score for a class is the mean of one channel over two positions:

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> A, G, y, s = tap(net, torch.tensor([[[[4.0, 0.0]]]]), 0, layer="0")
    >>> G, y, s  # each position counts half
    (tensor([[[[0.5000, 0.5000]]]]), tensor([[2.]]), tensor([2.]))
    """
    classes = not callable(target)
    with run(model, x, layer, reshape, call, classes=classes) as (leaf, A, y, name):
        s = score(y, target, len(A))
        G = torch.autograd.grad(s.sum(), leaf, allow_unused=True)[0] if s.requires_grad else None
    if G is None:
        raise no_gradient(name, model)
    G, s = gradients(G.detach(), reshape, name), s.detach()
    y = y.detach() if isinstance(y, Tensor) else s[:, None]
    return Tap(at_least_float32(A), at_least_float32(G), y, s)


def activations(
    model: nn.Module,
    x: Inputs,
    *,
    layer: Layer,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Features:
    """A = the layer's output for x, without a gradient.  Refusals and side effects as in `tap`.

    (N, K, h, w), in [a].  Take it where no score is explained: to look at a layer, or to make a
    reference of many images, `zerocam.references.data_mean`.

    >>> net = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> activations(net, torch.tensor([[[[4.0, -8.0]]]]), layer="0")
    tensor([[[[4., 0.]]]])
    """
    with run(model, x, layer, reshape, call, scores=False) as found:
        return at_least_float32(found.A)


def find_layer(model: nn.Module, layer: Layer) -> tuple[str, nn.Module]:
    """The (dotted name, module) of a layer; `Refused` with the nearest names if there is none.

    layer: the name, as `model.named_modules()` lists it, or the module itself.

    >>> net = nn.Sequential(nn.ReLU(), nn.Flatten())
    >>> find_layer(net, "1"), find_layer(net, net[0])
    (('1', Flatten(start_dim=1, end_dim=-1)), ('0', ReLU()))
    """
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return _eager(name, module)
        got = f"a {type(layer).__name__} that is not part of this {type(model).__name__}"
        raise Refused("layer", got, "one of its modules", "take it from this very model")
    if not isinstance(layer, str):
        raise Refused("layer", f"{layer!r}", "a dotted name or a module, as in layer='3'")
    with suppress(AttributeError):
        return _eager(layer, model.get_submodule(layer))
    modules = [name for name, _ in model.named_modules()]
    near = difflib.get_close_matches(layer, modules, n=3, cutoff=0.4) or modules[1:4]
    wanted = f"a module name of this {type(model).__name__}"
    mend = f"nearest: {', '.join(near)}" if near else "it has none: put it into an nn.Sequential"
    raise Refused("layer", f"{layer!r}", wanted, mend)


def _eager(name: str, module: nn.Module) -> tuple[str, nn.Module]:
    """(name, module), if the module takes hooks; `LayerRefused` for TorchScript."""
    if isinstance(module, torch.jit.ScriptModule):
        mend = "put the nn.Module it was made from in its place, or name a module around it"
        raise LayerRefused(f"layer {name!r}", "TorchScript", "an nn.Module", mend)
    return name, module


def tokens_to_map(h: int, w: int, *, skip: int = 0) -> Reshape:
    """(N, T, D) tokens -> (N, D, h, w), row by row, leaving out the first `skip` (class) tokens.

    torchvision's vit_b_16 at 224 px: `layer="encoder.layers.encoder_layer_11.ln_1"`,
    `reshape=tokens_to_map(14, 14, skip=1)`.  Raises `Refused`, when called, for another number of
    tokens.

    >>> tokens = torch.tensor([[[9.0], [1.0], [2.0], [3.0], [4.0]]])  # a class token, then 2 x 2
    >>> tokens_to_map(2, 2, skip=1)(tokens)
    tensor([[[[1., 2.],
              [3., 4.]]]])
    """

    def reshape(tokens: Tensor) -> Tensor:
        if tokens.ndim != 3 or tokens.shape[1] != skip + h * w:
            mend = "set h, w and skip to the layer's grid"
            if tokens.ndim == 3 and len(tokens) == skip + h * w:
                mend = (
                    "its batch is second: reshape=lambda A: tokens_to_map(...)(A.transpose(0, 1))"
                )
            raise Refused("reshape", f"tokens of shape {tuple(tokens.shape)}",
                          f"(N, {skip} + {h} x {w}, D)", mend)  # fmt: skip
        return tokens[:, skip:].transpose(1, 2).unflatten(2, (h, w))

    return reshape


def channels_first(A: Tensor) -> Tensor:
    """(N, h, w, K) -> (N, K, h, w): the `reshape` for torchvision's Swin, `layer="features"`.

    Some networks keep the channels last; a heatmap sums over them, and must know where they are.

    >>> tuple(channels_first(torch.zeros(1, 7, 7, 768)).shape)
    (1, 768, 7, 7)
    """
    return A.permute(0, 3, 1, 2)


def refuse_no_tensor(A: Any) -> None:
    """`Refused` for a layer's output that is no tensor."""
    if not isinstance(A, Tensor):
        got = f"a {type(A).__name__} as its output"
        raise Refused("layer", got, "a tensor", "name a module inside it")


def channels_along(A: Tensor, reshape: Reshape | None) -> int | None:
    """The axis of which `reshape` makes the channels; None where it does not tell.

    >>> channels_along(torch.zeros(1, 8, 8, 8), channels_first)
    3
    """
    if reshape is None:
        return None
    index = torch.arange(A.numel(), dtype=torch.float64).view(A.shape)
    grid = reshape(index)
    if grid.ndim != 4 or grid.shape[1] < 2:
        return None
    step = (grid[0, 1, 0, 0] - grid[0, 0, 0, 0]).item()
    found = [a for a in range(1, A.ndim) if A.shape[a] > 1 and index.stride(a) == step]
    return found[0] if found and A.shape[found[0]] == grid.shape[1] else None


def channel_axis(A: Any, K: int) -> int:
    """Where the K channels are: axis 1 of (N, K, h, w), else the last, as in (N, T, K) tokens."""
    refuse_no_tensor(A)
    axis = 1 if A.ndim > 3 and A.shape[1] == K else -1
    if A.shape[axis] != K:
        raise Refused("channels", f"activations of shape {tuple(A.shape)}",
                      f"{K} channels on axis 1 or last", "for a symmetry, make it for this "
                      "layer's channels, or pass channel_dim")  # fmt: skip
    return axis


# ---- the run -------------------------------------------------------------------------------------


@contextmanager
def hooked(modules: Iterable[nn.Module], hook: Hook) -> Iterator[None]:
    """While open, call hook(module, args, out) behind each of these modules, in this thread only.

    What the hook returns, if not None, takes the place of the module's output.  Another thread
    that runs the same model meanwhile does not notice.

    >>> layer, seen = nn.ReLU(), []
    >>> with hooked([layer], lambda module, args, out: seen.append(out.tolist())):
    ...     _ = layer(torch.tensor([-1.0, 2.0]))
    >>> seen
    [[0.0, 2.0]]
    """
    owner = threading.get_ident()

    def mine(module: nn.Module, args: Any, out: Any) -> Any:
        return hook(module, args, out) if threading.get_ident() == owner else None

    handles = []
    try:
        for module in modules:
            if not isinstance(module, torch.jit.ScriptModule):  # which take none
                handles.append(module.register_forward_hook(mine))
        yield
    finally:
        for handle in handles:
            handle.remove()


class Run(NamedTuple):
    """A forward pass that was cut at a layer: everything behind the layer hangs on the leaf."""

    leaf: Tensor  # what the layer put out, where a gradient can arrive
    A: Features  # the same as (N, K, h, w), without a graph
    y: Float[Tensor, "N C"]  # the scores, computed from the leaf
    name: str  # of the layer


def held(model: nn.Module) -> list[Tensor]:
    """The tensors that the model has before it runs: into these nobody may write."""
    kept = [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    return [*kept, *model.parameters(), *model.buffers()]


def its_own(module: nn.Module, args: Any, out: Tensor, others: list[Tensor]) -> bool:
    """Whether this run of the module made the tensor, so that it may be changed where it stands.

    Then whoever else has it, an attribute or a second value that the module returns, sees the
    change too, as where the network itself had computed it.
    """
    passed_on = any(out is a for a in args) and not getattr(module, "inplace", False)
    started = out.is_leaf and out.requires_grad  # of which autograd forbids it
    shut = passed_on or started or out._is_view() or out.is_inference()
    return not (shut or any(out is t for t in others))


class _Cut:
    """The hook that makes the layer's output a leaf, and counts the runs of the layer."""

    def __init__(
        self, name: str, call: int | None, then: Callable[[], Any], others: list[Tensor]
    ) -> None:
        self.name, self.what, self.call, self.then = name, f"layer {name!r}", call, then
        self.runs, self.others = 0, others
        self.own: list[Tensor] = []
        self.leaf: Tensor | None = None

    def __call__(self, module: nn.Module, args: Any, out: Any) -> Any:
        self.runs += 1
        if self.leaf is not None or self.runs - 1 != (self.call or 0):
            return None
        whole, out = out, first_of(out)
        if not isinstance(out, Tensor):
            got = f"a {type(out).__name__} as its output"
            raise LayerRefused(self.what, got, "a tensor", "name a module inside it")
        if not out.is_floating_point():
            got, mend = f"{out.dtype} as its output", f"whole numbers have no gradient: {FLOATS}"
            mend = "name one that puts out real numbers" if out.is_complex() else mend
            raise LayerRefused(self.what, got, "floats", mend)
        # A copy, which later in-place work cannot reach.
        self.leaf = out.detach().clone().requires_grad_()
        torch.set_grad_enabled(True)  # from here on; the no_grad around the run ends it
        self.then()
        if its_own(module, args, out, self.others):
            self.own.append(out.copy_(self.leaf))
            return None
        # not the leaf itself: autograd refuses in-place work on leaves
        return instead(whole, self.leaf.clone())

    def let_go(self) -> None:
        """Take the graph from what somebody may have kept of the layer's output."""
        for out in self.own:
            out.detach_()

    def found(self) -> Tensor:
        """The leaf; `Refused` when the layer did not run, or ran several times."""
        if self.runs == 0:
            why = "not reached in this forward"
            mend = "name one that runs: its parent may read its weights without calling it"
            raise LayerRefused(self.what, "0 runs", mend=mend, why=why)
        if self.call is None and self.runs > 1:
            mend = f"choose one with call=0 to call={self.runs - 1}, or name the block around it"
            raise LayerRefused(self.what, f"{self.runs} runs in one forward", "1", mend)
        if self.leaf is None:
            wanted = f"0 to {self.runs - 1}: {self.what} ran {self.runs} times"
            raise Refused("call", f"{self.call}", wanted)
        return self.leaf


@contextmanager
def run(
    model: nn.Module,
    x: Inputs,
    layer: Layer,
    reshape: Reshape | None = None,
    call: int | None = None,
    *,
    scores: bool = True,
    classes: bool = True,
    steps: list[Step] | None = None,
) -> Iterator[Run]:
    """Run the model once, cut at the layer; while open, gradients of y can be taken at the leaf.

    scores: False asks nothing of what the model returns; classes: False not that it be scores
    (N, C), as where a target of the user's own reads it.  steps: a list that collects the linear
    and pooling layers of the head.  Refusals and side effects as in `zerocam.grad_cam`.

    Take it where `tap` is not enough: for several gradients of one forward pass.

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> with run(net, torch.tensor([[[[4.0, 0.0]], [[0.0, 2.0]]]]), "0") as (leaf, A, y, name):
    ...     G = torch.autograd.grad(y[0, 1], leaf)[0]
    >>> y.detach(), G
    (tensor([[2., 1.]]), tensor([[[[0.0000, 0.0000]],
    <BLANKLINE>
             [[0.5000, 0.5000]]]]))
    """
    refuse_bad_input(model, x)
    name, module = find_layer(model, layer)

    def note(module: nn.Module, args: Any, out: Any) -> None:
        if steps is not None and args and getattr(out, "requires_grad", False):
            steps.append(Step.of(module, args, out))

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        ExitStack() as at_the_end,
        left_as_it_was(model, x) as modules,
    ):
        refuse_one_image(model, x)
        watched = [] if steps is None else [m for m in modules if isinstance(m, WATCHED)]
        with ExitStack() as behind:  # the head's hooks are of no use before the cut
            others = [*held(model), *tensors(x)]
            cut = _Cut(name, call, lambda: behind.enter_context(hooked(watched, note)), others)
            at_the_end.callback(cut.let_go)
            with hooked([module], cut):
                y = answer(model, x)
                to_the_end = torch.is_grad_enabled()
        A = features(cut.found().detach(), reshape, name)
        if len(A) != len(images(x)):
            rows = f"{len(A)} rows for {len(images(x))} images"
            mend = "its batch holds windows, boxes or tokens: name another, or pass a reshape"
            raise LayerRefused(f"layer {name!r}", rows, "one for each image", mend)
        refuse_non_finite(A, "activations")
        if reshape is None and images(x).ndim < 5:
            for refuse in LOOK:
                refuse(model, x, name, A)
        if scores and classes:
            refuse_bad_scores(y, len(A))
        if scores and not (to_the_end and reaches(y, cut.found())):
            y = _with_gradient(model, x, cut, module, modules)
        with torch.enable_grad(), _causes_named(name, y):
            yield Run(cut.found(), A, y, name)


def _with_gradient(
    model: nn.Module, x: Inputs, cut: _Cut, module: nn.Module, modules: Iterable[nn.Module]
) -> Any:
    """What the model answers with autograd on throughout: it had put it back to what it was.

    If no gradient arrives even so, `LayerRefused` says where it ends.
    """
    end = End()

    def then() -> None:
        end.look_around()
        behind.enter_context(hooked(modules, end))

    cut.runs, cut.leaf, cut.then = 0, None, then
    with torch.enable_grad(), ExitStack() as behind, hooked([module], cut):
        y = answer(model, x)
    if not reaches(y, cut.found()):
        raise no_gradient(cut.name, model, end)
    return y


@contextmanager
def _causes_named(name: str, y: Any) -> Iterator[None]:
    """`LayerRefused` with the cause where autograd says only that it cannot."""
    try:
        yield
    except RuntimeError as error:
        if not reentrant(y):
            raise
        why = "a checkpoint with use_reentrant=True lies between it and the scores"
        raise LayerRefused(f"layer {name!r}", mend=REENTRANT, why=why) from error


def _modules(model: nn.Module) -> list[nn.Module]:
    """model.modules() as a loop: its recursion costs a tenth of a small network's forward pass."""
    found = [model]
    for module in found:  # which grows meanwhile
        if module._modules:
            found += [m for m in module._modules.values() if m is not None]
    return list(dict.fromkeys(found))


def forked(device: torch.device) -> AbstractContextManager[None]:
    """Put the random states of the CPU and of this device back at the end."""
    devices = [] if device.type == "cpu" else [device]
    return torch.random.fork_rng(devices, device_type=device.type)


@contextmanager
def left_as_it_was(model: nn.Module, x: Inputs) -> Iterator[list[nn.Module]]:
    """Yield the model's modules; at the end put back what a forward may have moved.

    That is the random state; buffers in training mode; and in any mode the buffers and attributes
    of modules that are not torch's own, such as the membrane of a spiking neuron, and what their
    dicts, lists and deques hold.  Meanwhile what torch.compile has made runs as it was before,
    since compiled code passes hooks by.
    """
    modules = _modules(model)
    own = [m for m in modules if not type(m).__module__.startswith("torch.")]
    parts: list[Any] = [m._buffers for m in modules if m._buffers and m.training]
    for m in own:
        parts += [vars(m), m._buffers]
        parts += [v for k, v in vars(m).items() if type(v) in GROWS and k not in OF_TORCH]
    with torch.no_grad():
        kept = [_Kept(part) for part in parts]
    with forked(images(x).device), _uncompiled():
        try:
            yield modules
        finally:
            with torch.no_grad():
                for part in kept:
                    part.put_back()


class _Kept:
    """What a dict or a list holds, and copies of its tensors, which a forward may write into."""

    def __init__(self, part: Any) -> None:
        self.part, self.values = part, dict(part if isinstance(part, dict) else enumerate(part))
        self.tensors = [(k, v, v.clone()) for k, v in self.values.items() if isinstance(v, Tensor)]

    def put_back(self) -> None:
        """Each value in its place again; a tensor that was not there before goes."""
        if isinstance(self.part, dict):
            for key in self.part.keys() - self.values.keys():
                if isinstance(self.part[key], Tensor):
                    del self.part[key]
            self.part.update(self.values)
        else:
            self.part.clear()
            self.part.extend(self.values.values())
        for key, v, before in self.tensors:
            if not torch.equal(v, before):  # nothing is written that need not be
                self.part[key] = before if v.is_inference() else v.copy_(before)


def _uncompiled() -> AbstractContextManager[Any]:
    """Run what torch.compile has made as it was before; where nothing is compiled, do nothing."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


# ---- what comes out, and what is refused ---------------------------------------------------------


RESHAPES = {  # by the number of axes of a layer's output
    3: "for tokens (N, T, D) pass reshape=zerocam.tokens_to_map(h, w, skip=...), for a signal "
    "(N, K, T) reshape=lambda A: A[:, :, None]; zerocam.layers.named_layer finds it",
    5: "for a volume (N, K, d, h, w) pass reshape=lambda A: A.flatten(2, 3), and make the map "
    "three-dimensional again by M.unflatten(1, (d, h))",
}


def first_of(out: Any) -> Any:
    """The tensor in a layer's output: the first of a tuple, as attention and LSTM return.

    >>> first_of((torch.ones(1), None))
    tensor([1.])
    """
    return out[0] if type(out) is tuple and out else out


def instead(out: Any, first: Tensor) -> Any:
    """The same output of a layer, with another tensor as `first_of` it.

    >>> instead((torch.ones(1), None), torch.zeros(1))
    (tensor([0.]), None)
    """
    return (first, *out[1:]) if type(out) is tuple else first


def features(out: Tensor, reshape: Reshape | None, name: str) -> Tensor:
    """`out` as (N, K, h, w); `Refused` when it has no spatial size."""
    A = out if reshape is None else reshape(out)
    shape = tuple(A.shape)
    what, got, wanted = f"layer {name!r}", f"output of shape {shape}", "(N, K, h, w)"
    if A.ndim != 4:
        mend = RESHAPES.get(A.ndim, "choose a layer before the pooling")
        raise LayerRefused(what, got, wanted, mend)
    if A.shape[2] * A.shape[3] <= 1:
        mend = "choose a layer before the pooling, or a larger image"
        wanted = "a spatial size above 1 x 1, or the map has one pixel"
        raise LayerRefused(what, got, wanted, mend)
    return A


def gradients(out: Tensor, reshape: Reshape | None, name: str) -> Tensor:
    """`out` as (N, K, h, w); `Refused` when all of it lies in what `reshape` leaves out."""
    G = features(out, reshape, name)
    if reshape is not None and bool(out.any()) and not bool(G.any()):
        why = (
            "the target reads only tokens that reshape leaves out (the class token), so no map "
            "can be made"
        )
        mend = "name one before the last attention, as ln_1 there"
        raise LayerRefused(f"layer {name!r}", mend=mend, why=why)
    refuse_non_finite(G, "gradients")
    return G


def score(y: Any, target: Target | Classes, n: int) -> Tensor:
    """s (N,) for N = n images, from the scores; one number where they are scored together."""
    s = target(y) if callable(target) else logit(target)(y)
    together = not isinstance(y, Tensor) or y.shape[:1] != (n,)
    if together and isinstance(s, Tensor) and s.numel() == 1:
        s = s.reshape(1)
    elif not isinstance(s, Tensor) or s.shape != (n,):
        got = tuple(s.shape) if isinstance(s, Tensor) else type(s).__name__
        raise Refused("target", f"{got} from the callable",
                      f"one score per image, shape ({n},)",
                      "reduce over classes, not over images")  # fmt: skip
    refuse_non_finite(s, "scores of the target")
    return s


def any_score(y: Tensor) -> Float[Tensor, " N"]:
    """A target that listens to every score, also in a head whose rows sum to zero."""
    return (y + y.square()).flatten(1).sum(1)


def at_least_float32(t: Tensor) -> Tensor:
    """Half precision as float32: sums of many small numbers need it."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t
