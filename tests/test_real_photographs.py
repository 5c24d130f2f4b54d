"""Chapter 12: one map for position-wise neighbours, and what the stored studies say."""

import os

import pytest
import torch
from nets import C, K, Z, conv, heads, images, integers, linear
from torch import nn

import zerocam
from tests import turns
from zerocam import imagenet
from zerocam.lab import pictures, studies
from zerocam.lab.studies import families, load, trained
from zerocam.recode import last_linear

# Set by the gates that take their time: every family of torchvision, not one for each way of
# reading it.
ALL_FAMILIES = os.environ.get("ZEROCAM_ALL_FAMILIES") == "1"

METHODS = {
    # permutation, scaling, sign flip, mixing, shift, affine, softmax shift, places
    "Grad-CAM": "====ccxx",
    "Grad-CAM, spatial mean": "======xx",
    "local score": "=======x",
    "HiResCAM": "====ccxx",
    "LayerCAM": "==xxcxxx",
    "Grad-CAM++": "==xxxxxx",
    "XGrad-CAM": "====ccxx",
    "Eigen-CAM": "=x=xxx=x",
    "Eigen-CAM, centred": "=x=x=x=x",
    "LaFAM": "=xxxcx=x",
}


# ---- laws ---------------------------------------------------------------------------------------


def chain(layer: nn.Module, head: str) -> nn.Sequential:
    """Features, a layer from K to 7 channels, a head; exact on integers."""
    ends = {
        "gap": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(C, 7, 10)),
        "conv": nn.Sequential(conv(K, 7, 20), heads()["conv"]),
        "flat": nn.Sequential(nn.Flatten(), linear(C, 7 * Z, 30)),
    }
    return nn.Sequential(conv(K, 2, 70), layer, ends[head])


def pointwise() -> nn.Conv2d:
    layer = nn.Conv2d(K, 7, 1).double()
    with torch.no_grad():
        layer.weight.copy_(integers(7, K, 1, 1, seed=5))
        layer.bias.copy_(integers(7, seed=6))
    return layer


@pytest.mark.claim("H1")
@pytest.mark.parametrize("head", ["gap", "conv", "flat"])
def test_a_pointwise_layer_moves_the_map_by_one_constant(head):
    """The amount is alpha' . b, with alpha' after the layer, whatever the number of channels."""
    model, x = chain(pointwise(), head), images()
    before, after = (zerocam.grad_cam(model, x, 1, layer=at, relu=False) for at in "01")
    alpha = zerocam.channel_weights(zerocam.tap(model, x, 1, layer="1").G)
    amount = alpha @ model[1].bias.detach()
    assert torch.equal(after - before, amount[:, None, None].expand_as(before))
    assert amount.all()


@pytest.mark.claim("H1")
def test_a_neighbourhood_or_a_bend_ends_it():
    x = images()
    for layer in (conv(7, K, 5), nn.Sequential(pointwise(), nn.ReLU())):
        model = chain(layer, "flat")
        before, after = (zerocam.grad_cam(model, x, 1, layer=at, relu=False) for at in "01")
        gap = after - before
        assert (gap.amax((1, 2)) > gap.amin((1, 2))).all()


# ---- EfficientNet-Lite0 on thirty pairs ---------------------------------------------------------


def study() -> studies.Result:
    return load("photographs")


@pytest.mark.claim("H2")
def test_zero_is_off_behind_the_relu_alone():
    assert study()["below_act"].max() == 0
    assert study()["off_act"].min() > 0.85
    assert max(study()[f"off_{layer}"].max() for layer in ("conv", "norm")) < 1e-3
    # ReLU6 leaves just the negative ones at zero.
    torch.testing.assert_close(study()["off_act"], study()["below_norm"], rtol=0, atol=1e-6)


@pytest.mark.claim("H2")
def test_the_highest_point_does_not_depend_on_the_module_and_the_shares_do():
    layers = ("conv", "norm", "act")
    assert min(study()[f"point_{layer}"].min() for layer in layers) == 1
    own, level = (
        torch.stack([study()[f"{key}_{layer}"] for layer in layers]) for key in ("own", "own_mean")
    )
    spread = [(values.amax(0) - values.amin(0)).mean() for values in (own, level)]
    assert spread[0] > 0.02
    assert spread[1] < spread[0] / 3
    assert torch.equal(study()["own_mean_conv"].round(decimals=3),
                       study()["own_mean_norm"].round(decimals=3))  # fmt: skip


@pytest.mark.claim("H3")
def test_its_head_is_nearly_zero_sum_and_still_free():
    net = imagenet.efficientnet_lite0()
    W = net.head.linear.weight.detach()
    assert W.mean(0).norm() / W.square().sum(1).mean().sqrt() < 0.01
    x = imagenet.imagenet_input(pictures.photograph("coffee"))[None]
    shift = zerocam.symmetries.SoftmaxShift(-W.amax(0))
    blue, layer = zerocam.reparametrize(net, "features", shift, x=x)
    with torch.no_grad():
        moved = (blue(x).softmax(1) - net(x).softmax(1)).abs().max()
    assert moved < 1e-5
    assert zerocam.grad_cam_all(blue, x, layer=layer, relu=False).max() <= 0
    assert zerocam.grad_cam(net, x, layer="features").max() > 0


