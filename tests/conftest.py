"""What holds for every test: its random draws, what it may not leave behind, how long it may take.

No test depends on the tests before it, or on the worker that runs it.  Before it starts, the global
random states are seeded by its name; when it has ended, the settings of the process must be what
they were.  `--random-order-seed=N` shuffles the files and the tests in them, and every test draws
other numbers.
"""

import os
import random
import sys
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from jaxtyping import config

# One, since the tensors are tiny and two processes share the machine; others for a trial.
torch.set_num_threads(int(os.environ.get("ZEROCAM_THREADS", "1")))

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
# For wrong versions of the code: to find one failing example is enough, do not shrink it.
settings.register_profile(
    "mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci")

LIBRARIES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")  # set by scikit-learn when it is imported
QUICK = 5  # seconds: a test that takes longer belongs to those marked slow


def seed(name: str) -> None:
    """Set the global random states of Python, NumPy and PyTorch from a name."""
    number = crc32(name.encode())
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  (the state that the code under test could use)
    torch.manual_seed(number)


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
        **{f"${k}": v for k, v in os.environ.items() if "PYTEST" not in k and k not in LIBRARIES},
    }


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest):
    """Seed a test by its name, and fail it if it leaves the process in another state.

    The name is that of the file and the test, without the folder and the group of a worker.
    Fixtures of a whole module run before: those that draw have a seed of their own.
    """
    order = request.config.getoption("random_order_seed")
    series = "" if order.startswith("default:") else order
    seed(f"{series} {request.node.path.name} {request.node.name}")
    before = process_state()
    yield
    after = process_state()
    changed = {what for what, _ in before.items() ^ after.items()}
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
    reports = terminalreporter.getreports("passed")
    late = [r for r in reports if r.duration > QUICK and "slow" not in r.keywords]
    if late:
        terminalreporter.section(f"over {QUICK} s and not marked slow")
    for report in sorted(late, key=lambda r: -r.duration)[:10]:
        terminalreporter.line(f"{report.duration:5.1f} s  {report.when:8} {report.nodeid}")
