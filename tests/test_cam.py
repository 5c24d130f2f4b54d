"""Grad-CAM: by hand, laws, counter-laws with their amount, second routes, refusals.

Arithmetic is exact where exactness is claimed: see nets.py.
"""

import copy
import threading
import warnings
from collections import deque

import captum.attr
import pytest
import torch
import torchvision
from nets import C, K, Net, Z, h, heads, images, integers, w
from torch import nn

import zerocam
from zerocam import cam, hooks, methods, references, targets

HEADS = list(heads())


def signed(model, x, target=None, **kw):
    return zerocam.grad_cam(model, x, target, layer="features", relu=False, **kw)


# ---- by hand ------------------------------------------------------------------------------------


def test_two_channels_worked_by_hand():
    A = torch.tensor([[[[1.0, 2.0], [0.0, 4.0]], [[3.0, -1.0], [2.0, 0.0]]]])
    G = torch.tensor([[[[4.0, 0.0], [2.0, 2.0]], [[-1.0, -3.0], [0.0, -4.0]]]])
    alpha = cam.channel_weights(G)
    assert alpha.tolist() == [[2.0, -2.0]]
    assert cam.signed_map(alpha, A).tolist() == [[[-4.0, 6.0], [-4.0, 8.0]]]


def test_a_network_worked_by_hand():
    """One channel; y_0 = 8 mean(A) + 5: alpha = 8/Z, and the map is A with that weight."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        head[2].weight.copy_(torch.tensor([[8.0], [-8.0]]))
        head[2].bias.copy_(torch.tensor([5.0, 0.0]))
    model = nn.Sequential(nn.Identity(), head)
    x = torch.tensor([[[[1.0, 2.0], [-3.0, 4.0]]]])
    assert zerocam.grad_cam(model, x, 0, layer="0", relu=False).tolist() == [[[2, 4], [-6, 8]]]
    assert zerocam.grad_cam(model, x, 0, layer="0").tolist() == [[[2, 4], [0, 8]]]
    assert zerocam.grad_cam(model, x, 1, layer="0").tolist() == [[[0, 0], [6, 0]]]


# ---- laws ---------------------------------------------------------------------------------------


@pytest.mark.claim("A1")
@pytest.mark.parametrize("c", range(C))
def test_the_map_sums_to_the_score_minus_the_bias(c):
    model, x = Net(heads()["gap"]), images()
    score = model(x)[:, c].detach()
    assert torch.equal(signed(model, x, c).sum((1, 2)), score - model.head[2].bias[c])


@pytest.mark.claim("A1")
def test_a_head_that_is_not_linear_breaks_completeness_by_a_known_amount():
    """y_c = sum_m V_cm (u_m)^2 + b with u = W p + a: the map sums to 2 V (u * Wp), not y - b."""
    model, x = Net(heads()["mlp"]), images()
    _, _, first, _, last = model.head
    p = model.features(x).mean((2, 3)).detach()
    u, Wp = first(p).detach(), (p @ first.weight.T).detach()
    total = signed(model, x, 1).sum((1, 2))
    assert torch.equal(total, (2 * u * Wp) @ last.weight[1].detach())
    assert not torch.equal(total, model(x)[:, 1].detach() - last.bias[1].detach())


@pytest.mark.claim("A2")
def test_doubling_a_channel_halves_its_weight_and_the_map_stays():
    model, x = Net(heads()["gap"]), images()
    twice = copy.deepcopy(model)
    with torch.no_grad():
        twice.features.weight[1] *= 2
        twice.features.bias[1] *= 2
        twice.head[2].weight[:, 1] /= 2
    before, after = (zerocam.tap(m, x, 3, layer="features") for m in (model, twice))
    assert torch.equal(after.y, before.y)
    alpha, alpha2 = (cam.channel_weights(t.G) for t in (before, after))
    assert torch.equal(alpha2[:, 1], alpha[:, 1] / 2)
    assert torch.equal(after.A[:, 1], before.A[:, 1] * 2)
    assert torch.equal(signed(twice, x, 3), signed(model, x, 3))


@pytest.mark.claim("A3")
def test_after_relu_a_negative_pixel_needs_a_negative_weight():
    alpha, A = integers(2, K, seed=1), integers(2, K, h, w, seed=2).relu()
    M = cam.signed_map(alpha, A)
    assert (M < 0).any()
    assert (cam.signed_map(alpha.relu(), A) >= 0).all()


@pytest.mark.claim("A3")
def test_negative_activation_times_negative_weight_adds_to_the_map():
    assert cam.signed_map(torch.tensor([[-2.0]]), torch.tensor([[[[-3.0, 3.0]]]])).tolist() == [
        [[6.0, -6.0]]
    ]


@pytest.mark.claim("A3")
@pytest.mark.parametrize(("kink", "lost", "local"), [(nn.Identity(), 6, [6, -6]),
                                                     (nn.ReLU(), 0, [0, -6])])  # fmt: skip
def test_what_it_is_worth_to_the_score_depends_on_what_follows(kink, lost, local):
    """The score is minus twice what the kink lets by; without the -3 it loses 6, or nothing."""
    head = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(head.weight, -4.0)  # averaged over two positions: -2 each
    model = nn.Sequential(nn.Identity(), kink, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    A = torch.tensor([[[[-3.0, 3.0]]]]).double()
    M = zerocam.grad_cam(model, A, 0, layer="0", relu=False)
    assert M[0, 0, 0] > 0  # Grad-CAM adds it in both cases
    assert methods.hires_cam(model, A, 0, layer="0", relu=False)[0, 0].tolist() == local
    assert (model(A) - model(A.clamp(min=0))).item() == lost


def test_relu_is_the_only_difference_between_the_two_maps():
    model, x = Net(heads()["conv"]), images()
    assert torch.equal(zerocam.grad_cam(model, x, 2, layer="features"), signed(model, x, 2).relu())
    assert (signed(model, x, 2) < 0).any()


def test_the_negated_target_gives_the_negated_map():
    model, x = Net(heads()["mlp"]), images()
    assert torch.equal(signed(model, x, targets.negative(2)), -signed(model, x, 2))


@pytest.mark.parametrize("head", HEADS)
def test_all_classes_at_once_are_the_classes_one_by_one(head, monkeypatch):
    monkeypatch.setattr(cam, "CHUNK_BYTES", 2 * 2 * K * Z * 8)  # two classes a chunk, five classes
    model, x = Net(heads()[head]), images()
    maps = zerocam.grad_cam_all(model, x, layer="features", relu=False)
    assert maps.shape == (2, C, h, w)
    for c in range(C):
        assert torch.equal(maps[:, c], signed(model, x, c))
    assert torch.equal(zerocam.grad_cam_all(model, x, layer="features"), maps.relu())


def test_a_batch_is_its_images():
    model, x = Net(heads()["conv"]), images(3)
    one_by_one = torch.cat([signed(model, image[None], 2) for image in x])
    assert torch.equal(signed(model, x, 2), one_by_one)


def test_targets_may_be_none_an_int_a_tensor_or_a_callable():
    model, x = Net(heads()["mlp"]), images(3)
    top = model(x).argmax(1)
    expected = torch.stack([signed(model, x, int(c))[i] for i, c in enumerate(top)])
    for target in (None, top, targets.logit(), lambda y: y.amax(1)):
        assert torch.equal(signed(model, x, target), expected)


# ---- second routes ------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_the_gradient_is_the_slope(head):
    """alpha_k Z is how fast s changes when the whole channel k is lifted: a central difference.

    The heads are quadratic in A at most, or piecewise linear, so the difference is exact.
    """
    model, x = Net(heads()[head]), images(1)
    A = model.features(x).detach()
    alpha = cam.channel_weights(zerocam.tap(model, x, 1, layer="features").G)
    step = 2.0**-10
    for k in range(K):
        up, down = A.clone(), A.clone()
        up[:, k] += step
        down[:, k] -= step
        slope = (model.head(up) - model.head(down))[0, 1].item() / (2 * step)
        assert slope == alpha[0, k].item() * Z


@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
@pytest.mark.parametrize("c", [0, 3])
def test_captum_computes_the_same_signed_map(head, c):
    model, x = Net(heads()[head]), images()
    peer = captum.attr.LayerGradCam(model, model.features).attribute(x, target=c)[:, 0].detach()
    # captum sums in another order: exact up to rounding of float64
    torch.testing.assert_close(signed(model, x, c), peer, rtol=1e-12, atol=1e-12)


def without_in_place(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "in_place_successor"),
    [
        ("alexnet", "features.10", True),
        ("resnet18", "layer4.1.bn2", True),
        ("densenet121", "features", True),
        ("mobilenet_v3_large", "features.16.1", True),
    ],
)
def test_in_place_work_after_the_layer_does_not_reach_the_map(name, layer, in_place_successor):
    """The layer's own output and its gradient, derived without hooks where nothing is in place."""
    model = torchvision.models.get_model(name).eval()
    x = torch.randn(1, 3, 96, 96)
    clean = without_in_place(model)
    kept = []
    _, module = hooks.find_layer(clean, layer)

    def keep(_module, _args, out):
        out.retain_grad()
        kept.append(out)
        return out * 1  # densenet and resnet work in place in their forward: give them a copy

    handle = module.register_forward_hook(keep)
    clean(x)[0, 7].backward()
    handle.remove()
    A, G = kept[0].detach(), kept[0].grad
    expected = torch.einsum("nk,nkij->nij", G.mean((2, 3)), A)
    got = zerocam.grad_cam(model, x, 7, layer=layer, relu=False)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert (A < 0).any(), "the layer is one whose negatives an in-place ReLU would erase"


