"""The slides of the lecture: one HTML file that needs nothing beside it.

What is shown is marked in the chapters, as slideshow metadata of a cell:

    slide_type   "slide" starts a slide, "fragment" adds to it, "notes" is said
    minutes      how long it is shown
    title        a heading that the cell does not have
    section      only what stands under this heading
    code         true shows the source as well
"""

import html
import re
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from book._ext.zerobook.formulas import drawn

from .editions import DETAILS
from .notebooks import TITLE, text

HERE = Path(__file__).parent


def deck(notebooks: dict[str, dict]) -> list[dict]:
    """The slides: chapter, minutes, what is shown, what is said."""
    slides: list[dict] = []
    for name, notebook in notebooks.items():
        for cell in notebook["cells"]:
            mark = cell["metadata"].get("slideshow", {})
            kind = mark.get("slide_type")
            if kind == "slide":
                slides.append({"chapter": name[:2], "minutes": 0, "shown": [], "said": []})
            if kind not in ("slide", "fragment", "notes"):
                continue
            slides[-1]["minutes"] += mark.get("minutes", 0)
            slides[-1]["shown"] += [f"<h2>{mark['title']}</h2>"] if "title" in mark else []
            shown, said = (_said if cell["cell_type"] == "markdown" else _output)(cell)
            slides[-1]["shown"] += [] if kind == "notes" else shown
            slides[-1]["said"] += shown + said if kind == "notes" else said
    return slides


def _said(cell: dict) -> tuple[list[str], list[str]]:
    """Of prose: headings, formulas, lists, tables, quotations, what is in bold; and the rest."""
    source = re.sub(r" *\{cite\}`[^`]*`|<!--.*?-->", "", DETAILS.sub("", text(cell)))
    if section := cell["metadata"]["slideshow"].get("section"):
        parts = re.split(r"(?m)^(?=#)", source)
        source = next(part for part in parts if part.startswith(("# ", "## ")) and section in part)
    shown, said = [], []
    for block in map(str.strip, re.split(r"\n\s*\n(?![^<]*</details>)", source.strip())):
        if block.startswith(("**You need", "After this")):
            continue
        keep = re.match(r"#|\$\$|- |\d\. |\||> |<details", block) or "**" in block
        (shown if keep else said).append(_html(block))
    while shown and shown[-1].startswith("<h"):  # of what follows in the next cell
        shown.pop()
    return shown, said


def _output(cell: dict) -> tuple[list[str], list[str]]:
    """Of code: pictures and print-outs, and the source if the mark says so."""
    shown, alt = [], cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
    if cell["metadata"]["slideshow"].get("code"):
        shown.append(f"<pre>{html.escape(text(cell))}</pre>")
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            png = "".join(data["image/png"]).replace("\n", "")
            alt = html.escape(alt, quote=True)
            shown.append(f'<img alt="{alt}" src="data:image/png;base64,{png}">')
        elif "text/html" in data:
            shown.append(re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.S))
        else:
            printed = "".join(output.get("text", data.get("text/plain", "")))
            shown.append(f"<pre>{html.escape(printed.strip())}</pre>")
    return shown, []


def _mathml(formula: str, options: dict) -> str:
    """For a browser, which draws it without a style sheet or a font of ours."""
    return drawn(formula, display=options["display_mode"], output="mathml")


@cache
def _renderer() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    return markdown.use(dollarmath_plugin, allow_space=True, renderer=_mathml)


def _html(markdown: str) -> str:
    # A link to another chapter leads nowhere from one file.
    plain = re.sub(r"\[([^]]*)\]\((?!http)[^)]*\)", r"\1", markdown)
    return _renderer().render(plain)


def slides(notebooks: dict[str, dict]) -> str:
    """The lecture as one HTML file that asks nobody for anything."""
    style, script = ((HERE / name).read_text("utf-8") for name in ("lecture.css", "lecture.js"))
    made, total = [], 0
    for slide in deck(notebooks):
        total += slide["minutes"]
        said = f"<aside>{''.join(slide['said'])}</aside>" if slide["said"] else ""
        foot = f"<span>{TITLE} Chapter {int(slide['chapter'])}</span><span>to minute {total}</span>"
        shown = "".join(slide["shown"])
        made.append(f"<section>{shown}{said}<footer>{foot}</footer></section>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body>{''.join(made)}<script>{script}</script></body></html>\n"
    )
