"""Where a heatmap can be made: find the last layer with positions that the scores depend on.

    x   images                               (N, ch, H, W)
    A   the layer's output                   (N, K, h, w), tokens (N, T, K), or (N, h, w, K)
    y   class scores before the softmax      (N, C)         [score]

Which axes of an output are positions is found by experiment, not by their sizes.  The image is
changed in one strip of pixels at a time, first across, then down.  Row i of a map answers most to
the strip that lies where row i lies; channels and class tokens answer to all strips alike.
"""

import copy
import itertools
import math
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zerocam import answers, hooks
from zerocam.answers import Inputs
from zerocam.refusals import LayerRefused, Refused
from zerocam.targets import Target

STRIPS = 8  # so many across and so many down, or as many as there are pixels
PLACED = 0.75  # the share of positions that must answer most to a strip near their own
IN_ORDER = 0.8  # the correlation of their rows with the strips that they answer to
MIDDLE = 0.6  # a map of the whole image spreads over no less of it
OFF = 0.3  # of the image: so far its first and last row may lie from the strips that move them
FEW, SURE = 4, 1.2  # so few rows must answer so many times more clearly than alike
FLAT = 0.7  # tokens without a place answer so much less clearly than the others
HELD = 2  # times the largest output: so much is held of the layers that are tried at a time
MANY = 8  # channels that a network with channels last has at least
ZERO = "the gradient of every score is zero there (are the weights behind it zero?)"
UNTOLD = "by changing the image we could not tell which output axes are positions of all of it"


# what layers have proved to be: (K, h, w, H, W), each with positions last
TOLD: weakref.WeakKeyDictionary[nn.Module, set[tuple[int, ...]]] = weakref.WeakKeyDictionary()


@torch.inference_mode(False)
def suggest_layer(
    model: nn.Module, x: Inputs, target: Target | None = None
) -> tuple[dict[str, Any], str]:
    """(where, why): the last layer with positions that the scores depend on, and the reason.

    where holds the arguments `layer` and, unless the output is (N, K, h, w), `reshape`:
    ``grad_cam(model, x, **where)``.  target: where the model does not return scores (N, C), a
    function of what it returns, as `grad_cam` takes it.

    Looked for from the end, on the first image of x, by changing strips of it and watching what
    moves: 17 forward passes for every few layers that are tried, and some for each; in all some 20,
    and some 100 where it goes far back.  Passed over: poolings, which only blur the layer before;
    layers that run more than once; layers with a channel for each class, which are the head's;
    branches, which part of the image goes round; tokens of which the scores read one position, as
    all do behind the last attention of a ViT, where only the class token counts; and outputs whose
    positions a change of the image does not tell, as of merged tokens.  If only the entrance of
    the network is left then, nothing is suggested.

    Raises `Refused` when no layer is left, with what was passed over, and as `grad_cam` does.

    >>> parts = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    >>> where, why = suggest_layer(nn.Sequential(*parts, nn.Linear(8, 3)), torch.randn(1, 1, 8, 8))
    >>> print(where, why, sep="; ")
    {'layer': '1'}; the last layer with positions that the scores depend on: 8 channels, 6 x 6; \
activations are never negative
    """
    seen, x, asked = _seen(model, x, target)
    runs = Counter(layer.name for layer in seen)
    entrance = sum(layer.weighs for layer in seen) / 5
    passed: dict[str, str] = {}
    reason: str | None
    left = [k for k in reversed(range(len(seen))) if seen[k].may_have_positions]
    left = [k for k in left if not seen[k].copies]
    for part in _parts(seen, left):
        if ZERO in passed and _deaf(model, x, asked.any, {seen[k].name for k in left}):
            break  # 17 passes for every part would find the same
        once = [seen[k] for k in part if runs[seen[k].name] == 1 and not seen[k].pools]
        grids = _grids(model, x, once)
        for k in part:
            name, grid = seen[k].name, grids.get(seen[k].name)
            if seen[k].pools or runs[name] > 1:
                reason = "it only pools the layer before"
                if runs[name] > 1:
                    reason = f"it runs {runs[name]} times (name it and call=0 to {runs[name] - 1})"
            elif grid is None:
                reason = UNTOLD
            else:
                where = {"layer": name} | grid.reshape()
                reason = _unfit(model, x, where, asked, grid, seen[k].shape)
                if reason is None and UNTOLD in passed:
                    early = sum(layer.weighs for layer in seen[: k + 1]) < entrance
                    reason = "it is the entrance of the network" if early else None
                if reason is None:
                    return where, _why(model, x, where) + _said(passed)
            passed.setdefault(reason, name)
    passed |= _without_hooks(model)
    wanted = f"one with output (N, K, h, w) or tokens (N, T, D) before the scores{_said(passed)}"
    raise Refused("layer", f"none to suggest in this {type(model).__name__}", wanted,
                  "name one with layer=, mend that, or try a larger image")  # fmt: skip


