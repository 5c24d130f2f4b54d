"""Figures as data: limits, colours of zero, what is refused."""

import matplotlib
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


def drawn_over(image, M, limit=None):
    """The pixels of a map over an image, (height, width, 3), from 0 to 1."""
    fig = plt.figure(figsize=(1, 1), dpi=100)
    plots.overlay(fig.add_axes((0, 0, 1, 1)), image, M, limit)
    fig.canvas.draw()
    pixels = np.asarray(fig.canvas.buffer_rgba())[..., :3] / 255
    plt.close(fig)
    return pixels


@pytest.mark.parametrize("grey", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("value", [-3.0, -1.0, 0.0, 1.0, 2.0])
def test_over_an_even_surface_the_colour_is_that_of_the_bar_whatever_its_grey(grey, value):
    even = torch.full((3, 20, 20), grey)
    centre = drawn_over(even, torch.full((2, 2), value), limit=3.0)[50, 50]
    wanted = plots.SIGNED((value / 3 + 1) / 2)[:3]
    assert centre == pytest.approx(wanted, abs=0.01)  # a pixel has 256 steps


def test_the_image_is_drawn_where_its_grey_changes_and_never_colours():
    half = torch.ones(3, 40, 40)
    half[:, :, :20] = 0.0
    pixels = drawn_over(half, torch.zeros(2, 2))
    assert np.ptp(pixels, axis=2).max() == 0  # greys: no colour where the map is zero
    assert pixels[50, 47].max() < 0.7  # the dark side of the edge
    assert pixels[50, [3, 97]].min() > 0.99


def test_the_zero_line_lies_where_the_map_crosses_zero(ax):
    slope = torch.tensor([[-1.0, 3.0], [-1.0, 3.0]])  # centres at a quarter and three quarters
    plots.overlay(ax, torch.ones(3, 8, 16), slope)
    (line,) = ax.collections
    (path,) = line.get_paths()
    assert np.allclose(path.vertices[:, 0], 16 * (0.25 + 0.25 * 0.5))
    assert {0, 8} <= set(path.vertices[:, 1])  # from border to border


@pytest.mark.parametrize("one_sign", [M.relu(), -M.abs(), 0 * M])
def test_a_map_that_does_not_cross_zero_has_no_zero_line(ax, one_sign):
    plots.overlay(ax, IMAGE, one_sign)
    assert not ax.collections


def test_of_a_page_with_ink_the_outline_is_drawn_and_no_surface(ax):
    page = torch.zeros(1, 8, 8)
    page[:, 2:6, 2:6] = 1
    plots.overlay(ax, page, M.abs())
    (line,) = ax.collections
    corners = line.get_paths()[0].vertices
    assert (corners.min(), corners.max()) == (2, 6)
    assert len(ax.images) == 1


def test_no_ink_is_red_or_blue():
    with plt.rc_context():
        plots.style()
        colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert not {plots.RED, plots.BLUE} & set(colours)
    for red, green, blue in map(matplotlib.colors.to_rgb, colours):
        assert red <= 2 * max(green, blue)
        assert blue <= 2 * max(red, green)


def test_the_rainbow_spends_its_colours_on_any_map(ax):
    drawn = plots.rainbow_overlay(ax, IMAGE, 1e-9 * M).get_array()
    assert (drawn.min(), drawn.max()) == (0, 1)


def test_a_row_has_one_scale():
    fig, axes = plots.row(IMAGE, {"a": M, "b": -2 * M}, over=False)
    assert [a.get_title() for a in axes] == ["the image", "a", "b"]
    assert {a.images[0].get_clim() for a in axes[1:]} == {(-6, 6)}
    assert [t.get_text() for t in fig.axes[-1].get_yticklabels()] == ["−6", "0", "6"]
    plt.close(fig)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plots.show_map(ax, torch.zeros(2, 2, 2)), r"map: got shape \(2, 2, 2\)"),
        (lambda ax: plots.show_map(ax, M / 0), "map: got NaN or inf, wanted finite numbers$"),
        (lambda ax: plots.show_image(ax, np.ones((4, 5, 3))), "its channels are last"),
        (lambda ax: plots.show_map(ax, M, limit=-1.0), "limit: got -1.0, wanted a size"),
        (lambda ax: plots.show_image(ax, torch.zeros(2, 3, 4, 4)), "one image, not a batch"),
        (lambda ax: plots.row(IMAGE, {}), "maps: got none"),
        (lambda ax: plots.overlay(ax, 0 * IMAGE + 255, M), "image: got values from 255 to 255,"),
        (lambda ax: plots.row(0 * IMAGE - 1, {"a": M}), "from -1 to -1, wanted 0 to 1; divide"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ax, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(ax)
    plt.close("all")  # a row that is refused has made its figure
