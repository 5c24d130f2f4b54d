"""Chapter 8: who put the zero there.  Whole numbers in float64, so equal means equal."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.functional import normalize

from zerocam import activations
from zerocam.imagenet import efficientnet_lite0, imagenet_input
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies import DropTo, he, load
from zerocam.lab.training import fit
from zerocam.recode import reparametrize
from zerocam.symmetries import random_symmetry, shift

F64 = torch.float64


def integers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Small whole numbers, none of them 0."""
    g = torch.Generator().manual_seed(seed)
    sign = 2 * torch.randint(2, shape, generator=g) - 1
    return (sign * torch.randint(2, 9, shape, generator=g)).to(F64)


# ---- F1: the padding ---------------------------------------------------------------------------


@pytest.mark.claim("F1")
def test_an_inverted_row_by_hand():
    row, w = torch.tensor([[[0.0, 1, 1, 0]]]), torch.tensor([[[1.0, 2, 5]]])
    before = F.conv1d(row, w, padding=1)
    after = F.conv1d(1 - row, -w, w.sum((1, 2)), padding=1)
    assert before.tolist() == [[[5, 7, 3, 1]]]
    assert (after - before).tolist() == [[[1, 0, 0, 5]]]


@pytest.mark.claim("F1")
@pytest.mark.parametrize("stride", [1, 2])
def test_inversion_costs_the_weights_that_look_at_the_padding(stride):
    """Moves by the sum of the taps outside, exactly; by nothing once the padding is 1."""
    x, W, b = integers(2, 3, 6, 8), integers(5, 3, 3, 3, seed=1), integers(5, seed=2)
    was = F.conv2d(x, W, b, stride, 1)
    compensated = b + W.sum((1, 2, 3))
    moved = F.conv2d(1 - x, -W, compensated, stride, 1) - was
    outside = F.pad(torch.zeros(1, 3, 6, 8, dtype=F64), (1, 1, 1, 1), value=1.0)
    assert torch.equal(moved, F.conv2d(outside, W, stride=stride).expand_as(moved))
    assert moved.any()
    assert not moved[..., 1:-1, 1:-1].any()
    mended = F.conv2d(F.pad(1 - x, (1, 1, 1, 1), value=1.0), -W, compensated, stride)
    assert torch.equal(mended, was)


# ---- F2: the average ---------------------------------------------------------------------------


@pytest.mark.claim("F2")
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("norm", [True, False])
def test_centred_training_is_mirrored_bit_for_bit(optimiser, norm):
    few = digit_scenes(60, seed=1)
    x = few.x - few.x.mean()
    one = SceneNet(seed=3, norm=norm)
    two = copy.deepcopy(one)
    two.features.conv1.weight.data.neg_()
    start = one.features.conv1.weight.detach().clone()
    settings = {"epochs": 1, "lr": 0.01, "optimiser": optimiser, "weight_decay": 0.01}
    for model, sign in ((one, 1), (two, -1)):
        fit(model, sign * x, few.labels[:, 0], **settings)
    assert not torch.equal(one.features.conv1.weight, start)
    two.features.conv1.weight.data.neg_()
    for (name, p), q in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(p, q), name


@pytest.mark.claim("F2")
def test_uncentred_training_has_no_such_mirror():
    """Even with weights and bias compensated at the start and no border to speak of."""
    x, y = integers(40, 3), torch.arange(40) % 2
    one, two = (he(nn.Sequential(nn.Linear(3, 2)).to(F64), 0) for _ in range(2))
    with torch.no_grad():
        two[0].bias += two[0].weight.sum(1)
        two[0].weight.neg_()
    torch.testing.assert_close(two(1 - x), one(x))
    for model, z in ((one, x), (two, 1 - x)):
        fit(model, z, y, epochs=1, lr=0.01)
    assert (two(1 - x) - one(x)).abs().max() > 0.01


