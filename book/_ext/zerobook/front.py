"""The pictures of the front page: ``{cover} NAME`` and ``{chapter-cards}``.

The option ``alt`` of a cover is its text, and ``to`` the page of this folder that it leads to.  A
narrow screen shows NAME-tall in its place, if there is one.  A chapter's card shows its number, its
question, the minutes it takes and the first picture that the notebook holds, made small.
"""

import re
from base64 import b64decode
from html import escape
from io import BytesIO
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from PIL import Image
from sphinx.util.docutils import SphinxDirective

from zerocam.lab import ledger

SMALL = (560, 350)  # pixels: twice those of a card


def _first_picture(notebook: dict) -> bytes | None:
    pictures = (
        output["data"]["image/png"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    )
    found = next(pictures, None)
    return b64decode(found) if found else None


class Front(SphinxDirective):
    """HTML with addresses of the site's own files."""

    @property
    def static(self) -> str:
        """The folder of pictures, as seen from this page."""
        alone = self.env.app.builder.name == "singlehtml"  # that page lies at the root
        return "" if alone else "../" * self.env.docname.count("/")


class Cover(Front):
    """A picture of tools.card as wide as the column."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012
        "alt": directives.unchanged_required,
        "to": directives.unchanged_required,
    }

    def size(self, name: str) -> str:
        """The width and height of a picture as attributes: half of its pixels."""
        with Image.open(Path(self.env.srcdir) / "book" / "_static" / name) as image:
            return f'width="{image.width // 2}" height="{image.height // 2}"'

    def run(self):
        """One raw node; builders that are not HTML leave it out."""
        name = self.arguments[0]
        tall = name.replace(".", "-tall.")
        other = ""
        if (Path(self.env.srcdir) / "book" / "_static" / tall).exists():
            address = f"{self.static}_static/{tall}"
            other = f'<source media="(max-width: 480px)" srcset="{address}" {self.size(tall)}>'
        alt = escape(self.options["alt"])
        later = ' loading="lazy"' if "to" in self.options else ""  # it stands further down
        size = f"{self.size(name)}{later}"
        picture = f'<img src="{self.static}_static/{name}" {size} alt="{alt}">'
        picture = f"<picture>{other}{picture}</picture>"
        if to := self.options.get("to"):
            alone = self.env.app.builder.name == "singlehtml"
            address = f"#document-book/{to}" if alone else f"{to}.html"
            picture = f'<a class="card-link" href="{address}">{picture}</a>'
        return [nodes.raw("", f'<div class="hero">{picture}</div>', format="html")]


class ChapterCards(Front):
    """A card for each chapter."""

    def run(self):
        """One raw node."""
        cards = []
        for chapter in ledger.chapters(Path(self.env.srcdir)):
            self.env.note_dependency(str(chapter.path))
            texts = ["".join(cell["source"]) for cell in chapter.notebook["cells"]]
            title = re.search(r"^# (.+)", texts[0], re.MULTILINE)[1]
            time = re.search(r"(\d+) minutes", texts[0])
            number = int(chapter.number)
            page = f"{self.static}notebooks/{chapter.path.stem}.html"
            if self.env.app.builder.name == "singlehtml":
                page = f"#document-notebooks/{chapter.path.stem}"
            small = f"{self.static}_static/chapters/{chapter.number}.webp"
            picture = f'<img src="{small}" alt="" loading="lazy">'
            minutes = f" · {time[1]} minutes" if time else ""
            cards.append(
                f'<a class="card-link" href="{page}"><span class="frame">{picture}</span>'
                f'<span class="words"><small>Chapter {number}{minutes}</small>'
                f"{escape(title)}</span></a>"
            )
        return [nodes.raw("", f'<div class="chapters">{"".join(cards)}</div>', format="html")]


def _make_small(app, exception):
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static" / "chapters"
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in ledger.chapters(Path(app.srcdir)):
        if found := _first_picture(chapter.notebook):
            with Image.open(BytesIO(found)) as image:
                small = image.convert("RGB")
                small.thumbnail(SMALL, Image.Resampling.LANCZOS)
                small.save(folder / f"{chapter.number}.webp", quality=85)


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("cover", Cover)
    app.add_directive("chapter-cards", ChapterCards)
    app.connect("build-finished", _make_small)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
