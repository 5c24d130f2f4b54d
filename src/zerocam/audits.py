"""Does a heatmap speak of the network, or of its coordinates?  Change nothing, and look.

The audit re-codes a network so that every prediction stays (`zerocam.symmetries`), computes each
method's map again, and compares.  What moves is not a fact about what the network computes.

Where the model can be cut at the layer, the part before it runs once and only the head is
re-coded and run again; methods that need the image itself take whole passes.  Methods made of A
and G alone share one forward and backward pass for each re-coding.

`zerocam.audit` is the function; names of this module come by `from zerocam.audits import METHODS`.
"""

import copy
import functools
import html
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from tqdm import tqdm

from zerocam import methods as _methods
from zerocam.cam import grad_cam
from zerocam.hooks import Layer, Reshape, Tap, find_layer, left_as_it_was, score, tap
from zerocam.metrics import normalise
from zerocam.references import spatial_mean
from zerocam.symmetries import (
    KINDS,
    Symmetry,
    random_symmetry,
    reparametrize,
    rounding,
    softmax_rows,
)
from zerocam.targets import Classes, Target

Method = Callable[..., Float[Tensor, "N h w"]]

QUANTITIES = ("map", "constant", "relu", "minmax", "argmax", "mask")


def signed(method: Method) -> Method:
    """The method without its final ReLU: functools.partial(method, relu=False)."""
    return functools.partial(method, relu=False)


METHODS: dict[str, Method] = {
    "Grad-CAM": signed(grad_cam),
    "Grad-CAM, spatial mean": functools.partial(grad_cam, relu=False, reference=spatial_mean),
    "HiResCAM": signed(_methods.hires_cam),
    "LayerCAM": signed(_methods.layer_cam),
    "Grad-CAM++": signed(_methods.grad_cam_pp),
    "XGrad-CAM": signed(_methods.xgrad_cam),
    "Eigen-CAM": _methods.eigen_cam,
    "Eigen-CAM, centred": functools.partial(_methods.eigen_cam, centred=True),
    "LaFAM": _methods.lafam,
}


