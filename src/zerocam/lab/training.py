"""Training that prints the same digits on every machine: own random stream, one thread, float64.

Sums in another order differ by 1e-16 relative in float64; a few hundred steps do not grow that
into a digit anybody prints.  In float32, where the differences are 1e-7, they do.
"""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from zerocam.extras import extra
from zerocam.hooks import forked
from zerocam.lab.nets import WEIGHTS, SceneNet
from zerocam.lab.provenance import made_by, write_json
from zerocam.lab.scenes import digit_scenes
from zerocam.refusals import Refused

OPTIMISERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class History:
    """What a training run leaves behind.

    steps: the loss of each mini-batch, before its step.  epochs: their mean, epoch by epoch.
    watched: what `watch(model)` gave before the first step and after each one.

    >>> model, x = nn.Linear(1, 2).double(), torch.ones(4, 1).double()
    >>> history = fit(model, x, torch.tensor([0, 1, 0, 0]), epochs=2, batch=2)
    >>> len(history.steps), len(history.epochs), history.watched
    (4, 2, ())
    """

    steps: tuple[float, ...]
    epochs: tuple[float, ...]
    watched: tuple[Any, ...] = ()


def fit(
    model: nn.Module,
    x: Float[Tensor, "N ..."],
    targets: Shaped[Tensor, "N ..."],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    epochs: int = 4,
    batch: int = 20,
    lr: float = 0.1,
    optimiser: str = "sgd",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay: bool = True,
    seed: int = 0,
    watch: Callable[[nn.Module], Any] | None = None,
) -> History:
    """Minimise loss(model(x), targets) over mini-batches; trains `model` in place.

    loss: (scores, targets) -> scalar, the mean over a batch.  optimiser: "sgd" (with momentum),
    "adam" or "adamw"; momentum is for sgd only.  decay: the learning rate falls in a straight line
    from lr to 0 over the run; False keeps it at lr.  seed: of the batch order and of dropout.

    Leaves the model in eval mode.  The same call gives the same weights bit for bit on one
    machine, whatever torch.set_num_threads says: it runs on one thread, and sets the process back
    afterwards.  Global random state comes back as it was.

    Raises `Refused` for an unknown optimiser, for sizes or formats that do not fit, and when the
    loss stops being finite.

    A line through (1, 2), by four steps of half the slope:

    >>> model = nn.Linear(1, 1, bias=False).double()
    >>> _ = nn.init.zeros_(model.weight)
    >>> x, t = torch.tensor([[1.0]]).double(), torch.tensor([[2.0]]).double()
    >>> def squared(y, t):
    ...     return (y - t).square().sum() / 2
    >>> history = fit(model, x, t, loss=squared, epochs=4, lr=0.5, momentum=0.0, decay=False)
    >>> history.steps, model.weight.item()
    ((2.0, 0.5, 0.125, 0.03125), 1.875)
    """
    _check(model, x, targets, batch, epochs, optimiser)
    steer = _steer(optimiser, model, lr, momentum, weight_decay)
    order = torch.Generator().manual_seed(seed)
    per_epoch = -(-len(x) // batch)
    steps: list[float] = []
    watched = [] if watch is None else [watch(model)]
    with _training(model, seed):
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=order).split(batch):
                if decay:
                    steer.param_groups[0]["lr"] = lr * (1 - len(steps) / (epochs * per_epoch))
                value = loss(model(x[rows]), targets[rows])
                if not torch.isfinite(value):
                    got = f"{value.item()} at step {len(steps)}"
                    mend = "lower lr, or check that the loss is bounded below"
                    raise Refused("loss", got, "a finite number", mend)
                steer.zero_grad()
                value.backward()
                steer.step()
                steps.append(value.item())
                if watch is not None:
                    watched.append(watch(model))
    by_epoch = [steps[i : i + per_epoch] for i in range(0, len(steps), per_epoch)]
    return History(tuple(steps), tuple(sum(e) / len(e) for e in by_epoch), tuple(watched))


