"""Studies over seeds: means, intervals, what is stored, runs that go on.  See test_cluster.py."""

import json

import pytest
import torch

from zerocam import experiments
from zerocam.experiments import STUDIES, Result, load, run


def squares(seed: int) -> dict[str, float]:
    """Sums of squares of random numbers; cheap, and any change of order would show."""
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(seed))
    return {"sum": (noise * noise).sum(), "first": noise[0].item()}


@pytest.fixture
def studies(monkeypatch):
    monkeypatch.setitem(STUDIES, "squares", squares)


def test_mean_and_interval_by_hand():
    result = Result("r", {0: {"a": 1.0}, 1: {"a": 2.0}, 2: {"a": 3.0}})
    assert result["a"].tolist() == [1, 2, 3]
    assert result.mean("a") == 2
    half = 4.302652729911275 / 3**0.5  # t(0.975, 2) times the standard error; the std is 1
    assert result.interval("a") == pytest.approx((2 - half, 2 + half))
    assert result.interval("a", one_more=True) == pytest.approx((2 - 2 * half, 2 + 2 * half))
    line = "a = 2.0; a_low = -0.5; a_high = 4.5"
    assert result.line("a", digits=1) == result.line(digits=1) == line
    assert result.line(b="a", digits=1) == line.replace("a", "b")


def test_a_mean_that_rounds_to_zero_has_no_sign():
    result = Result("r", {0: {"a": -0.001}, 1: {"a": -0.001}})
    assert result.line("a") == "a = 0.00; a_low = 0.00; a_high = 0.00"


def test_a_run_cut_short_goes_on_where_it_stopped(studies, tmp_path, monkeypatch):
    asked = []

    def tired(seed):
        asked.append(seed)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return squares(seed)

    monkeypatch.setitem(STUDIES, "tired", tired)
    with pytest.raises(KeyboardInterrupt):
        run("tired", range(4), folder=tmp_path)
    assert list(load("tired", tmp_path).seeds) == [0, 1]
    result = run("tired", range(4), folder=tmp_path)
    assert asked == [0, 1, 2, 2, 3]
    assert result.seeds == run("squares", range(4)).seeds == load("tired", tmp_path).seeds


def test_the_file_says_how_it_was_made(studies, tmp_path):
    run("squares", [0, 1], folder=tmp_path)
    run("squares", [1, 2], folder=tmp_path)
    stored = json.loads((tmp_path / "squares.json").read_text())
    assert stored["made"]["command"] == "python -m zerocam.experiments squares --seeds 0:3"
    assert {"python", "torch", "date"} <= stored["made"].keys()
    assert stored["seeds"]["2"] == run("squares", [2]).seeds[2]  # all digits are kept
    run("squares", [5], folder=tmp_path)
    assert load("squares", tmp_path).made["command"].endswith("--seeds 0,1,2,5")
    assert list(run("squares", [5, 1], folder=tmp_path).seeds) == [1, 5]  # those asked for


def test_words_are_stored_and_not_averaged(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "named", lambda seed: {"name": f"n{seed}", "a": seed})
    found = run("named", [1, 2], folder=tmp_path)
    assert found.keys() == ["a"]
    assert load("named", tmp_path).seeds == {1: {"name": "n1", "a": 1.0}, 2: {"name": "n2", "a": 2}}
    assert found.line(digits=1).startswith("a = 1.5; a_low")


def test_refusals(studies, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"study: got 'cubes', wanted one of .*squares"):
        run("cubes", [0])
    with pytest.raises(ValueError, match="seeds: got 1, wanted 2 or more"):
        run("squares", [0]).interval("sum")
    run("squares", [0], folder=tmp_path)
    monkeypatch.setattr(experiments, "versions", lambda: {"torch": "0"})
    with pytest.raises(ValueError, match="delete the file"):
        run("squares", [1], folder=tmp_path)
