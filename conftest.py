"""What holds for every test: its random draws, what it may not leave behind, how long it may take.

No test depends on the tests before it, or on the worker that runs it.  Before it starts, the global
random states are seeded by its name; when it has ended, the settings of the process must be what
they were.  `--random-order-seed=N` shuffles the files and the tests in them, and every test draws
other numbers.
"""

import contextlib
import os
import random
import sys
import threading
from pathlib import Path
from zlib import crc32

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from jaxtyping import config

from tests.groups import pytest_collection_modifyitems as pytest_collection_modifyitems

# One, since the tensors are tiny and two processes share the machine; others for a trial.
torch.set_num_threads(int(os.environ.get("ZEROCAM_THREADS", "1")))

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
# For wrong versions of the code: to find one failing example is enough, do not shrink it.
settings.register_profile(
    "mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci")

QUICK = 4  # processor seconds: a test that takes more belongs to those marked slow


def seed(name: str) -> None:
    """Set the global random states of Python, NumPy and PyTorch from a name."""
    number = crc32(name.encode())
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 the state that tested code could use
    torch.manual_seed(number)


def processor_seconds() -> float:
    """What this process and those that it waited for have computed, whatever else is running."""
    return sum(os.times()[:4])


def process_state() -> dict[str, object]:
    """What belongs to the process, so that a change would reach the next test."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return {
        "the default dtype": torch.get_default_dtype(),
        "the number of threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the shape checks": config.jaxtyping_disable,
        "open figures": tuple(pyplot.get_fignums()) if pyplot else (),
        "the folder": os.getcwd(),
    }


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest):
    """Seed a test by its name, and fail it if it leaves the process in another state.

    The name is that of the file and the test, without the folder and the group of a worker.
    Fixtures of a whole module run before: those that draw have a seed of their own.  Matplotlib's
    settings, which `plots.style` changes, and environment variables, of which libraries set some
    for themselves, are put back.
    """
    order = request.config.getoption("random_order_seed")
    series = "" if order.startswith("default:") else order
    seed(f"{series} {request.node.path.name} {request.node.name}")
    before, environment, start = process_state(), dict(os.environ), processor_seconds()
    with matplotlib.rc_context():
        yield
    seconds = processor_seconds() - start
    request.node.user_properties.append(("processor seconds", round(seconds, 2)))
    os.environ.clear()
    os.environ.update(environment)
    changed = {what for what, _ in before.items() ^ process_state().items()}
    assert not changed, f"the test changed and did not put back: {', '.join(sorted(changed))}"


@pytest.fixture
def untyped():
    """Switch the run-time type checks off: a user has none, and our own refusal must speak."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)


def pytest_terminal_summary(terminalreporter) -> None:
    """Name the tests that `make quick` runs and that are not quick."""
    reports = [r for r in terminalreporter.getreports("") if "slow" not in r.keywords]
    spent = {r.nodeid: dict(r.user_properties).get("processor seconds", 0) for r in reports}
    late = sorted((s for s in spent.items() if s[1] > QUICK), key=lambda s: -s[1])
    if late:
        terminalreporter.section(f"over {QUICK} processor seconds and not marked slow")
    for name, seconds in late[:10]:
        terminalreporter.line(f"{seconds:6.1f} s  {name}")


@pytest.fixture
def through_a_pipe(tmp_path):
    """A function: the path of a pipe out of which these bytes come, once."""
    writers = []

    def path_of(raw: bytes) -> Path:
        def write():
            with contextlib.suppress(BrokenPipeError):  # closed too early: for the test to notice
                pipe.write_bytes(raw)

        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writers.append(threading.Thread(target=write, daemon=True))
        writers[-1].start()
        return pipe

    yield path_of
    for writer in writers:
        writer.join(timeout=5)
