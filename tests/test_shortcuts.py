"""The short way through a head: the textbook's weights, taken only where they are proved."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import C, K, Net, Z, h, heads, images, integers, linear, w
from torch import nn
from torch.nn import functional as F

import zerocam
from zerocam import cam, imagenet


class Mean(nn.Module):
    """Averages over positions, without a module that says so."""

    def forward(self, A):
        return A.mean((2, 3))


class Named(nn.Module):
    """Calls its linear layer in a way of its own, and scales the scores afterwards."""

    def __init__(self):
        super().__init__()
        self.fc = linear(C, K, 90)

    def forward(self, A):
        return 3 * self.fc(input=F.adaptive_avg_pool2d(A, 1).flatten(1))


class Centre(nn.Module):
    """Looks like averaging and is not: the first position alone counts."""

    def __init__(self):
        super().__init__()
        self.fc = linear(C, K, 90)

    def forward(self, A):
        return self.fc(A[:, :, 0, 0] - A.mean((2, 3)).relu())


class OneClassOff(nn.Module):
    """Global average pooling and a linear layer, but one class has an eye of its own."""

    def __init__(self):
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), linear(C, K, 90)

    def forward(self, A):
        y = self.fc(self.pool(A).flatten(1))
        extra = torch.zeros_like(y)
        extra[:, C - 1] = A[:, 0, 0, 0]
        return y + extra


class AttendTokens(nn.Module):
    """Self-attention over the positions as tokens, then the mean token."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # made when this file is read, not in a test
            torch.manual_seed(0)
            self.mix = nn.TransformerEncoderLayer(K, 1, 8, 0.0, batch_first=True).double()
        self.fc = linear(C, K, 90)

    def forward(self, A):
        return self.fc(self.mix(A.flatten(2).transpose(1, 2)).mean(1))


def smooth(*before: nn.Module) -> nn.Sequential:
    return nn.Sequential(*before, linear(6, K, 20), nn.Tanh(), linear(C, 6, 30))


pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
# name -> (head, how its weights must be found: at the pooled values, from u, or the textbook way)
CASES = {
    "gap linear": (heads()["gap"], "read off"),
    "mean linear": (nn.Sequential(Mean(), linear(C, K, 10)), "read off"),
    "flat linear": (heads()["flat"], "read off"),
    "max flat linear": (
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), linear(C, K * Z // 4, 60)), "read off",
    ),
    "gap mlp": (smooth(pool), "from u"),
    "gap norm linear": (
        nn.Sequential(pool, nn.LayerNorm(K).double(), linear(C, K, 10)), "from u",
    ),
    "flat mlp": (
        nn.Sequential(nn.Flatten(), linear(7, K * Z, 60), nn.ReLU(True), linear(C, 7, 30)),
        "from u",
    ),
    "scaled scores": (nn.Sequential(pool, linear(C, K, 10), nn.Hardswish()), "from u"),
    "relu gap": (nn.Sequential(nn.ReLU(inplace=True), pool, linear(C, K, 10)), "textbook"),
    "conv": (heads()["conv"], "textbook"),
    "own call": (Named(), "textbook"),
    "not averaging": (Centre(), "textbook"),
    "one class off": (OneClassOff(), "textbook"),
    "tokens": (AttendTokens(), "textbook"),
}  # fmt: skip


def both(model, x, layer="features"):
    """All signed maps, and how their weights were found."""
    ways = []

    def spy(*args):
        ways.append(short_way(*args))
        return ways[-1]

    short_way = cam.short_way
    cam.short_way = spy
    try:
        maps = zerocam.grad_cam_all(model, x, layer=layer, relu=False)
    finally:
        cam.short_way = short_way
    (way,) = ways
    return maps, "textbook" if way is None else "read off" if way.z is None else "from u"


