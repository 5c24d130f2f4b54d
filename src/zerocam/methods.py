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
has none, and only a map in [score] can sum to the score: `complete=True` makes it do so, and is
refused by the others.  Maps come back at the layer's resolution and are not normalised.  Arguments,
refusals and side effects are those of `zerocam.grad_cam`, which alone takes a reference.

Each of these is a `Method`, a value: call it like `grad_cam`, or give it a tap that you have made
already, `hires_cam.of(zerocam.tap(model, x, 281, layer="features"))`, or the tensors alone,
`hires_cam.equation(A, G)`.  `dataclasses.replace(hires_cam, relu=False)` is the same without its
final ReLU.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from zerocam import hooks
from zerocam.answers import Inputs, answer, images, refuse_bad_scores, replaced, tensors
from zerocam.cam import Map, grad_cam, local_score, referenced_map, signed_map
from zerocam.hooks import Features, Layer, Reshape, Tap, activations, score, tap
from zerocam.metrics import enlarge, normalise
from zerocam.refusals import Refused
from zerocam.targets import Classes, Target, logit

Needs = Literal["activations", "gradient", "head", "image"]


@dataclass(frozen=True, eq=False, repr=False)
class Method:
    """A heatmap from one layer: what it computes, what it needs for that, and its choices.

        equation   needs "activations": A -> M;  "gradient": (A, G) -> M, signed, (N, h, w);
                   "head": (model, x, target, *, layer, ...) -> M, where the part of the model
                   behind the layer will do;  "image": the same, where it will not
        relu       whether a ReLU ends it; None: the method does not offer the choice
        options    other keywords of the equation, such as {"centred": True}; for one of the
                   gradient, {"complete": True} as well
        name       the equation's name

    >>> A = torch.tensor([[[[1.0, -2.0]]]])
    >>> times_two = Method(lambda A: 2 * A.sum(1), "activations", name="twice the sum")
    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> times_two(net, A, layer="0"), replace(times_two, relu=False)(net, A, layer="0")
    (tensor([[[2., 0.]]]), tensor([[[ 2., -4.]]]))
    """

    equation: Callable[..., Map]
    needs: Needs
    relu: bool | None = True
    options: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Look like the equation to help() and to doctest."""
        name = self.name or getattr(self.equation, "__name__", "method")
        for key, value in {
            "name": name,
            "__name__": name,
            "__doc__": self.equation.__doc__,
            "__wrapped__": self.equation,
            "__signature__": self._signature(),
        }.items():
            object.__setattr__(self, key, value)  # the dataclass is frozen

    def __call__(
        self,
        model: nn.Module,
        x: Inputs,
        target: Target | Classes = None,
        *,
        layer: Layer,
        relu: bool | None = None,
        reshape: Reshape | None = None,
        call: int | None = None,
        **options: Any,
    ) -> Tensor:
        """The map (N, h, w), on x's device and dtype; arguments and refusals as in `grad_cam`."""
        _, own = self._chosen(options)  # what does not fit is refused before anything runs
        if self.needs == "gradient":
            made = tap(model, x, target, layer=layer, reshape=reshape, call=call)
            return self.of(made, relu=relu, **options).to(images(x).dtype)
        if self.needs == "activations":
            A = activations(model, x, layer=layer, reshape=reshape, call=call)
            return self._ended(self.equation(A, **own), relu).to(images(x).dtype)
        chosen: dict[str, Any] = {
            "relu": self.relu if relu is None else relu,
            "reshape": reshape,
            "call": call,
        }
        own = {k: v for k, v in chosen.items() if v is not None} | own
        return torch.as_tensor(self.equation(model, x, target, layer=layer, **own))

    def __repr__(self) -> str:
        options = "".join(f", {key}={value!r}" for key, value in self.options.items())
        return f"<{self.name} of the {self.needs}, relu={self.relu}{options}>"

    def of(self, tap: Tap, *, relu: bool | None = None, **options: Any) -> Map:
        """The map from activations and gradients at hand, as `zerocam.tap` leaves them.

        complete=True makes it sum to tap.s.  Raises `Refused` for a method that needs more than
        these, or whose map is not in [score] and so cannot be completed.
        """
        if self.needs not in ("activations", "gradient"):
            raise Refused("method", f"{self.name}, which needs the {self.needs}",
                          "one made of A and G alone", "call it with the model")  # fmt: skip
        complete, own = self._chosen(options)
        M = self.equation(*((tap.A, tap.G) if self.needs == "gradient" else (tap.A,)), **own)
        return self._ended(local_score(M, tap.s) if complete else M, relu)

    @classmethod
    def wrap(cls, function: Callable[..., Map]) -> "Method":
        """Any callable (model, x, target, *, layer) -> (N, h, w) as a method that needs the image.

        One that looks at nothing before the layer may say so: ``function.on_head = True``.  A
        `Method` is returned as it is; functools.partial of one, or of `grad_cam`, is that method
        with these choices.
        """
        inner: Any = function
        chosen: dict[str, Any] = {}
        while isinstance(inner, functools.partial) and not inner.args:
            inner, chosen = inner.func, inner.keywords | chosen
        known = GRAD_CAM if inner is grad_cam else inner
        if isinstance(known, cls) and chosen.keys().isdisjoint(("reshape", "call")):
            relu = chosen.pop("relu", known.relu)
            return replace(known, relu=relu, options={**known.options, **chosen})
        on_head = known.needs != "image" if isinstance(known, cls) else False
        needs: Needs = "head" if getattr(inner, "on_head", on_head) else "image"
        return cls(function, needs, relu=None)

    def _chosen(self, options: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Whether the map shall sum to the score, and the options that are the equation's own."""
        own = {**self.options, **options}
        complete = own.pop("complete", False)
        if complete and self.needs != "gradient":
            got = f"{self.name}, a map of the {self.needs} that is not in [score]"
            wanted = "one that can sum to the score"
            raise Refused("complete", got, wanted, "take grad_cam or hires_cam")
        return complete, own

    def _ended(self, M: Map, relu: bool | None) -> Map:
        return M.relu() if (self.relu if relu is None else relu) else M

    def _signature(self) -> inspect.Signature:
        """That of `grad_cam` without its reference, and the equation's own options."""
        if self.needs in ("head", "image"):
            return inspect.signature(self.equation)
        shown = inspect.signature(grad_cam).parameters
        hidden = ("reference",) if self.needs == "gradient" else ("reference", "complete")
        common = [p for name, p in shown.items() if name not in hidden]
        common = [p.replace(default=self.relu) if p.name == "relu" else p for p in common]
        every = inspect.signature(self.equation).parameters.values()
        own = [p for p in every if p.kind is inspect.Parameter.KEYWORD_ONLY]
        return inspect.Signature([*common, *own], return_annotation=Map)


GRAD_CAM = Method(referenced_map, "gradient", name="grad_cam")  # `grad_cam` is its function


@functools.partial(Method, needs="gradient")
def hires_cam(A: Features, G: Features) -> Map:
    """M_ij = sum_k G_kij A_kij: Grad-CAM without averaging the gradient.

    Gradient times activation, position by position.  Equal to Grad-CAM where the gradient is the
    same at all positions, as below global average pooling.  For a head linear in A the map sums
    to s(A) - s(0).

    Invariant under invertible mixing of the channels.  A shift t adds sum_k G_kij t_k, which is
    one constant only if G does not vary over positions.

    Source: Draelos and Carin, arXiv:2011.08891.

    >>> A, G = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[4.0, -1.0]]]])
    >>> hires_cam.equation(A, G)
    tensor([[[ 4., -2.]]])
    """
    return (G * A).sum(1)


@functools.partial(Method, needs="gradient")
def layer_cam(A: Features, G: Features) -> Map:
    """M_ij = sum_k relu(G_kij) A_kij: only positions whose increase would raise s count.

    Invariant under permutation and positive scaling of the channels.  Not under a sign flip: relu
    asks which way a channel points, and that is a convention.

    Source: Jiang et al., LayerCAM, IEEE TIP 2021.

    >>> A, G = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[4.0, -1.0]]]])
    >>> layer_cam.equation(A, G)  # the second position would lower the score
    tensor([[[4., 0.]]])
    """
    return (G.relu() * A).sum(1)


@functools.partial(Method, needs="gradient")
def grad_cam_pp(A: Features, G: Features) -> Map:
    """M = sum_k alpha_k A_k,  alpha_k = sum_ij relu(G_kij) / (2 + G_kij sum_ab A_kab).

    Grad-CAM++.  The fraction is G^2 / (2 G^2 + G^3 sum A) as published, reduced; no epsilon is
    needed then.  The published derivation explains exp(s), which multiplies a whole map by
    exp(s) > 0; that factor is left out here, as in the usual implementations.

    Invariant under permutation and positive scaling.  Signed activations can make a denominator
    small or zero; where it is exactly zero the position counts nothing.

    Source: Chattopadhyay et al., WACV 2018, arXiv:1710.11063.

    >>> A, G = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.5, -1.0]]]])
    >>> grad_cam_pp.equation(A, G)  # alpha = 0.5 / (2 + 0.5 * 4)
    tensor([[[0.1250, 0.3750]]])
    """
    denominator = 2 + G * A.sum((2, 3), keepdim=True)
    share = torch.where(denominator == 0, 0, G.relu() / denominator)
    return signed_map(share.sum((2, 3)), A)


@functools.partial(Method, needs="gradient")
def xgrad_cam(A: Features, G: Features) -> Map:
    """M = sum_k alpha_k A_k,  alpha_k = sum_ij G_kij A_kij / sum_ij A_kij.

    The gradient averaged with the activation itself as weight.  Equal to Grad-CAM where the
    gradient is the same at all positions.  A channel that sums to zero gets weight 0: right for a
    silent channel, arbitrary for a signed one, whose neighbourhood is a pole.

    Invariant under permutation, scaling and sign flips.

    Source: Fu et al., BMVC 2020, arXiv:2008.02312.

    >>> A, G = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[4.0, 8.0]]]])
    >>> xgrad_cam.equation(A, G)  # alpha = (4 + 24) / 4
    tensor([[[ 7., 21.]]])
    """
    total = A.sum((2, 3))
    alpha = torch.where(total == 0, 0, (G * A).sum((2, 3)) / total)
    return signed_map(alpha, A)


@functools.partial(Method, needs="activations", relu=False)
def eigen_cam(A: Features, *, centred: bool = False) -> Map:
    """M = X v_1: positions along the strongest direction of the activations, no class involved.

    X (Z, K) holds one row of activations per position, minus their mean over positions if
    `centred`; v_1 is its first right singular vector.  Its sign is free, so a rule must choose:
    here the position of largest size is positive.  "Bright" then means "far out", not "present".

    Invariant under rotation, permutation and sign flips of the channels, and under the softmax
    shift; under a shift only if centred.  All zeros for X = 0.

    Source: Muhammad and Yeasin, IJCNN 2020, arXiv:2008.00299; centring as in pytorch-grad-cam.

    >>> A = torch.tensor([[[[3.0, -6.0]], [[4.0, -8.0]]]])  # all along (3, 4) / 5
    >>> eigen_cam.equation(A).round(decimals=3)
    tensor([[[-5., 10.]]])
    """
    X = A.flatten(2)
    if centred:
        X = X - X.mean(2, keepdim=True)
    _, size, positions = torch.linalg.svd(X, full_matrices=False)
    M = size[:, :1] * positions[:, 0]
    peak = M.gather(1, M.abs().argmax(1, keepdim=True))
    return (M * peak.sign()).unflatten(1, A.shape[2:])


@functools.partial(Method, needs="activations", relu=False)
def lafam(A: Features) -> Map:
    """M_ij = 1/K sum_k A_kij: how strongly a position excites the layer, no class involved.

    Invariant under permutation and the softmax shift; a shift t adds the mean of t.

    Source: Karjauv and Albayrak, arXiv:2407.06059 (there min-max scaled and enlarged).

    >>> lafam.equation(torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]]))
    tensor([[[2.0000, 0.5000]]])
    """
    return A.mean(1)


@functools.partial(Method, needs="image")
def score_cam(
    model: nn.Module,
    x: Inputs,
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

    K + 1 forward passes; `progress` shows a bar.  A target without a class means the class
    predicted for x, found in one pass more; a callable sees the masked images' scores, so give it
    its class: centred(281).

    Invariant under permutation.  A shift t moves no mask and adds the constant alpha . t.

    Source: Wang et al., CVPR Workshops 2020, arXiv:1910.01279.

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0]]]])
    >>> score_cam(net, x, 0, layer="0")  # a single channel has the weight 1
    tensor([[[4., 0.]]])
    """
    A = activations(model, x, layer=layer, reshape=reshape, call=call)
    with _scorer(model, x, target) as score_of:
        seen, scores = images(x), []
        b = torch.as_tensor(baseline).to(seen)
        for channel in tqdm(A.unbind(1), "Score-CAM", disable=not progress):
            m = normalise(enlarge(channel, seen.shape[2:]), "minmax").to(seen)[:, None]
            scores.append(score_of(replaced(x, b + m * (seen - b))))
    alpha = torch.stack(scores, 1).softmax(1)
    M = signed_map(alpha.to(A.dtype), A).to(images(x).dtype)
    return M.relu() if relu else M


@functools.partial(Method, needs="head")
def ablation_cam(
    model: nn.Module,
    x: Inputs,
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

    Invariant under permutation.  Raises `Refused` where s(A) = 0, besides the usual.

    Source: Desai and Ramaswamy, WACV 2020.

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0]], [[0.0, 2.0]]]])
    >>> ablation_cam(net, x, 0, layer="0")  # without channel 0 the whole score is lost: 1
    tensor([[[4., 0.]]])
    """
    A = activations(model, x, layer=layer, reshape=reshape, call=call)
    others = [*hooks.held(model), *tensors(x)]
    value = to(A) if callable(to) else torch.as_tensor(to).to(A)
    value = value.reshape(1, 1, 1, 1) if value.ndim == 0 else value
    room = (*A.shape[:2], 1, 1)
    if value.ndim != 4 or any(v not in (1, n) for v, n in zip(value.shape, room, strict=True)):
        raise Refused("to", f"values of shape {tuple(value.shape)}",
                      "one per channel, (N, K, 1, 1)",
                      "use a number, references.spatial_mean or references.data_mean")  # fmt: skip
    value = value[:, :, 0, 0].expand(A.shape[:2])
    with _scorer(model, x, target) as score_of:
        whole = score_of(x)
        if not whole.all():
            got = f"the score 0 for image {(whole == 0).nonzero()[:, 0].tolist()}"
            wanted = "another value: Ablation-CAM divides by it"
            raise Refused("target", got, wanted, "take a probability")
        drops = []
        for k in tqdm(range(A.shape[1]), "Ablation-CAM", disable=not progress):
            with _channel_set(model, layer, call, reshape, k, value, others):
                drops.append(whole - score_of(x))
    alpha = torch.stack(drops, 1) / whole[:, None]
    M = signed_map(alpha.to(A.dtype), A).to(images(x).dtype)
    return M.relu() if relu else M


