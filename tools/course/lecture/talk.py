"""What is shown and said: slides.toml, with its numbers as the chapters print them."""

import html
import re
import tomllib
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from book._ext.zerobook.formulas import drawn
from zerocam.lab import ledger

from ..notebooks import ROOT

HERE = Path(__file__).parent
FIRST_HOUR = 80  # minutes on slides; ten of the ninety are in reserve
NOTES = ("say", "ask", "point", "next")


@cache
def talk() -> dict:
    """The slides and the alt texts of their figures.

    Raises ValueError where a marked number is not the one that its chapter prints.
    """
    text = (HERE / "slides.toml").read_text(encoding="utf-8")
    printed = {f"{c.number}:{k}": v for c in ledger.chapters(ROOT) for k, v in c.printed.items()}
    if wrong := ledger.fill(text, printed)[1]:
        raise ValueError(f"slides.toml: {'; '.join(wrong)}; write what the chapter prints")
    return tomllib.loads(ledger.MARK.sub("", text))


def slides() -> list[dict]:
    """The slides in order; a vote has options."""
    return talk()["slide"]


def alt(name: str) -> str:
    """What a figure shows, for those who do not see it."""
    return talk()["figures"][name]


@cache
def _markdown() -> MarkdownIt:
    def formula(tex: str, options: dict) -> str:
        return drawn(tex, options["display_mode"])

    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    return reader.use(dollarmath_plugin, allow_space=True, renderer=formula)


def rendered(markdown: str, inline: bool = False) -> str:
    """Markdown as HTML, its formulas drawn; inline: without a paragraph round it."""
    return _markdown().renderInline(markdown) if inline else _markdown().render(markdown)


def notes(slide: dict) -> str:
    """What is said, asked, pointed at, and where it goes on."""
    rows = (f"<dt>{n.title()}</dt><dd>{rendered(slide[n], True)}</dd>" for n in NOTES)
    return f"<dl>{''.join(rows)}</dl>"


def words(slide: dict) -> int:
    """The words that a slide shows, answer included; a formula is none."""
    parts = [slide["title"], slide.get("text", ""), slide.get("answer", "")]
    text = " ".join([*parts, *slide.get("options", [])])
    return len(re.findall(r"[^\W_][\w’'-]*", html.unescape(re.sub(r"\$[^$]*\$", " ", text))))
