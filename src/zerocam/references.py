"""What zero means: a reference r says which activation counts as "contributes nothing".

    A   activations of the target layer           (N, K, h, w)   [a]
    r   reference, broadcastable to A             e.g. (N, K, 1, 1)

Grad-CAM weighs A itself, which is the choice r = 0.  A reference that moves with A when the
layer is re-coded, A -> Q A + t, leaves the map sum_k alpha_k (A_k - r_k) unchanged.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from zerocam.hooks import Features, Layer, Reshape, activations

Reference = Callable[[Features], Float[Tensor, "..."]]


def zero(A: Features) -> Float[Tensor, "1 1 1 1"]:
    """r = 0: Grad-CAM as published.  It does not move with a shift of A."""
    return A.new_zeros(1, 1, 1, 1)


def spatial_mean(A: Features) -> Float[Tensor, "N K 1 1"]:
    """r_k = mean_ij A_kij, per image: "no different from the rest of this image".

    The referenced map then sums to zero over positions.  Moves with every invertible affine
    re-coding of the channels.
    """
    return A.mean((-2, -1), keepdim=True)


def data_mean(A0: Features) -> Reference:
    """r_k = the mean of A0_k over images and positions: "what this channel usually says".

    A0 holds activations of a data set at the same layer, `activations(model, images, layer=...)`.
    Compute it again after re-coding the layer: then r moves along.
    """
    r = A0.mean((0, 2, 3), keepdim=True)
    return lambda A: r.to(A)


def baseline(
    model: nn.Module,
    image: Float[Tensor, "..."],
    layer: Layer,
    *,
    reshape: Reshape | None = None,
    call: int | None = None,
) -> Reference:
    """r = the activations of a baseline image (1, ch, H, W): "what a blank page would give".

    The image must have the size of those explained; `reshape` and `call` as in `grad_cam`.  Compute
    it again after re-coding the layer.
    """
    r = activations(model, image, layer=layer, reshape=reshape, call=call)
    return lambda A: r.to(A)