@pytest.mark.claim("H4")
def test_the_audit_reads_the_same_on_every_pair():
    for found in study().seeds.values():
        assert {k[6:]: v for k, v in found.items() if k.startswith("audit_")} == METHODS


# ---- the families of torchvision ----------------------------------------------------------------


STORED = load("families").seeds
TOKENS = {"vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"}


@pytest.mark.claim("H5")
def test_every_classifier_run_has_a_layer_at_which_the_laws_hold():
    from torchvision import models as zoo

    names = zoo.list_models(module=zoo)
    assert len(STORED) >= 50
    for seed, row in STORED.items():
        assert row["name"] == names[seed]
        assert (row["mixing"], row["shift"]) == ("unchanged", "one constant"), row
        assert row["rows"] == row["columns"] > 1
        assert row["side"] <= 224
        assert (row["reading"] == "tokens") == (row["name"] in TOKENS)


USUAL = {"resnet18": "layer4", "resnet50": "layer4", "vgg16": "features.29",
         "densenet121": "features", "efficientnet_b0": "features", "mobilenet_v3_large": "features",
         "convnext_tiny": "features", "swin_t": "permute",
         "vit_b_16": "encoder.layers.encoder_layer_11.ln_1"}  # fmt: skip


@pytest.mark.claim("H5")
def test_the_layer_is_the_one_that_people_use():
    layers = {row["name"]: row["layer"] for row in STORED.values()}
    assert {name: layers[name] for name in USUAL} == USUAL


# The smallest of each way to end: a ReLU before a pooling that is the last layer; a mean over a
# ReLU; a convolution with a channel for each class; branches joined; a ReLU in the forward, behind
# a BatchNorm; a hard-swish before two linear layers; a mean in the forward; a LayerNorm over
# channels; channels last; tokens.
SMALLEST = [
    "alexnet", "resnet18", "squeezenet1_1", "googlenet", "densenet121", "mobilenet_v3_small",
    "shufflenet_v2_x0_5", "convnext_tiny", "swin_t", "vit_b_32",
]  # fmt: skip
SIBLINGS = [
    "efficientnet_b0", "efficientnet_v2_s", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v2", "regnet_x_400mf", "regnet_y_400mf", "resnext50_32x4d", "swin_v2_t", "vgg11",
    "vgg11_bn", "wide_resnet50_2",
]  # fmt: skip
SEEDS = {row["name"]: seed for seed, row in STORED.items()}


@pytest.mark.slow
@pytest.mark.claim("H5")
@pytest.mark.parametrize("name", turns.some(SMALLEST) + SIBLINGS * ALL_FAMILIES)
def test_the_smallest_of_each_family_is_computed_again(name):
    """Words and whole numbers: equal, on any machine.  Half of them in each commit: turns.py."""
    assert families(SEEDS[name]) == STORED[SEEDS[name]]


# ---- trained networks, where there are some -----------------------------------------------------


@pytest.mark.slow
def test_weights_in_the_cache_are_found_and_used(tmp_path, monkeypatch):
    """Random weights in the place of trained ones: the very same numbers come out."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = "mobilenet_v3_small"
    assert not imagenet.has_weights(name)
    file = torch.hub.get_dir() + "/checkpoints/mobilenet_v3_small-047dcff4.pth"
    (tmp_path / "checkpoints").mkdir()
    torch.save(imagenet.torchvision_net(name, seed=3).state_dict(), file)
    assert imagenet.has_weights(name)
    found = trained(name, [0])
    net = imagenet.torchvision_net(name, seed=3)
    monkeypatch.setattr(imagenet, "torchvision_net", lambda *_, **__: net)
    assert trained(name, [0]).seeds == found.seeds
    assert set(found.keys()) == {
        "common", "below", "off", "blank", "full", "own", "other", "point", "own_mean",
        "other_mean", "moved",
    }  # fmt: skip


RUN = ["resnet50", "swin_t"]  # activations never negative, or of both signs
ALSO_RUN = ["vgg16", "efficientnet_v2_s", "mobilenet_v3_large", "convnext_tiny", "vit_b_16"]


@pytest.mark.slow
@pytest.mark.parametrize("name", turns.some(RUN) + ALSO_RUN * ALL_FAMILIES)
def test_the_table_of_trained_networks_can_be_made(name, monkeypatch):
    """With random weights, and three classes: what the page runs where it finds trained ones."""
    net = few(imagenet.torchvision_net(name))
    monkeypatch.setattr(imagenet, "torchvision_net", lambda *_, **__: net)
    found = trained(name, [3], weights=None)
    assert (found["below"] > 0) == (name not in ("resnet50", "vgg16"))
    assert 0 < found.mean("common") < 1
    assert 0 <= found.mean("own") <= 1
    assert found["moved"] > 0


def few(net: nn.Module) -> nn.Module:
    """Three classes instead of a thousand: the maps of all are made at once."""
    last = last_linear(net)[1]
    draw = torch.Generator().manual_seed(0)
    last.weight = nn.Parameter(torch.randn(3, last.in_features, generator=draw))
    last.bias, last.out_features = nn.Parameter(torch.zeros(3)), 3
    return net
