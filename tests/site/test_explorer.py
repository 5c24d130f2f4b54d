"""The explorable in a browser: its numbers are zerocam's, and each control does what it says."""

import random
import re
import statistics

import checks
import pytest
import torch
from pages import FOLDER

from tests import turns
from zerocam import plots
from zerocam.lab import explorer
from zerocam.metrics import normalise

pytestmark = pytest.mark.xdist_group("explorer")  # one page for all
TOLERANCE = 1e-4  # relative; features are stored as float32
REWRITE = {
    "shift": -0.7,
    "turn": True,
    "flip": 3,
    "mix": 0.5,
    "soft": 0.4,
    "labels": -1,
    "places": 3,
}
READ = {"target": "centred", "reference": "spatial", "relu": False, "scale": "max"}
SWITCHES = ("relu", "smooth", "turn")
SLIDERS = ("shift", "flip", "mix", "soft", "places")
MODULE = """const x = await import(`${site}_static/explorer.js`);
const d = await (await fetch(`${site}_static/explorer.json`)).json();"""


def states(n: int, seed: int) -> list[dict]:
    """Random settings of every control."""
    draw, made = random.Random(seed), []
    for _ in range(n):
        example = draw.choice(["photo", "photo", "digits", "threes"])
        photo = example == "photo"
        classes, channels = (8, 11) if photo else (10, 32)
        made.append(
            explorer.START
            | {
                "example": example,
                "shift": round(draw.uniform(-1.5, 1.5), 2),
                "along": draw.randint(-1, classes),
                "turn": photo and draw.random() < 0.3,
                "flip": draw.randint(0, channels),
                "mix": draw.randint(0, 20) / 20,
                "soft": round(draw.uniform(-1, 1), 2),
                "labels": draw.choice([1, -1]),
                "places": draw.randint(0, {"photo": 13, "digits": 9, "threes": 7}[example]),
                "class": draw.randrange(classes),
                "target": draw.choice(["logit", "centred"]),
                "reference": draw.choice(["zero", "spatial", "local", "data", "blank"]),
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


@pytest.fixture(scope="module")
def originals():
    return explorer.originals()


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
    """The page as it opens; what is read aloud comes later than what is drawn."""
    page.evaluate("document.querySelector('.zero-explorer').explorer.go('trained')")
    page.wait_for_function(
        """() => document.querySelector('[aria-pressed=true]')?.textContent == 'As trained' &&
          document.querySelector('.zx-live').textContent ==
            [...document.querySelectorAll('.zx-says span')].map((e) => e.textContent).join(' ')"""
    )
    return page


def state_of(page) -> dict:
    return page.evaluate("document.querySelector('.zero-explorer').explorer.state")


def close(ours: list[float], truth: torch.Tensor) -> bool:
    gap = (torch.tensor(ours, dtype=torch.float64) - truth.flatten()).abs().max()
    return bool(gap <= TOLERANCE * truth.abs().max().clamp(min=1e-9))


def test_the_numbers_are_those_of_zerocam(compute, originals):
    many = turns.some(states(60, seed=0))
    for state, ours in zip(many, compute(many), strict=True):
        truth = originals[state["example"]].explain(state)
        for name, value in truth.items():
            assert close(ours[name], value), (name, state)


def test_rewriting_leaves_the_predictions_and_moves_what_it_should(compute):
    for example in ("photo", "digits"):
        keys = [key for key in REWRITE if key != "turn" or example == "photo"]
        base, *changed = compute(
            [{"example": example}, *({"example": example, k: REWRITE[k]} for k in keys)]
        )
        for key, now in zip(keys, changed, strict=True):
            assert max(abs(p - q) for p, q in zip(base["p"], now["p"], strict=True)) < 1e-12, key
            moved = [m - n for m, n in zip(now["M"], base["M"], strict=True)]
            spread, size = max(moved) - min(moved), max(map(abs, base["M"]))
            if key in ("shift", "turn"):
                assert spread < 1e-9 < 0.1 * size < max(map(abs, moved))
            elif key in ("flip", "mix"):
                assert max(map(abs, moved)) < 1e-9 * size
                assert now["A"] != base["A"]
                assert now["alpha"] != base["alpha"]
            elif key == "soft":
                assert spread > 0.1 * size
            elif key == "places":
                width = {"photo": 14, "digits": 10}[example]
                rows = torch.tensor(base["M"]).view(-1, width)
                assert torch.equal(torch.tensor(now["M"]).view(-1, width), rows.roll(3, 1))
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
    keys = dict.fromkeys(SLIDERS, "ArrowRight") | dict.fromkeys(SWITCHES, "Space")
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
    slider.evaluate("(e) => e.scrollIntoView({ block: 'end' })")  # below the maps, which stay
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.1 * box["width"], box["y"] + box["height"] / 2)
    assert state_of(page)["shift"] < -1


def test_the_pictures_say_their_numbers(start, originals):
    page = start
    truth, moved = (originals["photo"].explain(s)["M"] for s in ({}, {"shift": -1.1}))
    label = page.locator(".zx-maps canvas").first.get_attribute("aria-label")
    assert f"to {truth.max():.2f}" in label
    assert f"{int((truth > 0).sum())} of 98 positions above zero" in label
    page.get_by_role("button", name="1 Shift").click()
    page.wait_for_function("document.querySelector('.zx-live').textContent.includes('none in B')")
    label = page.locator(".zx-maps canvas").nth(2).get_attribute("aria-label").replace("−", "-")
    assert label.startswith(f"Network B, signed map: from {moved.min():.2f} to {moved.max():.2f}")
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
    page.wait_for_url(f"{site}book/explorer.html?{wanted}")
    page.locator("nav.bd-toc-nav a").last.click()
    page.wait_for_url(f"{site}book/explorer.html?{wanted}#*")
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector(".zero-explorer[data-ready]")
    assert state_of(other) == many[0]
    other.goto(f"{site}book/explorer.html#{wanted}")  # as older links have it
    other.wait_for_selector(".zero-explorer[data-ready]")
    assert state_of(other) == many[0]
    other.goto(f"{site}book/explorer.html?seen=1#what-is-computed-here")
    other.wait_for_selector(".zero-explorer[data-ready]")
    assert state_of(other)["shift"] == -1.1, "a question of others is no state"
    other.goto(f"{site}book/explorer.html#class=lynx&shift=up&mix=7&scale=loud&along=nobody&x=1")
    other.reload()
    other.wait_for_selector(".zero-explorer[data-ready]")
    assert state_of(other) == explorer.START | {"class": 3, "mix": 1}
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
    page.get_by_role("button", name="2 On for off").click()
    page.get_by_text("B's map is A's map, lowered by 2.03 at every position.").first.wait_for()
    assert errors == []
    page.close()


def test_without_scripts_it_is_a_table(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}book/index.html")
    stored = explorer.data()
    for preset in stored["presets"].values():
        row = page.locator(".zero-explorer tr", has_text=preset["asks"])
        state = explorer.START | preset["state"]
        picture = stored["examples"][state["example"]]["title"]
        assert row.locator("td").all_inner_texts()[1:] == [picture, *preset["row"]]
    context.close()


def test_its_slider_and_maps_fit_a_phone_at_once(browser, site):
    context = browser.new_context(viewport=checks.PHONE)
    page = context.new_page()
    page.goto(f"{site}book/index.html")
    page.locator(".zero-explorer").scroll_into_view_if_needed()
    page.wait_for_selector(".zero-explorer[data-ready]")
    parts = [page.locator(w) for w in ("[data-key=shift] input", ".zx-maps canvas >> nth=3")]
    boxes = [part.bounding_box() for part in parts]
    top = min(box["y"] for box in boxes)
    assert max(box["y"] + box["height"] for box in boxes) - top <= checks.PHONE["height"]
    context.close()


def said_of(text: str, before: dict, now: dict, state: dict) -> list[str]:
    """What is wrong with a sentence of the page, by the numbers of the package itself."""
    text = text.replace("−", "-")
    change = now["M"] - before["M"]
    size = max(now["M"].abs().max(), before["M"].abs().max())
    low, high, spread = change.min(), change.max(), change.max() - change.min()
    moved = (now["p"] - before["p"]).abs().max()
    wrong = [] if ("No probability moved." in text) == bool(moved < 5e-5) else ["probabilities"]
    number = r"(-?[\d.]+(?:e-?\d+)?)"

    def near(said: str, truth: float) -> bool:
        return abs(float(said) - truth) <= max(0.006, 0.06 * abs(truth)) + TOLERANCE * float(size)

    if "B's map is A's map." in text:
        right = change.abs().max() <= TOLERANCE * size
    elif found := re.search(rf"A's map, (raised|lowered) by {number} at every position\.", text):
        way = 1 if found[1] == "raised" else -1
        right = spread <= TOLERANCE * size and near(found[2], way * float(change.mean()))
    elif "B's map is A's map with every sign reversed." in text:
        right = (now["M"] + before["M"]).abs().max() <= TOLERANCE * size
    elif found := re.search(rf"it differs by {number} to {number}, another amount", text):
        right = (
            spread > 1e-7 * size
            and found[1] != found[2]
            and near(found[1], float(low))
            and near(found[2], float(high))
        )
    else:
        right = False
    wrong += [] if right else ["the map"]

    def counted(said: str, values: torch.Tensor, least: float, M: torch.Tensor) -> bool:
        n = int(said.replace("none", "0").removeprefix("all "))
        grain = TOLERANCE * max(float(values.abs().max()), 1e-12)
        cut = (-TOLERANCE * M.abs().max() > M) & state["relu"]  # zero for certain
        return bool((values > least + grain).sum() <= n <= ((values > least - grain) & ~cut).sum())

    count = r"(none|all \d+|\d+)"
    found = re.search(rf"of (\d+) positions: {count} in A, {count} in B\.", text)
    right = found and int(found[1]) == now["M"].numel()
    for said, maps in zip(found.groups()[1:], (before, now), strict=True) if right else ():
        right = right and counted(said, maps["L"], 0, maps["M"])
    wrong += [] if right else ["what is drawn"]
    found = re.search(rf"{count} in the signed map, {count} as drawn", text)
    if bool(found) != (state["scale"] != "none"):
        wrong.append("the outline")
    elif found:
        signed = normalise(now["M"][None], "max")[0]
        right = counted(found[1], signed, 0.15, now["M"])
        right = right and counted(found[2], now["L"], 0.15, now["M"])
        wrong += [] if right else ["the outline"]
    return wrong


@pytest.mark.slow
def test_the_sentence_is_true_in_every_state(page, site, originals):
    many, wrong = turns.some(states(120, seed=3)), {}
    rng = random.Random(4)
    for state in many:  # a state with few changes says most
        for key in REWRITE:
            if rng.random() < 0.6:
                state[key] = explorer.START[key]
    many += [explorer.START | p["state"] for p in explorer.data()["presets"].values()]
    texts = page.evaluate(
        f"async ([site, many]) => {{ {MODULE} "
        "return many.map((s) => x.sentence(s, d).join(' ')); }",
        [site, many],
    )
    kinds = {"A's map.": 0, "at every position": 0, "sign reversed": 0, "differs": 0}
    for state, text in zip(many, texts, strict=True):
        o = originals[state["example"]]
        trained = state | {key: explorer.START[key] for key in REWRITE}
        if found := said_of(text, o.explain(trained), o.explain(state), state):
            wrong[text] = (found, state)
        for kind in kinds:
            kinds[kind] += kind in text
        same = all(state[key] == explorer.START[key] for key in REWRITE)
        assert ("B is network A" in text) == same
        for key, words in {"mix": "mixed", "flip": "sign turned", "soft": "extra weights"}.items():
            assert (words in text) == (state[key] != explorer.START[key]), (text, state)
    assert wrong == {}
    assert min(kinds.values()) > 0, kinds


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("A probability moved by 0.2. B's map is A's map.", "probabilities"),
        ("No probability moved. B's map is A's map, raised by 0.31 at every position.", "the map"),
        ("No probability moved. B's map: it differs by -0.31 to 0.20, another amount.", "the map"),
        (
            "B's map is A's map. Drawn above zero, of 98 positions: 75 in A, 3 in B.",
            "what is drawn",
        ),
    ],
)
def test_a_sentence_that_is_not_true_is_found(originals, text, part):
    o, state = originals["photo"], explorer.START | {"shift": -1.1}
    assert part in said_of(text, o.explain({}), o.explain(state), state)


