"""Read the reader's own photographs: RGB, from 0 to 1, (3, H, W)."""

import warnings
from contextlib import nullcontext
from io import BytesIO, IOBase
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from zerocam import moved
from zerocam.refusals import Refused

# What begins so, at this byte, is no picture that Pillow reads -> what it is, and what helps
PNG = "save it as PNG or JPEG"
FOREIGN = (
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "HEIC",
     f"{PNG}, or: pip install pillow-heif, and register its opener"),
    (4, (b"ftyp", b"moov"), "a film, or another file of that family", "save one frame as PNG"),
    (128, (b"DICM",), "DICOM", "save its pixels as PNG, 8 bits, in the window the model was shown"),
    (0, (b"%PDF", b"%!PS"), "PDF or PostScript", "draw its page as PNG"),
    (0, (b"<svg", b"<?xml", b"<!DOCTYPE svg"), "SVG", "draw it as PNG, in the size you need"),
    (0, (b"<html", b"<!DOCTYPE html", b"<!doctype html"), "a web page", "save the picture in it"),
    (0, (b"\x89HDF", b"CDF", b"PK\x03\x04", b"\x93NUMPY"), "numbers, not a picture", PNG),
)  # fmt: skip
LARGEST = 4_000_000  # pixels shown to a network: more would need several gigabytes
DIM = 4  # a file of 16 bits whose highest value is less than a fourth of it was written in fewer


def read_photo(
    file: str | Path | IOBase, size: int = 224, *, whole: bool = False, white: int | None = None
) -> Float[Tensor, "3 H W"]:
    """The largest centred square of an image file, at `size` pixels; RGB from 0 to 1.

    Antialiased bilinear, the same on every machine.  Turned upright as its EXIF entry says; grey
    comes as three equal channels, 16 bits keep their range, transparent places are white.

    whole: the whole picture instead, in its proportions, the shorter side at `size` pixels.
    white: the value that is white in a file of 16 bits, 4095 where a camera or a scanner wrote 12.

    Raises `Refused` for a file that is missing, damaged, animated, in floating point or LAB, of
    another kind, which is named, or so large that decoding it could fill the memory (a
    decompression bomb); and for 16 bits of which the upper two are never used: no file says whether
    such a picture is dark, or was written in 10, 12 or 14 bits.

    >>> from io import BytesIO
    >>> from PIL import Image
    >>> Image.new("RGB", (60, 40), "red").save(stream := BytesIO(), "PNG")
    >>> photo = read_photo(stream, size=4)
    >>> tuple(photo.shape), photo[:, 0, 0]
    ((3, 4, 4), tensor([1., 0., 0.]))
    >>> tuple(read_photo(stream, size=4, whole=True).shape)
    (3, 4, 6)
    """
    import numpy as np
    from PIL import Image

    name = str(file) if isinstance(file, str | Path) else getattr(file, "name", "a stream")
    try:
        with open(file, "rb") if isinstance(file, str | Path) else nullcontext[Any](file) as stream:
            image = _decoded(stream if stream.seekable() else BytesIO(stream.read()), name, white)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        got = f"{name!r}, too large to open ({error})"
        raise Refused("photo", got, mend="make it smaller") from None
    except Refused:
        raise
    except Exception as error:  # Pillow raises many kinds on a damaged file
        why = getattr(error, "strerror", None) or str(error).partition(" <")[0]
        raise Refused("photo", f"{name!r}, which cannot be read ({why})", "a whole image file",
                      "check its name, or save it again") from None  # fmt: skip
    short = min(image.size)
    if short > 8 * size:  # a mean over blocks first: a large file needs less memory
        image = image.reduce(short // (4 * size))
        short = min(image.size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    sides = tuple(pixels.shape[1:]) if whole else (short, short)
    top, left = (round((n - side) / 2) for n, side in zip(pixels.shape[1:], sides, strict=True))
    kept = pixels[None, :, top : top + sides[0], left : left + sides[1]].double() / 255
    H, W = (max(round(side * size / short), 1) for side in sides)
    if H * W > LARGEST:
        raise Refused("size", f"{W} x {H} pixels", f"at most {LARGEST:,}", "take a smaller size")
    return F.interpolate(kept, (H, W), mode="bilinear", antialias=True)[0].clamp(0, 1).float()


def _decoded(stream: Any, name: str, white: int | None) -> Any:
    """The picture of an open file: upright, RGB, 8 bits."""
    import numpy as np
    from PIL import Image, ImageOps

    _refuse_foreign(stream, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image: Image.Image = Image.open(stream)
    # an MPO is a phone's, with its preview
    if (n := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
        raise Refused("photo", f"{name!r} with {n} frames", "one", "save the one you mean")
    # of several channels of 16 bits Pillow keeps the upper 8
    sixteen = ";16" in str(getattr(image, "tile", "")) and not image.mode.startswith("I")
    image = ImageOps.exif_transpose(_eight_bits(image, name, white))
    if sixteen and 0 < (top := np.asarray(image.convert("RGB")).max()) < 256 // DIM:
        got = f"{name!r} with values up to {top} of 255 after 16 bits"
        raise Refused("photo", got, "all of its range", "scale it, and save it in 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: Any, name: str, white: int | None) -> Any:
    """A grey picture of 16 bits in 8, 0 to `white`; Pillow's own conversion would clip it."""
    import numpy as np
    from PIL import Image

    mode = image.mode
    deep = np.asarray(image).astype(float) if mode.startswith("I") else np.zeros(1)
    if mode in ("F", "LAB") or deep.min() < 0 or deep.max() > 65535:
        raise Refused("photo", f"{name!r} in mode {mode}", "8 or 16 bits", "save it as PNG")
    if not mode.startswith("I"):
        if white is not None:
            got = f"{white} for {name!r}, in mode {mode}"
            raise Refused("white", got, "a grey file of 16 bits", "leave it out")
        return image
    if white is None and 0 < deep.max() < 65536 // DIM:
        bits = max(int(deep.max()).bit_length(), 8)
        got = f"{name!r}, values up to {deep.max():.0f} in 16 bits"
        mend = (
            f"say which value is white: --white {2**bits - 1} (white={2**bits - 1}) for {bits} bits"
        )
        raise Refused("photo", got, "up to 65535", mend)
    if white is not None and not deep.max() <= white <= 65535:
        wanted = f"{deep.max():.0f}, the highest value of {name!r}, or more, up to 65535"
        raise Refused("white", f"{white}", wanted)
    exif = image.getexif()
    image = Image.fromarray((deep * (255 / (white or 65535))).round().astype("u1"))
    image.getexif().update(exif)
    return image


def _refuse_foreign(stream: Any, name: str) -> None:
    """Say what a file is that is known and that Pillow does not read."""
    stream.seek(0)
    head = stream.read(256)
    for at, marks, kind, mend in FOREIGN:
        if head[at:].lstrip().startswith(marks) and not _opens(stream):
            raise Refused("photo", f"{name!r}, which is {kind}", "an image file", mend)


def _opens(stream: Any) -> bool:
    """Whether Pillow, with the plug-ins that are installed, knows the file and reads it itself."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    try:
        image = Image.open(stream)
        return image.format != "EPS" and not isinstance(image, ImageFile.StubImageFile)
    except UnidentifiedImageError:
        return False
    except Exception:  # a picture of a kind that is known, and damaged
        return True


def __getattr__(name: str) -> object:
    return moved.find(__name__, name)
