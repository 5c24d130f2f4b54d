"""Take from the built pages what they load and never use, and let the rest not wait for scripts.

The theme sends Font Awesome twice, as a font, which draws the icons, and as a script of 1.5 MB, and
asks for its fonts in advance; each page gets MathJax and every extension's style, used or not.
"""

import re
from pathlib import Path

# What an asset's address holds: what a page that needs it holds; None: none does.
NEEDED_BY = {
    r"/fontawesome/[^\"]*/js/all\.min\.js": None,
    r"/fa-(?:solid|brands|regular)[^\"]*\.woff2": None,
    r"/sphinx-thebe\.(?:js|css)": None,
    r"/mathjax/startup\.js": 'class="math ',
    r"/mystnb\.[^\"]*css": 'class="cell',
    r"/sphinx-design\.min\.css": '[" ]sd-',
    r"/design-tabs\.js": '[" ]sd-tab',
    r"/proof\.css": 'class="proof',
    r"/exercise\.css": "exercise admonition",
}
TAG = r'\s*<(?:script[^>]*src="[^"]*{0}[^"]*"[^>]*></script>|link[^>]*href="[^"]*{0}[^"]*"[^>]*/?>)'
LATER = re.compile(
    r"<script (src=\"[^\"]*/(?:doctools|sphinx_highlight|clipboard\.min|copybutton"
    r"|sphinx-book-theme|togglebutton|a11y)\.js)"
)


def lean(html: str) -> str:
    """The page without what it does not use; the search runs its scripts in their order."""
    for asset, needed in NEEDED_BY.items():
        if needed is None or not re.search(needed, html):
            html = re.sub(TAG.format(asset), "", html)
    return html if "/searchtools.js" in html else LATER.sub(r"<script defer \1", html)


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
