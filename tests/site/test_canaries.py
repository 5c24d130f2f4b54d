"""The checks of the site can fail: a page for each thing that they must reject."""

import checks
import pytest

HEAD = "<!doctype html><html lang='en'><meta charset='utf-8'><title>A page</title>"
HEAD += "<link rel='icon' href='data:,'>"
GOOD = "<main id='top'><h1>A page</h1><p>Fine: <code>\\(x\\)</code>.</p>"
GOOD += "<img alt='A map' src='dot.svg'></main>"
DOT = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle r='4'/></svg>"
BAD = {
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
    "axe: label (critical)": "<input id='lonely'>",
    "axe: color-contrast (serious)": "<p style='color: #888; background: #fff'>pale grey</p>",
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


@pytest.mark.parametrize("message", BAD)
def test_a_bad_page_is_rejected(look, message):
    found = look(f"<main>{BAD[message]}</main>")
    assert any(problem.startswith(message) for problem in found), found


@pytest.mark.parametrize(
    ("href", "message"), [("absent.html", "no such page"), ("page.html#absent", "no such anchor")]
)
def test_a_broken_link_is_rejected(look, href, message):
    (found,) = look(f"<main><a href='{href}'>here</a></main>")
    assert message in found
