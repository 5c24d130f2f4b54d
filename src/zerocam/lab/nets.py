"""The small network of the book's scenes, and its trained weights.

x   scenes                                       (N, 1, S, S)
A   features(x), the last activations            (N, 32, S/4, S/4)   [a]
y   head(A), class scores before the softmax     (N, C)              [score]
"""

import json
from collections import OrderedDict
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam.imagenet import checked

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}

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
    padding_mode: as in torch.nn.Conv2d.  seed: of the initial weights, He normal for the
    convolutions, N(0, 1/K) for W, zero for every bias; the global random state is not touched, and
    float32 and float64 nets of one seed start as the same numbers, rounded.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        activation: str = "relu",
        norm: bool = True,
        dropout: float = 0.0,
        padding_mode: str = "zeros",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation: got {activation!r}, wanted one of {', '.join(ACTIVATIONS)}"
            )
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        into = 1
        for i, (out, kernel, stride) in enumerate([(16, 4, 2), (32, 4, 2), (32, 3, 1), (32, 3, 1)]):
            blocks[f"conv{i + 1}"] = nn.utils.skip_init(
                nn.Conv2d,
                *(into, out, kernel, stride, 1),
                bias=not norm,
                padding_mode=padding_mode,
                dtype=dtype,
            )
            if norm:
                blocks[f"norm{i + 1}"] = nn.BatchNorm2d(out, dtype=dtype)
            blocks[f"act{i + 1}"] = ACTIVATIONS[activation]()
            into = out
        self.features = nn.Sequential(blocks)
        self.head = nn.Sequential(
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
    it reads.  Raises ValueError when the file is not the recorded one.
    """
    from safetensors.torch import load

    record = json.loads((WEIGHTS / "scene_net.json").read_text())
    raw = checked((WEIGHTS / FILE).read_bytes(), record["sha256"], FILE)
    model = SceneNet(dtype=dtype)
    model.load_state_dict(load(raw))
    return model.eval()
