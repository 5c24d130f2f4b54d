"""The serial numbers again: on two processes, on a Dask cluster, after the death of a worker."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests import turns
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies import STUDIES, load, run
from zerocam.lab.training import fit

# In one process: both wait for others, and the cluster keeps two more busy.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]


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
def serial():
    """The seeds that the others must give, one after the other in this process."""
    return {seed: short_training(seed) for seed in range(6)}


@pytest.mark.filterwarnings("default")  # joblib and dask have their own warnings
def test_two_processes_give_the_serial_numbers(studies, serial):
    found = run("short_training", range(6), jobs=2)
    assert found.keys() == ["loss", "weights"]
    assert found.seeds == run("short_training", range(6)).seeds == serial


if turns.has_turn("cluster"):  # in every fourth commit: turns.py

    @pytest.mark.filterwarnings("default")
    def test_a_cluster_that_loses_a_worker_gives_the_serial_numbers(studies, serial, tmp_path):
        from distributed import LocalCluster

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            result = run("fragile", range(6), scheduler=cluster.scheduler_address, folder=tmp_path)
        assert not studies.exists()  # somebody did die
        assert result.seeds == load("fragile", tmp_path).seeds == serial
