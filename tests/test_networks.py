"""The network that a command names: its classes' names, what was meant by a wrong name."""

import copy
import functools
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from zerocam import imagenet, networks
from zerocam.extras import Missing
from zerocam.networks import RANDOM, Network, class_number, load_model, read_names

C = 3
NAMES = ("oak", "elm", "ash")


def net(scores: int = C) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, scores)
    )


def configured(id2label: object) -> nn.Module:
    """A model that is part of another one and has a config, as those of transformers."""
    inner = net()
    inner.config = SimpleNamespace(id2label=id2label)
    return nn.Sequential(inner)


@pytest.fixture
def module(monkeypatch, tmp_path):
    """A module of the user's own, in the folder that the command runs in."""
    made = ModuleType("mine")
    vars(made).update(net=net)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "mine", made)
    return made


def names_of(model: nn.Module, prepare: Callable | None = None, names: object = None):
    return Network(model, networks.torchvision_input, names=names).class_names(C)


@pytest.mark.parametrize(
    "id2label",
    [
        dict(enumerate(NAMES)),
        {"2": "ash", "0": "oak", "1": "elm"},  # as in a JSON file, in any order
    ],
)
def test_a_config_names_the_classes(id2label):
    assert names_of(configured(id2label)) == NAMES
    assert class_number("ash", names_of(configured(id2label))) == 2


@pytest.mark.parametrize(
    "id2label",
    [None, {}, {0: "oak", 1: "elm"}, {0: "oak", 1: "elm", 3: "ash"}, dict(enumerate("abcd"))],
)
def test_a_config_of_another_head_names_nothing(id2label):
    assert names_of(configured(id2label)) is None


@pytest.mark.parametrize(
    "names",
    [
        list(NAMES),
        torch.tensor([7, 8, 9]).tolist(),
        dict(enumerate(NAMES)),
        {"1": 8, "0": 7, "2": 9},
    ],
)
def test_a_function_may_bring_names_in_any_form(module, names):
    module.make = lambda: (net(), networks.torchvision_input, names)
    found = load_model("mine:make").class_names(C)
    assert found in (NAMES, ("7", "8", "9"))


def test_names_that_come_as_an_array(module):
    import numpy as np

    module.make = lambda: (net(), networks.torchvision_input, np.array(NAMES))
    assert load_model("mine:make").class_names(C) == NAMES


def test_a_file_of_names_goes_before_all_others(module):
    Path("names.txt").write_text("a\nb\nc\n", encoding="utf-8")
    module.make = lambda: (configured(dict(enumerate(NAMES))), networks.torchvision_input, NAMES)
    assert load_model("mine:make").class_names(C) == NAMES
    assert load_model("mine:make", labels=Path("names.txt")).class_names(C) == ("a", "b", "c")


def test_a_file_of_names_may_come_from_any_editor(tmp_path):
    """Some write a mark before the first letter, and end lines with two characters."""
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffÉrable\r\nelm\r\nash".encode())
    assert read_names(file) == ("Érable", "elm", "ash")


def test_torchvisions_names_are_those_of_the_weights(monkeypatch):
    """Without a download: the weights' own record is asked, and the net has random ones."""
    for name in ("resnet18", "convnext_tiny"):
        made = imagenet.torchvision_net(name)
        monkeypatch.setattr(imagenet, "torchvision_net", lambda *a, made=made, **k: made)
        found = load_model(f"torchvision:{name}").class_names(1000)
        monkeypatch.undo()
        assert found == tuple(get_model_weights(name).DEFAULT.meta["categories"])
        assert load_model(f"torchvision:{name}", "none").class_names(1000) is None


def test_weights_that_cannot_be_had_are_refused_with_the_mend(monkeypatch):
    def offline(*_args, **_kw):
        raise OSError("no way there")

    monkeypatch.setattr(imagenet, "torchvision_net", offline)
    with pytest.raises(ValueError, match=r"none for resnet18, .*\(no way there\).*--weights none"):
        load_model("torchvision:resnet18")


def test_without_torchvision_the_network_of_the_package_has_no_names(monkeypatch):
    def gone():
        raise Missing("torchvision", "names", "imagenet")

    monkeypatch.setattr(imagenet, "imagenet_classes", gone)
    network = load_model("efficientnet_lite0")
    assert network.names is None
    assert network.class_names(1000) is None


@pytest.mark.parametrize(
    ("asked", "number"), [(None, None), (2, 2), ("2", 2), ("-1", -1), ("elm", 1)]
)
def test_a_class_by_its_number_or_name(asked, number):
    assert class_number(asked, NAMES) == number


def untaught(pretrained: bool = False) -> nn.Module:
    return net()


def taught(pretrained: bool = True) -> nn.Module:
    return net()


@pytest.mark.parametrize(
    ("make", "random"),
    [
        (untaught, True),
        (taught, False),
        (functools.partial(untaught), True),
        (functools.partial(untaught, pretrained=True), False),
        (net(), False),
        (net, False),
    ],
)
def test_a_librarys_function_without_its_weights_is_told(module, make, random):
    module.make = make
    said = load_model("mine:make").said
    assert said.startswith(RANDOM) == random
    assert ("Write a function that calls make with the trained ones" in said) == random


