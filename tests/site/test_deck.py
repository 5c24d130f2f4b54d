"""The slides in a browser, at three sizes of screen; and each check can fail."""

import io

import pytest
from PIL import Image
from playwright.sync_api import TimeoutError

from tests import turns
from tools.course.lecture import build, page
from tools.course.lecture.handouts import handouts
from tools.course.lecture.talk import slides

pytestmark = pytest.mark.xdist_group("deck")  # drawn once
SIZES = [(1920, 1080), (1280, 800), (1024, 768)]
WORDS, HIGH = 40, 55  # at most, of a slide; at least, of its height: its figure, in per cent
DRAWN_TWICE = "new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))"
# What is wrong with slide n when it has uncovered all; a picture is drawn inside its box.
JUDGE = """([n, words, high]) => {
  Reveal.slide(n, 0, 9);
  const slide = Reveal.getCurrentSlide(), whole = slide.getBoundingClientRect(), found = [];
  const beyond = (box, edge) => box.width && (box.right > edge.right + 1 || box.left < edge.left - 1
    || box.bottom > edge.bottom + 1 || box.top < edge.top - 1);
  const screen = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
  const text = slide.querySelector(".text"), foot = slide.querySelector("footer");
  const name = (e) => `${e.localName} ${e.textContent.slice(0, 30)}`;
  for (const e of slide.querySelectorAll("h2, figure > *, .text, .text *, footer"))
    if (beyond(e.getBoundingClientRect(), screen)) found.push(`beyond an edge: ${name(e)}`);
  if (text.getBoundingClientRect().bottom > foot.getBoundingClientRect().top + 1)
    found.push("text on the foot");
  const [picture] = slide.querySelectorAll("figure > *"), box = picture.getBoundingClientRect();
  for (const e of picture.querySelectorAll("text"))
    if (beyond(e.getBoundingClientRect(), box)) found.push(`cut off in the figure: ${name(e)}`);
  const { width, height } = picture.viewBox?.baseVal
    ?? { width: picture.naturalWidth, height: picture.naturalHeight };
  const share = 100 * Math.min(box.height, box.width * height / width) / whole.height;
  if (!(share >= high)) found.push(`figure fills ${share.toFixed()} % of the height`);
  const plain = slide.cloneNode(true);
  plain.querySelectorAll(".katex, figure, footer, aside").forEach((e) => e.remove());
  const count = plain.textContent.match(/[\\p{L}\\d][\\p{L}\\d’'-]*/gu).length;
  if (count > words) found.push(`${count} words`);
  for (const e of slide.querySelectorAll(".text .katex"))
    if (!e.querySelector(".katex-html")?.getBoundingClientRect().width)
      found.push("formula not drawn");
  if (/\\$|\\\\[a-z]/.test(plain.textContent)) found.push("raw formula");
  if (slide.querySelector("aside").textContent.split(" ").length < 25)
    found.push("hardly any notes");
  return found;
}"""


@pytest.fixture(scope="module")
def svgs():
    return build.svgs()


@pytest.fixture(scope="module")
def deck(tmp_path_factory, svgs):
    """The address of the deck, as a lecturer opens it: a file, without a server."""
    path = tmp_path_factory.mktemp("deck") / "lecture.html"
    path.write_text(page.deck(svgs), encoding="utf-8")
    return path.as_uri()