def named_layer(model: nn.Module, x: Inputs, layer: str) -> dict[str, Any]:
    """The arguments of `grad_cam` for a layer you name: with the `reshape` its output needs.

    Take it where you know the layer and not its shape.  Raises `Refused` for a name that the model
    has not, and where a change of the image does not tell which axes of the output are positions:
    then only you can say it, with a `reshape`.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> named_layer(net, torch.ones(1, 1, 8, 8), "0")
    {'layer': '0'}
    """
    hooks.find_layer(model, layer)
    every, x, _ = _seen(model, x, hooks.any_score)
    found = {seen.name: seen for seen in every}.get(layer)
    if found is None or not found.may_have_positions:
        return {"layer": layer}  # `grad_cam` says what is wrong with it
    grid = _grids(model, x, [found])[layer]
    if grid is None:
        got = f"output of shape {found.shape}, and {UNTOLD}"
        mend = "name another, or call grad_cam with a reshape of your own"
        raise LayerRefused(f"layer {layer!r}", got, mend=mend)
    return {"layer": layer} | grid.reshape()


# ---- which layers there are ----------------------------------------------------------------------


class _Asked(NamedTuple):
    """What the network is asked: a target that listens to all it says, one of one class, and C."""

    one: Target | int
    any: Target
    classes: int


@dataclass(frozen=True)
class _Seen:
    """A module that ran, by what it did to the first image."""

    name: str
    shape: tuple[int, ...]  # of its output; () if that is no tensor
    weighs: bool  # it has parameters of its own
    pools: bool  # it has no parameters, and gives fewer or more of what it got
    copies: bool  # it gives what it got

    @property
    def may_have_positions(self) -> bool:
        """Whether its output has two axes or more, beside those of size 1."""
        return sum(n > 1 for n in self.shape) > 1


def _seen(model: nn.Module, x: Inputs, target: Target | None) -> tuple[list[_Seen], Inputs, _Asked]:
    """Every module that ran for the first image, in order; that image; and what is asked."""
    answers.refuse_bad_input(model, x)
    answers.refuse_one_image(model, x)
    x = answers.first(x)
    names = {module: name for name, module in model.named_modules() if name}
    seen: list[_Seen] = []
    pooled: list[weakref.ref[Tensor]] = []

    def keep(module: nn.Module, args: Any, out: Any) -> None:
        out = hooks.first_of(out)
        floats = isinstance(out, Tensor) and out.is_floating_point()
        shape = tuple(out.shape) if floats else ()
        got = tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ()
        free = next(module.parameters(), None) is None
        sizes = [n != m for n, m in zip(shape, got, strict=False)]
        resized = len(got) == len(shape) and 0 < sum(sizes) <= 2
        pools = free and resized and 1 < math.prod(shape) != math.prod(got)
        if pools:
            pooled.append(weakref.ref(out))
        pools = pools or (isinstance(out, Tensor) and any(out is p() for p in pooled))
        copies = isinstance(module, nn.Dropout | nn.Identity)
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            copies = shape == got  # a pooling to the size that there is
        weighs = next(module.parameters(recurse=False), None) is not None
        seen.append(_Seen(names[module], shape, weighs, pools, copies))

    with hooks.hooked(names, keep), torch.no_grad(), hooks.left_as_it_was(model, x):
        y = answers.answer(model, x)
    if answers.images(x).ndim == 5:
        mend = "name a layer, and pass reshape=lambda A: A.flatten(2, 3)"
        raise Refused("x", "volumes", "images or signals, to find positions by changing them", mend)
    if target is None:
        answers.refuse_bad_scores(y, 1)
        return seen, x, _Asked(int(y[0].argmax()), hooks.any_score, y.shape[1])
    classes = y.shape[1] if isinstance(y, Tensor) and y.ndim > 1 else 0
    return seen, x, _Asked(target, target, classes)


