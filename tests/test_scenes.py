"""Scenes: what is in them by construction, the same every time, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zerocam.lab import scenes

SEEDS = st.integers(0, 2**31)


def inked_squares(found):
    """Top, bottom, left, right of each mask's ink, (N, d, 4), bottom and right inclusive."""
    rows, columns = found.masks.any(3).int(), found.masks.any(2).int()
    last = found.masks.shape[-1] - 1
    return torch.stack(
        [
            rows.argmax(2),
            last - rows.flip(2).argmax(2),
            columns.argmax(2),
            last - columns.flip(2).argmax(2),
        ],
        2,
    )


# ---- by hand ------------------------------------------------------------------------------------


def test_a_digit_is_drawn_twice_as_large():
    """Bilinear doubling by hand: 3/4 of the nearer pixel and 1/4 of the farther, in each axis."""
    image = scenes.digits("test", dtype=torch.float64)[0][0]  # a one
    drawn = scenes.scene((1,), [(5, 9)]).x[0, 0, 5:21, 9:25].double()
    a, b, c, d = image[2, 3], image[2, 4], image[3, 3], image[3, 4]
    assert drawn[5, 7] == (9 * a + 3 * b + 3 * c + d) / 16
    assert drawn[6, 8] == (a + 3 * b + 3 * c + 9 * d) / 16
    assert drawn[0, 0] == image[0, 0]


def test_the_splits_share_no_digit_and_leave_none_out():
    (train, y), (test, z) = scenes.digits("train"), scenes.digits("test")
    everything, labels = scenes.digits()
    assert (len(train), len(test), len(everything)) == (1500, 297, 1797)
    assert torch.equal(torch.cat([train, test]), everything)
    assert torch.equal(torch.cat([y, z]), labels)
    assert test.flatten(1).unique(dim=0).shape[0] == 297
    both = torch.cat([train.flatten(1).unique(dim=0), test.flatten(1)]).unique(dim=0)
    assert len(both) == len(train.flatten(1).unique(dim=0)) + 297


def test_a_two_on_the_left_a_seven_on_the_right():
    two_seven = scenes.scene((2, 7))
    assert two_seven.labels.tolist() == [[2, 7]]
    columns = torch.arange(40)
    left, right = (columns[mask.any(0)].double().mean() for mask in two_seven.masks[0])
    assert left < 20 < right
    assert torch.equal(two_seven.x, scenes.scene((2, 7)).x)
    assert not torch.equal(two_seven.x, scenes.scene((2, 7), which=1).x)


# ---- laws ---------------------------------------------------------------------------------------


@given(seed=SEEDS, digits=st.sampled_from([1, 2]), split=st.sampled_from(["train", "test"]))
def test_a_scene_is_its_digits_and_nothing_else(seed, digits, split):
    found = scenes.digit_scenes(4, digits=digits, split=split, seed=seed, dtype=torch.float64)
    assert len(found) == 4
    assert found.x.shape == (4, 1, 40, 40)
    assert found.masks.shape == (4, digits, 40, 40)
    assert found.x.min() == 0
    assert found.x.max() <= 1
    assert torch.equal(found.masks.any(1), found.x[:, 0] > 0)
    assert (found.masks.sum(1) <= 1).all()  # no pixel belongs to two digits
    assert found.masks.flatten(2).any(2).all()
    top, bottom, left, right = inked_squares(found).unbind(2)
    assert (bottom - top < 16).all()
    assert (right - left < 16).all()
    if digits == 2:
        assert (found.labels[:, 0] != found.labels[:, 1]).all()


def test_every_digit_of_a_scene_is_a_real_one_of_its_class_and_split():
    images, labels = scenes._choose("test")
    found = scenes.digit_scenes(20, digits=2, split="test", seed=3, dtype=torch.float64)
    for x, ys, masks in zip(found.x, found.labels, found.masks, strict=True):
        for y, mask in zip(ys, masks, strict=True):
            ink = (x[0] * mask)[mask].sort().values
            same = (labels == y).nonzero()[:, 0]
            real = [images[i][images[i] > 0].sort().values for i in same]
            assert any(torch.equal(ink, r) for r in real)


def test_inverting_a_scene_is_exact():
    """Grey values are multiples of 1/256, so 1 - (1 - x) is x, in every format."""
    x = scenes.digit_scenes(8, digits=2, seed=0, dtype=torch.float64).x
    assert torch.equal(x * 256, (x * 256).round())
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(1 - (1 - x.to(dtype)), x.to(dtype))
        assert torch.equal(x.to(dtype).double(), x)


def test_places_and_classes_cover_what_they_should():
    found = scenes.digit_scenes(600, digits=2, seed=1)
    assert set(found.labels.flatten().tolist()) == set(range(10))
    assert found.masks.any(0).any(0)[2:-2, 2:-2].all()  # ink has been nearly everywhere
    few = scenes.digit_scenes(50, digits=2, seed=1, classes=(4, 9), size=64)
    assert set(few.labels.flatten().tolist()) == {4, 9}
    assert few.x.shape[-1] == 64


def test_the_same_seed_gives_the_same_scenes_and_leaves_the_global_stream_alone():
    before = torch.random.get_rng_state()
    a, b, c = (scenes.digit_scenes(5, digits=2, seed=s) for s in (7, 7, 8))
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.x, c.x)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_changing_the_format_keeps_the_scene():
    a = scenes.digit_scenes(3, seed=0)
    assert a.to(torch.float64).x.dtype == torch.float64
    assert torch.equal(a.to(torch.float64).x, scenes.digit_scenes(3, seed=0, dtype=torch.float64).x)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scenes.digits("valid"), "split: got 'valid', wanted one of train, test, all"),
        (lambda: scenes.digit_scenes(1, digits=3, seed=0), "got 3, 1, wanted 1 or 2 digits"),
        (lambda: scenes.digit_scenes(0, seed=0), "got 1, 0, wanted .* at least 1 scene"),
        (
            lambda: scenes.digit_scenes(1, digits=2, seed=0, classes=[4]),
            r"classes: got \[4\], wanted 2 or more of the digits",
        ),
        (lambda: scenes.digit_scenes(1, seed=0, classes=[12]), r"classes: got \[12\]"),
        (lambda: scenes.digit_scenes(1, digits=2, seed=0, size=31), "size: got 31, wanted 32"),
        (lambda: scenes.scene((2, 11)), r"got \[2, 11\], 0, wanted digits 0 to 9"),
        (lambda: scenes.scene((2,), which=500), "`which` below the number of such digits"),
        (lambda: scenes.scene((2, 7), [(0, 0), (3, 3)]), "16 or more apart; a larger size"),
        (lambda: scenes.scene((2,), [(30, 0)]), r"corners: got \[\(30, 0\)\], wanted 1 corners"),
        (lambda: scenes.scene((2, 7, 1)), "a larger size gives more room"),
        (lambda: scenes.scene(()), r"labels, which: got \[\]"),
    ],
)
def test_what_cannot_be_made_is_refused(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()
