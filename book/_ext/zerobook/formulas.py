"""Formulas are drawn while the book is built, by KaTeX: a page needs no script for them.

KaTeX runs in V8, which is the package mini-racer.  A formula that it cannot read fails the build.
"""

import atexit
import json
import re
from functools import cache
from html import escape
from pathlib import Path

from docutils import nodes
from py_mini_racer import MiniRacer

SHORT = 10  # signs of a formula that has room in any line, so it is not broken
BASE, AROUND = '<span class="katex-base">', 3 * "</span>"  # a formula breaks between bases
KATEX = Path(__file__).parent / "vendor" / "katex" / "katex.min.js"


@cache
def _engine() -> MiniRacer:
    engine = MiniRacer()
    atexit.register(engine.close)  # left to the end of the interpreter, it may wait for ever
    engine.eval(KATEX.read_text(encoding="utf-8"))
    return engine


@cache
def drawn(tex: str, display: bool = False, output: str = "htmlAndMathml") -> str:
    """A formula as HTML, with MathML for screen readers; output="mathml": as MathML alone."""
    options = {"displayMode": display, "strict": "error", "throwOnError": True, "output": output}
    return _engine().eval(f"katex.renderToString({json.dumps(tex)}, {json.dumps(options)})")


def hold(doctree: nodes.document) -> None:
    """Give each formula in a line the stops and commas behind it: no line may start with them."""
    for formula in doctree.findall(nodes.math):
        text = formula.next_node(descend=False, siblings=True)
        if isinstance(text, nodes.Text) and (stop := re.match(r"[.,;:?!)]+", text)):
            formula["stop"] = stop[0]
            text.parent.replace(text, nodes.Text(text[stop.end() :]))


def _signs(html: str) -> int:
    """How many signs of a drawn formula are seen."""
    return len(re.sub(r"<[^>]*>|[\s\u200b]", "", html.split("katex-html", 1)[1]).partition(">")[2])


def _inline(self, node):
    html = f'<span class="math notranslate nohighlight">{drawn(node.astext())}</span>'
    if stop := escape(node.get("stop", "")):
        *start, last = html.removesuffix(AROUND).split(BASE)
        if len(start) == 1 or _signs(html) <= SHORT:
            html = f'<span class="held">{html}{stop}</span>'
        else:  # it may break behind its signs, so its last part holds the stop; it is said once
            last = f'<span class="held">{BASE}{last}<span class="stop">{stop}</span></span>{AROUND}'
            html = BASE.join(start).replace("</math>", f"</math>{stop}") + last
    elif html.count(BASE) > 1 and _signs(html) <= SHORT:
        html = f'<span class="held">{html}</span>'
    self.body.append(html)
    raise nodes.SkipNode


def _display(self, node):
    tag = f"\\tag{{{node['number']}}}" if node["number"] else ""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(f"{drawn(node.astext() + tag, True)}</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Connect to Sphinx."""
    app.add_html_math_renderer("katex", (_inline, None), (_display, None))
    app.connect(
        "doctree-resolved",
        lambda app, doctree, _name: app.builder.format == "html" and hold(doctree),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
