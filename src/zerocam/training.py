"""Training that gives the same numbers on every machine: own random stream, one thread, float64.

Sums in another order differ by 1e-16 relative in float64; a few hundred steps do not grow that
into a digit anybody prints.  In float32, where the differences are 1e-7, they do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

OPTIMISERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class History:
    """What a training run leaves behind.

    steps: the loss of each mini-batch, before its step.  epochs: their mean, epoch by epoch.
    watched: what `watch(model)` gave before the first step and after each one.
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
    batch: int = 32,
    lr: float = 0.2,
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

    Raises ValueError for an unknown optimiser, for sizes or formats that do not fit, and when the
    loss stops being finite.
    """
    if optimiser not in OPTIMISERS:
        raise ValueError(f"optimiser: got {optimiser!r}, wanted one of {', '.join(OPTIMISERS)}")
    parameters = list(model.parameters())
    if len(x) != len(targets) or len(x) == 0:
        raise ValueError(f"targets: got {len(targets)} for {len(x)} images, wanted one per image")
    if x.dtype != parameters[0].dtype:
        raise ValueError(
            f"x: got {x.dtype} for a model in {parameters[0].dtype}, wanted one format; "
            "pass x.to(dtype), or make both with dtype=torch.float64"
        )
    if optimiser == "sgd":
        steer = torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)
    else:
        kind = torch.optim.Adam if optimiser == "adam" else torch.optim.AdamW
        steer = kind(parameters, lr, weight_decay=weight_decay)
    order = torch.Generator().manual_seed(seed)
    per_epoch = -(-len(x) // batch)
    steps: list[float] = []
    watched = [] if watch is None else [watch(model)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)  # dropout draws from the global stream; fork_rng restores it
            model.train()
            for _ in range(epochs):
                for rows in torch.randperm(len(x), generator=order).split(batch):
                    if decay:
                        steer.param_groups[0]["lr"] = lr * (1 - len(steps) / (epochs * per_epoch))
                    value = loss(model(x[rows]), targets[rows])
                    if not torch.isfinite(value):
                        raise ValueError(
                            f"loss: got {value.item()} at step {len(steps)}, wanted a finite "
                            "number; lower lr, or check that the loss is bounded below"
                        )
                    steer.zero_grad()
                    value.backward()
                    steer.step()
                    steps.append(value.item())
                    if watch is not None:
                        watched.append(watch(model))
    finally:
        torch.set_num_threads(threads)
        model.eval()
        model.zero_grad()
    by_epoch = [steps[i : i + per_epoch] for i in range(0, len(steps), per_epoch)]
    return History(tuple(steps), tuple(sum(e) / len(e) for e in by_epoch), tuple(watched))
