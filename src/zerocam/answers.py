"""What a model is given, and what it answers: the one place where either is judged.

    x    images (N, ch, H, W), or all that the model takes: a tuple, or a dict by its names
    y    what it returns: scores (N, C), or an output that names its `logits`

The images of a tuple or a dict are its first tensor of three axes or more; everything else goes
into the model as it is.  Signals (N, ch, L) and volumes (N, ch, D, H, W) are images as well.
"""

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zerocam.refusals import LayerRefused, Refused

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def images(x: Inputs) -> Tensor:
    """The images in what a model is given: (N, ch, H, W), or of one or three sizes.

    >>> pixels, age = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1)
    >>> images({"age": age, "pixels": pixels}) is images((pixels, age)) is images(pixels) is pixels
    True
    """
    if isinstance(x, Tensor):
        return x
    parts = list(x.values() if isinstance(x, Mapping) else x) if x else []
    for part in parts:
        if isinstance(part, Tensor) and part.ndim > 2:
            return part
    got = f"a {type(x).__name__} of {', '.join(_said(part) for part in parts) or 'nothing'}"
    raise Refused("x", got, "images (N, ch, H, W) in it")


def replaced(x: Inputs, other: Tensor) -> Inputs:
    """The same inputs with other images.

    >>> pixels, age = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1)
    >>> replaced((pixels, age), torch.ones(2, 3, 4, 4))[0].shape
    torch.Size([2, 3, 4, 4])
    """
    there = images(x)
    return _each(x, lambda part: other if part is there else part)


def first(x: Inputs) -> Inputs:
    """The first image, with the first row of whatever has a row for each image.

    >>> pixels, age = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1)
    >>> [part.shape[0] for part in first((pixels, age))]
    [1, 1]
    """
    rows = images(x).shape[:1]
    return _each(x, lambda part: part[:1] if isinstance(part, Tensor) and part.shape[:1] == rows
                 else part)  # fmt: skip


def _each(x: Inputs, change: Callable[[Any], Any]) -> Inputs:
    """The same inputs, each part of them changed."""
    if isinstance(x, Mapping):
        return {key: change(part) for key, part in x.items()}
    return tuple(change(part) for part in x) if isinstance(x, tuple) else change(x)


def answer(model: nn.Module, x: Inputs) -> Any:
    """What the model returns, or the `logits` in it.

    Where it raises, and we know what would help because we have tried it, `Refused` says so.

    >>> class Named(nn.Module):
    ...     def forward(self, pixels, scale):
    ...         return {"logits": scale * pixels.mean((2, 3))}
    >>> answer(Named(), (torch.ones(1, 2, 4, 4), 3.0))
    tensor([[3., 3.]])
    """
    args, named = _given(x)
    try:
        y = model(*args, **named)
    except Refused:  # by a hook of ours
        raise
    except Exception as error:  # the model's own code, which may raise anything
        if refused := _cause(model, x):
            raise refused from error
        raise
    return y.get("logits", y) if isinstance(y, Mapping) else getattr(y, "logits", y)


def refuse_bad_input(model: Any, x: Any) -> None:
    """`Refused` for a model that cannot be hooked, or an x that holds no batch of images."""
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    if parallel or hasattr(model, "_orig_mod"):  # the latter is made by torch.compile
        mend = f"pass model.{'module' if parallel else '_orig_mod'}"
        raise Refused("model", f"a {type(model).__name__}", "the nn.Module inside it", mend)
    if isinstance(model, torch.jit.ScriptModule):
        raise Refused("model", "TorchScript", "the nn.Module it was made from", "take that")
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise Refused("model", got, "an nn.Module", "make one, and load its weights into it")
    wanted = "a float tensor (N, ch, H, W)"
    if not isinstance(x, Tensor | tuple | Mapping):
        raise Refused("x", _said(x), wanted, _MENDS.get(type(x).__name__, "make a tensor of it"))
    x = images(x)
    if not x.is_floating_point():
        mend = "x.float() / 255, and what else was done to images in training"
        mend = "real and imaginary parts as channels" if x.is_complex() else mend
        raise Refused("x", _said(x), wanted, mend)
    if not 3 <= x.ndim <= 5:
        raise Refused("x", _said(x), wanted, "give each image its channels, rows and columns")
    if x.is_meta:
        raise Refused("x", "a tensor on the device meta, which has no values", "one with values")
    if len(x) == 0:
        raise Refused("x", f"an empty batch {tuple(x.shape)}", "at least one image")
    if any(map(nn.parameter.is_lazy, model.parameters())):
        got = "weights without values, of a lazy layer that has not run"
        raise Refused("model", got, "a trained one", "run it once, then load its weights")


