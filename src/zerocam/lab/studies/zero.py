"""Chapter 8: where zero comes from, in the input and in the hidden units."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from zerocam.lab.scenes import digits
from zerocam.lab.studies.runner import Found, study
from zerocam.lab.training import fit


def he(net: nn.Module, seed: int) -> nn.Module:
    """He-normal weights from a stream of their own, zero biases; changes and returns `net`.

    >>> one, two = (he(nn.Linear(3, 2), seed=0) for _ in range(2))
    >>> torch.equal(one.weight, two.weight), one.bias.tolist()
    (True, [0.0, 0.0])
    """
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            draw = torch.randn(p.shape, generator=g, dtype=torch.float64) if p.ndim > 1 else 0
            p.copy_(torch.as_tensor(draw * (2 / p[0].numel()) ** 0.5))
    return net


def right(net: nn.Module, x: Tensor, labels: Tensor) -> Bool[Tensor, " N"]:
    """Whether the highest score of an image is that of its label.

    >>> right(nn.Identity(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    tensor([ True, False])
    """
    with torch.no_grad():
        return net(x).argmax(1) == labels


@study
def input_codings(seed: int) -> Found:
    """One small net, four codings of the same 8 x 8 digits, the same start and order.

    ink: x.  paper: 1 - x.  centred: x less its mean.  negative: minus that.  early: mean loss of
    the first epoch.  accuracy: on 297 unseen digits after two.  gap_: paper less ink (inverted),
    negative less centred (negated).
    """
    (x, labels), (test, wanted) = digits("train"), digits("test")
    found: dict[str, float | Tensor] = {}
    for name, sign, shift in (
        ("ink", 1, 0), ("paper", -1, 1), ("centred", 1, -x.mean()), ("negative", -1, x.mean())
    ):  # fmt: skip
        with torch.random.fork_rng(devices=[]):  # constructors draw; `he` draws again
            one, two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, padding=1)
            net = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        history = fit(he(net, seed), (sign * x + shift)[:, None], labels, epochs=2, lr=0.05,
                      seed=seed)  # fmt: skip
        found[f"early_{name}"] = history.epochs[0]
        found[f"accuracy_{name}"] = right(net, (sign * test + shift)[:, None], wanted)
    gaps = {"inverted": ("paper", "ink"), "negated": ("negative", "centred")}
    for key in ("early", "accuracy"):
        for gap, (more, less) in gaps.items():  # 1 * makes whole numbers of yes and no
            found[f"gap_{key}_{gap}"] = 1 * found[f"{key}_{more}"] - 1 * found[f"{key}_{less}"]
    return found


class DropTo(nn.Module):
    """a -> value + (a - value) keep / (1 - p), half the time keep = 0: dropout about a value.

    value = 0 is torch's dropout.  In eval mode, and for value None, a -> a.
    """

    def __init__(self, value: float | None, p: float = 0.5):
        super().__init__()
        self.value, self.p = value, p

    def forward(self, a: Tensor) -> Tensor:
        """a, with a share p of its entries at `value` and the others further from it."""
        if self.value is None or not self.training:
            return a
        return self.value + (a - self.value) * (torch.rand_like(a) >= self.p) / (1 - self.p)


@study
def dropped(seed: int) -> Found:
    """What an absent unit says: three trainings, four ways to take 32 of 64 hidden units away.

    Trained without dropout (names end in _none), with it (_zero), and with dropout that writes 2
    (_two).  full: accuracy on 297 unseen digits.  at_zero, at_two, at_mean, resampled: the same
    when a random half of the units, another for each image, is replaced by 0, by 2, by the unit's
    mean, or by its value for another image.  off: share of hidden zeros.  unit: mean activation.
    """
    (x, labels), (test, wanted) = digits("train"), digits("test")
    found: dict[str, Tensor] = {}
    for name, value in (("none", None), ("zero", 0.0), ("two", 2.0)):
        with torch.random.fork_rng(devices=[]):
            net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), DropTo(value), nn.Linear(64, 10))
        fit(he(net, seed), x.flatten(1), labels, epochs=20, batch=50, seed=seed)
        with torch.no_grad():
            known, a = net[:2](x.flatten(1)), net[:2](test.flatten(1))
            g = torch.Generator().manual_seed(seed)
            out = torch.rand(a.shape, generator=g).argsort(1) < 32
            other = known[torch.randint(len(x), (len(a),), generator=g)]
            stand_ins = {"full": a, "at_zero": 0 * a, "at_two": 0 * a + 2,
                         "at_mean": known.mean(0).expand_as(a), "resampled": other}  # fmt: skip
            for how, r in stand_ins.items():
                found[f"{how}_{name}"] = right(net[3], torch.where(out, r, a), wanted)
            found[f"off_{name}"], found[f"unit_{name}"] = a == 0, a
    return found
