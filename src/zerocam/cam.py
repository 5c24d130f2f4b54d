"""Grad-CAM: one function per equation of Selvaraju et al., ICCV 2017 (arXiv:1610.02391).

    x      images                                        (N, ch, H, W)
    A      activations of the target layer               (N, K, h, w)   [a]
    y      class scores, before the softmax              (N, C)         [score]
    s      what is explained, usually y[:, c]            (N,)           [score]
    G      ds/dA                                         (N, K, h, w)   [score/a]
    alpha  channel weights, eq. (1)                      (N, K)         [score/a]
    M      signed map, eq. (2) inside the ReLU           (N, h, w)      [score]
    L      Grad-CAM map, relu(M)                         (N, h, w)      [score]
    r      reference: the activation that counts as 0    like A         [a]

The unit [a] cancels in M: rescaling a channel cannot matter.  [a] has no natural zero: shifting
a channel can.  Only the layers after A need a gradient, so only those get one: the network up to
A runs without autograd.
"""

import difflib
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam.heads import WATCHED, Step, pull_back, short_way
from zerocam.targets import Classes, Target, logit

Features = Float[Tensor, "N K h w"]
Weights = Float[Tensor, "N K"]
Map = Float[Tensor, "N h w"]
Layer = str | nn.Module
Reshape = Callable[[Tensor], Tensor]
Zero = Callable[[Tensor], Tensor] | Tensor | None  # a reference, or None for zero

CHUNK_BYTES = 2**27  # of gradients held at once by grad_cam_all


class Tap(NamedTuple):
    """What one forward and half a backward pass leave behind; nothing carries a graph."""

    A: Features
    G: Features
    y: Float[Tensor, "N C"]
    s: Float[Tensor, " N"]


def channel_weights(G: Features) -> Weights:
    """alpha_k = 1/Z sum_ij G_kij, Z = h w: the mean gradient of each channel (eq. 1).

    How much the score would rise if a whole channel rose by one: in [score/a].

    >>> channel_weights(torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]]))  # two channels
    tensor([[ 2.0000, -0.5000]])
    """
    return G.mean((-2, -1))


def signed_map(alpha: Weights, A: Features) -> Map:
    """M_ij = sum_k alpha_k A_kij: evidence for s, position by position (eq. 2 before its ReLU).

    In [score]: the unit of A cancels.  Above zero a position speaks for s, below it against.
    Summed in the dtype of its arguments, also under autocast.

    >>> A = torch.tensor([[[[1.0, 0.0]], [[0.0, 4.0]]]])
    >>> signed_map(torch.tensor([[2.0, -0.5]]), A)
    tensor([[[ 2., -2.]]])
    """
    with torch.autocast(A.device.type, enabled=False):
        return torch.einsum("nk,nkij->nij", alpha, A)


