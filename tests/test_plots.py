"""Figures as data: limits, colours of zero, what is refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from zerocam import plots

M = torch.tensor([[3.0, 0.0], [-1.0, 2.0]])
IMAGE = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_zero_is_white_red_is_for_blue_is_against():
    assert plots.SIGNED(0.5)[:3] == (1, 1, 1)
    red, blue = plots.SIGNED(0.9), plots.SIGNED(0.1)
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_limits_are_symmetric_and_shared(ax):
    artist = plots.show_map(ax, M)
    assert artist.get_clim() == (-3, 3)
    assert np.array_equal(artist.get_array(), M.numpy())
    assert plots.show_map(ax, M, limit=10.0).get_clim() == (-10, 10)
    assert plots.show_map(ax, 0 * M).get_clim() == (-1, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.long])
def test_a_map_is_drawn_from_any_format(ax, dtype):
    assert np.array_equal(plots.show_map(ax, M.to(dtype)).get_array(), M.numpy())


def test_the_overlay_is_clear_where_the_map_is_zero(ax):
    plots.overlay(ax, IMAGE, M)
    rgba = ax.images[1].get_array()
    assert rgba[0, 1, 3] == 0
    assert rgba[0, 0, 3] == pytest.approx(0.85)
    assert rgba[1, 0, 3] == pytest.approx(0.85 / 3)


def test_the_rainbow_spends_its_colours_on_any_map(ax):
    drawn = plots.rainbow_overlay(ax, IMAGE, 1e-9 * M).get_array()
    assert (drawn.min(), drawn.max()) == (0, 1)


def test_a_row_has_one_scale():
    fig, axes = plots.row(IMAGE, {"a": M, "b": -2 * M}, over=False)
    assert [a.get_title() for a in axes] == ["the image", "a", "b"]
    assert {a.images[0].get_clim() for a in axes[1:]} == {(-6, 6)}
    assert [t.get_text() for t in fig.axes[-1].get_yticklabels()] == ["-6", "0", "6"]
    plt.close(fig)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plots.show_map(ax, torch.zeros(2, 2, 2)), r"map: got shape \(2, 2, 2\)"),
        (lambda ax: plots.show_map(ax, M / 0), "wanted finite numbers"),
        (lambda ax: plots.show_map(ax, M, limit=-1.0), "limit: got -1.0, wanted a size"),
        (lambda ax: plots.show_image(ax, torch.zeros(2, 3, 4, 4)), "one image, not a batch"),
        (lambda ax: plots.row(IMAGE, {}), "maps: got none"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ax, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(ax)
