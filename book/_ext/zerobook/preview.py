"""What a search engine or a message shows of a page: its first paragraph and the book's card.

The address of the published site is the variable ZEROCAM_SITE; without it the card's is relative.
sphinxext-opengraph does this where the address is always known: without one it names a page and a
card that are not there, and it asks for no large picture; so it does not take the place of this.
"""

import os
import re
from html import escape, unescape

from docutils import nodes

SITE = os.environ.get("ZEROCAM_SITE", "").strip().rstrip("/")
CARD = (
    "A cat beside a cup of coffee, and two heatmaps for espresso: one covers the cup, one is empty."
)


def _describe(doctree, length=200):
    for paragraph in doctree.findall(nodes.paragraph) if doctree else []:
        text = " ".join(paragraph.astext().split())
        if len(text) > 60:
            return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"
    return "Grad-CAM, symmetry and the reference point: a book that runs."


def _meta(app, pagename, templatename, context, doctree):
    base = f"{SITE}/" if SITE else context["pathto"]("", 1)
    title = unescape(re.sub(r"<[^>]*>", "", context.get("title") or ""))  # it is HTML
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": title or app.config.html_title,
        "og:description": (text := _describe(doctree)),
        "og:image": f"{base}_static/card.png",
        "og:image:alt": CARD,
    } | ({"og:url": f"{base}{pagename}.html"} if SITE else {})
    lines = [f'<meta property="{key}" content="{escape(value)}" />' for key, value in tags.items()]
    lines += [f'<meta name="description" content="{escape(text)}" />']
    lines += ['<meta name="twitter:card" content="summary_large_image" />']
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def setup(app):
    """Connect to Sphinx."""
    app.connect("html-page-context", _meta)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
