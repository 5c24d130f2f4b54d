"""Exercises that check themselves: right, not yet (with a hint), or nothing yet.

`exercises.toml` holds for each exercise a right function, inputs, and typical mistakes, each a
wrong function with a hint.  A hint is given when the student's function does what that mistake
does, on every input.  Nothing is read from the student's code: what acts right is right.
"""

import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch
import torch.nn.functional as F  # noqa: F401  for exercises.toml
from torch import Tensor, nn

from zerocam import cam, metrics, references  # noqa: F401  for exercises.toml
from zerocam.lab.nets import SceneNet

EXERCISES = tomllib.loads((files("zerocam.lab") / "exercises.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Verdict:
    """state: "right", "not yet" or "nothing yet"; hint: what to say to the student."""

    state: str
    hint: str

    def __str__(self) -> str:
        return f"{self.state}. {self.hint}"


class _Hint(Exception):
    """What to tell the student instead of a traceback."""


def attempt(function: Callable) -> None:
    """Print what `verdict` says of a student's function.

    >>> def class_maps(W, A): ...
    >>> attempt(class_maps)
    ○ class_maps: nothing yet. Write the function, then run this cell again.
    """
    found = verdict(function)
    mark = {"right": "✓", "not yet": "△", "nothing yet": "○"}[found.state]
    print(f"{mark} {function.__name__}: {found}")


def verdict(function: Callable) -> Verdict:
    """Compare the function of an exercise with the right one and with each mistake.

    It never raises for what the student wrote.  Raises ValueError when no exercise has its name.
    """
    name = function.__name__
    if name not in EXERCISES:
        raise ValueError(f"function: got {name!r}, wanted one of {', '.join(EXERCISES)}")
    right, *wrong = functions(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            got = _results(name, function)
        except _Hint as hint:
            return Verdict("not yet", str(hint))
        if got is None:
            return Verdict("nothing yet", "Write the function, then run this cell again.")
        wanted = _results(name, right)
        if all(map(_same, got, wanted)):
            return Verdict("right", f"It agrees on {len(wanted)} inputs.")
        for mistake, hint in zip(wrong, EXERCISES[name]["mistakes"].values(), strict=True):
            if all(map(_same, got, _results(name, mistake))):
                return Verdict("not yet", hint)
    return Verdict("not yet", _general(got, wanted, list(EXERCISES[name]["inputs"])))


def functions(name: str) -> list[Callable]:
    """The right function of an exercise, then its mistakes in the order of the file."""
    exercise, scope = EXERCISES[name], dict(globals())
    scope["right"] = _function(exercise["takes"], exercise["right"], scope)
    return [scope["right"], *(_function(exercise["takes"], w, scope) for w in exercise["mistakes"])]


def _function(takes: str, gives: str, scope: dict) -> Callable:
    return eval(f"lambda {takes}: ({gives})", scope)


def _inputs(name: str) -> list[tuple]:
    """Made anew each time, so that nobody can spoil them."""
    return [eval(f"({given},)", globals()) for given in EXERCISES[name]["inputs"].values()]


def _results(name: str, function: Callable) -> list[list[Tensor]] | None:
    """What the function gives on each input, ready to compare; None if it gives nothing."""
    found: list[list[Tensor]] = []
    exercise, gives = EXERCISES[name], EXERCISES[name].get("compare", "result")
    seen = _function(f"result, {exercise['takes']}", gives, globals())
    for special, given, kept in zip(exercise["inputs"], _inputs(name), _inputs(name), strict=True):
        try:
            where = f"Given {special}, it stops with"
            result = function(*given)
            if result is None and not found:
                return None
            if not _same(_tensors(given), _tensors(kept)):
                raise _Hint("It changes what it was given. Work on a copy.")
            where = "What it returns does not fit the question:"
            found.append(_tensors(seen(result, *kept)))
        except NotImplementedError:
            return None
        except _Hint:
            raise
        except Exception as error:
            what = (str(error).splitlines() or [""])[0]
            raise _Hint(f"{where} {type(error).__name__}: {what}") from None
    return found


def _tensors(value: Any) -> list[Tensor]:
    """A flat list of tensors; of a network its state, of a function nothing."""
    if isinstance(value, nn.Module):
        return _tensors(list(value.state_dict().values()))
    if isinstance(value, tuple | list):
        return [part for item in value for part in _tensors(item)]
    return [] if callable(value) else [torch.as_tensor(value).detach().double()]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        p.shape == q.shape and torch.allclose(p, q, rtol=1e-5, atol=1e-7, equal_nan=True)
        for p, q in zip(a, b, strict=True)
    )


def _general(got: list[list[Tensor]], wanted: list[list[Tensor]], inputs: list[str]) -> str:
    """A hint for a mistake that is not in the list."""
    good = [_same(a, b) for a, b in zip(got, wanted, strict=True)]
    first = good.index(False)
    where, a, b = f"Given {inputs[first]}, it", got[first], wanted[first]
    if len(a) != len(b):
        return f"{where} returns {len(a)} things, wanted {len(b)}."
    if [p.shape for p in a] != [q.shape for q in b]:
        return f"{where} has the shape {[*a[0].shape]}, wanted {[*b[0].shape]}."
    if not all(p.isfinite().all() for p in a):
        return f"{where} gives nan or inf. Where does it divide by zero?"
    if any(good):
        return f"It is right on {sum(good)} of {len(good)} inputs. {where} is not."
    p, q = (torch.cat([t.flatten() for part in both for t in part]) for both in (got, wanted))
    factor = ((p @ q) / (q @ q)).item()
    if torch.allclose(p, q.relu()):
        return "What is negative has become zero. No ReLU was asked for."
    if factor and torch.allclose(p, factor * q, rtol=1e-5, atol=1e-7):
        return f"It is right up to a factor of {factor:.3g}."
    return "These numbers come from none of the usual mistakes. Do the smallest case by hand."


# What the expressions of exercises.toml use.


def draw(seed: int, *shape: int) -> Tensor:
    """Normal random numbers, float64."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def small_net(seed: int) -> SceneNet:
    """An untrained network of 3 + seed classes, with biases."""
    net = SceneNet(3 + seed, seed=seed, dtype=torch.float64).eval()
    net.head.linear.bias.data = draw(seed, 3 + seed)
    return net


def with_weights(net: SceneNet, W: Tensor) -> SceneNet:
    """A network with the biases of a net and these weights of the head, and nothing else."""
    new = SceneNet(len(W), dtype=W.dtype)
    new.head.linear.weight.data, new.head.linear.bias.data = W.clone(), net.head.linear.bias.data
    return new


def with_row(alpha: Tensor, row: int) -> Tensor:
    """The identity with alpha as its first row, and the row it would lose moved into its place."""
    Q = torch.eye(len(alpha)).to(alpha)
    Q[row], Q[0] = Q[0].clone(), alpha
    return Q


def spread(A: Tensor, over: tuple[int, ...], least: float = 1e-300) -> Tensor:
    """A from 0, its lowest value over these dimensions, to 1."""
    low, high = A.amin(over, keepdim=True), A.amax(over, keepdim=True)
    return (A - low) / (high - low).clamp(min=least)


def apart(M: Tensor) -> Tensor:
    """How much the difference of each two maps varies over positions."""
    gap = (M[:, None] - M).flatten(2)
    return gap.amax(2) - gap.amin(2)


def louder(M: Tensor) -> Tensor:
    """The largest absolute value of the one or the other of each two maps."""
    largest = M.abs().amax((1, 2))
    return torch.maximum(largest[:, None], largest)


def cam_from(net: SceneNet, x: Tensor, c: int, **how: Any) -> Tensor:
    """The signed map at the features, unless `how` says otherwise."""
    return cam.grad_cam(net, x, c, **{"layer": "features", "relu": False} | how)
