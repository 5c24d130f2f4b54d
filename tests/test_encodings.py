"""Label encodings, the heads that absorb them, and trainings that mirror each other."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zerocam import grad_cam
from zerocam.lab.encodings import (
    decode,
    encode,
    loss_for,
    minus_one_hot,
    one_hot,
    plus_minus_one,
    scaled,
    smoothed,
    squared_error,
)
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.training import fit, mirrored
from zerocam.targets import logit, negative

C, K, N = 5, 3, 40
F64 = torch.float64


def integers(*shape: int, seed: int = 0, dtype=F64) -> torch.Tensor:
    """Small whole numbers, none of them 0, so that sums and products are exact."""
    g = torch.Generator().manual_seed(seed)
    sign = 2 * torch.randint(2, shape, generator=g) - 1
    return (sign * torch.randint(2, 9, shape, generator=g)).to(dtype)


# ---- by hand -----------------------------------------------------------------------------------


def test_encodings_by_hand():
    assert one_hot(2).tolist() == [[1, 0], [0, 1]]
    assert minus_one_hot(2).tolist() == [[-1, 0], [0, -1]]
    assert plus_minus_one(2).tolist() == [[1, -1], [-1, 1]]
    assert scaled(2, 2, 5).tolist() == [[7, 5], [5, 7]]
    assert smoothed(4, 0.5)[0].tolist() == [0.625, 0.125, 0.125, 0.125]
    assert encode(scaled(3, 2, 5), torch.tensor([1])).tolist() == [[5, 7, 5]]
    assert one_hot(2, dtype=F64).dtype == F64


def test_squared_error_by_hand():
    y, t = torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert squared_error(y, t) == (5 + 4) / 2 / 2


def test_its_slope_is_the_residual():
    y, t = integers(1, C).requires_grad_(), integers(1, C, seed=1)
    (slope,) = torch.autograd.grad(squared_error(y, t), y)
    assert torch.equal(slope, y.detach() - t)


def test_decode_by_hand():
    y = torch.tensor([[0.9, 0.2, 0.1], [-0.9, -0.2, -0.1]])
    assert decode(one_hot(3), y).tolist() == [0, 2]
    assert decode(minus_one_hot(3), y).tolist() == [2, 0]  # the lowest score
    assert decode(one_hot(3), torch.ones(1, 3)).tolist() == [0]  # of equals, the first


def test_a_code_that_is_not_square():
    """Three classes in two numbers, at different distances from zero."""
    T = torch.tensor([[1.0, 0.0], [4.0, 0.0], [0.0, -2.0]])
    assert encode(T, torch.tensor([2, 1])).tolist() == [[0, -2], [4, 0]]
    # (2, 0) is nearer to (1, 0) than to (4, 0), although its product with the latter is larger.
    assert decode(T, torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, -1.5]])).tolist() == [0, 1, 2]


# ---- laws --------------------------------------------------------------------------------------

ALL = [one_hot(C), minus_one_hot(C), plus_minus_one(C), scaled(C, 1, 3), smoothed(C, 0.3)]


@pytest.mark.parametrize("T", ALL)
def test_decode_undoes_encode(T):
    labels = torch.arange(C)
    assert torch.equal(decode(T, encode(T, labels)), labels)


@pytest.mark.parametrize("T", ALL)
def test_decode_is_the_nearest_row(T):
    T, y = T.double(), integers(N, C)
    distance = (y[:, None] - T).square().sum(2)
    chosen = distance.gather(1, decode(T, y)[:, None])[:, 0]
    assert torch.allclose(chosen, distance.amin(1))


@pytest.mark.claim("D1")
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_mirrored_training_keeps_the_features_bit_for_bit(optimiser, activation):
    scenes = digit_scenes(60, seed=0)
    x, targets = scenes.x, encode(one_hot(10), scenes.labels[:, 0])
    net = SceneNet(activation=activation, seed=3)
    net.head.linear.bias.data = torch.linspace(-1, 1, 10)  # no zeros: its sign must show
    twin, before = mirrored(net), net.features.conv1.weight.clone()
    for model, t in ((net, targets), (twin, -targets)):
        fit(model, x, t, loss=squared_error, epochs=2, lr=0.01, optimiser=optimiser,
            weight_decay=0.01)  # fmt: skip
    assert not torch.equal(net.features.conv1.weight, before)  # something was learnt
    theirs = twin.features.state_dict()
    assert all(torch.equal(v, theirs[name]) for name, v in net.features.state_dict().items())
    with torch.no_grad():
        assert torch.equal(net.features(x), twin.features(x))
        assert torch.equal(net(x), -twin(x))
    assert torch.equal(net.head.linear.weight, -twin.head.linear.weight)
    assert torch.equal(net.head.linear.bias, -twin.head.linear.bias)
    maps = (grad_cam(m, x, 4, layer="features", relu=False) for m in (net, twin))
    assert torch.equal(next(maps), -next(maps))


@pytest.mark.claim("D1")
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("loss", [squared_error, F.huber_loss, F.l1_loss])
def test_from_a_head_at_zero_the_same_start_gives_the_same_features(optimiser, loss):
    """Nothing is mirrored but the labels.  For a head that does not start at zero, it matters."""
    scenes = digit_scenes(60, seed=4)
    x, targets = scenes.x, encode(one_hot(10), scenes.labels[:, 0])
    for zero in (True, False):
        start = SceneNet(seed=6)
        if zero:
            start.head.linear.weight.data.zero_()
        net, twin = copy.deepcopy(start), copy.deepcopy(start)
        for model, t in ((net, targets), (twin, -targets)):
            fit(model, x, t, loss=loss, epochs=2, lr=0.01, optimiser=optimiser)
        assert not torch.equal(net.features.conv1.weight, start.features.conv1.weight)
        with torch.no_grad():
            assert torch.equal(net.features(x), twin.features(x)) == zero
            assert torch.equal(net(x), -twin(x)) == zero


@pytest.mark.claim("D2")
def test_from_an_ordinary_start_the_sign_goes_into_the_head():
    """No activation is negative; the evidence for the class that is there adds up below zero."""
    scenes = digit_scenes(1000, size=32, seed=0)
    x, labels = scenes.x, scenes.labels[:, 0]
    net = SceneNet(seed=3)
    how = {"loss": squared_error, "epochs": 2, "lr": 0.01, "optimiser": "adam"}
    fit(net, x, encode(minus_one_hot(10), labels), **how)
    with torch.no_grad():
        assert net.features(x).min() == 0
        assert (decode(minus_one_hot(10), net(x)) == labels).double().mean() > 0.6  # it did learn
    M = grad_cam(net, x, labels, layer="features", relu=False)
    assert (M.sum((1, 2)) < 0).double().mean() > 0.9


@pytest.mark.claim("D6")
def test_the_relu_keeps_the_other_side_when_labels_or_question_turn():
    """By hand: A is 1, 2 on two positions, the weight 3 or, mirrored, -3."""
    A = torch.tensor([[[[1.0, 2.0]]]], dtype=F64)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1, dtype=F64))
    net = nn.Sequential()
    net.features, net.head = nn.Identity(), head
    head[2].weight.data.fill_(3)
    twin = mirrored(net)
    up, question = logit(0), negative(0)
    cut = [grad_cam(m, A, t, layer="features") for m in (net, twin) for t in (up, question)]
    assert [L.flatten().tolist() for L in cut] == [[1.5, 3], [0, 0], [0, 0], [1.5, 3]]


@pytest.mark.claim("D1")
def test_cross_entropy_is_mirrored_with_the_softmax_of_minus_y():
    scenes = digit_scenes(60, seed=0)
    x, targets = scenes.x, encode(one_hot(10), scenes.labels[:, 0])
    net = SceneNet(seed=3)
    twin = mirrored(net)
    fit(net, x, targets, epochs=1)
    fit(twin, x, -targets, epochs=1, loss=lambda y, t: F.cross_entropy(-y, -t))
    with torch.no_grad():
        assert torch.equal(net.features(x), twin.features(x))
        assert torch.equal(net(x), -twin(x))


def test_mirrored_leaves_the_original_alone():
    net = SceneNet(seed=3)
    W = net.head.linear.weight.clone()
    assert torch.equal(mirrored(net).head.linear.weight, -W)
    assert torch.equal(net.head.linear.weight, W)


@pytest.mark.claim("D4")
@pytest.mark.parametrize(("scale", "shift"), [(2, -1), (-1, 0), (0.75, 0.125), (1, 7)])
def test_the_best_linear_head_absorbs_scale_and_shift(scale, shift):
    """W -> a W, b -> a b + u for features of any kind; the second route is least squares."""
    features, labels = integers(N, K), torch.arange(N) % C
    inputs = torch.cat([features, torch.ones(N, 1, dtype=F64)], 1)

    def best(T):
        return torch.linalg.lstsq(inputs, encode(T, labels), driver="gelsd").solution

    plain, other = best(one_hot(C, dtype=F64)), best(scaled(C, scale, shift, dtype=F64))
    predicted = scale * plain
    predicted[K] += shift
    torch.testing.assert_close(other, predicted, rtol=0, atol=1e-12)
    # Counter-law: without the bias the shift has to go into the weights.
    bare = torch.linalg.lstsq(features, encode(scaled(C, 1, 7, dtype=F64), labels)).solution
    plain_bare = torch.linalg.lstsq(features, encode(one_hot(C, dtype=F64), labels)).solution
    assert (bare - plain_bare).abs().max() > 0.1


@pytest.mark.claim("D4")
def test_where_the_optimum_is_not_unique_a_shift_can_go_into_the_weights():
    """A channel that that is 2 in each picture is a second bias, and the shortest head uses both.

    What the shift 7 adds is the shortest (w, b) with 2 w + b = 7: w = 14 / 5, b = 7 / 5.
    """
    features, labels = integers(N, K), torch.arange(N) % C
    features[:, 1] = 2
    inputs = torch.cat([features, torch.ones(N, 1, dtype=F64)], 1)
    plain, moved = (
        torch.linalg.lstsq(inputs, encode(scaled(C, 1, u, dtype=F64), labels), driver="gelsd")
        for u in (0, 7)
    )
    added = moved.solution - plain.solution
    wanted = torch.tensor([0, 14 / 5, 0, 7 / 5], dtype=F64)[:, None].expand(K + 1, C)
    torch.testing.assert_close(added, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(inputs @ added, torch.full((N, C), 7.0, dtype=F64))


@pytest.mark.claim("D4")
def test_a_shift_started_from_the_shifted_bias_changes_nothing():
    """The residual is the same whole number, so the training is, as long as sums are exact."""
    head, moved = nn.Linear(K, C, dtype=F64), nn.Linear(K, C, dtype=F64)
    with torch.no_grad():
        head.weight.copy_(integers(C, K))
        head.bias.copy_(integers(C, seed=1))
        moved.weight.copy_(head.weight)
        moved.bias.copy_(head.bias + 16)
    x, labels = integers(8, K, seed=2), torch.arange(8) % C
    for model, shift in ((head, 0), (moved, 16)):
        T = scaled(C, 1, shift, dtype=F64)
        fit(model, x, encode(T, labels), loss=squared_error, epochs=3, batch=8, lr=2.0**-6,
            momentum=0.5, decay=False)  # fmt: skip
    assert torch.equal(head.weight, moved.weight)
    assert torch.equal(head.bias + 16, moved.bias)


@pytest.mark.claim("D3")
def test_cross_entropy_of_minus_one_hot_has_no_floor():
    """By hand: for scores (-t, t), own class first, the loss is log p = -2t - log(1 + e^-2t)."""
    targets = encode(minus_one_hot(2, dtype=F64), torch.tensor([0]))
    for t in (1.0, 10.0, 100.0, 1000.0):
        y = torch.tensor([[-t, t]], dtype=F64)
        assert -2 * t - 1 < F.cross_entropy(y, targets) <= -2 * t
        assert F.cross_entropy(-y, -targets) >= 0  # the mirror has one


@pytest.mark.claim("D5")
def test_the_seed_chooses_the_sign_of_the_map_for_any_encoding():
    """Backward from -e_c gives minus the map of e_c, whatever the net was trained on."""
    scenes = digit_scenes(12, seed=0)
    net = SceneNet(seed=3)
    A = net.features.eval()(scenes.x).detach().requires_grad_()
    y = net.head(A)
    seed = torch.zeros_like(y)
    seed[:, 4] = 1
    (G,) = torch.autograd.grad(y, A, seed, retain_graph=True)
    (minus,) = torch.autograd.grad(y, A, -seed)
    assert torch.equal(minus, -G)
    M = torch.einsum("nk,nkij->nij", G.mean((2, 3)), A.detach())
    assert torch.equal(M, grad_cam(net.eval(), scenes.x, 4, layer="features", relu=False))


# ---- refusals ----------------------------------------------------------------------------------


def test_loss_for():
    assert loss_for(minus_one_hot(C)) is squared_error
    assert loss_for(smoothed(C, 0.1), "cross_entropy") is F.cross_entropy


def test_refusals():
    with pytest.raises(ValueError, match=r"lowest target of -1.*unbounded below.*squared error"):
        loss_for(minus_one_hot(C), "cross_entropy")
    with pytest.raises(ValueError, match=r"unbounded below"):
        loss_for(plus_minus_one(C), "cross_entropy")
    with pytest.raises(ValueError, match=r"unbounded below"):
        loss_for(scaled(2, 3, -1), "cross_entropy")  # rows (2, -1) sum to 1, and yet
    with pytest.raises(ValueError, match=r"rows that sum to .*wanted 1"):
        loss_for(scaled(C, 2), "cross_entropy")
    with pytest.raises(ValueError, match=r"amount: got 1"):
        smoothed(C, 1)
    with pytest.raises(ValueError, match=r"labels: got 0 to 5, wanted 0 to 4"):
        encode(one_hot(C), torch.tensor([0, 5]))
    with pytest.raises(ValueError, match=r"labels: got -1"):
        encode(one_hot(C), torch.tensor([-1]))
    net = SceneNet()
    net.head.append(nn.ReLU())
    with pytest.raises(ValueError, match=r"head that ends in ReLU, wanted a Linear"):
        mirrored(net)


def test_an_unknown_kind(untyped):
    with pytest.raises(ValueError, match="kind: got 'hinge', wanted squared or cross_entropy"):
        loss_for(one_hot(C), "hinge")
