"""Studies over seeds: the same numbers serially, in parallel, on a cluster, after a death."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from zerocam import experiments
from zerocam.experiments import STUDIES, Result, load, run


def squares(seed: int) -> dict[str, float]:
    """Sums of squares of random numbers; cheap, and any change of order would show."""
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(seed))
    return {"sum": (noise * noise).sum(), "first": noise[0].item()}


def fragile(seed: int, fuse: Path) -> dict[str, float]:
    """As squares, but the process that first meets seed 3 is killed."""
    if seed == 3 and fuse.exists():
        fuse.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(seed)


@pytest.fixture
def studies(monkeypatch, tmp_path):
    """A registry with two small studies, and the fuse of the second."""
    fuse = tmp_path / "fuse"
    fuse.touch()
    monkeypatch.setitem(STUDIES, "squares", squares)
    monkeypatch.setitem(STUDIES, "fragile", partial(fragile, fuse=fuse))
    return fuse


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def test_mean_and_interval_by_hand():
    result = Result("r", {0: {"a": 1.0}, 1: {"a": 2.0}, 2: {"a": 3.0}})
    assert result["a"].tolist() == [1, 2, 3]
    assert result.mean("a") == 2
    half = 4.302652729911275 / 3**0.5  # t(0.975, 2) times the standard error; the std is 1
    assert result.interval("a") == pytest.approx((2 - half, 2 + half))
    assert result.interval("a", one_more=True) == pytest.approx((2 - 2 * half, 2 + 2 * half))
    assert result.line("a", digits=1) == "a = 2.0; a_low = -0.5; a_high = 4.5"


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


def test_refusals(studies, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"study: got 'cubes', wanted one of .*squares"):
        run("cubes", [0])
    with pytest.raises(ValueError, match="seeds: got 1, wanted 2 or more"):
        run("squares", [0]).interval("sum")
    run("squares", [0], folder=tmp_path)
    monkeypatch.setattr(experiments, "versions", lambda: {"torch": "0"})
    with pytest.raises(ValueError, match="delete the file"):
        run("squares", [1], folder=tmp_path)


@pytest.mark.filterwarnings("default")  # joblib and dask have their own
def test_two_processes_give_the_serial_numbers(studies):
    assert run("squares", range(5), jobs=2) == run("squares", range(5))


@pytest.mark.filterwarnings("default")
def test_a_cluster_of_two_processes_gives_the_serial_numbers(studies, cluster):
    there = run("squares", range(8), scheduler=cluster.scheduler_address)
    assert there == run("squares", range(8))
    assert there.keys() == ["sum", "first"]


@pytest.mark.filterwarnings("default")
def test_a_worker_killed_on_the_way_loses_nothing(studies, cluster, tmp_path):
    result = run("fragile", range(8), scheduler=cluster.scheduler_address, folder=tmp_path)
    assert not studies.exists()  # somebody did die
    assert result.seeds == run("squares", range(8)).seeds
    assert load("fragile", tmp_path).seeds == result.seeds