def _without_hooks(model: nn.Module) -> dict[str, str]:
    """{reason: name} of the first part whose layers cannot be looked into."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            return {"it is TorchScript (put the nn.Module it was made from in its place)": name}
    part = answers.quantised(model)
    return {f"whole numbers have no gradient ({answers.FLOATS})": part} if part else {}


def _parts(seen: list[_Seen], left: list[int]) -> Iterator[list[int]]:
    """The layers to try, a few at a time: their outputs are held meanwhile."""
    room = HELD * max((math.prod(layer.shape) for layer in seen), default=0)
    part: list[int] = []
    for k in left:
        if part and sum(math.prod(seen[j].shape) for j in [*part, k]) > room:
            yield part
            part = []
        part.append(k)
    if part:
        yield part


def _said(passed: dict[str, str]) -> str:
    return "".join(f"; not {name!r}: {reason}" for reason, name in passed.items())


def _why(model: nn.Module, x: Inputs, where: dict[str, Any]) -> str:
    A = hooks.activations(model, x, **where)[0]
    K, h, w = A.shape
    sign = "have both signs" if A.min() < 0 else "are never negative"
    return (
        f"the last layer with positions that the scores depend on: {K} channels, {h} x {w}; "
        f"activations {sign}"
    )


def _unfit(
    model: nn.Module,
    x: Inputs,
    where: dict[str, Any],
    asked: _Asked,
    grid: "Grid",
    shape: tuple[int, ...],
) -> str | None:
    """Why a layer is no place for a heatmap; None if it is one."""
    try:
        A, G, *_ = hooks.tap(model, x, asked.any, **where)
        if A.shape[1] == asked.classes > 1:
            heard = hooks.tap(model, x, asked.one, **where).G.flatten(2).any(2)[0]
            if heard.sum() <= 1:
                return "each class has a channel of its own there"
    except LayerRefused as refused:
        return refused.why
    if not G.any():
        return ZERO
    if G.any(1).sum() <= 1:
        return "the scores read at most one position of it"
    tokens = _Tokens(shape, grid.axes[0], grid.skip) if grid.skip else None
    if _goes_round(model, x, where["layer"], asked.any, tokens):
        return "part of the image goes round it (of several branches, name one)"
    return None


def _deaf(model: nn.Module, x: Inputs, target: Target, layers: set[str]) -> bool:
    """Whether the gradient of every score is zero at each of these layers; one pass each way."""
    heard: list[bool] = []

    def listen(_module: nn.Module, _args: Any, out: Any) -> None:
        if isinstance(out := hooks.first_of(out), Tensor) and out.requires_grad:
            out.register_hook(lambda G: heard.append(bool(G.any())))

    leaf = answers.images(x).detach().clone().requires_grad_()
    behind = hooks.hooked(map(model.get_submodule, layers), listen)
    with behind, torch.enable_grad(), hooks.left_as_it_was(model, x):
        s = target(answers.answer(model, answers.replaced(x, leaf * 1)))
    if answers.reentrant(s) or not answers.reaches(s, leaf):
        return False
    torch.autograd.grad(s.sum(), leaf)
    return not any(heard)


def _goes_round(
    model: nn.Module, x: Inputs, layer: str, target: Target, tokens: "_Tokens | None" = None
) -> bool:
    """Whether there is a way from the image to the scores that does not pass the layer.

    tokens: those without a place, whose own way up to the layer does not count.  Without such,
    nothing is kept of the steps on the way but that they were: no gradient is taken.
    """
    leaf = answers.images(x).detach().clone().requires_grad_()
    others = hooks.held(model)

    def detached(module: nn.Module, args: Any, out: Any) -> Any:
        if tokens:
            tokens.held = None
        first = hooks.first_of(out)
        if hooks.its_own(module, args, first, others):
            first.detach_()
            return None
        return hooks.instead(out, first.detach())

    cut = hooks.hooked([model.get_submodule(layer)], detached)
    dropped = torch.autograd.graph.saved_tensors_hooks(lambda t: None, lambda nothing: nothing)
    with cut, torch.enable_grad(), hooks.left_as_it_was(model, x), tokens or dropped:
        s = target(answers.answer(model, answers.replaced(x, leaf * 1)))
    if tokens is None or not answers.reaches(s, leaf):
        return answers.reaches(s, leaf)
    return bool(torch.autograd.grad(s.sum(), leaf)[0].any())


class _Tokens(TorchFunctionMode):
    """No gradient passes tokens without a place: these of every axis of T entries, while held."""

    def __init__(self, shape: tuple[int, ...], axis: int, skip: tuple[int, ...]) -> None:
        super().__init__()
        self.alone = [(*shape[:axis], n, *shape[axis + 1 :]) for n in range(1, len(skip) + 1)]
        self.held: Tensor | None = torch.zeros(shape[axis]).index_fill(0, torch.tensor(skip), 1.0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if type(out) in (tuple, list):
            return type(out)(map(self._cut, out))
        return self._cut(out)

    def _cut(self, t: Any) -> Any:
        if not isinstance(t, Tensor) or not t.requires_grad or t.is_leaf or self.held is None:
            return t
        if t.shape in self.alone:
            return t.detach()
        for axis in (a for a in range(t.ndim) if t.shape[a] == len(self.held)):
            held = self.held.to(t).view(-1, *[1] * (t.ndim - 1 - axis))
            t = t * (1 - held) + t.detach() * held
        return t


# ---- where its positions are ---------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Where an output has its batch and its positions: a `reshape` to (N, K, h, w).

        batch   the axis of the images
        axes    the axes of rows and of columns, or the one of tokens
        size    (h, w)
        skip    tokens without a place, such as class tokens; the others go row by row

    >>> middle = Grid(batch=0, axes=(1,), size=(2, 1), skip=(1,))  # a class token between two
    >>> middle(torch.tensor([[[1.0], [9.0], [2.0]]])).tolist()  # (N, T, D) = (1, 3, 1)
    [[[[1.0], [2.0]]]]
    """

    batch: int
    axes: tuple[int, ...]
    size: tuple[int, int]
    skip: tuple[int, ...] = ()

    def __call__(self, out: Tensor) -> Tensor:
        """(N, K, h, w) from the output; axes with neither images nor positions are channels."""
        others = [a for a in range(out.ndim) if a != self.batch and a not in self.axes]
        A = out.permute(self.batch, *others, *self.axes)
        if len(self.axes) == 2:
            return A.flatten(1, -3) if others else A[:, None]
        A = A.flatten(1, -2) if others else A[:, None]
        if self.skip:
            A = A[:, :, [p for p in range(A.shape[2]) if p not in self.skip]]
        return A.unflatten(2, self.size)

    def reshape(self) -> dict[str, Any]:
        """The argument `reshape` of `grad_cam`, if one is needed; a named one where it fits."""
        if (self.batch, self.axes) == (0, (2, 3)):
            return {}
        if (self.batch, self.axes) == (0, (1, 2)):
            return {"reshape": hooks.channels_first}
        if (self.batch, self.axes) == (0, (1,)):
            first = len(self.skip)
            if self.skip == tuple(range(first)):
                return {"reshape": hooks.tokens_to_map(*self.size, skip=first)}
        return {"reshape": self}