# ---- the contract: dtype, modes, what is left behind --------------------------------------------


def test_dtype_device_and_resolution_are_those_of_x_and_the_layer():
    model = Net(heads()["mlp"]).float()
    L = zerocam.grad_cam(model, images().float(), 1, layer="features")
    assert (L.dtype, tuple(L.shape), L.requires_grad) == (torch.float32, (2, h, w), False)


@pytest.mark.slow
def test_half_precision_is_close_to_float32():
    model = torchvision.models.resnet18().eval()
    x = torch.randn(1, 3, 64, 64)
    full = zerocam.grad_cam(model, x, 3, layer="layer4", relu=False)
    with torch.autocast("cpu", torch.bfloat16):
        half = zerocam.grad_cam(model, x, 3, layer="layer4", relu=False)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.05 * full.abs().max()  # bfloat16 keeps 8 bits
    x16 = x.bfloat16()
    assert zerocam.grad_cam(model.bfloat16(), x16, 3, layer="layer4").dtype == torch.bfloat16


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_map(guard):
    model, x = Net(heads()["mlp"]), images()
    expected = signed(model, x, 1)
    with guard():
        assert torch.equal(signed(model, x.clone(), 1), expected)
        assert torch.is_inference_mode_enabled() == (guard is torch.inference_mode)


