"""References: by hand, then how each moves when the layer is re-coded."""

import pytest
import torch
from nets import C, K, Net, h, heads, images, integers, w
from torch import nn

import zerocam
from zerocam import references

A = torch.tensor([[[[1.0, 3.0]], [[2.0, -4.0]]]]).double()  # N, K, h, w = 1, 2, 1, 2


def test_by_hand():
    assert references.zero(A).tolist() == [[[[0]]]]
    assert references.spatial_mean(A).flatten().tolist() == [2, -1]
    assert references.data_mean(torch.cat([A, 3 * A]))(A).flatten().tolist() == [4, -2]


def test_the_mean_of_a_map_referenced_to_its_mean_is_zero():
    M = zerocam.signed_map(
        integers(2, K, seed=1), (a := 8 * integers(2, K, h, w, seed=2)) - references.spatial_mean(a)
    )
    assert torch.equal(M.sum((1, 2)), torch.zeros(2).double())


@pytest.mark.claim("G1")
def test_the_referenced_map_sums_to_the_difference_of_scores():
    """sum_ij M_r = s(A) - s(r) for a head that averages and is then linear."""
    model, x, blank = Net(heads()["gap"]), images(), images(1, seed=5)
    M = zerocam.grad_cam(
        model, x, 2, layer="features", relu=False,
        reference=references.baseline(model, blank, "features"),
    )  # fmt: skip
    assert torch.equal(M.sum((1, 2)), model(x)[:, 2].detach() - model(blank)[:, 2].detach())


def test_a_reference_tensor_and_its_callable_agree():
    model, x = Net(heads()["mlp"]), images()
    r = integers(1, K, 1, 1, seed=4)
    maps = [
        zerocam.grad_cam(model, x, 1, layer="features", relu=False, reference=reference)
        for reference in (r, lambda A: r)
    ]
    assert torch.equal(*maps)
    alpha = zerocam.channel_weights(zerocam.tap(model, x, 1, layer="features").G)
    zero = zerocam.grad_cam(model, x, 1, layer="features", relu=False)
    assert torch.equal(zero - maps[0], (alpha @ r.flatten())[:, None, None].expand_as(zero))


class Rows(nn.Module):
    """Its layer puts out channels last, and runs twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.fc = nn.Linear(2, 2).double(), nn.Linear(2, C).double()

    def forward(self, x):
        return self.fc(self.layer(self.layer(x.permute(0, 2, 3, 1))).mean((1, 2)))


@pytest.mark.parametrize("call", [0, 1])
def test_a_baseline_is_read_where_the_map_is(call):
    """An image less itself is zero, at any layer that `grad_cam` can read."""
    x, where = images(1), {"layer": "layer", "reshape": zerocam.channels_first, "call": call}
    model = Rows()
    M = zerocam.grad_cam(
        model, x, 1, relu=False, reference=references.baseline(model, x, **where), **where
    )
    assert torch.equal(M, torch.zeros(1, h, w).double())


def test_all_classes_take_the_same_reference():
    model, x = Net(heads()["gap"]), images()
    every = zerocam.grad_cam_all(
        model, x, layer="features", relu=False, reference=references.spatial_mean
    )
    for c in range(C):
        one = zerocam.grad_cam(
            model, x, c, layer="features", relu=False, reference=references.spatial_mean
        )
        assert torch.equal(every[:, c], one)
    assert every.shape == (2, C, h, w)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (lambda A: A.mean((2, 3)), r"got shape \(2, 3\), wanted a tensor broadcastable to A"),
        (torch.zeros(7), r"got shape \(7,\), wanted a tensor broadcastable"),
        (lambda A: 0, r"got int, wanted a tensor broadcastable"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        zerocam.grad_cam(Net(heads()["gap"]), images(), 1, layer="features", reference=reference)
