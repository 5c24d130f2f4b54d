"""The book's photographs, which lie inside installed packages, and collages of two of these.

    photo     RGB, from 0 to 1                           (3, H, W)
    collage   two photographs side by side               (3, size, 2 size)
    mask      True where the right-hand photograph is    (size, 2 size)

Nothing is downloaded: the files lie inside scikit-image's and scikit-learn's wheels.
"""

from importlib.resources import files
from itertools import permutations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zerocam.photos import read_photo

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

    Raises ValueError for a name not in `CREDITS`.
    """
    if name not in FILES:
        raise ValueError(f"name: got {name!r}, wanted one of {', '.join(FILES)}")
    package, file = FILES[name]
    with (files(package) / file).open("rb") as stream:
        return read_photo(stream, size)


def collage(
    left: str, right: str, size: int = 224
) -> tuple[Float[Tensor, "3 size w"], Bool[Tensor, "size w"]]:
    """Two photographs side by side, (3, size, 2 size), and the mask of the right half."""
    photo = torch.cat([photograph(left, size), photograph(right, size)], 2)
    mask = torch.zeros(photo.shape[1:], dtype=torch.bool)
    mask[:, size:] = True
    return photo, mask


def pairs() -> list[tuple[str, str]]:
    """The thirty ordered pairs (left, right) of different photographs."""
    return list(permutations(CREDITS, 2))