@pytest.mark.claim("F2")
def test_paper_is_learnt_more_slowly_and_a_centred_negative_is_not():
    stored = load("input_codings")
    assert stored.interval("gap_early_inverted")[0] > 0
    low, high = stored.interval("gap_early_negated")
    assert low < 0 < high


# ---- F3, F4: mean colour, ReLU -----------------------------------------------------------------


@pytest.mark.claim("F3")
def test_zero_is_the_mean_colour_or_a_middle_grey():
    colour = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    args = colour.flatten().tolist(), [0.229, 0.224, 0.225]
    assert not normalize(colour, *args).any()
    assert normalize(0 * colour, *args).max() < -1.8
    grey = torch.full((3, 2, 4), 127 / 255, dtype=F64)
    assert imagenet_input(grey).abs().max() < 1e-12
    assert imagenet_input(0 * grey).max() == -127 / 128


@pytest.mark.claim("F4")
def test_permutations_and_positive_scales_are_all_that_commute_with_relu():
    """All 3 x 3 matrices with entries -1, 0, 1, 2: the 3! 2^3 scaled permutations, no others."""
    M = torch.cartesian_prod(*[torch.arange(-1.0, 3)] * 9).reshape(-1, 3, 3)
    a = torch.tensor(list(itertools.product((-1.0, 0, 1), repeat=3))).T
    passed = ((M @ a).relu() == M @ a.relu()).flatten(1).all(1)
    found = {tuple(m.flatten().tolist()) for m in M[passed & (torch.linalg.det(M).round() != 0)]}
    wanted = {
        tuple((torch.eye(3)[list(order)] * torch.tensor(scales)).flatten().tolist())
        for order in itertools.permutations(range(3))
        for scales in itertools.product((1.0, 2.0), repeat=3)
    }
    assert len(wanted) == 48
    assert found == wanted


@pytest.mark.claim("F4")
def test_a_scaled_permutation_commutes_and_a_flip_or_a_shift_does_not():
    a = integers(5, 40)
    P = torch.eye(5, dtype=F64)[[3, 0, 4, 1, 2]] * integers(5, seed=1).abs()
    assert torch.equal((P @ a).relu(), P @ a.relu())
    flip = torch.tensor([1.0, 1, -1, 1, 1], dtype=F64).diag()
    assert not torch.equal((flip @ a).relu(), flip @ a.relu())
    assert not torch.equal((a + 2).relu(), a.relu() + 2)


@pytest.mark.claim("F4")
def test_a_difference_of_two_relus_can_be_written_with_other_zeros():
    """The reader matters: this one sees only relu(a) - relu(-a), which is a."""
    before = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4)).to(F64)
    with torch.no_grad():
        for p in before.parameters():
            p.copy_(integers(*p.shape, seed=p.numel()))
        before[0].weight[1], before[0].bias[1] = -before[0].weight[0], -before[0].bias[0]
        before[2].weight[:, 1] = -before[2].weight[:, 0]
        after = copy.deepcopy(before)
        after[0].bias += 3 * torch.tensor([1, -1])
        after[2].bias -= 3 * after[2].weight[:, 0]
    x = integers(200, 3, seed=9)
    assert torch.equal(after(x), before(x))
    assert not torch.equal(after[:2](x) == 0, before[:2](x) == 0)


@pytest.mark.claim("F4")
def test_below_the_kink_nothing_is_told_apart():
    z = integers(4, 3, 2, 5).requires_grad_()
    (G,) = torch.autograd.grad((z.relu().mean((2, 3)) @ integers(3, 2, seed=1)).sum(), z)
    assert not G[z < 0].any()
    assert G[z > 0].all()


# ---- F5: dropout -------------------------------------------------------------------------------


