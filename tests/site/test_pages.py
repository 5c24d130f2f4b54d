"""Every page of the built site, in both themes.  `make book` builds it first."""

import os
from pathlib import Path

import checks
import pytest

FOLDER = Path(__file__).parents[2] / "_build" / "html"
# index.html only leads to the first page: it has a test of its own.
PAGES = [str(p.relative_to(FOLDER)) for p in sorted(FOLDER.rglob("*.html"))]
PAGES = [path for path in PAGES if path != "index.html" and not path.startswith("_static")]


@pytest.fixture(scope="session")
def site():
    with checks.serve(FOLDER) as url:
        yield url


@pytest.fixture(scope="session")
def visited(browser, site):
    """Visit each page once in each theme, and keep what was seen."""
    contexts = {theme: browser.new_context(color_scheme=theme) for theme in checks.THEMES}
    kept = {}

    def visit(path: str, theme: str) -> checks.Visit:
        if (path, theme) not in kept:
            kept[path, theme] = checks.visit(contexts[theme], site, path, theme)
        return kept[path, theme]

    yield visit
    for context in contexts.values():
        context.close()


def test_there_is_a_site():
    assert (FOLDER / "book" / "index.html").exists(), "no site in _build/html: run make book"


def test_the_root_leads_to_the_first_page(browser, site):
    page = browser.new_page()
    page.goto(site)
    page.wait_for_url(f"{site}book/index.html")
    page.close()


@pytest.mark.parametrize("theme", checks.THEMES)
@pytest.mark.parametrize("path", PAGES)
def test_page(visited, path, theme):
    assert checks.problems(visited(path, theme)) == []


def test_no_link_inside_the_site_is_broken(visited, site):
    visits = [visited(path, "light") for path in PAGES]
    assert checks.broken_links(visits, site, FOLDER) == []


def test_repository_buttons_appear_only_with_an_address(visited):
    links = [link for path in PAGES for link in visited(path, "light").seen["links"]]
    public = [link for link in links if "mybinder.org" in link or "colab.research" in link]
    assert bool(public) == bool(os.environ.get("ZEROCAM_REPOSITORY"))
