"""The command line: what it prints and writes, its exit codes, its refusals."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import EntryPoint, version
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import zerocam
from zerocam import plots
from zerocam.cli import main, torchvision_input
from zerocam.lab.pictures import photograph
from zerocam.photos import read_photo
from zerocam.symmetries import KINDS

PLACE = " (test_main.py line N, in "


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


def half() -> nn.Module:
    """A model whose weights are bfloat16, which NumPy does not have."""
    return tiny().bfloat16()


def with_softmax() -> nn.Module:
    """A model that returns probabilities."""
    return nn.Sequential(tiny(), nn.Softmax(1))


def mean_pixel() -> tuple[nn.Module, Callable]:
    """A prepare that returns an array, with numbers in double precision."""
    return tiny(), lambda photo: photo.double().numpy()[None] - 0.5


class Fails(nn.Module):
    """Raises what it was given, once its layers have run."""

    def __init__(self, error: Exception):
        super().__init__()
        self.net, self.error = tiny(), error

    def forward(self, x):
        self.net(x)
        raise self.error


class Answers(Fails):
    """Returns a dict."""

    def forward(self, x):
        return {"logits": self.net(x)}


def needy(path: str) -> nn.Module:
    """A maker that wants to be told more."""


made = tiny()
no_key = lambda: Fails(KeyError("logits"))  # noqa: E731
no_value = lambda: Fails(ValueError("target: my own complaint"))  # noqa: E731
no_prepare = lambda: (tiny(), None)  # noqa: E731
no_model = lambda: {}["resnet"]  # noqa: E731
a_dict = lambda: Answers(None)  # noqa: E731


def silent() -> nn.Module:
    """A model none of whose units ever fires."""
    model = tiny()
    with torch.no_grad():
        model[0].bias.fill_(-50)
    return model


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
    assert re.search(r"class 967 \(espresso\), score \d+\.\d+, softmax 0\.\d{3}\n", printed)
    assert "signed map (7, 7) at 'features'\ntarget logit, zero: zero" in printed
    with Image.open(out) as drawn:
        assert drawn.width > 2 * drawn.height > 200
    assert not zerocam.plots.plt.get_fignums()  # a form that is asked often would keep them all


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


def test_the_figure_says_what_is_explained_and_from_where_it_counts(photo, tmp_path, monkeypatch):
    names, row = [], plots.row
    monkeypatch.setattr(plots, "row", lambda image, maps: names.extend(maps) or row(image, maps))
    args = ["map", photo, "--model", "test_main:tiny", "--class", "2", "--target", "centred"]
    out = str(tmp_path / "m.png")
    assert main([*args, "--reference", "spatial_mean", "--size", "48", "--out", out]) == 0
    assert names == ["class 2, centred\nzero: spatial_mean"]


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
    printed = capsys.readouterr().out
    assert "class 0, score " in printed
    assert "the only one" in printed
    assert "softmax" not in printed
    assert "ImageNet" not in printed  # its input is prepared by its own
    assert main([*args, "--target", "negative"]) == 0
    assert torch.equal(torch.from_numpy(np.load(out)), -M)


def test_a_blank_map_comes_with_advice(photo, tmp_path, capsys):
    args = ["--model", "test_main:never", "--class", "0", "--out", str(tmp_path / "m.csv")]
    assert main(["map", photo, *args]) == 0
    printed = capsys.readouterr().out
    assert "all negative. nothing speaks for it" in printed
    assert "--reference spatial_mean" in printed
    assert "--target" not in printed  # none is sure to help
    args = ["--model", "test_main:silent", "--out", str(tmp_path / "m.csv")]
    assert main(["map", photo, *args]) == 0
    assert "silent layer. no unit fired; scale x as in training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "blank"), [("zero", "all negative"), ("spatial_mean", "not blank")]
)
def test_the_record_says_of_its_own_map_whether_it_is_blank(photo, tmp_path, reference, blank):
    out = tmp_path / "m.json"
    args = ["--model", "test_main:never", "--class", "0", "--reference", reference]
    assert main(["map", photo, *args, "--size", "48", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["blank"] == blank
    assert (max(max(row) for row in record["map"]) > 0) == (blank == "not blank")


def test_a_model_in_half_precision_and_an_array_are_taken(photo, tmp_path, capsys):
    args = ["map", photo, "--layer", "1", "--size", "48", "--class", "2"]
    out = {name: str(tmp_path / f"{name}.npy") for name in ("tiny", "half", "mean_pixel", "made")}
    for name, file in out.items():
        png = str(tmp_path / "m.png")
        assert main([*args, "--model", f"test_main:{name}", "--out", png, "--out", file]) == 0
    M = {name: torch.from_numpy(np.load(file)) for name, file in out.items()}
    assert {m.dtype for m in M.values()} == {torch.float32}
    assert torch.equal(M["made"], M["tiny"])  # a model is as good as a function that makes it
    assert 0 < (M["half"] - M["tiny"]).abs().max() < 0.03 * M["tiny"].abs().max()
    assert "input: ImageNet's mean and deviation" in capsys.readouterr().out


def test_probabilities_are_not_taken_for_scores(photo, tmp_path, capsys):
    args = ["map", photo, "--size", "48", "--out", str(tmp_path / "m.csv"), "--model"]
    assert main([*args, "test_main:with_softmax"]) == 0
    printed = capsys.readouterr().out
    assert "a probability already" in printed
    assert "softmax" not in printed
    assert main([*args, "test_main:tiny"]) == 0
    assert "a probability already" not in capsys.readouterr().out


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
        (["map", "nowhere.jpg"], "photo: got 'nowhere.jpg', which cannot be read (No such"),
        (["map", __file__], "which cannot be read"),
        (["map", "PHOTO", "--class", "espreso"], "nearest: espresso"),
        (["map", "PHOTO", "--class", "1000"], "wanted 0 to 999"),
        (["map", "PHOTO", "--class", "-1"], "wanted 0 to 999"),
        (["map", "PHOTO", "--class", ""], "class: got '', wanted"),
        (["map", "PHOTO", "--class", "\u00b2"], "class: got '\u00b2', wanted"),
        (["map", "PHOTO", "--layer", ""], "layer '': got output"),
        (["audit", "PHOTO", "--model", "test_main:tiny", "--class", "3"], "got class 3, wanted 0"),
        (["map", "PHOTO", "--layer", "feature"], "nearest: features"),
        (
            ["map", "PHOTO", "--model", "resnet18"],
            "wanted efficientnet_lite0 (default), torchvision:NAME",
        ),
        (["map", "PHOTO", "--model", "torchvision:resnet19"], "of torchvision, e.g. resnet18"),
        (["map", "PHOTO", "--model", "torchvision:convnext"], "of torchvision, e.g. convnext_tiny"),
        (["map", "PHOTO", "--model", "torchvision:"], "of torchvision, e.g. resnet18"),
        (["map", "PHOTO", "--model", "nosuch:thing"], "No module named 'nosuch'; see --help"),
        (["map", "PHOTO", "--model", "test_main.py:tiny"], "'test_main' is not a package"),
        (["map", "PHOTO", "--model", "test_main:nothing"], "no attribute 'nothing'"),
        (["map", "PHOTO", "--model", "test_main:needy"], "TypeError, needy() missing 1 required"),
        (
            ["map", "PHOTO", "--model", "collections:OrderedDict"],
            "got a OrderedDict from collection",
        ),
        (["map", "PHOTO", "--model", "test_main:no_prepare"], "model: got Type"),
        (["map", "PHOTO", "--model", "test_main:no_model"], f"KeyError, 'resnet'{PLACE}<lambda>)"),
        (
            ["map", "PHOTO", "--model", "test_main:no_key"],
            f"KeyError, 'logits'{PLACE}forward); see",
        ),
        (
            ["audit", "PHOTO", "--model", "test_main:no_value"],
            f"model: got ValueError, target: my own complaint{PLACE}forward)",
        ),
        (["map", "PHOTO", "--model", "test_main:a_dict"], "model: got dict as its output"),
        (["map", "PHOTO", "--model", "test_main:a_dict", "--layer", "net.1"], 'y["logits"]'),
        (["audit", "PHOTO", "--model", "test_main:placeless"], "layer: got none to suggest"),
        (["map", "PHOTO", "--out", "map.jpg"], "wanted a name that ends in .png, .csv, .npy"),
        (["audit", "PHOTO", "--out", "a.json"], "wanted a name that ends in .png, .csv"),
        (
            ["map", "PHOTO", "--model", "test_main:yes_or_no", "--target", "centred"],
            "target: got one score per image, wanted two or more",
        ),
        (["map", "PHOTO", "--out", "nowhere/map.png"], "in a folder that exists"),
        (["map", "PHOTO", "--model", "test_main:narrow", "--layer", "0"], "shapes cannot be mult"),
    ],
)
def test_refusals_are_one_line_and_exit_1(photo, capsys, args, message):
    assert main([photo if a == "PHOTO" else a for a in args]) == 1
    error = capsys.readouterr().err
    assert message in re.sub(r"\(test_main\.py line \d+, ", "(test_main.py line N, ", error)
    assert error.startswith("zerocam: ")
    assert error.count("\n") == 1


def test_wrong_usage_exits_2(capsys):
    wrong = (["--target", "odds"], ["--size", "0"], ["--size", "-5"], ["--size", "big"])
    for args in (
        [],
        ["draw"],
        ["map"],
        ["page", "--port", "99999"],
        *(["map", "x", *w] for w in wrong),
    ):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        main(["audit", "--help"])
    assert stop.value.code == 0
    assert "without moving a prediction" in capsys.readouterr().out


def test_the_command_is_this_one():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert EntryPoint("zerocam", project["scripts"]["zerocam"], "console_scripts").load() is main


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "zerocam", "map"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "the following arguments are required: photo" in done.stderr