def test_frozen_parameters_and_channels_last_change_nothing():
    model, x = Net(heads()["conv"]), images()
    expected = signed(model, x, 1)
    model.requires_grad_(False)
    assert torch.equal(signed(model, x, 1), expected)
    model.to(memory_format=torch.channels_last)
    got = signed(model, x.to(memory_format=torch.channels_last), 1)
    assert torch.equal(got, expected)


def snapshot(model: nn.Module) -> tuple:
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
         for m in model.modules()],
        torch.get_rng_state(),
        torch.is_grad_enabled(),
    )  # fmt: skip


def equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


class Fragile(nn.Module):
    """Normalises, drops out, and fails on demand after the layer has run."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
        self.drop, self.fc, self.fail = nn.Dropout(0.5), nn.Linear(3, 4), False

    def forward(self, x):
        A = self.drop(self.features(x))
        if self.fail:
            raise RuntimeError("inside the forward")
        return self.fc(A.mean((2, 3)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("what", [zerocam.grad_cam, zerocam.grad_cam_all])
def test_the_model_is_left_as_it_was(training, fail, what):
    model, x = Fragile().train(training), torch.randn(2, 2, 6, 7)
    model.fc.weight.requires_grad_(False)
    model.features[0].weight.grad = torch.full_like(model.features[0].weight, 3.0)
    before = snapshot(model)
    model.fail = fail
    if fail:
        with pytest.raises(RuntimeError, match="inside the forward"):
            what(model, x, layer="features")
    else:
        what(model, x, layer="features")
    assert equal(snapshot(model), before)


class Averages(nn.Module):
    """Keeps a running mean in a buffer that it binds anew each time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2).double())
        self.net = Net(heads()["gap"])

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean((0, 2, 3))
        return self.net(x)


def test_a_buffer_that_is_bound_anew_comes_back_too():
    model = Averages().train()
    before = model.mean
    zerocam.grad_cam(model, images(), 2, layer="net.features")
    assert model.mean is before
    assert not before.any()


class Remembers(Net):
    """Keeps what it saw in a container, as one kind of memory or another."""

    def __init__(self, memory):
        super().__init__(heads()["gap"])
        self.memory = memory

    def forward(self, x):
        A = self.features(x)
        if isinstance(self.memory, dict):
            self.memory.setdefault("first", A.detach())
            self.memory["last"] = A.detach()
        else:
            if len(self.memory):
                self.memory[0] += 1  # in place
            self.memory.append(A.detach())
        return self.head(A)


def at_features(model, x):
    return zerocam.grad_cam_all(model, x, layer="features")


@pytest.mark.parametrize("what", [signed, at_features, zerocam.suggest_layer])
@pytest.mark.parametrize("kind", [list, deque, dict])
@pytest.mark.parametrize("full", [False, True])
def test_what_a_module_keeps_in_a_container_comes_back(what, kind, full):
    seen = torch.tensor([3.0, 5.0])
    held = {} if not full else {"last": seen} if kind is dict else {0: seen}
    memory = kind(held if kind is dict else held.values())
    model = Remembers(memory)
    what(model, images())
    assert model.memory is memory
    assert dict(memory if kind is dict else enumerate(memory)) == held  # tensors by identity
    assert seen.tolist() == [3.0, 5.0]


