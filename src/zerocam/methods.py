"""Other heatmaps from the same layer: one function, one equation, the signature of `grad_cam`.

    A      activations of the target layer                (N, K, h, w)   [a]
    G      ds/dA, Z = h w positions                       (N, K, h, w)   [score/a]
    alpha  one weight per channel                         (N, K)
    M      signed map, before any ReLU                    (N, h, w)

    method            M_ij                                unit of M      final ReLU by default
    hires_cam         sum_k G_kij A_kij                   [score]        yes
    layer_cam         sum_k relu(G_kij) A_kij             [score]        yes
    grad_cam_pp       sum_k alpha_k A_kij                 [score]        yes
    xgrad_cam         sum_k alpha_k A_kij                 [score]        yes
    score_cam         sum_k alpha_k A_kij                 [a]            yes
    ablation_cam      sum_k alpha_k A_kij                 [a]            yes
    eigen_cam         (X v)_ij                            [a]            no: a sign rule instead
    lafam             1/K sum_k A_kij                     [a]            no

Read the units: a map in [score] has a chance to survive a change of the unit of A, a map in [a]
has none.  Maps come back at the layer's resolution and are not normalised.  Arguments, refusals
and side effects are those of `zerocam.grad_cam`, which alone takes a reference.
`hires_cam.equation(A, G)` and its like are the bare equations, for tensors already at hand.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from zerocam.cam import Map, signed_map
from zerocam.hooks import (
    Features,
    Layer,
    Reshape,
    activations,
    channel_axis,
    find_layer,
    hooked,
    left_as_it_was,
    refuse_bad_scores,
    score,
    tap,
)
from zerocam.metrics import enlarge, normalise
from zerocam.targets import Classes, Target, logit


def _method(*, relu: bool) -> Callable[[Callable[..., Map]], Callable[..., Map]]:
    """Make a method (model, x, target, *, layer, ...) -> (N, h, w) of an equation in A (and G)."""
    by_default = relu

    def wrap(equation: Callable[..., Map]) -> Callable[..., Map]:
        own = inspect.signature(equation).parameters
        needs_G = "G" in own

        def method(
            model: nn.Module,
            x: Tensor,
            target: Target | Classes = None,
            *,
            layer: Layer,
            relu: bool = by_default,
            reshape: Reshape | None = None,
            call: int | None = None,
            **choices: Any,
        ) -> Map:
            at: dict[str, Any] = {"layer": layer, "reshape": reshape, "call": call}
            A, G = (
                tap(model, x, target, **at)[:2] if needs_G else (activations(model, x, **at), None)
            )
            return of_tap(A, G, relu=relu, **choices).to(x.dtype)

        def of_tap(
            A: Features, G: Features | None, *, relu: bool = by_default, **choices: Any
        ) -> Map:
            M = equation(A, G, **choices) if needs_G else equation(A, **choices)
            return M.relu() if relu else M

        shown = [p for p in inspect.signature(method).parameters.values() if p.name != "choices"]
        shown += [p for p in own.values() if p.kind is p.KEYWORD_ONLY]
        functools.update_wrapper(method, equation)
        method.__signature__ = inspect.Signature(shown, return_annotation=Map)  # what help() shows
        method.equation, method.of_tap = equation, of_tap
        return method

    return wrap


@_method(relu=True)
def hires_cam(A: Features, G: Features) -> Map:
    """M_ij = sum_k G_kij A_kij: Grad-CAM without averaging the gradient.

    Gradient times activation, position by position.  Equal to Grad-CAM where the gradient is the
    same at all positions, as below global average pooling.  For a head linear in A the map sums
    to s(A) - s(0).

    Invariant under invertible mixing of the channels.  A shift t adds sum_k G_kij t_k, which is
    one constant only if G does not vary over positions.

    Source: Draelos and Carin, arXiv:2011.08891.
    """
    return (G * A).sum(1)


@_method(relu=True)
def layer_cam(A: Features, G: Features) -> Map:
    """M_ij = sum_k relu(G_kij) A_kij: only positions whose increase would raise s count.

    Invariant under permutation and positive scaling of the channels.  Not under a sign flip: relu
    asks which way a channel points, and that is a convention.

    Source: Jiang et al., LayerCAM, IEEE TIP 2021.
    """
    return (G.relu() * A).sum(1)


@_method(relu=True)
def grad_cam_pp(A: Features, G: Features) -> Map:
    """M = sum_k alpha_k A_k,  alpha_k = sum_ij relu(G_kij) / (2 + G_kij sum_ab A_kab).

    Grad-CAM++.  The fraction is G^2 / (2 G^2 + G^3 sum A) as published, reduced; no epsilon is
    needed then.  The published derivation explains exp(s), which multiplies a whole map by
    exp(s) > 0; that factor is left out here, as in the usual implementations.

    Invariant under permutation and positive scaling.  Signed activations can make a denominator
    small or zero; where it is exactly zero the position counts nothing.

    Source: Chattopadhyay et al., WACV 2018, arXiv:1710.11063.
    """
    denominator = 2 + G * A.sum((2, 3), keepdim=True)
    share = torch.where(denominator == 0, 0, G.relu() / denominator)
    return signed_map(share.sum((2, 3)), A)


@_method(relu=True)
def xgrad_cam(A: Features, G: Features) -> Map:
    """M = sum_k alpha_k A_k,  alpha_k = sum_ij G_kij A_kij / sum_ij A_kij.

    The gradient averaged with the activation itself as weight.  Equal to Grad-CAM where the
    gradient is the same at all positions.  A channel that sums to zero gets weight 0: right for a
    silent channel, arbitrary for a signed one, whose neighbourhood is a pole.

    Invariant under permutation, scaling and sign flips.

    Source: Fu et al., BMVC 2020, arXiv:2008.02312.
    """
    total = A.sum((2, 3))
    alpha = torch.where(total == 0, 0, (G * A).sum((2, 3)) / total)
    return signed_map(alpha, A)


@_method(relu=False)
def eigen_cam(A: Features, *, centred: bool = False) -> Map:
    """M = X v_1: positions along the strongest direction of the activations, no class involved.

    X (Z, K) holds one row of activations per position, minus their mean over positions if
    `centred`; v_1 is its first right singular vector.  Its sign is free, so a rule must choose:
    here the position of largest size is positive.  "Bright" then means "far out", not "present".

    Invariant under rotation, permutation and sign flips of the channels, and under the softmax
    shift; under a shift only if centred.  All zeros for X = 0.

    Source: Muhammad and Yeasin, IJCNN 2020, arXiv:2008.00299; centring as in pytorch-grad-cam.
    """
    X = A.flatten(2)
    if centred:
        X = X - X.mean(2, keepdim=True)
    _, size, positions = torch.linalg.svd(X, full_matrices=False)
    M = size[:, :1] * positions[:, 0]
    peak = M.gather(1, M.abs().argmax(1, keepdim=True))
    return (M * peak.sign()).unflatten(1, A.shape[2:])


@_method(relu=False)
def lafam(A: Features) -> Map:
    """M_ij = 1/K sum_k A_kij: how strongly a position excites the layer, no class involved.

    Invariant under permutation and the softmax shift; a shift t adds the mean of t.

    Source: Karjauv and Albayrak, arXiv:2407.06059 (there min-max scaled and enlarged).
    """
    return A.mean(1)


def score_cam(
    model: nn.Module,
    x: Tensor,
    target: Target | Classes = None,
    *,
    layer: Layer,
    relu: bool = True,
    reshape: Reshape | None = None,
    call: int | None = None,
    baseline: float | Tensor = 0.0,
    progress: bool = False,
) -> Map:
    """M = sum_k alpha_k A_k,  alpha = softmax_k s(x * m_k + b * (1 - m_k)).

    A channel counts by the score of the image seen through it.  The mask m_k is A_k enlarged to
    the image (bilinear) and then min-max scaled; a constant channel has the mask 0.  `baseline` b
    is what is seen where the mask is closed: black, if 0 is black; the mean colour for inputs that
    were standardised.  The published score of the baseline, subtracted from all, cancels in the
    softmax.

    K + 2 forward passes; `progress` shows a bar.  A target without a class means the class
    predicted for x; a callable sees the masked images' scores, so give it its class: centred(281).

    Invariant under permutation.  A shift t moves no mask and adds the constant alpha . t.

    Source: Wang et al., CVPR Workshops 2020, arXiv:1910.01279.
    """
    A = activations(model, x, layer=layer, reshape=reshape, call=call)
    with _scorer(model, x, target) as score_of:
        b, scores = torch.as_tensor(baseline).to(x), []
        for channel in tqdm(A.unbind(1), "Score-CAM", disable=not progress):
            m = normalise(enlarge(channel, tuple(x.shape[2:])), "minmax").to(x.dtype)[:, None]
            scores.append(score_of(b + m * (x - b)))
    alpha = torch.stack(scores, 1).softmax(1)
    M = signed_map(alpha.to(A.dtype), A).to(x.dtype)
    return M.relu() if relu else M


def ablation_cam(
    model: nn.Module,
    x: Tensor,
    target: Target | Classes = None,
    *,
    layer: Layer,
    relu: bool = True,
    reshape: Reshape | None = None,
    call: int | None = None,
    to: float | Tensor | Callable[[Tensor], Tensor] = 0.0,
    progress: bool = False,
) -> Map:
    """M = sum_k alpha_k A_k,  alpha_k = (s(A) - s(A with A_k set to `to`)) / s(A).

    A channel counts by the share of the score that is lost without it.  "Without" is a choice of
    zero: `to` is a number, or one value per channel, (N, K, 1, 1), or from `zerocam.references`, a
    callable A -> (N, K, 1, 1).
    The division takes s = 0 for "nothing": adding a constant to s rescales the map, and a negative
    s turns its sign.

    K + 2 forward passes; `progress` and targets as in `score_cam`.  With tokens, all of a
    channel's tokens are set, class token included.

    Invariant under permutation.  Raises ValueError where s(A) = 0, besides the usual.

    Source: Desai and Ramaswamy, WACV 2020.
    """
    A = activations(model, x, layer=layer, reshape=reshape, call=call)
    value = to(A) if callable(to) else torch.as_tensor(to).to(A)
    value = value.reshape(1, 1, 1, 1) if value.ndim == 0 else value
    if value.ndim != 4 or value.shape[2:] != (1, 1):
        raise ValueError(
            f"to: got values of shape {tuple(value.shape)}, wanted one per channel, (N, K, 1, 1); "
            "use a number, references.spatial_mean or references.data_mean"
        )
    value = value[:, :, 0, 0].expand(A.shape[:2])
    with _scorer(model, x, target) as score_of:
        whole = score_of(x)
        if not whole.all():
            raise ValueError(
                f"target: got the score 0 for image {(whole == 0).nonzero()[:, 0].tolist()}, "
                "wanted another value: Ablation-CAM divides by it; take a probability"
            )
        drops = []
        for k in tqdm(range(A.shape[1]), "Ablation-CAM", disable=not progress):
            with _channel_set(model, layer, call, A.shape[1], k, value[:, k]):
                drops.append(whole - score_of(x))
    alpha = torch.stack(drops, 1) / whole[:, None]
    M = signed_map(alpha.to(A.dtype), A).to(x.dtype)
    return M.relu() if relu else M


@contextmanager
def _scorer(
    model: nn.Module, x: Tensor, target: Target | Classes
) -> Iterator[Callable[[Tensor], Float[Tensor, " N"]]]:
    """Yield x' -> s(x'), for the class predicted for x if the target names none."""
    with torch.no_grad(), left_as_it_was(model, x):

        def scores(image: Tensor) -> Float[Tensor, "N C"]:
            refuse_bad_scores(y := model(image), len(x))
            return y

        s = target if callable(target) else logit(scores(x).argmax(1) if target is None else target)
        yield lambda image: score(scores(image), s)


@contextmanager
def _channel_set(
    model: nn.Module, layer: Layer, call: int | None, K: int, k: int, value: Float[Tensor, " N"]
) -> Iterator[None]:
    """While open, channel k of the layer's output is `value`, in this thread only."""
    runs = 0

    def set_channel(_module: nn.Module, _args: Any, out: Tensor) -> Tensor | None:
        nonlocal runs
        runs += 1
        if runs - 1 != (call or 0):
            return None
        out = out.clone()
        channel = out.select(channel_axis(out, K), k)
        channel.copy_(value.to(out).reshape(-1, *[1] * (channel.ndim - 1)))
        return out

    with hooked([find_layer(model, layer)[1]], set_channel):
        yield