Answers = Float[Tensor, "_ _"]  # (S, n): how much each index of one axis answers to each strip


def _grids(model: nn.Module, x: Inputs, layers: list[_Seen]) -> dict[str, Grid | None]:
    """For each layer, where its positions are; None where a change of the image does not tell."""
    if not layers:
        return {}
    names = {model.get_submodule(layer.name): layer.name for layer in layers}
    plain: dict[str, Tensor] = {}
    done: set[str] = set()  # in this pass: of several runs of a layer, the first counts
    moved: dict[str, list[list[Tensor]]] = {layer.name: [] for layer in layers}

    def keep(module: nn.Module, _args: Any, out: Any) -> None:
        name, out = names[module], hooks.first_of(out)
        if name in done:
            return
        done.add(name)
        if name not in plain:
            plain[name] = out.detach().clone()
            return
        d = (out.detach() - plain[name]).float().square()
        sums = [d.sum([b for b in range(d.ndim) if b != a]) for a in range(d.ndim)]
        moved[name].append(sums)

    pixels = answers.images(x)
    H, W = (1, *pixels.shape[2:])[-2:]  # a signal is an image of one row
    with hooks.hooked(names, keep), torch.no_grad():
        for image in _strips(pixels.reshape(*pixels.shape[:2], H, W)):
            other = image.reshape(pixels.shape)
            # each time from the same state: dropout in training mode drops the same
            done.clear()
            with hooks.left_as_it_was(model, x):
                answers.answer(model, answers.replaced(x, other))
    down = min(STRIPS, H)
    found = {}
    for layer in layers:
        every = [torch.stack(of_axis) for of_axis in zip(*moved[layer.name], strict=True)]
        rows, columns = ([a[:down] for a in every], [a[down:] for a in every])
        grid = found[layer.name] = _grid(layer.shape, rows, columns, (H, W))
        if grid and not grid.reshape():
            told = TOLD.setdefault(model.get_submodule(layer.name), set())
            told.add((*layer.shape[1:], H, W))
    return found


