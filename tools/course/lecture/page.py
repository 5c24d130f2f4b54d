"""The slides as one HTML file for reveal.js, and as a booklet with their notes: no other host."""

import base64
import html
import json
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from ..notebooks import ROOT, TITLE
from .drawings import DRAWINGS
from .talk import HERE, alt, notes, rendered, slides

STATIC = ROOT / "book" / "_static"
TEXT_FONTS = ("Source Sans 3", "DejaVu Marks")
FORMULA_FONTS = ("Main-Regular", "Main-Bold", "Main-Italic", "Math-Italic", "AMS-Regular")
FORMULA_FONTS += tuple(f"Size{n}-Regular" for n in (1, 2, 3, 4))
NARROW = 1.4  # a figure that is less wide than this times its height has its text beside it
RIGHT = ' class="fragment custom right" data-fragment-index="0"'  # marked with the answer
START = """
const SHAPES = [4 / 3, 16 / 9];  // a slide is as wide as its screen, between these
const shape = () => Math.min(Math.max(innerWidth / innerHeight, SHAPES[0]), SHAPES[1]);
const width = () => Math.round(1080 * shape());
Reveal.initialize({
  width: width(), height: 1080, margin: 0, minScale: 0.1, maxScale: 8, center: false,
  display: "flex", transition: "none", backgroundTransition: "none", controls: false,
  hash: true, hashOneBasedIndex: true, slideNumber: "c/t", scrollActivationWidth: null,
  plugins: [RevealNotes],
});
addEventListener("resize", () => Reveal.configure({ width: width() }));
"""


def library(path: str) -> str:
    """A file of reveal.js, which the package sphinx-revealjs carries unchanged."""
    place = distribution("sphinx-revealjs").locate_file("sphinx_revealjs/_static/revealjs")
    return (Path(place) / path).read_text(encoding="utf-8")


def presenter() -> str:
    """The script of the presenter's window, with a style of ours after its own."""
    script, end = library("plugin/notes/notes.js"), "</style>"
    if script.count(end) != 1:
        raise ValueError("notes.js of reveal.js has changed: presenter.css has no place in it")
    style = json.dumps((HERE / "presenter.css").read_text(encoding="utf-8"))[1:-1]
    return script.replace(end, style + end)


def _held(path: Path) -> str:
    """A font as part of the style sheet."""
    kind = path.suffix[1:]
    return f"url(data:font/{kind};base64,{base64.b64encode(path.read_bytes()).decode()})"


def fonts() -> str:
    """The style sheet of text and formulas, with the fonts in it."""
    sheets = {"fonts.css": TEXT_FONTS, "vendor/katex/katex.min.css": FORMULA_FONTS}
    style = ""
    for name, wanted in sheets.items():
        path = STATIC / name
        faces, rest = [], path.read_text(encoding="utf-8")
        for face in re.findall(r"@font-face\s*\{[^}]*\}", rest):
            rest = rest.replace(face, "")
            file = re.search(r"url\(([^)]*\.woff2?)\)", face)  # none in a font of the machine
            if file and any(f'"{w}"' in face or f"KaTeX_{w}." in file[1] for w in wanted):
                source = f"src: {_held(path.parent / file[1])}"
                faces.append(re.sub(r"src:[^;}]*", lambda _, s=source: s, face))
        style += "".join(faces) + (rest if "katex" in name else "")
    return style


def shape(svg: str) -> float:
    """Width over height of a drawing or a figure."""
    _, _, width, height = re.search(r'viewBox="([^"]*)"', svg)[1].split()
    return float(width) / float(height)


def picture(name: str, svg: str, place: str) -> str:
    """A drawing stands in the page, for its fonts; a figure is an image of its own."""
    if name in DRAWINGS:
        return svg.replace(f"idea-{name}-", f"{place}-")
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{html.escape(alt(name))}" src="data:image/svg+xml;base64,{data}">'


def shown(slide: dict, svg: str, place: str) -> str:
    """What a slide shows: its title, its figure, its text or the options of its vote."""
    text = rendered(slide["text"]) if "text" in slide else ""
    if "options" in slide:
        items = "".join(
            f"<li{RIGHT if n == slide['right'] else ''}>{option}</li>"
            for n, option in enumerate(slide["options"], 1)
        )
        answer = rendered(slide["answer"], True)
        text += f'<ol>{items}</ol><p class="fragment answer" data-fragment-index="0">{answer}</p>'
    kind = "beside" if shape(svg) < NARROW else "below"
    return (
        f"<h2>{html.escape(slide['title'])}</h2><div class='{kind}'>"
        f"<figure>{picture(slide['figure'], svg, place)}</figure>"
        f"<div class='text'>{text}</div></div>"
    )


def sheets(svgs: dict[str, str]) -> Iterator[tuple[int, dict, str, str]]:
    """Number, slide, what it shows, and its foot: what it is part of, and until which minute."""
    minute, hour = 0, ""
    for n, slide in enumerate(slides(), 1):
        part = slide["part"]
        if part == "second hour" != hour:
            minute = 0
        hour, minute = part, minute + slide["minutes"]
        yield n, slide, shown(slide, svgs[slide["figure"]], f"s{n}"), f"{part} · to minute {minute}"


def deck(svgs: dict[str, str]) -> str:
    """The slides as one HTML file; svgs: figure name -> SVG."""
    made = "".join(
        f"<section>{body}<footer>{foot}</footer><aside class='notes'>"
        f"<p>{foot} · {slide['minutes']} minutes</p>{notes(slide)}</aside></section>"
        for n, slide, body, foot in sheets(svgs)
    )
    scripts = [library("dist/reveal.js"), presenter(), START]
    run = "".join(
        f"<script>{s.replace('</script', '<' + chr(92) + '/script')}</script>" for s in scripts
    )
    style = library("dist/reveal.css") + fonts() + (HERE / "deck.css").read_text(encoding="utf-8")
    return _page(style, f'<div class="reveal"><div class="slides">{made}</div></div>{run}')


def booklet(svgs: dict[str, str]) -> str:
    """Each slide on a page, with all that it uncovers, and its notes below: to be printed."""
    pages = "".join(
        f"<article><section>{body}<footer>{n} · {foot}</footer></section>{notes(slide)}</article>"
        for n, slide, body, foot in sheets(svgs)
    )
    return paper(f"<h1>{TITLE} The lecture</h1>{pages}", "booklet")


def paper(body: str, kind: str) -> str:
    """A page to be printed on A4."""
    names = ("deck.css", "paper.css")
    style = fonts() + "".join((HERE / name).read_text(encoding="utf-8") for name in names)
    return _page(style, f'<main class="{kind}">{body}</main>')


def _page(style: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f'<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
        f"<style>{style}</style></head><body>{body}</body></html>\n"
    )
