"""A drawing of book/_static/ideas stands in its page, not beside it as a picture of its own.

There it has the page's fonts, follows its light and dark theme, and its text can be selected and
searched.  In JupyterLab the same ``![alt](../book/_static/ideas/NAME.svg)`` shows the file, on a
light card.
"""

from pathlib import Path

from docutils import nodes

FOLDER = "book/_static/ideas/"


def stand(app, doctree, docname) -> None:
    """Put the text of each drawing in the place of its picture."""
    if app.builder.format != "html":
        return
    shown = [image for image in doctree.findall(nodes.image) if image["uri"].startswith(FOLDER)]
    for i, image in enumerate(shown):
        path = Path(app.srcdir, image["uri"])
        svg = path.read_text(encoding="utf-8")
        svg = svg.replace(
            f"idea-{path.stem}-", f"idea-{i}-{path.stem}-"
        )  # one page may show it twice
        image.replace_self(nodes.raw("", svg, format="html"))


def setup(app):
    """Connect to Sphinx."""
    app.connect("doctree-resolved", stand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