def test_two_networks_are_there_before_anybody_touches_anything(browser, site):
    page = browser.new_page()
    page.goto(f"{site}book/index.html")
    page.wait_for_selector(".zero-explorer[data-ready]")
    assert page.locator(".zx-says").inner_text().count("No probability moved.") == 1
    labels = [c.get_attribute("aria-label") for c in page.locator(".zx-maps canvas").all()]
    assert [label.split(",")[0] for label in labels] == ["Network A"] * 2 + ["Network B"] * 2
    assert labels[1].split("from ")[1] != labels[3].split("from ")[1]
    for row in page.locator(".zx-class").all():
        a, b = row.locator(".zx-number").all_inner_texts()
        assert a == b
    page.close()


def test_every_part_that_opens_is_drawn(browser, site):
    page = browser.new_page()
    page.goto(f"{site}book/index.html")
    page.get_by_role("button", name="All controls").click()
    channels = page.locator(".zx-inside canvas")
    assert channels.count() == 12
    for part in channels.all():
        assert "weight" in part.get_attribute("aria-label")
        assert part.evaluate("(c) => [c.width, c.height]") == [14, 7]
        colours = "(c) => new Set(c.getContext('2d').getImageData(0, 0, 14, 7).data).size"
        assert part.evaluate(colours) > 20
    page.close()


