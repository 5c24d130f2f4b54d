"""The writing page's data, and the same by the package: any drawing, and no probability moved."""

import copy
import json

import pytest
import torch

from zerocam import activations, grad_cam, imagenet
from zerocam.lab import write


@pytest.fixture(scope="module")
def seen():
    """The network, its features of the photograph (K, Z), and the map of espresso (Z,)."""
    lite = imagenet.efficientnet_lite0().double()
    A = activations(lite, write.photograph(), layer="features")
    row = lite.head.linear.weight.detach()[imagenet.imagenet_class("espresso")]
    A = A[0].flatten(1)
    return lite, A, row @ A / A.shape[1]


def test_what_is_packed_is_unpacked_to_half_a_step(seen):
    _, A, _ = seen
    back = write.unpacked(*write.data()["A"], tuple(A.shape))
    assert (back - A).abs().max() <= 0.51 * write.TOP / write.STEPS
    assert (A == 0).double().mean() > 0.95


def test_gaps_longer_than_a_byte_are_packed():
    A = torch.zeros(3, 600)
    A[0, 254] = A[1, 0] = A[2, 599] = 6.0
    A[2, 598] = 3.0
    assert torch.allclose(write.unpacked(*write.packed(A), (3, 600)), A.double(), atol=1e-4)


@pytest.mark.claim("C2")
def test_every_position_is_free_and_a_drawing_is_the_map(seen):
    lite, A, M = seen
    Z = A.shape[1]
    assert torch.linalg.matrix_rank(A) == Z == 14 * 28
    drawing = (torch.rand(Z) > 0.7).double() * M.max()
    v = write.extra_weights(A, M, drawing)
    head = copy.deepcopy(lite.head)
    head.linear.weight.data += v
    features = A.view(1, -1, 14, 28)
    model = torch.nn.Sequential(torch.nn.Identity(), head)
    c = imagenet.imagenet_class("espresso")
    drawn = grad_cam(model, features, c, layer="0", relu=False)[0]
    assert (drawn.flatten() - drawing).abs().max() < 1e-9 * M.max()
    with torch.no_grad():
        moved = model(features).softmax(1) - lite.head(features).softmax(1)
    assert moved.abs().max() < 1e-12
    other = torch.linalg.svd(A.T, full_matrices=False).Vh  # what A sees of v is all of v
    assert (v - other.T @ (other @ v)).norm() < 1e-9 * v.norm()


def test_with_few_channels_it_comes_as_near_as_it_can(seen):
    _, A, M = seen
    drawing = (torch.rand(len(M)) > 0.7).double() * M.max()
    v = write.extra_weights(A, M, drawing, channels=100)
    assert int((v != 0).sum()) == 100
    rows = A[v != 0]
    left = M + v @ A / len(M) - drawing
    assert left.abs().max() > 0.1 * M.max()
    assert (rows @ left).abs().max() < 1e-9 * rows.norm() * left.norm()  # no step makes it less


def test_the_stored_data_are_what_the_network_gives():
    stored, built = write.data(), json.loads(json.dumps(write.build()))
    assert stored.keys() == built.keys()
    for key in ("title", "classes", "numbers", "shape", "colours"):
        assert stored[key] == built[key]
    for key in ("row", "unit"):
        assert stored[key] == pytest.approx(built[key], rel=1e-6)
    shape = tuple(stored["shape"])
    shape = (shape[0], shape[1] * shape[2])
    a, b = (write.unpacked(*some["A"], shape) for some in (stored, built))
    assert (a - b).abs().max() < 1e-3  # float64 on any processor, less than a step would be 1e-4


def test_the_page_is_one_piece_that_asks_nobody():
    page = write.show()
    assert len(page.encode()) < 200_000
    assert "http" not in page
    assert page.count("</script>") == 1
    assert "export " not in page
    assert "import " not in page