class Broken(nn.Module):
    """Cannot be made."""

    def __init__(self):
        raise FileNotFoundError(2, "No such file", "weights.pt")


def test_what_the_users_own_code_raises_comes_through(module):
    module.make = Broken
    with pytest.raises(FileNotFoundError, match=r"weights\.pt"):
        load_model("mine:make")
    Path("importer.py").write_text("import not_installed_here\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        load_model("importer:make")


def test_a_part_called_models_is_looked_into(module):
    Path("library").mkdir()
    Path("library/__init__.py").touch()
    Path("library/models.py").write_text("def big(): pass\n")
    with pytest.raises(ValueError, match=r"no 'big' in library; say library\.models:big"):
        load_model("library:big")


def test_what_another_device_is_asked_for_is_tried():
    """The meta device exists, and computes nothing."""
    with pytest.raises(
        ValueError, match=r"device: got 'meta' \(.*wanted one that this machine has"
    ):
        networks._on("meta", net())
    assert next(networks._on("cpu", net()).parameters()).device.type == "cpu"


def refused(module, make: object) -> None:
    module.make = make
    load_model("mine:make")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: names_of(net(), names=("a", "b")),
            "labels: got 2 names, wanted 3, one for each",
        ),
        (lambda m: names_of(net(), names=()), "labels: got 0 names, wanted 3"),
        (lambda m: load_model("resnet18"), "model: got 'resnet18', wanted efficientnet_lite0"),
        (lambda m: load_model("torchvision:fasterrcnn_resnet50_fpn"), "classifier of torchvision"),
        (
            lambda m: read_names(Path("no.txt")),
            r"got 'no\.txt', which cannot be read \(No such file",
        ),
        (lambda m: read_names(Path()), r"labels: got '\.', which cannot be read"),
        (lambda m: class_number("oak", None), "--labels FILE, one name a line"),
        (lambda m: class_number("oka", NAMES), "nearest: oak"),
        (
            lambda m: load_model("mine.py:make"),
            "got the file 'mine.py'.*folder of mine.py: mine:make",
        ),
        (lambda m: load_model("a/b:make"), "run it in the folder of b.py: b:make"),
        (
            lambda m: load_model("min:make"),
            "no module named 'min', .*run it in the folder of min.py",
        ),
        (lambda m: (Path("mime.py").touch(), load_model("mimes:x")), "nearest: mime"),
        (lambda m: load_model("mine:net_"), "no 'net_' in mine; nearest: net"),
        (lambda m: load_model("json:resnet18"), "no 'resnet18' in json; look up what it is called"),
        (lambda m: refused(m, 3), "make, a int, wanted a model, or what makes one"),
        (
            lambda m: refused(m, lambda depth, *a, **k: 1),
            "make, which needs depth, wanted what needs",
        ),
        (lambda m: refused(m, lambda: 3), "got a int from mine:make, wanted an nn.Module"),
        (lambda m: refused(m, dict), "got a dict from mine:make"),  # whose signature nobody tells
        (lambda m: refused(m, lambda: (net(), None)), "prepare: got None, wanted a function"),
    ],
)
def test_what_is_no_network_is_refused(module, call, message):
    with pytest.raises(ValueError, match=message):
        call(module)


def test_a_file_that_is_no_text_has_no_names(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"labels: .*cannot be read \(not a text\), wanted a text"):
        read_names(tmp_path / "names.txt")


def test_a_json_config_is_read_as_transformers_reads_it(tmp_path):
    """What `config.json` says goes through JSON: its numbers are words there."""
    stored = json.loads(json.dumps({"id2label": dict(enumerate(NAMES))}))
    assert names_of(configured(stored["id2label"])) == NAMES


def test_a_digest_is_of_the_numbers():
    def digest(model: nn.Module) -> str:
        return Network(model, lambda photo: photo).digest()

    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.Linear(4, 2).bfloat16())
    before = digest(model)
    assert digest(copy.deepcopy(model)) == before
    seen = {before}
    for changed in (model[0].weight, model[1].running_mean, model[1].num_batches_tracked):
        with torch.no_grad():
            changed.view(-1)[0] += 1
        seen.add(digest(model))
    with torch.no_grad():  # a double tells more than a float
        double = model.double()
        seen.add(digest(double))
        double[0].bias[0] += 1e-12
        seen.add(digest(double))
    assert len(seen) == 6


def test_a_digest_reads_weights_that_are_whole_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [torch.ao.quantization.quantize_dynamic(net().eval(), {nn.Linear}) for _ in "ab"]
    digests = [Network(model, lambda photo: photo).digest() for model in (*made, made[0])]
    assert digests[0] == digests[2] != digests[1]
    made[1][0] = made[0][0]  # only the whole numbers differ now
    assert Network(made[1], lambda photo: photo).digest() != digests[0]
