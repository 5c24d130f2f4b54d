"""The benchmarks run, check what they time, and the page shows what they wrote."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import __main__, calls, clock, memory
from book._ext.zerobook import budget, directive, speed

ROOT = Path(__file__).parents[1]
STORED = json.loads((ROOT / speed.RESULTS).read_text())


def cost(median: float, off: float = 0.01) -> dict[str, float]:
    return {"median": median, "low": median - off, "high": median + off}


ROW = {
    "net": "resnet18", "batch": 1, "classes": 1000, "disagreement": 1e-7,
    "zerocam": cost(1.04), "Captum": cost(1.2), "TorchCAM": cost(1.3),
    "pytorch-grad-cam": cost(3.5), "zerocam, all": cost(1.125), "noise": cost(1.0),
    "unit_seconds": {"median": 0.05}, "Captum, ten": 12.0, "TorchCAM, ten": 13.0,
    "pytorch-grad-cam, ten": 35.0,
}  # fmt: skip


# ---- by hand ------------------------------------------------------------------------------------


def test_a_ratio_is_taken_between_two_runs_of_the_unit(monkeypatch):
    """The machine slows down from run to run, by equal steps, and no ratio sees it."""
    cost = {"unit": 1.0, "a": 1.5, "b": 4.0}
    ran = []

    def seconds(call):
        ran.append(call())
        return cost[call()] * len(ran)

    monkeypatch.setattr(clock, "seconds", seconds)
    found = clock.ratios(lambda: "unit", {"a": lambda: "a", "b": lambda: "b"}, rounds=2)
    assert found["a"] == {"median": 1.5, "low": 1.5, "high": 1.5}
    assert found["b"]["median"] == 4
    assert found["noise"] == {"median": 1, "low": 1, "high": 1}
    u = "unit"  # the order turns
    assert ran == [u, "a", u, "b", u, u, u, u, "b", u, u, u, "a", u]
    middle = {"median": 7.5, "rounds": 2}  # of runs 1, 3, 5, 7 and 8, 10, 12, 14
    assert found["unit_seconds"] == middle


def test_there_are_more_rounds_while_there_is_time(monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    found = clock.ratios(lambda: None, {}, rounds=2, least=40)
    assert found["unit_seconds"] == {"median": 1, "rounds": 6}  # of seven ticks each: 42


@pytest.mark.parametrize(("n", "k"), [(5, 1), (6, 1), (8, 1), (9, 2), (21, 6), (50, 18)])
def test_the_interval_of_a_median_is_the_sign_tests(n, k):
    """k from the usual table of the sign test at 5 %; below six values nothing is left out."""
    assert clock.interval([float(i) for i in range(n, 0, -1)]) == (k, n + 1 - k)


def test_all_classes_of_a_peer_are_extrapolated_from_ten_or_from_one():
    assert speed.extrapolated(ROW, "Captum") == 1200
    assert speed.extrapolated(ROW | {"batch": 16, "classes": 10}, "zerocam") == 10.4


def test_the_tables_say_what_is_kept_and_what_is_not():
    slow = ROW | {"batch": 16, "zerocam": cost(1.07)}
    open_ = ROW | {"batch": 16, "zerocam": cost(1.07, 0.03)}
    head, kept, broken, undecided = speed.one({"costs": [ROW, slow, open_]})
    assert head[0] == "Network"
    assert kept == [
        "resnet18", "1", "1.04 (1.03–1.05)", "1.10: kept", "1.20", "1.30", "3.50",
        "1.00 (0.99–1.01)",
    ]  # fmt: skip
    assert (broken[3], undecided[3]) == ("1.05: not kept", "1.05: undecided")
    _, (*start, captum, _, last) = speed.every({"costs": [ROW]})
    assert start == ["resnet18", "1", "1.12 (1.11–1.14)", "1.10: not kept"]
    assert (captum, last) == ("1,200", "3,500")
    assert directive.table([["a", "b"], ["c", "1"]]) == [
        "| a | b |", "| --- | ---: |", "| c | 1 |",
    ]  # fmt: skip


def test_memory_may_hold_two_copies_of_the_activations():
    peaks = dict.fromkeys(("zerocam", "Captum", "TorchCAM", "pytorch-grad-cam"), 120.0)
    row = {"net": "n", "batch": 16, "forward": 100.0, "activation": 10.0, "zerocam, all": 130.0}
    assert speed.memory({"memory": [row | peaks]})[1][7] == "122: kept"
    peaks["zerocam"] = 123.0
    assert speed.memory({"memory": [row | peaks]})[1][7] == "122: not kept"


def test_the_picture_is_the_same_each_time_and_says_what_it_shows():
    assert speed.picture({"costs": [ROW]}) == speed.picture({"costs": [ROW]})
    assert speed.picture({"costs": [ROW]}).startswith("<svg")
    assert "at most 1.04 for one class and 1.1 for all" in speed.said({"costs": [ROW]})
    assert "over all classes: 1,200." in speed.said({"costs": [ROW]})


# ---- the budget ---------------------------------------------------------------------------------


def test_no_chapter_has_too_many_cells_or_words():
    assert budget.over(budget.budget(ROOT)) == []


def test_each_limit_is_named_with_what_breaks_it():
    limits = {key: budget.LIMITS[key] for key in budget.SAYS}
    above = {key: limit + 1 for key, limit in limits.items()}
    assert len(budget.over({"01-page": above})) == len(limits) - 1  # a machine may be busy
    slow = {"seconds": budget.LIMITS["busy"] * limits["seconds"] + 1}
    found = budget.over({"01-page": above | slow})
    assert len(found) == len(limits)
    assert found[0] == "01-page: code cells: got 26, wanted at most 25; cut or split"
    assert budget.over({"01-page": limits}) == []


def test_a_page_weighs_what_its_pictures_weigh(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_images" / "a.png").write_bytes(bytes(5000))
    page = tmp_path / "notebooks" / "01.html"
    page.write_text('<img src="../_images/a.png"><a href="../_images/a.png">' + "x" * 1947)
    assert budget.kilobytes(page) == 7


# ---- the run ------------------------------------------------------------------------------------


def test_a_map_that_differs_from_captums_is_not_timed(monkeypatch):
    model, x, layer = calls.net("resnet18", 64)
    assert calls.disagreement(model, x, layer) < 1e-5
    right = calls.ours_all
    monkeypatch.setattr(calls, "ours_all", lambda *args: right(*args) * 1.001)
    with pytest.raises(ValueError, match=r"ResNet: zerocam and Captum differ by 1\.0e-03"):
        calls.disagreement(model, x, layer)


def test_the_peers_run_the_same_case():
    """Their maps in [0, 1] are ours after ReLU and min-max."""
    model, x, layer = calls.net("resnet18", 64)
    M = calls.ours(model, x, layer)[0].relu()
    scaled = (M - M.min()) / (M.max() - M.min())
    torch.testing.assert_close(calls.torchcam(model, x, layer)[0], scaled, rtol=0, atol=1e-4)
    large = calls.pytorch_grad_cam(model, x, layer)[0]
    assert large.shape == (64, 64)
    assert large.max() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_a_small_run_writes_a_file_that_every_table_can_show(tmp_path):
    out = tmp_path / "b.json"
    said = "--quick --nets resnet18 --batches 1 --rounds 1 --seconds 0"
    assert __main__.main([*said.split(), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["made"]["command"] == f"python -m benchmarks {said}"
    assert found["made"]["threads"] == torch.get_num_threads()
    assert {"torch", "captum", "torchcam", "grad-cam", "cpu", "cores", "date"} <= set(found["made"])
    for name, table in speed.TABLES.items():
        head, *rows = table(found)
        assert bool(rows) == (name != "memory" or memory.MARK.exists())
        assert all(len(row) == len(head) for row in rows)
    (row,) = found["costs"]
    assert all(row[who]["median"] > 0 for who in (*speed.WHO, "zerocam, all", "noise"))
    for peaks in found["memory"]:
        assert peaks["activation"] == 0.0  # 512 x 2 x 2 numbers are 8 kB
        assert peaks["forward"] < peaks["pytorch-grad-cam"]


def test_without_a_mark_that_starts_again_no_memory_is_told(monkeypatch, tmp_path):
    """macOS keeps one mark for the life of a process: a table of it would be untrue."""
    monkeypatch.setattr(memory, "MARK", tmp_path / "absent")
    assert memory.peaks(["resnet18"], 1) == []
    assert speed.memory({"memory": []})[1:] == []


def test_the_stored_run_is_of_all_networks():
    assert {row["net"] for row in STORED["costs"]} == set(calls.NETS)
    assert all(row["disagreement"] <= calls.TOLERANCE for row in STORED["costs"])
    for part in speed.TABLES:
        assert len(speed.TABLES[part](STORED)) > 3
