"""The writing page in a browser: what is drawn is the map, by the package's network, too."""

import random
import re
import statistics

import checks
import numpy as np
import pytest
import torch
from pages import FOLDER
from PIL import Image
from playwright.sync_api import expect

from zerocam import activations, grad_cam, imagenet
from zerocam.lab import write

pytestmark = pytest.mark.xdist_group("writing")  # one page for all
PATH = "book/write.html"
SCALE = 1e-3  # of the colour scale: features are stored in 65,535 steps
Z, WIDTH = 392, 28
MODULE = """const x = await import(`${site}_static/write.js`);
const d = await (await fetch(`${site}_static/write.json`)).json();"""


def drawings(n: int, seed: int) -> list[list[int]]:
    """Random drawings: scattered cells, and thick lines."""
    draw, made = random.Random(seed), []
    for _ in range(n):
        share, ink = draw.random(), draw.choice([[1], [1, -1]])
        cells = [draw.choice(ink) if draw.random() < share else 0 for _ in range(Z)]
        if draw.random() < 0.5:
            top = draw.randrange(Z - 3 * WIDTH)
            cells[top : top + 3 * WIDTH] = [1] * (3 * WIDTH)
        made.append(cells)
    return made


@pytest.fixture(scope="module")
def page(browser, site):
    """The writing page, as it opens."""
    context = browser.new_context(reduced_motion="reduce", has_touch=True, accept_downloads=True)
    page = context.new_page()
    page.goto(f"{site}{PATH}")
    page.wait_for_selector(".zero-write[data-ready]")
    yield page
    context.close()


@pytest.fixture
def blank(page):
    """The page with nothing drawn."""
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="For", exact=True).click()
    page.wait_for_function("document.querySelector('.zero-write').writing.state.word === ''")
    return page


@pytest.fixture(scope="module")
def real():
    """The package's own network above its features of the photograph."""
    lite = imagenet.efficientnet_lite0().double()
    return lite.head, activations(lite, write.photograph(), layer="features")


def cells_of(page) -> list[int]:
    return page.evaluate("[...document.querySelector('.zero-write').writing.state.cells]")


def ask(page, **state) -> dict:
    """Set a state and give what the page then shows."""
    return page.evaluate(
        """(state) => {
          const e = document.querySelector('.zero-write').writing;
          if (state.cells) state.cells = Int8Array.from(state.cells);
          e.set({ word: "", ...state });
          const { v, M, p, moved, missed, length } = e.seen;
          return { v: [...v], M: [...M], p: [...p], moved, missed, length, limit: e.net.limit,
                   says: document.querySelector('.zw-says').innerText,
                   numbers: document.querySelector('.zw-numbers').innerText };
        }""",
        state,
    )


@pytest.mark.claim("C2")
@pytest.mark.parametrize("channels", [1280, 200, 100, 50])
def test_the_packages_network_with_the_pages_weights_has_the_drawing(page, real, channels):
    head, A = real
    flat, rows = A[0].flatten(1), head.linear.weight.detach()
    with torch.no_grad():
        before = head(A).softmax(1)[0]
    for n, cells in enumerate(drawings(5, seed=channels)):
        c = n % len(write.THINGS)
        got = ask(page, cells=cells, channels=channels, **{"class": c})
        row = write.data()["numbers"][c]
        v, limit = torch.tensor(got["v"], dtype=torch.float64), got["limit"]
        wanted = torch.tensor(cells, dtype=torch.float64) * (2 / 3) * limit
        head.linear.weight.data += v
        model = torch.nn.Sequential(torch.nn.Identity(), head)
        M = grad_cam(model, A, row, layer="0", relu=False)[0].flatten()
        with torch.no_grad():
            after = model(A).softmax(1)[0]
        head.linear.weight.data -= v
        assert (after - before).abs().max() < 1e-9
        assert (torch.tensor(got["p"]) - after).abs().max() < 1e-6  # scores stored as float32
        assert got["moved"] < 1e-9
        assert (torch.tensor(got["M"]) - M).abs().max() < SCALE * limit
        missed = (M - wanted).abs().max() / limit
        assert got["missed"] == pytest.approx(float(missed), abs=SCALE)
        best = write.extra_weights(flat, rows[row] @ flat / Z, wanted, channels)
        nearest = rows[row] @ flat / Z + best @ flat / Z
        assert (nearest - M).abs().max() < SCALE * limit
        typical = rows.norm(dim=1).mean()
        assert got["length"] == pytest.approx(float(best.norm() / typical), rel=0.01)
        assert f"{min(channels, Z)} of {Z}" in got["numbers"]
        assert ("is what was drawn" in got["says"]) == (missed < SCALE) == (channels == 1280)
        assert "no probability moved" in got["says"]


