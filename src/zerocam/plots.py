"""Figures in one visual language: white is zero, red is for, blue is against.

No other red or blue is drawn: what has no sign is drawn in INKS.  Text has one size, and a notebook
draws a figure at twice the pixels of a common screen, so that it is sharp on a dense one.

Every function draws given arrays on given axes and computes nothing but limits.  Colour limits are
symmetric about zero, so white means zero whatever the map; pass the same `limit` to maps that are
to be compared.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from zerocam.extras import extra
from zerocam.overlays import BLUE as BLUE
from zerocam.overlays import RED as RED
from zerocam.overlays import STOPS, array_of, drawn, refuse_outside
from zerocam.refusals import Refused

with extra("draw"):
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

INKS = "#00696b", "#b8791a", "#4d4d4d", "#762a83"  # for what has no sign: never red, never blue
# N is odd, so that zero has a colour of its own: exactly white
SIGNED = LinearSegmentedColormap.from_list("signed", STOPS, N=257)
TEXT = 11  # points, for all that is written in a figure
WIDEST = 12.0  # inches: of one tile; a panorama would be as wide as a room


def style() -> None:
    """The book's look: a white card in both themes, no frames, text that reads on a phone.

    It changes matplotlib's settings for the whole process.

    >>> with plt.rc_context():
    ...     style()
    ...     plt.rcParams["image.interpolation"]
    'nearest'
    """
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "figure.dpi": 110,
            "savefig.facecolor": "white",
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
            "font.size": TEXT,
            "axes.titlesize": TEXT,
            "figure.titlesize": TEXT,
            "text.color": "#222222",
            "axes.edgecolor": "#808080",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=INKS),
            "image.interpolation": "nearest",
            "legend.frameon": False,
        }
    )
    if "ipykernel" in sys.modules:  # in a notebook: twice the pixels, shown at the size of one
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")


def _limit(M: np.ndarray, limit: float | None) -> float:
    limit = np.abs(M).max() if limit is None else limit
    if not limit >= 0:
        raise Refused("limit", f"{limit}", "a size, 0 or above")
    return float(limit) or 1.0  # a map of zeros is drawn white


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_image(ax: Axes, image: Any) -> Any:
    """An image (3, H, W), (1, H, W) or (H, W) with values from 0 to 1.

    Arrays and tensors alike.  Raises `Refused` for a batch, and for NaN or inf.

    >>> fig, ax = plt.subplots()
    >>> show_image(ax, np.zeros((3, 4, 5))).get_array().shape
    (4, 5, 3)
    >>> plt.close(fig)
    """
    array = array_of(image, "image")
    array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    _bare(ax)
    return ax.imshow(array, cmap="gray", vmin=0, vmax=1)


def show_map(ax: Axes, M: Any, limit: float | None = None) -> Any:
    """A map (h, w), coloured from -limit to limit; limit None is the largest absolute value.

    Zero is white, and the frame shows where the map ends.  Returns the artist, for `colour_bar`.
    Give maps that are to be compared the same limit.  Raises `Refused` for a batch, for NaN or
    inf, and for a limit below zero.

    >>> fig, ax = plt.subplots()
    >>> show_map(ax, np.array([[-2.0, 0.0, 1.0]])).get_clim()
    (-2.0, 2.0)
    >>> plt.close(fig)
    """
    array = array_of(M, "map")
    bound = _limit(array, limit)
    _bare(ax)
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.8")
    return ax.imshow(array, cmap=SIGNED, vmin=-bound, vmax=bound)


def _line(ax: Axes, M: np.ndarray, at: float, width: int, height: int, style: str) -> None:
    """The line where values (h, w) that are spread over a picture cross `at`."""
    if not M.min() < at < M.max():
        return
    y, x = (
        np.clip((np.arange(-1, n + 1) + 0.5) / n, 0, 1) * size
        for n, size in zip(M.shape, (height, width), strict=True)
    )  # the centres of the cells, and the border
    beside = np.pad(M, 1, mode="edge")
    ax.contour(x, y, beside, levels=[at], colors="#222222", linewidths=0.9, linestyles=style)


def overlay(ax: Axes, image: Any, M: Any, limit: float | None = None) -> Any:
    """A map (h, w) in the colours of `show_map`, and its image over it: a pencil drawing.

    An even surface of the image is left white, so a colour is the colour of the bar, zero is white,
    and only what the pencil draws is darker.  Of an image of one channel, a page with ink, the
    outline is drawn, where it crosses one half.  A dashed line is where the map crosses zero.
    The map is enlarged smoothly to the image.  Returns the artist, for `colour_bar`.  Raises
    `Refused` as `show_map` does, and for an image outside 0 to 1.

    >>> fig, ax = plt.subplots()
    >>> overlay(ax, np.zeros((3, 8, 12)), np.array([[-2.0, 0.0, 1.0]]), 4.0).get_clim()
    (-4.0, 4.0)
    >>> plt.close(fig)
    """
    picture, array = array_of(image, "image"), array_of(M, "map")
    refuse_outside(picture)
    grey = picture.mean(0) if picture.ndim == 3 else picture
    height, width = grey.shape
    extent = (0, width, height, 0)
    artist = show_map(ax, array, limit)
    artist.set(extent=extent, interpolation="bilinear")
    if picture.ndim == 3:
        pencil = np.zeros((height, width, 4))
        pencil[..., 3] = drawn(grey)
        ax.imshow(pencil, extent=extent, interpolation="antialiased")
    else:
        _line(ax, grey, 0.5, width, height, "solid")
    _line(ax, array, 0.0, width, height, "dashed")
    ax.set(xlim=extent[:2], ylim=extent[2:])
    return artist


def rainbow_overlay(ax: Axes, image: Any, M: Any) -> Any:
    """The usual practice, for contrast: min-max scaled, rainbow colours, half opaque.

    The lowest value is blue and the highest red, whatever they are: zero has no colour here.

    >>> fig, ax = plt.subplots()
    >>> rainbow_overlay(ax, np.zeros((3, 8, 12)), np.array([[-2.0, 0.0, 2.0]])).get_array().tolist()
    [[0.0, 0.5, 1.0]]
    >>> plt.close(fig)
    """
    picture, array = array_of(image, "image"), array_of(M, "map")
    spread = array.max() - array.min()
    scaled = (array - array.min()) / spread if spread > 0 else np.zeros_like(array)
    extent = (0, picture.shape[-1], picture.shape[-2], 0)
    show_image(ax, image).set_extent(extent)
    artist = ax.imshow(
        scaled, cmap="jet", vmin=0, vmax=1, alpha=0.5, extent=extent, interpolation="bilinear"
    )
    ax.set(xlim=extent[:2], ylim=extent[2:])
    return artist


def colour_bar(
    fig: Figure, artist: Any, axes: Axes | Iterable[Axes], label: str = "score"
) -> Colorbar:
    """A colour bar with a mark at zero and at both limits; label: what is drawn, or its unit.

    >>> fig, ax = plt.subplots()
    >>> bar = colour_bar(fig, show_map(ax, np.array([[-2.0, 1.0]])), ax)
    >>> [tick.get_text() for tick in bar.ax.get_yticklabels()]
    ['−2', '0', '2']
    >>> plt.close(fig)
    """
    axes = list(axes.flat) if isinstance(axes, np.ndarray) else axes
    bar = fig.colorbar(artist, ax=axes, shrink=0.8, aspect=18, pad=0.02)
    low, high = artist.get_clim()
    bar.set_ticks([low, 0, high], labels=[f"{low:.2g}".replace("-", "−"), "0", f"{high:.2g}"])
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def row(
    image: Any,
    maps: dict[str, Any],
    *,
    limit: float | None = None,
    over: bool = True,
    height: float = 2.8,
    title: str = "the image",
) -> tuple[Figure, np.ndarray]:
    """A strip: the image, then each map under its name, all on one scale, with one colour bar.

    over: draw each map over the image; False draws the bare maps.  height: of the strip, in
    inches.  Returns the figure and its axes.  Raises `Refused` where there is no map, and as
    `show_map` does.

    >>> maps = {"before": np.array([[1.0, -1.0]]), "after": np.array([[3.0, 0.0]])}
    >>> fig, axes = row(np.zeros((3, 8, 12)), maps)
    >>> [ax.get_title() for ax in axes]
    ['the image', 'before', 'after']
    >>> plt.close(fig)
    """
    if not maps:
        raise Refused("maps", "none", "{name: map}")
    strip = [(title, image, None), *((name, image, M) for name, M in maps.items())]
    return tiles(strip, limit=limit, over=over, height=height)


def tiles(
    tiles: Sequence[tuple[str, Any, Any]],
    *,
    limit: float | None = None,
    over: bool = True,
    height: float = 2.8,
    columns: int | None = None,
) -> tuple[Figure, np.ndarray]:
    """Tiles (title, image, map or None), row by row, all maps on one scale, with one colour bar.

    For a contact sheet, and for maps of several models, which may have been shown other parts of a
    photograph.  columns: in each row; None puts all into one, or below each other where they are
    much wider than high.  Otherwise as `row`; returns the figure and its axes, in order.

    >>> photo, M = np.zeros((3, 8, 12)), np.array([[1.0, -4.0]])
    >>> fig, axes = tiles([("a", photo, M), ("b", photo, 2 * M), ("c", photo, None)], columns=2)
    >>> len(axes), axes[1].images[0].get_array().shape
    (3, (1, 2))
    >>> plt.close(fig)
    """
    arrays = [None if M is None else array_of(M, "map") for _, _, M in tiles]
    bound = _limit(np.concatenate([a.ravel() for a in arrays if a is not None]), limit)
    picture = array_of(tiles[0][1], "image")
    ratio = picture.shape[-1] / picture.shape[-2]
    n = min(columns or (1 if ratio > 4 else len(tiles)), len(tiles))
    rows, width = -(-len(tiles) // n), min(height * ratio, WIDEST)
    high = height if width < WIDEST else max(width / ratio, 0.4) + 0.6
    fig, grid = plt.subplots(rows, n, figsize=(width * n * 0.95 + 0.9, high * rows), squeeze=False)
    axes, draw = grid.ravel(), None
    for ax, (title, image, _), array in zip(axes, tiles, arrays, strict=False):
        if array is None:
            show_image(ax, image)
        else:
            draw = overlay(ax, image, array, bound) if over else show_map(ax, array, bound)
        ax.set_title(title)
    for ax in axes[len(tiles) :]:
        ax.set_axis_off()
    colour_bar(fig, draw, list(axes))
    return fig, axes[: len(tiles)]
