"""The drawn ideas: as their command draws them, legible, named, and with numbers that add up."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from docutils import nodes
from docutils.utils import new_document
from scipy.special import softmax

from book._ext.zerobook import drawings
from tools.drawing import WORDS
from tools.ideas import FOLDER, IDEAS

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
NARROW = 358  # CSS pixels that a phone of 390 leaves a drawing
PLACES = {"pairings": "09", "bias-back": "10", "residual-stream": "13"}


def tree(name: str) -> ET.Element:
    return ET.fromstring((FOLDER / f"{name}.svg").read_text(encoding="utf-8"))


def written(name: str) -> list[str]:
    """The lines of text of a drawing."""
    return [
        "".join(text.itertext()).replace("\u00a0", " ") for text in tree(name).iter(f"{SVG}text")
    ]


def numbers(name: str) -> list[float]:
    """The lines that are numbers, in the order in which they are drawn."""
    found = [text.replace("−", "-") for text in written(name)]
    return [float(text) for text in found if re.fullmatch(r"[+-]?\d+(\.\d+)?", text)]


def sizes(name: str) -> dict[str, float]:
    """The sizes of type in units, by class; the style sheet is the same in all drawings."""
    css = tree(name).find(f"{SVG}style").text
    plain = re.search(r"\.idea text \{[^}]*font-size: ([\d.]+)px", css)[1]
    found = re.findall(r"\.idea \.(\w+) \{[^}]*font-size: ([\d.]+)px", css)
    return {"": float(plain), **{kind: float(size) for kind, size in found}}


def test_the_files_are_what_the_command_draws():
    assert {path.stem for path in FOLDER.iterdir()} == set(IDEAS) == set(WORDS)
    for name, draw in IDEAS.items():
        assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == draw().svg(), name


@pytest.mark.parametrize("name", IDEAS)
def test_a_drawing_has_a_name_and_says_all_that_is_in_it(name):
    root = tree(name)
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == title.get("id")
    assert root.get("aria-describedby") == desc.get("id")
    assert 6 <= len(title.text.split()) <= 20
    assert len(desc.text.split()) > 40
    said, inside = re.findall(r"\d+(?:\.\d+)?", desc.text), " ".join(written(name))
    unsaid = {n for n in said if n not in re.findall(r"\d+(?:\.\d+)?", inside)}
    spoken = {  # what is drawn, or said in words, and what the numbers have in common
        "constant-field": {"4"},
        "softmax-freedom": {"22", "7"},
        "sea-level": set(),
    }
    assert unsaid <= spoken.get(name, set()) | {"1", "2"}


@pytest.mark.parametrize("name", IDEAS)
def test_text_is_legible_on_a_phone_and_stays_inside(name):
    root, kinds = tree(name), sizes(name)
    width = float(root.get("viewBox").split()[2])
    scale = NARROW / width
    assert min(kinds.values()) * scale >= 10
    for text in root.iter(f"{SVG}text"):
        if text.get("transform"):
            continue
        size = max(kinds.get(kind, 0) for kind in (text.get("class") or "").split() or [""])
        wide = 0.5 * (size or kinds[""]) * len("".join(text.itertext()))  # as in Arial, on average
        left = float(text.get("x")) - {"middle": wide / 2, "end": wide}.get(
            text.get("text-anchor"), 0
        )
        assert left >= -2, "".join(text.itertext())
        assert left + wide <= width + 2, "".join(text.itertext())


@pytest.mark.parametrize("name", IDEAS)
def test_colour_is_the_sign_of_a_number(name):
    for cell, text in pairwise(tree(name)):
        if (cell.get("class"), text.get("class")) == ("cell signed", "in"):
            red, _, blue = (int(cell.get("fill")[i : i + 2], 16) for i in (1, 3, 5))
            assert np.sign(red - blue) == np.sign(float(text.text.replace("−", "-")))


def test_pipeline_adds_up():
    A = torch.tensor([[[1.0, 2], [0, 4]], [[3, 1], [2, 0]]])
    G = torch.tensor([[[4.0, 0], [2, 2]], [[-1, -3], [0, -4]]])
    alpha = G.mean((1, 2))
    M = torch.einsum("k,kij->ij", alpha, A)
    wanted = [*A[0].flatten(), *G[0].flatten(), alpha[0]]
    wanted += [*A[1].flatten(), *G[1].flatten(), alpha[1], *M.flatten(), *M.relu().flatten()]
    assert numbers("pipeline") == [float(v) for v in wanted]
    assert "2 · 1 − 2 · 3 = −4" in written("pipeline")


def test_two_networks_give_one_score_and_two_maps():
    found = numbers("two-networks")
    one, two = found[: len(found) // 2], found[len(found) // 2 :]
    a, b = np.reshape(one[:6], (2, 3)), np.reshape(two[:6], (2, 3))
    assert (b - a).tolist() == [[0, 0, 0], [3, 3, 3]]
    assert one[6:8] == two[6:8] == np.round(softmax([2, 0]), 2).tolist()
    assert one[8:] == ([2, -1] @ a).tolist() == [2, -3, 3]
    assert two[8:] == ([2, -1] @ b).tolist() == [-1, -6, 0]
    for side, bias in ((a, 0), (b, 9)):
        fed = f"{[6, -3] @ side.mean(1):.0f} + bias {bias}".replace("-", "−")
        assert fed in written("two-networks")
        assert [6, -3] @ side.mean(1) + bias == pytest.approx(2)  # thirds are rounded


def test_the_sea_rises_and_the_land_stays():
    rows = np.reshape([n for n in numbers("sea-level")], (3, 13))
    land = rows[:, 1:]  # first the 0 of the level
    assert (rows[:, 0] == 0).all()
    assert (land[0] - land[1] == 3).all()
    assert (land[2] - land[0] == 4).all()
    for row in land:
        assert f"{(row > 0).sum()} of 12 above zero" in written("sea-level")
    lines = [p.get("d") for p in tree("sea-level") if p.get("class") == "line"]
    steps = [np.diff([float(p.split()[1]) for p in line[1:].split("L")]) for line in lines]
    assert len(steps) == 3
    for step in steps[1:]:  # the same coast, drawn lower on the page; rounded to a tenth
        np.testing.assert_allclose(step, steps[0], atol=0.21)


def test_turned_axes_give_other_numbers_and_the_same_map():
    found = np.reshape(numbers("turning-basis"), (2, 14))
    points, weights = found[:, :12].reshape(2, 4, 3), found[:, 12:]
    for side in (0, 1):
        assert (points[side, :, :2] @ weights[side] == points[side, :, 2]).all()
    assert (points[0, :, 2] == points[1, :, 2]).all()
    assert (points[0, :, :2] != points[1, :, :2]).any(1).all()
    circles = [(c.get("cx"), c.get("cy")) for c in tree("turning-basis").iter(f"{SVG}circle")]
    moved = [(float(x) - 200, y) for x, y in circles[4:]]
    assert moved == [(float(x), y) for x, y in circles[:4]]


def test_a_constant_and_two_fields():
    parts = np.reshape(numbers("constant-field"), (3, 2, 4, 4))
    assert (parts[:2, 0] * 3 == parts[:2, 1]).all()
    assert (parts[0, 1] == parts[1, 1].mean()).all()  # Grad-CAM's constant is the field's mean
    seen = torch.nn.functional.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), padding=1)
    assert parts[2, 0].tolist() == seen[0, 0].tolist()
    assert (parts[2, 0] - 9 == parts[2, 1]).all()
    assert (parts[2, 1, 1:3, 1:3] == 0).all()


def test_probabilities_stay_when_every_class_gains_the_same():
    found = numbers("softmax-freedom")
    field, one, two = np.array(found[-4:]), found[:19], found[19:38]
    for side in (one, two):
        scores, shares, maps = side[:3], side[4:7], np.reshape(side[7:], (3, 4))
        assert side[3] == 0  # the axis
        assert shares == np.round(softmax(scores), 3).tolist()
        assert maps.sum(1).tolist() == scores
    assert one[4:7] == two[4:7]
    assert (np.reshape(two[7:], (3, 4)) - np.reshape(one[7:], (3, 4)) == field).all()


def test_pairings_are_products_and_a_shift_moves_rows():
    found = numbers("pairings")
    triples = [np.array(found[5 * p : 5 * p + 5]) for p in range(3)]  # a, g, what the shift adds
    a, g = (np.stack([t[s] for t in triples], 1) for s in (slice(0, 2), slice(2, 4)))
    table, means = np.reshape(found[15:24], (3, 3)), found[24:27]
    assert (table == g.T @ a).all()
    assert means == table.mean(0).tolist()
    assert [t[4] for t in triples] == (g.T @ [3, -1]).tolist()
    assert "lower right, 2 · 2 + 2 · 1 = 6" in written("pairings")


def test_the_local_score_puts_the_bias_back():
    found, text = numbers("bias-back"), written("bias-back")
    first, second, less, share, score = (found[i : i + 2] for i in (0, 3, 6, 9, 12))
    for m, bias in ((first, -2), (second, -4)):
        assert sum(m) + bias == 1
        assert f"map M, mean {np.mean(m)}" in text
        assert f"bias {bias}, score 1".replace("-", "−") in text
        assert [v - np.mean(m) for v in m] == less
    assert share == [0.5, 0.5]
    assert score == [v + s for v, s in zip(less, share, strict=True)]
    assert sum(score) == 1


def test_the_stream_receives_the_same():
    found, text = numbers("residual-stream"), written("residual-stream")
    one, two = found[:5], found[5:]
    for side in (one, two):
        assert np.dot(side[:3], [0.5, 0.25, 0.25]) == side[3]
        assert 3 * side[3] == side[4]
    assert (np.array(two[:4]) - one[:4]).tolist() == [10] * 4
    took = two[4] - one[4]
    assert f"{two[4]:.0f} + b − {took:.0f}" in text
    assert text.count(f"{one[4]:.0f} + b") == 3  # before the first joins, and what both add
    assert {"0 + b", f"0 + b − {took:.0f}"} <= set(text)


def test_what_moves_shows_what_the_still_drawings_show():
    assert [n for n in numbers("sea-level-moving") if n] == [n for n in numbers("sea-level") if n]
    still = np.reshape(numbers("turning-basis"), (2, 14))
    moving = numbers("turning-basis-moving")
    M, sides = moving[:4], np.reshape(moving[4:], (2, 10))
    for (*points, one, two), side in zip(still, sides, strict=True):
        table = np.reshape(points, (4, 3))
        assert table[:, 2].tolist() == M
        assert [*table[:, :2].flatten(), one, two] == side.tolist()


@pytest.mark.parametrize("name", [name for name in IDEAS if name.endswith("-moving")])
def test_nothing_moves_for_who_asks_for_less_motion(name):
    css = tree(name).find(f"{SVG}style").text
    asked, _, frames = css.partition("@media screen and (prefers-reduced-motion: no-preference) {")
    moves = frames[: frames.index("\n}")]
    assert "animation" not in asked
    assert css.count("animation:") == moves.count("animation:") > 2
    names = re.findall(r"animation: ([\w-]+)", moves)
    assert sorted(names) == sorted(re.findall(r"@keyframes ([\w-]+)", frames))
    parts = {g.get("class") for g in tree(name).iter(f"{SVG}g")} - {None}
    later = set(re.findall(r"\.idea \.([\w-]+) \{ opacity: 0; \}", asked))
    assert later < parts  # all but one state are hidden while nothing moves
    assert len(later) == len(names) - 2


def test_the_seven_zeros_are_those_of_the_chapter():
    chapter = (ROOT / "notebooks/08-where-zero-comes-from.ipynb").read_text(encoding="utf-8")
    drawing = r"!\[Seven zeros in a table: ([^.]*)\.[^]]*\]\(../book/_static/ideas/where-zeros"
    ((alt,),) = [re.findall(drawing, chapter)]
    text = " ".join(written("where-zeros-come-from")).lower()
    named = [text.find(zero) for zero in re.split(", | and ", alt.lower())]
    assert len(named) == 8  # weight decay and zero biases are one
    assert min(named) >= 0
    assert named == sorted(named)
    assert len(list(tree("where-zeros-come-from").iter(f"{SVG}text"))) == 4 + 3 * 7


@pytest.mark.parametrize(("name", "number"), PLACES.items())
def test_the_last_chapters_show_theirs(name, number):
    (path,) = (ROOT / "notebooks").glob(f"{number}-*.ipynb")
    assert f"](../book/_static/ideas/{name}.svg)" in path.read_text(encoding="utf-8")


def test_a_page_holds_the_drawing_itself_even_twice():
    page = new_document("page")
    for uri in ("ideas/pairings.svg", "cover.png", "ideas/pairings.svg"):
        page += nodes.image("", uri=f"book/_static/{uri}", alt="A picture")
    drawings.stand(SimpleNamespace(builder=SimpleNamespace(format="latex"), srcdir=ROOT), page, "")
    assert len(list(page.findall(nodes.image))) == 3
    drawings.stand(SimpleNamespace(builder=SimpleNamespace(format="html"), srcdir=ROOT), page, "")
    one, other, two = page.children
    assert isinstance(other, nodes.image)
    plain = (FOLDER / "pairings.svg").read_text(encoding="utf-8")
    ids = []
    for drawn in (one, two):
        assert isinstance(drawn, nodes.raw)
        assert re.sub(r"idea-\d-", "idea-", drawn.astext()) == plain
        ids += re.findall(r' id="([^"]*)"', drawn.astext())
    assert len(ids) == len(set(ids)) == 4