@dataclass(frozen=True, repr=False)
class AuditReport:
    """What moved, per method and symmetry.

    frame     rows: methods; columns: (symmetry, quantity).  `map`, `relu` and `minmax` hold the
              largest relative change over the images, of the map as the method returned it, of
              its positive part and of the map scaled to [0, 1]; `constant` says whether the
              change is the same at every position; `argmax` and `mask` whether the highest
              position and the positions above 15 % of the maximum stayed.  NaN: see `errors`.
    errors    {name: message} for methods that raised, and for symmetries the model does not have
    ran_on    {method: "head" or "whole model"}
    tolerance {method: relative change that counts as rounding, from the format of its map}
    """

    frame: pd.DataFrame
    errors: dict[str, str]
    ran_on: dict[str, str]
    tolerance: dict[str, float]
    seed: int
    layer: str

    def verdict(self, method: str, symmetry: str, of: str = "map", rounding: bool = False) -> str:
        """One of "unchanged", "one constant (amount)", "changes (amount)", "error"."""
        known = [q for q in QUANTITIES if q != "constant"]
        if of not in known:
            raise ValueError(f"of: got {of!r}, wanted one of {', '.join(known)}")
        if method in self.errors:
            return "error"
        row = self.frame.loc[method, symmetry]
        if of in ("argmax", "mask"):
            return "unchanged" if row[of] else "changes"
        amount = row[of]
        if amount <= self.tolerance[method]:
            return f"unchanged ({amount:.0e})" if rounding else "unchanged"
        if of == "map" and row["constant"]:
            return f"one constant ({amount:.2g})"
        return f"changes ({amount:.2g})"

    def table(self, of: str = "map", rounding: bool = False, short: bool = False) -> pd.DataFrame:
        """Verdicts, methods x symmetries; `rounding` adds the measured rounding to "unchanged".

        short: "=", "const 0.3" and "0.3" for unchanged, one constant and changes; "x" for a change
        without an amount.
        """
        symmetries = list(self.frame.columns.unique(0))
        table = pd.DataFrame(
            [[self.verdict(m, s, of, rounding) for s in symmetries] for m in self.frame.index],
            index=self.frame.index,
            columns=symmetries,
        )
        return table.map(_short) if short else table

    def _notes(self) -> list[str]:
        whole = [m for m, where in self.ran_on.items() if where != "head" and m not in self.errors]
        head = [m for m, where in self.ran_on.items() if where == "head" and m not in self.errors]
        rounding = " or ".join(f"{t:.0e}" for t in sorted(set(self.tolerance.values())))
        notes = [f"layer {self.layer!r}, seed {self.seed}; unchanged: below {rounding}"]
        notes += [f"on the head, backbone run once: {', '.join(head)}"] if head else []
        notes += [f"by whole passes: {', '.join(whole)}"] if whole else []
        return notes + [f"{method}: {message}" for method, message in self.errors.items()]

    def __str__(self) -> str:
        return self._text(rounding=True)

    def __repr__(self) -> str:
        return self._text(rounding=False)

    def _text(self, rounding: bool) -> str:
        table = self.table(rounding=rounding, short=True).to_string()
        return "\n".join([table, "", SHORT, *self._notes()])

    def _repr_html_(self) -> str:
        """The short verdicts in colour; like repr, without rounding, which machines differ in."""

        def cell(verdict: str) -> str:
            look = f"background:{COLOURS[verdict.split(' ')[0]]};color:#000;padding:0 .3em"
            return f'<span style="{look}">{_short(verdict)}</span>'

        table = self.table().map(cell).rename(html.escape).to_html(escape=False)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in (SHORT, *self._notes()))
        return f'<div style="overflow-x:auto">{table}</div>{notes}'

    def plot(self, ax: Any, of: str = "map") -> None:
        """Draw the verdicts on matplotlib axes: white unchanged, pale one constant, red changed."""
        from matplotlib.colors import to_rgb

        table = self.table(of)
        cells = [[to_rgb(COLOURS[v.split(" ")[0]]) for v in row] for row in table.to_numpy()]
        ax.imshow(cells, aspect="auto")
        ax.set_xticks(range(len(table.columns)), table.columns, rotation=25, ha="right")
        ax.set_yticks(range(len(table.index)), table.index)
        for i, row in enumerate(table.map(_short).to_numpy()):
            for j, verdict in enumerate(row):
                ax.text(j, i, verdict.replace("const ", "const\n"), ha="center", va="center")


COLOURS = {"unchanged": "#ffffff", "one": "#fddbc7", "changes": "#f4a582", "error": "#d9d9d9"}
SHORT = (
    "=: unchanged; const: one constant was added; a number: the largest change, relative to the "
    "largest value of the map"
)


def _short(verdict: str) -> str:
    """A verdict in at most a word and its amount."""
    kind, _, amount = verdict.partition(" (")
    amount = amount.rstrip(")")
    if kind == "unchanged":
        return f"= {amount}".rstrip()
    return {"one constant": f"const {amount}", "changes": amount or "x"}.get(kind, kind)


