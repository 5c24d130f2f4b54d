"""Pictures: one in the first screen, sharp on a dense one, with text that a phone shows large."""

import gzip
import re

import checks
import pytest
from pages import PAGES

from book._ext.zerobook.lean import PER_INCH
from zerocam.plots import TEXT

pytestmark = pytest.mark.xdist_group("figures")
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
SHOWN = [path for path in PAGES if path.startswith("notebooks/")]
SHOWN += ["book/answer.html", "book/index.html"]


@pytest.fixture(scope="module")
def opened(browser, site):
    """Open a page on one of the screens, all of it laid out and every picture there."""
    contexts = {name: browser.new_context(viewport=size) for name, (size, _) in SCREENS.items()}

    def tab(path: str, screen: str):
        page = contexts[screen].new_page()
        page.goto(f"{site}{path}", wait_until="load")
        page.evaluate("document.fonts.ready")
        return page

    yield tab
    for context in contexts.values():
        context.close()


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


def test_there_are_thirteen_chapters():
    assert len(SHOWN) == 13 + 2


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("path", SHOWN)
def test_a_picture_is_in_the_first_screen_and_all_are_sharp_and_can_be_read(opened, path, screen):
    page = opened(path, screen)
    assert page.evaluate(FIRST) < SCREENS[screen][1]
    checks.look(page)
    seen = page.evaluate(SIZES)
    assert seen["images"]
    assert faults(**seen) == []
    page.close()


@pytest.mark.parametrize("path", SHOWN)
def test_the_first_load_is_light(browser, site, path):
    """By a server that compresses, to a phone: what is further down is not asked for."""
    context = browser.new_context(viewport=checks.PHONE)
    page, came = context.new_page(), []
    page.on("response", lambda response: came.append(response))
    page.goto(f"{site}{path}", wait_until="networkidle")
    kinds = [(r.headers.get("content-type", ""), r.body()) for r in came if r.ok]
    sent = [len(gzip.compress(b) if TEXT_KIND.search(kind) else b) for kind, b in kinds]
    assert len(sent) > 4
    assert sum(sent) < FIRST_LOAD
    context.close()


def test_what_is_blurred_or_small_is_found():
    good = {"name": "a", "width": 300, "pixels": 600, "own": 400}
    assert faults([good], [{"name": "b", "size": 10}]) == []
    assert "1.50 pixels" in faults([good | {"pixels": 450}], [])[0]
    assert "text of 8.4 px" in faults([good | {"own": 600}], [])[0]
    assert "'b': 9.0 px" in faults([], [{"name": "b", "size": 9}])[0]
