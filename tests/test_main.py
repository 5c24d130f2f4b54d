"""The command line: what it prints and writes, its exit codes, its refusals."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from email.message import Message
from hashlib import sha256
from importlib.metadata import EntryPoint, version
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import zerocam
from zerocam import cases, cli, folders, hooks, imagenet, metrics, plots, targets
from zerocam.cli import load_model, main, torchvision_input
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


def with_sigmoids() -> nn.Module:
    """A model that returns a probability for each of several labels."""
    return nn.Sequential(tiny(), nn.Sigmoid())


def mean_pixel() -> tuple[nn.Module, Callable]:
    """A prepare that returns an array, with numbers in double precision."""
    return tiny(), lambda photo: photo.double().numpy()[None] - 0.5


def named() -> tuple[nn.Module, Callable, list[str]]:
    """A model that brings the names of its classes, two of which are alike."""
    return tiny(), torchvision_input, ["cup", "tea", "cup"]


def misnamed() -> tuple[nn.Module, Callable, list[str]]:
    """A model with a name too few."""
    return tiny(), torchvision_input, ["cup", "tea"]


class Configured(nn.Module):
    """A backbone whose config names classes; the keys are words, as in a JSON file."""

    def __init__(self, *names: str):
        super().__init__()
        self.net = tiny()
        self.net.config = SimpleNamespace(id2label={str(i): n for i, n in enumerate(names)})

    def forward(self, x):
        return self.net(x)


configured = Configured("cup", "tea", "milk")
of_another_head = Configured("tench", "goldfish")


class Twice(nn.Module):
    """Compares an image with its mirror image: every layer runs twice."""

    def __init__(self):
        super().__init__()
        self.net = tiny()

    def forward(self, x):
        return self.net(x) - self.net(x.flip(3))


twice = Twice()


def squashed() -> nn.Module:
    """A model of several labels, each with a sigmoid of its own."""
    return nn.Sequential(tiny(), nn.Sigmoid())


def logarithms() -> nn.Module:
    """A model that returns log-probabilities."""
    return nn.Sequential(tiny(), nn.LogSoftmax(1))


def right_half() -> tuple[nn.Module, Callable]:
    """A prepare that cuts."""
    return tiny(), lambda photo: photo[None, :, :, photo.shape[2] // 2 :]


def own_mean() -> tuple[nn.Module, Callable]:
    """A prepare in which every pixel depends on all others."""
    return tiny(), lambda photo: ((photo - photo.mean()) / photo.std())[None]


def untaught(pretrained: bool = False, **more) -> nn.Module:
    """As a library's own function: trained only if asked."""
    return tiny()


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
        return {"out": self.net(x)}


def needy(path: str) -> nn.Module:
    """A maker that wants to be told more."""


made = tiny()
no_key = lambda: Fails(KeyError("logits"))  # noqa: E731
no_value = lambda: Fails(ValueError("target: my own complaint"))  # noqa: E731
no_bytes = lambda: (tiny(), lambda photo: (255 * photo[None]).byte())  # noqa: E731
two_views = lambda: (tiny(), lambda photo: torch.stack([photo, photo.flip(2)]))  # noqa: E731


no_prepare = lambda: (tiny(), None)  # noqa: E731
no_model = lambda: {}["resnet"]  # noqa: E731
a_dict = lambda: Answers(None)  # noqa: E731


def no_array() -> tuple[nn.Module, Callable]:
    """A prepare that is a library's own function, and fails."""
    return tiny(), json.dumps


def written_over() -> nn.Module:
    """A model of torch's own parts that loses what its gradient needs."""
    return nn.Sequential(tiny(), nn.Sigmoid(), nn.Hardtanh(inplace=True))


class Dazzled(nn.Module):
    """Scores that are not finite for an even photograph, and whose gradient is."""

    def __init__(self):
        super().__init__()
        self.net = tiny()

    def forward(self, x):
        return self.net(x) + self.spread(x)[:, None].log()

    def spread(self, x):
        return x[:, 0].amax((1, 2)) - x[:, 0].amin((1, 2))


class Blinded(Dazzled):
    """As it, in the score of class 1 alone."""

    def forward(self, x):
        zero, one, *others = self.net(x).unbind(1)
        return torch.stack([zero, one + self.spread(x).log(), *others], 1)


