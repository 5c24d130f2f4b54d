"""What the drawn ideas share: two inks, one scale of red and blue, one arrow, one type.

A drawing is 400 units wide and shown between 358 and 560 CSS pixels wide, so no text is below 12
units.  Red and blue are for the sign of a number alone; white is zero.
"""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex

from zerocam.plots import SIGNED

WORDS = tomllib.loads(Path(__file__).with_name("ideas.toml").read_text(encoding="utf-8"))
WIDTH = 400
# In a page the ink follows its theme; as a picture of its own the drawing lies on a light card.
STYLE = """
.idea { --ink: #1d2733; --soft: #5b6675; --line: #aab3bf; --wash: #e9edf1; --sheet: #faf9f6;
  font: 13px "Source Sans 3", "DejaVu Marks", "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; }
html .idea { display: block; width: 100%; max-width: 560px; height: auto; margin: .5rem auto 1rem; }
html[data-theme=dark] .idea { --ink: #e8ebef; --soft: #a9b3bf; --line: #667080; --wash: #2b323b; }
.idea .sheet { fill: var(--sheet); } html .idea .sheet { fill: none; }
.idea text { fill: var(--ink); font-size: 13px; } .idea .soft { fill: var(--soft); }
.idea .s { font-size: 12px; } .idea .l { font-size: 15px; } .idea .b { font-weight: 600; }
.idea .m { font: italic 400 1.1em KaTeX_Math, "Source Serif 4", Georgia, serif; }
.idea .sub { font-size: 11.5px; } .idea .in { fill: #1d2733; }
.idea .line { fill: none; stroke: var(--ink); stroke-width: 1.5; stroke-linejoin: round;
  stroke-linecap: round; }
.idea .strong { stroke-width: 2.5; } .idea .thin { stroke: var(--line); stroke-width: 1; }
.idea .dash { stroke-dasharray: 3 4; } .idea .pale { stroke: var(--soft); }
.idea .mark { stroke: #1d2733; } .idea .head { fill: var(--ink); }
.idea .head.pale { fill: var(--soft); stroke: none; } .idea .wash { fill: var(--wash); }
.idea .cell { stroke: var(--line); } .idea .open { fill: none; }
.idea .ink { fill: var(--ink); } .idea .full { fill: var(--soft); }
.idea .up { fill: UP; } .idea .down { fill: DOWN; }
.idea .night { fill: #1d2733; stroke: var(--line); } .idea .chalk { stroke: #fff; stroke-width: 4; }
""".strip()


def number(value: float) -> str:
    """As it is written in the book: a true minus, no needless digits."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return {"-0": "0"}.get(text, text).replace("-", "−")


def plus(value: float) -> str:
    """With its sign."""
    return number(value) if value < 0 else f"+{number(value)}"


def tint(value: float, limit: float) -> str:
    """White is zero; red speaks for, blue against, in the colours of the heatmaps.

    At the limit it is less than half of their strength: dark figures stay legible on it.
    """
    return to_hex(SIGNED(0.5 + 0.21 * max(-1, min(1, value / limit))))


def grey(value: float, limit: float) -> str:
    """A number that has no sign to show, such as an activation: the more, the darker."""
    share = 0.42 * value / limit
    return "#" + "".join(f"{round(255 + (c - 255) * share):02x}" for c in (90, 102, 117))


def words(text: str) -> str:
    """Escape; letters between dollars are a formula's, ``_2`` and ``_{ij}`` low."""
    out, low = "", 0
    for i, part in enumerate(text.split("$")):
        pieces = re.findall(r"(_?)(?:\{(\w+)\}|([^_]))", part) if i % 2 else [("", part, "")]
        for sub, braced, one in pieces:
            piece, shift = braced or one, 3 * bool(sub) - low
            kind = [*(["m"] if i % 2 and piece.isalpha() else []), *(["sub"] if sub else [])]
            said = (f' class="{" ".join(kind)}"' if kind else "") + (
                f' dy="{shift}"' if shift else ""
            )
            if piece:
                out += f"<tspan{said}>{escape(piece)}</tspan>" if said else escape(piece)
                low += shift
    return out


