"""The explorable in a browser: its numbers are zerocam's, and each control does what it says."""

import random
import statistics

import checks
import pytest
import torch
from pages import FOLDER

from zerocam import plots
from zerocam.lab import explorer

pytestmark = pytest.mark.xdist_group("dark")  # see test_pages.py
TOLERANCE = 1e-4  # relative; features are stored as float32
REWRITE = {"shift": -0.7, "flip": 3, "mix": 0.5, "soft": 0.4, "labels": -1}
READ = {"target": "centred", "reference": "spatial", "relu": False, "scale": "max"}
SLIDERS = ("shift", "flip", "mix", "soft")
MODULE = """const x = await import(`${site}_static/explorer.js`);
const d = await (await fetch(`${site}_static/explorer.json`)).json();"""


def states(n: int, seed: int) -> list[dict]:
    """Random settings of every control."""
    draw, made = random.Random(seed), []
    for _ in range(n):
        example = draw.choice(["photo", "photo", "digits", "threes"])
        classes, channels = (8, 11) if example == "photo" else (10, 32)
        made.append(
            explorer.START
            | {
                "example": example,
                "shift": round(draw.uniform(-1.5, 1.5), 2),
                "along": draw.randint(0, classes),
                "flip": draw.randint(0, channels),
                "mix": draw.randint(0, 20) / 20,
                "soft": round(draw.uniform(-1, 1), 2),
                "labels": draw.choice([1, -1]),
                "class": draw.randrange(classes),
                "target": draw.choice(["logit", "centred"]),
                "reference": draw.choice(["zero", "spatial", "data", "blank"]),
                "relu": draw.random() < 0.5,
                "scale": draw.choice(["none", "max", "minmax"]),
                "smooth": draw.random() < 0.5,
            }
        )
    return made


@pytest.fixture(scope="module")
def page(browser, site):
    """The explorer's page; motion reduced, so that steps are reached at once."""
    context = browser.new_context(reduced_motion="reduce", has_touch=True)
    page = context.new_page()
    page.goto(f"{site}book/explorer.html")
    page.wait_for_selector(".zero-explorer[data-ready]")
    yield page
    context.close()


@pytest.fixture
def compute(page, site):
    """`compute` of the module for a list of states."""

    def run(many: list[dict]) -> list[dict]:
        body = "many.map((s) => { const r = x.compute(s, d), o = {}; "
        body += "for (const k in r) o[k] = [...r[k]]; return o; })"
        return page.evaluate(f"async ([site, many]) => {{ {MODULE} return {body}; }}", [site, many])

    return run


@pytest.fixture
def start(page):
    """The page as it opens."""
    page.evaluate("document.querySelector('.zero-explorer').explorer.go('start')")
    page.wait_for_function(
        "document.querySelector('[aria-pressed=true]').textContent == 'As trained'"
    )
    return page


def state_of(page) -> dict:
    return page.evaluate("document.querySelector('.zero-explorer').explorer.state")


def close(ours: list[float], truth: torch.Tensor) -> bool:
    gap = (torch.tensor(ours, dtype=torch.float64) - truth.flatten()).abs().max()
    return bool(gap <= TOLERANCE * truth.abs().max().clamp(min=1e-9))


def test_the_numbers_are_those_of_zerocam(compute):
    originals, many = explorer.originals(), states(60, seed=0)
    for state, ours in zip(many, compute(many), strict=True):
        truth = originals[state["example"]].explain(state)
        for name, value in truth.items():
            assert close(ours[name], value), (name, state)


def test_rewriting_leaves_the_predictions_and_moves_what_it_should(compute):
    for example in ("photo", "digits"):
        base, *changed = compute(
            [{"example": example}, *({"example": example, k: v} for k, v in REWRITE.items())]
        )
        for key, now in zip(REWRITE, changed, strict=True):
            assert max(abs(p - q) for p, q in zip(base["p"], now["p"], strict=True)) < 1e-12, key
            moved = [m - n for m, n in zip(now["M"], base["M"], strict=True)]
            spread, size = max(moved) - min(moved), max(map(abs, base["M"]))
            if key == "shift":
                assert spread < 1e-9 < 0.1 * size < max(map(abs, moved))
            elif key in ("flip", "mix"):
                assert max(map(abs, moved)) < 1e-9 * size
                assert now["A"] != base["A"]
                assert now["alpha"] != base["alpha"]
            elif key == "soft":
                assert spread > 0.1 * size
            else:
                assert all(abs(m + n) < 1e-12 for m, n in zip(now["M"], base["M"], strict=True))


def test_reading_leaves_the_network_alone(compute):
    base, *changed = compute([{}, *({k: v} for k, v in READ.items()), {"class": 1}])
    for key, now in zip([*READ, "class"], changed, strict=True):
        for same in ("A", "W", "b", "y", "p"):
            assert now[same] == base[same], key
        assert (now["M"] == base["M"]) == (key in ("relu", "scale")), key
        assert now["L"] != base["L"], key


