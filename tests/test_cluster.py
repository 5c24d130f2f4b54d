"""The serial numbers again: on two processes, on a Dask cluster, after the death of a worker."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from zerocam.experiments import STUDIES, load, run
from zerocam.models import SceneNet
from zerocam.scenes import digit_scenes
from zerocam.training import fit


def short_training(seed: int) -> dict[str, float]:
    """A real net on few pictures: a sum in another order would show in the last digits."""
    scenes, net = digit_scenes(40, seed=seed), SceneNet(seed=seed)
    history = fit(net, scenes.x, scenes.labels[:, 0], epochs=1, seed=seed)
    return {"loss": history.steps[-1], "weights": net.head.linear.weight.sum().item()}


def fragile(seed: int, fuse: Path) -> dict[str, float]:
    """As `short_training`, but the process that first meets seed 3 is killed."""
    if seed == 3 and fuse.exists():
        fuse.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return short_training(seed)


@pytest.fixture
def studies(monkeypatch, tmp_path):
    """A registry with two small studies, and the fuse of the second."""
    fuse = tmp_path / "fuse"
    fuse.touch()
    monkeypatch.setitem(STUDIES, "short_training", short_training)
    monkeypatch.setitem(STUDIES, "fragile", partial(fragile, fuse=fuse))
    return fuse


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.filterwarnings("default")  # joblib and dask have their own warnings
def test_two_processes_give_the_serial_numbers(studies):
    assert run("short_training", range(5), jobs=2) == run("short_training", range(5))


@pytest.mark.filterwarnings("default")
def test_a_cluster_of_two_processes_gives_the_serial_numbers(studies, cluster):
    there = run("short_training", range(8), scheduler=cluster.scheduler_address)
    assert there == run("short_training", range(8))
    assert there.keys() == ["loss", "weights"]


@pytest.mark.filterwarnings("default")
def test_a_worker_killed_on_the_way_loses_nothing(studies, cluster, tmp_path):
    result = run("fragile", range(8), scheduler=cluster.scheduler_address, folder=tmp_path)
    assert not studies.exists()  # somebody did die
    assert result.seeds == run("short_training", range(8)).seeds
    assert load("fragile", tmp_path).seeds == result.seeds
