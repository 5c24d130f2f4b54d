"""Every page of the built site, in both themes by turns.  `make book` builds it first."""

import os
import random
import re

import checks
import pytest
from pages import FOLDER, PAGES

from tests import turns
from tools.run_tests import turn

# A worker takes the light pages and what is told from them, another the dark ones.
LIGHT, DARK = (pytest.mark.xdist_group(theme) for theme in checks.THEMES)
WIDE = ["book/speed.html", "book/local.html", "book/claims.html"]  # have the widest tables


def sample() -> list[str]:
    """The pages that are looked at as other machines show them: all, or those most at risk.

    `make portable` sets ZEROCAM_PAGES and so takes all.  Else each commit takes a chapter and a
    page with wide tables of its own.
    """
    if os.environ.get("ZEROCAM_PAGES") == "all":
        return PAGES
    chapters = [path for path in PAGES if path.startswith("notebooks/")]
    draw = random.Random(turn())
    return [draw.choice(WIDE), draw.choice(chapters)]


def rules(path: str, theme: str) -> list[str]:
    """What axe is asked of a page: in the light all, in the dark the colours, which alone differ.

    The colours take most of the time.  So of four commits one asks a page for its light colours,
    and another one for its dark ones: see turns.py.  `make portable` asks in both.  Where it is not
    the turn of its dark colours, a page is not visited in the dark.
    """
    n = turns.number()
    colours = n is None or (n + PAGES.index(path)) % 4 == checks.THEMES.index(theme)
    if theme == "dark":
        return [checks.CONTRAST] * colours
    return checks.RULES if colours else checks.SHAPES


VISITS = [
    pytest.param(path, theme, marks=pytest.mark.xdist_group(theme))
    for path in PAGES
    for theme in checks.THEMES
    if rules(path, theme)
]


def test_of_four_commits_one_asks_for_light_colours_and_one_for_dark(monkeypatch):
    asked, full = {}, {"light": checks.RULES, "dark": [checks.CONTRAST]}
    for n in (0, 1, 2, 3, None):
        monkeypatch.setattr(turns, "number", lambda n=n: n)
        asked[n] = {(p, t) for p in PAGES for t in checks.THEMES if rules(p, t) == full[t]}
        assert all(rules(path, "light") for path in PAGES)
    parts = [asked[n] for n in range(4)]
    assert sum(map(len, parts)) == len(asked[None]) == 2 * len(PAGES)
    assert set.union(*parts) == asked[None]


@pytest.fixture(scope="session")
def visited(browser, site):
    """Visit each page once in each theme, and keep what was seen."""
    contexts = {theme: browser.new_context(color_scheme=theme) for theme in checks.THEMES}
    kept = {}

    def visit(path: str, theme: str) -> checks.Visit:
        if (path, theme) not in kept:
            kept[path, theme] = checks.visit(contexts[theme], site, path, theme, rules(path, theme))
        return kept[path, theme]

    yield visit
    for context in contexts.values():
        context.close()


@LIGHT
def test_the_tests_of_a_theme_run_on_one_worker(request):
    together = "PYTEST_XDIST_WORKER" not in os.environ or request.node.nodeid.endswith("@light")
    assert together, "--dist loadgroup does not see the groups: each page is visited twice"


def test_there_is_a_site():
    assert (FOLDER / "book" / "index.html").exists(), "no site in _build/html: run make book"


def test_the_root_leads_to_the_first_page(browser, site):
    page = browser.new_page()
    page.goto(site)
    page.wait_for_url(f"{site}book/index.html")
    page.close()


@pytest.mark.parametrize(("path", "theme"), VISITS)
def test_page(visited, path, theme):
    assert checks.problems(visited(path, theme)) == []


@DARK
@pytest.mark.parametrize("what", checks.ELSEWHERE)
@pytest.mark.parametrize("path", sample())
def test_page_as_another_machine_shows_it(browser, site, path, what):
    context = browser.new_context(viewport=checks.DESK)
    assert checks.elsewhere(context, site, path, what) == []
    context.close()


