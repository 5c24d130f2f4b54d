"""Scenes of real handwritten digits, with exact masks.

    x       scenes, white ink on black       (N, 1, S, S)   [ink, 0 to 1]
    labels  which digits                     (N, d)
    masks   the ink of each digit            (N, d, S, S)   bool

The digits are scikit-learn's `load_digits`: 1,797 digits of 8 x 8 pixels in 17 grey levels
(Alpaydin and Kaynak 1998), drawn twice as large.  Every grey value is a multiple of 1/256, so
1 - x, the same scene in black on white, is exact in bfloat16, float16 and wider formats.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zerocam.extras import extra
from zerocam.refusals import Refused

SIZE = 40  # pixels: side of a scene
PATCH = 16  # pixels: side of a digit, 8 doubled
TRAIN = 1500  # digits in the training split

Split = Literal["train", "test", "all"]


@dataclass(frozen=True)
class Scenes:
    """N scenes of d digits; outside all masks x is exactly 0, inside it is above 0.

    x in [ink], 0 to 1; labels 0 to 9; masks say which pixels belong to which digit.

    >>> page = scene((2, 7))
    >>> len(page), page.labels, tuple(page.masks.shape)
    (1, tensor([[2, 7]]), (1, 2, 40, 40))
    >>> bool((page.x[:, 0] > 0).equal(page.masks.any(1)))
    True
    """

    x: Float[Tensor, "N 1 S S"]
    labels: Int[Tensor, "N d"]
    masks: Bool[Tensor, "N d S S"]

    def __len__(self) -> int:
        return len(self.x)

    def to(self, dtype: torch.dtype) -> "Scenes":
        """The same scenes with x in another floating-point format."""
        return Scenes(self.x.to(dtype), self.labels, self.masks)


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    with extra("lab"):
        from sklearn.datasets import load_digits  # here, because it is slow to import

    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images).reshape(-1, 8, 8) / 16, torch.from_numpy(labels).long()


def digits(
    split: Split = "all", *, dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "n 8 8"], Int[Tensor, " n"]]:
    """The real digits (n, 8, 8), ink from 0 to 1, and their labels (n,).

    split: "train" is the first 1,500 in file order, "test" the last 297.  The file goes writer by
    writer, so nearly all test digits are in hands the training never saw.

    >>> images, labels = digits("test")
    >>> tuple(images.shape), labels[:5].tolist()
    ((297, 8, 8), [1, 7, 4, 6, 3])
    """
    rows = {"train": slice(None, TRAIN), "test": slice(TRAIN, None), "all": slice(None)}
    if split not in rows:
        raise Refused("split", f"{split!r}", f"one of {', '.join(rows)}")
    images, labels = _all_digits()
    return images[rows[split]].to(dtype), labels[rows[split]].clone()


def digit_scenes(
    n: int,
    *,
    digits: int = 1,
    size: int = SIZE,
    split: Split = "train",
    seed: int,
    classes: Iterable[int] = range(10),
    dtype: torch.dtype = torch.float32,
) -> Scenes:
    """n scenes, each with `digits` real digits of different classes at random places, not touching.

    digits: 1 or 2.  size: side in pixels; 16 fits one digit, two need 32.  classes: which digits
    occur.  The same arguments give the same scenes; labels and places come from their own
    generator.  labels[:, 0] and labels[:, 1] are in no particular order.  Raises `Refused` for
    what cannot be made.

    >>> pages = digit_scenes(3, digits=2, seed=0)
    >>> tuple(pages.x.shape), tuple(pages.labels.shape)
    ((3, 1, 40, 40), (3, 2))
    """
    classes = sorted(set(classes))
    if digits not in (1, 2) or n < 1:
        raise Refused("digits, n", f"{digits}, {n}", "1 or 2 digits and at least 1 scene")
    if not set(classes) <= set(range(10)) or len(classes) < digits:
        raise Refused("classes", f"{classes}", f"{digits} or more of the digits 0 to 9")
    if size < digits * PATCH:
        raise Refused("size", f"{size}", f"{digits * PATCH} pixels or more for {digits} digits")
    g = torch.Generator().manual_seed(seed)
    images, labels = _choose(split)
    pool = torch.isin(labels, torch.tensor(classes)).nonzero()[:, 0]

    def draw(m: int) -> tuple[Tensor, Tensor]:
        which = pool[torch.randint(len(pool), (m, digits), generator=g)]
        return which, torch.randint(size - PATCH + 1, (m, digits, 2), generator=g)

    which, corners = draw(n)
    if digits == 2:  # draw again, keeping the rest, until no pair is alike and none overlaps
        while (again := labels[which[:, 0]] == labels[which[:, 1]]).any():
            which[again] = draw(int(again.sum()))[0]
        while (again := (corners[:, 0] - corners[:, 1]).abs().amax(1) < PATCH).any():
            corners[again] = draw(int(again.sum()))[1]
    return _paste(images[which], labels[which], corners, size, dtype)


def scene(
    labels: Sequence[int],
    corners: Sequence[tuple[int, int]] | None = None,
    *,
    which: int = 0,
    size: int = SIZE,
    split: Split = "test",
    dtype: torch.dtype = torch.float32,
) -> Scenes:
    """One scene with exactly these digits: `scene((2, 7))` is a two on the left, a seven right.

    corners: (row, column) of each digit's upper left corner; None spreads them evenly in a row.
    which: take the which-th digit of each class in the split, counted from 0.

    >>> two_seven = scene((2, 7))
    >>> tuple(two_seven.x.shape), two_seven.labels.tolist()
    ((1, 1, 40, 40), [[2, 7]])
    """
    images, known = _choose(split)
    if corners is None:
        gap = (size - PATCH * len(labels)) / (len(labels) + 1) if len(labels) else 0
        corners = [
            ((size - PATCH) // 2, round(gap + j * (PATCH + gap))) for j in range(len(labels))
        ]
    rows = [(known == c).nonzero()[:, 0] for c in labels]
    if not rows or any(which not in range(len(r)) for r in rows):
        below = f"the number of such digits in split {split!r}, {[len(r) for r in rows]}"
        wanted = f"digits 0 to 9 and a `which` below {below}"
        raise Refused("labels, which", f"{list(labels)}, {which}", wanted)
    at = torch.tensor(list(corners))
    clear = len(at) == len(rows) and bool(at.min() >= 0) and bool(at.max() <= size - PATCH)
    for i in range(len(rows)):
        clear = clear and all((at[i] - at[j]).abs().max() >= PATCH for j in range(i))
    if not clear:
        wanted = f"{len(rows)} corners from 0 to {size - PATCH}, {PATCH} or more apart"
        got = f"{[tuple(c) for c in corners]}"
        raise Refused("corners", got, wanted, "a larger size gives more room")
    chosen = torch.stack([r[which] for r in rows])
    return _paste(images[chosen][None], known[chosen][None], at[None], size, dtype)


def _choose(split: Split) -> tuple[Tensor, Tensor]:
    """The digits of a split at scene size."""
    images, labels = digits(split, dtype=torch.float64)
    big = F.interpolate(images[:, None], scale_factor=2, mode="bilinear", align_corners=False)
    return big[:, 0], labels


def _paste(
    patches: Tensor, labels: Tensor, corners: Tensor, size: int, dtype: torch.dtype
) -> Scenes:
    """Each patch (N, d, P, P) with its upper left corner at corners (N, d, 2)."""
    n, d = labels.shape
    ink = torch.zeros(n, d, size, size, dtype=dtype)
    rows = corners[..., :1] + torch.arange(PATCH)
    columns = corners[..., 1:] + torch.arange(PATCH)
    i, j = torch.arange(n)[:, None, None, None], torch.arange(d)[None, :, None, None]
    ink[i, j, rows[..., None], columns[..., None, :]] = patches.to(dtype)
    return Scenes(ink.sum(1, keepdim=True), labels, ink > 0)