# ---- law and second route: the maps one class at a time, by the gradient back to A --------------


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), n=st.integers(1, 3))
def test_all_classes_are_the_textbook_maps_class_by_class(name, seed, n):
    head, _ = CASES[name]
    model, x = Net(head), images(n, seed)
    maps, _ = both(model, x)
    for c in range(C):
        one = zerocam.grad_cam(model, x, c, layer="features", relu=False)
        # the weights cancel in part: rounding is relative to the largest map
        atol = 1e-12 * maps.abs().amax().item()
        torch.testing.assert_close(maps[:, c], one, rtol=0, atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_the_short_way_is_taken_where_it_is_right_and_only_there(name):
    head, expected = CASES[name]
    assert both(Net(head), images())[1] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", "read off"), ("resnet50", "read off"), ("efficientnet_b0", "read off"),
        ("mobilenet_v3_large", "from u"), ("convnext_tiny", "from u"), ("alexnet", "from u"),
        ("densenet121", "textbook"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_the_networks_of_torchvision(name, expected):
    """At another size than they are made for; the last class, which no default would pick."""
    model = imagenet.torchvision_net(name)
    layer = {"alexnet": "features.11"}.get(name, "layer4" if "resnet" in name else "features")
    x = torch.randn(2, 3, 64, 64)
    maps, how = both(model, x, layer)
    assert how == expected
    one = zerocam.grad_cam(model, x, 999, layer=layer, relu=False)
    # float32: rounding of sums of up to 9,216 terms
    torch.testing.assert_close(maps[:, 999], one, rtol=0, atol=1e-5 * maps.abs().amax().item())


# ---- counter-law --------------------------------------------------------------------------------


def test_half_precision_proves_nothing_so_it_takes_the_textbook_way():
    model = Net(heads()["gap"]).bfloat16()
    assert both(model, images().bfloat16())[1] == "textbook"


def test_the_proof_is_for_these_images():
    """A lift passes a ReLU where A > 0: the same head has a short way for one batch only."""
    head = nn.Sequential(nn.ReLU(), pool, linear(C, K, 10))
    model = nn.Sequential()
    model.features, model.head = nn.Identity(), head
    A = integers(2, K, h, w, seed=3)
    assert both(model, A.abs())[1] == "read off"
    assert both(model, A)[1] == "textbook"
    mixed = torch.cat([A.abs()[:1], A[1:]])
    maps, how = both(model, mixed)
    assert how == "textbook"
    assert torch.equal(maps[:, 2], zerocam.grad_cam(model, mixed, 2, layer="features", relu=False))


def test_memory_is_held_for_few_classes_at_a_time(monkeypatch):
    """With room for two classes, no gradient of more than two is ever asked for."""
    asked = []
    grad = torch.autograd.grad

    def spy(y, of, v, **kw):
        asked.append(len(v) if kw.get("is_grads_batched") else 1)
        return grad(y, of, v, **kw)

    monkeypatch.setattr(torch.autograd, "grad", spy)
    for name, row in (("gap mlp", 6), ("conv", K * Z)):
        asked.clear()
        monkeypatch.setattr(cam, "CHUNK_BYTES", 2 * 2 * row * 8)
        model, x = Net(CASES[name][0]), images()
        maps = zerocam.grad_cam_all(model, x, layer="features", relu=False)
        assert max(asked) == 2
        monkeypatch.setattr(cam, "CHUNK_BYTES", 2**27)
        torch.testing.assert_close(
            maps, zerocam.grad_cam_all(model, x, layer="features", relu=False), rtol=1e-14, atol=0
        )
        assert max(asked) == C


def test_a_second_linear_head_is_no_short_way():
    """As where training uses an auxiliary classifier."""

    class Aux(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.pool = nn.Tanh(), nn.AdaptiveAvgPool2d(1)
            self.aux, self.fc = linear(C, 2, 91), linear(C, 2, 92)

        def forward(self, x):
            z = self.pool(self.features(x)).flatten(1)
            return {"aux": self.aux(z.square()), "logits": self.fc(z.exp())}

    model = Aux()
    every = zerocam.grad_cam_all(model, images(), layer="features", relu=False)
    for c in range(C):
        one = zerocam.grad_cam(model, images(), c, layer="features", relu=False)
        torch.testing.assert_close(every[:, c], one, rtol=1e-10, atol=1e-12)


class Doubles(torch.autograd.Function):
    """Its way back writes into a tensor of its own, which vmap cannot do."""

    @staticmethod
    def forward(ctx, A):
        ctx.shape = A.shape
        return 2 * A

    @staticmethod
    def backward(ctx, g):
        return torch.zeros(ctx.shape, dtype=g.dtype).add_(2 * g)


class Own(nn.Module):
    """Has such a step in its head."""

    def __init__(self):
        super().__init__()
        self.features, self.fc = nn.Tanh(), linear(C, 2, 93)

    def forward(self, x):
        return self.fc(Doubles.apply(self.features(x)).square().mean((2, 3)))


def test_a_step_that_cannot_take_many_rows_gets_one_after_the_other():
    every = zerocam.grad_cam_all(Own(), images(), layer="features", relu=False)
    for c in range(C):
        one = zerocam.grad_cam(Own(), images(), c, layer="features", relu=False)
        torch.testing.assert_close(every[:, c], one, rtol=1e-10, atol=1e-12)
