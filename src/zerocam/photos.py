"""Read the reader's own photographs: RGB, from 0 to 1, (3, H, W)."""

import warnings
from contextlib import nullcontext
from io import IOBase
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from zerocam import _moved


def read_photo(file: str | Path | IOBase, size: int = 224) -> Float[Tensor, "3 size size"]:
    """The largest centred square of an image file, at `size` pixels; RGB from 0 to 1.

    Antialiased bilinear, the same on every machine.  Turned upright as its EXIF entry says; grey
    comes as three equal channels, 16 bits keep their range, transparent places are white.

    Raises ValueError for a file that is missing, damaged, animated, in floating point or LAB, or
    so large that decoding it could fill the memory (a decompression bomb).
    """
    import numpy as np
    from PIL import Image, ImageOps

    name = getattr(file, "name", "a stream") if isinstance(file, IOBase) else str(file)
    what = f"photo: got {name!r}"
    try:
        with open(file, "rb") if isinstance(file, str | Path) else nullcontext(file) as stream:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(stream)
            frames, mode = getattr(image, "n_frames", 1), image.mode
            if frames > 1 and image.format != "MPO":  # a phone's: the photo, then its preview
                raise ValueError(f"{what} with {frames} frames, wanted one; save the one you mean")
            deep = np.asarray(image).astype(float) if mode.startswith("I") else np.zeros(1)
            if mode in ("F", "LAB") or deep.min() < 0 or deep.max() > 65535:
                raise ValueError(f"{what} in mode {mode}, wanted 8 or 16 bits; save it as PNG")
            if mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip them to white
                exif = image.getexif()
                image = Image.fromarray((deep / 257).round().astype("u1"))
                image.getexif().update(exif)
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{what}, too large to open ({error}); make it smaller") from None
    except Exception as error:  # Pillow raises many kinds on a damaged file
        if str(error).startswith(what):
            raise
        why = getattr(error, "strerror", None) or str(error).partition(" <")[0]
        mend = "wanted a whole image file; check its name, or save it again"
        raise ValueError(f"{what}, which cannot be read ({why}); {mend}") from None
    if min(image.size) > 8 * size:  # a mean over blocks first: a large file needs less memory
        image = image.reduce(min(image.size) // (4 * size))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    side = min(image.size)
    top, left = (round((n - side) / 2) for n in pixels.shape[1:])
    square = pixels[None, :, top : top + side, left : left + side].double() / 255
    photo = F.interpolate(square, (size, size), mode="bilinear", antialias=True)[0]
    return photo.clamp(0, 1).float()


def __getattr__(name: str) -> object:
    return _moved.find(__name__, name)