class Room:
    """The deck on one screen; what it asked for, and what it complained of."""

    def __init__(self, browser, deck, size):
        self.context = browser.new_context(
            viewport=dict(zip(("width", "height"), size, strict=True))
        )
        self.noise = []
        self.fonts = size == SIZES[0]  # they do not change with the size
        self.context.on("request", self._asked)
        self.screen = self.context.new_page()
        self.screen.on("console", lambda m: self.noise.append(m.text) if m.type == "error" else 0)
        self.screen.on("pageerror", lambda error: self.noise.append(str(error)))
        self.screen.goto(deck)
        self.screen.evaluate("document.fonts.ready")
        self.screen.evaluate(
            "Promise.all([...document.images].map((i) => i.decode().catch(() => 0)))"
        )

    def _asked(self, request):
        if not request.url.startswith(("file:", "data:", "about:", "blob:")):
            self.noise.append(f"asks {request.url}")

    def wrong(self, n):
        """What is wrong with slide n, counted from 0."""
        found = self.screen.evaluate(JUDGE, [n, WORDS, HIGH])
        return [*found, *(self.strangers() if self.fonts else []), *self.noise]

    def strangers(self):
        """Fonts of the machine that draw a part of the slide."""
        self.screen.evaluate(  # is for screen readers, and draws nothing
            "document.querySelectorAll('.katex-mathml').forEach((e) => e.remove())"
        )
        tools = self.context.new_cdp_session(self.screen)
        tools.send("DOM.enable")
        tools.send("CSS.enable")
        root = tools.send("DOM.getDocument")["root"]["nodeId"]
        text = ":is(h2, .text *, figure text, footer)"
        what = {"nodeId": root, "selector": f"section.present {text}"}
        found = set()
        for node in tools.send("DOM.querySelectorAll", what)["nodeIds"]:
            fonts = tools.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
            found |= {
                f"font of the machine: {f['familyName']}" for f in fonts if not f["isCustomFont"]
            }
        tools.detach()
        return sorted(found)

    def place(self):
        return self.screen.evaluate("[Reveal.getIndices().h, Reveal.getIndices().f ?? -1]")


@pytest.fixture
def room(browser, deck):
    opened = []

    def enter(size):
        opened.append(Room(browser, deck, size))
        return opened[-1]

    yield enter
    for one in opened:
        one.context.close()


@pytest.mark.parametrize("size", SIZES)
def test_every_slide_fits_the_screen_and_shows_its_figure(room, size):
    here = room(size)
    found = {n + 1: wrong for n in range(len(slides())) if (wrong := here.wrong(n))}
    assert found == {}


BAD = {
    "beyond an edge": "s.querySelector('h2').style.cssText = 'white-space: nowrap; width: 3000px'",
    "text on the foot": "s.querySelector('.text').style.cssText = 'position: relative; top: 9%'",
    "figure fills": "s.querySelector('figure > *').style.height = '40%'",
    "cut off in the figure": "s.querySelector('text').setAttribute('x', '-30')",
    "41 words": "s.querySelector('.text').innerHTML = `<p>${'word '.repeat(32)}</p>`",
    "formula not drawn": "s.querySelector('.katex-html').style.display = 'none'",
    "raw formula": "s.querySelector('.text').textContent = '$a$'",
    "hardly any notes": "s.querySelector('aside').textContent = 'Say it.'",
    "font of the machine": "s.querySelector('h2').style.fontFamily = 'DejaVu Serif, serif'",
    "asks https": "new Image().src = 'https://example.org/x.png'",
    "oh": "console.error('oh')",
    "lost": "setTimeout(() => { throw new Error('lost') })",
}
CANARY = 5  # a slide with a drawing and formulas; its title has 9 words


@pytest.fixture(scope="module")
def good(browser, deck):
    here = Room(browser, deck, SIZES[0])
    yield here
    here.context.close()


@pytest.mark.parametrize("message", BAD)
def test_a_bad_slide_is_rejected(good, message):
    good.noise.clear()
    whole = good.screen.evaluate(f"Reveal.getSlide({CANARY}).innerHTML")
    assert good.wrong(CANARY) == []
    good.screen.evaluate(f"s = Reveal.getSlide({CANARY}); {BAD[message]}; null")
    good.screen.evaluate(DRAWN_TWICE)
    found = good.wrong(CANARY)
    good.screen.evaluate("([n, html]) => { Reveal.getSlide(n).innerHTML = html }", [CANARY, whole])
    assert any(message in problem for problem in found), found


MIDDLES = """[...document.querySelectorAll(".present :is(li, figure, h2)")].map((e) => {
  const box = e.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})"""


def turned(here, key="ArrowRight"):
    """Press a key, and say whether the deck has moved."""
    before = here.place()
    here.screen.keyboard.press(key)
    return here.place() != before