def by_hook(model, layer, x, c):
    """Signed Grad-CAM by a plain hook, at the tensor that the layer itself put out."""
    found = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda m, args, out: found.append(hooks.first_of(out))
    )
    try:
        with torch.enable_grad():
            y = model(x.clone().requires_grad_())
    finally:
        handle.remove()
    (A,) = found
    (G,) = torch.autograd.grad(y[:, c].sum(), A)
    return zerocam.signed_map(G.mean((2, 3)), A.detach())


class Two(nn.Module):
    """Its scores read the layer's output, and the same output by another way."""

    def __init__(self, way):
        super().__init__()
        self.way, self.kept = way, None
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=way == "input")
        self.layer = Twofold(way)
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        if way == "hook":
            self.layer.register_forward_hook(lambda m, args, out: setattr(self, "kept", out))
        self.double()

    def forward(self, x):
        A = self.conv(x)
        if self.way == "input":
            B = self.relu(A)
            return (self.one(B) * self.two(A)).mean((2, 3))
        B = self.layer(A)
        if self.way == "value":
            B, (A,) = B
        elif self.way == "hook":
            A, self.kept = self.kept, None
        else:
            A = self.layer.kept
        return (self.one(B) * self.two(A)).mean((2, 3))


class Twofold(nn.Module):
    """Hands its output on twice: as two values, or as a value and an attribute."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, A):
        B = A * A
        if self.way == "attribute":
            self.kept = B
        return (B, (B,)) if self.way == "value" else B


@pytest.mark.parametrize("way", ["hook", "attribute", "value", "input"])
def test_whoever_else_has_the_layers_output_counts_too(way):
    model, layer = Two(way), "relu" if way == "input" else "layer"
    expected = by_hook(model, layer, images(), 1)
    got = zerocam.grad_cam(model, images(), 1, layer=layer, relu=False)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    every = zerocam.grad_cam_all(model, images(), layer=layer, relu=False)
    torch.testing.assert_close(every[:, 1], expected, rtol=1e-10, atol=1e-12)


def test_what_somebody_keeps_of_the_layers_output_carries_no_graph():
    model, kept = Net(heads()["mlp"]), []
    model.features.register_forward_hook(lambda m, args, out: kept.append(out))
    zerocam.grad_cam(model, images(), 1, layer="features")
    zerocam.grad_cam_all(model, images(), layer="features")
    assert len(kept) >= 2
    assert not any(t.requires_grad for t in kept)
    assert all(t.grad_fn is None for t in kept)


def test_a_layer_that_starts_a_graph_of_its_own():
    """As networks do that differentiate inside: their output is a leaf."""

    class Starts(nn.Module):
        def forward(self, x):
            return (2 * x).detach().requires_grad_()

    head = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    )
    plain, model = (nn.Sequential(f, head).double() for f in (nn.Identity(), Starts()))
    got = zerocam.grad_cam(model, images(), 1, layer="0", relu=False)
    assert torch.equal(got, zerocam.grad_cam(plain, 2 * images(), 1, layer="0", relu=False))


class GivesWhatItHas(nn.Module):
    """A layer whose output is a parameter, a buffer, or what it was given."""

    def __init__(self, what):
        super().__init__()
        self.what, self.grid = what, nn.Parameter(torch.ones(1, 2, 2, 4).double())
        if what == "buffer":
            del self.grid
            self.register_buffer("grid", torch.ones(1, 2, 2, 4).double())

    def forward(self, x):
        return x if self.what == "image" else self.grid


@pytest.mark.parametrize("what", ["weight", "buffer", "image"])
def test_what_the_model_had_before_is_not_written_into(what):
    layer = GivesWhatItHas(what)
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3).double())
    x = images()[:1]
    before, versions = layer.grid, (x._version, layer.grid._version)
    zerocam.grad_cam(model, x, 1, layer="0")
    assert layer.grid is before
    assert (x._version, layer.grid._version) == versions
    assert (x.requires_grad, x.grad_fn, before.grad_fn) == (False, None, None)


def test_a_layer_that_hands_on_its_input_counts_by_what_it_hands_on():
    """What goes round an identity does not go through it; in-place work behind it is allowed."""

    class Round(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.one = nn.Identity(), nn.Conv2d(2, 4, 1).double()

        def forward(self, x):
            A = 2 * x
            return self.one(self.layer(A).relu_()).mean((2, 3)) + A.sum((1, 2, 3))[:, None]

    model, x = Round(), images()
    got = zerocam.grad_cam(model, x, 1, layer="layer", relu=False)
    A = (2 * x).requires_grad_()
    (G,) = torch.autograd.grad(model.one(A.relu()).mean((2, 3))[:, 1].sum(), A)
    torch.testing.assert_close(got, zerocam.signed_map(G.mean((2, 3)), A.detach()))


def test_a_part_of_the_head_outside_a_block_with_gradients_counts():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.one = nn.Conv2d(2, 3, 1).double(), nn.Conv2d(3, 4, 1).double()

        def forward(self, x):
            with torch.enable_grad():
                A = self.conv(x)
                inside = self.one(A).mean((2, 3))
            outside = (A * A).mean((1, 2, 3))[:, None]
            with torch.enable_grad():
                return inside + outside

    model = Block()
    expected = by_hook(model, "conv", images(), 1)
    got = zerocam.grad_cam(model, images(), 1, layer="conv", relu=False)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


class SetsItsMode(Net):
    """Leaves autograd as it found it, which inside grad_cam is off."""

    def __init__(self, head, trains):
        super().__init__(head)
        self.trains = trains

    def forward(self, x):
        with torch.set_grad_enabled(self.trains):
            A = self.features(x)
        return self.head(A)


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_a_forward_may_set_autograds_mode_itself(head, trains):
    model = SetsItsMode(heads()[head], trains)
    plain = signed(Net(model.head), images(), 2)
    assert torch.equal(signed(model, images(), 2), plain)
    at_once = zerocam.grad_cam_all(model, images(), layer="features", relu=False)
    torch.testing.assert_close(at_once[:, 2], plain)


class Float32(Net):
    """Its scores are float32 also under autocast, unlike what is inside its head."""

    def forward(self, x):
        return super().forward(x).float()


@pytest.mark.parametrize("kind", [Net, Float32])
@pytest.mark.parametrize("head", HEADS)
def test_autocast_does_not_add_up_in_half(head, kind):
    """A and G come from layers in bfloat16; what is made of them is float32."""
    model = kind(heads()[head]).float()
    x = images().float()
    with torch.autocast("cpu", torch.bfloat16):
        A, G, *_ = zerocam.tap(model, x, 2, layer="features")
        M = signed(model, x, 2)
        every = zerocam.grad_cam_all(model, x, layer="features", relu=False)[:, 2]
    assert A.dtype == G.dtype == M.dtype == torch.float32
    exact = torch.einsum("nk,nkij->nij", G.mean((2, 3)), A)
    torch.testing.assert_close(M, exact, rtol=1e-6, atol=1e-6 * exact.abs().max().item())
    torch.testing.assert_close(every, exact, rtol=1e-2, atol=1e-2 * exact.abs().max().item())


def test_two_threads_may_share_a_model():
    model, xs = Net(heads()["mlp"]), [images(2, seed=s) for s in (1, 2)]
    expected = [signed(model, x, 1) for x in xs]
    wrong = []

    def work(i):
        for _ in range(50):
            if not torch.equal(signed(model, xs[i], 1), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert len(model.features._forward_hooks) == 0


class Twice(nn.Module):
    """One convolution, run twice."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1).double()
        with torch.no_grad():
            self.features.weight.fill_(2.0)
            self.features.bias.fill_(1.0)

    def forward(self, x):
        return self.features(self.features(x)).mean((2, 3)) * 4


