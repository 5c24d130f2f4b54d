"""Targets: by hand, then the softmax shift as law and counter-law, then refusals."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nets import integers

from zerocam import targets

Y = torch.tensor([[1.0, 4.0, -2.0], [3.0, -3.0, 6.0]]).double()
ALL = {
    "logit": targets.logit,
    "centred": targets.centred,
    "log_odds": targets.log_odds,
    "contrast": lambda c=None: targets.contrast(c, 2),
    "log_probability": targets.log_probability,
    "probability": targets.probability,
}


def test_by_hand():
    assert targets.logit(1)(Y).tolist() == [4, -3]
    assert targets.logit()(Y).tolist() == [4, 6]
    assert targets.logit(torch.tensor([2, 0]))(Y).tolist() == [-2, 3]
    assert targets.centred(1)(Y).tolist() == [3, -5]
    assert targets.contrast(0, 2)(Y).tolist() == [3, -3]
    assert targets.negative(1)(Y).tolist() == [-4, 3]
    assert targets.negative(targets.centred(1))(Y).tolist() == [-3, 5]
    two = torch.tensor([[0.0, 0.0]])
    assert targets.probability(0)(two).tolist() == [0.5]
    assert targets.negative(targets.probability(0))(Y[:1, :2]).item() == pytest.approx(-0.0474259)
    torch.testing.assert_close(targets.log_probability(0)(two), torch.tensor([0.5]).log())


def test_log_odds_by_hand():
    """Against one other class a difference; against two equal ones, log 2 more."""
    y = torch.tensor([[3.0, 1.0], [-2.0, 5.0]]).double()
    assert targets.log_odds(0)(y).tolist() == [2, -7]
    assert targets.log_odds()(y).tolist() == [2, 7]
    tie = torch.tensor([[1.0, 1.0, 1.0]]).double()
    assert targets.log_odds(torch.tensor([2]))(tie).item() == pytest.approx(-math.log(2))


@given(y=arrays(float, (2, 4), elements=st.floats(-30, 30)), c=st.integers(0, 3))
def test_log_odds_are_the_odds_of_the_probability(y, c):
    """Not exact: exp and log round.  Zero is p = 1/2."""
    y = torch.tensor(y)
    others = [d for d in range(4) if d != c]
    odds = y[:, c].exp() / y[:, others].exp().sum(1)
    torch.testing.assert_close(targets.log_odds(c)(y), odds.log(), rtol=1e-12, atol=1e-12)
    p = y.softmax(1)[:, c]
    torch.testing.assert_close(targets.log_odds(c)(y).sigmoid(), p, rtol=1e-12, atol=1e-300)
    even = y.clone()
    even[:, c] = y[:, others].logsumexp(1)
    torch.testing.assert_close(even.softmax(1)[:, c], torch.full((2,), 0.5).double())
    assert targets.log_odds(c)(even).abs().max() < 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4, 1e30])
def test_log_odds_never_fade_where_the_network_is_sure(scale, dtype):
    """Their slope sums to 1 - 1 whatever the scale; the log-probability's is lost from 50 on."""
    y = (scale * torch.tensor([[7.0, 1.0, -3.0, 2.0]], dtype=dtype)).requires_grad_()
    (slope,) = torch.autograd.grad(targets.log_odds(0)(y).sum(), y)
    assert slope[0, 0] == 1
    assert slope[0, 1:].sum().item() == pytest.approx(-1)
    assert torch.isfinite(targets.log_odds(0)(y)).all()
    (faded,) = torch.autograd.grad(targets.log_probability(0)(y).sum(), y)
    assert bool((faded.abs() < 1e-30).all()) == (scale >= 50)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_whole_number_will_do(dtype):
    assert targets.logit(torch.tensor([2, 0], dtype=dtype))(Y).tolist() == [-2, 3]


@pytest.mark.parametrize("name", ["centred", "contrast"])
def test_a_softmax_shift_leaves_differences_alone_exactly(name):
    y = integers(2, 4, seed=1)  # four classes: the mean is exact
    f = integers(2, 1, seed=2)
    assert torch.equal(ALL[name](1)(y + f), ALL[name](1)(y))


@pytest.mark.parametrize("name", ["log_odds", "log_probability", "probability"])
def test_a_softmax_shift_leaves_probabilities_alone(name):
    y = integers(2, 4, seed=1)
    torch.testing.assert_close(ALL[name](1)(y + 7), ALL[name](1)(y), rtol=1e-12, atol=0)


def test_a_softmax_shift_moves_a_logit_by_its_own_amount():
    f = integers(2, 1, seed=2)
    assert torch.equal(targets.logit(1)(Y + f), targets.logit(1)(Y) + f[:, 0])


def test_centred_scores_sum_to_zero_over_classes():
    y = integers(2, 4, seed=3)
    total = sum(targets.centred(c)(y) for c in range(4))
    assert torch.equal(total, torch.zeros(2).double())


@pytest.mark.parametrize(
    ("c", "message"),
    [
        (3, r"got class 3, wanted 0 to 2 for 3 scores"),
        (-1, r"got class -1, wanted 0 to 2"),
        (1.0, r"got 1\.0, wanted a class index"),
        (True, r"got True, wanted a class index"),
        ("cat", r"got 'cat', wanted a class index"),
        ([[1], [2, 0]], r"got \[\[1\], \[2, 0\]\], wanted a class index"),
        (torch.tensor([0, 1, 2]), r"classes of shape \(3,\) for 2 images, wanted one int or"),
        (torch.tensor([0, 9]), r"got class \[0, 9\], wanted 0 to 2"),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_a_class_that_does_not_exist_is_refused(untyped, name, c, message):
    with pytest.raises(ValueError, match=message):
        ALL[name](c)(Y)


@pytest.mark.parametrize("name", ["centred", "log_odds", "log_probability", "probability"])
def test_one_score_has_nothing_to_be_compared_with(name):
    """They are the same whatever the network says: every map would be blank, silently."""
    with pytest.raises(ValueError, match=r"got one score per image.* negative\(0\) where it says"):
        getattr(targets, name)(0)(Y[:, :1])
    assert torch.equal(targets.logit()(Y[:, :1]), Y[:, 0])