def refuse_one_image(model: nn.Module, x: Inputs) -> None:
    """`Refused` for (ch, H, W) without a batch axis: so it is where x[None] has one row of scores.

    Signals (N, ch, L) and tokens (N, T, D) look the same: these, as they are, have N rows.
    """
    if isinstance(x, Tensor) and x.ndim == 3 and _takes(model, x[None]):
        rows, n = _rows(model, x) or (), len(x)
        turned = rows == (n, 1) and n > 1 and _rows(model, x[None]) == (1, n)  # means of channels
        if len(rows) != 2 or rows[0] != n or turned:
            mend = "add a batch axis: x[None], or pass (x,) if it has one"
            raise Refused("x", _said(x), "a float tensor (N, ch, H, W)", mend)


def refuse_bad_scores(y: Any, n: int) -> None:
    """`Refused` unless y holds finite scores (N, C), or one row of them for all images together."""
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) not in (1, n):
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise Refused("model", f"{got} as its output", f"scores (N, C) with N = {n}", OWN_TARGET)
    if not y.is_floating_point():
        mend = "return the numbers they were made from, which have a gradient"
        raise Refused("model", f"{y.dtype} as its scores", "floats", mend)
    refuse_non_finite(y, "scores")


def refuse_non_finite(t: Tensor, what: str) -> None:
    """`Refused` that names the images with NaN or inf."""
    # a finite sum has finite terms, and is found 20 times as fast; another may have overflowed
    if not (math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())):
        bad = (~torch.isfinite(t)).reshape(len(t), -1).any(1).nonzero()[:, 0].tolist()
        raise Refused(what, f"NaN or inf for image {bad[:5]}", "finite numbers",
                      "check the input and the weights, or run in float32")  # fmt: skip


# ---- why a gradient does not arrive --------------------------------------------------------------


class End:
    """A hook that finds the first module which gets a gradient to hand on, and does not.

    at: its kind; "" where there is none.  checkpoint: whether the layer runs inside a reentrant
    checkpoint, which hands on no gradient to what is inside.
    """

    at, checkpoint = "", False

    def look_around(self) -> None:
        """Note whether what calls this runs inside a reentrant checkpoint."""
        frame = sys._getframe()
        while frame := frame.f_back:  # type: ignore[assignment]
            self.checkpoint |= frame.f_code.co_qualname == "CheckpointFunction.forward"

    def __call__(self, module: nn.Module, args: Any, out: Any) -> None:
        """Note the module if its input has a gradient to hand on and its output has none."""
        listens = any(isinstance(a, Tensor) and a.requires_grad for a in args)
        if not self.at and listens and isinstance(out, Tensor) and not out.requires_grad:
            self.at = type(module).__name__


def tensors(y: Any) -> Iterator[Tensor]:
    """The tensors in what a model answers, in dicts, tuples and lists of any depth.

    >>> len(list(tensors({"out": (torch.zeros(2), 3), "boxes": [torch.ones(1)]})))
    2
    """
    parts = [y]
    for part in parts:  # which grows meanwhile
        if isinstance(part, Mapping | tuple | list):
            parts += part.values() if isinstance(part, Mapping) else part
        elif isinstance(part, Tensor):
            yield part


def steps(y: Any) -> Iterator[Any]:
    """The steps of autograd on the ways back from the tensors in y."""
    todo, met = [part.grad_fn for part in tensors(y)], set()
    while todo:
        step = todo.pop()
        if step is not None and step not in met:
            yield step
            met.add(step)
            todo += [before for before, _ in step.next_functions]


def reaches(y: Any, leaf: Tensor) -> bool:
    """Whether a gradient of something in y can arrive at the leaf: it stands in the graph of y.

    No gradient is taken.

    >>> a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    >>> reaches({"out": (2 * a, 3)}, a), reaches({"out": (2 * a, 3)}, b)
    (True, False)
    """
    return any(getattr(step, "variable", None) is leaf for step in steps(y))


def reentrant(y: Any) -> bool:
    """Whether a reentrant checkpoint stands in the graph of y."""
    return any(step.name() == "CheckpointFunctionBackward" for step in steps(y))


def quantised(model: nn.Module) -> str:
    """The name of the first module that computes with whole numbers; "" if there is none."""
    parts = model.named_modules()
    return next((name for name, m in parts if "quantized" in type(m).__module__), "")