def test_a_layer_that_runs_twice_is_refused_or_chosen():
    model, x = Twice(), torch.tensor([[[[1.0, 2.0], [3.0, -5.0]]]]).double()
    with pytest.raises(ValueError, match=r"got 2 runs in one forward, wanted 1; choose .*call=1"):
        signed(model, x, 0)
    assert signed(model, x, 0, call=0).tolist() == [[[6, 10], [14, -18]]]  # 2 (2x + 1)
    assert signed(model, x, 0, call=1).tolist() == [[[7, 11], [15, -17]]]  # 2 (2x + 1) + 1
    with pytest.raises(ValueError, match="call: got 2, wanted 0 to 1"):
        signed(model, x, 0, call=2)


# ---- tokens -------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """A class token and h x w patch tokens with K channels; the head reads their mean."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.fc = heads()["gap"][2]

    def forward(self, x):
        A = x.flatten(2).transpose(1, 2)  # (N, Z, K)
        A = self.features(torch.cat([A[:, :1] * 0 + 100, A], 1))
        return self.fc(A[:, 1:].mean(1))


def test_tokens_are_read_row_by_row_without_the_class_token():
    x = integers(2, K, h, w, seed=1)
    plain = nn.Sequential(nn.Identity(), heads()["gap"])
    expected = zerocam.grad_cam(plain, x, 1, layer="0", relu=False)
    reshape = zerocam.tokens_to_map(h, w, skip=1)
    assert torch.equal(signed(Tokens(), x, 1, reshape=reshape), expected)
    every = zerocam.grad_cam_all(Tokens(), x, layer="features", relu=False, reshape=reshape)
    assert torch.equal(every[:, 1], expected)
    with pytest.raises(ValueError, match=r"got output of shape \(2, 9, 3\).*tokens_to_map"):
        signed(Tokens(), x, 1)
    with pytest.raises(ValueError, match=r"wanted \(N, 0 \+ 2 x 4, D\)"):
        signed(Tokens(), x, 1, reshape=zerocam.tokens_to_map(h, w))