def _refuse_another_layout(
    model: nn.Module, x: Inputs, name: str, A: Float[Tensor, "N K h w"]
) -> None:
    """`LayerRefused` where A, taken for (N, K, h, w), proves to be something else.

    It is tried where the sizes raise a doubt: no square patches give this h and w, or they would
    give K and h as well, as of channels last; or rows sum to 1, as in an attention matrix.  A few
    positions raise none: they would prove nothing.  What a layer has proved to be is remembered,
    and is not tried again.
    """
    _, K, h, w = A.shape
    H, W = (1, *answers.images(x).shape[2:])[-2:]
    last = min(K, w) >= MANY and _one_patch((K, h), (H, W))
    attends = h == w > 2 and bool((A[0, 0] >= 0).all() and (A[0, 0].sum(1) - 1).abs().max() < 1e-3)
    known = (K, h, w, H, W) in TOLD.get(model.get_submodule(name), ())
    if known or h * w <= FEW**2 or (_one_patch((h, w), (H, W)) and not last and not attends):
        return
    tried = copy.deepcopy(model) if model.training else model  # which batches move: y needs it
    grid = _grids(tried, x, [_Seen(name, (1, K, h, w), True, False, False)])[name]
    got, wanted = f"output of shape {tuple(A.shape)}", "(N, K, h, w)"
    if grid is None:
        mend = "name another, or pass reshape=lambda A: A if it is (N, K, h, w)"
        raise LayerRefused(f"layer {name!r}", f"{got}, and {UNTOLD}", wanted, mend)
    if grid.axes != (2, 3):
        got += f", whose positions are its axes {' and '.join(map(str, grid.axes))}"
        mend = "pass the reshape that zerocam.layers.named_layer gives"
        if grid.axes == (1, 2):
            got += ": channels last (N, h, w, K)"
            mend = "pass reshape=zerocam.channels_first"
        raise LayerRefused(f"layer {name!r}", got, wanted, mend)