def no_gradient(name: str, model: nn.Module, end: End | None = None) -> LayerRefused:
    """What to raise where no gradient of the target reaches the layer; end: where it ends."""
    mend = "choose a layer the scores need, or a target that uses them"
    why = "cut by a detach, no_grad or inference_mode?"
    if end and end.checkpoint:
        why, mend = "the layer runs inside a checkpoint with use_reentrant=True", REENTRANT
    elif part := quantised(model):
        why, mend = f"{part!r} computes with whole numbers, which have none", FLOATS
    elif end and end.at:
        why = f"cut in a {end.at} by a detach, no_grad or inference_mode?"
    why = f"no gradient of the target reaches it ({why})"
    return LayerRefused(f"layer {name!r}", mend=mend, why=why)


OWN_TARGET = (
    "pass a target of your own, a function of this output with a number for each image: lambda y: "
    'y["out"][:, c] of a dict, y[0][:, c] of a tuple, y[:, c].mean((1, 2)) of a mask, y of (N,)'
)
FLOATS = "explain the float model that it was made from"
REENTRANT = "make the checkpoint with use_reentrant=False, or turn checkpointing off"

# ---- what the user gave, and what would do -------------------------------------------------------

_MENDS = {  # what is no tensor, by the name of its type: none of these packages need be there
    "ndarray": "torch.from_numpy(x).float(), as (N, ch, H, W)",
    "Image": "zerocam.photos.read_photo(path)[None] makes a tensor of a picture",
    "list": "torch.stack(x), or a tuple if the model takes several inputs",
}


def _said(x: Any) -> str:
    return f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def _given(x: Inputs) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """(positional, named) arguments of the model."""
    if isinstance(x, Mapping):
        return (), x
    return (x if isinstance(x, tuple) else (x,)), {}


def _takes(model: nn.Module, x: Tensor) -> bool:
    """Whether the model makes a row of scores of each image in x."""
    rows = _rows(model, x)
    return rows is not None and (not rows or (len(rows) > 1 and rows[0] == len(x)))


def _rows(model: nn.Module, x: Tensor) -> tuple[int, ...] | None:
    """The shape of the scores, () if they are no tensor; None where the model does not take x."""
    try:
        y = model(x)
    except Exception:  # as above
        return None
    y = y.get("logits", y) if isinstance(y, Mapping) else getattr(y, "logits", y)
    return tuple(y.shape) if isinstance(y, Tensor) else ()


def _other(model: nn.Module, x: Tensor) -> Iterator[tuple[Tensor, str]]:
    """(other images, how they are made) of images that may have been meant."""
    p = next(model.parameters(), x)
    if (p.dtype, p.device) != (x.dtype, x.device):
        yield x.to(p), f"x.to({p.device.type!r}, {p.dtype}), as the weights are"
    if x.ndim == 3:
        yield x[None], "add a batch axis: x[None]"
    if x.ndim == 4:
        yield x.permute(0, 3, 1, 2), "its channels are last: x.permute(0, 3, 1, 2)"
    if x.ndim == 4 and x.shape[1] == 1:
        yield x.expand(-1, 3, -1, -1), "repeat the grey channel: x.expand(-1, 3, -1, -1)"
    if x.ndim == 4 and x.shape[1] == 4:
        yield x[:, :3], "leave its opacity out: x[:, :3]"
    if x.ndim == 5:
        frames = x.transpose(1, 2).flatten(0, 1)
        yield frames, "make each frame an image: x.transpose(1, 2).flatten(0, 1)"
        yield x.flatten(0, 1), "make one axis of its first two: x.flatten(0, 1)"


def _cause(model: nn.Module, x: Inputs) -> Refused | None:
    """What is wrong, if we can tell: the number of inputs, the weights, or the layout of x."""
    args, named = _given(x)
    takes = inspect.signature(model.forward)
    try:
        takes.bind(*args, **named)
    except TypeError as unbound:
        wanted = f"what {type(model).__name__}.forward takes, {takes}"
        mend = "pass all of it, as a tuple x=(images, more) or a dict by its names"
        return Refused("x", f"inputs with {unbound}", wanted, mend)
    if any(p.is_inference() for p in model.parameters()) and torch.is_grad_enabled():
        mend = "copy.deepcopy(model), outside of inference_mode, has others"
        return Refused("model", "weights made in inference_mode", "weights with gradients", mend)
    if isinstance(x, Tensor):
        with torch.no_grad():
            for other, mend in _other(model, x):
                if _takes(model, other):
                    return Refused("x", _said(x), "what the model takes, (N, ch, H, W)", mend)
    return None
