"""Small networks whose arithmetic is exact on integers: every product and sum fits in a float64."""

import torch
import torchvision
from torch import nn

C, K, h, w = 5, 3, 2, 4  # all different, so a transposed axis shows; Z = h w is a power of two
Z = h * w


def integers(*shape: int, seed: int, bound: int = 8) -> torch.Tensor:
    """Integer-valued float64 without zeros: a zero would hide a missing factor."""
    g = torch.Generator().manual_seed(seed)
    size = torch.randint(1, bound + 1, shape, generator=g)
    sign = torch.randint(0, 2, shape, generator=g) * 2 - 1
    return (size * sign).double()


class Square(nn.Module):
    """u -> u^2: smooth, not linear, and exact on integers."""

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        return u * u


def linear(out: int, into: int, seed: int) -> nn.Linear:
    layer = nn.Linear(into, out).double()
    with torch.no_grad():
        layer.weight.copy_(integers(out, into, seed=seed))
        layer.bias.copy_(integers(out, seed=seed + 1))
    return layer


def conv(out: int, into: int, seed: int, padding: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(into, out, 3, padding=padding).double()
    with torch.no_grad():
        layer.weight.copy_(integers(out, into, 3, 3, seed=seed, bound=2))
        layer.bias.copy_(integers(out, seed=seed + 1))
    return layer


def heads() -> dict[str, nn.Sequential]:
    """(N, K, h, w) -> (N, C): averaging, then linear or not; a convolution; no averaging."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return {
        "gap": nn.Sequential(*pool, linear(C, K, 10)),
        "mlp": nn.Sequential(*pool, linear(6, K, 20), Square(), linear(C, 6, 30)),
        "conv": nn.Sequential(conv(4, K, 40), nn.ReLU(), *pool, linear(C, 4, 50)),
        "flat": nn.Sequential(nn.Flatten(), linear(C, K * Z, 60)),
    }


class Net(nn.Module):
    """head . features; the features are one convolution on a 2-channel image."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.features, self.head = conv(K, 2, 70), head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def images(n: int = 2, seed: int = 80) -> torch.Tensor:
    return integers(n, 2, h, w, seed=seed, bound=3)


class Backwards(nn.Module):
    """Registers its last layer first: the order of registration says nothing of the scores."""

    def __init__(self):
        super().__init__()
        self.last, self.first = linear(C, 5, 30), linear(5, 6, 1)

    def forward(self, z):
        return self.last(self.first(z) / 512)


def small_vit() -> nn.Module:
    """A vision transformer of torchvision: 4 x 4 patches and a class token, two blocks."""
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24,
        num_classes=5,
    ).eval()  # fmt: skip
    nn.init.normal_(model.heads.head.weight)
    return model
