"""The local score, M - mean(M) + s/Z: by hand, laws, what it can say, tokens, refusals.

Integer weights, unimodular mixings and a power of two for Z and for the number of classes make the
arithmetic exact (nets.py, strategies.py), so "equal" means in every bit unless a comment says why
not.
"""

import functools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import K, Net, Square, Z, h, heads, images, integers, linear, w
from strategies import integers_like, unimodular
from torch import nn

import zerocam
from zerocam import cam, methods, references, symmetries, targets
from zerocam.recode import reparametrize

HEADS = [*heads(), "flat mlp"]
AFFINE = st.builds(symmetries.affine, unimodular(K), integers_like(K))
CLASS = 3
few = settings(max_examples=6)  # where each example copies and runs a network
OF_THE_GRADIENT = [
    methods.GRAD_CAM, methods.hires_cam, methods.layer_cam, methods.grad_cam_pp, methods.xgrad_cam,
]  # fmt: skip
TARGETS = [
    targets.logit(), targets.centred(1), targets.log_probability(2), targets.probability(0),
    targets.negative(2), lambda y: (y.sin() * y).sum(1),
]  # fmt: skip
OTHERS = [methods.eigen_cam, methods.lafam, methods.score_cam, methods.ablation_cam]


def named(method):
    return method.__name__


def net(kind):
    """One of nets.heads, or one whose gradients vary over positions; four classes."""
    head = heads().get(kind) or nn.Sequential(
        nn.Flatten(), linear(6, K * Z, 20), Square(), linear(4, 6, 30)
    )
    head[-1] = linear(4, head[-1].in_features, 50)
    return Net(head)


def local(model, x=None, target=CLASS, layer="features", **kw):
    x = images() if x is None else x
    kw = {"relu": False, "complete": True} | kw
    return zerocam.grad_cam(model, x, target, layer=layer, **kw)


# ---- by hand ------------------------------------------------------------------------------------


def test_a_map_and_a_score_by_hand():
    """Its mean is 1, and the score 8 is shared out between four positions."""
    M = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]])
    wanted = [[[2.0, 4.0], [1.0, 1.0]], [[-2.0, -2.0], [-2.0, -2.0]]]
    assert cam.local_score(M, torch.tensor([8.0, -8.0])).tolist() == wanted


def test_a_network_by_hand():
    """y = 8 mean(A) - 4 on two positions: each says (8 a - 4) / 2; the ReLU comes last."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
    model, x = nn.Sequential(nn.Identity(), head), torch.tensor([[[[1.0, -1.0]]]])
    with torch.no_grad():
        head[2].weight.fill_(8.0)
        head[2].bias.fill_(-4.0)
    assert zerocam.grad_cam(model, x, 0, layer="0", relu=False).tolist() == [[[4, -4]]]
    assert local(model, x, 0, "0").tolist() == [[[2, -6]]]
    assert local(model, x, 0, "0", relu=True).tolist() == [[[2, 0]]]
    assert local(model, x, targets.negative(0), "0").tolist() == [[[-2, 6]]]


# ---- laws (G5) ----------------------------------------------------------------------------------


@pytest.mark.claim("G5")
@pytest.mark.parametrize("kind", HEADS)
def test_it_sums_to_the_score_and_differs_from_the_map_by_one_constant(kind):
    model, x = net(kind), images()
    L = local(model)
    assert torch.equal(L.sum((1, 2)), model(x)[:, CLASS].detach())
    up = L - zerocam.grad_cam(model, x, CLASS, layer="features", relu=False)
    assert torch.equal(up, up[:, :1, :1].expand_as(up))
    assert up.all()


@pytest.mark.claim("G5")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(T=AFFINE, S=st.data())
def test_no_recoding_of_channels_or_scores_moves_it(kind, T, S):
    model, x = net(kind), images()
    v = S.draw(integers_like(model.head[-1].in_features))
    new, layer = reparametrize(model, "features", T, x=x)
    assert torch.equal(local(new, layer=layer), local(model))
    new, layer = reparametrize(new, layer, symmetries.SoftmaxShift(v, 3.0), x=x)
    centred = targets.centred(CLASS)
    assert torch.equal(local(new, target=centred, layer=layer), local(model, target=centred))


@pytest.mark.claim("G5")
def test_a_softmax_shift_moves_that_of_a_logit_by_the_share_of_each_position():
    """What every class gains is the local score of v . z + beta itself."""
    model, x, v = net("gap"), images(), integers(K, seed=3)
    new, _ = reparametrize(model, "features", symmetries.SoftmaxShift(v, 3.0), x=x)
    A = zerocam.activations(model, x, layer="features")
    field = (torch.einsum("k,nkij->nij", v, A) + 3) / Z
    assert torch.equal(local(new), local(model) + field)


@pytest.mark.claim("G5")
def test_below_an_average_and_a_linear_layer_it_is_the_heads_score_of_each_position():
    model, x = net("gap"), images()
    A = zerocam.activations(model, x, layer="features")
    tiles = A.flatten(2).mT.reshape(-1, K, 1, 1).expand(-1, -1, h, w)
    said = model.head(tiles).detach().view(len(x), h, w, 4) / Z
    assert torch.equal(local(model), said[..., CLASS])
    every = zerocam.grad_cam_all(model, x, layer="features", relu=False, complete=True)
    assert torch.equal(every, said.movedim(3, 1))


@pytest.mark.claim("G5")
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**20),
    layer=st.sampled_from("01234"),
    method=st.sampled_from(OF_THE_GRADIENT),
    target=st.sampled_from(TARGETS),
)
def test_it_sums_to_any_score_at_every_layer_of_a_random_network(seed, layer, method, target):
    """Not exact: tanh, softmax and BatchNorm round."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 6, 2), nn.GELU(),
            nn.Flatten(), nn.Linear(6 * 20, 7), nn.Sigmoid(), nn.Linear(7, 3),
        ).double().eval()  # fmt: skip
        x = torch.randn(2, 2, 8, 7).double()
    L = method(model, x, target, layer=layer, relu=False, complete=True)
    s = target(model(x)).detach()
    torch.testing.assert_close(L.sum((1, 2)), s, rtol=1e-11, atol=1e-12)
    assert torch.equal(method(model, x, target, layer=layer, complete=True), L.relu())


