"""Take from the built pages what they load and never use: half of their weight.

The theme sends Font Awesome twice, as a font, which draws the icons, and as a script of 1.5 MB, and
asks for all its fonts in advance; and each page gets MathJax, with or without a formula.
"""

import re
from pathlib import Path

UNUSED = (
    re.compile(r'\s*<script src="[^"]*/fontawesome/[^"]*/js/all\.min\.js[^"]*"></script>'),
    re.compile(r'\s*<link rel="preload"[^>]*/fa-(?:brands|regular)-400\.woff2"[^>]*>'),
)
MATHJAX = re.compile(r'\s*<script defer="defer" src="[^"]*/mathjax/startup\.js[^"]*"></script>')


def lean(html: str) -> str:
    """The page without what it does not use."""
    for pattern in (*UNUSED, *[MATHJAX] * ('class="math ' not in html)):
        html = pattern.sub("", html)
    return html


def _rewrite(app, exception):
    if exception is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            if "_static" not in page.parts:
                text = page.read_text(encoding="utf-8")
                page.write_text(lean(text), encoding="utf-8")


def setup(app):
    """Connect to Sphinx."""
    app.connect("build-finished", _rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
