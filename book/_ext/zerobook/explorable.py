"""``{explorer} PRESET``: the explorable of zerocam.lab.explorer; ``:full:`` opens its controls."""

from docutils import nodes
from docutils.parsers.rst import Directive, directives

from zerocam.lab import explorer


class Explorable(Directive):
    """The same HTML that a notebook shows."""

    optional_arguments = 1
    option_spec = {"full": directives.flag}  # noqa: RUF012

    def run(self):
        """One raw node; builders that are not HTML leave it out."""
        preset = self.arguments[0] if self.arguments else "start"
        html = explorer.show(preset, full="full" in self.options)
        return [nodes.raw("", html, format="html")]


def _publish(app, exception):
    """Serve the module and its data, too, so that other pages can import them."""
    if exception is None and app.builder.format == "html":
        for name in ("explorer.js", "explorer.json"):
            text = (explorer.FOLDER / name).read_text(encoding="utf-8")
            (app.outdir / "_static" / name).write_text(text, encoding="utf-8")


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("explorer", Explorable)
    app.connect("build-finished", _publish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
