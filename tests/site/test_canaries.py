"""The checks of the site can fail: a page for each thing that they must reject."""

import re
import shutil
from pathlib import Path

import checks
import pytest

HEAD = "<!doctype html><html lang='en'><meta charset='utf-8'><title>A page</title>"
HEAD += "<link rel='icon' href='data:,'><style>html { font-family: serif }</style>"
GOOD = "<main id='top'><h1>A page</h1><p>Fine: <code>\\(x\\)</code>.</p>"
GOOD += "<img alt='A map' src='dot.svg'></main>"
DOT = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle r='4'/></svg>"
TABLE = "<table style='width: 900px'><tr><th>Name<td>Number</table>"
SCROLLS = f"<div style='width: 300px; overflow-x: auto'>{TABLE}</div>"
LOST = "<style>@font-face { font-family: Lost; src: url(lost.woff2) }</style>"
BAD = {
    "axe: scrollable-region-focusable": SCROLLS,
    "font does not come: Lost": f"{LOST}<p style='font-family: Lost, serif'>Lost.</p>",
    "font is not of the page: Arial": "<p style='font-family: Arial, serif'>By chance.</p>",
    "asks another host": "<script src='https://example.org/x.js'></script>",
    "console": "<script>console.error('oh')</script>",
    "console: lost": "<script>throw new Error('lost')</script>",
    "http: 404": "<script src='absent.js'></script>",
    "formula not drawn": "<p class='math'>\\(x\\)</p>",
    "formula not in the middle": "<div class='math' style='display: flex; flex-direction: "
    "row-reverse'><span class='katex-html'><span class='katex-base'>x</span></span></div>",
    "raw \\(": "<p>So \\(x\\).</p>",
    "raw ```": "<p>```{note}</p>",
    "raw :::": "<p>:::{tip}</p>",
    "image without alt text": "<img src='dot.svg'>",
    "alt text is a file name": "<img src='dot.svg' alt='a/dot.svg'>",
    "image does not load": "<img src='data:image/png;base64,AAAA' alt='A map'>",
    "the theme re-colours": "<img src='dot.svg' alt='A map' style='filter: brightness(.8)'>",
    "wider than a phone": "<p style='width: 500px'>wide</p>",
    "wider than a phone, in the theme's box": "<div class='bd-article-container' "
    "style='overflow-x: auto' tabindex='0'><p style='width: 500px'>wide</p></div>",
    "axe: label (critical)": "<input id='lonely'>",
    "axe: color-contrast (serious)": "<p style='color: #888; background: #fff'>pale grey</p>",
    "axe: scrollable-region-focusable (serious), also where code is left out": "<div style='width: "
    "200px; overflow-x: auto'><div class='highlight'><pre style='width: max-content; "
    "overflow: visible'>" + 40 * "x = 1 " + "</pre></div></div>",
    "weighs 4.0": "<p>Heavy.</p><!-- " + 4_000_000 * "x" + " -->",
    "text hardly visible": "<p style='color: #fff; background: #fefefe'>white on white</p>",
}


@pytest.fixture
def look(browser, tmp_path):
    """Serve one page and look at it."""
    (tmp_path / "dot.svg").write_text(DOT)

    def visit(body: str):
        (tmp_path / "page.html").write_text(HEAD + body)
        context = browser.new_context()
        with checks.serve(tmp_path) as site:
            seen = checks.visit(context, site, "page.html", "light")
            links = checks.broken_links([seen], site, tmp_path)
        context.close()
        return checks.problems(seen) + links

    return visit


def test_a_good_page_passes(look):
    assert look(GOOD + "<a href='page.html#top'>up</a><a href='https://example.org'>out</a>") == []


def test_a_picture_in_a_link_with_words_needs_none_of_its_own(look):
    page = "<main><h1>A page</h1><a href='page.html'><img src='dot.svg' alt=''>{}</a></main>"
    assert look(page.format("Chapter 1")) == []
    assert any("image without alt text" in text for text in look(page.format("")))


@pytest.mark.parametrize("message", BAD)
def test_a_bad_page_is_rejected(look, message):
    found = look(f"<main>{BAD[message]}</main>")
    wanted = re.split(", in the|, also", message)[0]
    assert any(problem.startswith(wanted) for problem in found), found


@pytest.mark.parametrize(
    ("href", "message"), [("absent.html", "no such page"), ("page.html#absent", "no such anchor")]
)
def test_a_broken_link_is_rejected(look, href, message):
    (found,) = look(f"<main><a href='{href}'>here</a></main>")
    assert message in found


FONT = Path(__file__).parents[2] / "book/_static/vendor/fonts/source-sans-3-latin-wght-normal.woff2"
NARROW = "<style>@font-face { font-family: Narrow; src: url(narrow.woff2) } "
NARROW += "p { font-family: Narrow, monospace; white-space: nowrap }</style>"


@pytest.mark.parametrize(
    ("what", "body", "found"),
    [
        ("large text", GOOD + NARROW, []),
        ("no fonts", GOOD + "<p style='width: 22rem'>wide</p>", []),
        ("large text", "<p style='width: 22rem'>wide</p>", ["390 px: wider than the screen"]),
        ("no fonts", f"{NARROW}<p>{45 * 'n'}</p>", ["390 px: wider than the screen"]),
        (
            "no fonts",
            SCROLLS,
            [f"{width} px: axe: scrollable-region-focusable" for width in (1280, 390)],
        ),
    ],
)
def test_a_page_that_another_machine_breaks_is_rejected(browser, tmp_path, what, body, found):
    (tmp_path / "dot.svg").write_text(DOT)
    shutil.copy(FONT, tmp_path / "narrow.woff2")
    (tmp_path / "page.html").write_text(HEAD + f"<main>{body}</main>")
    context = browser.new_context(viewport=checks.DESK)
    with checks.serve(tmp_path) as site:
        problems = checks.elsewhere(context, site, "page.html", what)
    context.close()
    assert len(problems) == len(found)
    assert all(map(str.startswith, problems, found))


def test_a_letter_that_no_font_of_the_page_draws_is_found(browser, tmp_path):
    shutil.copy(FONT, tmp_path / "narrow.woff2")
    (tmp_path / "page.html").write_text(f"{HEAD}<main>{NARROW}<p>A page \u2713.</p></main>")
    context = browser.new_context()
    with checks.serve(tmp_path) as site:
        page = context.new_page()
        page.goto(f"{site}page.html")
        letters = checks.look(page)["letters"]
        (found,) = checks.drawn_by_others(page, letters)
    context.close()
    assert "U+2713" in found