# ---- what it can say (G6) -----------------------------------------------------------------------


@pytest.mark.claim("G6")
@pytest.mark.parametrize("sign", [-1, 1])
def test_it_says_absent_and_everywhere_where_the_spatial_mean_has_both_colours(sign):
    """Every position alone would make the head say no, or yes: so says the map, at each."""
    model, x = net("gap"), images()
    A = zerocam.activations(model, x, layer="features")
    said = torch.einsum("k,nkij->nij", model.head[-1].weight[CLASS].detach(), A)
    with torch.no_grad():
        model.head[-1].bias[CLASS] = sign * (said.abs().max() + 1)
    assert (sign * local(model) > 0).all()
    mean = zerocam.grad_cam(model, x, CLASS, layer="features", relu=False,
                            reference=references.spatial_mean)  # fmt: skip
    assert (mean < 0).any()
    assert (mean > 0).any()
    plain = zerocam.grad_cam(model, x, CLASS, layer="features", relu=False)  # knows no bias
    assert (plain < 0).any()
    assert (plain > 0).any()
    why = zerocam.explain_blank(model, x, CLASS, layer="features", complete=True)
    assert why == ["all negative" if sign < 0 else "not blank"] * 2


def test_a_silent_layer_is_named_also_where_the_bias_lifts_the_map():
    model = net("gap")
    with torch.no_grad():
        for p in model.features.parameters():
            p.zero_()
    assert local(model).all()
    at = {"layer": "features", "complete": True}
    assert zerocam.explain_blank(model, images(), CLASS, **at) == ["silent layer"] * 2


# ---- with a reference, with all classes, with other methods -------------------------------------


@pytest.mark.parametrize("kind", HEADS)
def test_a_reference_that_is_the_same_at_all_positions_makes_no_difference(kind):
    model = net(kind)
    r = integers(1, K, 1, 1, seed=4)
    for reference in (references.zero, references.spatial_mean, r):
        assert torch.equal(local(model, reference=reference), local(model))
    page = references.baseline(model, images(1, seed=90), "features")
    assert torch.equal(local(model, reference=page).sum((1, 2)), local(model).sum((1, 2)))
    assert not torch.equal(local(model, reference=page), local(model))


@pytest.mark.parametrize("kind", HEADS)
def test_all_classes_at_once_are_the_classes_one_by_one(kind):
    model, x = net(kind), images()
    for relu in (False, True):
        every = zerocam.grad_cam_all(model, x, layer="features", relu=relu, complete=True)
        for c in range(4):
            assert torch.equal(every[:, c], local(model, target=c, relu=relu))
    centred = zerocam.grad_cam_all(model, x, layer="features", relu=False, complete=True)
    centred = centred - centred.mean(1, keepdim=True)
    assert torch.equal(centred[:, CLASS], local(model, target=targets.centred(CLASS)))


