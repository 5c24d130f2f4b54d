"""What a call may cost, in forward passes of the same network.

Multiplications are counted, not seconds: the count is the same on every machine, however busy.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zerocam import imagenet
from zerocam.audits import METHODS, audit

pytestmark = pytest.mark.slow
ALONE = ("LaFAM", "local score")  # the latter explains a target of its own, by its own passes
EIGHT = {name: method for name, method in METHODS.items() if name not in ALONE}


def multiplications(call: Callable) -> int:
    """What `call()` multiplies, forwards and backwards."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


class Whole(nn.Module):
    """A model that no tracer can follow, so that every method takes whole passes."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) if len(x) else x


@pytest.mark.parametrize(
    ("way", "least", "most"),
    [("head", 1, 2.5), ("whole model", 29, 34)],
    ids=["split at the layer", "by whole passes"],
)
def test_the_audit_of_eight_methods_costs_few_forward_passes(way, least, most):
    """Counted when written: 2.2 split at the layer, 33.2 by whole passes.

    Of each, 1.1 are the mixtures of 512 channels.  So split at the layer the network runs once,
    and by whole passes 32 times: 8 methods under 8 symmetries share 28 of them, and 4 find the
    layer that the scores are read from.
    """
    model = imagenet.torchvision_net("resnet18")
    x = torch.randn(1, 3, 128, 128)
    alone = multiplications(lambda: model(x))
    audited, layer = (model, "layer4") if way == "head" else (Whole(model), "inner.layer4")
    reports = []
    found = multiplications(lambda: reports.append(audit(EIGHT, audited, x, 7, layer=layer)))
    (report,) = reports
    assert least <= found / alone <= most
    assert report.errors == report.absent == {}
    assert set(report.ran_on.values()) == {way}
    assert report.table().shape == (8, 8)