def grad_cam(
    model: nn.Module,
    x: Tensor,
    target: Target | Classes = None,
    *,
    layer: Layer,
    relu: bool = True,
    reference: Zero = None,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Map:
    """L = relu( sum_k alpha_k (A_k - r_k) ),  alpha_k = 1/Z sum_ij ds/dA_kij.

    Where the evidence for s is, counted from the reference r.

    x: (N, ch, H, W).  target: None (each image's predicted class), a class, a LongTensor (N,), or
    a callable (N, C) -> (N,), see `zerocam.targets`.  layer: dotted name or the module itself.
    relu=False gives the signed map.  reference: None (zero), a tensor, or a callable A -> r, see
    `zerocam.references`.  reshape: turns a layer's tokens into (N, K, h, w), see `tokens_to_map`.
    call: which run to take when the layer runs several times in one forward, counted from 0.

    Returns (N, h, w) in [score], at the layer's resolution, not normalised, on x's device and
    dtype.  With relu, values are >= 0, and a map of zeros is a valid answer: `explain_blank` says
    why.  For a head that averages A over positions and is then linear, the signed map sums to
    s(A) - s(r).

    Invariant under invertible mixing of the channels (tests/test_symmetries.py); a shift
    A -> A + t adds alpha . t everywhere unless r moves along.

    The model comes back as it was: mode, hooks, BatchNorm's buffers, gradients, and the random
    state too, also when its forward raises.  The model runs in the mode it is in: call
    model.eval() first.  Several threads may share a model in eval mode.

    Raises ValueError for an unknown layer, one that is not reached, runs twice or has no spatial
    size; for a target out of range or independent of the layer; for x of the wrong rank or an
    empty batch; for NaN or inf in activations or gradients.

    Source: Selvaraju et al., ICCV 2017, eq. (1) and (2); the reference is this package's.

    A network whose score for class c is the mean of channel c, so that the map can be read off:

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0], [0.0, -8.0]], [[0.0, 0.0], [2.0, 0.0]]]])
    >>> grad_cam(net, x, 0, layer="0", relu=False)  # its sum is the score
    tensor([[[ 1.,  0.],
             [ 0., -2.]]])
    >>> grad_cam(net, x, layer="0")  # the predicted class, 1
    tensor([[[0.0000, 0.0000],
             [0.5000, 0.0000]]])
    """
    A, G, *_ = tap(model, x, target, layer=layer, reshape=reshape, call=call)
    return _grad_cam_of_tap(A, G, relu=relu, reference=reference).to(x.dtype)


def _grad_cam_of_tap(A: Features, G: Features, *, relu: bool = True, reference: Zero = None) -> Map:
    M = signed_map(channel_weights(G), _referenced(A, reference))
    return M.relu() if relu else M


grad_cam.of_tap = _grad_cam_of_tap  # methods that need A and G alone can share one tap


def grad_cam_all(
    model: nn.Module,
    x: Tensor,
    *,
    layer: Layer,
    relu: bool = True,
    reference: Zero = None,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Float[Tensor, "N C h w"]:
    """L_c = relu( sum_k alpha^c_k (A_k - r_k) ) for every class c from one forward pass.

    Where the head averages A, or flattens it, and goes on with a linear layer, the weights of all
    classes are found by a short way (`zerocam.heads`), once it has been proved on these images to
    give the same; else the gradient of every score goes back to A.  Either works through as many
    classes at a time as fit into `CHUNK_BYTES`.

    Take it where classes are compared, or `centred` maps are wanted: M - M.mean(1) are these.
    Arguments, refusals and side effects as in `grad_cam`; returns (N, C, h, w), in [score].

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0]], [[0.0, 2.0]]]])
    >>> grad_cam_all(net, x, layer="0")
    tensor([[[[2., 0.]],
    <BLANKLINE>
             [[0., 1.]]]])
    """
    steps: list[Step] = []
    run = _run(model, x, layer, reshape, call, steps=steps)
    with run as (leaf, y), torch.autocast(y.device.type, enabled=False):  # no sums in half
        A = _features(leaf.detach(), reshape, layer)
        n, classes = y.shape
        Z = A.shape[2] * A.shape[3]

        def textbook(v: Float[Tensor, "c _ C"]) -> Float[Tensor, "c N K"]:
            """Z alpha of combinations of the scores."""
            G = pull_back(y, leaf, v.expand(-1, n, -1), allow_unused=True)
            _refuse_independent(G, layer)
            G = _gradients(G.flatten(0, 1), reshape, layer)
            return Z * channel_weights(_at_least_float32(G)).unflatten(0, (-1, n))

        way = short_way(steps, y, A.shape[1], textbook)
        if way is None:
            rows = torch.eye(classes, dtype=y.dtype, device=y.device)
            held, back = leaf.numel(), textbook
        else:
            rows = way.W
            held, back = n * max(rows.shape[1], A.shape[1]), way.back
        deviation = _referenced(_at_least_float32(A), reference) / Z
        M = deviation.new_empty(n, classes, *A.shape[2:])
        chunk = max(1, CHUNK_BYTES // (held * leaf.element_size()))
        for start in range(0, classes, chunk):
            part = slice(start, start + chunk)
            alpha_Z = back(rows[part, None]).to(deviation)
            M[:, part] = torch.einsum("cnk,nkij->ncij", alpha_Z, deviation)
    M = M.to(x.dtype)
    return M.relu_() if relu else M


def explain_blank(
    model: nn.Module,
    x: Tensor,
    target: Target | Classes = None,
    *,
    layer: Layer,
    reference: Zero = None,
    reshape: Reshape | None = None,
    call: int | None = None,
    tiny: float = 1e-6,
) -> list[str]:
    """Why a Grad-CAM map is drawn blank, per image; usual tools return the same zeros for all.

    M is the signed map that `grad_cam` gives with these arguments, counted from `reference`.

    "silent layer"   A = 0 and M = 0: no unit fired.  Is the input scaled as in training (0 to 1,
                     or 0 to 255; mean and deviation)?  Are the weights loaded?
    "zero gradient"  alpha = 0: the target is saturated (explain the logit, or the centred logit),
                     or the scores do not listen to this layer (name an earlier one)
    "all negative"   max M <= 0: every position speaks against s (draw relu=False; the reference
                     `spatial_mean` shows where most and least; `targets.centred` asks for more
                     than the average class)
    "constant"       M does not vary over positions, so min-max scaling would divide by zero: an
                     even image, or one the layer cannot tell apart (name an earlier one)
    "tiny"           0 < max M < `tiny` [score]: the epsilon of usual normalisations swallows it
                     (divide by the maximum before drawing)
    "not blank"      none of these

    Raises ValueError as `grad_cam` does.

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[-4.0, 0.0]], [[0.0, 2.0]]]])
    >>> explain_blank(net, x, 0, layer="0"), explain_blank(net, x, 1, layer="0")
    (['all negative'], ['not blank'])
    """
    A, G, *_ = tap(model, x, target, layer=layer, reshape=reshape, call=call)
    alpha = channel_weights(G)
    reasons = []
    for fired, weights, M in zip(
        A, alpha, signed_map(alpha, _referenced(A, reference)), strict=True
    ):
        low, high = M.min().item(), M.max().item()
        if not (fired.any() or M.any()):
            reasons.append("silent layer")
        elif not weights.any():
            reasons.append("zero gradient")
        elif high <= 0 and low < 0:
            reasons.append("all negative")
        elif high - low <= 1e-6 * abs(high):
            reasons.append("constant")
        else:
            reasons.append("tiny" if high < tiny else "not blank")
    return reasons


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
    with _run(model, x, layer, reshape, call) as (leaf, y):
        s = _score(y, target)
        _refuse_independent(s if s.requires_grad else None, layer)
        (G,) = torch.autograd.grad(s.sum(), leaf, allow_unused=True)
    _refuse_independent(G, layer)
    A, G = _features(leaf.detach(), reshape, layer), _gradients(G.detach(), reshape, layer)
    return Tap(_at_least_float32(A), _at_least_float32(G), y.detach(), s.detach())


def activations(
    model: nn.Module,
    x: Tensor,
    *,
    layer: Layer,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Features:
    """A = the layer's output for x, without a gradient.  Refusals and side effects as in `tap`."""
    with _run(model, x, layer, reshape, call, need_scores=False) as (leaf, _):
        return _at_least_float32(_features(leaf.detach(), reshape, layer))


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


# ---- the run: everything that can go wrong between a model and its A ----------------------------


@contextmanager
def _run(
    model: nn.Module,
    x: Tensor,
    layer: Layer,
    reshape: Reshape | None,
    call: int | None,
    need_scores: bool = True,
    steps: list[Step] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (leaf, y): the layer's output as an autograd leaf, and the scores computed from it.

    `steps`, if given, collects the linear and pooling layers of the head.
    """
    _refuse_bad_input(model, x)
    name, module = find_layer(model, layer)
    owner, runs, leaves = threading.get_ident(), 0, []

    def cut(_module: nn.Module, _args: Any, out: Any) -> Tensor | None:
        nonlocal runs
        if threading.get_ident() != owner:  # another thread is using the same model
            return None
        runs += 1
        if leaves or runs - 1 != (call or 0):
            return None
        if not isinstance(out, Tensor):
            raise ValueError(
                f"layer {name!r}: got a {type(out).__name__} as its output, wanted a tensor; "
                "name a module inside it"
            )
        leaf = out.detach().clone().requires_grad_()  # a copy: later in-place work must not reach A
        leaves.append(leaf)
        torch.set_grad_enabled(True)  # from here on; the surrounding no_grad ends it
        if len(handles) == 1:  # no use before
            handles.extend(m.register_forward_hook(note) for m in watched)
        return leaf.clone()  # not the leaf itself: autograd refuses in-place work on leaves

    def note(module: nn.Module, args: Any, out: Any) -> None:
        if threading.get_ident() == owner and args and getattr(out, "requires_grad", 0):
            steps.append(Step.of(module, args, out))

    with torch.inference_mode(False), torch.no_grad(), _left_as_it_was(model, x) as modules:
        watched = [] if steps is None else [m for m in modules if isinstance(m, WATCHED)]
        handles = [module.register_forward_hook(cut)]
        try:
            y = model(x)
            if need_scores and leaves and isinstance(y, Tensor) and not y.requires_grad:
                leaves.clear()  # the forward set autograd's mode back to what it was: turn it on
                runs = 0
                with torch.enable_grad():
                    y = model(x)
        finally:
            for handle in handles:
                handle.remove()
        if runs == 0:
            raise ValueError(f"layer {name!r}: not reached in this forward; name one that runs")
        if call is None and runs > 1:
            raise ValueError(
                f"layer {name!r}: got {runs} runs in one forward, wanted 1; "
                f"choose one with call=0 to call={runs - 1}, or name the block around it"
            )
        if not leaves:
            raise ValueError(f"call: got {call}, wanted 0 to {runs - 1}: {name!r} ran {runs} times")
        _refuse_non_finite(_features(leaves[0].detach(), reshape, name), "activations")
        if need_scores:
            _refuse_bad_scores(y, len(x))
            _refuse_independent(y if y.requires_grad else None, name)
        with torch.enable_grad():
            yield leaves[0], y


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
def _left_as_it_was(model: nn.Module, x: Tensor) -> Iterator[list[nn.Module]]:
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


def _features(out: Tensor, reshape: Reshape | None, layer: Layer) -> Tensor:
    """`out` as (N, K, h, w); ValueError when it has no spatial size."""
    A = out if reshape is None else reshape(out)
    shape = tuple(A.shape)
    where = f"layer {_say(layer)}: got output of shape {shape}"
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


def _gradients(out: Tensor, reshape: Reshape | None, layer: Layer) -> Tensor:
    """`out` as (N, K, h, w); ValueError when all of it lies in what `reshape` leaves out."""
    G = _features(out, reshape, layer)
    if reshape is not None and bool(out.any()) and not bool(G.any()):
        raise ValueError(
            f"layer {_say(layer)}: the target reads only tokens that reshape leaves out (the class "
            "token), so no map can be made; name one before the last attention, as ln_1 there"
        )
    _refuse_non_finite(G, "gradients")
    return G


def _score(y: Tensor, target: Target | Classes) -> Tensor:
    """s (N,) from the scores."""
    s = target(y) if callable(target) else logit(target)(y)
    if not isinstance(s, Tensor) or s.shape != y.shape[:1]:
        got = tuple(s.shape) if isinstance(s, Tensor) else type(s).__name__
        raise ValueError(
            f"target: got {got} from the callable, wanted one score per image, "
            f"shape ({len(y)},); reduce over classes, not over images"
        )
    return s


def _refuse_bad_input(model: nn.Module, x: Any) -> None:
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


def _refuse_bad_scores(y: Any, n: int) -> None:
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != n:
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"model: got {got} as its output, wanted scores (N, C) with N = {n}; return from it "
            'y["logits"] of a dict, y[0] of a tuple, y[:, None] of (N,), y.mean((2, 3)) of a mask'
        )
    _refuse_non_finite(y, "scores")


def _refuse_independent(connected: Tensor | None, layer: Layer) -> None:
    if connected is None:
        raise ValueError(
            f"layer {_say(layer)}: no gradient of the target reaches it (cut by a detach, no_grad "
            "or inference_mode?); choose a layer the scores need, or a target that uses them"
        )


def _refuse_non_finite(t: Tensor, what: str) -> None:
    # a finite sum has finite terms, and is found 20 times as fast; another may have overflowed
    if not (math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())):
        bad = (~torch.isfinite(t)).flatten(1).any(1).nonzero()[:, 0].tolist()
        raise ValueError(
            f"{what}: got NaN or inf for image {bad[:5]}, wanted finite numbers; check the input "
            "and the weights, or run in float32"
        )


def _referenced(A: Tensor, reference: Callable[[Tensor], Tensor] | Tensor | None) -> Tensor:
    """A - r."""
    if reference is None:
        return A
    r = reference(A) if callable(reference) else reference
    try:
        fits = isinstance(r, Tensor) and torch.broadcast_shapes(r.shape, A.shape) == A.shape
    except RuntimeError:
        fits = False
    if not fits:
        got = f"shape {tuple(r.shape)}" if isinstance(r, Tensor) else type(r).__name__
        raise ValueError(
            f"reference: got {got}, wanted a tensor broadcastable to A, {tuple(A.shape)}; "
            "keep the reduced axes, as in A.mean((2, 3), keepdim=True)"
        )
    return A - r.to(A)


def _at_least_float32(t: Tensor) -> Tensor:
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def _say(layer: Layer) -> str:
    return repr(layer) if isinstance(layer, str) else f"<{type(layer).__name__}>"
