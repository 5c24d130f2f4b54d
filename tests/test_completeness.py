"""The local score M - mean(M) + s/Z: by hand, then its laws for any head, then what it can say."""

import functools
import math
from dataclasses import replace

import pytest
import torch
from nets import C, K, Net, Z, heads, images
from torch import nn

import zerocam
from zerocam import Refused, cam, methods, references, targets
from zerocam.lab.nets import scene_net
from zerocam.lab.scenes import digit_scenes, scene
from zerocam.recode import reparametrize
from zerocam.symmetries import SoftmaxShift, random_symmetry

AFFINE = ("permutation", "scaling", "sign flip", "mixing", "shift", "affine")


class Attention(nn.Module):
    """Attention over the positions, a class token among them that the scores read."""

    def __init__(self, extra: int = 1):
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.tokens = nn.Identity()
        self.token = nn.Parameter(torch.randn(1, extra, K, generator=g, dtype=torch.float64))
        self.attend = nn.MultiheadAttention(K, 1, batch_first=True, dtype=torch.float64)
        self.fc, self.extra = nn.Linear(K, C, dtype=torch.float64), extra
        with torch.no_grad():
            for p in (*self.attend.parameters(), *self.fc.parameters()):
                p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))

    def forward(self, A):
        tokens = A.flatten(2).mT
        tokens = self.tokens(torch.cat([self.token.expand(len(A), -1, -1), tokens], 1))
        return self.fc(self.attend(tokens, tokens, tokens)[0][:, 0])


HEADS = {**heads(), "attention": Attention()}


def local(model, x, target, layer="features", **more):
    return zerocam.grad_cam(model, x, target, layer=layer, relu=False, complete=True, **more)


def model_of(head: str) -> Net:
    torch.manual_seed(0)
    return Net(HEADS[head])


def close(a, b, digits=9):
    size = max(1.0, b.abs().max().item())
    return bool((a - b).abs().max() <= size * 10**-digits)


def test_by_hand():
    """Two channels, two positions: s = 3 a_1 + a_2 - 2 of the mean."""
    net = nn.Sequential(
        nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    ).double()
    with torch.no_grad():
        net[3].weight.copy_(torch.tensor([[3.0, 1.0]]))
        net[3].bias.fill_(-2)
    A = torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]]).double()
    assert local(net, A, 0, layer="0").tolist() == [[[1, 0]]]
    assert zerocam.grad_cam(net, A, 0, layer="0", complete=True).tolist() == [[[1, 0]]]
    assert local(net, -A, 0, layer="0").tolist() == [[[-3, -2]]]
    cut = zerocam.grad_cam(net, -A, 0, layer="0", complete=True)
    assert not cut.any()  # the ReLU comes last
    assert zerocam.explain_blank(net, -A, 0, layer="0", complete=True) == ["all negative"]
    with torch.no_grad():
        net[3].bias.fill_(10)  # the head leans to the class all the same
    assert zerocam.explain_blank(net, -A, 0, layer="0") == ["all negative"]
    assert zerocam.explain_blank(net, -A, 0, layer="0", complete=True) == ["not blank"]
    two = cam.local_score(torch.ones(2, 3, 4), torch.tensor([12.0, 24.0]))
    assert two.sum((1, 2)).tolist() == [12, 24]


@pytest.mark.claim("G5")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", AFFINE)
def test_no_affine_recoding_moves_it(head, kind):
    """In float64; the mixings here have a condition number below 100."""
    model, x = model_of(head), images()
    before = local(model, x, 2)
    T = random_symmetry(kind, K, seed=3)
    assert close(local(*_swap(reparametrize(model, "features", T, x=x), x)), before, 7)
    if kind == "shift":
        both = (model, "features"), reparametrize(model, "features", T, x=x)
        plain = [zerocam.grad_cam(m, x, 2, layer=at, relu=False) for m, at in both]
        assert not close(*plain, 3)


def _swap(recoded, x):
    model, layer = recoded
    return model, x, 2, layer


@pytest.mark.claim("G5")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("target", [targets.logit(3), targets.log_odds(3), targets.probability(3)])
def test_it_adds_up_to_the_score_for_any_head(head, target):
    model, x = model_of(head), images() / 64
    s = zerocam.tap(model, x, target, layer="features").s
    assert close(local(model, x, target).sum((1, 2)), s)


