"""A map over its image as a picture: exact colours, limits, every form of image, each refusal."""

import numpy as np
import pytest
import torch
from PIL import Image

import zerocam
from zerocam import metrics, plots
from zerocam.overlays import DARK, RED, STOPS, drawn, overlay, signed_colours

M = torch.tensor([[3.0, 0.0], [-1.0, 2.0]])
EVEN = torch.full((3, 2, 2), 0.4)


def pixels(image, M, **kw) -> np.ndarray:
    return np.asarray(overlay(image, M, **kw))


def test_over_an_even_surface_the_colours_are_those_of_the_bar():
    """SIGNED is matplotlib's table of 256 steps: a step is up to 2 of 255."""
    found = pixels(EVEN, M).astype(float)
    wanted = 255 * np.array(plots.SIGNED((M.numpy() / 3 + 1) / 2))[..., :3]
    assert np.abs(found - wanted).max() <= 2
    assert found[0, 1].tolist() == [255, 255, 255]  # zero


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_zero_is_white_and_the_ends_are_exact_whatever_the_grey(grey):
    found = pixels(torch.full((1, 1, 3), grey), torch.tensor([[-5.0, 0.0, 5.0]]))
    ends = [list(bytes.fromhex(stop[1:])) for stop in (STOPS[0], STOPS[3], STOPS[-1])]
    assert found[0].tolist() == ends


def test_between_two_stops_lies_a_straight_line():
    halfway = signed_colours(torch.tensor([[0.5]]).double(), 3.0)[:, 0, 0] * 255
    stops = [torch.tensor(list(bytes.fromhex(stop[1:]))).double() for stop in STOPS[3:5]]
    torch.testing.assert_close(halfway, sum(stops) / 2)
    two_thirds = signed_colours(torch.tensor([[2.0]]).double(), 3.0)[:, 0, 0] * 255
    assert two_thirds.tolist() == pytest.approx(list(bytes.fromhex(RED[1:])))


def test_the_limit_is_the_value_of_full_colour():
    assert np.array_equal(pixels(EVEN, M), pixels(EVEN, M, limit=3.0))
    assert np.array_equal(pixels(EVEN, M, limit=6.0), pixels(EVEN, M / 2, limit=3.0))
    assert np.array_equal(pixels(EVEN, 9 * M, limit=1.0)[0, 0], pixels(EVEN, M)[0, 0])  # clipped
    assert (pixels(EVEN, 0 * M) == 255).all()
    assert (pixels(EVEN, 0 * M, limit=0.0) == 255).all()


def test_the_image_is_drawn_as_with_a_pencil_and_does_not_colour():
    half = torch.ones(3, 50, 50)
    half[:, :, :25] = 0
    found = pixels(half, torch.zeros(2, 2))
    assert np.ptp(found, axis=2).max() == 0
    assert found[25, 24, 0] < 0.5 * 255  # the dark side of the edge
    assert (found[:, [0, 49]] >= 252).all()
    assert drawn(half[0].numpy()).max() <= DARK


def test_every_form_of_an_image_is_the_same_picture():
    grey = torch.rand(20, 24, generator=torch.Generator().manual_seed(0)).mul(255).byte()
    asked = pixels(grey.double() / 255, M)
    assert asked.shape == (20, 24, 3)
    photo = Image.fromarray(grey.numpy())
    for image in (
        (grey.double() / 255)[None],
        (grey.double() / 255).expand(3, -1, -1),
        (grey.double() / 255).numpy(),
        photo,
        photo.convert("RGB"),
        photo.convert("RGBA"),
    ):
        # the grey may fall on the next of its 255 steps, which is up to 3 of 255 in a stroke
        assert np.abs(pixels(image, M).astype(int) - asked).max() <= 3
    for same in (M[None], M.numpy(), M.clone().requires_grad_(), M.to(torch.bfloat16)):
        assert np.array_equal(pixels(grey.double() / 255, same), asked)


def test_the_map_is_enlarged_by_the_documented_function():
    even, big = torch.ones(3, 30, 40), metrics.enlarge(M[None].double(), (30, 40))
    assert np.array_equal(pixels(even, M, limit=3.0), pixels(even, big, limit=3.0))


def test_it_is_the_picture_that_the_package_offers(tmp_path):
    assert zerocam.overlay is overlay
    overlay(EVEN, M).save(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as stored:
        assert np.array_equal(np.asarray(stored), pixels(EVEN, M))


@pytest.mark.parametrize(
    ("image", "M", "limit", "message"),
    [
        (EVEN, torch.zeros(2, 2, 2), None, r"map: got shape \(2, 2, 2\), .*pass one: M\[0\]"),
        (EVEN, torch.zeros(2), None, r"map: got shape \(2,\), wanted finite numbers"),
        (EVEN, M / 0, None, "map: got NaN or inf, wanted finite numbers$"),
        (EVEN, M, -1.0, "limit: got -1.0, wanted a size, 0 or above"),
        (EVEN, M, float("nan"), "limit: got nan, wanted a size"),
        (EVEN[None], M, None, r"image: got shape \(1, 3, 2, 2\), .*one image, not a batch"),
        (torch.ones(4, 5, 5), M, None, r"image: got shape \(4, 5, 5\), wanted \(3, H, W\)"),
        (torch.ones(5, 5, 3), M, None, r"channels are last: image.transpose\(2, 0, 1\), or tensor"),
        (np.ones((5, 5, 1)), M, None, r"got shape \(5, 5, 1\), .*channels are last"),
        (2 * EVEN - 1, M, None, "image: got values from -0.2 to -0.2, wanted 0 to 1"),
        (255 * EVEN, M, None, "divide bytes by 255; pass the photograph, not the input"),
        (EVEN / 0 * 0, M, None, "image: got NaN or inf, wanted finite numbers$"),
        (Image.fromarray(np.full((4, 4), 40000, "u2")), M, None, "image: got mode I;16, wanted 8"),
        (Image.fromarray(np.ones((4, 4), "f4")), M, None, "image: got mode F, wanted 8 bits; read"),
    ],
)
def test_what_cannot_be_drawn_is_refused(untyped, image, M, limit, message):
    with pytest.raises(ValueError, match=message):
        overlay(image, M, limit=limit)