hooks.LOOK.append(_refuse_another_layout)


def _strips(x: Tensor) -> Iterator[Tensor]:
    """The image, then with noise in each strip of rows, then of columns."""
    H, W = x.shape[2:]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    noise = noise * (x.std() if x.std() > 0 else 1)
    yield x
    for axis, size in ((2, H), (3, W)):
        edges = [round(size * s / min(STRIPS, size)) for s in range(min(STRIPS, size) + 1)]
        for low, high in itertools.pairwise(edges):
            image = x.clone()
            image.narrow(axis, low, high - low).add_(noise.narrow(axis, low, high - low))
            yield image


def _grid(
    shape: tuple[int, ...], rows: list[Answers], columns: list[Answers], image: tuple[int, ...]
) -> Grid | None:
    """The best grid of an output of this shape, if its positions answer to their own strips."""
    batch = 0 if shape[0] == 1 else 1 if len(shape) == 3 and shape[1] == 1 else None
    if batch is None:  # windows, boxes or patches lie in the batch
        return None
    axes = [a for a in range(len(shape)) if a != batch]
    down, across = ([_strongest(answers) for answers in way] for way in (rows, columns))
    if len(axes) == 2:
        tried = [fold for a in axes for fold in _folded(down[a], across[a], image, batch, a)]
    else:
        tried = [
            (
                min(_placed(down[a], torch.arange(h), h), _placed(across[b], torch.arange(w), w)),
                (down[a].clear.mean() + across[b].clear.mean()).item(),
                Grid(batch, (a, b), (h, w)),
            )
            for a, b in itertools.combinations(axes, 2)
            if (h := shape[a]) * (w := shape[b]) > 1
        ]
    fit = [(clear, grid) for share, clear, grid in tried if share >= PLACED]
    if not fit and len(axes) == 3 and batch == 0:
        silent = not any(bool(a.any()) for a in rows + columns)
        small = 1 < shape[2] * shape[3] <= FEW**2 and _one_patch((shape[2], shape[3]), image)
        if silent or (small and min(_leaning(down[2]), _leaning(across[3])) > IN_ORDER):
            return Grid(0, (2, 3), (shape[2], shape[3]))
    return max(fit, key=lambda t: t[0], default=(0, None))[1]


@dataclass(frozen=True)
class _Strongest:
    """How much each of S strips moves n positions; to which each answers most, and how clearly."""

    moved: Answers
    strip: Int[Tensor, " _"]
    clear: Float[Tensor, " _"]

    def only(self, keep: list[int]) -> "_Strongest":
        """The same of some of the positions."""
        return _Strongest(self.moved[:, keep], self.strip[keep], self.clear[keep])


def _strongest(moved: Answers) -> _Strongest:
    """Answers count by what the strip moves anywhere, and by what moves the position anyway."""
    answers = moved / moved.mean(1, keepdim=True).clamp(min=1e-30)
    answers = answers / answers.mean(0, keepdim=True).clamp(min=1e-30)
    return _Strongest(moved, answers.argmax(0), answers.amax(0) / len(answers))


def _placed(found: _Strongest, at: Int[Tensor, " _"], n: int) -> float:
    """The share of positions, each in row `at` of n, that answer most to a strip near their own.

    Near is a row, or a quarter of the image.  0 if the strips do not follow the rows in order, if
    a row of several positions has no place, or if the rows show a part of the image only.
    """
    S = len(found.moved)
    near = (found.strip - ((at + 0.5) / n * S - 0.5)).abs() <= max(S / n, S / 4)
    each = at.bincount(near, n) / at.bincount(minlength=n)
    if n > 1 and (_order(found, at) <= IN_ORDER or not _whole(found, at, n)):
        return 0.0
    if 1 < n <= FEW and found.clear.mean() * (found.moved.sum(1) > 0).sum() < SURE:
        return 0.0  # so few are in order by chance, once many layers are tried
    return 0.0 if len(at) > n and each.min() < 0.5 else near.double().mean().item()


