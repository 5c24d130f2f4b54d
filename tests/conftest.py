"""Shared test settings."""

import os

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


@pytest.fixture
def untyped():
    """Switch the run-time type checks off: a user has none, and our own refusal must speak."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
