"""The script of the site: what scrolls is reached with the keyboard, whenever it begins to."""

import checks
import pytest
from test_canaries import FONT, HEAD

SCRIPT = FONT.parents[2] / "a11y.js"
BOX = (
    "<section><h2>Costs</h2><div id='box' style='overflow-x: auto; width: 300px'>{}</div></section>"
)
TABLE = "<table style='width: {}'><tr><td>Number</td></tr></table>"
NARROW, WIDE = TABLE.format("200px"), TABLE.format("900px")
LETTERS = "<pre style='font-family: {}; width: 300px; overflow: auto' id='box'>{}</pre>"
LATER = "document.fonts.add(new FontFace('Later', 'url(later.woff2)'));"
LATER += "document.fonts.load('1em Later')"


@pytest.fixture
def box(browser, tmp_path):
    """Open a page with the script; gives the page and a question: what the box has now."""
    (tmp_path / "a11y.js").write_bytes(SCRIPT.read_bytes())
    (tmp_path / "later.woff2").write_bytes(FONT.read_bytes())
    context = browser.new_context(viewport=checks.DESK)
    page = context.new_page()
    with checks.serve(tmp_path) as site:

        def opened(body: str):
            html = f"{HEAD}<script defer src='a11y.js'></script><main>{body}</main>"
            name = (
                f"{len(list(tmp_path.iterdir()))}.html"  # anew, else the browser keeps the old one
            )
            (tmp_path / name).write_text(html)
            page.goto(f"{site}{name}")
            return page

        yield opened
    context.close()


def has(page) -> tuple[str | None, ...]:
    """The tabindex, role and name of the box, when all that was changed is laid out."""
    page.evaluate("document.fonts.ready")
    page.evaluate(checks.DRAWN_TWICE)
    names = ["tabindex", "role", "aria-label"]
    ask = "names => names.map((n) => document.getElementById('box').getAttribute(n))"
    return tuple(page.evaluate(ask, names))


REACHED, LEFT = ("0", "region", "Table: Costs"), (None, None, None)


def test_a_box_that_scrolls_is_reached_and_named_and_one_that_does_not_is_left(box):
    assert has(box(BOX.format(WIDE))) == REACHED
    assert has(box(BOX.format(NARROW))) == LEFT


def test_something_inside_that_takes_the_focus_is_enough_if_it_is_shown(box):
    assert has(box(BOX.format(WIDE + "<a href='#x'>x</a>"))) == LEFT
    assert has(box(BOX.format(WIDE + "<a href='#x' hidden>x</a>"))) == REACHED


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (BOX.format(TABLE.format("300px")), "box.style.width = '250px'"),
        (BOX.format(NARROW), "box.firstChild.style.width = '900px'"),
        (BOX.format(f"<div>{NARROW}</div>"), "box.querySelector('table').style.width = '900px'"),
        (BOX.format(NARROW), "box.insertAdjacentHTML('beforeend', `<p style='width: 900px'>x`)"),
        (f"<details>{BOX.format(WIDE)}</details>", "document.querySelector('details').open = true"),
    ],
)
def test_a_box_that_begins_to_scroll_is_reached(box, body, change):
    page = box(body)
    assert has(page) == LEFT
    page.evaluate(f"{{ const box = document.getElementById('box'); {change} }}")
    assert has(page) == REACHED


def test_a_box_that_no_longer_scrolls_is_left(box):
    page = box(BOX.format(WIDE))
    assert has(page) == REACHED
    page.evaluate("document.querySelector('table').style.width = '200px'")
    assert has(page) == LEFT


def test_a_font_that_comes_later_and_is_wider_is_noticed(box):
    fallback = "Later, monospace"  # narrower than its letters in the font that comes
    page = box(LETTERS.format(fallback, "M" * 27))
    page.add_style_tag(content="pre { font-size: 16px; height: 60px }")
    assert has(page)[0] is None
    page.evaluate(LATER)
    page.wait_for_function("document.fonts.check('1em Later')")
    assert has(page)[0] == "0"


def test_a_box_that_a_script_adds_is_reached(box):
    page = box("<p>Nothing yet.</p>")
    page.evaluate(
        "(html) => document.querySelector('main').insertAdjacentHTML('beforeend', html)",
        BOX.format(WIDE),
    )
    assert has(page) == REACHED


def test_a_box_may_leave_the_page(box):
    page, errors = box(BOX.format(WIDE)), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    assert has(page) == REACHED
    page.evaluate("document.querySelector('section').remove()")
    page.evaluate(checks.DRAWN_TWICE)
    assert errors == []
