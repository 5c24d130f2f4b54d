"""What the last ReLU of Grad-CAM can and cannot change: chapter 7."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import integers_like
from torch import nn

from zerocam import grad_cam_all, metrics
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies import evidence, fixed_level, load, rival_maps
from zerocam.lab.studies.evidence import RECIPES, dilate, recipe, regions
from zerocam.lab.training import fit
from zerocam.metrics import above

STRIP = torch.tensor([[[10.0, 2.0, 0.0, 0.0, -4.0]]], dtype=torch.float64)


def positive(M: torch.Tensor) -> torch.Tensor:
    """The same map with its first value made positive."""
    M = M.clone()
    M[:, 0, 0] = M[:, 0, 0].abs() + 1
    return M


# By hand


@pytest.mark.claim("E2", "E3")
def test_a_strip_of_five_by_hand():
    marked = [[True, True, False, False, False]]
    for how in ("max", "minmax"):
        assert above(STRIP.relu(), 0.15, how)[0].tolist() == marked
    assert above(STRIP, 0.15, "max")[0].tolist() == marked
    assert above(STRIP, 0.15, "minmax")[0].tolist() == [[True, True, True, True, False]]


def test_seven_maps_by_hand():
    A = torch.tensor([[[[1.0, 0.0]], [[2.0, 4.0]]]], dtype=torch.float64)
    alpha = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    maps = {name: V[0, 0].tolist() for name, V in rival_maps(alpha, A, (1, 2)).items()}
    assert maps == {
        "relu": [1, 0],
        "signed": [1, -4],
        "abs": [1, 4],
        "negative": [0, 4],
        "abs_weights": [5, 4],
        "relu_weights": [3, 0],
        "lafam": [1.5, 2],
    }


def test_the_relu_comes_after_the_enlarging():
    A = torch.tensor([[[[1.0, -1.0]]]], dtype=torch.float64)
    maps = rival_maps(torch.ones(1, 1, dtype=torch.float64), A, (1, 4))
    assert maps["signed"].tolist() == [[[1, 0.5, -0.5, -1]]]
    assert maps["relu"].tolist() == [[[1, 0.5, 0, 0]]]  # before it: 1, 0.75, 0.25, 0
    assert maps["abs"].tolist() == [[[1, 0.5, 0.5, 1]]]


def test_cuts_and_neighbourhoods_by_hand():
    two = torch.cat([STRIP, 3 * STRIP])
    cuts = [fixed_level(two, how) for how in ("max", "minmax", "rank", "none")]
    assert cuts == [0.15, 0.15, 0.85, 0.15 * 20]  # the mean of the maxima 10 and 30
    dot = torch.zeros(1, 5, 5, dtype=torch.bool)
    dot[0, 1, 2] = True
    near = dilate(dot, 1)[0]
    assert near[:3, 1:4].all()
    assert near.sum() == 9


# Laws, in exact arithmetic


@pytest.mark.claim("E1")
@given(integers_like(3, 2, 4))
def test_the_relu_does_not_move_the_highest_point(M):
    M = positive(M)
    assert torch.equal(M.flatten(1).argmax(1), M.relu().flatten(1).argmax(1))
    mask = torch.ones_like(M, dtype=torch.bool)
    mask[:, :, ::2] = False
    assert torch.equal(metrics.pointing(M, mask), metrics.pointing(M.relu(), mask))


@pytest.mark.claim("E1")
@pytest.mark.parametrize("n", [2, 4])
def test_cut_and_then_enlarged_the_highest_point_can_be_another(n):
    """A lonely peak between blue neighbours shrinks where they are mixed in; a plateau does not."""
    M = torch.tensor([[[-9, 1.3, -9, 0.9, 0.9, 0.9]]])
    enlarged, cut_first = (metrics.enlarge(V, (1, 6 * n)) for V in (M, M.relu()))
    assert enlarged.argmax() // n == 3
    assert torch.equal(enlarged.relu().argmax(), enlarged.argmax())  # the theorem, at this size
    assert cut_first.argmax() // n == M.argmax() == 1


@pytest.mark.claim("E2")
@given(integers_like(3, 2, 4), st.floats(0, 1, exclude_max=True))
def test_a_mask_at_a_fraction_of_the_maximum_is_the_same(M, fraction):
    M = positive(M)
    assert torch.equal(above(M, fraction, "max"), above(M.relu(), fraction, "max"))


@pytest.mark.claim("E3")
@given(integers_like(3, 2, 4), st.sampled_from([0.25, 0.5, 0.75]))
def test_under_min_max_the_lowest_value_enters_the_threshold(M, f):
    M = positive(M)
    low, high = M.amin((1, 2), keepdim=True), M.amax((1, 2), keepdim=True)
    wanted = (f * high + (1 - f) * low < M) & (high > low)
    assert torch.equal(above(M, f, "minmax"), wanted)
    with_relu = (f * high + (1 - f) * low.relu() < M) & (high > low.relu())
    assert torch.equal(above(M.relu(), f, "minmax"), with_relu)


# Where they end, with the amount


@pytest.mark.claim("E1", "E2")
def test_without_a_positive_value_the_highest_point_moves_and_at_least_marks_all():
    M = torch.tensor([[[-3.0, -1.0, -2.0]]], dtype=torch.float64)
    assert M.argmax() == 1
    assert M.relu().argmax() == 0  # a tie of zeros
    assert not above(M).any()
    assert not above(M.relu()).any()
    for V, marked in ((M, 0), (M.relu(), 3)):
        assert (0.15 * V.max() <= V).sum() == marked


@pytest.mark.claim("E3")
@pytest.mark.parametrize(("lowest", "empty_is_marked"), [(-2.9, False), (-3.1, True)])
def test_an_empty_place_is_marked_once_the_lowest_is_below_three_seventeenths(
    lowest, empty_is_marked
):
    M = torch.tensor([[[17.0, 0.0, lowest]]], dtype=torch.float64)
    assert above(M, 0.15, "minmax")[0, 0].tolist() == [True, empty_is_marked, False]
    assert above(M.relu(), 0.15, "minmax")[0, 0].tolist() == [True, False, False]


def test_a_rank_sees_the_relu_only_where_too_few_pixels_are_positive():
    enough = torch.arange(-80.0, 20.0).view(1, 10, 10)
    few = enough - 15  # four positive values; the cut falls among the others
    assert torch.equal(above(enough, 0.85, "rank"), above(enough.relu(), 0.85, "rank"))
    assert above(few, 0.85, "rank").sum() == 15
    assert above(few.relu(), 0.85, "rank").sum() == 4


# The suppressor


@pytest.mark.claim("E6")
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=6))
def test_a_suppressor_is_negative_without_another_class_in_its_place(pictures):
    lamp, haze = torch.tensor(pictures, dtype=torch.float64).T
    A = torch.zeros(len(lamp), 2, 1, 2, dtype=torch.float64)
    A[:, 0, 0, 0], A[:, 1, 0, 1] = lamp + haze, haze
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False).double()
    )
    head[2].weight.data = torch.tensor([[2.0, -2.0], [-2.0, 2.0]], dtype=torch.float64)
    toy = nn.Sequential(nn.ReLU(), head)
    on, off = grad_cam_all(toy, A, layer="0", relu=False).unbind(1)
    assert torch.equal(on.sum((1, 2)), lamp)  # the score is the lamp, whatever the haze
    assert torch.equal(on[:, 0, 1], -haze)  # the blue is the haze, whatever the lamp
    assert torch.equal(on, -off)


@pytest.mark.claim("E6")
def test_without_the_suppressor_two_of_four_pictures_look_alike():
    lamp, haze = torch.tensor([[0.0, 1.0], [0, 3], [2, 1], [2, 3]], dtype=torch.float64).T
    columns = torch.stack([lamp + haze, haze, torch.ones_like(haze)], 1)
    weights = torch.linalg.lstsq(columns, lamp[:, None], driver="gelsd").solution[:, 0]
    torch.testing.assert_close(weights, torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64))
    assert haze[lamp == 0].tolist() == haze[lamp == 2].tolist()
    assert (lamp + haze)[1] == (lamp + haze)[2]
    assert lamp[1] != lamp[2]


# The stored study


@pytest.mark.claim("E2", "E3", "E4", "E5")
def test_every_network_says_what_the_chapter_says():
    """One of them is trained again in test_results.py, and must belong with these."""
    study = load("relu_ablation")
    assert (study["same_mask"] == 1).all()
    assert (study["iou_relu_minmax_2"] - study["iou_signed_minmax_2"] > 0.15).all()
    assert (study["neg_logit_other"] > 0.5).all()
    assert (study["neg_blue_own"] - study["neg_logit_own"] > 0.25).all()
    assert (study["point_relu_2"] - study["point_lafam_2"] > 0.3).all()
    for target in ("logit", "centred", "blue"):
        shares = sum(study[f"neg_{target}_{place}"] for place in ("own", "other", "blank"))
        assert (shares - 1).abs().max() < 0.01  # 0 for a map without a negative value


@pytest.mark.claim("E5")
def test_with_one_digit_a_ranking_prefers_no_class_and_a_share_of_the_maximum_the_class():
    study = load("relu_ablation")
    assert (study["iou_lafam_rank_1"] > study["iou_relu_rank_1"]).all()
    assert (study["iou_lafam_max_1"] < study["iou_relu_max_1"]).all()


@pytest.mark.claim("E4")
@pytest.mark.parametrize("seed", [1, 2])
def test_with_tanh_more_of_the_negative_mass_lies_on_paper(seed):
    train = digit_scenes(1200, seed=5)
    net = SceneNet(activation="tanh", seed=seed)
    fit(net, train.x, train.labels[:, 0], epochs=4, lr=0.15, seed=seed)
    two = digit_scenes(100, digits=2, split="test", seed=77)
    M = grad_cam_all(net, two.x, layer="features", relu=False)[torch.arange(100), two.labels[:, 0]]
    own, other = dilate(two.masks[:, 0]), dilate(two.masks[:, 1])
    places = (~own & ~other, other & ~own, own)
    paper, other, own = (
        metrics.energy_inside(-metrics.enlarge(M, 40), place).mean() for place in places
    )
    assert paper > other > own


@pytest.mark.claim("E4")
def test_most_negative_mass_is_on_the_other_digit_in_each_network_that_reads_well():
    study = load("recipes")
    before = ("neg_sgd_before_other", "centred_sgd_before_other")
    for name in RECIPES:
        for target in ("neg", "centred"):
            shares = [study[f"{target}_{name}_{place}"] for place in ("own", "other", "blank")]
            assert (sum(shares) - 1).abs().max() < 0.01  # 0 for a map without a negative value
            if name != "no_norm":
                assert (study[f"read_{name}"] > 0.85).all()
                assert (shares[1] > 0.5).all()
                assert (shares[0] < 0.1).all()
        if name != "multi_label":  # the most on average; two_softmax comes close
            assert study.mean("neg_multi_label_other") > study.mean(f"neg_{name}_other") + 0.01
    for key in before:  # one module earlier it ends
        assert (study[key] < study[key.replace("_before", "")] - 0.1).all()
        assert 0.5 < study.mean(key) < 0.56


@pytest.mark.claim("E4")
def test_networks_that_read_badly_have_less_of_it_there():
    study = load("recipes")
    read, there = study["read_no_norm"], study["neg_no_norm_other"]
    assert read.max() < 0.9
    assert torch.stack([read, there]).corrcoef()[0, 1] > 0.8
    assert (study["neg_no_norm_own"] > study["neg_sgd_own"] + 0.05).all()
    assert (there[read < 0.5] < 0.5).all()


def test_a_recipe_changes_what_its_name_says(monkeypatch):
    """What is trained, and towards what; not how well."""
    asked = {}
    monkeypatch.setattr(
        evidence, "fit", lambda net, x, t, **how: asked.update(last=(net, x, t, how))
    )
    found = {name: (recipe(name, 0, n=5), *asked["last"][1:]) for name in RECIPES}
    assert {name for name, (_, _, t, _) in found.items() if t.is_floating_point()} == {
        "bce", "multi_label", "two_softmax",
    }  # fmt: skip
    for name, (net, x, t, how) in found.items():
        digits = 1 + (name in ("multi_label", "two_softmax"))
        page = digit_scenes(5, digits=digits, seed=0)
        assert torch.equal(x, page.x)
        assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == (name != "no_norm")
        assert net.head.dropout.p == (0.3 if name == "dropout" else 0)
        assert ("optimiser" in how) == (name == "adam")
        if t.is_floating_point():
            assert (t.sum(1) == (1 if name == "two_softmax" else digits)).all()
            assert torch.equal(t.topk(digits, 1)[1].sort(1)[0], page.labels.sort(1)[0])
            yes_or_no = nn.functional.binary_cross_entropy_with_logits
            assert (how.get("loss") is yes_or_no) == (name != "two_softmax")
        else:
            assert torch.equal(t, page.labels[:, 0])


def test_the_regions_of_a_page_share_it_out():
    pages = digit_scenes(3, digits=2, seed=0)
    places = regions(pages.masks)
    assert torch.stack(list(places.values())).sum(0).eq(1).all()
    for i, (own, other) in enumerate(((0, 1), (1, 0))):
        first = {name: mask[3 * i : 3 * i + 3] for name, mask in places.items()}
        assert (first["own"] >= pages.masks[:, own]).all()
        assert not (first["other"] & pages.masks[:, own]).any()
        assert not (first["blank"] & pages.masks[:, other]).any()


# Cuts chosen on other pages


@pytest.mark.claim("E3", "G3")
def test_with_a_cut_from_held_out_pages_no_zero_is_a_better_localiser():
    study = load("cuts")
    assert (study["at_15_logit_mean"] - study["at_15_logit_zero"] > 0.05).all()
    for target in ("logit", "centred"):
        zero = study[f"at_{target}_zero"]
        assert (zero > 0.5).all()
        assert (study[f"at_{target}_mean"] - zero).abs().max() < 0.01
        assert (study[f"at_{target}_local"] - zero).abs().max() < 0.002
    assert (study["at_relu"] - study["at_signed"] > 0.05).all()
    assert (study["at_relu"] - study["at_logit_zero"]).abs().max() < 1e-4  # where some pixel is 0
    for key in study.keys():  # noqa: SIM118
        if key.startswith("at_") and "15" not in key:
            assert (study[key] <= study[key.replace("at_", "best_")]).all(), key
