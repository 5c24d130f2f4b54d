"""Training: one step by hand, the same bits on any number of threads, the shipped weights again."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests import turns
from zerocam import grad_cam, metrics
from zerocam.lab import training
from zerocam.lab.nets import WEIGHTS, SceneNet, scene_net
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.training import fit


def line(weight=3.0):
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, weight)
    return model


def half_square(y, t):
    return (y - t).square().mean() / 2


X, T = torch.tensor([[2.0]]).double(), torch.tensor([[4.0]]).double()
PLAIN = {"loss": half_square, "batch": 1, "decay": False, "momentum": 0.0}


def small(dtype=torch.float64, n=120, nudge=0.0, seed=0, **options):
    found = digit_scenes(n, seed=1, dtype=dtype)
    model = SceneNet(seed=2, dtype=dtype, dropout=options.pop("dropout", 0.0))
    with torch.no_grad():
        model.features.conv1.weight.mul_(1 + nudge)
    history = fit(model, found.x, found.labels[:, 0], epochs=2, seed=seed, **options)
    return model, history


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(),
                                                 strict=True))  # fmt: skip


# ---- by hand ------------------------------------------------------------------------------------


def test_two_steps_worked_by_hand():
    """w = 3, x = 2, t = 4: the loss is 2, the gradient 4; with lr 1/8 w becomes 5/2, then 9/4."""
    model = line()
    history = fit(model, X, T, epochs=2, lr=1 / 8, **PLAIN)
    assert history.steps == (2.0, 0.5)
    assert model.weight.item() == 2.25


def test_the_rate_falls_in_a_straight_line():
    """Four steps on a constant slope of 1 move by lr (1 + 3/4 + 1/2 + 1/4)."""
    model = line(0.0)
    fit(model, X / 2, T, loss=lambda y, t: y.mean(), batch=1, epochs=4, lr=1.0, momentum=0.0)
    assert model.weight.item() == -2.5


def test_weight_decay_and_momentum_reach_the_optimiser():
    model = line(8.0)
    options = PLAIN | {"loss": lambda y, t: 0 * y.sum(), "weight_decay": 0.5, "momentum": 0.5}
    fit(model, X, T, epochs=2, lr=1 / 4, **options)
    assert model.weight.item() == 8 - 1 - (0.5 * 4 + 0.5 * 7) / 4


def test_history_counts_steps_epochs_and_what_was_watched():
    x, t = X.expand(5, 1), T.expand(5, 1)
    model = line()
    history = fit(
        model, x, t, epochs=3, lr=0.0, watch=lambda m: m.weight.item(), **PLAIN | {"batch": 2}
    )
    assert history.steps == (2.0,) * 9  # 5 images in batches of 2: 3 steps an epoch
    assert history.epochs == (2.0,) * 3
    assert history.watched == (3.0,) * 10


def test_every_image_is_used_once_an_epoch():
    seen = []
    x = torch.arange(7.0).double()[:, None]
    fit(
        line(), x, x, loss=lambda y, t: (seen.extend(t[:, 0].tolist()), 0 * y.sum())[1],
        batch=3, epochs=2,
    )  # fmt: skip
    assert sorted(seen[:7]) == sorted(seen[7:]) == x[:, 0].tolist()
    assert seen[:7] != seen[7:]


# ---- laws: what must not matter, and what must --------------------------------------------------


@pytest.mark.parametrize("optimiser", training.OPTIMISERS)
def test_the_number_of_threads_changes_no_bit(optimiser):
    threads = torch.get_num_threads()
    try:
        runs = []
        for n in (1, 2):
            torch.set_num_threads(n)
            runs.append(small(torch.float32, optimiser=optimiser, lr=0.01, dropout=0.2))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_the_seed_decides_the_order_and_nothing_else_does():
    before = torch.random.get_rng_state()
    a, b, c = small(), small(), small(seed=1)
    assert same(a[0], b[0])
    assert not same(a[0], c[0])
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    assert same(small(dropout=0.5)[0], small(dropout=0.5)[0])


def test_the_streams_of_other_devices_are_left_alone(monkeypatch):
    """torch.manual_seed seeds every device, and only that of the model is put back."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    small()
    assert seeded == []


def test_dropout_does_not_change_the_order_of_the_images():
    x = torch.arange(9.0).double()[:, None]
    orders = []
    for model in (line(), nn.Sequential(nn.Dropout(0.5), line())):
        seen = []
        fit(
            model, x, x, loss=lambda y, t, seen=seen: (seen.extend(t[:, 0].tolist()), y.sum())[1],
            batch=2, epochs=2, lr=0.0,
        )  # fmt: skip
        orders.append(seen)
    assert orders[0] == orders[1]


