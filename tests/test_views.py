"""Where on a photograph the model's input came from: every kind of prepare, or the word for it."""

import random

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as F
from torch.nn.functional import grid_sample, interpolate

from zerocam import metrics
from zerocam.views import View, coordinates, origin, prepared, view

H, W = 48, 64
PHOTO = torch.rand(3, H, W, generator=torch.Generator().manual_seed(0))
MEAN, STD = (
    torch.tensor([0.5, 0.4, 0.3])[:, None, None],
    torch.tensor([0.2, 0.3, 0.1])[:, None, None],
)


def resized(photo, *size):
    return interpolate(photo[None], size, mode="bilinear", antialias=True)


def letterbox(photo):
    """All of it in a square of 64 pixels, with grey bars above and below."""
    return torch.nn.functional.pad(photo, (0, 0, 8, 8), value=0.44)[None]


def in_bytes(photo):
    """As with Pillow, whose pixels are whole numbers."""
    return resized((photo * 255).byte().float() / 255, 40, 40)


# prepare -> by hand: (column, row) of the input, from 0 to 1 -> the same of the photograph
TRACED = {
    "nothing": (lambda p: p[None], [[1, 0, 0], [0, 1, 0]]),
    "normalised": (lambda p: ((p - MEAN) / STD)[None], [[1, 0, 0], [0, 1, 0]]),
    "one grey channel": (lambda p: p.mean(0)[None, None], [[1, 0, 0], [0, 1, 0]]),
    "other order, inverted": (lambda p: 1 - p.flip(0)[None], [[1, 0, 0], [0, 1, 0]]),
    "resized": (lambda p: resized(p, 32, 32), [[1, 0, 0], [0, 1, 0]]),
    "enlarged": (lambda p: resized(p, 96, 130), [[1, 0, 0], [0, 1, 0]]),
    "in bytes": (in_bytes, [[1, 0, 0], [0, 1, 0]]),
    "cropped": (lambda p: p[None, :, 12:36, 16:48], [[0.5, 0, 0.25], [0, 0.5, 0.25]]),
    "its corner": (lambda p: p[None, :, :24, 48:], [[0.25, 0, 0.75], [0, 0.5, 0]]),
    "flipped": (lambda p: p.flip(2)[None], [[-1, 0, 1], [0, 1, 0]]),
    "upside down": (lambda p: p.flip(1)[None], [[1, 0, 0], [0, -1, 1]]),
    "rows for columns": (lambda p: p.mT[None], [[0, 1, 0], [1, 0, 0]]),
    "a quarter turn": (lambda p: p.rot90(1, (1, 2))[None], [[0, -1, 1], [1, 0, 0]]),
    "letterbox": (letterbox, [[1, 0, 0], [0, 64 / 48, -8 / 48]]),
    "padded, mirrored": (
        lambda p: torch.nn.functional.pad(p, (16, 0, 0, 0)).flip(2)[None],
        [[-80 / 64, 0, 1], [0, 1, 0]],
    ),
    "torchvision": (
        T.Compose(
            [T.Resize(40), T.CenterCrop(32), T.Normalize([0.5] * 3, [0.2] * 3), lambda p: p[None]]
        ),
        [[32 / 53, 0, 10 / 53], [0, 32 / 40, 4 / 40]],
    ),
}  # fmt: skip
TURNED = {
    "by 20 degrees": lambda p: F.rotate(p, 20, F.InterpolationMode.BILINEAR)[None],
    "sheared": lambda p: F.affine(
        p, 0, [5, 3], 0.8, [10, 0], interpolation=F.InterpolationMode.BILINEAR
    )[None],
    "a random crop": lambda p: T.RandomResizedCrop(40, (0.3, 0.6))(p)[None],
}


@pytest.mark.parametrize("name", TRACED)
def test_a_prepare_is_traced_to_what_was_worked_out_by_hand(name):
    prepare, wanted = TRACED[name]
    found = origin(prepare, PHOTO)
    torch.testing.assert_close(found, torch.tensor(wanted).float(), rtol=0, atol=0.004)


@pytest.mark.parametrize("name", [*TRACED, *TURNED])
@pytest.mark.parametrize("at", [(0.45, 0.55), (0.52, 0.4)])
def test_what_stands_in_one_place_of_the_photograph_is_found_again(name, at):
    """A soft spot on black, seen through prepare, and its map laid back: within a pixel or so."""
    prepare = TURNED.get(name) or TRACED[name][0]
    if name == "its corner":
        at = (at[0] / 4 + 0.74, at[1] / 2)
    across, down = coordinates(PHOTO)
    spot = (-((across - at[0]) ** 2 + (down - at[1]) ** 2) / 0.006).exp()
    x, black = prepared(prepare, spot), prepared(prepare, 0 * spot)
    seen = view(prepare, PHOTO, prepared(prepare, PHOTO))
    laid = seen.lay((x - black).abs()[0].sum(0))
    if seen.place is None:  # it lies on the photograph as it is
        laid = metrics.enlarge(laid[None], (H, W))[0]
    assert laid.shape == (H, W)
    centre = [((laid * ways[0]).sum() / laid.sum()).item() for ways in (across, down)]
    assert centre == pytest.approx(at, abs=1.2 / H)