def _check(
    model: nn.Module, x: Tensor, targets: Tensor, batch: int, epochs: int, optimiser: str
) -> None:
    """Refuse what cannot be trained."""
    if optimiser not in OPTIMISERS:
        raise Refused("optimiser", f"{optimiser!r}", f"one of {', '.join(OPTIMISERS)}")
    if len(x) != len(targets) or len(x) == 0:
        raise Refused("targets", f"{len(targets)} for {len(x)} images", "one per image")
    if batch < 1 or epochs < 1:
        raise Refused("batch, epochs", f"{batch}, {epochs}", "1 or more of each")
    dtype = next(model.parameters()).dtype
    if x.dtype != dtype:
        got = f"{x.dtype} for a model in {dtype}"
        mend = "pass x.to(dtype), or make both with dtype=torch.float64"
        raise Refused("x", got, "one format", mend)


def _steer(
    optimiser: str, model: nn.Module, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimiser of this name; only SGD has momentum."""
    if optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), lr, momentum=momentum, weight_decay=weight_decay)
    kind = torch.optim.Adam if optimiser == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr, weight_decay=weight_decay)


@contextmanager
def _training(model: nn.Module, seed: int) -> Iterator[None]:
    """In train mode, on one thread, with random numbers from `seed`; afterwards in eval mode."""
    device = next(model.parameters()).device
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with forked(device), torch.enable_grad():
            # Dropout draws from the global stream of the model's device.
            torch.default_generator.manual_seed(seed)
            if device.type != "cpu":
                torch.get_device_module(device).manual_seed(seed)
            model.train()
            yield
    finally:
        torch.set_num_threads(threads)
        model.eval()
        model.zero_grad()


def mirrored(model: nn.Module) -> nn.Module:
    """The same features under a negated head: a copy with W -> -W and b -> -b, so that y -> -y.

    Negation is exact in floating point.  Trained with the same seed towards negated targets by a
    loss with l(-y, -t) = l(y, t), such as the squared error, the copy keeps the original's features
    bit for bit, and minus its head (tests/test_encodings.py).

    Raises `Refused` unless `model.head` ends in a linear layer.

    >>> net = SceneNet(classes=3)
    >>> torch.equal(mirrored(net).head.linear.weight, -net.head.linear.weight)
    True
    """
    twin: Any = copy.deepcopy(model)
    last = list(twin.head.modules())[-1] if hasattr(twin, "head") else twin
    if not isinstance(last, nn.Linear):
        raise Refused("model", f"a head that ends in {type(last).__name__}", "a Linear last")
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.neg_()
    return twin


def train_scene_net(
    *,
    seed: int = 0,
    n: int = 4000,
    epochs: int = 4,
    dtype: torch.dtype = torch.float64,
    **net: Any,
) -> tuple[SceneNet, History]:
    """The recipe of the shipped weights: n scenes of one digit, cross-entropy, SGD.

    seed: of the scenes, the initial weights and the order.  net: arguments of `SceneNet`.  About
    15 seconds on one core; n=3000 takes 10 and costs little.

    >>> net, history = train_scene_net(n=40, epochs=1, classes=10)
    >>> len(history.steps), net.training
    (2, False)
    """
    scenes = digit_scenes(n, seed=seed, dtype=dtype)
    model = SceneNet(seed=seed, dtype=dtype, **net)
    return model, fit(model, scenes.x, scenes.labels[:, 0], epochs=epochs, seed=seed)


def accuracy(model: nn.Module, x: Float[Tensor, "N ..."], labels: Int[Tensor, " N"]) -> float:
    """Share of images whose highest score is that of their label; from 0 to 1.

    >>> accuracy(nn.Identity(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    0.5
    """
    with torch.no_grad():
        return (model(x).argmax(1) == labels).double().mean().item()


def ship(folder: Path | None = None) -> dict[str, Any]:
    """Make weights/scene_net.safetensors and its record, scene_net.json; returns the record."""
    with extra("lab"):
        from safetensors.torch import save

    folder = Path(str(WEIGHTS)) if folder is None else folder
    model, history = train_scene_net()
    test = digit_scenes(1000, split="test", seed=1000, dtype=torch.float64)
    raw = save({name: value.contiguous() for name, value in model.state_dict().items()})
    record = made_by("python -m zerocam.lab.training") | {
        "seed": 0,
        "sha256": sha256(raw).hexdigest(),
        "loss by epoch": [round(value, 6) for value in history.epochs],
        "accuracy on 1,000 test scenes": accuracy(model, test.x, test.labels[:, 0]),
    }
    folder.mkdir(exist_ok=True)
    (folder / "scene_net.safetensors").write_bytes(raw)
    write_json(folder / "scene_net.json", record)
    return record


if __name__ == "__main__":
    print(json.dumps(ship(), indent=2))