@pytest.mark.claim("G5")
@pytest.mark.parametrize("layer", ["features.conv1", "features.act2", "features.norm3", "features"])
def test_it_adds_up_to_the_score_at_every_layer(layer):
    net, x = scene_net(dtype=torch.float64), scene((2, 7), dtype=torch.float64).x
    s = zerocam.tap(net, x, 2, layer=layer).s
    assert close(local(net, x, 2, layer).sum((1, 2)), s)
    plain = zerocam.grad_cam(net, x, 2, layer=layer, relu=False).sum((1, 2))
    assert (plain - s).abs() > 0.05


@pytest.mark.claim("G5")
def test_below_an_average_it_is_the_heads_score_of_a_picture_everywhere_like_this_position():
    model, x = model_of("gap"), images()
    A = model.features(x).detach()
    everywhere = A.flatten(2).permute(0, 2, 1)[..., None, None].expand(-1, -1, -1, *A.shape[2:])
    asked = torch.stack([model.head(a)[:, 1] for a in everywhere]).unflatten(1, A.shape[2:]) / Z
    assert close(local(model, x, 1), asked.detach())
    bias = model.head[2].bias.detach()[1]
    signed = zerocam.grad_cam(model, x, 1, layer="features", relu=False)
    assert close(local(model, x, 1), signed + bias / Z)  # the bias, put back


@pytest.mark.claim("G5")
@pytest.mark.parametrize("target", [targets.centred, targets.log_odds, targets.log_probability])
def test_with_a_target_of_differences_no_softmax_shift_moves_it(target):
    model, x = model_of("gap"), images() / 64
    before = local(model, x, target(1))
    plain = local(model, x, 1)
    v = SoftmaxShift(torch.tensor([3.0, -2.0, 5.0]).double(), beta=4.0)
    with torch.no_grad():
        W, b = v(model.head[2].weight, model.head[2].bias)
        model.head[2].weight.copy_(W), model.head[2].bias.copy_(b)
    assert close(local(model, x, target(1)), before)
    assert not close(local(model, x, 1), plain, 2)


@pytest.mark.parametrize("relu", [True, False])
def test_all_classes_at_once_are_the_classes_one_by_one(relu):
    for head in HEADS:
        model, x = model_of(head), images()
        at = {"layer": "features", "relu": relu, "complete": True}
        every = zerocam.grad_cam_all(model, x, **at)
        one_by_one = [zerocam.grad_cam(model, x, c, **at) for c in range(C)]
        assert close(every, torch.stack(one_by_one, 1)), head


def test_a_reference_without_a_place_changes_nothing():
    model, x = model_of("conv"), images()
    with_mean = local(model, x, 2, reference=references.spatial_mean)
    assert close(with_mean, local(model, x, 2))
    page = references.baseline(model, images(1, seed=9), "features")
    assert close(local(model, x, 2, reference=page).sum((1, 2)), local(model, x, 2).sum((1, 2)))
    assert not close(local(model, x, 2, reference=page), local(model, x, 2), 3)


def test_tokens_that_are_left_out_get_no_share():
    model, x = Net(Attention(extra=2)), images()
    fold = zerocam.tokens_to_map(2, 4, skip=2)
    at = {"layer": "head.tokens", "reshape": fold}
    L = local(model, x, 2, **at)
    assert L.shape == (2, 2, 4)
    assert close(L.sum((1, 2)), model(x)[:, 2].detach())


@pytest.mark.parametrize(
    "method", [methods.hires_cam, methods.layer_cam, methods.grad_cam_pp, methods.xgrad_cam]
)
def test_every_method_of_scores_can_be_completed(method):
    model, x = model_of("conv"), images()
    made = zerocam.tap(model, x, 1, layer="features")
    M = method(model, x, 1, layer="features", relu=False)
    L = method(model, x, 1, layer="features", relu=False, complete=True)
    assert close(L.sum((1, 2)), made.s)
    assert close(L - L.mean((1, 2), keepdim=True), M - M.mean((1, 2), keepdim=True))
    always = replace(method, options={"complete": True}, relu=False)
    assert torch.equal(always(model, x, 1, layer="features"), L)
    assert torch.equal(always.of(made), L)
    assert torch.equal(always.of(made, complete=False), M)
    assert "complete=True" in repr(always)


