"""The live cells: the slider calls the chapter's function, and its twin needs nobody."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from PIL import Image

from zerocam.lab.sliders import live

DRAW = """
import matplotlib.pyplot as plt
from zerocam.lab.sliders import live

asked = []

def draw(t):
    asked.append(t)
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, t])
    return fig
"""


def made(twin=(0, 2)):
    names = {}
    exec(DRAW, names)
    return names["live"](names["draw"], [0, 1, 2], name="shift", twin=twin), names["asked"]


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_moving_the_slider_draws_the_number_that_it_shows():
    slider, asked = made()
    moved, picture = slider.box().children
    before = picture.value
    moved.value = 1
    assert asked == [0, 1]
    assert picture.value == slider.show(1) != before
    assert plt.get_fignums() == []


def test_the_twin_is_the_figures_at_its_stops_below_each_other():
    slider, asked = made()
    data, says = slider._repr_mimebundle_()
    twin = pixels(data["image/png"])
    assert twin.shape[:2] == tuple(2 * says["image/png"][side] for side in ("height", "width"))
    with Image.open(io.BytesIO(data["image/png"])) as image:
        assert image.info["dpi"][0] == pytest.approx(2 * plt.rcParams["figure.dpi"], abs=0.1)
    assert asked == [0, 2]
    first, last = (pixels(slider.show(t)) for t in (0, 2))
    assert twin.shape[0] == first.shape[0] + last.shape[0]
    assert (twin[: first.shape[0], : first.shape[1]] == first).all()
    assert (twin[first.shape[0] :, : last.shape[1]] == last).all()


@pytest.mark.parametrize(
    ("value", "said"), [(-0.5, "x: −0.5"), (2, "x: 2"), ("minus-one-hot", "x: minus-one-hot")]
)
def test_a_number_is_written_with_a_minus_and_a_word_as_it_is(value, said):
    figures = []
    live(
        lambda _: figures.append(plt.figure()) or figures[-1], [value], name="x", twin=[value]
    ).show(value)
    assert figures[0].get_suptitle() == said


def test_a_page_that_moves_by_itself_is_shown_in_place_of_the_twin_which_is_drawn_all_the_same():
    names = {}
    exec(DRAW, names)
    at = {"name": "shift", "twin": (0,), "page": "<b>moves</b>"}
    shown, _ = names["live"](names["draw"], [0, 1], **at)._repr_mimebundle_()
    assert shown == {"text/html": "<b>moves</b>", "text/plain": "<a slider: shift, from 0 to 1>"}
    assert names["asked"] == [0]


@pytest.mark.parametrize("twin", [(), (3,)])
def test_a_twin_has_stops_of_the_slider(twin):
    with pytest.raises(ValueError, match=r"twin: got .*, wanted one or more of \[0, 1, 2\]"):
        made(twin)


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def output(client, code, **metadata):
    """What a cell leaves, sent as an editor sends it, with metadata, or as a program does."""
    asked = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = client.session.msg("execute_request", asked, metadata=metadata)
    client.shell_channel.send(message)
    found = {}
    while True:
        got = client.get_iopub_msg(timeout=60)
        kind, content = got["msg_type"], got["content"]
        assert kind != "error", "\n".join(content["traceback"])
        if kind == "execute_result":
            found = content["data"]
        mine = got["parent_header"].get("msg_id") == message["header"]["msg_id"]
        if mine and kind == "status" and content["execution_state"] == "idle":
            return found


WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.mark.slow
@pytest.mark.xdist_group("kernels")
def test_in_a_kernel_an_editor_gets_the_slider_and_a_program_the_picture(kernel):
    code = DRAW + "\nlive(draw, [0, 1, 2], name='shift', twin=(0, 2))"
    by_program, in_editor = output(kernel, code), output(kernel, code, cellId="one")
    assert set(by_program) == {"image/png", "text/plain"}
    assert by_program["text/plain"] == "<a slider: shift, from 0 to 2>"
    assert WIDGET in in_editor
    assert "image/png" not in in_editor