class Narrow(Dazzled):
    """Raises for an even photograph."""

    def forward(self, x):
        if not self.spread(x).all():
            raise RuntimeError("an even picture")
        return self.net(x)


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
    names, tiles = [], plots.tiles

    def kept(shown, **how):
        names.extend(title for title, _, M in shown if M is not None)
        return tiles(shown, **how)

    monkeypatch.setattr(plots, "tiles", kept)
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
    why = "all negative. every position lowers this score, counted from a layer of zeros; "
    least = "--reference spatial_mean shows where least"
    assert f"{why}try --target centred, or {least}" in printed
    assert main(["map", photo, *args, "--target", "centred", "--size", "48"]) == 0
    assert f"{why}{least}\n" in capsys.readouterr().out  # so much is asked already
    args = ["--model", "test_main:silent", "--out", str(tmp_path / "m.csv")]
    assert main(["map", photo, *args]) == 0
    assert "silent layer. no channel fired; scale x as in training" in capsys.readouterr().out


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


def test_a_complete_map_sums_to_what_is_explained_and_says_so(photo, tmp_path, capsys):
    out = tmp_path / "m.json"
    args = ["map", photo, "--model", "test_main:tiny", "--target", "centred", "--size", "48"]
    assert main([*args, "--complete", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "target centred, zero: local_score; " in printed
    record = json.loads(out.read_text())
    M = torch.tensor(record["map"])
    model, x = tiny(), torchvision_input(read_photo(photo, 48))
    s = targets.centred(record["class"])(model(x)).item()
    assert M.sum().item() == pytest.approx(s, rel=1e-4)
    assert f"sum {s:.3g}, " in printed
    moves = {k for k, v in record["symmetries"].items() if k != "seed" and v != "unchanged"}
    assert moves == {"places"}
    told = record["arguments"]
    assert told["reference"] == "local_score"
    words = [w for k in ("model", "target", "reference") for w in (f"--{k}", told[k])]
    again = str(tmp_path / "again.npy")
    assert main(["map", photo, *words, "--size", "48", "--out", again]) == 0
    assert torch.equal(torch.from_numpy(np.load(again)), M)


def test_a_complete_map_of_what_is_absent_is_blank_and_says_why(photo, tmp_path, capsys):
    args = ["map", photo, "--model", "test_main:never", "--class", "0", "--size", "48"]
    assert main([*args, "--complete", "--out", str(tmp_path / "m.csv")]) == 0
    printed = capsys.readouterr().out
    assert "all negative. every position lowers this score, counted from a score of zero" in printed


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
    assert main([*args, "test_main:with_sigmoids"]) == 0
    printed = capsys.readouterr().out
    assert "like all scores between 0 and 1: if a sigmoid makes them" in printed
    assert "softmax" not in printed
    assert main([*args, "test_main:tiny"]) == 0
    printed = capsys.readouterr().out
    assert "a probability already" not in printed
    assert "sigmoids" not in printed


@pytest.mark.slow
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
    verdicts = {kind: verdict.split(" (")[0] for kind, verdict in record["symmetries"].items()
                if kind != "seed"}  # fmt: skip
    assert verdicts == dict.fromkeys(KINDS[:-1], "unchanged") | {"places": "changes"}
    assert record["symmetries"]["seed"] == 0
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
        (
            ["map", "PHOTO", "--model", "nosuch:thing"],
            "got no module named 'nosuch', wanted one that",
        ),
        (
            ["map", "PHOTO", "--model", "test_main.py:tiny"],
            "folder of test_main.py: test_main:tiny",
        ),
        (["map", "PHOTO", "--model", "./test_main:tiny"], "folder of test_main.py: test_main:tiny"),
        (["map", "PHOTO", "--model", "a\\b:tiny"], "run it in the folder of b.py: b:tiny"),
        (["map", "PHOTO", "--model", "test_main:yes_or_not"], "in test_main; nearest: yes_or_no"),
        (["map", "PHOTO", "--model", "torchvision:"], "of torchvision, e.g. resnet18"),
        (
            ["map", "PHOTO", "--model", "test_main:needy"],
            "got needy, which needs path, wanted what",
        ),
        (["map", "PHOTO", "--model", "test_main:PLACE"], "got PLACE, a str, wanted a model, or"),
        (["map", "PHOTO", "--model", "zerocam:resnet18"], "no 'resnet18' in zerocam; look up"),
        (["map", "PHOTO", "--device", "cuda:99"], "device: got 'cuda:99' ("),
        (["map", "PHOTO", "--device", "quantum"], "wanted one that this machine has: cpu"),
        (["map", "PHOTO", "--device", "meta"], "wanted one that this machine has: cpu"),
        (
            ["map", "PHOTO", "--model", "test_main:tiny", "--class", "tabby"],
            "does not name its class",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:named", "--class", "teas"],
            "model's names; nearest: tea",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:named", "--class", "cup"],
            "the name of classes 0, 2",
        ),
        (["map", "PHOTO", "--model", "test_main:misnamed"], "got 2 names, wanted 3, one for each"),
        (
            ["map", "PHOTO", "--model", "test_main:tiny", "--labels", "nowhere"],
            "labels: got 'nowhere'",
        ),
        (["map", "PHOTO", "--model", "test_main:twice", "--layer", "net.1"], "call=0 to call=1"),
        (
            ["map", "PHOTO", "--model", "collections:OrderedDict"],
            "got a OrderedDict from collection",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:no_bytes"],
            "x: got torch.uint8 of shape (1, 3, 224, 224), wanted a float tensor (N, ch, H, W)",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:two_views"],
            "prepare: got 2 images of one photograph, wanted one, (1, ch, H, W)",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:no_prepare"],
            "prepare: got None, wanted a function",
        ),
        (["map", "PHOTO", "--model", "test_main:no_model"], f"KeyError, 'resnet'{PLACE}<lambda>)"),
        (
            ["map", "PHOTO", "--model", "test_main:no_key"],
            f"KeyError, 'logits'{PLACE}forward); see",
        ),
        (
            ["audit", "PHOTO", "--model", "test_main:no_value"],
            f"model: got ValueError, target: my own complaint{PLACE}forward)",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:a_dict"],
            "model: got dict as its output, wanted scores",
        ),
        (
            ["map", "PHOTO", "--model", "test_main:a_dict", "--layer", "net.1"],
            "; let make_model wrap it",
        ),
        (["audit", "PHOTO", "--model", "test_main:placeless"], "layer: got none to suggest"),
        (["map", "PHOTO", "--out", "map.jpg"], "wanted a name that ends in .png, .csv, .npy"),
        (["audit", "PHOTO", "--out", "a.json"], "wanted a name that ends in .png, .csv"),
        (
            ["map", "PHOTO", "--model", "test_main:yes_or_no", "--target", "centred"],
            "target: got one score per image, wanted two or more",
        ),
        (["map", "PHOTO", "--out", "nowhere/map.png"], "in a folder that exists"),
        (["map", "PHOTO", "--call", "1"], "call: got 1, wanted the layer of which it is a run"),
        (["map", "PHOTO", "--model", "test_main:narrow", "--layer", "0"], "shapes cannot be mult"),
    ],
)
def test_refusals_are_one_line_and_exit_1(photo, capsys, args, message):
    assert main([photo if a == "PHOTO" else a for a in args]) == 1
    error = capsys.readouterr().err
    assert message in re.sub(r"\(test_main\.py line \d+, ", "(test_main.py line N, ", error)
    assert error.startswith("zerocam: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "name", "place"),
    [
        ("cases", "kind_of_score", "cases.py"),  # in our own line
        ("hooks", "its_own", "hooks.py"),  # in our hook, inside the user's forward
    ],
)
def test_a_mistake_of_ours_is_not_laid_on_the_model(
    photo, tmp_path, capsys, monkeypatch, module, name, place
):
    words = ["map", photo, "--size", "48", "--layer", "net.1", "--out", str(tmp_path / "m.json")]
    words += ["--model", "test_main:of_another_head"]
    assert main(words) == 0
    monkeypatch.setattr(sys.modules[f"zerocam.{module}"], name, None)
    capsys.readouterr()
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("zerocam: a mistake in zerocam: TypeError, 'NoneType' object is not ca")
    assert re.search(rf" \({place} line \d+, in \w+\); please report it with what --trace", error)
    assert error.count("\n") == 1
    assert "model" not in error
    assert main([*words, "--traceback"]) == 1
    trace, last = capsys.readouterr().err.rsplit("\n", 2)[:2]
    assert trace.startswith("Traceback")
    assert last == error.strip()


