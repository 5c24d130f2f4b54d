"""How well a map fits a known region, each with its range and its degenerate case.

    M      maps, already at the mask's resolution        (N, H, W)
    mask   where the object is                           (N, H, W) bool

A metric that reads the size of the values says which normalisation it reads them under: that
choice, not the map, often decides.  A blank map has no highest point; metrics count it as a miss.
A map with NaN or inf is `Refused`: it would pass for blank.
"""

from collections.abc import Sequence
from typing import Literal, SupportsIndex

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from zerocam.answers import refuse_non_finite
from zerocam.refusals import Refused

Map = Float[Tensor, "N H W"]
Mask = Bool[Tensor, "N H W"]
How = Literal["none", "max", "minmax", "rank"]
HOWS: tuple[How, ...] = ("none", "max", "minmax", "rank")


def enlarge(M: Float[Tensor, "N h w"], size: SupportsIndex | Sequence[int]) -> Map:
    """The map at the size of the image: (N, H, W), in the unit of M.

    Maps come at the layer's resolution; masks and images are larger.  Bilinear, pixel centres
    aligned to pixel areas (align_corners=False).  size: (H, W), or one number for both; another
    size is `Refused`.

    >>> enlarge(torch.tensor([[[0.0, 4.0]]]), (1, 4))
    tensor([[[0., 1., 3., 4.]]])
    """
    sizes = [*map(int, [size, size] if isinstance(size, SupportsIndex) else size)]
    if len(sizes) != 2 or min(sizes) < 1:
        raise Refused("size", f"{size}", "(H, W), or one number for both, of at least 1")
    return F.interpolate(M[:, None], sizes, mode="bilinear", align_corners=False)[:, 0]


def normalise(M: Map, how: How) -> Map:
    """Scale each map: "none", M; "max", M / max M; "minmax", (M - min) / (max - min); "rank".

    "max" keeps zero where it was; "minmax" and "rank" run from 0, the lowest, to 1.  Degenerate:
    where max M <= 0, "max" gives zeros; where M is constant, "minmax" and "rank" do.  Ties share
    their mean rank.  Raises `Refused` for another word.

    >>> M = torch.tensor([[[-1.0, 0.0, 1.0, 3.0]]])
    >>> normalise(M, "minmax")  # zero is now 0.25
    tensor([[[0.0000, 0.2500, 0.5000, 1.0000]]])
    >>> normalise(M / 3, "max")
    tensor([[[-0.3333,  0.0000,  0.3333,  1.0000]]])
    """
    refuse_non_finite(M, "M")
    low, high = M.amin((1, 2), keepdim=True), M.amax((1, 2), keepdim=True)
    if how == "none":
        return M
    if how == "max":
        return torch.where(high > 0, M / torch.where(high > 0, high, 1), 0)
    spread = torch.where(high > low, high - low, 1)
    if how == "minmax":
        return (M - low) / spread
    if how == "rank":
        flat = M.flatten(1)
        ordered = flat.sort(1).values
        below = torch.searchsorted(ordered, flat.contiguous())
        not_above = torch.searchsorted(ordered, flat.contiguous(), right=True)
        rank = (below + not_above - 1).to(M.dtype) / 2 / max(flat.shape[1] - 1, 1)
        return torch.where(high > low, rank.view_as(M), 0)
    raise Refused("how", f"{how!r}", f"one of {', '.join(HOWS)}")


def blank(M: Float[Tensor, "N h w"]) -> Bool[Tensor, " N"]:
    """Whether a map has no positive value: what a final ReLU would leave empty.

    `zerocam.explain_blank` says why.

    >>> blank(torch.tensor([[[-1.0, -2.0]], [[-1.0, 2.0]]]))
    tensor([ True, False])
    """
    refuse_non_finite(M, "M")
    return M.amax((1, 2)) <= 0


def pointing(M: Map, mask: Mask) -> Bool[Tensor, " N"]:
    """Whether the highest point lies in the mask: the pointing game; blank: no.

    It reads one position alone, so no normalisation and no constant can change it.  Source: Zhang
    et al., arXiv:1608.00507, there with a tolerance in pixels, here without.

    >>> mask = torch.tensor([[[True, True, False]]])
    >>> pointing(torch.tensor([[[4.0, 1.0, -2.0]]]), mask)
    tensor([True])
    """
    _fit(M, mask)
    top = M.flatten(1).argmax(1, keepdim=True)
    return mask.flatten(1).gather(1, top)[:, 0] & ~blank(M)


def energy_inside(M: Map, mask: Mask) -> Float[Tensor, " N"]:
    """Share of the positive mass that lies in the mask: 0 to 1; blank: 0.

    It reads where zero is: a constant added to the map changes it.  For the share of the negative
    mass, pass -M.

    >>> mask = torch.tensor([[[True, False, False]]])
    >>> energy_inside(torch.tensor([[[3.0, 1.0, -2.0]]]), mask)
    tensor([0.7500])
    """
    _fit(M, mask)
    positive = M.relu()
    total = positive.sum((1, 2))
    return (positive * mask).sum((1, 2)) / torch.where(total > 0, total, 1)


def above(M: Map, fraction: float = 0.15, how: How = "max") -> Mask:
    """Where the normalised map exceeds `fraction`: the paper's box is drawn round this at 15 %.

    >>> above(torch.tensor([[[4.0, 1.0, -2.0]]]))
    tensor([[[ True,  True, False]]])
    """
    return normalise(M, how) > fraction


def iou(M: Map, mask: Mask, fraction: float = 0.15, how: How = "max") -> Float[Tensor, " N"]:
    """Overlap of `above` with the mask, intersection over union: 0 to 1; both empty: 0.

    The higher, the better the map's region fits the object; `fraction` and `how` decide as much as
    the map.

    >>> iou(torch.tensor([[[4.0, 1.0, -2.0]]]), torch.tensor([[[True, False, False]]]))
    tensor([0.5000])
    """
    _fit(M, mask)
    found = above(M, fraction, how)
    union = (found | mask).sum((1, 2))
    return (found & mask).sum((1, 2)).to(M.dtype) / union.clamp(min=1)


def _fit(M: Tensor, mask: Tensor) -> None:
    if M.shape != mask.shape:
        got = f"{tuple(M.shape)} for masks of {tuple(mask.shape)}"
        raise Refused("M", got, "the same shape", "enlarge the map to the mask")
    refuse_non_finite(M, "M")
