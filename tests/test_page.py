"""The page for one's own photograph: what it draws, what it keeps, whom it answers."""

import base64
import functools
import http.client
import io
import json
import socket
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from zerocam import cli, page
from zerocam.cli import CHOICES, load_model, main, reply
from zerocam.lab.pictures import photograph

KIND = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def cup() -> bytes:
    pixels = (photograph("coffee", 96) * 255).byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def port():
    network = load_model("efficientnet_lite0")
    with page.server(functools.partial(reply, network), network.name, 0, CHOICES) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_form_offers_what_the_command_takes(port):
    status, text = ask(port, "GET", "/")
    assert status == 200
    for choice in (*CHOICES["target"], *CHOICES["reference"]):
        assert f"<option>{choice}</option>" in text
    assert ".catch(" in text  # it says so when no answer comes
    assert "http://" not in text
    assert "https://" not in text  # it asks no other machine for anything


@pytest.mark.slow
def test_a_photograph_becomes_a_picture_with_its_numbers_and_nothing_is_kept(
    port, cup, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = "/?class=espresso&target=centred&reference=spatial_mean"
    status, text = ask(port, "POST", path, cup, **KIND)
    assert status == 200
    answer = json.loads(text)
    assert "class 967 (espresso), score " in answer["text"]
    assert "white is zero, red is for, blue against" in answer["text"]
    assert "target centred, zero: spatial_mean" in answer["text"]
    assert str(tmp_path) not in answer["text"]
    assert list(tmp_path.iterdir()) == []
    with Image.open(io.BytesIO(base64.b64decode(answer["picture"]))) as drawn:
        record = json.loads(drawn.text["zerocam"])
    assert record["arguments"]["photo"] == "photo"
    (tmp_path / "cup.png").write_bytes(cup)
    out = tmp_path / "m.json"
    words = ["--class", "espresso", "--target", "centred", "--reference", "spatial_mean"]
    assert main(["map", str(tmp_path / "cup.png"), *words, "--out", str(out)]) == 0
    by_command = torch.tensor(json.loads(out.read_text())["map"])
    assert torch.equal(torch.tensor(record["map"]), by_command)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        ("/", b"no picture", {}, 422, "photo: got 'photo', which cannot be read"),
        ("/?class=espreso", None, {}, 422, "nearest: espresso"),
        ("/?target=odds", None, {}, 400, "wanted what the form offers"),
        ("/?class=--out", None, {}, 422, "got '--out', wanted one of the 1,000"),
        ("/", b"", {}, 400, "got none, wanted the bytes"),
        ("/", None, {"content-type": "text/plain"}, 400, "got none, wanted the bytes"),
        ("/", b"x", {"content-length": str(page.LIMIT + 1)}, 413, "wanted at most"),
        ("/", None, {"host": "example.org"}, 403, "its own machine only"),
        ("/", None, {"origin": "http://example.org"}, 403, "its own machine only"),
    ],
)  # fmt: skip
def test_what_it_refuses(port, cup, capsys, path, body, headers, status, message):
    got, text = ask(port, "POST", path, cup if body is None else body, **KIND | headers)
    assert got == status
    assert message in json.loads(text)["error"]


def test_a_connection_that_says_nothing_keeps_nobody_waiting(port):
    """Browsers open one in advance."""
    with socket.create_connection(("127.0.0.1", port)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_only_one_address_is_served(port):
    assert ask(port, "GET", "/etc/passwd")[0] == 404
    with page.server(lambda *_: {}, "m", 0, CHOICES) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_the_command_refuses_a_model_it_cannot_make(capsys):
    assert main(["page", "--model", "nosuch:thing"]) == 1
    assert "no module named 'nosuch'" in capsys.readouterr().err


def test_a_port_that_is_used_is_refused_with_the_next(port, capsys):
    assert main(["page", "--model", "test_page:broken", "--port", str(port)]) == 1
    said = f"port: got {port}, which cannot be had (Address already in use), wanted a free one"
    assert f"{said}; --port {port + 1}\n" in capsys.readouterr().err


def broken() -> nn.Module:
    """A model whose forward raises what is not a ValueError."""

    class Broken(nn.Sequential):
        def forward(self, x):
            return super().forward(x)["logits"][None]["odd"]

    return Broken(nn.Conv2d(3, 4, 5, 4), nn.ReLU())


def test_whatever_the_model_raises_the_page_answers(cup, capsys):
    network = load_model("test_page:broken")
    with page.server(functools.partial(reply, network), network.name, 0, CHOICES) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        status, text = ask(server.server_port, "POST", "/", cup, **KIND)
        server.shutdown()
        thread.join()
    assert status == 422
    assert "model: got " in json.loads(text)["error"]
    assert "(test_page.py line" in json.loads(text)["error"]


def test_the_page_loads_the_model_once_and_with_random_weights_when_told_to(
    cup, monkeypatch, capsys
):
    loaded, answers = [], []

    def load(name, weights, *more):
        loaded.append((name, weights))
        return load_model(name, weights, *more)

    def twice(reply, *_):
        answers.extend(reply(cup, {"class": "3"}) for _ in range(2))
        raise ValueError("enough")

    monkeypatch.setattr(cli, "load_model", load)
    monkeypatch.setattr(cli, "server", twice)
    words = ["--model", "torchvision:resnet18", "--weights", "none"]
    assert main(["page", *words]) == 1
    assert loaded == [("torchvision:resnet18", "none")]
    assert answers[0] == answers[1]
    assert "class 3, score " in answers[0]["text"]  # random weights know no shark
    assert "weights: random" in answers[0]["text"]
    assert "enough" in capsys.readouterr().err


def test_no_place_on_the_machine_is_told(port, capsys):
    _, text = ask(port, "POST", "/", b"no picture", **KIND)
    assert str(Path(tempfile.gettempdir())) not in text