@LIGHT
def test_every_letter_is_drawn_by_a_font_of_the_site(browser, site, visited):
    letters: dict[str, str] = {}
    for path in PAGES:
        for kind, some in visited(path, "light").seen["letters"].items():
            letters[kind] = "".join(sorted({*letters.get(kind, ""), *some}))
    for family in ("Source Serif 4", "Source Sans 3", "Source Code Pro"):
        assert any(f'normal "{family}"' in kind for kind in letters)
    page = browser.new_page()
    page.goto(f"{site}book/index.html")
    assert checks.drawn_by_others(page, letters) == []
    page.close()


@LIGHT
def test_no_link_inside_the_site_is_broken(visited, site):
    visits = [visited(path, "light") for path in PAGES]
    assert checks.broken_links(visits, site, FOLDER) == []


@LIGHT
def test_repository_buttons_appear_only_with_an_address(visited):
    links = [link for path in PAGES for link in visited(path, "light").seen["links"]]
    public = [link for link in links if "mybinder.org" in link or "colab.research" in link]
    assert bool(public) == bool(os.environ.get("ZEROCAM_REPOSITORY"))


def test_code_and_formulas_are_readable(browser, site):
    for theme in checks.THEMES:
        context = browser.new_context(color_scheme=theme)
        page = context.new_page()
        for path, least in (("notebooks/05-label-encoding.html", 8), ("book/api.html", 8)):
            page.goto(f"{site}{path}")
            looked = page.evaluate(
                """(dense) => {
                  const parts = dense.flatMap((d) => [...document.querySelectorAll(d)].slice(0, 4));
                  parts.forEach((part) => part.setAttribute('data-look', ''));
                  document.querySelectorAll(dense.join()).forEach((e) =>
                    e.closest('[data-look]') || e.replaceChildren());  // axe goes through all
                  return parts.length;
                }""",
                checks.DENSE,
            )
            assert looked >= least
            assert checks.axe(page, [checks.CONTRAST], within="[data-look]") == []
        context.close()


def test_a_wide_table_of_text_fits_a_phone_and_names_its_cells(browser, site):
    context = browser.new_context(viewport=checks.PHONE)
    page = context.new_page()
    page.goto(f"{site}book/teach.html")
    checks.look(page)
    named = """() => [...document.querySelectorAll("table.told")].map((table) => ({
      wide: table.scrollWidth - table.closest(".pst-scrollable-table-container").clientWidth,
      names: [...table.querySelectorAll("tbody tr:first-child .column")]
        .map((e) => getComputedStyle(e, "::before").content),
    }))"""
    on_phone = page.evaluate(named)
    assert len(on_phone) >= 2
    assert all(table["wide"] <= 0 and len(table["names"]) >= 3 for table in on_phone)
    assert any("What happens" in name for table in on_phone for name in table["names"])
    page.set_viewport_size(checks.DESK)
    assert not page.locator(".told .column").first.is_visible()
    assert page.locator(".told thead").first.is_visible()
    context.close()


def test_an_option_stands_in_one_line(browser, site):
    lines = """() => [...document.querySelectorAll("code.option")]
      .map((e) => [e.textContent, e.getClientRects().length])"""
    for size in (checks.PHONE, checks.DESK, {"width": 1440, "height": 900}):
        context = browser.new_context(viewport=size)
        page = context.new_page()
        page.goto(f"{site}book/your-model.html")
        checks.look(page)
        assert len(options := page.evaluate(lines)) > 20
        assert [name for name, count in options if count != 1] == []
        context.close()


def test_the_sign_behind_a_heading_never_has_a_line_of_its_own(browser, site):
    heights = """() => [...document.querySelectorAll("main :is(h1, h2, h3)")]
      .map((e) => e.getBoundingClientRect().height)"""
    for size in (checks.PHONE, checks.DESK):
        context = browser.new_context(viewport=size)
        page = context.new_page()
        page.goto(f"{site}book/faq.html")
        checks.look(page)
        with_sign = page.evaluate(heights)
        page.add_style_tag(content=".headerlink { display: none !important }")
        assert len(with_sign) > 30
        assert page.evaluate(heights) == with_sign
        context.close()


