"""Formulas are drawn while the book is built, by KaTeX: a page needs no script for them.

KaTeX runs in V8, which is the package mini-racer.  A formula that it cannot read fails the build.
"""

import json
from functools import cache
from pathlib import Path

from docutils import nodes
from py_mini_racer import MiniRacer

KATEX = Path(__file__).parent / "vendor" / "katex" / "katex.min.js"


@cache
def _engine() -> MiniRacer:
    engine = MiniRacer()
    engine.eval(KATEX.read_text(encoding="utf-8"))
    return engine


@cache
def drawn(tex: str, display: bool = False) -> str:
    """A formula as HTML, with MathML for screen readers."""
    options = {"displayMode": display, "strict": "error", "throwOnError": True}
    return _engine().eval(f"katex.renderToString({json.dumps(tex)}, {json.dumps(options)})")


def _inline(self, node):
    self.body.append(f'<span class="math notranslate nohighlight">{drawn(node.astext())}</span>')
    raise nodes.SkipNode


def _display(self, node):
    tag = f"\\tag{{{node['number']}}}" if node["number"] else ""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(f"{drawn(node.astext() + tag, True)}</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Connect to Sphinx."""
    app.add_html_math_renderer("katex", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