@pytest.mark.parametrize("method", OF_THE_GRADIENT, ids=named)
def test_each_method_in_the_unit_of_the_score_can_be_completed(method):
    model, x = net("flat mlp"), images()
    M = method(model, x, CLASS, layer="features", relu=False)
    wanted = cam.local_score(M, model(x)[:, CLASS].detach())
    made = zerocam.tap(model, x, CLASS, layer="features")
    kept = replace(method, relu=False, options={"complete": True})
    assert torch.equal(method(model, x, CLASS, layer="features", complete=True), wanted.relu())
    assert torch.equal(method.of(made, complete=True, relu=False), wanted)
    assert torch.equal(kept.of(made), wanted)
    assert torch.equal(kept.of(made, complete=False), M)
    wrapped = methods.Method.wrap(functools.partial(method, relu=False, complete=True))
    assert torch.equal(wrapped(model, x, CLASS, layer="features"), wanted)


@pytest.mark.parametrize("method", OTHERS, ids=named)
def test_a_map_in_another_unit_is_not_completed_and_says_why(method):
    model, x = net("gap"), images()
    message = rf"complete: got {method.name}, a map of the {method.needs} that is not in \[score\]"
    with pytest.raises(ValueError, match=message):
        method(model, x, CLASS, layer="features", complete=True)
    plain = method(model, x, CLASS, layer="features")
    assert torch.equal(method(model, x, CLASS, layer="features", complete=False), plain)
    if method.needs == "activations":
        with pytest.raises(ValueError, match=message):
            method.of(zerocam.tap(model, x, CLASS, layer="features"), complete=True)


# ---- tokens, formats, cost ----------------------------------------------------------------------


class Attention(nn.Module):
    """A class token and six patch tokens, which look at each other twice; then a linear layer."""

    def __init__(self):
        super().__init__()
        self.patches, self.fc = nn.Conv2d(2, 8, 2, 2), nn.Linear(8, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.first, self.second = (
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=True) for _ in range(2)
        )

    def forward(self, x):
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.patches(x).flatten(2).mT], 1)
        return self.fc(self.second(self.first(tokens))[:, 0])


@pytest.mark.claim("G5")
def test_tokens_outside_the_grid_have_no_share_and_the_grid_sums_to_the_score():
    """Z counts the positions of the grid, 6 of 7 tokens.  Not exact: attention rounds."""
    model, x = Attention().double().eval(), torch.randn(2, 2, 4, 6).double()
    y, reshape = model(x).detach(), zerocam.tokens_to_map(2, 3, skip=1)
    at = {"layer": "first", "relu": False, "reshape": reshape}
    M = zerocam.grad_cam(model, x, 2, **at)
    L = zerocam.grad_cam(model, x, 2, complete=True, **at)
    torch.testing.assert_close(L.sum((1, 2)), y[:, 2], rtol=1e-11, atol=1e-12)
    assert not torch.allclose(M.sum((1, 2)), y[:, 2])
    share = (y[:, 2] - M.sum((1, 2))) / 6
    torch.testing.assert_close(L - M, share[:, None, None].expand_as(L), rtol=1e-9, atol=1e-12)
    every = zerocam.grad_cam_all(model, x, complete=True, **at)
    torch.testing.assert_close(every.sum((2, 3)), y, rtol=1e-11, atol=1e-12)


def test_a_score_in_half_precision_is_shared_out_in_float32():
    model, x = net("gap").float(), images().float()
    with torch.autocast("cpu", torch.bfloat16):
        L = local(model, x)
        s = model(x)[:, CLASS].detach()
    assert s.dtype == torch.bfloat16
    torch.testing.assert_close(L.sum((1, 2)), s.float(), rtol=1e-5, atol=1e-4)
    assert L.dtype == torch.float32
    third = cam.local_score(torch.zeros(1, 1, 3), torch.ones(1, dtype=torch.bfloat16))
    assert torch.equal(third, torch.ones(1, 1, 3) / 3)  # in bfloat16 a third is 0.334


@pytest.mark.parametrize("what", [zerocam.grad_cam, zerocam.grad_cam_all])
def test_it_runs_the_network_as_often_as_without(what):
    """Once: the score is that of the pass that gave the map."""
    model, runs = net("mlp"), []
    model.register_forward_hook(lambda *_: runs.append(1))
    what(model, images(), layer="features", complete=True)
    assert runs == [1]
