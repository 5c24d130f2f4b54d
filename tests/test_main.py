"""The command line: what it prints and writes, its exit codes, its refusals."""

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import zerocam
from zerocam.__main__ import main, torchvision_input
from zerocam.photos import photograph, read_photo
from zerocam.symmetries import KINDS


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    pixels = (photograph("coffee", 96) * 255).byte().permute(1, 2, 0).numpy()
    path = tmp_path_factory.mktemp("photos") / "coffee.png"
    Image.fromarray(pixels).save(path)
    return str(path)


def tiny() -> nn.Module:
    """A model of the reader's own."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), head)


def placeless() -> nn.Module:
    """A model that keeps no positions."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2))


def yes_or_no() -> tuple[nn.Module, Callable]:
    """A model of one score that looks at grey images, and what prepares them."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    model = nn.Sequential(nn.Conv2d(1, 4, 5, 4), nn.ReLU(), head)
    return model, lambda photo: photo.mean(0)[None, None]


def never() -> nn.Module:
    """A model whose map for class 0 has no positive value."""
    model = tiny()
    with torch.no_grad():
        model[2][2].weight[0] = -1
    return model


def narrow() -> nn.Module:
    """A model that does not fit an image of 224 pixels."""
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.Flatten(), nn.Linear(4, 3))


def test_a_map_is_drawn_and_its_numbers_printed(photo, tmp_path, capsys):
    out = tmp_path / "cup.png"
    assert main(["map", photo, "--class", "espresso", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "class 967 (espresso), probability 0." in printed
    assert "signed map (7, 7) at 'features'\ntarget logit, zero: zero" in printed
    with Image.open(out) as drawn:
        assert drawn.width > 2 * drawn.height > 200


def test_numbers_are_those_of_grad_cam(photo, tmp_path):
    out = tmp_path / "m.csv"
    args = ["map", photo, "--model", "test_main:tiny", "--layer", "1", "--size", "48"]
    assert main([*args, "--class", "2", "--out", str(out)]) == 0
    x = torchvision_input(read_photo(photo, 48))
    M = zerocam.grad_cam(tiny().eval(), x, 2, layer="1", relu=False)[0]
    torch.testing.assert_close(torch.tensor(pd.read_csv(out, index_col=0).to_numpy()).float(), M)


def test_the_reference_and_the_target_are_used(photo, tmp_path, capsys):
    out = str(tmp_path / "m.png")
    args = ["map", photo, "--out", out, "--reference", "spatial_mean", "--target", "centred"]
    assert main(args) == 0
    printed = capsys.readouterr().out
    assert "target centred, zero: spatial_mean" in printed
    total = float(printed.split("sum ")[1].split(",")[0])
    assert abs(total) < 1e-4


def test_a_model_of_ones_own_can_be_audited(photo, tmp_path, capsys):
    args = ["audit", photo, "--model", "test_main:tiny", "--layer", "1", "--size", "48"]
    for name in ("a.png", "a.csv"):
        assert main([*args, "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 1000
    printed, progress = capsys.readouterr()
    assert "symmetries: 100%" in progress
    assert "Grad-CAM" in printed
    assert "const 0." in printed
    assert "backbone run once" in printed


def test_torchvision_with_random_weights_only_if_asked(photo, tmp_path, capsys, monkeypatch):
    args = ["map", photo, "--model", "torchvision:resnet18", "--size", "64"]
    random = [*args, "--weights", "none", "--out", str(tmp_path / "m.csv")]
    assert main([*random, "--layer", "layer5"]) == 1
    assert "nearest: layer" in capsys.readouterr().err
    printed = [(main(random), capsys.readouterr().out) for _ in range(2)]
    assert printed[0] == printed[1]
    assert printed[0][0] == 0
    assert "at 'layer4'" in printed[0][1]

    def offline(name, weights):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.get_model", offline)
    assert main(args) == 1
    assert "got none for resnet18" in (error := capsys.readouterr().err)
    assert "--weights none for random weights" in error


def test_a_layer_is_suggested_with_its_reason(photo, tmp_path, capsys):
    args = [photo, "--model", "test_main:tiny", "--size", "48", "--out", str(tmp_path / "m.csv")]
    for command in ("map", "audit"):
        assert main([command, *args]) == 0
        assert "layer '1': the last layer with positions" in capsys.readouterr().out


def test_a_model_may_bring_its_own_preparation_and_one_score(photo, tmp_path, capsys):
    out = tmp_path / "m.npy"
    args = ["map", photo, "--model", "test_main:yes_or_no", "--size", "40", "--out", str(out)]
    assert main(args) == 0
    model, prepare = yes_or_no()
    M = zerocam.grad_cam(model, prepare(read_photo(photo, 40)), 0, layer="1", relu=False)[0]
    assert torch.equal(torch.from_numpy(np.load(out)), M)
    assert "class 0, score " in capsys.readouterr().out
    assert main([*args, "--target", "negative"]) == 0
    assert torch.equal(torch.from_numpy(np.load(out)), -M)


def test_a_blank_map_comes_with_advice(photo, tmp_path, capsys):
    args = ["--model", "test_main:never", "--class", "0", "--out", str(tmp_path / "m.csv")]
    assert main(["map", photo, *args]) == 0
    printed = capsys.readouterr().out
    assert "all negative. nothing speaks for it" in printed
    assert "--reference spatial_mean" in printed


def test_the_record_is_enough_to_make_the_figure_again(photo, tmp_path, capsys):
    names = [str(tmp_path / name) for name in ("m.json", "m.npz", "m.npy", "m.csv", "m.png")]
    options = ["--target", "centred", "--reference", "spatial_mean", "--class", "espresso"]
    assert main(["map", photo, *options, *(w for name in names for w in ("--out", name))]) == 0
    record = json.loads(Path(names[0]).read_text())
    M = torch.tensor(record["map"])
    arrays = np.load(names[1])
    assert torch.equal(torch.from_numpy(arrays["map"]), M)
    assert torch.equal(torch.from_numpy(np.load(names[2])), M)
    assert torch.equal(torch.from_numpy(arrays["photo"]), read_photo(photo))
    with Image.open(names[4]) as drawn:
        assert json.loads(drawn.text["zerocam"]) == json.loads(str(arrays["record"])) == record
    assert record["symmetries"] == dict.fromkeys(KINDS, "unchanged") | {"seed": 0}
    assert (record["class"], record["class_name"]) == (967, "espresso")
    assert record["versions"]["torch"] == version("torch")
    assert record["photo_sha256"] == sha256(Path(photo).read_bytes()).hexdigest()
    assert photo not in Path(names[0]).read_text()  # the file's name, not where it lay
    told = record["arguments"]
    again = str(tmp_path / "again.npy")
    words = [w for k in ("model", "weights", "target", "reference") for w in (f"--{k}", told[k])]
    words += ["--layer", record["layer"], "--size", str(told["size"]), "--class", str(told["c"])]
    assert main(["map", photo, *words, "--out", again]) == 0
    assert torch.equal(torch.from_numpy(np.load(again)), M)


def test_the_record_tells_which_symmetries_move_the_map(photo, tmp_path):
    out = tmp_path / "m.json"
    assert main(["map", photo, "--model", "test_main:tiny", "--out", str(out)]) == 0
    verdicts = json.loads(out.read_text())["symmetries"]
    assert verdicts["mixing"] == "unchanged"
    assert verdicts["shift"].startswith("one constant")
    assert verdicts["softmax shift"].startswith("changes")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["map", "nowhere.jpg"], "photo: got 'nowhere.jpg', which cannot be read"),
        (["map", __file__], "which cannot be read"),
        (["map", "PHOTO", "--class", "espreso"], "nearest: espresso"),
        (["map", "PHOTO", "--class", "1000"], "wanted 0 to 999"),
        (["map", "PHOTO", "--layer", "feature"], "nearest: features"),
        (
            ["map", "PHOTO", "--model", "resnet18"],
            "wanted efficientnet_lite0 (default), torchvision:NAME",
        ),
        (["map", "PHOTO", "--model", "torchvision:resnet19"], "wanted a classifier of torchvision"),
        (["map", "PHOTO", "--model", "nosuch:thing"], "which cannot be imported"),
        (["map", "PHOTO", "--model", "test_main:photograph"], "got 'test_main:photograph'"),
        (["audit", "PHOTO", "--model", "test_main:placeless"], "layer: got none to suggest"),
        (["map", "PHOTO", "--out", "map.jpg"], "wanted a name that ends in .png, .csv, .npy"),
        (["audit", "PHOTO", "--out", "a.json"], "wanted a name that ends in .png, .csv"),
        (
            ["map", "PHOTO", "--model", "test_main:yes_or_no", "--target", "centred"],
            "target: got one score per image, wanted two or more",
        ),
        (["map", "PHOTO", "--out", "nowhere/map.png"], "nowhere"),
        (["map", "PHOTO", "--model", "test_main:narrow", "--layer", "0"], "shapes cannot be mult"),
    ],
)
def test_refusals_are_one_line_and_exit_1(photo, capsys, args, message):
    assert main([photo if a == "PHOTO" else a for a in args]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("zerocam: ")
    assert error.count("\n") == 1


def test_wrong_usage_exits_2(capsys):
    for args in ([], ["draw"], ["map"], ["map", "x.png", "--target", "odds"]):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        main(["audit", "--help"])
    assert stop.value.code == 0
    assert "without moving a prediction" in capsys.readouterr().out


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "zerocam", "map"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "the following arguments are required: photo" in done.stderr