class ClassToken(Tokens):
    """Scores from the class token alone, into which the mean of all is written before `last`."""

    def __init__(self):
        super().__init__()
        self.last = nn.Identity()

    def forward(self, x):
        A = self.features(torch.cat([torch.zeros_like(x.flatten(2)[..., :1]), x.flatten(2)], 2).mT)
        return self.fc(self.last(torch.cat([A.mean(1, keepdim=True), A[:, 1:]], 1))[:, 0])


def test_behind_the_last_attention_only_the_class_token_counts_and_that_is_said():
    x, kw = integers(2, K, h, w, seed=1), {"reshape": zerocam.tokens_to_map(h, w, skip=1)}
    assert zerocam.grad_cam(ClassToken(), x, 1, layer="features", **kw).any()
    for cam_of in (zerocam.grad_cam, zerocam.grad_cam_all):
        with pytest.raises(ValueError, match="'last': the target reads only tokens that reshape"):
            cam_of(ClassToken(), x, layer="last", **kw)


@pytest.mark.slow
def test_channels_last_output_is_refused_until_it_is_named():
    model = torchvision.models.swin_t().eval()
    x = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"axes 1 and 2: channels last .*channels_first"):
        zerocam.grad_cam(model, x, 1, layer="features")
    L = zerocam.grad_cam(model, x, 1, layer="features", reshape=zerocam.channels_first)
    assert L.shape == (1, 2, 2)
    rows_then_columns = integers(2, K, h, w, seed=1)
    last = rows_then_columns.movedim(1, 3)
    assert torch.equal(zerocam.channels_first(last), rows_then_columns)


# ---- blank maps ---------------------------------------------------------------------------------


def blank_net(weight: float) -> nn.Sequential:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        head[2].weight.fill_(weight)
    return nn.Sequential(nn.Identity(), head)


@pytest.mark.parametrize(
    ("weight", "pixels", "reason"),
    [
        (1.0, [1.0, 2.0], "not blank"),
        (-1.0, [1.0, 2.0], "all negative"),
        (-1.0, [0.0, 2.0], "all negative"),
        (0.0, [1.0, 2.0], "zero gradient"),
        (1.0, [2.0, 2.0], "constant"),
        (1.0, [0.0, 0.0], "silent layer"),
        (0.0, [0.0, 0.0], "silent layer"),
        (-1.0, [2.0, 2.0], "all negative"),
        (1e-9, [1.0, 2.0], "tiny"),
    ],
)
def test_a_blank_map_has_a_reason(weight, pixels, reason):
    x = torch.tensor([[[pixels]]])
    model = blank_net(weight)
    assert zerocam.explain_blank(model, x, 0, layer="0") == [reason]
    if reason in ("all negative", "zero gradient"):
        assert not zerocam.grad_cam(model, x, 0, layer="0").any()


@pytest.mark.parametrize(
    ("weight", "pixels", "reference", "reason"),
    [
        (-1.0, [1.0, 2.0], references.spatial_mean, "not blank"),  # M = 0.5, -0.5
        (-1.0, [2.0, 2.0], references.spatial_mean, "constant"),
        (1.0, [0.0, 0.0], references.spatial_mean, "silent layer"),
        (-1.0, [0.0, 0.0], torch.ones(1, 1, 1, 1), "constant"),  # M = 1, 1
        (1.0, [0.0, 1.0], torch.ones(1, 1, 1, 1), "all negative"),
    ],
)
def test_the_reason_is_that_of_the_map_with_its_reference(weight, pixels, reference, reason):
    x, model = torch.tensor([[[pixels]]]), blank_net(weight)
    at = {"layer": "0", "reference": reference}
    assert zerocam.explain_blank(model, x, 0, **at) == [reason]
    M = zerocam.grad_cam(model, x, 0, relu=False, **at)
    assert (reason == "silent layer") <= (not M.any())
    assert (reason == "all negative") == bool((M <= 0).all() and M.any())


def test_a_model_without_parts_has_no_nearest_name():
    with pytest.raises(ValueError, match="name of this ReLU; it has none: put it into an nn"):
        zerocam.grad_cam(nn.ReLU(), torch.ones(1, 1, 2, 2), layer="relu")


