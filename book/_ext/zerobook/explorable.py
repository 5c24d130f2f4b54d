"""The explorable and the writing page of zerocam.lab, as directives.

``{explorer} PRESET`` shows the explorable; ``:full:`` opens its controls.  ``{writing}`` shows
the page on which a heatmap is written.
"""

from docutils import nodes
from docutils.parsers.rst import Directive, directives

from zerocam.lab import explorer, write


class Explorable(Directive):
    """The same HTML that a notebook shows."""

    optional_arguments = 1
    option_spec = {"full": directives.flag}  # noqa: RUF012

    def run(self):
        """One raw node; builders that are not HTML leave it out."""
        preset = self.arguments[0] if self.arguments else explorer.FIRST
        html = explorer.show(preset, full="full" in self.options)
        return [nodes.raw("", html, format="html")]


class Writing(Directive):
    """The writing page."""

    def run(self):
        """One raw node, as above."""
        return [nodes.raw("", write.show(), format="html")]


def _publish(app, exception):
    """Serve the modules and the data, too, so that other pages can import them."""
    if exception is None and app.builder.format == "html":
        for name in ("drawing.js", "explorer.js", "explorer.json", "write.js", "write.json"):
            text = (explorer.FOLDER / name).read_text(encoding="utf-8")
            (app.outdir / "_static" / name).write_text(text, encoding="utf-8")


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("explorer", Explorable)
    app.add_directive("writing", Writing)
    app.connect("build-finished", _publish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
