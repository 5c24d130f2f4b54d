"""A slider that a reader with a kernel can move, and a picture of three of its stops for the rest.

A chapter gives a function that draws a figure for one number, and the numbers to choose from:

    live(draw, values, name="shift", twin=(-1, 0, 1))

In JupyterLab, Notebook and VS Code this is a slider of ipywidgets: at each stop `draw` runs again.
Where nobody can move a slider, on the site or when a notebook is executed by a program, it is one
picture, the figures at the stops of `twin` below each other; or a page that moves by itself, such
as `explorer.show("shift")`.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

from IPython import get_ipython

from zerocam.extras import extra
from zerocam.refusals import Refused

with extra("draw"):
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    from PIL import Image

Draw = Callable[[Any], Figure]
SHARP = 2  # pixels to a pixel of the screen, as zerocam.plots.style has it in a notebook


def somebody_is_there() -> bool:
    """Whether the running cell was sent by a program that names its cells, as editors do.

    Those that only execute a notebook (nbconvert, nbval, the build of the site) send no cell's
    name.  A wrong guess costs little: the picture is shown instead of the slider, or a slider
    without a page.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(kernel is not None and (kernel.get_parent("shell") or {}).get("metadata"))


def _size(png: bytes) -> dict[str, int]:
    """How large a sharp picture is to be shown."""
    width, height = Image.open(io.BytesIO(png)).size
    return {"width": width // SHARP, "height": height // SHARP}


class Live:
    """A slider and its picture; `show(value)` is the picture at a stop, as the bytes of a PNG."""

    def __init__(
        self, draw: Draw, values: Sequence[Any], name: str, twin: Sequence[Any], page: str | None
    ) -> None:
        self.draw, self.values, self.name = draw, list(values), name
        self.twin, self.page = list(twin), page

    def show(self, value: Any) -> bytes:
        """Draw the figure at a stop, with `name: value` above it."""
        figure = self.draw(value)
        shown = value if isinstance(value, str) else str(value).replace("-", "−")
        figure.suptitle(f"{self.name}: {shown}")
        figure.savefig(stream := io.BytesIO(), format="png", dpi=SHARP * figure.dpi)
        plt.close(figure)
        return stream.getvalue()

    def picture(self) -> bytes:
        """The figures at the stops of `twin`, below each other, as the bytes of a PNG."""
        frames = [Image.open(io.BytesIO(self.show(v))) for v in self.twin]
        size = max(frame.width for frame in frames), sum(frame.height for frame in frames)
        sheet, down = Image.new("RGB", size, "white"), 0
        for frame in frames:
            sheet.paste(frame.convert("RGB"), (0, down))
            down += frame.height
        sheet.save(stream := io.BytesIO(), format="png", dpi=frames[0].info["dpi"])
        return stream.getvalue()

    def box(self) -> Any:
        """The slider above its picture: a widget.  It starts at the first stop of `twin`."""
        with extra("lab"):
            from ipywidgets import Image as Picture
            from ipywidgets import SelectionSlider, VBox

        slider = SelectionSlider(
            options=self.values,
            value=self.twin[0],
            description=self.name,
            continuous_update=False,
            layout={"width": "95%"},
            style={"description_width": "initial"},
        )
        png = self.show(slider.value)
        layout = {"max_width": "100%", "width": f"{_size(png)['width']}px"}
        picture = Picture(value=png, format="png", layout=layout)
        slider.observe(lambda change: setattr(picture, "value", self.show(change["new"])), "value")
        return VBox([slider, picture])

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if somebody_is_there():
            return dict(self.box()._repr_mimebundle_()), {}
        png = self.picture()  # drawn with a page too: what nobody moves is found broken here
        still = {"text/html": self.page} if self.page else {"image/png": png}
        return {**still, "text/plain": repr(self)}, {"image/png": _size(png)}

    def __repr__(self) -> str:
        return f"<a slider: {self.name}, from {self.values[0]} to {self.values[-1]}>"


def live(
    draw: Draw,
    values: Sequence[Any],
    *,
    name: str,
    twin: Sequence[Any],
    page: str | None = None,
) -> Live:
    """A slider over `values`: at each stop it shows the figure that `draw(value)` returns.

    values: the stops, numbers or words.  name: what the slider moves.  twin: the stops that are
    shown where there is no slider; the first is where the slider starts.  page: HTML that is shown
    there in their place.  Raises `Refused` where a
    stop of `twin` is not among the values, or is missing.

    >>> def draw(t):
    ...     fig, ax = plt.subplots()
    ...     ax.plot([0, t])
    ...     return fig
    >>> live(draw, [0, 1, 2], name="shift", twin=(0, 2))
    <a slider: shift, from 0 to 2>
    """
    if not twin or any(stop not in list(values) for stop in twin):
        raise Refused("twin", f"{list(twin)}", f"one or more of {list(values)}")
    return Live(draw, values, name, twin, page)