def _order(found: _Strongest, at: Int[Tensor, " _"]) -> float:
    """The correlation of the strips with the rows, 0 if there is none to speak of."""
    return _correlation(found.strip, at)


def _leaning(found: _Strongest) -> float:
    """As `_order`, of a few rows that each see nearly all: where what moves them lies in the mean.

    Rows of an image see more of their own side.  1 for a single row.
    """
    share = found.moved.double() / found.moved.double().sum(0).clamp(min=1e-30)
    rows = torch.arange(len(found.strip))
    return 1.0 if len(rows) == 1 else _correlation(torch.arange(len(share)).double() @ share, rows)


def _correlation(a: Tensor, b: Tensor) -> float:
    """The correlation of two lists of numbers, 0 if one of them does not vary."""
    found = torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1].item()
    return 0.0 if math.isnan(found) else found


def _whole(found: _Strongest, at: Int[Tensor, " _"], n: int) -> bool:
    """Whether the rows are those of the whole image, and not of a box in it.

    What moves is moved by strips around a mean place, and lies in rows around one.  The straight
    line that takes these rows to these strips, in mean and in spread, says what a row shows.
    """
    p = found.moved.double() / found.moved.sum()
    shown, rows = (torch.arange(len(p)) + 0.5) / len(p), (at + 0.5) / n
    t, r = (p.sum(1) * shown).sum(), (p.sum(0) * rows).sum()
    spread = [(w * place.square()).sum().sqrt()
              for w, place in ((p.sum(1), shown - t), (p.sum(0), rows - r))]  # fmt: skip
    stretch = spread[0] / spread[1]
    ends = torch.tensor([0.5, n - 0.5]) / n
    return bool(stretch >= MIDDLE and (t + (ends - r) * stretch - ends).abs().max() <= OFF)


def _one_patch(size: tuple[int, int], image: tuple[int, ...]) -> bool:
    """Whether square patches, a step apart and with or without a border, give such a grid.

    So it is if both of its sizes are (side of the image + c) // step, with |c| <= step.
    """
    (h, w), (H, W) = size, image
    return any(
        max(h * step - H, w * step - W, -step) <= min(h * step - H, w * step - W, 1) + step - 1
        for step in range(1, max(image) + 1)
    )


def _folded(
    rows: _Strongest, columns: _Strongest, image: tuple[int, ...], batch: int, axis: int
) -> Iterator[tuple[float, float, Grid]]:
    """(share, merit, grid) for each way to fold tokens into rows; to leave one out costs merit."""
    T = len(rows.strip)
    clear = rows.clear + columns.clear
    for order in ([*range(T)], [*reversed(range(T))], clear.argsort().tolist()):
        for without in range(T - 1):
            skip, keep = tuple(sorted(order[:without])), sorted(order[without:])
            Z, place, dull = len(keep), torch.arange(len(keep)), FLAT * clear[keep].median()
            if skip and clear[list(skip)].max() > dull:
                break  # what is left out has a place as well
            down, across = rows.only(keep), columns.only(keep)
            for h, w in ((h, Z // h) for h in range(1, Z + 1) if Z % h == 0):
                signal = (h == 1) == (image[0] == 1) and (w == 1) == (image[1] == 1)
                fits = signal and (without < w or _one_patch((h, w), image))
                if fits and not _has_flat_line(clear[keep].view(h, w), dull):
                    share = min(_placed(down, place // w, h), _placed(across, place % w, w))
                    yield share, share - without / T / 4, Grid(batch, (axis,), (h, w), skip)


def _has_flat_line(clear: Float[Tensor, "h w"], dull: Tensor) -> bool:
    """Whether a whole row or column answers to no strip of its own; of a signal, an end of it."""
    lines = [
        line if min(clear.shape) > 1 else line[[0, -1]] for line in (clear.amax(1), clear.amax(0))
    ]
    return any(bool(line.min() <= dull) for line in lines)