def test_rounding_does_not_reach_printed_digits_in_float64():
    """Another machine sums in another order: a nudge of one unit in the last place stands for it.

    In float64 a run stays together to 12 digits; in float32 it is 100,000 times further apart.
    """
    apart = {}
    for dtype in (torch.float64, torch.float32):
        nudge = torch.finfo(dtype).eps
        a, b = (small(dtype, n=200, nudge=e)[1].steps for e in (0.0, nudge))
        apart[dtype] = max(abs(x - y) for x, y in zip(a, b, strict=True))
    assert apart[torch.float64] < 1e-12
    assert apart[torch.float32] > 1e5 * apart[torch.float64]


def test_the_model_comes_back_in_eval_mode_without_gradients():
    model, _ = small()
    assert not any(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


# ---- second route -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "theirs"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_fit_is_the_loop_everybody_writes(name, theirs):
    x = torch.arange(12.0).double().reshape(6, 2) / 10
    t = torch.tensor([0, 1, 0, 1, 1, 0])
    ours = nn.Linear(2, 2).double()
    plain = copy.deepcopy(ours)
    fit(ours, x, t, optimiser=name, lr=0.1, weight_decay=0.3, batch=6, epochs=5, decay=False)
    step = theirs(plain.parameters(), 0.1, weight_decay=0.3)
    for _ in range(5):
        step.zero_grad()
        F.cross_entropy(plain(x), t).backward()
        step.step()
    torch.testing.assert_close(ours.weight, plain.weight, rtol=1e-12, atol=0)


# ---- the shipped weights ------------------------------------------------------------------------


if turns.has_turn("training"):  # in every fourth commit: turns.py

    @pytest.mark.slow
    def test_training_again_gives_the_shipped_weights():
        """To 1e-7: rounding grows to about 1e-11 over the run; the rest is for other machines."""
        model, history = training.train_scene_net()
        record = json.loads((WEIGHTS / "scene_net.json").read_text())
        assert history.epochs == pytest.approx(record["loss by epoch"], abs=1e-6)
        for name, value in scene_net(dtype=torch.float64).state_dict().items():
            again = model.state_dict()[name]
            torch.testing.assert_close(again, value, rtol=1e-7, atol=1e-7, msg=name)


def test_the_shipped_net_reads_one_digit_and_points_at_either_of_two():
    model = scene_net()
    one = digit_scenes(1000, split="test", seed=1000)
    record = json.loads((WEIGHTS / "scene_net.json").read_text())
    read = training.accuracy(model, one.x, one.labels[:, 0])
    assert read == pytest.approx(record["accuracy on 1,000 test scenes"], abs=0.002)
    assert read > 0.96
    two = digit_scenes(500, digits=2, split="test", seed=1001)
    for j in range(2):
        M = grad_cam(model, two.x, two.labels[:, j], layer="features")
        hits = metrics.pointing(metrics.enlarge(M, 40), two.masks[:, j])
        assert hits.double().mean() > 0.9


def test_shipping_writes_what_scene_net_reads(tmp_path, monkeypatch):
    trained = small()
    monkeypatch.setattr(training, "train_scene_net", lambda: trained)
    record = training.ship(tmp_path)
    assert (tmp_path / "scene_net.safetensors").stat().st_size < 1e6
    monkeypatch.setattr("zerocam.lab.nets.WEIGHTS", tmp_path)
    assert same(scene_net(dtype=torch.float64), trained[0])
    assert json.loads((tmp_path / "scene_net.json").read_text()) == record


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "lion"}, "optimiser: got 'lion', wanted one of sgd, adam, adamw"),
        ({"targets": T.expand(2, 1)}, "targets: got 2 for 1 images"),
        ({"x": X.float()}, r"x: got torch.float32 for a model in torch.float64.*x.to\(dtype\)"),
        ({"loss": lambda y, t: y.sum() * torch.inf}, "loss: got inf at step 0.*bounded below"),
        ({"batch": 0}, "batch, epochs: got 0, 1, wanted 1 or more"),
    ],
)
def test_what_cannot_be_trained_is_refused(untyped, options, message):
    call = {"x": X, "targets": T, "loss": half_square, "epochs": 1} | options
    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match=message):
        fit(line(), call.pop("x"), call.pop("targets"), **call)
    assert torch.get_num_threads() == threads
