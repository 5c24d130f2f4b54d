"""Figures in one visual language: white is zero, red is for, blue is against.

Every function draws given arrays on given axes and computes nothing but limits.  Colour limits are
symmetric about zero, so white means zero whatever the map; pass the same `limit` to maps that are
to be compared.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from zerocam.extras import extra

with extra("draw"):
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

RED, BLUE = "#b2182b", "#2166ac"
SIGNED = LinearSegmentedColormap.from_list(
    "signed",
    ["#053061", BLUE, "#92c5de", "#ffffff", "#f4a582", RED, "#67001f"],
    N=257,  # odd, so that zero has a colour of its own: exactly white
)


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
            "font.size": 12,
            "axes.titlesize": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=[RED, BLUE, "#4d4d4d", "#1b7837", "#e08214"]),
            "image.interpolation": "nearest",
        }
    )


def _array(image: Any, dims: Sequence[int], what: str) -> np.ndarray:
    """A detached numpy array with one of the wanted numbers of axes."""
    image = image.detach().cpu().double() if hasattr(image, "detach") else image
    array = np.asarray(image, dtype=float)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim not in dims or not np.isfinite(array).all():
        raise ValueError(
            f"{what}: got shape {array.shape}, wanted finite numbers with "
            f"{' or '.join(map(str, dims))} axes; pass one image, not a batch"
        )
    return array


def _limit(M: np.ndarray, limit: float | None) -> float:
    limit = np.abs(M).max() if limit is None else limit
    if not limit >= 0:
        raise ValueError(f"limit: got {limit}, wanted a size, 0 or above")
    return float(limit) or 1.0  # a map of zeros is drawn white


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_image(ax: Axes, image: Any) -> Any:
    """An image (3, H, W), (1, H, W) or (H, W) with values from 0 to 1.

    Arrays and tensors alike.  Raises ValueError for a batch, and for NaN or inf.

    >>> fig, ax = plt.subplots()
    >>> show_image(ax, np.zeros((3, 4, 5))).get_array().shape
    (4, 5, 3)
    >>> plt.close(fig)
    """
    array = _array(image, (2, 3), "image")
    array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    _bare(ax)
    return ax.imshow(array, cmap="gray", vmin=0, vmax=1)


def show_map(ax: Axes, M: Any, limit: float | None = None) -> Any:
    """A map (h, w), coloured from -limit to limit; limit None is the largest absolute value.

    Zero is white, and the frame shows where the map ends.  Returns the artist, for `colour_bar`.
    Give maps that are to be compared the same limit.  Raises ValueError for a batch, for NaN or
    inf, and for a limit below zero.

    >>> fig, ax = plt.subplots()
    >>> show_map(ax, np.array([[-2.0, 0.0, 1.0]])).get_clim()
    (-2.0, 2.0)
    >>> plt.close(fig)
    """
    array = _array(M, (2,), "map")
    bound = _limit(array, limit)
    _bare(ax)
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.8")
    return ax.imshow(array, cmap=SIGNED, vmin=-bound, vmax=bound)


def overlay(ax: Axes, image: Any, M: Any, limit: float | None = None) -> Any:
    """A map (h, w) over its image, made grey: the opacity is |M| / limit, so zero is clear.

    The map is enlarged smoothly to the image.  Returns an artist for `colour_bar`.  Raises
    ValueError as `show_map` does.

    >>> fig, ax = plt.subplots()
    >>> overlay(ax, np.zeros((3, 8, 12)), np.array([[-2.0, 0.0, 1.0]]), 4.0).get_clim()
    (-4.0, 4.0)
    >>> plt.close(fig)
    """
    picture, array = _array(image, (2, 3), "image"), _array(M, (2,), "map")
    grey = picture.mean(0) if picture.ndim == 3 else picture
    bound = _limit(array, limit)
    extent = (0, grey.shape[1], grey.shape[0], 0)
    _bare(ax)
    ax.imshow(0.35 + 0.65 * grey, cmap="gray", vmin=0, vmax=1, extent=extent)
    opacity = np.clip(np.abs(array) / bound, 0, 1)
    rgba = SIGNED(Normalize(-bound, bound)(array))
    rgba[..., 3] = 0.85 * opacity
    ax.imshow(rgba, extent=extent, interpolation="bilinear")
    ax.set(xlim=extent[:2], ylim=extent[2:])
    return plt.cm.ScalarMappable(Normalize(-bound, bound), SIGNED)


def rainbow_overlay(ax: Axes, image: Any, M: Any) -> Any:
    """The usual practice, for contrast: min-max scaled, rainbow colours, half opaque.

    The lowest value is blue and the highest red, whatever they are: zero has no colour here.

    >>> fig, ax = plt.subplots()
    >>> rainbow_overlay(ax, np.zeros((3, 8, 12)), np.array([[-2.0, 0.0, 2.0]])).get_array().tolist()
    [[0.0, 0.5, 1.0]]
    >>> plt.close(fig)
    """
    picture, array = _array(image, (2, 3), "image"), _array(M, (2,), "map")
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
    >>> bar.get_ticks().tolist()
    [-2.0, 0.0, 2.0]
    >>> plt.close(fig)
    """
    axes = list(axes.flat) if isinstance(axes, np.ndarray) else axes
    bar = fig.colorbar(artist, ax=axes, shrink=0.8, aspect=18, pad=0.02)
    low, high = artist.get_clim()
    bar.set_ticks([low, 0, high], labels=[f"{low:.2g}", "0", f"{high:.2g}"])
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
    inches.  Returns the figure and its axes.  Raises ValueError where there is no map, and as
    `show_map` does.

    >>> maps = {"before": np.array([[1.0, -1.0]]), "after": np.array([[3.0, 0.0]])}
    >>> fig, axes = row(np.zeros((3, 8, 12)), maps)
    >>> [ax.get_title() for ax in axes]
    ['the image', 'before', 'after']
    >>> plt.close(fig)
    """
    arrays = {name: _array(M, (2,), "map") for name, M in maps.items()}
    if not arrays:
        raise ValueError("maps: got none, wanted {name: map}")
    bound = _limit(np.concatenate([a.ravel() for a in arrays.values()]), limit)
    picture = _array(image, (2, 3), "image")
    ratio = picture.shape[-1] / picture.shape[-2]
    n = len(arrays) + 1
    fig, axes = plt.subplots(1, n, figsize=(height * ratio * n * 0.95 + 0.9, height), squeeze=False)
    show_image(axes[0, 0], image)
    axes[0, 0].set_title(title)
    for ax, (name, array) in zip(axes[0, 1:], arrays.items(), strict=True):
        draw = overlay(ax, image, array, bound) if over else show_map(ax, array, bound)
        ax.set_title(name)
    colour_bar(fig, draw, axes[0])
    return fig, axes[0]