def test_a_word_is_typed(blank):
    page = blank
    page.get_by_label("Type a word").fill("zero")
    page.wait_for_function("document.querySelector('.zero-write').writing.state.word === 'zero'")
    rows = [cells_of(page)[WIDTH * i : WIDTH * (i + 1)] for i in range(14)]
    shown = ["".join(" #"[ink] for ink in row).rstrip() for row in rows if any(row)]
    assert shown[0] == shown[1] == "###### ###### ###### ######"
    assert len(shown) == 10
    label = page.locator(".zw-draw").get_attribute("aria-label")
    assert "the word ZERO" in label
    page.wait_for_url(re.compile(r"\?word=zero"))  # other tests may have chosen fewer channels


def test_a_long_word_takes_two_lines_and_what_has_no_letter_is_left_out(page, site):
    texts = ["SAY CHEESE", "ABCDEFGHIJKLMN", "", "é", "好", "A", "♥", "OK 100 %"]
    drawn = page.evaluate(
        f"async ([site, t]) => {{ {MODULE} return t.map((a) => [...x.lettered(a, 14, 28)]); }}",
        [site, texts],
    )
    filled = [{i // WIDTH for i, ink in enumerate(cells) if ink} for cells in drawn]
    assert [len(rows) for rows in filled] == [10, 10, 0, 10, 0, 10, 8, 10]
    assert all(set(cells) <= {0, 1} and len(cells) == Z for cells in drawn)


def test_letters_can_be_told_apart(page, site):
    """Where there is room: M, N and W have more points than three in a row."""
    texts = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", "MN WW", "NNNNNNN"]
    drawn = page.evaluate(
        f"async ([site, t]) => {{ {MODULE} return t.map((a) => [...x.lettered(a, 14, 28)]); }}",
        [site, texts],
    )
    assert len({tuple(cells) for cells in drawn}) == len(texts)

    def width(cells):
        columns = [i % WIDTH for i, ink in enumerate(cells) if ink]
        return max(columns) - min(columns) + 1

    wide = {text: width(cells) for text, cells in zip(texts, drawn, strict=True)}
    assert (wide["M"], wide["W"], wide["N"], wide["H"]) == (10, 10, 8, 6)
    assert (wide["MN WW"], wide["NNNNNNN"]) == (5 + 4 + 3 + 5 + 5 + 4, 27)  # no room for wide ones


@pytest.mark.parametrize(
    ("text", "lines", "lost"),
    [
        ("THE ZERO MOVED", ["THE", "ZERO MO"], "VED"),
        ("Ärger", ["ARGER"], ""),
        ("Straße", ["STRASSE"], ""),
        ("ẞ", ["SS"], ""),
        ("a#b", ["A B"], "#"),
        ("ABCDEFGHIJKLMNO", ["ABCDEFG", "HIJKLMN"], "O"),
        ("你好", [], "你好"),
    ],
)
def test_what_is_not_drawn_is_said(blank, site, text, lines, lost):
    code = f"async ([site, t]) => {{ {MODULE} return x.fitted(t); }}"
    assert blank.evaluate(code, [site, text]) == {"lines": lines, "lost": lost}
    blank.evaluate("document.querySelector('.zero-write').writing.set({ channels: 1280 })")
    blank.get_by_label("Type a word").fill(text)
    says, board = blank.locator(".zw-says"), blank.locator(".zw-draw")
    said = "B has one more list"
    if lost:
        said = f"Not drawn: {lost}. There is room"
    elif lines:
        said = "is what was drawn, and no probability moved."
    expect(says).to_contain_text(said)
    word = f"the word {' '.join(lines)}." if lines else "your drawing."
    expect(board).to_have_attribute("aria-label", re.compile(re.escape(word)))
    assert ("Not drawn" in says.inner_text()) == bool(lost)
    assert ("Nothing is drawn" in says.inner_text()) == (not lines)


def test_the_first_stroke_replaces_the_word_and_can_be_taken_back(browser, site):
    page = browser.new_page()
    page.goto(f"{site}book/write.html")
    page.wait_for_selector(".zero-write[data-ready]")
    board = page.locator(".zw-draw")
    board.scroll_into_view_if_needed()
    word = cells_of(page)
    undo = page.get_by_role("button", name="Undo")
    assert undo.is_disabled()
    board.click(position={"x": 20, "y": 20})
    assert sum(word) > 50
    assert sum(cells_of(page)) == 1
    board.click(position={"x": 60, "y": 20})
    assert sum(cells_of(page)) == 2
    undo.click()
    assert sum(cells_of(page)) == 1
    undo.focus()
    page.keyboard.press("Control+z")
    assert cells_of(page) == word
    assert page.get_by_label("Type a word").input_value() == "ZERO"
    assert undo.is_disabled()
    page.close()


def test_a_mouse_draws_a_line_and_the_eraser_takes_it_away(blank):
    page = blank
    board = page.locator(".zw-draw")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    middle = box["y"] + 6.5 * box["height"] / 14

    def drag():
        page.mouse.move(box["x"] + 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, middle)
        page.mouse.up()

    drag()
    row = slice(6 * WIDTH, 7 * WIDTH)
    cells = cells_of(page)
    assert cells[row] == [1] * WIDTH
    assert sum(cells) == WIDTH
    page.get_by_role("button", name="Against").click()
    drag()
    assert cells_of(page)[row] == [-1] * WIDTH
    page.get_by_role("button", name="Erase").click()
    drag()
    assert not any(cells_of(page))


def test_a_finger_draws_on_a_phone_and_the_page_stays(browser, site):
    context = browser.new_context(viewport=checks.PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{site}{PATH}#cells=")
    page.wait_for_selector(".zero-write[data-ready]")
    assert not any(cells_of(page))
    board = page.locator(".zw-draw")
    board.scroll_into_view_if_needed()
    box, top = board.bounding_box(), page.evaluate("scrollY")
    devtools = context.new_cdp_session(page)

    def touch(kind, *points):
        points = [{"x": box["x"] + x, "y": box["y"] + y} for x, y in points]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x = box["width"] / 2
    touch("touchStart", (x, 3))
    for y in range(10, int(box["height"]) - 2, 12):
        touch("touchMove", (x, y))
    touch("touchMove", (x, box["height"] - 3))
    touch("touchEnd")
    cells = cells_of(page)
    assert [i for i, ink in enumerate(cells) if ink] == [WIDTH * i + 14 for i in range(14)]
    assert page.evaluate("scrollY") == top
    assert page.evaluate(checks.WIDER) <= 0
    context.close()


def test_the_address_holds_the_drawing(browser, page, site):
    many = drawings(20, seed=2)
    read = """many.map((cells) => { const s = { word: "", cells, class: 2, channels: 100 };
      const text = x.write(s, d), back = x.read(text, d);
      return [text, [...back.cells], back.class, back.channels]; })"""
    for cells, back in zip(
        many,
        page.evaluate(f"async ([site, many]) => {{ {MODULE} return {read}; }}", [site, many]),
        strict=True,
    ):
        assert back[1:] == [cells, 2, 100]
        assert len(back[0]) < 170
    other = browser.new_page()
    for text in ("cells=!!&class=nobody&channels=7", "cells=AAAAA", "x=1", "word=", "word=ZERO"):
        other.goto(f"{site}{PATH}#{text}")
        other.reload()
        other.wait_for_selector(".zero-write[data-ready]")
        assert other.locator(".zx-class input:checked").get_attribute("value") == "4"
    other.close()


def test_the_picture_is_saved_with_its_caption(page):
    ask(page, cells=drawings(1, seed=3)[0], channels=1280, **{"class": 4})
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the picture").click()
    assert download.value.suggested_filename == "heatmap.png"
    with Image.open(download.value.path()) as image:
        picture = torch.from_numpy(np.array(image.convert("L")))
    assert picture.shape == (570, 1200)
    dark = (picture < 80).float().mean(1)
    for rows in (slice(30, 80), slice(95, 120), slice(430, 500), slice(515, 540)):  # its four texts
        assert dark[rows].max() > 0.02


def test_the_link_is_given(page):
    page.get_by_role("button", name="Copy the link").click()
    page.get_by_text("The link is").wait_for()
    assert re.search(r"\.html\?(word|cells)=[^#]*$", page.url)


@pytest.mark.parametrize("mark", ["?", "#"])
def test_a_link_within_the_page_keeps_the_drawing(browser, site, mark):
    """Behind a question mark; older links have a hash, and are read as well."""
    page = browser.new_page()
    page.goto(f"{site}{PATH}{mark}word=HELLO")
    page.wait_for_selector(".zero-write[data-ready]")
    drawn = cells_of(page)
    assert page.get_by_label("Type a word").input_value() == "HELLO"
    board = page.locator(".zw-draw")
    board.scroll_into_view_if_needed()
    board.click(position={"x": 20, "y": 20})
    page.wait_for_url(re.compile(r"\?cells=[^#]+$"))
    kept = cells_of(page)
    assert kept != drawn
    page.locator("nav.bd-toc-nav a").last.click()
    page.wait_for_url(re.compile(r"\?cells=[^#]+#.+"))
    page.reload()
    page.wait_for_selector(".zero-write[data-ready]")
    assert cells_of(page) == kept
    page.close()


def test_a_frame_of_a_stroke_takes_less_than_16_ms(page):
    times = page.evaluate(
        """(many) => many.map((cells) => {
          const e = document.querySelector('.zero-write').writing, before = performance.now();
          e.set({ word: "", cells: Int8Array.from(cells), channels: 1280 });
          return performance.now() - before;
        })""",
        drawings(60, seed=4),
    )
    assert statistics.median(times) < 16, f"median {statistics.median(times):.1f} ms"


def test_it_works_from_a_file(browser):
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{FOLDER / PATH}?word=HELLO")
    page.wait_for_selector(".zero-write[data-ready]")
    says = page.locator(".zw-says").inner_text()
    assert says.endswith("The map of “espresso” is what was drawn, and no probability moved.")
    assert page.get_by_label("Type a word").input_value() == "HELLO"
    page.get_by_label("Type a word").fill("BYE")
    page.wait_for_url(re.compile(r"\?word=BYE"))
    assert errors == []
    page.close()


@pytest.mark.parametrize("theme", checks.THEMES)
@pytest.mark.parametrize("path", [PATH, "book/explorer.html"])
def test_axe_finds_nothing_on_a_phone(browser, site, path, theme):
    context = browser.new_context(viewport=checks.PHONE, color_scheme=theme, has_touch=True)
    page = context.new_page()
    page.goto(f"{site}{path}")
    page.wait_for_selector(".zero-explorer[data-ready]")
    assert checks.axe(page, checks.RULES, within=".zero-explorer") == []
    context.close()


def test_every_control_has_its_name(page):
    assert page.get_by_role("textbox", name="Type a word").count() == 1
    assert page.get_by_role("combobox", name="Channels that may change").count() == 1
    assert page.get_by_role("radio").count() == len(write.THINGS)
    for name in ("For", "Against", "Erase", "Clear", "Copy the link", "Save the picture"):
        assert page.get_by_role("button", name=name, exact=True).count() == 1, name
    page.locator(".zx-class", has_text="lynx").click()
    assert page.locator(".zx-class input:checked").get_attribute("value") == "3"