def test_gradients_that_cancel_over_the_positions_are_told_from_none():
    """The first column less the last: alpha = 0, but G is not, and HiResCAM has a map."""
    x = torch.tensor([[[[5.0, 1.0, 3.0], [2.0, 1.0, 4.0]]]])
    head = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, bias=False))
    head[1].weight = nn.Parameter(torch.tensor([[1.0, 0, -1, 1, 0, -1], [0.0] * 6]))
    model = nn.Sequential(nn.Identity(), head)
    assert zerocam.explain_blank(model, x, 0, layer="0") == ["cancelled"]
    assert zerocam.explain_blank(model, x, 1, layer="0") == ["zero gradient"]
    assert zerocam.explain_blank(model, x, targets.contrast(0, 0), layer="0") == ["zero gradient"]
    signed = methods.hires_cam(model, x, 0, layer="0", relu=False)
    assert torch.equal(signed, torch.tensor([[[5.0, 0, -3], [2, 0, -4]]]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_reference_or_score_that_is_not_finite_is_refused(bad):
    x, model = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]]), blank_net(1.0)
    some = torch.tensor([0.0, bad])
    r = some[:, None, None, None]
    for what in (zerocam.grad_cam, zerocam.grad_cam_all, zerocam.explain_blank):
        with pytest.raises(ValueError, match=r"reference: got NaN or inf for image \[1\]"):
            what(model, x, layer="0", reference=r)
    with pytest.raises(ValueError, match=r"reference: got NaN or inf for image \[0, 1\]"):
        zerocam.grad_cam(model, x, layer="0", reference=references.data_mean(x[:0]))
    for method in (zerocam.grad_cam, methods.hires_cam, methods.score_cam, methods.ablation_cam):
        with pytest.raises(ValueError, match=r"scores of the target: got NaN or inf for image \[1"):
            method(model, x, lambda y: y[:, 0] + some, layer="0")


def test_a_saturated_softmax_is_a_zero_gradient_and_its_logit_is_not():
    model, x = blank_net(0.0), torch.tensor([[[[1.0, 2.0]]]])
    model[1][2].weight = nn.Parameter(torch.tensor([[400.0], [-400.0]]))
    for target, reason in (
        (targets.probability(0), "zero gradient"),
        (targets.log_probability(0), "zero gradient"),
        (targets.logit(0), "not blank"),
        (targets.centred(0), "not blank"),
    ):
        assert zerocam.explain_blank(model, x, target, layer="0") == [reason]


def test_one_output_speaks_for_yes_and_its_negative_for_no():
    """One sigmoid, or a regression: the map sums to the output, and the negated one to minus it."""
    model, x = blank_net(2.0), torch.tensor([[[[1.0, -4.0]]]])
    assert model(x).item() == -3
    up = zerocam.grad_cam(model, x, layer="0", relu=False)
    down = zerocam.grad_cam(model, x, targets.negative(), layer="0", relu=False)
    assert up.tolist() == [[[1, -4]]]
    assert torch.equal(down, -up)


def test_what_half_precision_cannot_hold_is_refused_and_float32_can():
    model, x = blank_net(1.0), torch.full((1, 1, 1, 2), 60000.0)
    model[0] = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        model[0].weight.fill_(2.0)
    assert zerocam.grad_cam(model, x, 0, layer="0").any()
    with pytest.raises(ValueError, match=r"activations: got NaN or inf .* or run in float32"):
        zerocam.grad_cam(model.half(), x.half(), 0, layer="0")