class Drawing:
    """The shapes of one drawing, in the order in which they are laid down."""

    def __init__(self, name: str, height: int, width: int = WIDTH, words: dict | None = None):
        self.name, self.height, self.width = name, height, width
        self.words = words or WORDS[name]  # its title, and what is in it
        self.motion = ""  # style sheet of what moves
        self.parts: list[str] = []

    def add(self, tag: str, cls: str = "", **attributes: float | str) -> None:
        """A shape; numbers are rounded to a tenth of a unit."""
        said = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items()}
        said = {
            k: f"{v:.1f}".removesuffix(".0") if isinstance(v, float) else v for k, v in said.items()
        }
        text = "".join(f' {k}="{v}"' for k, v in said.items())
        self.parts.append(f"<{tag}{f' class={chr(34)}{cls}{chr(34)}' if cls else ''}{text}/>")

    def text(self, x: float, y: float, text: str, cls: str = "", at: str = "start") -> None:
        """A line of text; at says which of its ends stands at x: start, middle or end."""
        anchor = "" if at == "start" else f' text-anchor="{at}"'
        cls = f' class="{cls}"' if cls else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{anchor}{cls}>{words(text)}</text>')

    def middle(self, x: float, y: float, text: str, cls: str = "") -> None:
        """A line of text with its middle at x."""
        self.text(x, y, text, cls, "middle")

    def upwards(self, x: float, y: float, text: str, cls: str = "") -> None:
        """A line of text that reads from below, with its middle at y."""
        self.middle(0, 0, text, cls)
        turned = f'<text transform="translate({x:g} {y:g}) rotate(-90)"'
        self.parts[-1] = self.parts[-1].replace("<text", turned)

    def line(self, *points: tuple[float, float], cls: str = "") -> None:
        """A line through points."""
        d = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.add("path", f"line {cls}".strip(), d=d)

    def arrow(self, *points: tuple[float, float], cls: str = "") -> None:
        """A line with a head at its last point."""
        (x0, y0), (x, y) = points[-2:]
        along = np.array([x - x0, y - y0]) / np.hypot(x - x0, y - y0)
        across, tip = np.array([-along[1], along[0]]), np.array([x, y])
        self.line(*points[:-1], tuple(np.round(tip - 5 * along, 1)), cls=cls)
        a, b = tip - 8 * along + 4 * across, tip - 8 * along - 4 * across
        d = f"M{x:g} {y:g}L{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}Z"
        self.add("path", f"head {cls}".strip(), d=d)

    def box(self, x: float, y: float, w: float, h: float, label: str = "", cls: str = "") -> None:
        """A part of a network."""
        self.add("rect", "wash", x=x, y=y, width=w, height=h, rx=6)
        if label:
            self.middle(x + w / 2, y + h / 2 + 4.5, label, cls)

    def cells(self, x: float, y: float, values, size: float = 30, limit: float = 0, **how) -> None:
        """A grid of numbers: red and blue by sign with a limit, else grey by size.

        how: ``of`` is the largest value for grey, ``tall`` the height of a cell, ``says`` a format.
        """
        values = np.atleast_2d(values)
        tall, says = how.get("tall", size), how.get("says", number)
        for (i, j), value in np.ndenumerate(values):
            fill = (
                tint(value, limit) if limit else grey(value, how["of"]) if "of" in how else "#fff"
            )
            at = {"x": x + j * size, "y": y + i * tall, "width": size, "height": tall}
            self.add("rect", "cell signed" if limit else "cell", **at, fill=fill)
            self.middle(x + (j + 0.5) * size, y + (i + 0.5) * tall + 4.5, says(value), "in")

    def frame(self, x: float, y: float, w: float, h: float) -> None:
        """An outline, inside the edge of a cell, that points it out."""
        at = {"x": x + 2, "y": y + 2, "width": w - 4, "height": h - 4}
        self.add("rect", "line strong mark", **at, rx=1, style="fill: none")

    def picture(self, x: float, y: float, size: float = 44) -> None:
        """The image that a network reads: a seven."""
        self.add("rect", "night", x=x, y=y, width=size, height=size, rx=2)
        stroke = ((0.27, 0.24), (0.73, 0.24), (0.43, 0.8))
        self.line(
            *((round(x + size * a, 1), round(y + size * b, 1)) for a, b in stroke), cls="chalk"
        )

    @contextmanager
    def group(self, tag: str = "g", **attributes: str) -> Iterator[None]:
        """What is drawn inside moves, or is cut, together."""
        said = "".join(f' {k.rstrip("_").replace("_", "-")}="{v}"' for k, v in attributes.items())
        self.parts.append(f"<{tag}{said}>")
        yield
        self.parts.append(f"</{tag}>")

    def svg(self) -> str:
        """The file: one picture, with a name and a description for those who do not see it."""
        title, desc = f"idea-{self.name}-title", f"idea-{self.name}-desc"
        style = STYLE.replace("UP", tint(0.9, 1)).replace("DOWN", tint(-0.9, 1))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="idea" role="img" width="560" '
            f'height="{560 * self.height / self.width:.0f}" '
            f'viewBox="0 0 {self.width} {self.height}" '
            f'aria-labelledby="{title}" aria-describedby="{desc}">',
            f'<title id="{title}">{escape(self.words["title"])}</title>',
            f'<desc id="{desc}">{escape(" ".join(self.words["desc"].split()))}</desc>',
            f"<style>\n{style}\n{self.motion}</style>",
            f'<rect class="sheet" width="{self.width}" height="{self.height}"/>',
        )
        return "\n".join([*head, *self.parts, "</svg>\n"])