@contextmanager
def _scorer(
    model: nn.Module, x: Inputs, target: Target | Classes
) -> Iterator[Callable[[Inputs], Float[Tensor, " N"]]]:
    """Yield x' -> s(x'), for the class predicted for x if the target names none."""
    with torch.no_grad(), hooks.left_as_it_was(model, x):

        def scores(image: Inputs) -> Any:
            y = answer(model, image)
            if not callable(target):
                refuse_bad_scores(y, len(images(x)))
            return y

        s = target if callable(target) else logit(scores(x).argmax(1) if target is None else target)
        yield lambda image: score(scores(image), s, len(images(x)))


@contextmanager
def _channel_set(
    model: nn.Module,
    layer: Layer,
    call: int | None,
    reshape: Reshape | None,
    k: int,
    values: Float[Tensor, "N K"],
    others: list[Tensor],
) -> Iterator[None]:
    """While open, channel k of the layer's output is values[:, k], in this thread only."""
    runs = 0

    def set_channel(module: nn.Module, args: Any, whole: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs - 1 != (call or 0):
            return None
        out = hooks.first_of(whole)
        own = hooks.its_own(module, args, out, others)
        out = out if own else out.clone()
        axis = hooks.channels_along(out, reshape)
        axis = hooks.channel_axis(out, values.shape[1]) if axis is None else axis
        channel = out.select(axis, k)
        channel.copy_(values[:, k].to(out).reshape(-1, *[1] * (channel.ndim - 1)))
        return None if own else hooks.instead(whole, out)

    with hooks.hooked([hooks.find_layer(model, layer)[1]], set_channel):
        yield