def test_a_mistake_of_ours_is_ours_where_a_library_notices_it(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cases, "_versions", object)  # which JSON does not take
    words = ["--model", "test_main:tiny", "--out", str(tmp_path / "m.json")]
    assert main(["map", photo, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("zerocam: a mistake in zerocam: TypeError, Object of type object is no")
    assert re.search(r" \(cases.py line \d+, in text\); please", error)


@pytest.mark.parametrize("address", ["", "https://github.com/OWNER/NAME/issues"])
def test_a_mistake_of_ours_is_reported_where_the_setting_says(monkeypatch, address):
    urls = Message()
    urls["Project-URL"] = "Source, https://github.com/OWNER/NAME"
    if address:
        urls["Project-URL"] = f"Issues, {address}"
    monkeypatch.setattr(cli, "metadata", lambda name: urls)
    monkeypatch.setattr(cli, "ENDINGS", None)
    with pytest.raises(TypeError) as raised:
        cli._check_outs(["map.png"], "map")
    wanted = f"please report it at {address}, with" if address else "please report it with"
    assert wanted in cli.told(raised.value)


@pytest.mark.parametrize("model", ["no_array", "written_over"])
def test_what_a_library_raises_for_the_model_is_the_models(photo, tmp_path, capsys, model):
    words = ["--layer", "0.1", "--out", str(tmp_path / "m.npy")]
    assert main(["map", photo, "--model", f"test_main:{model}", *words]) == 1
    error = capsys.readouterr().err
    assert re.match(r"zerocam: model: got (Type|Runtime)Error, .*; see --help, or run it", error)


def test_what_the_machine_refuses_is_said_as_it_is(photo, tmp_path, capsys):
    (out := tmp_path / "m.png").mkdir()
    assert main(["map", photo, "--model", "test_main:tiny", "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith("zerocam: [Errno 21] Is a directory: ")


def printed_by(capsys, *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ("named", "class 1 (tea)"),
        ("configured", "class 1 (tea)"),
        ("of_another_head", "class 1,"),  # its two names belong to a head that is gone
        ("tiny", "class 1,"),
    ],
)
def test_a_class_has_the_name_that_its_own_model_gives_it(photo, tmp_path, capsys, model, title):
    words = ["map", photo, "--size", "48", "--class", "1", "--out", str(tmp_path / "m.json")]
    assert f"\n{title}" in printed_by(capsys, *words, "--model", f"test_main:{model}")
    record = json.loads((tmp_path / "m.json").read_text())
    assert record["class_name"] == ("tea" if "tea" in title else None)


def test_a_thousand_classes_of_ones_own_are_not_imagenets(photo, tmp_path, capsys, monkeypatch):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000))
    wide = nn.Sequential(*tiny()[:2], head)
    monkeypatch.setattr(sys.modules[__name__], "made", wide)
    words = ["map", photo, "--size", "48", "--model", "test_main:made", "--out"]
    printed = printed_by(capsys, *words, str(tmp_path / "m.csv"), "--class", "967")
    assert "class 967, score" in printed
    assert "espresso" not in printed


def test_names_may_stand_in_a_file(photo, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("oak\nelm\nash\n", encoding="utf-8")
    words = ["--labels", str(tmp_path / "names.txt"), "--class", "ash", "--size", "48"]
    out = str(tmp_path / "m.csv")
    printed = printed_by(capsys, "map", photo, "--model", "test_main:tiny", *words, "--out", out)
    assert "class 2 (ash), score" in printed


def test_names_of_torchvision_belong_to_the_trained_weights(monkeypatch):
    monkeypatch.setattr(imagenet, "torchvision_net", lambda name, weights=None: tiny())
    trained = load_model("torchvision:resnet18")
    assert trained.names[967] == "espresso"
    assert trained.said == ""
    random = load_model("torchvision:resnet18", "none")
    assert random.names is None
    assert random.said.startswith("weights: random")


@pytest.mark.parametrize(("model", "random"), [("untaught", True), ("tiny", False)])
def test_random_weights_are_said(photo, tmp_path, capsys, model, random):
    words = ["--model", f"test_main:{model}", "--size", "48", "--out", str(tmp_path / "m.csv")]
    assert ("weights: random" in printed_by(capsys, "map", photo, *words)) == random


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("squashed", "like all scores between 0 and 1: if a sigmoid makes them"),
        ("logarithms", "a log-probability already, of 0."),
    ],
)
def test_a_softmax_is_not_taken_of_what_is_no_logit(photo, tmp_path, capsys, model, said):
    words = ["--model", f"test_main:{model}", "--size", "48", "--out", str(tmp_path / "m.csv")]
    printed = printed_by(capsys, "map", photo, *words)
    assert said in printed
    assert ", softmax " not in printed