def test_grad_cam_with_choices_is_a_method_that_completes():
    chosen = methods.Method.wrap(functools.partial(zerocam.grad_cam, relu=False, complete=True))
    model, x = model_of("mlp"), images()
    assert chosen.options == {"complete": True}
    assert torch.equal(chosen(model, x, 1, layer="features"), local(model, x, 1))
    made = zerocam.tap(model, x, 1, layer="features")
    assert torch.equal(chosen.of(made), local(model, x, 1))


@pytest.mark.parametrize("method", [methods.lafam, methods.eigen_cam, methods.score_cam])
def test_a_map_of_activations_has_no_score_to_share(method):
    model, x = model_of("gap"), images()
    with pytest.raises(Refused, match="that is not in") as refused:
        method(model, x, 1, layer="features", complete=True)
    assert refused.value.what == "complete"
    made = zerocam.tap(model, x, 1, layer="features")
    with pytest.raises(Refused, match="complete: got"):
        methods.lafam.of(made, complete=True)


@pytest.mark.claim("G6")
def test_it_says_absent_and_everywhere_and_a_map_that_sums_to_zero_cannot():
    """One head that reads its channel less 3: all 1, all 5, and half of each."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
    with torch.no_grad():
        net[3].weight.fill_(1), net[3].bias.fill_(-3)
    A = torch.tensor([[1.0, 1.0], [5.0, 5.0], [1.0, 5.0]])[:, None, None]
    assert local(net, A, 0, layer="0").tolist() == [[[-1, -1]], [[1, 1]], [[-1, 1]]]
    mean = {"layer": "0", "relu": False, "reference": references.spatial_mean}
    M = zerocam.grad_cam(net, A, 0, **mean)
    assert M.tolist() == [[[0, 0]], [[0, 0]], [[-1, 1]]]


@pytest.mark.claim("G6")
def test_it_tells_present_from_absent_and_has_the_order_of_the_signed_map():
    """On 100 pages: the sum of the local score does, that of the map less its mean cannot."""
    net = scene_net(dtype=torch.float64)
    pages = digit_scenes(100, digits=2, split="test", seed=11, dtype=torch.float64)
    at = {"layer": "features", "relu": False}
    on_page = torch.zeros(100, 10, dtype=torch.bool).scatter_(1, pages.labels, True)
    L = zerocam.grad_cam_all(net, pages.x, complete=True, **at)
    M = zerocam.grad_cam_all(net, pages.x, **at)
    a, b = L.sum((2, 3))[on_page][:, None], L.sum((2, 3))[~on_page]
    assert (a > b).double().mean() > 0.85  # the network's own score; 0.93 in the chapter
    apart = L - M  # one number for each map: it cannot find what M does not
    assert close(apart, apart.mean((2, 3), keepdim=True).expand_as(apart))


def test_it_costs_no_second_pass():
    calls = []
    model, x = model_of("mlp"), images()
    model.features.register_forward_hook(lambda *_: calls.append(1))
    local(model, x, 2)
    assert len(calls) == 1


# ---- log-odds --------------------------------------------------------------------------------


def test_log_odds_by_hand():
    y = torch.tensor([[0.0, 0.0, math.log(2.0)]], dtype=torch.float64)
    assert close(targets.log_odds(2)(y), torch.tensor([0.0]).double())  # 2 of 4: one half
    assert close(targets.log_odds(0)(y), torch.tensor([1 / 3], dtype=torch.float64).log())
    assert close(targets.log_odds()(y), targets.log_odds(2)(y))
    two = y[:, [0, 2]]
    assert close(targets.log_odds(1)(two), targets.contrast(1, 0)(two))


def test_log_odds_are_those_of_the_probability_and_fade_for_no_class():
    y = 50 * torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for c in range(5):
        p = (y / 50).softmax(1)[:, c]
        assert close(targets.log_odds(c)(y / 50), (p / (1 - p)).log())
        z = y.clone().requires_grad_()
        (slope,) = torch.autograd.grad(targets.log_odds(c)(z).sum(), z)
        assert bool((slope[:, c] == 1).all())  # while that of log p is 0 for the sure class
        z = y.clone().requires_grad_()
        (faded,) = torch.autograd.grad(targets.log_probability(c)(z).sum(), z)
        sure = y.softmax(1)[:, c] > 1 - 1e-12
        assert bool((faded[sure].abs() < 1e-9).all())
    shifted = y + 7 * y.sum(1, keepdim=True)
    assert close(targets.log_odds(1)(shifted), targets.log_odds(1)(y))
    with pytest.raises(Refused, match="wanted two or more"):
        targets.log_odds(0)(torch.ones(2, 1))