def test_what_the_theme_does_too_late_or_too_much_is_taken_from_it():
    html = (FOLDER / "book" / "index.html").read_text(encoding="utf-8")
    js = (FOLDER / "_static" / "site.js").read_text(encoding="utf-8")
    assert "dataset.theme =" in html
    assert 'localStorage.getItem("theme")' not in html
    assert "nboutput" in js
    assert "tabIndex=e.scrollWidth" not in js


@LIGHT
def test_a_shared_link_has_a_picture_and_a_text(visited):
    texts = {}
    for path in PAGES:
        meta = visited(path, "light").seen["meta"]
        assert meta["og:title"].strip()
        assert "<" not in meta["og:title"]
        assert meta["og:site_name"] == "What Does Zero Mean?"
        assert meta["og:image"].endswith("_static/card.png")
        assert len(meta["og:image:alt"].split()) > 4
        texts[path] = meta["description"]
        assert texts[path] == meta["og:description"]
    chapters = [text for path, text in texts.items() if path.startswith("notebooks/")]
    assert len(set(chapters)) == len(chapters)
    assert (FOLDER / "_static" / "card.png").exists()


@pytest.mark.parametrize(
    ("words", "page"),
    [("BatchNorm", "03-bias-shifts"), ("softmax shift", "06-the-softmax-freedom")],
)
def test_the_search_finds_a_page_and_the_page_has_the_words(browser, site, words, page):
    tab = browser.new_page()
    tab.goto(f"{site}search.html?q={words.replace(' ', '+')}")
    tab.locator("#search-results .search li a[href*='" + page + "']").first.click()
    tab.wait_for_url(f"**/{page}.html*")
    assert words.split()[0].lower() in tab.locator("main").text_content().lower()
    tab.close()


# Without its pictures, and before its scripts have run.
AS_IT_COMES = """async (url) => {
  const html = await (await fetch(url)).text();
  return new DOMParser().parseFromString(html, "text/html").querySelector("article").textContent;
}"""


@pytest.mark.parametrize(
    ("words", "of_code"), [("zero weights", "norm.weight.data"), ("channels network", "network.f")]
)
def test_the_search_shows_words_not_what_they_are_made_of(browser, site, words, of_code):
    tab = browser.new_page()
    tab.goto(f"{site}search.html?q={words.replace(' ', '+')}")
    tab.get_by_text("Search finished").wait_for()
    tab.wait_for_load_state("networkidle")
    found = dict(
        tab.eval_on_selector_all(
            "#search-results li:has(p.context)",
            "(all) => all.map((li) => [li.querySelector('a').href, "
            "li.querySelector('.context').textContent])",
        )
    )
    assert len(found) > 20
    raw = re.compile(
        r"[\\{}$]|<[\w!/]|```|:::|\w = [a-z]+\.|(Show|Hide) the|[a-z]{2}[A-Z]\d|"
        r"\b(\w)\1\1\b"  # a formula as it is drawn, as it is read out and as it was written
    )
    for page, text in found.items():
        assert not raw.search(text), (page, text)
        assert of_code not in text
        assert len(text) < 250
        whole = " ".join(tab.evaluate(AS_IT_COMES, page).split())
        for end in (re.findall(r"^… (\w+) ", text), re.findall(r" (\w+) …$", text)):
            assert all(re.search(rf"\b{word}\b", whole) for word in end), (page, text)
    stems = [word.removesuffix("s") for word in words.split()]
    assert all(any(stem in text.lower() for stem in stems) for text in found.values())
    tab.close()


def test_the_search_says_when_it_finds_nothing(browser, site):
    tab = browser.new_page()
    tab.goto(f"{site}search.html?q=xyzzyplugh")
    tab.get_by_text("did not match any documents").wait_for()
    tab.close()


def test_a_page_prints_without_its_controls(browser, site):
    tab = browser.new_page()
    tab.goto(f"{site}book/index.html")
    tab.locator(".zx-maps canvas").first.wait_for()
    tab.emulate_media(media="print")
    assert tab.locator(".zx-maps canvas").first.is_visible()
    for gone in (".zx-steps", ".zx-controls", ".bd-sidebar-primary", ".header-article"):
        assert not tab.locator(gone).first.is_visible(), gone
    tab.close()
