"""What a call may cost, in forward passes of the same network measured in the same run.

Times are CPU seconds of one thread (conftest.py), so that other processes on the machine count
little; a ratio is the median over rounds in which both sides run one after the other.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from zerocam import models
from zerocam.audit import METHODS, audit

EIGHT = {name: method for name, method in METHODS.items() if name != "LaFAM"}


def forward_passes(call: Callable, model: nn.Module, x: torch.Tensor, rounds: int) -> float:
    """The cost of `call()` in forward passes of the model."""

    def seconds(what: Callable) -> float:
        start = time.process_time()
        what()
        return time.process_time() - start

    def forward() -> None:
        with torch.inference_mode():
            model(x)

    forward(), call()  # the first run of each pays for what later runs find ready
    ratios = []
    for _ in range(rounds):
        alone = statistics.median(seconds(forward) for _ in range(3))
        ratios.append(seconds(call) / alone)
    return statistics.median(ratios)


class Whole(nn.Module):
    """A model that no tracer can follow, so that every method takes whole passes."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) if len(x) else x


def cost(whole: bool) -> float:
    """The cost of the audit, split at the layer or by whole passes, in forward passes."""
    torch.set_num_threads(1)
    model = models.torchvision_net("resnet18")
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    audited, layer = (Whole(model), "inner.layer4") if whole else (model, "layer4")
    reports = []

    def call() -> None:
        reports.append(audit(EIGHT, audited, x, 7, layer=layer))

    found = forward_passes(call, model, x, rounds=1 if whole else 5)
    assert set(reports[0].ran_on.values()) == {"whole model" if whole else "head"}
    assert reports[0].table().shape == (8, 7)
    return found


@pytest.mark.parametrize(
    ("way", "limit"), [("split", 10), ("whole", 80)], ids=["split at the layer", "by whole passes"]
)
def test_the_audit_of_eight_methods_costs_few_forward_passes(way, limit):
    """Measured when written: about 5 split at the layer, 30 by whole passes.

    In a process of its own: here every call is checked for its shapes, which doubles the cost.
    """
    run = [sys.executable, __file__, way]
    found = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert 1 < float(found) <= limit


if __name__ == "__main__":
    print(cost(sys.argv[1] == "whole"))
