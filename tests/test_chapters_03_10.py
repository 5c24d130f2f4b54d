"""Chapters 3 and 10: what they claim beyond the laws of references and symmetries."""

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from nets import K, Net, conv, h, heads, images, integers, w
from torch import nn

import zerocam
from zerocam import references
from zerocam.lab.studies import load


def batchnorm():
    """gamma (A - mu) / sigma + beta with sigma a power of two: exact on integers."""
    norm = nn.BatchNorm2d(K, eps=0.0).double().eval()
    with torch.no_grad():
        norm.weight.copy_(integers(K, seed=1) * 4), norm.bias.copy_(integers(K, seed=2))
    norm.running_mean.copy_(integers(K, seed=3))
    norm.running_var.copy_(torch.tensor([1.0, 4.0, 16.0]))
    return norm


@pytest.mark.claim("B7")
@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_a_convolution_and_its_batchnorm_give_maps_one_constant_apart(head):
    """The amount is alpha . t, with t = beta - gamma mu / sigma; the scale does nothing."""
    norm = batchnorm()
    model = nn.Sequential(conv(K, 2, seed=70), norm, heads()[head])
    x = images()
    at_conv, at_norm = (zerocam.grad_cam(model, x, 2, layer=name, relu=False) for name in "01")
    alpha = zerocam.channel_weights(zerocam.tap(model, x, 2, layer="1").G)
    t = (norm.bias - norm.weight * norm.running_mean / norm.running_var.sqrt()).detach()
    assert torch.equal(at_norm - at_conv, (alpha @ t)[:, None, None].expand_as(at_conv))
    assert (alpha @ t).all()


@pytest.mark.claim("B7")
def test_so_one_of_the_two_can_be_blank_and_the_other_not():
    model = nn.Sequential(conv(K, 2, seed=70), batchnorm(), heads()["gap"])
    alpha = zerocam.channel_weights(zerocam.tap(model, images(1), 2, layer="1").G)[0]
    model[1].bias.data -= 1000 * alpha.sign()
    assert zerocam.grad_cam(model, images(1), 2, layer="1").max() == 0
    assert zerocam.grad_cam(model, images(1), 2, layer="0").max() > 0


def study():
    return load("reference_study")


@pytest.mark.claim("G3")
def test_the_spatial_mean_fits_digits_better_at_15_percent_in_every_seed():
    for key in ("iou", "energy"):
        assert (study()[f"{key}_spatial_mean"] > study()[f"{key}_zero"]).all()
    assert (study()["other_spatial_mean"] < study()["other_zero"]).all()


@pytest.mark.claim("G3")
def test_at_their_best_thresholds_most_of_that_is_gone():
    best = {
        name: max(study().mean(f"curve_{name}_{cut}") for cut in range(5, 80, 5))
        for name in ("zero", "spatial_mean")
    }
    gain = study().mean("iou_spatial_mean") - study().mean("iou_zero")
    assert 0 < best["spatial_mean"] - best["zero"] < gain / 5


@pytest.mark.claim("G3")
def test_the_other_references_do_not_help():
    zero = study().mean("iou_zero")
    for name in ("data_mean", "blank_page"):
        assert abs(study().mean(f"iou_{name}") - zero) < 0.01
    assert study().mean("iou_blurred") < zero - 0.02


@pytest.mark.claim("G3")
def test_a_reference_without_a_place_only_moves_the_map_up_or_down():
    """Why a threshold does as well: M_r = M - alpha . r."""
    model, x, r = Net(heads()["mlp"]), images(), integers(1, K, 1, 1, seed=4)
    M, M_r = (
        zerocam.grad_cam(model, x, 1, layer="features", relu=False, reference=reference)
        for reference in (None, r)
    )
    alpha = zerocam.channel_weights(zerocam.tap(model, x, 1, layer="features").G)
    assert torch.equal(M - M_r, (alpha @ r.flatten())[:, None, None].expand_as(M))


@pytest.mark.claim("G4")
def test_referenced_to_its_mean_a_map_is_never_blank_and_its_sum_never_tells():
    """The same map counted from zero is blank: every position speaks against the class."""
    A = 8 * integers(2, K, h, w, seed=2).abs()
    alpha = -integers(2, K, seed=1).abs()
    M = zerocam.signed_map(alpha, A)
    M_mean = zerocam.signed_map(alpha, A - references.spatial_mean(A))
    assert (M < 0).all()
    assert (M_mean.amax((1, 2)) > 0).all()
    assert torch.equal(M_mean.sum((1, 2)), torch.zeros(2).double())


@pytest.mark.claim("G4")
def test_evidence_that_is_everywhere_the_same_disappears_against_the_mean():
    A = integers(1, K, 1, 1, seed=2).expand(1, K, h, w)
    alpha = integers(1, K, seed=1)
    assert zerocam.signed_map(alpha, A).all()
    assert not zerocam.signed_map(alpha, A - references.spatial_mean(A)).any()


@pytest.mark.claim("G1")
def test_for_an_averaging_linear_head_it_is_integrated_gradients_at_the_layer():
    model, x, blank = Net(heads()["gap"]), images(), images(1, seed=5)
    path = LayerIntegratedGradients(model, model.features)
    other = path.attribute(x, baselines=blank, target=2, n_steps=5).sum(1).detach()
    ours = zerocam.grad_cam(
        model, x, 2, layer="features", relu=False,
        reference=references.baseline(model, blank, "features"),
    )  # fmt: skip
    torch.testing.assert_close(other, ours, rtol=1e-6, atol=1e-6)  # its step sizes are float32
