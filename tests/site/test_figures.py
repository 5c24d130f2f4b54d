"""Pictures: one in the first screen, sharp on a dense one, with text that a phone shows large."""

import gzip
import re

import checks
import pytest
from pages import PAGES

from book._ext.zerobook.lean import PER_INCH
from tests import turns
from zerocam.plots import TEXT

DRAWN = TEXT * PER_INCH / 72  # pixels: the text of a figure that is shown at its own size
SMALLEST = 10  # CSS pixels of text that can be read
FIRST_LOAD = 600_000  # bytes
TEXT_KIND = re.compile("text|javascript|json|svg")
# Above these heights the first picture must begin; what is a glyph or a button is no picture.
SCREENS = {"desk": ({"width": 1440, "height": 900}, 800), "phone": (checks.PHONE, 780)}
FIRST = """() => Math.min(...[...document.querySelectorAll("main :is(img, svg, canvas)")]
  .map((e) => e.getBoundingClientRect()).filter((r) => r.width > 200 && r.height > 60)
  .map((r) => r.top + scrollY))"""
# Inside the explorable a picture is what its network sees, enlarged: its pixels are the data.
SIZES = """() => {
  const shown = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 0;
  const whole = (e, box) => getComputedStyle(e).objectFit === "contain"
    ? Math.min(box.width, box.height * e.naturalWidth / e.naturalHeight) : box.width;
  const chosen = (e) =>
    [...e.parentElement.children].find((s) => s === e || matchMedia(s.media).matches);
  const images = [...document.querySelectorAll("main img:not(.zero-explorer *)")];
  const texts = [...document.querySelectorAll("main svg.idea text")].filter(shown);
  const scale = (e) => Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b);
  return { images: images.filter(shown).map((e) => ({
    name: e.alt.slice(0, 40) || e.currentSrc.split("/").at(-1), pixels: e.naturalWidth,
    width: whole(e, e.getBoundingClientRect()) - parseFloat(getComputedStyle(e).paddingLeft) * 2,
    own: +(e.closest("picture") ? chosen(e) : e).getAttribute("width") || null,
  })), texts: texts.map((e) => ({
    name: e.textContent, size: parseFloat(getComputedStyle(e).fontSize) * scale(e),
  })) };
}"""
# A box with a figure that is wider than it, so that what is at its end is out of view.
SIDEWAYS = """() => [...document.querySelectorAll(
  "main :is(.cell_output, a.image-reference, .hero, .drawn)")]
  .filter((e) => e.querySelector("img, svg") && !e.querySelector("table, .zero-explorer"))
  .filter((e) => e.scrollWidth > e.clientWidth + 1)
  .map((e) => e.querySelector("img")?.alt.slice(0, 18) ?? e.className)"""
# One figure is a table of eight columns, with numbers in its cells.
WIDER = {"notebooks/11-auditing-heatmaps.html": {"A table in colours"}}
SHOWN = [path for path in PAGES if path.startswith("notebooks/")]
SHOWN += ["book/answer.html", "book/index.html"]


def faults(images: list[dict], texts: list[dict]) -> list[str]:
    """What is blurred on a dense screen, and what has text too small to read."""
    found = []
    for image in images:
        if image["pixels"] < 2 * image["width"] - 2:
            dense = image["pixels"] / image["width"]
            found.append(f"{image['name']}: {dense:.2f} pixels to a CSS pixel, wanted 2")
        text = DRAWN * image["width"] / (image["own"] or image["width"])
        if text < SMALLEST - 0.05:
            found.append(f"{image['name']}: text of {text:.1f} px, wanted {SMALLEST}")
    for text in texts:
        if text["size"] < SMALLEST - 0.05:
            found.append(f"{text['name']!r}: {text['size']:.1f} px, wanted {SMALLEST}")
    return found


def cut_off(page) -> set[str]:
    """The figures of a loaded page that a phone does not show whole, in one theme or the other."""
    found = set()
    for theme in checks.THEMES:
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
        found |= set(page.evaluate(SIDEWAYS))
    return found


def test_there_are_thirteen_chapters():
    assert len(SHOWN) == 13 + 2


def pairs() -> list[tuple[str, str]]:
    """Each page on a desk or on a phone, and in another commit on the other: see turns.py."""
    orders = list(SCREENS), list(SCREENS)[::-1]
    return turns.some([(path, s) for i, path in enumerate(SHOWN) for s in orders[i % 2]])


def test_each_page_has_its_turn_on_each_screen(monkeypatch):
    asked = []
    for n in (0, len(turns.PARTS), None):
        monkeypatch.setattr(turns, "number", lambda n=n: n)
        asked.append(set(pairs()))
    assert all(len(some) == len({path for path, _ in some}) == len(SHOWN) for some in asked[:2])
    assert asked[0] | asked[1] == asked[2] == {(p, s) for p in SHOWN for s in SCREENS}


@pytest.mark.parametrize(("path", "screen"), pairs())
def test_a_page_shows_a_picture_at_once_and_each_is_sharp_and_whole_and_the_load_is_light(
    browser, site, path, screen
):
    """The load by a server that compresses, to a phone: what is further down is not asked for.

    The phone's screen is dense: a coarse one would get figures of fewer pixels.
    """
    size, highest = SCREENS[screen]
    context = browser.new_context(viewport=size, device_scale_factor=2 if screen == "phone" else 1)
    page, came = context.new_page(), []
    page.on("response", lambda response: came.append(response))
    page.goto(f"{site}{path}", wait_until="networkidle" if screen == "phone" else "load")
    if screen == "phone":
        kinds = [(r.headers.get("content-type", ""), r.body()) for r in came if r.ok]
        sent = [len(gzip.compress(b) if TEXT_KIND.search(kind) else b) for kind, b in kinds]
        assert len(sent) > 4
        assert sum(sent) < FIRST_LOAD
    page.evaluate("document.fonts.ready")
    assert page.evaluate(FIRST) < highest
    checks.look(page)
    seen = page.evaluate(SIZES)
    assert seen["images"]
    assert faults(**seen) == []
    if screen == "phone":
        assert cut_off(page) == WIDER.get(path, set())
    context.close()


@pytest.mark.parametrize("path", ["book/speed.html", "book/your-model.html"])
def test_a_phone_shows_each_figure_whole_of_a_page_without_a_picture_at_once(browser, site, path):
    context = browser.new_context(viewport=checks.PHONE)
    page = context.new_page()
    page.goto(f"{site}{path}")
    checks.look(page)
    assert cut_off(page) == set()
    context.close()


def test_what_is_blurred_or_small_is_found():
    good = {"name": "a", "width": 300, "pixels": 600, "own": 400}
    assert faults([good], [{"name": "b", "size": 10}]) == []
    assert "1.50 pixels" in faults([good | {"pixels": 450}], [])[0]
    assert "text of 8.4 px" in faults([good | {"own": 600}], [])[0]
    assert "'b': 9.0 px" in faults([], [{"name": "b", "size": 9}])[0]
