"""Heatmaps of other libraries, as methods with the signature of this one.

They come as they are: some with a ReLU, scaled from lowest to highest, enlarged to the image.  The
libraries are in the extra `lab`.
"""

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from zerocam.extras import extra
from zerocam.hooks import Layer, find_layer
from zerocam.refusals import Refused
from zerocam.targets import Classes, Target

Explainer = Callable[..., Tensor]  # as `grad_cam` is called


def captum_method(name: str = "LayerGradCam") -> Explainer:
    """A layer attribution of Captum, summed over channels; its default keeps the sign.

    name: a class of `captum.attr`.  The map is (N, h, w), in [score] for the default.

    >>> same = nn.Conv2d(2, 2, 1, bias=False)
    >>> _ = nn.init.dirac_(same.weight)  # puts out what it is given
    >>> net = nn.Sequential(same, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    >>> captum_method()(net, x, 0, layer="0")
    tensor([[[1.0000, 0.0000],
             [0.0000, 0.5000]]])
    """
    with extra("lab"):
        from captum import attr

    def method(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        module = find_layer(model, layer)[1]
        return getattr(attr, name)(model, module).attribute(x, target=target).sum(1).detach()

    return _adapter(method, f"captum {name}")


def pytorch_grad_cam_method(name: str = "GradCAM") -> Explainer:
    """A method of pytorch-grad-cam as it comes: ReLU, min-max, enlarged to x.

    name: a class of `pytorch_grad_cam`.  The map is (N, H, W), from 0 to 1, without a unit.

    >>> same = nn.Conv2d(2, 2, 1, bias=False)
    >>> _ = nn.init.dirac_(same.weight)  # puts out what it is given
    >>> net = nn.Sequential(same, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    >>> pytorch_grad_cam_method()(net, x, 0, layer="0").round(decimals=2)
    tensor([[[1.0000, 0.0000],
             [0.0000, 0.5000]]])
    """
    with extra("lab"):
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def method(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        classes = torch.as_tensor(target).expand(len(x)).tolist()
        with getattr(pytorch_grad_cam, name)(model, [find_layer(model, layer)[1]]) as cam:
            return torch.from_numpy(cam(x, [ClassifierOutputTarget(c) for c in classes]))

    return _adapter(method, f"pytorch-grad-cam {name}")


def torchcam_method(name: str = "GradCAM") -> Explainer:
    """A method of TorchCAM as it comes: ReLU, min-max, at the layer's resolution.

    name: a class of `torchcam.methods`.  The map is (N, h, w), from 0 to 1, without a unit.

    >>> same = nn.Conv2d(2, 2, 1, bias=False)
    >>> _ = nn.init.dirac_(same.weight)  # puts out what it is given
    >>> net = nn.Sequential(same, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    >>> torchcam_method()(net, x, 0, layer="0")
    tensor([[[1.0000, 0.0000],
             [0.0000, 0.5000]]])
    """
    with extra("lab"):
        from torchcam import methods

    def method(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        classes = torch.as_tensor(target).expand(len(x)).tolist()
        with getattr(methods, name)(model, find_layer(model, layer)[1]) as cam:
            return cam(classes, model(x))[0].detach()

    return _adapter(method, f"TorchCAM {name}")


def _adapter(method: Explainer, name: str) -> Explainer:
    """Named, working on a copy of the model: some peers change its mode or its gradients."""

    @functools.wraps(method)
    def on_a_copy(
        model: nn.Module, x: Tensor, target: Target | Classes = None, *, layer: Layer
    ) -> Tensor:
        at, _ = find_layer(model, layer)
        if callable(target):
            raise Refused("target", "a function", "a class: a peer explains no other score")
        with torch.enable_grad():
            if target is None:
                target = copy.deepcopy(model)(x).argmax(1)
            return method(copy.deepcopy(model), x, target, layer=at)

    on_a_copy.__name__ = name
    return on_a_copy