@torch.inference_mode(False)
def audit(
    methods: Mapping[str, Method] | Iterable[Method] | None,
    model: nn.Module,
    x: Tensor,
    target: Target | Classes = None,
    *,
    layer: Layer,
    symmetries: Mapping[str, Symmetry] | Iterable[str] | None = None,
    seed: int = 0,
    reshape: Reshape | None = None,
    progress: bool = False,
) -> AuditReport:
    """How far each method's map moves when the network is re-coded and predicts the same.

    methods: {name: method}, methods alone, one method, or None for `METHODS`.  A method is any
    callable (model, x, target, *, layer) -> (N, h, w); `reshape` is passed on if given.  One that
    looks at nothing before the layer may say so, `method.on_head = True`, and is run on the head.
    symmetries: {name: symmetry}, names from `zerocam.symmetries.KINDS`, or None for one random
    draw of each kind, from `seed`, with shifts of the size of the layer's activations.  `progress`
    shows a bar.  The predicted classes are found once, on the model as it came.

    Changes are relative to the largest absolute value of each image's map.  A method that raises
    is reported with its message.  The model is left as it was.

    Raises ValueError as `grad_cam` does, and for predictions that do not survive the re-coding.
    """
    named = _named(methods)
    name, _ = find_layer(model, layer)
    extra = {} if reshape is None else {"reshape": reshape}
    whole = _Place(model, x, name)
    head = cut(model, x, name)
    first = head or whole
    A, _, y, _ = tap(first.model, first.x, layer=first.layer, reshape=reshape)
    if target is None:
        target = y.argmax(1)
    score(y, target)  # a target that does not fit is refused here, not by each method in turn
    places = {key: head if head and _runs_on_head(m) else whole for key, m in named.items()}
    drawn, errors = _drawn(symmetries, model, A, seed)

    @functools.cache
    def tapped(place: _Place) -> Tap:
        return tap(place.model, place.x, target, layer=place.layer, reshape=reshape)

    def map_of(key: str, place: _Place) -> Tensor | None:
        method, choices = _unwrapped(named[key])
        try:
            if hasattr(method, "of_tap") and choices.keys().isdisjoint(("reshape", "call")):
                M = method.of_tap(*tapped(place)[:2], **choices).to(x.dtype)
            else:
                M = named[key](place.model, place.x, target, layer=place.layer, **extra)
            M = torch.as_tensor(M).detach()
            if M.ndim != 3 or len(M) != len(x):
                raise ValueError(f"got a map of shape {tuple(M.shape)}, wanted (N, h, w)")
            return M
        except Exception as error:  # the report is about methods, and this is what this one does
            errors.setdefault(key, f"{type(error).__name__}: {error}")
            return None

    before = {key: map_of(key, places[key]) for key in named}
    rows: dict[str, list] = {key: [] for key in named}
    for symmetry in tqdm(drawn.values(), "symmetries", disable=not progress):
        tapped.cache_clear()
        recoded = {place: place.recoded(symmetry) for place in set(places.values())}
        for key, M in before.items():
            after = None if M is None else map_of(key, recoded[places[key]])
            rows[key] += [None] * len(QUANTITIES) if after is None else compare(M, after).values()
    frame = pd.DataFrame.from_dict(
        rows, orient="index", columns=pd.MultiIndex.from_product([list(drawn), QUANTITIES])
    )
    ran_on = {key: "head" if place is head else "whole model" for key, place in places.items()}
    tolerance = {key: rounding(x.dtype if M is None else M.dtype) for key, M in before.items()}
    return AuditReport(frame, errors, ran_on, tolerance, seed, name)


def compare(before: Float[Tensor, "N h w"], after: Float[Tensor, "N h w"]) -> dict[str, Any]:
    """The quantities of `AuditReport.frame` for two maps of the same images."""
    tolerance = rounding(before.dtype)
    scale = before.abs().amax((1, 2), keepdim=True)
    scale = torch.where(scale > 0, scale, after.abs().amax((1, 2), keepdim=True))
    scale = torch.where(scale > 0, scale, 1)
    change = (after - before) / scale
    low, high = change.amin((1, 2)), change.amax((1, 2))
    peak = after.flatten(1).gather(1, before.flatten(1).argmax(1, keepdim=True))[:, 0]

    def above(M: Tensor, margin: float) -> Tensor:
        """Above 15 % of the maximum, by a margin: rounding must not decide."""
        return 0.15 * M.amax((1, 2), keepdim=True).clamp(min=0) + margin * scale < M

    def mask_kept(M: Tensor, other: Tensor) -> bool:
        return not bool((above(M, 2 * tolerance) & ~above(other, -2 * tolerance)).any())

    return {
        "map": change.abs().max().item(),
        "constant": bool((high - low <= tolerance).all()),
        "relu": ((after.relu() - before.relu()) / scale).abs().max().item(),
        "minmax": (normalise(after, "minmax") - normalise(before, "minmax")).abs().max().item(),
        "argmax": bool((peak >= after.amax((1, 2)) - tolerance * scale[:, 0, 0]).all()),
        "mask": mask_kept(before, after) and mask_kept(after, before),
    }


# ---- where a method runs ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Place:
    """A model, what goes into it, and the layer to look at: the whole network, or its head."""

    model: nn.Module
    x: Tensor
    layer: str

    def recoded(self, symmetry: Symmetry) -> "_Place":
        """The same place after a change that moves no prediction; ValueError if one moved."""
        model, layer = reparametrize(self.model, self.layer, symmetry, x=self.x)
        return _Place(model, self.x, layer)


