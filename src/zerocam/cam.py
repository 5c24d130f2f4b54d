"""Grad-CAM: one function per equation of Selvaraju et al., ICCV 2017 (arXiv:1610.02391).

    x      images                                        (N, ch, H, W)
    A      activations of the target layer               (N, K, h, w)   [a]
    y      class scores, before the softmax              (N, C)         [score]
    s      what is explained, usually y[:, c]            (N,)           [score]
    G      ds/dA                                         (N, K, h, w)   [score/a]
    alpha  channel weights, eq. (1)                      (N, K)         [score/a]
    M      signed map, eq. (2) inside the ReLU           (N, h, w)      [score]
    L      local score, M - mean(M) + s/Z                (N, h, w)      [score]
    r      reference: the activation that counts as 0    like A         [a]

The unit [a] cancels in M: rescaling a channel cannot matter.  [a] has no natural zero: shifting
a channel can.  Only the layers after A need a gradient, so only those get one: the network up to
A runs without autograd.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import hooks, moved
from zerocam.answers import Inputs, images, no_gradient, refuse_non_finite
from zerocam.hooks import Features, Layer, Reshape, at_least_float32, gradients, run, tap
from zerocam.refusals import Refused
from zerocam.shortcuts import Step, pull_back, short_way
from zerocam.targets import Classes, Target

Weights = Float[Tensor, "N K"]
Map = Float[Tensor, "N h w"]
Zero = Callable[[Tensor], Tensor] | Tensor | None  # a reference, or None for zero

CHUNK_BYTES = 2**27  # of gradients held at once by grad_cam_all


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


def local_score(M: Float[Tensor, "*batch h w"], s: Tensor) -> Tensor:
    """L = M - mean(M) + s/Z, the local score: a signed map that adds up to the score.

        M   signed map of s, from any reference                     (..., h, w)   [score]
        s   the score that it explains                              (...)         [score]
        L   the map with the rest of the score shared out evenly    (..., h, w)   [score]

    A shift of the features adds one number to M, and the bias of the next layer takes it away from
    s again.  Grad-CAM draws M and leaves the bias out.  L puts it back: for a head that averages
    and is linear, L = M + b/Z, whose value at a position is the score of a picture that is
    everywhere like it, divided by Z.  There L is zero where the head would score zero.

    Unchanged by every invertible affine re-coding of the channels, the same at every position, and
    by a common shift of the scores if s is (`targets.centred`, `targets.log_odds`).  Its sum is s
    at every layer and for any head; only below an averaging, linear head does each value alone have
    the meaning above.  Positions only: tokens that `reshape` leaves out get no share.

    Source: this package; "complete" as in Sundararajan et al., ICML 2017.  Below an average it is
    the class evidence of Brendel and Bethge, ICLR 2019, divided by Z.

    A head s = 3 a_1 + a_2 - 2 of the mean, and two positions, (1, 1) and (0, 2):

    >>> M = torch.tensor([[[4.0, 2.0]]]) / 2
    >>> local_score(M, torch.tensor([1.0]))  # 3 + 1 - 2 and 0 + 2 - 2, halved
    tensor([[[1., 0.]]])
    """
    if s.shape != M.shape[:-2]:
        raise Refused("complete", f"scores {tuple(s.shape)} for maps {tuple(M.shape)}",
                      "a score for each map", "of images that are scored together, none has "
                      "its own: leave complete=True out")  # fmt: skip
    return M + (s.to(M) / M.shape[-2:].numel() - M.mean((-2, -1)))[..., None, None]


def grad_cam(
    model: nn.Module,
    x: Inputs,
    target: Target | Classes = None,
    *,
    layer: Layer,
    relu: bool = True,
    reference: Zero = None,
    complete: bool = False,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Map:
    """relu(M),  M = sum_k alpha_k (A_k - r_k),  alpha_k = 1/Z sum_ij ds/dA_kij.

    Where the evidence for s is, counted from the reference r; with complete=True the local score,
    L = relu( M - mean(M) + s/Z ), whose signed map sums to s.

    x: images (N, ch, H, W), or all that the model takes, see `zerocam.answers`.  target: None (each
    image's predicted class), a class, a LongTensor (N,), or a callable, (N, C) -> (N,) as in
    `zerocam.targets`; of a model that does not return scores (N, C), it reads what is returned.
    layer: dotted name or the module itself.  relu=False gives the signed map.  reference: None
    (zero), a tensor, or a callable A -> r, see `zerocam.references`.  complete: add the number,
    the same at all positions, with which the signed map sums to s, at any layer and for any head,
    see `local_score`; a reference that is the same at all positions then makes no difference.
    reshape: turns a layer's tokens into (N, K, h, w), see `tokens_to_map`.  call: which run to take
    when the layer runs several times in one forward, counted from 0.

    Returns (N, h, w) in [score], at the layer's resolution, not normalised, on x's device and
    dtype.  With relu, values are >= 0, and a map of zeros is a valid answer: `explain_blank` says
    why.  For a head that averages A over positions and is then linear, the signed map sums to
    s(A) - s(r).

    Invariant under invertible mixing of the channels (tests/test_symmetries.py); a shift
    A -> A + t adds alpha . t everywhere unless r moves along.  The local score is invariant under
    both, and under a softmax shift if s is, as `targets.centred` is.  Tokens that reshape leaves
    out, such as the class token, get no share of s: the sum over the grid is s even so.

    The model comes back as it was: mode, hooks, BatchNorm's buffers, gradients, and the random
    state too, also when its forward raises.  The model runs in the mode it is in: call
    model.eval() first.  Several threads may share a model in eval mode.

    Raises `Refused` for an unknown layer, one that is not reached, runs twice or has no spatial
    size; for a target out of range or independent of the layer; for x of the wrong rank or an
    empty batch; for NaN or inf in activations, gradients, target or reference.

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

    With a bias that lifts every score by 8, which the map as published does not see:

    >>> lifted = nn.Sequential(net, nn.Linear(2, 2)).requires_grad_(False)
    >>> _ = lifted[1].weight.copy_(torch.eye(2)), lifted[1].bias.fill_(8.0)
    >>> lifted(x)[0, 0], grad_cam(lifted, x, 0, layer="0.0", complete=True)  # sums to 7
    (tensor(7.), tensor([[[3., 2.],
             [2., 0.]]]))
    """
    A, G, _, s = tap(model, x, target, layer=layer, reshape=reshape, call=call)
    M = referenced_map(A, G, reference=reference)
    M = (local_score(M, s) if complete else M).to(images(x).dtype)
    return M.relu() if relu else M


def referenced_map(A: Features, G: Features, *, reference: Zero = None) -> Map:
    """M = sum_k alpha_k (A_k - r_k), alpha = `channel_weights(G)`: `grad_cam` from its tensors.

    In [score], signed.  Raises `Refused` for a reference that does not fit A, or is not finite.

    >>> A, G = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[2.0, 4.0]]]])
    >>> referenced_map(A, G), referenced_map(A, G, reference=torch.tensor(2.0))
    (tensor([[[3., 9.]]]), tensor([[[-3.,  3.]]]))
    """
    return signed_map(channel_weights(G), _referenced(A, reference))


def grad_cam_all(
    model: nn.Module,
    x: Inputs,
    *,
    layer: Layer,
    relu: bool = True,
    reference: Zero = None,
    complete: bool = False,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Float[Tensor, "N C h w"]:
    """relu(M_c),  M_c = sum_k alpha^c_k (A_k - r_k),  for every class c from one forward pass.

    With complete=True the local score of each class: s is y_c.

    Where the head averages A, or flattens it, and goes on with a linear layer, the weights of all
    classes are found by a short way (`zerocam.shortcuts`), once it has been proved on these images
    to give the same; else the gradient of every score goes back to A.  Either works through as many
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
    cut = run(model, x, layer, reshape, call, steps=steps)
    with cut as (leaf, A, y, name), torch.autocast(y.device.type, enabled=False):  # no sums in half
        rows_of_y, classes = y.shape
        n = len(A)
        Z = A.shape[2] * A.shape[3]

        def textbook(rows: Float[Tensor, "c _ C"]) -> Float[Tensor, "c N K"]:
            """Z alpha of combinations of the scores."""
            G = pull_back(y, leaf, rows.expand(-1, rows_of_y, -1), allow_unused=True)
            if G is None:
                raise no_gradient(name, model)
            parts = G if reshape else (G.flatten(0, 1),)  # a reshape may want its batch elsewhere
            G = torch.cat([gradients(part, reshape, name) for part in parts])
            return Z * channel_weights(at_least_float32(G)).unflatten(0, (-1, n))

        way = short_way(steps, y, A.shape[1], textbook)
        if way is None:
            rows = torch.eye(classes, dtype=y.dtype, device=y.device)
            held, back = leaf.numel(), textbook
        else:
            rows = way.W
            held, back = n * max(rows.shape[1], A.shape[1]), way.back
        deviation = _referenced(at_least_float32(A), reference) / Z
        M = deviation.new_empty(n, classes, *A.shape[2:])
        chunk = max(1, CHUNK_BYTES // (held * leaf.element_size()))
        for start in range(0, classes, chunk):
            part = slice(start, start + chunk)
            alpha_Z = back(rows[part, None]).to(deviation)
            M[:, part] = torch.einsum("cnk,nkij->ncij", alpha_Z, deviation)
    M = (local_score(M, y.detach()) if complete else M).to(images(x).dtype)
    return M.relu_() if relu else M


def explain_blank(
    model: nn.Module,
    x: Inputs,
    target: Target | Classes = None,
    *,
    layer: Layer,
    reference: Zero = None,
    complete: bool = False,
    reshape: Reshape | None = None,
    call: int | None = None,
    tiny: float = 1e-6,
) -> list[str]:
    """Why a Grad-CAM map is drawn blank, per image; usual tools return the same zeros for all.

    M is the signed map that `grad_cam` gives with these arguments.

    "silent layer"   A = 0, and M = 0 before it is completed: no channel fired.  Is the input scaled
                     as in training (0 to 1, or 0 to 255; mean and deviation)?  Are the weights
                     loaded?
    "zero gradient"  G = 0: the target is saturated (explain the logit, or the centred logit), or is
                     the same for any scores, or these do not listen to this layer (name an earlier
                     one)
    "cancelled"      alpha = 0, but not G: gradients for and against cancel over the positions, as
                     below a head that compares places (take `methods.hires_cam`)
    "all negative"   max M <= 0: every position lowers s, counted from the reference, which a class
                     can do that is there and predicted (`targets.centred` asks for more than the
                     average class; draw relu=False; `spatial_mean` shows where least).  Of
                     `targets.centred` with complete=True it answers: nowhere more than that class
    "constant"       M does not vary over positions, so min-max scaling would divide by zero: an
                     even image, or one the layer cannot tell apart (name an earlier one)
    "tiny"           0 < max M < `tiny` [score]: the epsilon of usual normalisations swallows it
                     (in half precision run it in float32 first: so small a gradient is mostly
                     rounding there; then divide by the maximum before drawing)
    "not blank"      none of these

    Raises `Refused` as `grad_cam` does.

    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[-4.0, 0.0]], [[0.0, 2.0]]]])
    >>> explain_blank(net, x, 0, layer="0"), explain_blank(net, x, 1, layer="0")
    (['all negative'], ['not blank'])
    """
    made = tap(model, x, target, layer=layer, reshape=reshape, call=call)
    return blank_reasons(made, reference=reference, complete=complete, tiny=tiny)


def blank_reasons(
    made: hooks.Tap, *, reference: Zero = None, complete: bool = False, tiny: float = 1e-6
) -> list[str]:
    """`explain_blank` of the activations and gradients that `zerocam.tap` has made already.

    >>> A, G, y = torch.tensor([[[[-4.0, 0.0]]]]), torch.ones(1, 1, 1, 2), torch.zeros(1, 1)
    >>> blank_reasons(hooks.Tap(A, G, y, y[:, 0]))
    ['all negative']
    """
    plain = referenced_map(made.A, made.G, reference=reference)
    maps = local_score(plain, made.s) if complete else plain
    reasons = []
    alpha = channel_weights(made.G)
    for fired, slopes, weights, before, M in zip(made.A, made.G, alpha, plain, maps, strict=True):
        low, high = M.min().item(), M.max().item()
        if not (fired.any() or before.any()):
            reasons.append("silent layer")
        elif not weights.any():
            reasons.append("cancelled" if slopes.any() else "zero gradient")
        elif high <= 0 and low < 0:
            reasons.append("all negative")
        elif high - low <= 1e-6 * abs(high):
            reasons.append("constant")
        else:
            reasons.append("tiny" if high < tiny else "not blank")
    return reasons


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
        raise Refused("reference", got, f"a tensor broadcastable to A, {tuple(A.shape)}",
                      "keep the reduced axes, as in A.mean((2, 3), keepdim=True)")  # fmt: skip
    A = A - r.to(A)
    refuse_non_finite(A, "reference")
    return A


def __getattr__(name: str) -> object:
    return moved.find(__name__, name)
