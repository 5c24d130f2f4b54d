"""The place check of many networks: what is stored is whole, agrees with its page, comes again."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from zerocam.lab.studies import zoo
from zerocam.refusals import Refused

ROOT = Path(__file__).parents[1]
STORED = json.loads((ROOT / zoo.STORED).read_text())
ROWS = {row["family"]: row for row in STORED["rows"]}
KINDS = ("undecided", "wrong", "refused", "not run")


def kind(row: dict[str, str]) -> str:
    said = row["in place"]
    return next((kind for kind in KINDS if said.startswith(kind) or said.endswith(kind)), "right")


def test_every_family_has_its_answer():
    libraries = Counter(family.partition(":")[0] for family in ROWS)
    assert libraries["timm"] >= 80
    assert libraries["transformers"] >= 20
    assert libraries["torchvision"] == len(zoo.TORCHVISION)
    assert list(ROWS) == sorted(ROWS)
    for row in ROWS.values():
        assert tuple(row) == zoo.COLUMNS
        if kind(row) in ("refused", "not run"):
            assert row["why"]
        else:
            share = int(row["in place"].partition("%")[0]) / 100
            bounds = {"right": (0.5, 1), "undecided": (0.25, 0.5), "wrong": (0, 0.25)}[kind(row)]
            assert bounds[0] <= share <= bounds[1]
            assert row["layer"]
            assert re.fullmatch(r"\d+ x \d+", row["map"])
    made = STORED["made"]
    assert made["command"] == "python -m zerocam.lab.studies.zoo"
    assert {"date", "torch", "timm", "transformers", "torchvision"} <= made.keys()
    page = f"pip install timm=={made['timm']} transformers=={made['transformers']}"
    assert page in zoo.__doc__


def test_the_page_counts_what_is_stored():
    page = (ROOT / "book" / "zoo.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^Of \d+ families.*", page, re.M)
    count = Counter(map(kind, ROWS.values()))
    numbers = [len(ROWS), *(count[k] for k in ("right", *KINDS))]
    assert [int(n) for n in re.findall(r"\d+", text)] == numbers
    assert "```{measured} zoo\n```" in page


@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_a_row_comes_again(family):
    """Layer and reading exactly; the share within 3 positions of 25, which rounding may move."""
    torch.manual_seed(0)
    (made,) = [make for name, make in zoo.torchvision_families() if name[12:] in family]
    row = zoo.tried(f"torchvision:{family.partition('_')[0]}", made(""))
    stored = ROWS[row["family"]]
    assert {**row, "in place": ""} == {**stored, "in place": ""}
    shares = [int(r["in place"].rstrip("%")) for r in (row, stored)]
    assert shares[0] == pytest.approx(shares[1], abs=12)


def patches(h: int, w: int) -> nn.Module:
    """A map (N, K, h, w) of an image, each position of which sees its own part alone."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Tanh(), head)


def test_what_a_small_image_leaves_open_is_tried_at_the_next_size(monkeypatch):
    tried = []

    def row(family, network, model, x):
        tried.append(x.shape[-1])
        verdict = {32: "30%, undecided", 64: "12%, wrong", 96: "refused", 128: "90%"}
        return {"in place": verdict[x.shape[-1]]}

    def made(*sides):
        for side in sides:
            yield "net", patches(4, 4), torch.randn(1, 3, side, side)

    monkeypatch.setattr(zoo, "row", row)
    assert zoo.tried("f", made(32, 64, 96, 128, 32))["in place"] == "90%"
    assert tried == [32, 64, 96, 128]
    assert zoo.tried("f", made(32, 64))["in place"] == "12%, wrong"  # the last one counts


def test_what_does_not_run_or_cannot_be_made_says_why():
    def made(model, *sides):
        for side in sides:
            yield "net", model, torch.randn(1, 3, side, side)
        raise zoo.TooLarge("net has 412 million parameters")

    strict = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 32, 32)), *patches(4, 4))
    row = zoo.tried("f", made(strict, 16, 32))  # does not run at 16
    assert (row["layer"], row["map"], row["reading"]) == ("3", "4 x 4", "channels first")
    row = zoo.tried("f", made(strict))
    assert (row["in place"], row["why"]) == ("not run", "net has 412 million parameters")


def test_a_refusal_and_a_wrong_reading_are_told(monkeypatch):
    assert (
        kind(
            zoo.row(
                "f", "n", nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), torch.rand(1, 3, 8, 8)
            )
        )
        == "refused"
    )
    turned = {"layer": "1", "reshape": lambda A: A.flip(3)}
    monkeypatch.setattr(zoo.layers, "suggest_layer", lambda model, x: (turned, "because"))
    assert kind(zoo.row("f", "n", patches(8, 8), torch.rand(1, 3, 64, 64))) == "wrong"


def test_weights_of_zero_are_drawn_and_norms_have_seen_a_batch():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    for p in net.parameters():
        nn.init.zeros_(p)
    x = torch.rand(1, 3, 9, 9)
    drawn = zoo.drawn(net, x)
    assert drawn[0].weight.std() > 0.05
    assert drawn[1].weight.tolist() == [1, 1]
    assert drawn[1].running_mean.any()
    assert drawn[1].momentum == 0.1
    assert not drawn.training


def test_the_command_goes_on_where_it_was_cut_short(tmp_path, monkeypatch, capsys):
    asked = []

    def families():
        for name in ("a:one", "a:two"):
            yield name, lambda known, name=name: asked.append((name, known))

    monkeypatch.setattr(zoo, "torchvision_families", families)
    monkeypatch.setattr(zoo, "timm_families", lambda: ())
    monkeypatch.setattr(zoo, "transformers_families", lambda: ())
    monkeypatch.setattr(zoo, "made_by", lambda *a: {"command": a[0]})
    verdict = ["100%"]
    monkeypatch.setattr(
        zoo,
        "tried",
        lambda family, made: {"family": family, "network": "n", "in place": verdict[0]},
    )
    out = tmp_path / "zoo.json"
    out.write_text('{"rows": [{"family": "a:two", "network": "known", "in place": ""}]}')
    assert zoo.main(["--out", str(out)]) == 0
    assert asked == [("a:one", ""), ("a:two", "known")]
    assert [row["family"] for row in json.loads(out.read_text())["rows"]] == ["a:one", "a:two"]
    assert zoo.main(["--out", str(out)]) == 0
    assert len(asked) == 2  # nothing is left
    verdict[0] = "3%, wrong"
    assert zoo.main(["two", "--out", str(out)]) == 1
    assert asked[2:] == [("a:two", "n")]
    assert "3%, wrong" in capsys.readouterr().out
    before = out.read_text()
    monkeypatch.setattr(zoo, "made_by", lambda *a: {"command": a[0], "timm": "9.9"})
    with pytest.raises(Refused, match=r"'timm': None.*'timm': '9.9'.*--out"):
        zoo.main(["two", "--out", str(out)])
    assert len(asked) == 3
    assert out.read_text() == before
