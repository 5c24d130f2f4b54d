"""A map over its image, as a picture: white is zero, red is for, blue is against.

Needs Pillow and NumPy alone; `zerocam.plots` draws the same colours on matplotlib's axes.
"""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from zerocam.metrics import enlarge
from zerocam.refusals import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

RED, BLUE = "#b2182b", "#2166ac"
STOPS = ("#053061", BLUE, "#92c5de", "#ffffff", "#f4a582", RED, "#67001f")  # from -limit to limit
DARK = 0.85  # the opacity of the darkest stroke


def signed_colours(M: Float[Tensor, "H W"], limit: float) -> Float[Tensor, "3 H W"]:
    """The colour of each value: STOPS at equal steps from -limit to limit, straight lines between.

    Zero is exactly white, whatever the limit; values beyond the limit have the colour of its end.

    >>> signed_colours(torch.tensor([[0.0, 3.0]]), 3.0)[:, 0].T * 255
    tensor([[255., 255., 255.],
            [103.,   0.,  31.]])
    """
    stops = torch.tensor([list(bytes.fromhex(stop[1:])) for stop in STOPS], dtype=M.dtype) / 255
    where = (M / limit).clamp(-1, 1) * (len(STOPS) // 2) + len(STOPS) // 2
    low = where.floor().long().clamp(max=len(STOPS) - 2)
    part = (where - low)[..., None]
    return (stops[low] * (1 - part) + stops[low + 1] * part).movedim(-1, 0)


def drawn(grey: Any) -> Any:
    """How dark a pencil drawing of a grey picture is, 0 to 0.85: 0.85 (1 - grey / grey around it).

    grey: an array (H, W) from 0 to 1; so is what comes back.  An even surface stays white, whatever
    its grey, so a picture that is drawn over a map does not tint it: only edges and lines are dark.
    Around is a Gaussian of a 25th of the height.

    >>> import numpy as np
    >>> print(drawn(np.full((50, 50), 0.25)).max())
    0.0
    """
    import numpy as np
    from PIL import Image, ImageFilter

    sheet = Image.fromarray(np.uint8(255 * np.clip(grey, 0, 1)))
    around = sheet.filter(ImageFilter.GaussianBlur(len(grey) / 25))
    g, g_around = (np.asarray(page, dtype=float) / 255 for page in (sheet, around))
    return DARK * np.clip(1 - (g + 0.04) / (g_around + 0.04), 0, 1)


def refuse_outside(photo: Any) -> None:
    """`Refused` for an image, a tensor or an array, with values outside 0 to 1."""
    if not (photo.min() >= 0 and photo.max() <= 1):
        got = f"values from {photo.min():.3g} to {photo.max():.3g}"
        mend = "divide bytes by 255; pass the photograph, not the input made of it"
        raise Refused("image", got, "0 to 1", mend)


def array_of(given: Any, what: str) -> Any:
    """One map (h, w), or an image (3, H, W), (1, H, W) or (H, W), as an array of 64 bits.

    An axis of length one goes.  what: "map" or "image".  `Refused` for a batch, for channels that
    are last, and for NaN or inf.

    >>> array_of(torch.zeros(1, 2, 4), "map").shape, array_of(torch.zeros(3, 2, 4), "image").shape
    ((2, 4), (3, 2, 4))
    """
    import numpy as np

    given = given.detach().cpu().double() if hasattr(given, "detach") else given
    array = np.asarray(given, dtype=float)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 and (what == "map" or array.ndim != 3 or len(array) != 3):
        wanted, mend = ("finite numbers (h, w)", "pass one: M[0]")
        if what == "image":
            wanted, mend = "(3, H, W), (1, H, W) or (H, W)", "pass one image, not a batch"
            if array.ndim == 3 and array.shape[2] in (1, 3):
                mend = "its channels are last: image.transpose(2, 0, 1), or tensor.permute(2, 0, 1)"
        raise Refused(what, f"shape {array.shape}", wanted, mend)
    if not np.isfinite(array).all():
        raise Refused(what, "NaN or inf", "finite numbers")
    return array


def overlay(image: Any, M: Any, *, limit: float | None = None) -> "Image":
    """c = (1 - d) colour(M): a map in its colours, and its image over it as a pencil drawing, d.

    An even surface of the image is left white, so a colour is the colour of the bar, and zero is
    white (`drawn`).  The map is enlarged to the image first, by `zerocam.metrics.enlarge`.

    Take it where you want a file, or an array, without matplotlib:
    ``overlay(photo, M[0]).save("map.png")``, ``numpy.asarray(overlay(photo, M[0]))``: (H, W, 3),
    RGB, 0 to 255.  (OpenCV wants BGR: ``[..., ::-1]``.)

    image: the pixels that the model saw, before its mean was subtracted: (3, H, W), (1, H, W) or
    (H, W) from 0 to 1, tensor or array, or a PIL image.  M: one signed map, (h, w).  limit: the
    value of full colour; None is the largest absolute one.  Give maps that are to be compared, of
    two models or of two classes, the same limit.  Raises `Refused` for a batch, for NaN or inf, and
    for an image outside 0 to 1.

    >>> picture = overlay(torch.ones(3, 4, 8), torch.tensor([[-2.0, 0.0, 0.0, 2.0]]))
    >>> picture.size, [picture.getpixel((x, 0)) for x in (0, 4, 7)]
    ((8, 4), [(5, 48, 97), (255, 255, 255), (103, 0, 31)])
    """
    import numpy as np
    from PIL import Image

    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":  # Pillow would make white of most of it
            raise Refused("image", f"mode {image.mode}", "8 bits", "read it by zerocam.photos")
        image = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
    photo, m = (torch.from_numpy(array_of(*v)) for v in ((image, "image"), (M, "map")))
    refuse_outside(photo)
    bound = float(m.abs().max() if limit is None else limit) or 1.0  # zeros are drawn white
    if not bound > 0:
        raise Refused("limit", f"{limit}", "a size, 0 or above")
    grey = photo.mean(0) if photo.ndim == 3 else photo
    big = enlarge(m[None], tuple(grey.shape))[0]
    mixed = (1 - torch.from_numpy(drawn(grey.numpy()))) * signed_colours(big, bound)
    return Image.fromarray((mixed * 255).round().byte().movedim(0, -1).numpy())
