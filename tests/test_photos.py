"""Photographs and collages: there without a network, of the stated size, the same every time."""

import pytest
import torch

from zerocam import photos


@pytest.mark.parametrize("name", photos.CREDITS)
def test_a_photograph_is_a_square_from_0_to_1(name):
    photo = photos.photograph(name, 96)
    assert photo.shape == (3, 96, 96)
    assert photo.min() >= 0
    assert 0.3 < photo.max() <= 1
    assert photo.std() > 0.05
    assert torch.equal(photo, photos.photograph(name, 96))


def test_a_grey_photograph_has_three_equal_channels():
    camera = photos.photograph("camera", 64)
    assert torch.equal(camera[0], camera[1])
    assert torch.equal(camera[0], camera[2])


def test_a_collage_is_its_halves():
    photo, right = photos.collage("chelsea", "coffee", 64)
    assert torch.equal(photo[:, :, :64], photos.photograph("chelsea", 64))
    assert torch.equal(photo[:, :, 64:], photos.photograph("coffee", 64))
    assert right.sum() == 64 * 64
    assert right[:, 64:].all()


def test_thirty_pairs():
    pairs = photos.pairs()
    assert len(set(pairs)) == 30
    assert all(a != b for a, b in pairs)


def test_an_unknown_photograph_is_refused():
    with pytest.raises(ValueError, match="got 'dog', wanted one of chelsea, coffee"):
        photos.photograph("dog")