def test_large_numbers_are_finite_even_where_their_sum_is_not():
    """3 x 2**126 + 2.5 x 2**126 is above the largest float32; s is the larger of the two."""
    x = torch.full((1, 1, 1, 2), 3 * 2.0**126)
    x[..., 1] = 2.0**126 * 2.5
    assert x.sum() == torch.inf
    model = nn.Sequential(nn.Identity(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    assert torch.equal(zerocam.grad_cam(model, x, 0, layer="0"), x[0] / 2)  # G = (1, 0)


# ---- refusals -----------------------------------------------------------------------------------

NAN = images().clone()
NAN[1, 0, 0, 0] = float("nan")


class Answers(nn.Module):
    """Runs the layer, then answers whatever it was told to."""

    def __init__(self, answer):
        super().__init__()
        self.features, self.answer = nn.Identity(), answer

    def forward(self, x):
        return self.answer(self.features(x))


class Unused(nn.Module):
    """`spare` never runs; `dead` runs and is thrown away; the scores come from the parameter."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.spare, self.dead, self.fc = nn.Identity(), nn.Identity(), nn.Linear(2, 2).double()

    def forward(self, x):
        self.dead(x)
        return self.fc(self.features(x).mean((2, 3)))


def gap():
    return Net(heads()["gap"])


def scripted():
    with warnings.catch_warnings():  # torch would rather have it replaced
        warnings.simplefilter("ignore")
        return torch.jit.trace(blank_net(1.0), torch.ones(1, 1, 1, 2))


REFUSED = [
    (gap, images(), {"layer": "feature"}, "got 'feature', wanted a module name.*features"),
    (gap, images(), {"layer": nn.Identity()}, "got a Identity that is not part of this Net"),
    (gap, images(), {"layer": 3}, "got 3, wanted a dotted name or a module"),
    (gap, images(), {"layer": "head"}, r"got output of shape \(2, 5\), .*before the pooling"),
    (gap, images(), {"layer": "head.0"}, "wanted a spatial size above 1 x 1"),
    (Unused, images(), {"layer": "spare"}, "'spare': not reached in this forward"),
    (Unused, images(), {"layer": "dead"}, "'dead': no gradient of the target reaches it"),
    (gap, images(), {"target": 5}, "got class 5, wanted 0 to 4"),
    (gap, images(), {"target": lambda y: y.detach()[:, 0]}, "'features': no gradient of the tar"),
    (gap, images(), {"target": lambda y: y.sum()}, r"got \(\) from the callable, wanted one"),
    (gap, images(), {"target": lambda y: 1.0}, "got float from the callable"),
    (gap, images()[0], {}, r"x: got torch.float64 of shape \(2, 2, 4\), wanted a float"),
    (gap, images().int(), {}, "x: got torch.int32 of shape"),
    (gap, images().numpy(), {}, "x: got ndarray, wanted a float tensor"),
    (gap, images()[:0], {}, "got an empty batch"),
    (gap, images().to("meta"), {}, "x: got a tensor on the device meta, which has no values"),
    (gap, NAN, {}, r"activations: got NaN or inf for image \[1\], wanted finite"),
    (gap, images() * float("inf"), {}, "activations: got NaN or inf"),
    (
        lambda: Answers(lambda A: (A.mean((2, 3)) * 0).sqrt()),
        images(), {}, "gradients: got NaN or inf",
    ),
    (lambda: Answers(lambda A: {"out": A}), images(), {}, "model: got dict as its output"),
    (lambda: Answers(lambda A: A.mean((1, 2, 3))), images(), {}, r"model: got shape \(2,\)"),
    (lambda: Answers(lambda A: A), images(), {}, r"got shape \(2, 2, 2, 4\).*mean\(\(1, 2\)\)"),
    (lambda: Answers(lambda A: A.mean((2, 3)) + torch.nan), images(), {}, "scores: got NaN or inf"),
    (lambda: Answers(lambda A: A.detach().mean((2, 3))), images(), {}, "cut by a detach, no_grad"),
    (scripted, images(), {"layer": "0"}, "model: got TorchScript, wanted the nn.Module it was"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "model", "x", "kw", "message"),
    [(zerocam.grad_cam, *case) for case in REFUSED]
    + [(zerocam.grad_cam_all, *case) for case in REFUSED if "target" not in case[2]],
)
def test_refusals_say_what_got_wanted_and_the_mend(untyped, what, model, x, kw, message):
    built = model()
    before = snapshot(built)
    with pytest.raises(ValueError, match=message):
        what(built, x, **({"layer": "features"} | kw))
    assert equal(snapshot(built), before)


@pytest.mark.parametrize(
    ("wrap", "inside"), [(nn.DataParallel, "module"), (torch.compile, "_orig_mod")]
)
def test_a_wrapped_model_is_refused_with_the_way_to_what_is_inside(wrap, inside):
    model = gap()
    with pytest.raises(ValueError, match=rf"wanted the nn.Module inside it; pass model\.{inside}$"):
        zerocam.grad_cam(wrap(model), images(), 0, layer="features")


class Pair(nn.Module):
    """A layer that answers a tuple, as attention and LSTM do: what counts is the first."""

    def forward(self, x):
        return 2 * x, None


def test_of_a_layer_that_answers_a_tuple_the_first_counts():
    class Unpacks(Net):
        def forward(self, x):
            return self.head(self.features(x)[0])

    model, plain = Unpacks(heads()["gap"]), gap()
    model.features = nn.Sequential(plain.features, Pair())
    plain.features = nn.Sequential(plain.features, nn.Module())
    plain.features[1].forward = lambda A: 2 * A
    for kind in (zerocam.grad_cam, methods.hires_cam, methods.ablation_cam):
        got, wanted = (kind(net, images(), 1, layer="features") for net in (model, plain))
        assert torch.equal(got, wanted), kind


def test_a_layer_that_answers_no_tensor_is_refused():
    model = nn.Sequential(nn.Identity(), nn.Identity())
    model[0].forward = lambda x: [x, x]
    with pytest.raises(ValueError, match="got a list as its output, wanted a tensor"):
        zerocam.grad_cam(model, images(), 0, layer="0")