@pytest.mark.claim("F5")
def test_dropout_about_a_value_by_hand():
    a, drop = torch.full((4000,), 5.0), DropTo(2.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        once = drop(a)
    assert set(once.tolist()) == {2.0, 8.0}  # absent, or twice as far from 2
    assert abs(once.mean() - 5) < 5 * 3 / 4000**0.5
    assert torch.equal(drop.eval()(a), a)
    assert torch.equal(DropTo(None)(a), a)


@pytest.mark.claim("F5")
def test_about_zero_it_is_dropout():
    a = integers(2000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = DropTo(0.0)(a)
        theirs = nn.Dropout(0.5)(a)
    for dropped in (ours, theirs):
        kept = dropped != 0
        assert torch.equal(dropped[kept], 2 * a[kept])
        assert 0.45 < kept.double().mean() < 0.55


@pytest.mark.claim("F5")
def test_a_net_takes_for_absent_what_it_was_taught():
    stored = load("dropped")
    assert (stored["at_zero_zero"] > stored["at_two_zero"]).all()
    assert (stored["at_two_two"] > stored["at_zero_two"]).all()
    assert (stored["at_mean_none"] > stored["at_zero_none"]).all()
    assert (stored["at_zero_zero"] > stored["at_zero_none"]).all()


# ---- F6, F7: sparsity, decay, biases, BatchNorm ------------------------------------------------


@pytest.mark.claim("F6")
def test_a_shift_takes_away_every_zero_and_leaves_the_pile_which_a_mixture_does_not():
    net = SceneNet(seed=0, dtype=F64).eval()
    x = digit_scenes(5, seed=0, dtype=F64).x
    t = torch.arange(1.0, 33, dtype=F64)
    moved, layer = reparametrize(net, "features", shift(t), x=x)
    A, B = activations(net, x, layer="features"), activations(moved, x, layer=layer)
    assert (A == 0).double().mean() > 0.1
    assert not (B == 0).any()
    assert torch.equal(t[:, None, None] == B, A == 0)
    mixed, layer = reparametrize(net, "features", random_symmetry("mixing", 32), x=x)
    some = (A != 0).any(1)  # positions at which not all channels are off
    assert (A.movedim(1, -1)[some] == 0).double().mean() > 0.1
    B = activations(mixed, x, layer=layer)
    assert not (B.movedim(1, -1)[some] == 0).any()  # not even the pile stays


def ridge(x: torch.Tensor, t: torch.Tensor, on_bias: float) -> torch.Tensor:
    """Fitted scores of least squares with decay 3 on the weights and `on_bias` on the bias."""
    x1 = torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1)
    penalty = torch.tensor([3.0] * x.shape[1] + [on_bias], dtype=F64).diag()
    return x1 @ torch.linalg.solve(x1.T @ x1 + penalty, x1.T @ t)


@pytest.mark.claim("F7")
def test_decay_on_the_bias_sees_the_coding_and_decay_on_the_weights_does_not():
    x, t = integers(20, 4), integers(20, 2, seed=1)
    torch.testing.assert_close(ridge(x, t, 0), ridge(1 - x, t, 0))
    assert (ridge(x, t, 3) - ridge(1 - x, t, 3)).abs().max() > 0.01


@pytest.mark.claim("F7")
def test_zero_biases_answer_zero_at_zero_and_nowhere_else():
    blank = torch.zeros(1, 1, 16, 16)
    for seed in range(3):
        net = SceneNet(seed=seed, norm=False).eval()
        assert not net(blank).any()
        assert net(blank + 1).all()


@pytest.mark.claim("F7")
def test_batchnorm_forgets_any_zero_and_takes_the_mean():
    norm = nn.BatchNorm2d(3, dtype=F64)
    z, t = integers(4, 3, 2, 5), integers(3, 1, 1, seed=1)
    torch.testing.assert_close(norm(z + t), norm(z))
    assert norm(z).mean((0, 2, 3)).abs().max() < 1e-12


@pytest.mark.claim("F7")
def test_the_last_kinks_of_the_imagenet_network_are_not_at_the_mean():
    norm = efficientnet_lite0().features.last.norm
    assert (-norm.bias / norm.weight).min() > 0.5  # in standard deviations