def test_the_probability_of_a_log_probability_is_right():
    y = torch.tensor([0.2, 0.5, 0.3]).log()
    assert cases.kind_of_score(y, 1).startswith("a log-probability already, of 0.500;")
    assert cases.kind_of_score(torch.tensor([-1.0, -2.0]), 0) == "softmax 0.731"


def test_a_map_is_drawn_where_prepare_took_its_pixels(photo, tmp_path, capsys):
    """A map of the right half lies on the right half, and the left is dark and without a value."""
    words = ["--model", "test_main:right_half", "--layer", "1", "--size", "48"]
    out = str(tmp_path / "m.png")
    printed = printed_by(capsys, "map", photo, *words, "--out", out)
    assert "prepare shows the model 50 % of the photograph; the rest is dark" in printed
    pixels = read_photo(photo, 48)
    network = load_model("test_main:right_half")
    case = cases.look(network, cases.Photo(pixels, "", ""), layer="1")
    M = cases.explain(case).M
    laid = case.view.lay(M)
    assert laid.shape == (48, 48)
    assert not laid[:, :24].any()
    torch.testing.assert_close(laid[:, 24:], metrics.enlarge(M[None], (48, 24))[0])
    torch.testing.assert_close(case.view.darkened()[:, :, :24], 0.3 * pixels[:, :, :24])
    assert torch.equal(case.view.darkened()[:, :, 24:], pixels[:, :, 24:])
    with Image.open(out) as drawn:
        place = json.loads(drawn.text["zerocam"])["photo_to_input"]
    assert place == [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]