def test_the_keys_live_through_all_slides_whatever_was_clicked(room):
    here, steps = room(SIZES[1]), 0
    votes = sum("options" in slide for slide in slides())
    for steps in range(1, 2 * len(slides())):  # noqa: B007
        for x, y in here.screen.evaluate(MIDDLES):
            here.screen.mouse.click(x, y)
        if not turned(here):
            break
    assert here.place()[0] == len(slides()) - 1
    assert steps - 1 == len(slides()) - 1 + votes  # one more step for the answer of a vote
    assert turned(here, "PageUp")
    assert turned(here, " ")
    here.screen.keyboard.press("g")
    here.screen.keyboard.type("12")
    here.screen.keyboard.press("Enter")
    assert here.place()[0] == 11
    here.screen.keyboard.press("b")
    assert here.screen.evaluate("Reveal.isPaused()")


def test_dead_keys_are_noticed(room):
    here = room(SIZES[1])
    assert turned(here)
    here.screen.evaluate(
        "Reveal.getCurrentSlide().append(document.createElement('input')); "
        "document.querySelector('input').focus()"
    )
    assert not turned(here)


# What is wrong in the presenter's window when the deck is at slide n: its notes, its clock, and the
# slide that the next key brings, which is drawn in a page of its own.
PRESENTED = """() => {
  const found = [];
  const inside = (name, element) => {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) found.push(`${name}: not drawn`);
    if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1
      || box.bottom > innerHeight + 1) found.push(`${name}: beyond an edge`);
    return box;
  };
  const uncovered = (name, element) => {
    const { left, top, right, bottom } = inside(name, element);
    for (const x of [left + 6, (left + right) / 2, right - 6])
      for (const y of [top + 6, (top + bottom) / 2, bottom - 6]) {
        const there = document.elementFromPoint(x, y);
        if (!element.contains(there)) found.push(`${name}: covered by ${there?.className}`);
      }
  };
  const notes = document.querySelector(".speaker-controls-notes .value");
  uncovered("notes", notes);
  for (const row of notes.querySelectorAll("p, dt, dd")) {
    inside(`note ${row.textContent.slice(0, 20)}`, row);
    if (!(parseFloat(getComputedStyle(row).fontSize) >= 18)) found.push("small notes");
  }
  if (/\\\\[a-z]|\\$/.test(notes.innerText)) found.push("raw formula");
  for (const name of ["timer", "clock"]) uncovered(name, document.querySelector("." + name));
  for (const name of ["current", "upcoming"])
    uncovered(name, document.querySelector(`#${name}-slide iframe`));
  return found;
}"""
# Of a slide in that window, which is a page of its own: which parts are beyond its edges.
SMALL = """() => [...Reveal.getCurrentSlide().querySelectorAll("h2, figure > *, .text, footer")]
  .filter((e) => e.localName !== "div" || e.textContent).filter((e) => {
    const { left, top, right, bottom, width } = e.getBoundingClientRect();
    return !width || left < -1 || top < -1 || right > innerWidth + 1 || bottom > innerHeight + 1;
  }).map((e) => `small slide: ${e.localName} beyond an edge`)"""


class Desk:
    """The presenter's window, opened as a lecturer opens it, and made as large as a screen."""

    def __init__(self, room, size):
        self.room = room
        with room.context.expect_page() as opened:
            room.screen.keyboard.press("s")
        self.window = opened.value
        self.window.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
        self.window.wait_for_selector("#upcoming-slide iframe")
        self.window.wait_for_function("document.querySelector('.value')?.innerText")
        for name in ("current", "upcoming"):
            self.frame(name).wait_for_function("Reveal.isReady()")

    def wrong(self, n, answered=False):
        """What is wrong at slide n, counted from 0; answered: a vote has shown its answer."""
        self.room.screen.evaluate(f"Reveal.slide({n}, 0, {0 if answered else -1})")
        opening = slides()[n]["next"].split("*")[0].split("$")[0]
        self.window.wait_for_function(
            "(said) => document.querySelector('.value').innerText.includes(said)", arg=opening
        )
        last = n == len(slides()) - 1
        vote = "options" in slides()[n] and not answered  # the next key shows its answer
        ahead = [n if vote or last else n + 1, 0 if vote else -1]
        try:
            self.frame("upcoming").wait_for_function(
                "([h, f]) => Reveal.getIndices().h === h && (Reveal.getIndices().f ?? -1) === f",
                arg=ahead,
                timeout=10_000,
            )
        except TimeoutError:
            return [f"the next slide is {self.frame('upcoming').evaluate('Reveal.getIndices()')}"]
        self.window.evaluate(DRAWN_TWICE)
        small = [p for name in ("current", "upcoming") for p in self.frame(name).evaluate(SMALL)]
        return [*self.window.evaluate(PRESENTED), *small, *self.room.noise]

    def frame(self, name):
        return self.window.query_selector(f"#{name}-slide iframe").content_frame()


