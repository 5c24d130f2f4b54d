"""Metrics: by hand on 2 x 3 maps, degenerate cases, laws, refusals."""

import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from strategies import integers_like

from zerocam import metrics

M = torch.tensor([[[4.0, 2.0, 0.0], [-4.0, 1.0, 0.5]]])
MASK = torch.tensor([[[True, False, False], [True, False, True]]])
EMPTY = -torch.ones(1, 2, 3)


def test_normalise_by_hand():
    assert torch.equal(metrics.normalise(M, "none"), M)
    assert torch.equal(metrics.normalise(M, "max"), M / 4)
    assert torch.equal(metrics.normalise(M, "minmax"), (M + 4) / 8)
    assert metrics.normalise(M, "rank").tolist() == [
        [
            [1.0, pytest.approx(0.8), pytest.approx(0.2)],
            [0.0, pytest.approx(0.6), pytest.approx(0.4)],
        ]
    ]


def test_ties_share_a_rank():
    tied = torch.tensor([[[3.0, 1.0, 1.0]]])
    assert metrics.normalise(tied, "rank").tolist() == [[[1.0, 0.25, 0.25]]]


@pytest.mark.parametrize("how", ["max", "minmax", "rank"])
def test_a_constant_map_scales_to_zeros(how):
    assert not metrics.normalise(EMPTY, how).any()


def test_metrics_by_hand():
    assert metrics.pointing(M, MASK).tolist() == [True]
    assert metrics.pointing(M, ~MASK).tolist() == [False]
    assert metrics.energy_inside(M, MASK).tolist() == [pytest.approx(4.5 / 7.5)]
    assert metrics.energy_inside(-M, MASK).tolist() == [1.0]
    assert metrics.above(M).tolist() == [[[True, True, False], [False, True, False]]]
    assert metrics.iou(M, MASK).tolist() == [pytest.approx(1 / 5)]
    assert metrics.iou(M, MASK, how="minmax").tolist() == [pytest.approx(2 / 6)]
    assert metrics.blank(M).tolist() == [False]


def test_a_blank_map_is_a_miss():
    everywhere = torch.ones(1, 2, 3, dtype=torch.bool)
    assert metrics.blank(EMPTY).tolist() == [True]
    assert metrics.pointing(EMPTY, everywhere).tolist() == [False]
    assert metrics.energy_inside(EMPTY, everywhere).tolist() == [0.0]
    assert metrics.iou(EMPTY, everywhere).tolist() == [0.0]
    assert metrics.iou(EMPTY, ~everywhere).tolist() == [0.0]


def test_scaling_a_map_changes_no_metric():
    for metric in (metrics.pointing, metrics.energy_inside, metrics.iou):
        assert torch.equal(metric(8 * M, MASK), metric(M, MASK))


# ---- laws: what the final ReLU cannot change, and what it can ------------------------------------

MAPS, MASKS = integers_like(2, 3, 4), integers_like(2, 3, 4).map(lambda t: t > 0)


@given(M=MAPS, mask=MASKS)
def test_the_relu_cannot_move_the_highest_point(M, mask):
    assert torch.equal(metrics.pointing(M.relu(), mask), metrics.pointing(M, mask))


@given(M=MAPS, mask=MASKS)
def test_the_relu_cannot_change_a_mask_at_a_share_of_the_maximum(M, mask):
    assert torch.equal(metrics.above(M.relu()), metrics.above(M))
    assert torch.equal(metrics.iou(M.relu(), mask), metrics.iou(M, mask))
    assert torch.equal(metrics.energy_inside(M.relu(), mask), metrics.energy_inside(M, mask))


@given(M=MAPS)
def test_after_min_max_the_threshold_sinks_among_the_negatives(M):
    """At a share f of the range the threshold is min + f (max - min), not f max."""
    low, high = M.amin((1, 2), keepdim=True), M.amax((1, 2), keepdim=True)
    assume((low < high).all())
    swollen = metrics.above(M, 0.25, "minmax")  # a power of two: exact up to the one division
    assert torch.equal(swollen, 4 * (M - low) > high - low)
    assert (swollen | ~metrics.above(M, 0.25) | (low > 0)).all()  # the mask can only grow


@given(M=MAPS)
def test_ranks_keep_the_order_and_nothing_else(M):
    def rank(m):
        return metrics.normalise(m, "rank")

    assert torch.equal(rank(M), rank(M**3))
    varies = (M.amin((1, 2)) < M.amax((1, 2))).to(M)[:, None, None]
    torch.testing.assert_close(rank(M) + rank(-M), varies.expand_as(M))  # elevenths are rounded


def test_enlarging_keeps_a_constant():
    assert torch.equal(
        metrics.enlarge(torch.full((1, 2, 3), 2.0), (4, 6)), torch.full((1, 4, 6), 2.0)
    )
    assert metrics.enlarge(M, 8).shape == (1, 8, 8)


@pytest.mark.parametrize("size", [np.int64(6), torch.Size([6, 6]), [6, 6]])
def test_a_size_may_be_of_numpy_or_torch(size):
    assert torch.equal(metrics.enlarge(M, size), metrics.enlarge(M, 6))


@pytest.mark.parametrize("size", [0, (4,), (4, 4, 4), (4, 0)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=rf"size: got {re.escape(str(size))}, wanted \(H, W\)"):
        metrics.enlarge(M, size)


@pytest.mark.parametrize("metric", [metrics.pointing, metrics.energy_inside, metrics.iou])
def test_a_mask_of_another_size_is_refused(untyped, metric):
    with pytest.raises(ValueError, match=r"got \(1, 2, 3\) for masks of \(1, 4, 4\).*enlarge"):
        metric(M, torch.ones(1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_map_that_is_not_finite_does_not_pass_for_blank(bad):
    M, mask = torch.ones(3, 2, 2), torch.ones(3, 2, 2, dtype=torch.bool)
    M[1, 0, 1] = bad
    asked = [metrics.blank, *(lambda M, m=m: m(M, mask) for m in
             (metrics.pointing, metrics.energy_inside, metrics.iou))]  # fmt: skip
    for metric in (*asked, *(lambda M, how=how: metrics.normalise(M, how) for how in metrics.HOWS)):
        with pytest.raises(ValueError, match=r"M: got NaN or inf for image \[1\]"):
            metric(M)


def test_an_unknown_normalisation_is_refused(untyped):
    with pytest.raises(ValueError, match="how: got 'log', wanted one of none, max, minmax, rank"):
        metrics.normalise(M, "log")