class _Cut(nn.Module):
    """Where the head begins: hands on (N, K, h, w), or takes the extra axis off (N, 1, T, D)."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, A: Tensor) -> Tensor:
        return (A[:, 0] if self.tokens else A).clone()  # the head may work on it in place


def cut(model: nn.Module, x: Tensor, layer: str) -> _Place | None:
    """The part of the model after the layer, ready for the activations of x; None if uncut.

    Traces the modules around the layer with torch.fx, leaves all others whole, and keeps what
    goes around the layer (skip connections) as constants.  The head must then give the very
    scores the model gives for x, their gradient, and end in the same linear layer, or it is not
    used.  While torch.fx traces, no other thread may run a model.
    """

    class Around(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, name: str) -> bool:
            return name == layer or not f"{layer}.".startswith(f"{name}.")

    def at_layer(model: nn.Module, x: Tensor, layer: str) -> tuple[Tap, bool]:
        """A, what the head makes of it, and whether A is tokens; if so, as (N, 1, T, D)."""
        axes = []

        def spatial(A: Tensor) -> Tensor:
            axes.append(A.ndim)
            return A[:, None] if A.ndim == 3 else A

        every = tap(model, x, lambda y: (y + y.square()).sum(1), layer=layer, reshape=spatial)
        return every, axes[0] == 3

    try:
        with torch.enable_grad():
            graph = Around().trace(model)
        (at,) = (node for node in graph.nodes if node.target == layer)
    except Exception:  # untraceable, or the layer runs twice or never: the caller uses the whole
        return None
    after = {at}
    for node in graph.nodes:
        if after & set(node.all_input_nodes):
            after.add(node)
    around = [n for n in graph.nodes if n not in after and n.op != "get_attr"]
    around = [n for n in around if (after - {at}) & set(n.users)]

    head, parts, there = fx.Graph(), {}, {at: None}
    there[at] = head.placeholder("A")
    for i, node in enumerate(around):
        there[node] = head.get_attr(f"around_{i}")
    for node in graph.nodes:
        if (node in after and node is not at) or node.op == "get_attr":
            there[node] = head.node_copy(node, there.__getitem__)
        if node in there and node.op in ("get_attr", "call_module") and node is not at:
            parts[node.target] = operator.attrgetter(node.target)(model)
    kept: dict[fx.Node, Any] = {}

    class Reach(fx.Interpreter):
        """Runs the model once and keeps what crosses the cut, safe from later in-place work."""

        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in around:
                kept[n] = value.clone() if isinstance(value, Tensor) else value
            return value

    try:
        if around:
            with torch.no_grad(), left_as_it_was(model, x):
                Reach(fx.GraphModule(model, graph)).run(x)
        parts |= {f"around_{i}": kept[node] for i, node in enumerate(around)}
        whole, tokens = at_layer(model, x, layer)
        carrier = nn.Sequential(OrderedDict(cut=_Cut(tokens), head=_compiled(parts, head, model)))
        A = whole.A.to(x.dtype)
        part, _ = at_layer(carrier, A, "cut")
        pairs = (part.y, whole.y), (part.G, whole.G)
        same = all((a - b).abs().max() <= 1e-5 * b.abs().max() for a, b in pairs)
    except Exception:
        return None
    last = [[m for m in n.modules() if isinstance(m, nn.Linear)][-1:] for n in (carrier, model)]
    for wrapper in (carrier, *carrier.children()):  # not the model's own parts
        wrapper.training = False
    return _Place(carrier, A, "cut") if same and last[0] == last[1] else None


def _compiled(parts: dict[str, Any], graph: fx.Graph, like: nn.Module) -> nn.Module:
    """The graph as a module that copies like any other: a GraphModule compiles at every copy."""
    whole = fx.GraphModule(parts, graph)
    _in_the_order_of(like, whole)

    class Head(nn.Module):
        forward = type(whole).forward

    head = Head()
    for kind in ("_modules", "_parameters", "_buffers"):
        setattr(head, kind, getattr(whole, kind))
    return head


def _in_the_order_of(model: nn.Module, head: nn.Module) -> None:
    """Register the parts as the model does; torch.fx sorts them by their depth."""
    here = head._modules
    head._modules = {name: here[name] for name in model._modules if name in here} | here
    for name, part in here.items():
        if type(part) is nn.Module:  # a folder that torch.fx made
            _in_the_order_of(model._modules[name], part)


def _runs_on_head(method: Method) -> bool:
    """Whether the method asks the model for nothing before the layer; `on_head` overrides."""
    method, _ = _unwrapped(method)
    on_head = hasattr(method, "of_tap") or method is _methods.ablation_cam
    return getattr(method, "on_head", on_head)


def _unwrapped(method: Method) -> tuple[Method, dict[str, Any]]:
    """The method inside functools.partial, and the keywords it was given there."""
    choices: dict[str, Any] = {}
    while isinstance(method, functools.partial) and not method.args:
        method, choices = method.func, method.keywords | choices
    return method, choices


def _named(methods: Mapping[str, Method] | Iterable[Method] | None) -> dict[str, Method]:
    if methods is None:
        return METHODS
    if callable(methods):
        methods = [methods]
    if isinstance(methods, Mapping):
        named = dict(methods)
    else:
        methods = list(methods)
        names = [getattr(m, "__name__", f"method {i + 1}") for i, m in enumerate(methods)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"methods: got two called {twice[0]!r}, wanted {{name: method}}")
        named = dict(zip(names, methods, strict=True))
    if not named or not all(callable(m) for m in named.values()):
        raise ValueError(
            f"methods: got {methods!r}, wanted callables (model, x, target, *, layer) -> (N, h, w)"
        )
    return named


def _drawn(
    symmetries: Mapping[str, Symmetry] | Iterable[str] | None,
    model: nn.Module,
    A: Tensor,
    seed: int,
) -> tuple[dict[str, Symmetry], dict[str, str]]:
    """The symmetries by name, and why one of them could not be drawn for this model."""
    if isinstance(symmetries, Mapping):
        return dict(symmetries), {}
    drawn, errors = {}, {}
    for kind in KINDS if symmetries is None else symmetries:
        K, size = A.shape[1], A.square().mean().sqrt().item()
        if kind == "softmax shift":
            try:
                W = softmax_rows(model).weight.detach()
            except ValueError as error:
                errors[kind] = str(error).removeprefix(f"{kind}: ")
                continue
            K, size = W.shape[1], W.std().item()
        if kind == "affine" and {"shift", "mixing"} <= drawn.keys():
            drawn[kind] = drawn["shift"] @ drawn["mixing"]  # the same draw, not factorised twice
        else:
            drawn[kind] = random_symmetry(kind, K, seed, size)
    return drawn, errors


# ---- methods of other libraries, with the signature of this one ---------------------------------


def captum_method(name: str = "LayerGradCam") -> Method:
    """A layer attribution of Captum, summed over channels; its default keeps the sign."""
    from captum import attr

    def method(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        module = find_layer(model, layer)[1]
        return getattr(attr, name)(model, module).attribute(x, target=target).sum(1).detach()

    return _adapter(method, f"captum {name}")


def pytorch_grad_cam_method(name: str = "GradCAM") -> Method:
    """A method of pytorch-grad-cam as it comes: ReLU, min-max, enlarged to x."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def method(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        classes = torch.as_tensor(target).expand(len(x)).tolist()
        with getattr(pytorch_grad_cam, name)(model, [find_layer(model, layer)[1]]) as cam:
            return torch.from_numpy(cam(x, [ClassifierOutputTarget(c) for c in classes]))

    return _adapter(method, f"pytorch-grad-cam {name}")


def torchcam_method(name: str = "GradCAM") -> Method:
    """A method of TorchCAM as it comes: ReLU, min-max, at the layer's resolution."""
    from torchcam import methods

    def method(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        classes = torch.as_tensor(target).expand(len(x)).tolist()
        with getattr(methods, name)(model, find_layer(model, layer)[1]) as cam:
            return cam(classes, model(x))[0].detach()

    return _adapter(method, f"TorchCAM {name}")


def _adapter(method: Method, name: str) -> Method:
    """Named, working on a copy of the model: some peers change its mode or its gradients."""

    @functools.wraps(method)
    def on_a_copy(model: nn.Module, x: Tensor, target: Classes = None, *, layer: Layer) -> Tensor:
        at, _ = find_layer(model, layer)
        with torch.enable_grad():
            return method(copy.deepcopy(model), x, target, layer=at)

    on_a_copy.__name__ = name
    return on_a_copy