@pytest.mark.parametrize("change", [{}, {"example": "digits", "class": 2, "mix": 0.5}])
def test_the_weights_under_the_channels_are_those_of_the_map(start, compute, change):
    """In thousandths: a thousandth of what is printed is the weight, and the words say so."""
    page = start
    page.evaluate("(s) => document.querySelector('.zero-explorer').explorer.set(s)", change)
    (now,) = compute([explorer.START | change])
    printed = page.locator(".zx-inside div div:has(canvas) span").all_inner_texts()
    weights = [float(text.removeprefix("× ").replace("−", "-")) / 1000 for text in printed]
    assert len(weights) == 12
    assert weights[6:] == pytest.approx(now["alpha"][:6], abs=5e-5)
    assert max(map(abs, weights)) > 1e-3
    positions, classes = len(now["M"]), len(now["y"])
    rows = torch.tensor(now["W"]).view(classes, -1)[(explorer.START | change)["class"]]
    assert torch.allclose(torch.tensor(now["alpha"]) * positions, rows)
    said = page.locator(".zx-inside").inner_text().replace("−", "-")
    found = re.search(r"in thousandths\s+“× (-?[\d.]+)” stands for the weight (-?[\d.]+)\.", said)
    assert float(found[1]) == 1000 * weights[0]
    assert float(found[2]) == pytest.approx(weights[0])


