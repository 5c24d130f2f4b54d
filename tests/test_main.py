"""The command line: what it prints and writes, its exit codes, its refusals."""

import pytest
import torch
from PIL import Image
from torch import nn

from zerocam.__main__ import main
from zerocam.photos import photograph


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


def test_a_map_is_drawn_and_its_numbers_printed(photo, tmp_path, capsys):
    out = tmp_path / "cup.png"
    assert main(["map", photo, "--class", "espresso", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "class 967 (espresso), probability 0." in printed
    assert "signed map (7, 7) at 'features', target logit, zero: zero" in printed
    with Image.open(out) as drawn:
        assert drawn.width > 2 * drawn.height > 200


def test_the_reference_and_the_target_are_used(photo, tmp_path, capsys):
    out = str(tmp_path / "m.png")
    args = ["map", photo, "--out", out, "--reference", "spatial_mean", "--target", "centred"]
    assert main(args) == 0
    printed = capsys.readouterr().out
    assert "target centred, zero: spatial_mean" in printed
    total = float(printed.split("sum ")[1].split("\n")[0])
    assert abs(total) < 1e-4


def test_a_model_of_ones_own_can_be_audited(photo, capsys):
    assert main(["audit", photo, "--model", "test_main:tiny", "--layer", "1", "--size", "48"]) == 0
    printed = capsys.readouterr().out
    assert "Grad-CAM" in printed
    assert "one constant" in printed
    assert "backbone run once" in printed


def test_torchvision_with_random_weights_only_if_asked(photo, capsys):
    args = ["map", photo, "--model", "torchvision:resnet18", "--size", "64"]
    assert main([*args, "--weights", "none", "--layer", "layer5"]) == 1
    assert "nearest: layer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["map", "nowhere.jpg"], "photo: got no file 'nowhere.jpg'"),
        (["map", __file__], "which cannot be read"),
        (["map", "PHOTO", "--class", "espreso"], "nearest: espresso"),
        (["map", "PHOTO", "--class", "1000"], "wanted 0 to 999"),
        (["map", "PHOTO", "--layer", "feature"], "nearest: features"),
        (["map", "PHOTO", "--model", "resnet18"], "wanted efficientnet_lite0, torchvision:NAME"),
        (["map", "PHOTO", "--model", "torchvision:resnet19"], "wanted a model of torchvision"),
        (["map", "PHOTO", "--model", "nosuch:thing"], "which cannot be imported"),
        (["map", "PHOTO", "--model", "test_main:photograph"], "got 'test_main:photograph'"),
        (["audit", "PHOTO", "--model", "test_main:tiny"], "pass --layer with the last one"),
    ],
)
def test_refusals_are_one_line_and_exit_1(photo, capsys, args, message):
    assert main([photo if a == "PHOTO" else a for a in args]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("zerocam: ")


def test_wrong_usage_exits_2(capsys):
    for args in ([], ["draw"], ["map"], ["map", "x.png", "--target", "odds"]):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        main(["audit", "--help"])
    assert stop.value.code == 0
    assert "without moving a prediction" in capsys.readouterr().out
