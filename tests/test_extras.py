"""What is not installed is named, with the extra that brings it."""

import contextlib
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import zerocam
from zerocam.extras import Missing, extra

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def brought(requirements: list[str]) -> set[str]:
    """The distributions that pip installs for these requirements."""
    found, todo = set(), [Requirement(line) for line in requirements]
    while todo:
        need = todo.pop()
        name = canonicalize_name(need.name)
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            todo += map(Requirement, metadata.requires(name) or ())
    return found


def beyond_the_base() -> list[str]:
    """The modules that are installed here, and would not be by `pip install zerocam`."""
    base = brought(PROJECT["dependencies"]) | {"zerocam"}
    modules = metadata.packages_distributions().items()
    return [name for name, of in modules if base.isdisjoint(map(canonicalize_name, of))]


def test_a_missing_package_is_named_with_its_extra():
    code = "import sys; sys.modules['matplotlib'] = None; import zerocam.plots"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = "wanted it installed; in the folder of the book: pip install '.[draw]'"
    assert "draw: got no matplotlib, " in done.stderr
    assert done.stderr.rstrip().endswith(said)


def test_who_asks_for_an_import_error_or_for_a_value_error_gets_one():
    for kind in (ImportError, ValueError):
        with pytest.raises(kind, match=r"'\.\[lab\]'"), extra("lab"):
            raise ModuleNotFoundError("no", name="scipy.stats")
    said = pytest.raises(Missing, match=r"got no scipy, .*'\.\[lab\]'")
    with said, extra("draw"), extra("lab"):  # the inner one speaks
        raise ModuleNotFoundError("no", name="scipy.stats")


def test_other_errors_of_an_import_pass():
    with pytest.raises(ImportError, match="cannot import name") as caught, extra("draw"):
        raise ImportError("cannot import name")
    assert not isinstance(caught.value, Missing)


def test_the_tool_needs_torch_and_at_most_five_others():
    names = [Requirement(line).name for line in PROJECT["dependencies"]]
    assert "torch" in names
    assert len(names) <= 6
    slow = {"pandas", "matplotlib", "torchvision", "scipy", "skimage", "sklearn", "captum"}
    assert slow <= set(beyond_the_base())


def test_an_import_of_the_package_brings_little_beside_torch():
    """Not even Pillow, which the base has: a module that is loaded late costs no one who waits."""
    code = (
        "import sys, torch; before = set(sys.modules); import zerocam;"
        "print(*{name for name in set(sys.modules) - before if '.' not in name})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) & set(metadata.packages_distributions())
    assert "jaxtyping" in loaded
    assert loaded <= {"zerocam", "jaxtyping", "wadler_lindig", "tqdm"}


def test_every_extra_that_a_refusal_names_is_there():
    named = {"zerocam"}
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= {part.partition('"')[0] for part in text.split('with extra("')[1:]}
    assert {"cluster", "draw", "imagenet", "lab"} <= named - {"zerocam"}
    assert named - {"zerocam"} <= set(PROJECT["optional-dependencies"])


# ---- with the base alone ------------------------------------------------------------------------

MODEL = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), *head)


classes = 3
"""

BARE = """
import json, sys
sys.modules |= dict.fromkeys(json.load(sys.stdin))  # what is None cannot be imported

import torch
import mine
import zerocam
from zerocam.cli import main
from zerocam.extras import Missing

model, x = mine.make(), torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
where, _ = zerocam.suggest_layer(model, x)
M = zerocam.grad_cam(model, x, 1, **where, relu=False)
report = zerocam.audit(None, model, x, 1, **where)
assert report._repr_html_() is None  # so a notebook shows the text
said = {"map": M.tolist(), "text": repr(report)}

own = ["--model", "mine:make", "--size", "48"]
outs = [word for name in ("m.csv", "m.npy", "m.json") for word in ("--out", name)]
assert main(["map", "photo.png", *own, *outs]) == 0
assert main(["audit", "photo.png", *own]) == 0
mine.classes = 1000  # whose names come with an extra
assert main(["map", "photo.png", *own, "--out", "thousand.npy"]) == 0
assert main(["audit", "photo.png", *own, "--out", "a.csv"]) == 1  # a table
assert main(["map", "photo.png", *own]) == 1  # a picture
assert main(["map", "photo.png"]) == 1  # the network of ImageNet

for name, call in {
    "table": report.table,
    "frame": lambda: report.frame,
    "net": lambda: zerocam.imagenet.torchvision_net("resnet18"),
    "class": lambda: zerocam.imagenet.imagenet_class("tabby"),
}.items():
    try:
        call()
    except Missing as error:
        said[name] = str(error)
json.dump(said, open("said.json", "w"))
"""


@pytest.mark.slow
def test_maps_audits_and_the_command_work_with_the_base_alone(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODEL)
    Image.radial_gradient("L").resize((60, 50)).save(tmp_path / "photo.png")
    command, blocked = [sys.executable, "-c", BARE], json.dumps(beyond_the_base())
    done = subprocess.run(command, cwd=tmp_path, input=blocked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "said.json").read_text())

    monkeypatch.syspath_prepend(tmp_path)
    import mine  # the same again, with everything there is

    model, x = mine.make(), torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    M = zerocam.grad_cam(model, x, 1, layer="1", relu=False)
    report = zerocam.audit(None, model, x, 1, layer="1")
    torch.testing.assert_close(torch.tensor(said["map"]), M)
    assert said["text"].startswith(report.table(short=True).to_string())

    refused = [line for line in done.stderr.splitlines() if line.startswith("zerocam: ")]
    draw, imagenet = (f"in the folder of the book: pip install '.[{extra}]'"
                      for extra in ("draw", "imagenet"))  # fmt: skip
    assert [line.partition("; ")[2] for line in refused] == [draw, draw, imagenet]
    assert [said[name].partition("; ")[2] for name in ("table", "frame")] == [draw] * 2
    assert [said[name].partition("; ")[2] for name in ("net", "class")] == [imagenet] * 2
    assert re.findall(r"^class \d+ .*", done.stdout, re.M) == []  # "class 3 (name)"
    written = {path.name for path in tmp_path.glob("*.*")}
    assert {"m.csv", "m.json", "m.npy", "thousand.npy"} <= written
    assert not {"a.csv", "map.png"} & written