def test_a_value_stands_on_the_pixel_it_was_computed_of_and_nowhere_else():
    """Cropped without resizing, a pixel of the map is a pixel of the photograph."""
    prepare = TRACED["cropped"][0]
    M = torch.randn(24, 32)
    seen = view(prepare, PHOTO, prepare(PHOTO))
    laid = seen.lay(M)
    torch.testing.assert_close(laid[12:36, 16:48], M, rtol=0, atol=1e-5)
    laid[12:36, 16:48] = 0
    assert not laid.any()
    dark = seen.darkened()
    assert torch.equal(dark[:, 12:36, 16:48], PHOTO[:, 12:36, 16:48])
    torch.testing.assert_close(dark[:, :12], 0.3 * PHOTO[:, :12])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", ""),
        ("normalised", ""),
        ("resized", ""),
        ("cropped", "prepare shows the model 25 % of the photograph; the rest is dark"),
        ("its corner", "prepare shows the model 12 % of the photograph; the rest is dark"),
        ("flipped", "prepare turns or moves the photograph; the map is laid back on it"),
        ("letterbox", "prepare turns or moves the photograph; the map is laid back on it"),
    ],
)
def test_what_a_reader_must_know_is_said(name, said):
    prepare = TRACED[name][0]
    seen = view(prepare, PHOTO, prepare(PHOTO))
    assert seen.said == said
    assert seen.image is PHOTO
    assert (seen.place is None) == (said == "")
    M = torch.randn(5, 6)
    assert (seen.lay(M) is M) == (seen.darkened() is PHOTO) == (said == "")


def bent(photo):
    across, down = (2 * c[0] - 1 for c in coordinates(photo))
    return grid_sample(photo[None], torch.stack((across**3, down), -1)[None], align_corners=False)


def picky(photo):
    if photo.min() == photo.max():
        raise ValueError("not a photograph")
    return photo[None]


def to_content(photo):
    """Cuts away the black border, of which each picture has its own."""
    rows = photo.amax((0, 2)) > 0.3
    return photo[None, :, rows]


def round_the_brightest(photo):
    """Cuts 20 x 20 pixels round the brightest one, which each picture has elsewhere."""
    row, column = divmod(int(photo.sum(0).argmax()), photo.shape[2])
    row, column = min(row, H - 20), min(column, W - 20)
    return photo[None, :, row : row + 20, column : column + 20]


UNTRACED = {
    "cut round its brightest pixel": round_the_brightest,
    "its own mean": lambda p: ((p - p.mean()) / (p.std() + 1e-3))[None],
    "gamma": lambda p: p[None] ** 2.2,
    "stretched to its range": lambda p: ((p - p.amin()) / (p.amax() - p.amin() + 1e-3))[None],
    "bent": bent,
    "a mirror at the border": lambda p: torch.nn.functional.pad(p[None], (24, 24, 0, 0), "reflect"),
    "refuses what is no photograph": picky,
    "cut to its content": to_content,
    "nothing of it": lambda p: 0 * p[None] + 0.5,
    "a column for all": lambda p: p.mean(2, keepdim=True).expand(-1, -1, W)[None],
    "two pixels": lambda p: p[None, :, :1, :2],
    "a row": lambda p: p.mean(1)[None],
}


@pytest.mark.parametrize("name", UNTRACED)
def test_what_cannot_be_traced_is_not_guessed(name):
    assert origin(UNTRACED[name], PHOTO) is None


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_map_that_cannot_be_traced_is_drawn_on_the_input_from_black_to_white(channels):
    prepare = lambda p: (p[None, :channels] - p.mean()) * 7  # noqa: E731
    x = prepare(PHOTO)
    seen = view(prepare, PHOTO, x)
    assert seen.said.startswith(
        "where prepare took its pixels cannot be told; drawn on the model's"
    )
    assert seen.image.shape == (3 if channels == 3 else 1, H, W)
    assert (seen.image.min(), seen.image.max()) == (0, 1)
    grey = x[0] if channels == 3 else x[0].mean(0, keepdim=True)
    torch.testing.assert_close(
        seen.image, (grey - grey.min()) / (grey.max() - grey.min()), rtol=0, atol=1e-6
    )
    M = torch.randn(4, 4)
    assert seen.lay(M) is M
    assert seen.darkened() is seen.image


def test_an_input_without_any_difference_is_drawn_black():
    even = UNTRACED["nothing of it"]
    assert not view(even, PHOTO, even(PHOTO)).image.any()


def test_random_draws_are_the_same_each_time_and_move_no_stream():
    def jittered(photo):
        of_numpy = np.random.rand()  # noqa: NPY002
        return photo[None] * (1 + torch.rand(1) + random.random() + of_numpy)

    torch_before, python_before = torch.get_rng_state(), random.getstate()
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(prepared(jittered, PHOTO), prepared(jittered, PHOTO))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert random.getstate() == python_before
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002

    def broken(photo):
        random.random()
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        prepared(broken, PHOTO)
    assert random.getstate() == python_before
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def test_a_view_without_a_place_changes_nothing():
    M = torch.randn(3, 3)
    assert View(PHOTO, None).lay(M) is M
    assert View(PHOTO, None).darkened() is PHOTO
