"""Photographs and collages: there without a network, of the stated size, the same every time."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.ImageFile
import pytest
import torch
from PIL import Image

from zerocam import photos
from zerocam.lab import pictures


@pytest.mark.parametrize("name", pictures.CREDITS)
def test_a_photograph_is_a_square_from_0_to_1(name):
    photo = pictures.photograph(name, 96)
    assert photo.shape == (3, 96, 96)
    assert photo.min() >= 0
    assert 0.3 < photo.max() <= 1
    assert photo.std() > 0.05
    assert torch.equal(photo, pictures.photograph(name, 96))


def test_a_grey_photograph_has_three_equal_channels():
    camera = pictures.photograph("camera", 64)
    assert torch.equal(camera[0], camera[1])
    assert torch.equal(camera[0], camera[2])


def test_a_collage_is_its_halves():
    photo, right = pictures.collage("chelsea", "coffee", 64)
    assert torch.equal(photo[:, :, :64], pictures.photograph("chelsea", 64))
    assert torch.equal(photo[:, :, 64:], pictures.photograph("coffee", 64))
    assert right.sum() == 64 * 64
    assert right[:, 64:].all()


def test_thirty_pairs():
    pairs = pictures.pairs()
    assert len(set(pairs)) == 30
    assert all(a != b for a, b in pairs)


def test_an_unknown_photograph_is_refused():
    with pytest.raises(ValueError, match="got 'dog', wanted one of chelsea, coffee"):
        pictures.photograph("dog")


# ---- files of the reader's own ------------------------------------------------------------------


def file(image: Image.Image, kind: str = "PNG", **kw) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **kw)
    stream.seek(0)
    return stream


def ramp() -> np.ndarray:
    """40 x 60 pixels, RGB: brighter to the right, a red upper left corner."""
    pixels = np.repeat(np.linspace(40, 215, 60).astype("u1")[None], 40, 0)[..., None].repeat(3, 2)
    pixels[:20, :30] = (255, 0, 0)
    return pixels


def read(image: Image.Image, kind: str = "PNG", **kw) -> torch.Tensor:
    return photos.read_photo(file(image, kind, **kw), 20)


RGB = Image.fromarray(ramp())


def test_the_middle_square_is_taken():
    """Of 60 columns the middle 40, two to a pixel: antialiasing mixes only near the edges."""
    x = read(RGB)
    assert x.shape == (3, 20, 20)
    assert x[:, 2, 2].tolist() == [1, 0, 0]
    by_hand = ramp()[30:32, 10 + 30 : 10 + 32, 0].mean() / 255  # position 15, 15
    assert abs(x[0, 15, 15].item() - by_hand) < 0.01


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "GIF"])
def test_every_kind_of_file_is_the_same_photograph(kind):
    lossless = {"WEBP": {"lossless": True}}.get(kind, {})
    image = RGB.quantize(64) if kind == "GIF" else RGB
    x = read(image, kind, **lossless)
    tolerance = 0.05 if kind == "GIF" else 1e-6
    torch.testing.assert_close(x, read(RGB), rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr"])
def test_every_mode_is_read_as_rgb(mode):
    grey = RGB.convert("L")
    image = {"LA": grey, "L": grey, "1": grey}.get(mode, RGB)
    image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    x = read(image, "TIFF" if mode in ("CMYK", "YCbCr", "PA") else "PNG")
    wanted = read(image.convert("RGB"))
    assert x.shape == (3, 20, 20)
    torch.testing.assert_close(x, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_keep_their_range(mode):
    """65535 is white and 32768 is half of it; Pillow's own conversion makes both white."""
    values = np.full((8, 8), 32768, "u2")
    values[:, :4] = 65535
    image = Image.fromarray(values.astype({"I": "i4", "I;16B": ">u2"}.get(mode, "u2")))
    x = read(image, "TIFF")
    assert x[:, 10, 2].tolist() == [1, 1, 1]
    assert abs(x[0, 10, 17].item() - 0.5) < 0.01


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_sixteen_are_read_once_their_white_is_told(mode, bits):
    """No file says whether such a picture is dark: it is refused with the number that mends it."""
    top = 2**bits - 1
    values = np.full((8, 8), 2 ** (bits - 1), "u2")
    values[:, :4] = top
    image = Image.fromarray(values.astype({"I": "i4", "I;16B": ">u2"}.get(mode, "u2")))
    with pytest.raises(ValueError, match=rf"up to {top} in 16 bits.*--white {top} \(white={top}\)"):
        read(image, "TIFF")
    x = photos.read_photo(file(image, "TIFF"), 20, white=top)
    assert x[:, 10, 2].tolist() == [1, 1, 1]
    assert abs(x[0, 10, 17].item() - 0.5) < 0.01
    with pytest.raises(ValueError, match=rf"white: got {top - 1}, wanted {top}, the highest value"):
        photos.read_photo(file(image, "TIFF"), 20, white=top - 1)


