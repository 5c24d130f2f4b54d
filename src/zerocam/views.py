"""What of a photograph the model saw: where its input came from, by pictures of coordinates.

    photo   a photograph                              (3, H, W), 0 to 1
    x       prepare(photo), the model's input         (1, ch, h, w)

A `prepare` may resize, cut, turn, mirror or pad, so a map of x does not lie on the photograph by
itself.  If each pixel of x is a mean of pixels of the photograph, times a number, plus another,

    u(i, j) = (prepare(across) - prepare(black)) / (prepare(white) - prepare(black))

is the column, from 0 to 1, from which pixel (i, j) came; `across` is grey and brightens from left
to right.  Likewise v from `down`.  That prepare is of this kind is tried on the photograph.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from zerocam.hooks import forked

Prepare = Callable[[Tensor], Tensor]
AffineMatrix = Float[Tensor, "2 3"]  # (column, row) from 0 to 1 -> the same elsewhere

ROUNDED = 0.02  # of the range from black to white: what a prepare that works in bytes may err
INNER = 0.05  # so near the border enlarging repeats the last pixel, and moves no more


@dataclass(frozen=True, eq=False)
class View:
    """The image that a map is drawn on, and where on it the model's input lies.

    place: takes a point of the image to the point of the input that shows it, both (column, row)
    from 0 to 1; None where the image is the input.  said: what a reader must know, "" if nothing.
    """

    image: Float[Tensor, "ch H W"]
    place: AffineMatrix | None
    said: str = ""

    def lay(self, M: Float[Tensor, "h w"]) -> Float[Tensor, "rows columns"]:
        """The map on the pixels of the image, 0 where the model saw nothing; as it is if it fits.

        >>> left_half = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> View(torch.zeros(3, 1, 4), left_half).lay(torch.tensor([[5.0, 7.0]]))
        tensor([[5., 7., 0., 0.]])
        """
        if self.place is None:
            return M
        points, seen = self._points()
        grid = (2 * points - 1)[None].to(M)
        laid = F.grid_sample(M[None, None], grid, padding_mode="border", align_corners=False)
        return laid[0, 0] * seen

    def darkened(self) -> Float[Tensor, "ch H W"]:
        """The image, dark where the model saw nothing of it."""
        if self.place is None:
            return self.image
        return self.image * (0.3 + 0.7 * self._points()[1])

    def _points(self) -> tuple[Float[Tensor, "H W 2"], Float[Tensor, "H W"]]:
        """For each pixel of the image its point on the input, and 1 where that lies inside."""
        assert self.place is not None
        across, down = coordinates(self.image)
        points = torch.stack((across[0], down[0], torch.ones_like(down[0])), -1) @ self.place.T
        return points, ((points >= 0) & (points <= 1)).all(-1).to(points)


def coordinates(photo: Float[Tensor, "ch H W"]) -> tuple[Tensor, Tensor]:
    """Two pictures (3, H, W): each pixel holds its column, and its row, from 0 to 1.

    >>> across, down = coordinates(torch.zeros(3, 1, 2))
    >>> across[0], down[0]
    (tensor([[0.2500, 0.7500]]), tensor([[0.5000, 0.5000]]))
    """
    H, W = photo.shape[1:]
    across, down = ((torch.arange(n) + 0.5) / n for n in (W, H))
    return across.expand(3, H, W).clone(), down[:, None].expand(3, H, W).clone()


@contextmanager
def same_draws(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Seed torch, Python and NumPy, and put their random states back at the end.

    >>> def draw():
    ...     with same_draws(torch.device("cpu")):
    ...         return torch.rand(1).item(), random.random(), np.random.rand()
    >>> draw() == draw()
    True
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with forked(device):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def prepared(prepare: Prepare, photo: Tensor) -> Tensor:
    """prepare(photo); a prepare that draws at random draws the same each time.

    >>> import torchvision.transforms as T
    >>> photo = torch.rand(3, 8, 8)
    >>> cut = T.RandomCrop(4)
    >>> torch.equal(prepared(cut, photo), prepared(cut, photo))
    True
    """
    with same_draws(photo.device):
        return torch.as_tensor(prepare(photo))


def origin(prepare: Prepare, photo: Tensor) -> AffineMatrix | None:
    """Where on the photograph a point of prepare(photo) came from; None where it cannot be told.

    Not told: a prepare that bends, or whose pixels depend on more than those of their place, as
    where the image's own mean is subtracted.

    >>> right_half = lambda photo: photo[None, :, :, photo.shape[2] // 2 :]
    >>> origin(right_half, torch.rand(3, 32, 64))
    tensor([[0.5000, 0.0000, 0.5000],
            [0.0000, 1.0000, 0.0000]])
    """
    across, down = coordinates(photo)
    pictures = (photo, torch.zeros_like(across), torch.ones_like(across), across, down)
    try:
        mixed, *ways = (
            prepared(prepare, picture)[0].double().cpu()
            for picture in ((photo + across + down) / 3, *pictures)
        )
        x, dark, light, u, v = torch.stack(ways)
    except Exception:  # the user's own code, shown what is no photograph: it may say so
        return None
    if mixed.shape != x.shape or x.ndim != 3:
        return None
    span = light - dark
    if not (mixed - (x + u + v) / 3).abs().max() <= ROUNDED * span.abs().max():
        return None
    k = int(span.abs().sum((1, 2)).argmax())
    return _fitted((u - dark)[k], (v - dark)[k], span[k])


def _fitted(u: Tensor, v: Tensor, span: Tensor) -> AffineMatrix | None:
    """The straight line through what the pixels inside the photograph say of their place."""
    places = torch.stack((u, v), -1) / span[..., None]
    whole = span.abs() > 0.99 * span.abs().max()
    inside = whole & ((places > INNER) & (places < 1 - INNER)).all(-1)
    here = torch.stack([c[0] for c in coordinates(span[None])], -1).to(places)
    points = torch.cat((here, torch.ones_like(here[..., :1])), -1)[inside]
    if len(points) < 6 or torch.linalg.matrix_rank(points) < 3:
        return None
    fitted = torch.linalg.lstsq(points, places[inside]).solution
    off = (points @ fitted - places[inside]).abs().max()
    straight = bool(off <= max(ROUNDED, 1 / min(span.shape)))
    found = fitted.T.float().round(decimals=4) + 0.0
    return found if straight and torch.linalg.det(found[:, :2]).abs() > 1e-6 else None


def view(prepare: Prepare, photo: Tensor, x: Tensor) -> View:
    """What a map of x = prepare(photo) is drawn on: the photograph if it can be traced, else x.

    >>> photo = torch.rand(3, 32, 64)
    >>> view(lambda photo: photo[None], photo, photo[None]).said
    ''
    >>> left = lambda photo: photo[None, :, :, :32]
    >>> view(left, photo, left(photo)).said
    'prepare shows the model 50 % of the photograph; the rest is dark'
    """
    found = origin(prepare, photo)
    if found is None:
        shown = x[0].detach().float().cpu()
        shown = shown if len(shown) == 3 else shown.mean(0, keepdim=True)
        low, high = shown.min(), shown.max()
        shown = (shown - low) / (high - low if high > low else 1)
        said = "where prepare took its pixels cannot be told; drawn on the model's own input"
        return View(shown, None, said)
    back = torch.linalg.inv(found[:, :2])
    place = torch.cat((back, -back @ found[:, 2:]), 1)
    half = 0.5 / max(photo.shape[1:])  # of a pixel
    if (place - torch.eye(2, 3)).abs().max() <= 2 * half:
        return View(photo, None)
    there = View(photo, place)
    share = there._points()[1].mean()
    moved = "prepare turns or moves the photograph; the map is laid back on it"
    cut = f"prepare shows the model {share:.0%} of the photograph; the rest is dark"
    return View(photo, place, (cut if share < 0.995 else moved).replace("%", " %"))