# The last: as it opens.  Of each commit one: turns.py.
@pytest.mark.parametrize("size", turns.some([*SIZES[1:], (1100, 700)], 3))
def test_the_presenters_window_shows_notes_clock_and_the_next_slide(room, size):
    desk = Desk(room(SIZES[0]), size)
    found = {n + 1: wrong for n in range(len(slides())) if (wrong := desk.wrong(n))}
    assert found == {}


BAD_DESK = {
    "notes: beyond an edge": ".value { font-size: 3em !important }",
    "small notes": ".value { font-size: 12px !important }",
    "raw formula": ".value .katex annotation { display: inline !important }",
    "upcoming: covered by": "html #speaker-layout { top: 50% !important }",
    "timer: covered by": "html #speaker-layout { left: 50% !important; top: 20px !important }",
    "upcoming: beyond": "html #upcoming-slide iframe { width: 200% !important }",
    "clock: not drawn": ".clock { display: none }",
    "upcoming: not drawn": "#upcoming-slide iframe { display: none !important }",
    "small slide: h2": "h2 { position: relative; left: 80vw }",
}


@pytest.fixture(scope="module")
def desk(browser, deck):
    here = Room(browser, deck, SIZES[0])
    yield Desk(here, SIZES[1])
    here.context.close()


@pytest.mark.parametrize("message", BAD_DESK)
def test_a_bad_presenters_window_is_rejected(desk, message):
    formula = next(n for n, slide in enumerate(slides()) if "$" in slide["say"])
    assert desk.wrong(formula) == []
    place = desk.frame("upcoming") if message.startswith("small slide") else desk.window
    style = place.add_style_tag(content=BAD_DESK[message])
    found = desk.wrong(formula)
    style.evaluate("(e) => e.remove()")
    assert any(message in problem for problem in found), found


def test_the_keys_of_the_presenters_window_turn_the_slides(desk):
    vote = next(n for n, slide in enumerate(slides()) if "options" in slide)
    assert desk.wrong(vote) == []
    assert desk.wrong(vote, answered=True) == []
    desk.window.keyboard.press("ArrowRight")
    desk.room.screen.wait_for_function(f"Reveal.getIndices().h === {vote + 1}")


def test_a_drawing_for_print_has_300_dots_per_inch(browser, svgs):
    png = Image.open(io.BytesIO(build.photographed(browser, svgs["pipeline"])))
    assert png.width == build.INCHES * build.DOTS
    assert png.info["dpi"] == pytest.approx((build.DOTS, build.DOTS), abs=0.1)  # kept per metre


PAGES = {"board": 2, "checklist": 1, "feedback": 1, "formulas": 2, "slip": 1}


def test_the_booklet_and_the_handouts_are_printed_on_as_many_pages_as_they_should(
    browser, svgs, tmp_path
):
    papers = handouts() | {"booklet": page.booklet(svgs)}
    found = {}
    for name, html in papers.items():
        build.printed(browser, html, tmp_path / f"{name}.pdf")
        pdf = (tmp_path / f"{name}.pdf").read_bytes()
        assert pdf.count(build.DATE) == 2  # made and changed
        found[name] = pdf.count(b"/Type /Page\n")
    assert found == PAGES | {"booklet": len(slides())}
