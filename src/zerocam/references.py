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
    """r = 0: Grad-CAM as published; "this channel is silent".

    (1, 1, 1, 1), in [a].  It does not move with a shift of A, so the map does.

    >>> import torch
    >>> zero(torch.ones(2, 3, 4, 4))
    tensor([[[[0.]]]])
    """
    return A.new_zeros(1, 1, 1, 1)


def spatial_mean(A: Features) -> Float[Tensor, "N K 1 1"]:
    """r_k = mean_ij A_kij, per image: "no different from the rest of this image".

    Take it to ask where, rather than how much: the referenced map sums to zero over positions.
    (N, K, 1, 1), in [a].  Moves with every invertible affine re-coding of the channels.

    >>> import torch
    >>> A = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    >>> spatial_mean(A), A - spatial_mean(A)
    (tensor([[[[3.]]]]), tensor([[[[-2., -1.],
              [ 0.,  3.]]]]))
    """
    return A.mean((-2, -1), keepdim=True)


def data_mean(A0: Features) -> Reference:
    """r_k = the mean of A0_k over images and positions: "what this channel usually says".

    A0 (N0, K, h0, w0) holds activations of a data set at the same layer, made by
    `activations(model, images, layer=...)`.  r is (1, K, 1, 1), in [a].  Compute it again after
    re-coding the layer: then r moves along.

    >>> import torch
    >>> r = data_mean(torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]]))
    >>> r(torch.zeros(1, 1, 2, 2))
    tensor([[[[4.]]]])
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

    The image must have the size of those explained; `reshape` and `call` as in `grad_cam`.  r is
    (1, K, h, w), in [a].  Compute it again after re-coding the layer.  Raises `Refused` as
    `grad_cam` does.

    >>> import torch
    >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> grey = baseline(model, torch.full((1, 1, 1, 2), 0.5), "0")
    >>> grey(torch.zeros(1, 1, 1, 2))
    tensor([[[[0.5000, 0.5000]]]])
    """
    r = activations(model, image, layer=layer, reshape=reshape, call=call)
    return lambda A: r.to(A)
