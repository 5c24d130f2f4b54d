"""The book's photographs, which lie inside installed packages, and collages of two of these.

    photo     RGB, from 0 to 1                           (3, H, W)
    collage   two photographs side by side               (3, size, 2 size)
    mask      True where the right-hand photograph is    (size, 2 size)
    outline   True on the thing it shows, by hand        (size, size)

Nothing is downloaded: the files lie inside scikit-image's and scikit-learn's wheels.
"""

import tomllib
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import permutations
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zerocam.extras import extra
from zerocam.photos import read_photo
from zerocam.refusals import Refused

CREDITS = {
    "chelsea": "cat Chelsea, Stéfan van der Walt, CC0 (scikit-image)",
    "coffee": "cup of coffee, Rachel Michetti, CC0 (scikit-image)",
    "camera": "cameraman, Lav Varshney, CC0 (scikit-image)",
    "rocket": "launch of DSCOVR, SpaceX, public domain (scikit-image)",
    "china": "China, danielbuechele, CC BY 2.0 (scikit-learn)",
    "flower": "flower, vultilion, CC BY 2.0 (scikit-learn)",
}


FILES = {
    "chelsea": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "camera": ("skimage.data", "camera.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
}


def photograph(name: str, size: int = 224) -> Float[Tensor, "3 size size"]:
    """One of the photographs in `CREDITS`, as `read_photo` reads it.

    Raises `Refused` for a name not in `CREDITS`.

    >>> tuple(photograph("coffee", size=32).shape)
    (3, 32, 32)
    """
    if name not in FILES:
        raise Refused("name", f"{name!r}", f"one of {', '.join(FILES)}")
    package, file = FILES[name]
    with extra("lab"):
        file_bytes = (files(package) / file).read_bytes()
    return read_photo(BytesIO(file_bytes), size)


@cache
def _outlines() -> dict[str, Any]:
    return tomllib.loads((files("zerocam.lab") / "outlines.toml").read_text(encoding="utf-8"))


def outline(name: str, size: int = 224) -> Bool[Tensor, "size size"]:
    """True on the thing that a photograph shows, drawn by hand; outlines.toml says what that is.

    A pixel belongs to it if its centre does.  Raises `Refused` for a name not in `CREDITS`.
    """
    with extra("lab"):
        from skimage.draw import polygon2mask

    if name not in FILES:
        raise Refused("name", f"{name!r}", f"one of {', '.join(FILES)}")
    mask = np.zeros((size, size), dtype=bool)
    for corners in _outlines()[name]["corners"]:
        x, y = (np.array(corners) * size / 224 - 0.5).T
        mask |= polygon2mask(mask.shape, np.stack([y, x], 1))  # type: ignore[no-untyped-call]
    return torch.from_numpy(mask)


def collage(
    left: str, right: str, size: int = 224
) -> tuple[Float[Tensor, "3 size w"], Bool[Tensor, "size w"]]:
    """Two photographs side by side, (3, size, 2 size), and the mask of the right half.

    >>> photo, mask = collage("chelsea", "coffee", size=32)
    >>> tuple(photo.shape), tuple(mask.shape), mask[0, 31:33].tolist()
    ((3, 32, 64), (32, 64), [False, True])
    """
    photo = torch.cat([photograph(left, size), photograph(right, size)], 2)
    mask = torch.zeros(photo.shape[1:], dtype=torch.bool)
    mask[:, size:] = True
    return photo, mask


def pairs() -> list[tuple[str, str]]:
    """The thirty ordered pairs (left, right) of different photographs.

    >>> len(pairs()), pairs()[0]
    (30, ('chelsea', 'coffee'))
    """
    return list(permutations(CREDITS, 2))