def test_the_step_that_is_pressed_is_the_step_that_is_shown(start):
    page = start
    pressed = page.locator(".zx-steps [aria-pressed=true]")
    slider = page.locator("[data-key=shift] input")
    for _ in range(11):
        slider.press("ArrowLeft")
    page.wait_for_function("document.querySelector('.zx-says').innerText.includes('0.31')")
    assert pressed.all_inner_texts() == ["1 Shift"]
    slider.press("ArrowRight")
    page.wait_for_function("document.querySelector('.zx-says').innerText.includes('own setting')")
    assert pressed.count() == 0


def test_a_shift_follows_the_class_that_is_shown(start):
    page = start
    page.locator(".zx-class", has_text="tiger cat").click()
    page.locator("[data-key=shift] input").press("Home")
    page.get_by_text("Grad-CAM: blank").wait_for()
    page.locator(".zx-class", has_text="lynx").click()
    page.wait_for_function(
        "document.querySelector('.zx-maps canvas').getAttribute('aria-label')"
        " && document.querySelector('.zx-says').innerText.includes('none in B')"
    )


@pytest.mark.parametrize("key", SLIDERS)
def test_a_few_keys_bring_a_slider_to_each_end(start, key):
    page = start
    slider = page.locator(f"[data-key={key}] input")
    low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
    for press, end, most in (("Home", low, 1), ("End", high, 1), ("PageDown", low, 7)):
        for _ in range(most):
            slider.press(press)
        assert float(slider.input_value()) == end
    for _ in range(33):
        slider.press("ArrowUp")
    assert float(slider.input_value()) == high


def test_the_scale_stays_while_zero_moves(start):
    page = start
    scale = page.locator(".zx-scale").inner_text()
    page.locator("[data-key=shift] input").press("End")
    page.locator(".zx-class", has_text="lynx").click()
    page.get_by_text("raised by").first.wait_for()
    assert page.locator(".zx-scale").inner_text() == scale


def test_every_control_has_its_name(page):
    for role, names in {
        "slider": ["Shift", "Channels with their sign turned", "Mixed", "Extra", "Columns moved"],
        "combobox": ["The shift lifts", "Labels", "Explain", "Zero is", "Draw the map", "Picture"],
        "checkbox": ["On for off", "Keep only", "Smooth"],
        "radio": ["tabby", "espresso", "daisy"],
        "button": ["As trained", "1 Shift"],
    }.items():
        for name in names:
            assert page.get_by_role(role, name=name).count() >= 1, name
    inside = ".zero-explorer :is(input, select)"
    assert page.evaluate(f"[...document.querySelectorAll('{inside}')].every((i) => i.labels[0])")
