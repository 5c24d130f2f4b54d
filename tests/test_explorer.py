"""The explorable's data: exact where it claims to be, and what the networks give today."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from zerocam import grad_cam, imagenet, metrics
from zerocam.lab import explorer, nets, pictures, scenes


@pytest.fixture(scope="module")
def originals():
    return explorer.originals()


def arrays(example: dict) -> dict[str, np.ndarray]:
    """The stored arrays of an example, decoded a second way."""
    packed = {
        k: v for k, v in example.items() if k in ("A", "W", "b", "T", "U", "V", "mean", "blank")
    }
    return {
        name: np.frombuffer(base64.b64decode(text), "<f4").reshape(shape).astype(float)
        for name, (shape, text) in packed.items()
    }


def test_the_coordinates_are_orthonormal_and_hold_every_row(originals):
    for o in originals.values():
        B, eye = o.basis, torch.eye(len(o.basis)).double()
        torch.testing.assert_close(B @ B.T, eye)
        for rows in (o.W, o.extras, o.shifts):
            torch.testing.assert_close(rows @ B.T @ B, rows)


@pytest.mark.claim("B1")
def test_eleven_of_1280_channels_give_the_same_maps(originals):
    o = originals["photo"]
    A = torch.einsum("dk,kij->dij", o.basis, o.A[0])
    assert A.shape == (11, 7, 14)
    few = torch.einsum("cd,dij->cij", o.W @ o.basis.T, A)
    torch.testing.assert_close(few, torch.einsum("ck,kij->cij", o.W, o.A[0]))


def test_a_shift_along_a_class_moves_its_map_only(originals):
    for o in originals.values():
        moved = o.W @ o.shifts[1:].T
        torch.testing.assert_close(moved, moved.diag().diag(), rtol=1e-8, atol=1e-8)


def test_explain_is_grad_cam_on_the_networks_themselves(originals):
    lite, net = imagenet.efficientnet_lite0().double(), nets.scene_net(dtype=torch.float64)
    photo, _ = pictures.collage("chelsea", "coffee")
    x = imagenet.imagenet_input(photo)[None].double()
    page = scenes.scene((2, 7), dtype=torch.float64).x
    for name, model, image, classes in (
        ("photo", lite, x, [imagenet.imagenet_class(c) for c in explorer.THINGS]),
        ("digits", net, page, list(range(10))),
    ):
        with torch.no_grad():
            p = model(image)[0, classes].softmax(0)
        for c in (1, 4):
            ours = originals[name].explain({"example": name, "class": c})
            torch.testing.assert_close(ours["p"], p)
            M = grad_cam(model, image, classes[c], layer="features", relu=False)[0]
            torch.testing.assert_close(ours["M"], M)
            torch.testing.assert_close(ours["L"], M.relu())


@pytest.mark.claim("P1", "G5")
@pytest.mark.parametrize("name", ["photo", "digits", "threes"])
def test_the_local_score_is_moved_by_places_alone(originals, name):
    o = originals[name]
    read = {"example": name, "class": 4, "reference": "local", "target": "centred"}
    L = o.explain(read)["M"]
    y = o.network(read)(o.A)[0].detach()
    torch.testing.assert_close(L.sum(), y[4] - y.mean())
    written = {"shift": -1.1, "turn": True, "flip": 3, "mix": 0.5, "soft": -0.6}
    torch.testing.assert_close(o.explain(read | written)["M"], L)
    moved = o.explain(read | written | {"places": 2})
    torch.testing.assert_close(moved["M"], L.roll(2, 1))
    torch.testing.assert_close(moved["p"], o.explain({"example": name})["p"])


@pytest.mark.claim("B3")
@pytest.mark.parametrize("name", explorer.PRESETS)
def test_no_step_of_the_story_moves_a_probability(originals, name):
    state = explorer.PRESETS[name][2]
    o = originals[state.get("example", "photo")]
    assert (o.explain(state)["p"] - o.explain({})["p"]).abs().max() < 1e-9


@pytest.mark.claim("F4")
def test_on_for_off_is_the_turn_of_relu6_in_the_network_itself(originals):
    o, c = originals["photo"], 4
    turned = o.network({"turn": True}).get_submodule("recode")(o.A)
    on = (o.W[c] > 0)[:, None, None]
    torch.testing.assert_close(turned, torch.where(on, 6 - o.A, o.A))
    assert 0 <= turned.min() <= turned.max() <= 6  # a ReLU6 lets it pass
    for c in (0, 4):
        trained, moved = (o.explain({"class": c, "turn": turn})["M"] for turn in (False, True))
        drop = 6 * o.W[c].clamp(min=0).sum() / trained.numel()
        torch.testing.assert_close(trained - moved, drop.expand_as(moved))
    assert not originals["digits"].turns.any()  # a plain ReLU has no top


def test_each_step_shows_what_it_says(originals):
    def seen(name):
        state = explorer.PRESETS[name][2]
        return originals[state.get("example", "photo")].explain(state)

    o, start = originals["photo"], seen("trained")["M"]
    assert start.argmax() % 14 >= 7  # the cup is on the right
    assert not seen("shift")["L"].any()
    assert not seen("turn")["L"].any()
    torch.testing.assert_close(seen("mix")["M"], start)
    for c in range(8):
        assert o.explain({"class": c, "soft": -1.0})["M"].max() < 0
        assert o.explain({"class": c, "soft": 1.0})["M"].min() > 0
    digits = originals["digits"]
    wide = seen("relu")["L"] > 0.15
    one = metrics.above(digits.explain({"class": 7, "relu": False})["M"][None])[0]
    assert wide.sum() > 3 * one.sum()
    fixed = {"reference": "local", "target": "centred"}
    torch.testing.assert_close(seen("reference")["M"], o.explain(fixed)["M"])


def test_the_stored_data_are_what_the_networks_give(originals):
    stored, built = explorer.data(), json.loads(json.dumps(explorer.build(originals)))
    assert {k: stored[k] for k in ("start", "presets")} == {
        k: built[k] for k in ("start", "presets")
    }
    assert stored["colours"] == built["colours"]
    assert stored["examples"].keys() == built["examples"].keys()
    for name, example in stored["examples"].items():
        again = arrays(built["examples"][name])
        for key, a in arrays(example).items():
            np.testing.assert_allclose(a, again[key], rtol=1e-5, atol=1e-6 * np.abs(a).max())
        assert example["classes"] == built["examples"][name]["classes"]
        assert example["picture"].startswith("data:image/")


def test_a_notebook_shows_one_small_piece_that_asks_nobody():
    page = explorer.show("shift")
    assert page == explorer.show("shift") == page._repr_html_()
    assert repr(page) == "<explorer>"
    assert len(page.encode()) < 160_000  # a notebook that shows it holds it, too
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("</script>") == 1
    assert "export " not in page
    assert "import " not in page
    for n, (title, asks, state) in enumerate(explorer.PRESETS.values()):
        picture = explorer.data()["examples"][state.get("example", "photo")]["title"]
        step = f"{n} {title}" if n else title  # numbered as explorer.js numbers its buttons
        assert f"<th scope='row'>{step}</th><td>{asks}</td><td>{picture}</td>" in page
    assert explorer.show("start") == explorer.show() == page


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset: got 'up', wanted one of trained, shift"):
        explorer.show("up")


def test_the_live_slider_runs_a_rewritten_copy():
    net, x = nets.scene_net(), scenes.scene((2, 7)).x
    box = explorer.live(net, x, 2, layer="features")
    slider, picture, says = box.children
    before = picture.value, says.value
    slider.value = -1.1
    assert before[1] == says.value
    assert says.value.startswith("class 2, probability 0.9")
    assert picture.value != before[0]


def test_a_state_to_open_in_is_escaped():
    page = explorer.show("shift", "example=digits&shift=-0.5")
    assert "data-at='example=digits&amp;shift=-0.5'" in page


def stored_pages() -> list[tuple[str, str]]:
    """(a call of explorer.show, its output) in the notebooks, as they are stored."""
    found = []
    for path in sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            pages = [
                "".join(o.get("data", {}).get("text/html", "")) for o in cell.get("outputs", [])
            ]
            calls = re.findall(r"explorer\.show\([^)]*\)", "".join(cell["source"]))
            found += zip(calls, [p for p in pages if "class='zero-explorer'" in p], strict=True)
    return found


def test_the_chapters_store_the_explorable_of_today():
    """nbval compares no HTML, so a changed script could leave an old one in a chapter."""
    pages = stored_pages()
    assert len(pages) == 5
    for call, page in pages:
        assert page == eval(call, {"explorer": explorer}), call
