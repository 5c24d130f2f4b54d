"""One run of a model: a layer's output, the scores, and the gradient between them.

    x    images                                          (N, ch, H, W)
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
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam.shortcuts import WATCHED, Step
from zerocam.targets import Classes, Target, logit

Features = Float[Tensor, "N K h w"]
Layer = str | nn.Module
Reshape = Callable[[Tensor], Tensor]
Hook = Callable[[nn.Module, Any, Any], Tensor | None]


class Tap(NamedTuple):
    """What one forward and half a backward pass leave behind; nothing carries a graph."""

    A: Features
    G: Features
    y: Float[Tensor, "N C"]
    s: Float[Tensor, " N"]


def tap(
    model: nn.Module,
    x: Tensor,
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
    """
    with run(model, x, layer, reshape, call) as (leaf, A, y, name):
        s = score(y, target)
        G = torch.autograd.grad(s.sum(), leaf, allow_unused=True)[0] if s.requires_grad else None
    if G is None:
        raise no_gradient(name)
    G = gradients(G.detach(), reshape, name)
    return Tap(at_least_float32(A), at_least_float32(G), y.detach(), s.detach())


def activations(
    model: nn.Module,
    x: Tensor,
    *,
    layer: Layer,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Features:
    """A = the layer's output for x, without a gradient.  Refusals and side effects as in `tap`."""
    with run(model, x, layer, reshape, call, scores=False) as found:
        return at_least_float32(found.A)


def find_layer(model: nn.Module, layer: Layer) -> tuple[str, nn.Module]:
    """The (dotted name, module) of a layer; ValueError with the nearest names if there is none."""
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return name, module
        raise ValueError(
            f"layer: got a {type(layer).__name__} that is not part of this "
            f"{type(model).__name__}, wanted one of its modules; take it from this very model"
        )
    if not isinstance(layer, str):
        raise ValueError(f"layer: got {layer!r}, wanted a dotted name or a module, as in layer='3'")
    with suppress(AttributeError):
        return layer, model.get_submodule(layer)
    modules = [name for name, _ in model.named_modules()]
    near = difflib.get_close_matches(layer, modules, n=3, cutoff=0.4) or modules[1:4]
    raise ValueError(
        f"layer: got {layer!r}, wanted a module name of this {type(model).__name__}; "
        f"nearest: {', '.join(near)}"
    )


def tokens_to_map(h: int, w: int, *, skip: int = 0) -> Reshape:
    """(N, T, D) tokens -> (N, D, h, w), row by row, leaving out the first `skip` (class) tokens.

    torchvision's vit_b_16 at 224 px: `layer="encoder.layers.encoder_layer_11.ln_1"`,
    `reshape=tokens_to_map(14, 14, skip=1)`.
    """

    def reshape(tokens: Tensor) -> Tensor:
        if tokens.ndim != 3 or tokens.shape[1] != skip + h * w:
            raise ValueError(
                f"reshape: got tokens of shape {tuple(tokens.shape)}, wanted "
                f"(N, {skip} + {h} x {w}, D); set h, w and skip to the layer's grid"
            )
        return tokens[:, skip:].transpose(1, 2).unflatten(2, (h, w))

    return reshape


def channels_first(A: Tensor) -> Tensor:
    """(N, h, w, K) -> (N, K, h, w): the `reshape` for torchvision's Swin, `layer="features"`."""
    return A.permute(0, 3, 1, 2)


def channel_axis(A: Any, K: int) -> int:
    """Where the K channels are: axis 1 of (N, K, h, w), else the last, as in (N, T, K) tokens."""
    if not isinstance(A, Tensor):
        raise ValueError(
            f"layer: got a {type(A).__name__} as its output, wanted a tensor; "
            "name a module inside it"
        )
    axis = 1 if A.ndim > 3 and A.shape[1] == K else -1
    if A.shape[axis] != K:
        raise ValueError(
            f"channels: got activations of shape {tuple(A.shape)}, wanted {K} channels on axis 1 "
            "or last; for a symmetry, make it for this layer's channels, or pass channel_dim"
        )
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

    def mine(module: nn.Module, args: Any, out: Any) -> Tensor | None:
        return hook(module, args, out) if threading.get_ident() == owner else None

    handles = []
    try:
        for module in modules:
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


class _Cut:
    """The hook that makes the layer's output a leaf, and counts the runs of the layer."""

    def __init__(self, name: str, call: int | None, then: Callable[[], Any]) -> None:
        self.name, self.call, self.then = name, call, then
        self.runs = 0
        self.leaf: Tensor | None = None

    def __call__(self, _module: nn.Module, _args: Any, out: Any) -> Tensor | None:
        self.runs += 1
        if self.leaf is not None or self.runs - 1 != (self.call or 0):
            return None
        if not isinstance(out, Tensor):
            raise ValueError(
                f"layer {self.name!r}: got a {type(out).__name__} as its output, wanted a tensor; "
                "name a module inside it"
            )
        # A copy, which later in-place work cannot reach.
        self.leaf = out.detach().clone().requires_grad_()
        torch.set_grad_enabled(True)  # from here on; the no_grad around the run ends it
        self.then()
        return self.leaf.clone()  # not the leaf itself: autograd refuses in-place work on leaves

    def found(self) -> Tensor:
        """The leaf; ValueError when the layer did not run, or ran several times."""
        if self.runs == 0:
            raise ValueError(
                f"layer {self.name!r}: not reached in this forward; name one that runs"
            )
        if self.call is None and self.runs > 1:
            raise ValueError(
                f"layer {self.name!r}: got {self.runs} runs in one forward, wanted 1; "
                f"choose one with call=0 to call={self.runs - 1}, or name the block around it"
            )
        if self.leaf is None:
            raise ValueError(
                f"call: got {self.call}, wanted 0 to {self.runs - 1}: {self.name!r} ran "
                f"{self.runs} times"
            )
        return self.leaf


@contextmanager
def run(
    model: nn.Module,
    x: Tensor,
    layer: Layer,
    reshape: Reshape | None = None,
    call: int | None = None,
    *,
    scores: bool = True,
    steps: list[Step] | None = None,
) -> Iterator[Run]:
    """Run the model once, cut at the layer; while open, gradients of y can be taken at the leaf.

    scores: False asks nothing of what the model returns.  steps: a list that collects the linear
    and pooling layers of the head.  Refusals and side effects as in `zerocam.grad_cam`.
    """
    refuse_bad_input(model, x)
    name, module = find_layer(model, layer)

    def note(module: nn.Module, args: Any, out: Any) -> None:
        if steps is not None and args and getattr(out, "requires_grad", False):
            steps.append(Step.of(module, args, out))

    with torch.inference_mode(False), torch.no_grad(), left_as_it_was(model, x) as modules:
        watched = [] if steps is None else [m for m in modules if isinstance(m, WATCHED)]
        with ExitStack() as behind:  # the head's hooks are of no use before the cut
            cut = _Cut(name, call, lambda: behind.enter_context(hooked(watched, note)))
            with hooked([module], cut):
                y = model(x)
                if scores and cut.leaf is not None and getattr(y, "requires_grad", None) is False:
                    # The forward set autograd's mode back to what it was: turn it on throughout.
                    cut.runs, cut.leaf, cut.then = 0, None, lambda: None
                    with torch.enable_grad():
                        y = model(x)
        leaf = cut.found()
        A = features(leaf.detach(), reshape, name)
        refuse_non_finite(A, "activations")
        if scores:
            refuse_bad_scores(y, len(x))
            if not y.requires_grad:
                raise no_gradient(name)
        with torch.enable_grad():
            yield Run(leaf, A, y, name)


def _modules(model: nn.Module) -> list[nn.Module]:
    """model.modules() as a loop: its recursion costs a tenth of a small network's forward pass."""
    found = [model]
    for module in found:  # which grows meanwhile
        if module._modules:
            found += [m for m in module._modules.values() if m is not None]
    return list(dict.fromkeys(found))


def forked(device: torch.device) -> AbstractContextManager:
    """Put the random states of the CPU and of this device back at the end."""
    devices = [] if device.type == "cpu" else [device]
    return torch.random.fork_rng(devices, device_type=device.type)


@contextmanager
def left_as_it_was(model: nn.Module, x: Tensor) -> Iterator[list[nn.Module]]:
    """Yield the model's modules; put the random state, and their buffers in training mode, back."""
    modules = _modules(model)
    kept = [m._buffers for m in modules if m.training and m._buffers]
    before = [(d, key, b, b.clone()) for d in kept for key, b in d.items() if b is not None]
    with forked(x.device):
        try:
            yield modules
        finally:
            with torch.no_grad():
                for d, key, buffer, value in before:  # a forward may have put another there
                    d[key] = buffer.copy_(value)


# ---- what comes out, and what is refused ---------------------------------------------------------


def features(out: Tensor, reshape: Reshape | None, name: str) -> Tensor:
    """`out` as (N, K, h, w); ValueError when it has no spatial size."""
    A = out if reshape is None else reshape(out)
    shape = tuple(A.shape)
    where = f"layer {name!r}: got output of shape {shape}"
    if A.ndim == 3:
        raise ValueError(
            f"{where}, wanted (N, K, h, w); for tokens (N, T, D) "
            "pass reshape=zerocam.tokens_to_map(h, w, skip=...)"
        )
    if A.ndim != 4:
        raise ValueError(f"{where}, wanted (N, K, h, w); choose a layer before the pooling")
    if A.shape[2] * A.shape[3] <= 1:
        raise ValueError(
            f"{where}, wanted a spatial size above 1 x 1, or the map has one pixel; "
            "choose a layer before the pooling, or a larger image"
        )
    _, k, h, w = shape
    if reshape is None and w >= 32 and (k == h < w or w > 8 * max(k, h)):
        raise ValueError(
            f"{where}, which looks like channels last (N, h, w, K), wanted (N, K, h, w); pass "
            "reshape=zerocam.channels_first, or reshape=lambda A: A if it is (N, K, h, w)"
        )
    return A


def gradients(out: Tensor, reshape: Reshape | None, name: str) -> Tensor:
    """`out` as (N, K, h, w); ValueError when all of it lies in what `reshape` leaves out."""
    G = features(out, reshape, name)
    if reshape is not None and bool(out.any()) and not bool(G.any()):
        raise ValueError(
            f"layer {name!r}: the target reads only tokens that reshape leaves out (the class "
            "token), so no map can be made; name one before the last attention, as ln_1 there"
        )
    refuse_non_finite(G, "gradients")
    return G


def score(y: Tensor, target: Target | Classes) -> Tensor:
    """s (N,) from the scores."""
    s = target(y) if callable(target) else logit(target)(y)
    if not isinstance(s, Tensor) or s.shape != y.shape[:1]:
        got = tuple(s.shape) if isinstance(s, Tensor) else type(s).__name__
        raise ValueError(
            f"target: got {got} from the callable, wanted one score per image, "
            f"shape ({len(y)},); reduce over classes, not over images"
        )
    return s


def any_score(y: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """A target that listens to every score, also in a head whose rows sum to zero."""
    return (y + y.square()).sum(1)


def refuse_bad_input(model: nn.Module, x: Any) -> None:
    """ValueError for a model that cannot be hooked, or an x that is no batch of images."""
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    if parallel or hasattr(model, "_orig_mod"):  # the latter is made by torch.compile
        raise ValueError(
            f"model: got a {type(model).__name__}, wanted the nn.Module inside it; "
            f"pass model.{'module' if parallel else '_orig_mod'}"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("model: got TorchScript, wanted the nn.Module it was made from; take that")
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: got {got}, wanted a float tensor (N, ch, H, W); add a batch axis?")
    if len(x) == 0:
        raise ValueError(f"x: got an empty batch {tuple(x.shape)}, wanted at least one image")


def refuse_bad_scores(y: Any, n: int) -> None:
    """ValueError unless y holds finite scores (N, C)."""
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != n:
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"model: got {got} as its output, wanted scores (N, C) with N = {n}; return from it "
            'y["logits"] of a dict, y[0] of a tuple, y[:, None] of (N,), y.mean((2, 3)) of a mask'
        )
    refuse_non_finite(y, "scores")


def no_gradient(name: str) -> ValueError:
    """What to raise where no gradient of the target reaches the layer."""
    return ValueError(
        f"layer {name!r}: no gradient of the target reaches it (cut by a detach, no_grad "
        "or inference_mode?); choose a layer the scores need, or a target that uses them"
    )


def refuse_non_finite(t: Tensor, what: str) -> None:
    """ValueError that names the images with NaN or inf."""
    # a finite sum has finite terms, and is found 20 times as fast; another may have overflowed
    if not (math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())):
        bad = (~torch.isfinite(t)).flatten(1).any(1).nonzero()[:, 0].tolist()
        raise ValueError(
            f"{what}: got NaN or inf for image {bad[:5]}, wanted finite numbers; check the input "
            "and the weights, or run in float32"
        )


def at_least_float32(t: Tensor) -> Tensor:
    """Half precision as float32: sums of many small numbers need it."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t
