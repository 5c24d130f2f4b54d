"""The gallery of symptoms: each picture comes again, shows what it says, and its line finds out."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zerocam
import zerocam.lab.studies.zoo
from tools import symptoms
from zerocam import imagenet
from zerocam.cli import parser
from zerocam.lab.pictures import photograph

PAGE = (Path(__file__).parents[1] / "book" / "your-model.md").read_text(encoding="utf-8")
LAYER = "features"
SYMPTOM = {
    name: functools.cache(make) for name, make in symptoms.SYMPTOMS.items()
}  # each is drawn once


def line(name: str) -> str:
    """The first piece of code below a picture."""
    (below,) = re.findall(rf"symptoms/{name}\.webp\)\n\n(.*?)\n\n", PAGE, re.S)
    return re.findall(r"`(zerocam.*?|torch.*?)`", below)[0]


def told(name: str, photo: torch.Tensor, c: int = 0, **names: object) -> object:
    """What the line on the page says in this case."""
    x = imagenet.imagenet_input(photo)[None]
    known = {"zerocam": zerocam, "torch": torch, "layer": LAYER, "x": x, "c": c, "photo": photo}
    return eval(line(name), known | {"model": symptoms.network()} | names)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYMPTOM)
def test_a_picture_comes_again_and_is_small(name):
    """WebP loses a mean of 1.8 to 3.0 of 255; with its halves exchanged a picture is 14 away."""
    path = symptoms.FOLDER / f"{name}.webp"
    assert path.stat().st_size < 25_000
    with Image.open(path) as stored:
        found = np.asarray(stored.convert("RGB")).astype(float)
    again = np.asarray(symptoms.picture(SYMPTOM[name]())).astype(float)
    assert found.shape == again.shape == (symptoms.SIDE, 2 * symptoms.SIDE + symptoms.GAP, 3)
    assert np.abs(found - again).mean() < 5
    assert len(re.findall(rf"!\[[^\]]{{30,}}\]\(_static/symptoms/{name}\.webp\)", PAGE)) == 1


def test_every_picture_stands_on_the_page():
    stored = {path.stem for path in symptoms.FOLDER.glob("*.webp")}
    assert stored == set(symptoms.SYMPTOMS)
    assert re.findall(r"symptoms/([\w-]+)\.webp", PAGE) == list(symptoms.SYMPTOMS)


@pytest.mark.slow
def test_a_blank_map_is_of_zeros_and_has_its_cause():
    seen, right = SYMPTOM["blank"]().seen[1], SYMPTOM["blank"]().right[1]
    assert not seen.any()
    assert right.min() < 0 < right.max()
    assert told("blank", photograph("chelsea"), symptoms.JAY) == ["all negative"]


@pytest.mark.slow
def test_all_blue_is_below_zero():
    assert SYMPTOM["all-blue"]().seen[1].max() < 0
    assert told("all-blue", photograph("chelsea"), symptoms.JAY) < 0
    assert told("all-blue", photograph("chelsea"), symptoms.CAT) > 0


@pytest.mark.slow
def test_a_mirrored_input_is_told():
    seen, right = SYMPTOM["mirrored"]().seen[1], SYMPTOM["mirrored"]().right[1]
    assert torch.equal(seen.flip(1), right)
    assert not torch.equal(seen, right)
    photo = photograph("china")
    for turned in (True, False):
        prepare = lambda p, t=turned: imagenet.imagenet_input(p.flip(2) if t else p)[None]  # noqa: E731
        assert ("turns or moves" in told("mirrored", photo, prepare=prepare)) == turned


@pytest.mark.slow
def test_one_constant_is_off_and_no_prediction():
    seen, right = SYMPTOM["constant"]().seen[1], SYMPTOM["constant"]().right[1]
    off = seen - right
    assert off.std() < 1e-3 * off.mean().abs()
    assert seen.max() < 0 < right.max()
    signed = functools.partial(zerocam.grad_cam, relu=False)
    verdict = told("constant", photograph("coffee"), symptoms.MUG, signed=signed)
    assert verdict.startswith("one constant")


@pytest.mark.slow
def test_an_even_image_differs_at_the_border_alone():
    seen = SYMPTOM["border"]().seen[1]
    inside = seen[8:-8, 8:-8]
    assert inside.std() < 1e-3 * seen.std()
    assert told("border", photograph("flower"), symptoms.DAISY) > 0


@pytest.mark.slow
def test_maps_of_all_classes_are_alike_where_they_share_a_row():
    seen, right = SYMPTOM["same"]().seen[1], SYMPTOM["same"]().right[1]
    photo = photograph("coffee")
    model = symptoms.one_row_added()
    assert told("same", photo, model=model) > 0.95
    assert told("same", photo) < told("same", photo, model=model)
    before = symptoms.signed(photo, zerocam.targets.centred(symptoms.MUG))
    torch.testing.assert_close(right, before, rtol=0, atol=1e-3 * before.abs().max().item())
    assert (seen - right).abs().max() > right.abs().max()


@pytest.mark.slow
def test_an_enlarged_map_has_49_numbers():
    seen, right = SYMPTOM["enlarged"]().seen[1], SYMPTOM["enlarged"]().right[1]
    assert tuple(told("enlarged", photograph("chelsea"), symptoms.CAT)) == (1, 7, 7)
    assert seen.shape == (7, 7)
    assert len(right.unique()) == 49
    assert right[16::32, 16::32].shape == (7, 7)
    assert torch.equal(right[16::32, 16::32], seen)


@pytest.mark.slow
def test_positions_that_are_mixed_up_answer_to_other_patches():
    assert torch.equal(SYMPTOM["mixed-up"]().seen[1], SYMPTOM["mixed-up"]().right[1].mT)
    photo = photograph("coffee")
    assert told("mixed-up", photo, reshape=lambda A: A.mT) < 0.5
    assert told("mixed-up", photo, reshape=lambda A: A) > 0.75


def test_the_page_names_every_option_of_the_command():
    commands = parser()._subparsers._group_actions[0].choices
    options = {o for sub in commands.values() for o in sub._option_string_actions if o[:2] == "--"}
    table = PAGE[PAGE.index("| Option |") :]
    assert set(re.findall(r"^\| `(--[a-z]+)` \|", table, re.M)) == options - {"--help"}


@pytest.mark.slow
def test_what_the_page_names_is_there_after_the_imports_beside_it():
    first, paragraphs = "import functools, torch, zerocam", PAGE.split("\n\n")
    assert PAGE.index(f"`{first}`") < PAGE.index("symptoms/blank")
    code, found = [first], 0
    for text in sorted(paragraphs, key=lambda text: "`import " in text):  # these come last
        if not text.startswith("```"):
            code += re.findall(r"`(import [\w.]+)`", text)
            code += re.findall(r"\bzerocam(?:\.\w+)+(?=\()", text)
            found += text.count("`zerocam.")
    assert len(code) > found > 8
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