def test_what_cannot_be_traced_is_drawn_on_the_input_itself(photo, tmp_path, capsys):
    words = ["--model", "test_main:own_mean", "--size", "48", "--out", str(tmp_path / "m.png")]
    assert "cannot be told; drawn on the model's own input" in printed_by(
        capsys, "map", photo, *words
    )


def test_a_rectangle_is_mapped_whole_or_what_is_left_out_is_said(tmp_path, capsys):
    wide = str(tmp_path / "wide.png")
    Image.radial_gradient("L").resize((160, 40)).save(wide)
    words = ["map", wide, "--model", "test_main:tiny", "--layer", "1", "--size", "40"]
    out = str(tmp_path / "M.CSV")
    printed = printed_by(capsys, *words, "--out", out)
    assert "photo: the centred square, 25 % of the picture; --whole takes all" in printed
    assert "signed map (9, 9)" in printed
    printed = printed_by(capsys, *words, "--whole", "--out", out, "--out", str(tmp_path / "m.PNG"))
    assert "centred square" not in printed
    assert "signed map (9, 39)" in printed
    x = torchvision_input(read_photo(wide, 40, whole=True))
    M = zerocam.grad_cam(tiny().eval(), x, layer="1", relu=False)[0]
    torch.testing.assert_close(torch.tensor(pd.read_csv(out, index_col=0).to_numpy()).float(), M)
    assert (tmp_path / "m.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_photograph_through_a_pipe_has_its_own_hash(photo, through_a_pipe):
    """Its bytes can be read only once."""
    raw = Path(photo).read_bytes()
    read = cases.Photo.read(through_a_pipe(raw), 24)
    assert read.sha256 == sha256(raw).hexdigest()
    assert torch.equal(read.pixels, read_photo(photo, 24))


def test_one_run_of_several_can_be_chosen(photo, tmp_path, capsys):
    words = ["map", photo, "--model", "test_main:twice", "--layer", "net.1", "--size", "48"]
    x = torchvision_input(read_photo(photo, 48))
    for call in (0, 1):
        out = str(tmp_path / f"{call}.json")
        printed = printed_by(capsys, *words, "--class", "1", "--call", str(call), "--out", out)
        assert f"run {call} of the layer" in printed
        M = zerocam.grad_cam(twice, x, 1, layer="net.1", call=call, relu=False)[0]
        record = json.loads(Path(out).read_text())
        torch.testing.assert_close(torch.tensor(record["map"]), M)
        assert record["arguments"]["call"] == call
        assert "symmetries" not in record  # a re-coding would change both runs


def test_several_classes_and_models_have_one_scale(photo, tmp_path, capsys, monkeypatch):
    limits, tiles = [], plots.tiles
    monkeypatch.setattr(plots, "tiles", lambda t, **k: limits.append(k["limit"]) or tiles(t, **k))
    outs = [str(tmp_path / name) for name in ("m.json", "m.png")]
    words = ["map", photo, "--size", "48", *(w for out in outs for w in ("--out", out))]
    models = ["--model", "test_main:tiny", "--model", "test_main:never"]
    printed = printed_by(capsys, *words, *models, "--class", "0", "--class", "2")
    assert printed.count("signed map") == 4
    records = json.loads(Path(outs[0]).read_text())
    asked = [(r["arguments"]["model"][10:], r["class"]) for r in records]
    assert asked == [("tiny", 0), ("tiny", 2), ("never", 0), ("never", 2)]
    assert records[0]["map"] != records[1]["map"]
    highest = max(abs(v) for r in records for row in r["map"] for v in row)
    assert limits == [pytest.approx(highest)]
    assert main([*words, *models, "--out", "m.csv"]) == 1
    assert "ends in .png, .json, for several maps" in capsys.readouterr().err


# ---- folders ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five photographs, two files that are none, and one that is not asked."""
    place = tmp_path_factory.mktemp("folder")
    pixels = (photograph("coffee", 48) * 255).byte().permute(1, 2, 0).numpy()
    for i in range(5):
        Image.fromarray(np.roll(pixels, 9 * i, 1)).save(place / f"{i}.png")
    (place / "half.jpg").write_bytes(b"\xff\xd8")
    (place / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (place / "notes.txt").write_text("none")
    return place


def test_a_folder_gives_the_numbers_of_each_photograph_whatever_the_batch(
    folder, tmp_path, capsys, monkeypatch
):
    out = [str(tmp_path / name) for name in ("t.csv", "t.npz", "t.PNG")]
    words = ["map", str(folder), "--model", "test_main:named", "--layer", "1", "--size", "48"]
    for batch in ("1", "2", "16"):
        outs = [w for o in out for w in ("--out", o)]
        assert main([*words, "--batch", batch, *outs]) == 0
        printed, progress = capsys.readouterr()
        assert "2 of 7 files give no map; the table says why" in printed
        assert "photographs: " in progress
        table = pd.read_csv(out[0])
        assert table.photo.tolist() == [*(f"{i}.png" for i in range(5)), "half.jpg", "phone.HEIC"]
        maps = np.load(out[1], allow_pickle=False)
        assert maps["photos"].tolist() == [f"{i}.png" for i in range(5)]
        for i in range(5):
            x = torchvision_input(read_photo(folder / f"{i}.png", 48))
            y = tiny().eval()(x)[0]
            M = zerocam.grad_cam(tiny().eval(), x, layer="1", relu=False)[0]
            torch.testing.assert_close(torch.tensor(maps["maps"][i]), M)
            row = table.iloc[i]
            assert (row["class"], row["name"]) == (y.argmax(), ["cup", "tea", "cup"][y.argmax()])
            assert row.highest == pytest.approx(M.max().item(), rel=1e-4)  # batches round anew
            assert row["sum"] == pytest.approx(M.sum().item(), rel=1e-4)
            assert divmod(int(M.argmax()), 11) == (row.row - 1, row.column - 1)
        assert table.note.tolist()[5].startswith("photo: got 'half.jpg', which cannot be read")
        assert "which is HEIC" in table.note.tolist()[6]


def passes_of(words: list[str]) -> int:
    """How often the model `made` runs for a command."""
    runs: list[int] = []
    with hooks.hooked([made], lambda *_: runs.append(1)):
        assert main(words) == 0
    return len(runs)


def test_a_photograph_of_a_folder_costs_one_pass(folder, tmp_path, capsys):
    def passes(n: int) -> int:
        place = tmp_path / str(n)
        place.mkdir()
        for i in range(n):
            (place / f"{i}.png").write_bytes((folder / f"{i}.png").read_bytes())
        words = ["--model", "test_main:made", "--size", "48", "--out", str(tmp_path / "m.csv")]
        return passes_of(["map", str(place), "--batch", "1", *words])

    assert passes(4) - passes(1) == 3


def test_a_map_more_of_a_photograph_costs_one_pass(photo, tmp_path, capsys):
    words = ["map", photo, "--model", "test_main:made", "--size", "48"]
    words += ["--out", str(tmp_path / "m.png"), "--class", "0"]
    assert passes_of([*words, "--class", "1"]) - passes_of(words) == 1


def even(place: Path, size: int = 48) -> None:
    Image.new("RGB", (size, size)).save(place)


@pytest.mark.parametrize("options", [[], ["--class", "0", "--target", "centred"]])
@pytest.mark.parametrize("batch", ["1", "2", "16"])
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_a_photograph_without_a_map_says_why_and_the_others_go_on(
    folder, tmp_path, capsys, options, batch, bad
):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes((folder / f"{i}.png").read_bytes())
    even(tmp_path / f"{bad}.png")
    outs = [str(tmp_path / name) for name in ("t.csv", "t.npz")]
    words = ["map", str(tmp_path), "--model", "test_main:Dazzled", "--layer", "net.1"]
    words += ["--size", "48", "--batch", batch, "--out", outs[0], "--out", outs[1]]
    assert main([*words, *options]) == 0
    assert "1 of 4 files give no map; the table says why" in capsys.readouterr().out
    table, well = pd.read_csv(outs[0]), [f"{i}.png" for i in range(4) if i != bad]
    assert table.photo.tolist() == [f"{i}.png" for i in range(4)]
    assert table.highest.isna().tolist() == [i == bad for i in range(4)]
    said = table.note[bad].replace("scores of the target:", "scores:")  # or found before it
    assert said.startswith("scores: got NaN or inf for image [0]")
    assert np.load(outs[1])["photos"].tolist() == well
    for M, name in zip(np.load(outs[1])["maps"], well, strict=True):
        x = torchvision_input(read_photo(tmp_path / name, 48))
        y = Dazzled().eval()(x)[0]
        target = targets.centred(0) if options else int(y.argmax())
        wanted = zerocam.grad_cam(Dazzled().eval(), x, target, layer="net.1", relu=False)[0]
        torch.testing.assert_close(torch.tensor(M), wanted)


def test_a_score_that_nobody_asked_for_has_to_be_finite_too(folder, tmp_path, capsys):
    """Else the table would hold it, and a class that is predicted could not be found."""
    (tmp_path / "0.png").write_bytes((folder / "0.png").read_bytes())
    even(tmp_path / "1.png")
    words = ["map", str(tmp_path), "--model", "test_main:Blinded", "--layer", "net.1"]
    words += ["--class", "0", "--target", "logit", "--size", "48"]
    assert main([*words, "--out", str(tmp_path / "m.csv")]) == 0
    assert pd.read_csv(tmp_path / "m.csv").note[1].startswith("scores: got NaN or inf for image")


def test_a_photograph_that_the_model_fails_at_has_its_note(folder, tmp_path, capsys):
    """Raised by the model, in words of its own."""
    (tmp_path / "0.png").write_bytes((folder / "0.png").read_bytes())
    even(tmp_path / "1.png", 24)
    words = ["map", str(tmp_path), "--model", "test_main:Narrow", "--layer", "net.1"]
    words += ["--size", "24", "--whole", "--out", str(tmp_path / "m.csv")]
    assert main(words) == 0
    assert pd.read_csv(tmp_path / "m.csv").note[1] == "RuntimeError: an even picture"
    (tmp_path / "0.png").unlink()
    assert main(words) == 1  # the first of all: for all we know it is the model
    assert "model: got RuntimeError, an even picture (test_main.py" in capsys.readouterr().err


def test_a_tile_that_cannot_be_drawn_leaves_no_row_behind(folder, monkeypatch):
    made, view = [], folders.view

    def failing(*args):
        made.append(args)
        if len(made) in (2, 3):  # the second photograph, in the batch and alone
            raise ValueError("no tile")
        return view(*args)

    monkeypatch.setattr(folders, "view", failing)
    files, network = [folder / f"{i}.png" for i in range(3)], load_model("test_main:tiny")
    album = folders.explain_folder(network, files, layer="1", size=48)
    assert [row["photo"] for row in album.rows] == ["0.png", "1.png", "2.png"]
    assert [row.get("note") for row in album.rows] == ["", "ValueError: no tile", ""]
    assert len(album.maps) == len(album.tiles) == 2


def test_settings_that_fail_are_told_at_the_first_photograph(folder, capsys):
    words = ["map", str(folder), "--model", "test_main:tiny", "--size", "48", "--layer", "nosuch"]
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("zerocam: layer: got 'nosuch'")


def test_a_folder_is_recorded_as_a_single_map_is(folder, tmp_path, capsys):
    out = [str(tmp_path / name) for name in ("f.npz", "f.png", "m.json", "other.json")]
    words = ["--model", "test_main:tiny", "--layer", "1", "--size", "48", "--target", "centred"]
    assert main(["map", str(folder), *words, "--out", out[0], "--out", out[1]]) == 0
    assert main(["map", str(folder / "0.png"), *words, "--out", out[2]]) == 0
    whole, one = json.loads(str(np.load(out[0])["record"])), json.loads(Path(out[2]).read_text())
    with Image.open(out[1]) as sheet:
        assert json.loads(sheet.text["zerocam"]) == whole
    assert {k: whole[k] for k in ("versions", "weights_sha256")} == {
        k: one[k] for k in ("versions", "weights_sha256")
    }
    asked, of_one = whole["arguments"], one["arguments"]
    same = of_one.keys() - {"photo", "c", "out"}
    assert {k: asked[k] for k in same} == {k: of_one[k] for k in same}
    assert (asked["photo"], asked["c"], asked["out"]) == (folder.name, None, out[:2])
    assert asked.keys() - same == {"photo", "c", "out", "batch"}
    assert whole["rows"][0]["sha256"] == one["photo_sha256"]
    words[1] = "test_main:never"  # another bias
    assert main(["map", str(folder / "0.png"), *words, "--out", out[3]]) == 0
    assert json.loads(Path(out[3]).read_text())["weights_sha256"] != one["weights_sha256"]


def test_a_folder_may_hold_photographs_of_different_sizes(folder, tmp_path, capsys):
    for i, size in enumerate([(60, 40), (40, 80)]):
        Image.radial_gradient("L").resize(size).save(tmp_path / f"{i}.png")
    out = str(tmp_path / "maps.npz")
    words = ["--model", "test_main:tiny", "--layer", "1", "--size", "40", "--whole", "--class", "2"]
    assert main(["map", str(tmp_path), *words, "--out", out]) == 0
    maps = np.load(out, allow_pickle=True)["maps"]
    assert [m.shape for m in maps] == [(9, 14), (19, 9)]


def test_a_sheet_has_one_scale_and_ends(folder, tmp_path, capsys, monkeypatch):
    shown, tiles = {}, plots.tiles
    monkeypatch.setattr(plots, "tiles", lambda t, **k: shown.update(k, n=len(t)) or tiles(t, **k))
    for name in ("cli", "folders"):
        monkeypatch.setattr(sys.modules[f"zerocam.{name}"], "SHEET", 3)
    outs = [str(tmp_path / name) for name in ("sheet.png", "maps.npz")]
    words = ["--model", "test_main:tiny", "--size", "48", "--out", outs[0], "--out", outs[1]]
    assert "the sheet shows the first 3\n" in printed_by(capsys, "map", str(folder), *words)
    assert shown["n"] == 3
    assert shown["limit"] == pytest.approx(np.abs(np.load(outs[1])["maps"]).max())


@pytest.mark.parametrize(
    ("keep", "words", "message"),
    [
        ([], [], "without an image file"),
        (["half.jpg", "phone.HEIC"], [], "got 2 files, none of which gives a map"),
        (["0.png"], ["--class", "0", "--class", "1"], "wanted one model and one class"),
        (["0.png"], ["--out", "a.json"], "ends in .csv, .png, .npz, for a folder"),
    ],
)
def test_what_a_folder_cannot_do_is_refused(folder, tmp_path, capsys, keep, words, message):
    for name in keep:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert main(["map", str(tmp_path), "--model", "test_main:tiny", "--size", "48", *words]) == 1
    assert message in capsys.readouterr().err


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
