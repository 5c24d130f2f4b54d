"""Chapters 3 and 9: what they claim beyond the laws of references and symmetries."""

import pytest
import torch
from nets import K, conv, heads, images, integers
from torch import nn

import zerocam


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