def test_a_dark_file_of_sixteen_bits_is_read_once_its_white_is_told():
    dark = Image.fromarray(np.full((4, 4), 9000, "u2"))
    x = photos.read_photo(file(dark), 4, white=65535)
    assert x[0, 0, 0].item() == pytest.approx(9000 / 65535, abs=0.5 / 255)
    assert photos.read_photo(file(Image.fromarray(np.zeros((4, 4), "u2"))), 4).max() == 0


def deep_colours(values: np.ndarray) -> io.BytesIO:
    """A PNG of 16 bits in each of three or four channels (rows, columns, channels), by hand."""
    rows = [b"\0" + row.astype(">u2").tobytes() for row in values]
    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return png_of((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_sixteen_bits_keep_their_range_or_are_refused(channels):
    """Pillow keeps the upper eight bits: of twelve bits in sixteen, four would be left."""
    values = np.full((6, 6, channels), 65535, "u2")
    values[..., 1] = 32768
    x = photos.read_photo(deep_colours(values), 6)
    assert x[:, 3, 3].tolist() == pytest.approx([1, 0.5, 1], abs=0.01)
    values[..., :3] //= 16
    values[0, 0, 3:] = 0  # transparent in one place, which is white
    with pytest.raises(ValueError, match=r"values up to 15 of 255 after 16 bits, wanted all"):
        photos.read_photo(deep_colours(values), 6)
    values[..., :3] = 0  # black is black
    assert photos.read_photo(deep_colours(values), 6)[:, 5, 5].tolist() == [0, 0, 0]


def test_the_whole_picture_keeps_its_proportions():
    x = photos.read_photo(file(RGB), 20, whole=True)
    assert x.shape == (3, 20, 30)
    torch.testing.assert_close(x[:, 3:-3, 8:-8], read(RGB)[:, 3:-3, 3:-3], rtol=0, atol=1e-6)
    assert x[:, 2, 2].tolist() == [1, 0, 0]
    upright = photos.read_photo(file(RGB.transpose(Image.Transpose.TRANSPOSE)), 20, whole=True)
    torch.testing.assert_close(upright, x.mT)
    thin = photos.read_photo(file(RGB.resize((900, 3))), 3, whole=True)
    assert thin.shape == (3, 3, 900)


def test_a_photograph_can_come_through_a_pipe(through_a_pipe):
    x = photos.read_photo(through_a_pipe(file(RGB).getvalue()), 20)
    assert torch.equal(x, read(RGB))


class Registered(PIL.ImageFile.ImageFile):
    """What a plug-in for HEIC does: it takes the file, and makes a picture of it."""

    format = "HEIF"

    def _open(self):
        self._size, self._mode = (2, 2), "L"

    def load(self):
        return Image.new("L", (2, 2), 255).load()


def test_a_kind_that_pillow_has_learnt_is_no_longer_foreign(monkeypatch):
    monkeypatch.setitem(Image.OPEN, "HEIF", (Registered, lambda head: head[4:8] == b"ftyp"))
    monkeypatch.setattr(Image, "ID", [*Image.ID, "HEIF"])
    foreign = io.BytesIO(b"\0\0\0\x18ftypheic" + bytes(40))
    photos._refuse_foreign(foreign, "a.heic")
    monkeypatch.setattr(Image, "ID", Image.ID[:-1])
    with pytest.raises(ValueError, match=r"a\.heic', which is HEIC"):
        photos._refuse_foreign(foreign, "a.heic")


def test_transparent_places_are_white_whatever_colour_hides_there():
    pixels = np.zeros((8, 8, 4), "u1")
    pixels[:, :, 0] = 200  # red everywhere, opaque on the right only
    pixels[:, 4:, 3] = 255
    x = read(Image.fromarray(pixels))
    assert x[:, 10, 2].tolist() == [1, 1, 1]
    torch.testing.assert_close(x[:, 10, 17], torch.tensor([200 / 255, 0, 0]))
    palette = Image.fromarray((pixels[..., 3] > 0).astype("u1") * 7, "L").convert("P")
    x = read(palette, transparency=0)
    assert x[:, 10, 2].tolist() == [1, 1, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation):
    """The stored pixels are turned the other way, as a camera held sideways does."""
    T = Image.Transpose
    back = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
            6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270}  # fmt: skip
    stored = RGB.transpose(back[orientation]) if orientation > 1 else RGB
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(read(stored, exif=exif), read(RGB))
    deep = Image.fromarray(np.asarray(stored.convert("L")).astype("u2") * 257)
    assert torch.equal(read(deep, exif=exif), read(RGB.convert("L")))


def test_a_large_photograph_is_the_small_one():
    """4000 pixels a side, each of 40 x 60 enlarged a hundred times."""
    large = RGB.resize((6000, 4000), Image.Resampling.NEAREST)
    torch.testing.assert_close(read(large), read(RGB), rtol=0, atol=0.02)


def test_a_phone_picture_with_a_preview_is_its_first_frame():
    x = read(RGB, "MPO", save_all=True, append_images=[RGB.resize((6, 4))], quality=100)
    torch.testing.assert_close(x, read(RGB), rtol=0, atol=0.1)  # JPEG


def png(width: int, height: int, *more: tuple[bytes, bytes]) -> io.BytesIO:
    """A PNG file that says it is width x height; most of its pixels are missing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_of((b"IHDR", head), *more, (b"IDAT", zlib.compress(bytes(10))))


def png_of(*chunks: tuple[bytes, bytes]) -> io.BytesIO:
    raw = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        raw += struct.pack(">I", len(data)) + name + data
        raw += struct.pack(">I", zlib.crc32(name + data))
    return io.BytesIO(raw)


def damaged(kind: str, keep: float) -> io.BytesIO:
    raw = file(RGB, kind).getvalue()
    return io.BytesIO(raw[: int(len(raw) * keep)])


def flipped() -> io.BytesIO:
    raw = bytearray(file(RGB).getvalue())
    raw[60] ^= 255  # inside the compressed pixels
    return io.BytesIO(bytes(raw))


def test_a_damaged_file_is_closed_again(tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(damaged("PNG", 0.5).getvalue())
    with pytest.raises(ValueError, match=r"half\.png', which cannot be read"):
        photos.read_photo(path)  # a file left open is a warning, and warnings are errors here
    stream = damaged("PNG", 0.5)
    with pytest.raises(ValueError, match="a stream"):
        photos.read_photo(stream)
    assert not stream.closed  # it is the caller's


def started(head: bytes) -> io.BytesIO:
    """A file of which the first bytes are these."""
    return io.BytesIO(head + bytes(200))


FRAMES = [RGB, RGB.transpose(Image.Transpose.ROTATE_180)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: io.BytesIO(b""), "cannot be read"),
        (lambda: io.BytesIO(b"not a picture"), "cannot be read"),
        (lambda: damaged("PNG", 0.5), "cannot be read"),
        (lambda: damaged("JPEG", 0.7), "cannot be read"),
        (lambda: damaged("GIF", 0.5), "cannot be read"),
        (flipped, "cannot be read"),
        (lambda: png(8, 8), "cannot be read"),
        (lambda: png(0, 8), "cannot be read"),
        (lambda: png(10_000, 10_000), "too large to open.*make it smaller"),
        (lambda: png(100_000, 100_000), "too large to open.*bomb"),
        (lambda: png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))), "too large"),
        (lambda: file(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "with 2 frames"),
        (lambda: file(FRAMES[0], save_all=True, append_images=FRAMES[1:]), "with 2 frames"),
        (lambda: file(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "2 frames"),
        (lambda: file(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), "2 frames"),
        (lambda: file(Image.fromarray(np.ones((4, 4), "f4")), "TIFF"), "in mode F, wanted 8 or"),
        (lambda: file(Image.fromarray(np.full((4, 4), 70_000, "i4")), "TIFF"), "in mode I, wanted"),
        (lambda: started(b"\0\0\0\x18ftypheic"), "which is HEIC, .*pillow-heif"),
        (lambda: started(b"\0\0\0\x18ftypmif1"), "which is HEIC"),
        (lambda: started(b"\0\0\0\x20ftypisom"), "which is a film.*one frame as PNG"),
        (lambda: started(bytes(128) + b"DICM"), "which is DICOM.*in the window the model was"),
        (lambda: started(b"%PDF-1.7\n"), "which is PDF or Post.*draw its page as PNG"),
        (lambda: started(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "PDF or PostS"),
        (lambda: started(b"<svg xmlns="), "which is SVG.*in the size you need"),
        (lambda: started(b"\n <?xml version="), "which is SVG"),
        (lambda: started(b"<!doctype html>"), "which is a web page.*save the picture in it"),
        (lambda: started(b"\x93NUMPY\1\0"), "which is numbers, not a picture"),
        (lambda: started(b"\x89HDF\r\n\x1a\n"), "which is numbers, not a picture"),
        (lambda: started(b"CDF\1"), "which is numbers, not a picture"),
        (lambda: file(Image.fromarray(np.full((4, 4), -1, "i4")), "TIFF"), "in mode I, wanted"),
        (lambda: "no/such/file.png", "no/such/file.png', which cannot be read .*No such.*its name"),
        (lambda: str(Path(__file__).parent), "which cannot be read .*its name"),
        (lambda: __file__, r"which cannot be read \(cannot identify image file\), wanted a whole"),
    ],
)
def test_files_that_cannot_be_shown_are_refused(untyped, make, message):
    with pytest.raises(ValueError, match=f"^photo: got .*{message}"):
        photos.read_photo(make(), 20)


@pytest.mark.parametrize(
    ("image", "size", "words", "message"),
    [
        (RGB, 3000, {"whole": True}, "size: got 4500 x 3000 pixels, wanted at most 4,000,000"),
        (RGB, 2001, {}, "size: got 2001 x 2001 pixels, .*take a smaller size"),
        (RGB, 20, {"white": 4095}, r"white: got 4095 for 'a stream', in mode RGB, wanted a grey"),
        (RGB.convert("L"), 20, {"white": 255}, "in mode L, wanted a grey file of 16 bits; leave"),
        (Image.fromarray(np.ones((4, 4), "u2")), 20, {"white": 0}, "white: got 0, wanted 1, the"),
        (Image.fromarray(np.ones((4, 4), "u2")), 20, {"white": 65536}, "or more, up to 65535"),
        (Image.fromarray(np.ones((4, 4), "u2")), 20, {}, r"--white 255 \(white=255\) for 8 bits"),
    ],
)
def test_what_cannot_be_asked_of_a_photograph_is_refused(image, size, words, message):
    with pytest.raises(ValueError, match=message):
        photos.read_photo(file(image), size, **words)
