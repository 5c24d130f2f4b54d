"""One class map by each library, as its own documentation calls it.

x    images            (N, 3, H, W)
M    signed map        (N, h, w)      zerocam and Captum
L    map in [0, 1]     (N, h, w)      TorchCAM and pytorch-grad-cam, at their own resolution
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import zerocam
from zerocam import imagenet

NETS = {  # the last layer that still has positions
    "resnet18": "layer4",
    "resnet50": "layer4",
    "vgg16": "features.29",
    "mobilenet_v3_large": "features",
    "efficientnet_b0": "features",
    "convnext_tiny": "features",
}
CLASS = 7  # any: no cost depends on it
TOLERANCE = 1e-4  # of the largest value; float32, sums in another order

Call = Callable[[nn.Module, Tensor, str], Tensor]


def forward(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The bare forward pass, the unit of every cost."""
    with torch.inference_mode():
        return model(x)


def ours(model: nn.Module, x: Tensor, layer: str, c: int = CLASS) -> Tensor:
    """zerocam.grad_cam, signed."""
    return zerocam.grad_cam(model, x, c, layer=layer, relu=False)


def ours_all(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """zerocam.grad_cam_all, signed: (N, C, h, w)."""
    return zerocam.grad_cam_all(model, x, layer=layer, relu=False)


def captum(model: nn.Module, x: Tensor, layer: str, c: int = CLASS) -> Tensor:
    """Captum's LayerGradCam, signed."""
    from captum.attr import LayerGradCam

    return LayerGradCam(model, model.get_submodule(layer)).attribute(x, target=c)[:, 0].detach()


def torchcam(model: nn.Module, x: Tensor, layer: str, c: int = CLASS) -> Tensor:
    """TorchCAM's GradCAM."""
    from torchcam.methods import GradCAM

    with GradCAM(model, layer) as cam:
        return cam(c, model(x))[0]


def pytorch_grad_cam(model: nn.Module, x: Tensor, layer: str, c: int = CLASS) -> Tensor:
    """The GradCAM of pytorch-grad-cam."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model, [model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(x, [ClassifierOutputTarget(c)] * len(x)))


ONE_CLASS: dict[str, Call] = {
    "zerocam": ours,
    "Captum": captum,
    "TorchCAM": torchcam,
    "pytorch-grad-cam": pytorch_grad_cam,
}


def net(name: str, size: int = 224, batch: int = 1) -> tuple[nn.Module, Tensor, str]:
    """(model, x, layer): random weights from a seed, since weights cost nothing."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, size, size, generator=draw)
    return imagenet.torchvision_net(name), x, NETS[name]


def disagreement(model: nn.Module, x: Tensor, layer: str) -> float:
    """How far zerocam, one class and all, is from Captum's raw map, of its largest value.

    Raises ValueError above `TOLERANCE`: a case that is not the same map is not timed.
    """
    theirs = captum(model, x, layer)
    scale = theirs.abs().max()
    maps = ours(model, x, layer), ours_all(model, x, layer)[:, CLASS]
    off = max(((M - theirs).abs().max() / scale).item() for M in maps)
    if not off <= TOLERANCE:
        raise ValueError(f"{type(model).__name__}: zerocam and Captum differ by {off:.1e}")
    return off
