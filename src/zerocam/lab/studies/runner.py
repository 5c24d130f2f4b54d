"""Running a study over seeds, here or on a cluster, and storing what it found."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from zerocam.extras import extra
from zerocam.lab.provenance import made_by, write_json
from zerocam.lab.studies.result import Numbers, Result, load
from zerocam.refusals import Refused

with extra("lab"):
    from joblib import Parallel, delayed, parallel_config

Found = Mapping[str, float | str | Tensor]
Study = Callable[[int], Found]
STUDIES: dict[str, Study] = {}
REDRAWN: set[str] = set()


def study(function: Study) -> Study:
    """Register a study under its function's name."""
    STUDIES[function.__name__] = function
    return function


def redrawn(function: Study) -> Study:
    """Say that on another processor a seed gives another network, as another seed would.

    Such a study trains so long in float32 that differences of rounding, 1e-7 at first, grow until
    the two networks differ like two seeds.  The other studies give the same numbers to rounding.
    """
    REDRAWN.add(function.__name__)
    return function


def versions() -> dict[str, str]:
    """What the numbers depend on besides the seed.

    >>> list(versions())
    ['python', 'torch']
    """
    made = made_by("")
    return {"python": made["python"], "torch": made["torch"]}


def run(
    name: str,
    seeds: Iterable[int],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    folder: Path | None = None,
) -> Result:
    """The study's numbers for these seeds, the same however they are computed.

    jobs: processes on this machine.  scheduler: the address of a Dask scheduler, instead.  folder:
    where NAME.json is kept; seeds found there are not run again, and each new one is written as it
    comes.  None stores nothing.

    A Dask cluster runs the seeds of a lost worker again on another one.  Raises `Refused` for an
    unknown study, and when the stored numbers were made with other versions.
    """
    if name not in STUDIES:
        raise Refused("study", f"{name!r}", f"one of {', '.join(STUDIES)}")
    wanted = sorted(set(seeds))
    stored = load(name, folder) if folder and (folder / f"{name}.json").exists() else None
    if stored and {k: stored.made.get(k) for k in versions()} != versions():
        why = f"stored with {stored.made}, this is {versions()}"
        raise Refused(name, mend="delete the file to make all numbers anew", why=why)
    done, of = (dict(stored.seeds), dict(stored.of)) if stored else ({}, {})
    todo = [seed for seed in wanted if seed not in done]
    with _backend(jobs, scheduler):
        work = (delayed(_one)(STUDIES[name], seed) for seed in todo)
        for seed, numbers, counted in Parallel(return_as="generator_unordered", batch_size=1)(work):
            done[seed] = numbers
            of |= counted
            if folder:
                _write(name, done, of, folder)
    return Result(name, {seed: done[seed] for seed in wanted}, of=of)


@contextmanager
def _backend(jobs: int, scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        with parallel_config("loky", n_jobs=jobs) if jobs > 1 else nullcontext():
            yield
        return
    with extra("cluster"):
        from distributed import Client

    with Client(scheduler) as client, parallel_config("dask", client=client):
        yield


def measured(found: Found) -> tuple[Numbers, dict[str, int]]:
    """The means of what a study found, in float64, and out of how many where it counted.

    >>> measured({"right": torch.tensor([True, False, True, True]), "loss": 0.5, "name": "a"})
    ({'right': 0.75, 'loss': 0.5, 'name': 'a'}, {'right': 4})
    """
    numbers = {
        key: v if isinstance(v, str) else torch.as_tensor(v, dtype=torch.float64).mean().item()
        for key, v in found.items()
    }
    counts = {k: v for k, v in found.items() if isinstance(v, Tensor) and not v.is_floating_point()}
    return numbers, {key: v.numel() for key, v in counts.items()}


def _one(function: Study, seed: int) -> tuple[int, Numbers, dict[str, int]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order everywhere
    try:
        return seed, *measured(function(seed))
    finally:
        torch.set_num_threads(threads)


def _write(name: str, done: dict[int, Numbers], of: dict[str, int], folder: Path) -> None:
    seeds = sorted(done)
    span = f"{seeds[0]}:{seeds[-1] + 1}"
    if seeds != list(range(seeds[0], seeds[-1] + 1)):
        span = ",".join(map(str, seeds))
    made = made_by(f"python -m zerocam.lab.studies {name} --seeds {span}")
    result = Result(name, {s: done[s] for s in seeds}, made, of)
    write_json(folder / f"{name}.json", asdict(result))