@pytest.mark.parametrize("key", [*REWRITE, *READ, "along", "example", "smooth"])
def test_each_control_works_from_the_keyboard_and_changes_only_itself(start, key):
    page = start
    if key == "along":  # where a shift goes matters when there is one
        page.locator("[data-key=shift] input").press("Home")
    before, text = state_of(page), page.locator(".zero-explorer").inner_text()
    control = page.locator(f"[data-key={key}] :is(input, select)")
    control.focus()
    keys = {"relu": "Space", "smooth": "Space"} | dict.fromkeys(SLIDERS, "ArrowRight")
    control.press(keys.get(key, "ArrowDown"))
    page.wait_for_function(
        "([k, v]) => document.querySelector('.zero-explorer').explorer.state[k] !== v",
        arg=[key, before[key]],
    )
    page.wait_for_timeout(50)
    after = state_of(page)
    changed = {k for k in after if after[k] != before[k]}
    assert changed - ({"class", "along"} if key == "example" else set()) == {key}
    moved = page.locator(".zx-tiles li").first.inner_text()
    assert "0.0000" in moved
    assert key == "smooth" or page.locator(".zero-explorer").inner_text() != text


def test_a_class_is_chosen_by_a_click_and_a_slider_by_a_touch(start):
    page = start
    page.locator(".zx-class", has_text="daisy").click()
    assert state_of(page)["class"] == 7
    slider = page.locator("[data-key=shift] input")
    slider.evaluate("(e) => e.scrollIntoView({ block: 'center' })")
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.1 * box["width"], box["y"] + box["height"] / 2)
    assert state_of(page)["shift"] < -1


def test_the_pictures_say_their_numbers(start):
    page = start
    truth = explorer.originals()["photo"].explain({})["M"]
    label = page.locator(".zx-maps canvas").first.get_attribute("aria-label")
    assert f"to {truth.max():.2f}" in label
    assert f"{int((truth > 0).sum())} of 98 positions above zero" in label
    page.wait_for_function(
        "document.querySelector('.zx-live').textContent.includes('moved by 0.0000')"
    )
    for part in page.locator(".zero-explorer :is(canvas, img)").all():
        assert part.get_attribute("aria-label") or part.get_attribute("alt")


def test_the_maps_are_drawn_in_the_books_colours(page, site):
    values = [-1.0, -0.6, -0.2, 0.0, 0.1, 0.5, 1.0]
    drawn = page.evaluate(
        f"async ([site, v]) => {{ {MODULE} return v.map((a) => x.colour(a, 1, d.colours)); }}",
        [site, values],
    )
    for value, rgb in zip(values, drawn, strict=True):
        wanted = [round(255 * part) for part in plots.SIGNED((value + 1) / 2)[:3]]
        assert max(abs(a - b) for a, b in zip(rgb, wanted, strict=True)) <= 3
    assert drawn[3] == [255, 255, 255]


def test_the_address_holds_the_state(browser, page, site):
    many = states(40, seed=1)
    back = page.evaluate(
        f"async ([site, many]) => {{ {MODULE} return many.map((s) => x.read(x.write(s, d), d)); }}",
        [site, many],
    )
    assert back == many
    page.evaluate("(s) => document.querySelector('.zero-explorer').explorer.set(s)", many[0])
    # It is written when the controls rest; until then the address may be that of an earlier state.
    wanted = page.evaluate(
        f"async ([site, s]) => {{ {MODULE} return x.write(s, d); }}", [site, many[0]]
    )
    page.wait_for_url(f"{site}book/explorer.html#{wanted}")
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector(".zero-explorer[data-ready]")
    assert state_of(other) == many[0]
    other.goto(f"{site}book/explorer.html#class=lynx&shift=up&mix=7&scale=loud&along=nobody&x=1")
    other.reload()
    other.wait_for_selector(".zero-explorer[data-ready]")
    assert state_of(other) == explorer.START | {"class": 3, "mix": 1, "along": 0}
    other.close()


def test_a_frame_of_a_drag_takes_less_than_16_ms(page):
    times = page.evaluate(
        """(starts) => starts.flatMap((start) => {
          const e = document.querySelector('.zero-explorer').explorer;
          e.set(start);
          return Array.from({ length: 60 }, (_, n) => {
            const before = performance.now();
            e.set({ ...start, shift: n / 40 - 0.75, soft: n / 60 });
            return performance.now() - before;
          });
        })""",
        states(6, seed=2),
    )
    assert statistics.median(times) < 16, f"median {statistics.median(times):.1f} ms"


@pytest.mark.parametrize("path", ["book/explorer.html", "book/index.html"])
def test_it_works_from_a_file(browser, path):
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{FOLDER / path}")
    page.wait_for_selector(".zero-explorer[data-ready]")
    page.get_by_role("button", name="1 Shift").click()
    page.get_by_text("Grad-CAM: blank", exact=True).wait_for()
    assert errors == []
    page.close()


def test_without_scripts_it_is_a_table(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}book/index.html")
    for preset in explorer.data()["presets"].values():
        row = page.locator(".zero-explorer tr", has_text=preset["says"])
        assert row.locator("td").all_inner_texts()[1:] == preset["row"]
    context.close()


def test_it_fits_a_phone_above_the_fold(browser, site):
    context = browser.new_context(viewport=checks.PHONE)
    page = context.new_page()
    page.goto(f"{site}book/index.html")
    page.wait_for_selector(".zero-explorer[data-ready]")
    for what in ("[data-key=shift] input", ".zx-maps canvas >> nth=1"):
        box = page.locator(what).bounding_box()
        assert box["y"] + box["height"] <= checks.PHONE["height"]
    context.close()
