"""Signs of channels: a network trained the other way round, and what clipping makes of it."""

import copy

import pytest
import torch

import zerocam
from zerocam import methods
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes, scene
from zerocam.lab.training import fit
from zerocam.recode import reparametrize
from zerocam.symmetries import sign_flip

AT = {"layer": "features", "relu": False}
E = torch.tensor([-1.0, 1.0] * 16).double()
X = scene((2, 7), size=32, dtype=torch.float64).x


def turned(net):
    twin = copy.deepcopy(net)
    twin.features.conv4.weight.data *= E[:, None, None, None]
    twin.head.linear.weight.data *= E
    return twin


def trained(net):
    data = digit_scenes(60, size=32, seed=0, dtype=torch.float64)
    return net, fit(net, data.x, data.labels[:, 0], epochs=2).steps


@pytest.mark.claim("B2")
def test_a_tanh_network_turned_at_the_start_learns_the_same_function_bit_for_bit():
    start = SceneNet(activation="tanh", dtype=torch.float64)
    (second, after), (first, before) = trained(turned(start)), trained(start)
    assert before == after
    A, B = (zerocam.activations(net, X, layer="features") for net in (first, second))
    assert torch.equal(B, A * E[:, None, None])
    assert torch.equal(second(X), first(X))
    assert torch.equal(zerocam.grad_cam(second, X, 7, **AT), zerocam.grad_cam(first, X, 7, **AT))


@pytest.mark.claim("F4")
def test_a_relu_network_turned_at_the_start_is_another_function():
    start = SceneNet(dtype=torch.float64).eval()
    assert (turned(start)(X) - start(X)).abs().max() > 0.1 * start(X).abs().max()


@pytest.mark.claim("B6")
def test_signs_take_layer_cam_from_grad_cam_to_nothing():
    """Below an average: all weights positive, nothing is clipped; all negative, everything is."""
    net = SceneNet(activation="tanh", dtype=torch.float64).eval()
    M = zerocam.grad_cam(net, X, 7, **AT)
    alpha = zerocam.channel_weights(zerocam.tap(net, X, 7, layer="features").G)[0]
    ends = []
    for signs in (alpha.sign(), -alpha.sign()):
        flipped, layer = reparametrize(net, "features", sign_flip(signs))
        ends.append(methods.layer_cam(flipped, X, 7, layer=layer, relu=False))
    torch.testing.assert_close(ends[0], M, rtol=1e-12, atol=1e-12 * M.abs().max().item())
    assert not ends[1].any()
    assert M.any()
