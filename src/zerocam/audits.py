"""Does a heatmap speak of the network, or of its coordinates?  Change nothing, and look.

The audit re-codes a network so that every prediction stays (`zerocam.symmetries`), computes each
method's map again, and compares.  What moves is not a fact about what the network computes.

Where the model can be cut at the layer (`zerocam.cut`), the part before it runs once and only the
head is re-coded and run again; methods that need the image itself take whole passes.  Methods made
of A and G alone share one forward and backward pass for each re-coding.
"""

import functools
import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from zerocam import methods as _methods
from zerocam.cut import Place, Uncut, cut
from zerocam.extras import extra
from zerocam.hooks import Layer, Reshape, Tap, find_layer, score, tap
from zerocam.methods import GRAD_CAM, Method
from zerocam.metrics import normalise
from zerocam.recode import rounding, softmax_rows
from zerocam.references import spatial_mean
from zerocam.symmetries import KINDS, Symmetry, random_symmetry
from zerocam.targets import Classes, Target

if TYPE_CHECKING:
    import pandas  # slow to import: at run time only where a table is made

Kind = Literal["unchanged", "one constant", "changes", "error"]


def signed(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method without its final ReLU: functools.partial(method, relu=False)."""
    return functools.partial(method, relu=False)


METHODS: dict[str, Method] = {
    name: Method.wrap(method)
    for name, method in {
        "Grad-CAM": signed(GRAD_CAM),
        "Grad-CAM, spatial mean": functools.partial(signed(GRAD_CAM), reference=spatial_mean),
        "HiResCAM": signed(_methods.hires_cam),
        "LayerCAM": signed(_methods.layer_cam),
        "Grad-CAM++": signed(_methods.grad_cam_pp),
        "XGrad-CAM": signed(_methods.xgrad_cam),
        "Eigen-CAM": _methods.eigen_cam,
        "Eigen-CAM, centred": functools.partial(_methods.eigen_cam, centred=True),
        "LaFAM": _methods.lafam,
    }.items()
}


class Change(NamedTuple):
    """How one method's maps moved under one symmetry; the columns of `AuditReport.frame`.

    `map`, `relu` and `minmax`: the largest relative change over the images, of the map as the
    method returned it, of its positive part, and of the map scaled to [0, 1].  `constant`: whether
    the change is the same at every position.  `argmax`, `mask`: whether the highest position, and
    the positions above 15 % of the maximum, stayed.
    """

    map: float
    constant: bool
    relu: float
    minmax: float
    argmax: bool
    mask: bool


QUANTITIES = Change._fields


class Verdict(str):
    """What became of a map, in words: "unchanged", "one constant (0.3)", "changes (0.3)", "error".

    kind: the words without the number.  amount: the number, None where there is none to tell.

    >>> verdict = Verdict("one constant", 0.3)
    >>> print(verdict, verdict.kind, verdict.amount, verdict.short, sep=", ")
    one constant (0.3), one constant, 0.3, const 0.3
    """

    kind: Kind
    amount: float | None
    _shown: str

    def __new__(cls, kind: Kind, amount: float | None = None) -> "Verdict":
        """The words, with two digits of the amount, or one of a rounding."""
        shown = "" if amount is None else f"{amount:{'.0e' if kind == 'unchanged' else '.2g'}}"
        verdict = super().__new__(cls, f"{kind} ({shown})" if shown else kind)
        verdict.kind, verdict.amount, verdict._shown = kind, amount, shown
        return verdict

    @property
    def short(self) -> str:
        """At most a word and the amount."""
        words = {"unchanged": "=", "one constant": "const", "changes": "", "error": "error"}
        return f"{words[self.kind]} {self._shown}".strip() or "x"

    @property
    def colour(self) -> str:
        """White for unchanged, pale red for one constant, red for changes, grey for errors."""
        return COLOURS[self.kind]


COLOURS = {
    "unchanged": "#ffffff",
    "one constant": "#fddbc7",
    "changes": "#f4a582",
    "error": "#d9d9d9",
}
SHORT = (
    "=: unchanged; const: one constant was added; a number: the largest change, relative to the "
    "largest value of the map"
)


@dataclass(frozen=True, repr=False)
class AuditReport:
    """What moved, per method and symmetry.

        frame      rows: methods; columns: (symmetry, quantity), see `Change`.  NaN: see `errors`.
        errors     {name: message} for methods that raised, and symmetries the model does not have
        ran_on     {method: "head" or "whole model"}
        tolerance  {method: relative change that counts as rounding, from the format of its map}
        uncut      why none was run on the head alone; None if the model was cut at the layer

    As text, in a notebook, and by `plot` it is a table of verdicts.
    """

    frame: "pandas.DataFrame"
    errors: dict[str, str]
    ran_on: dict[str, str]
    tolerance: dict[str, float]
    seed: int
    layer: str
    uncut: str | None = None

    def verdict(
        self, method: str, symmetry: str, of: str = "map", rounding: bool = False
    ) -> Verdict:
        """One of "unchanged", "one constant (amount)", "changes (amount)", "error".

        of: a field of `Change`, but for `constant`.  rounding: add the amount to "unchanged".
        """
        known = [q for q in QUANTITIES if q != "constant"]
        if of not in known:
            raise ValueError(f"of: got {of!r}, wanted one of {', '.join(known)}")
        if method in self.errors:
            return Verdict("error")
        row = self.frame.loc[method, symmetry]
        if of in ("argmax", "mask"):
            return Verdict("unchanged" if row[of] else "changes")
        amount = row[of]
        if amount <= self.tolerance[method]:
            return Verdict("unchanged", amount if rounding else None)
        return Verdict("one constant" if of == "map" and row["constant"] else "changes", amount)

    def table(
        self, of: str = "map", rounding: bool = False, short: bool = False
    ) -> "pandas.DataFrame":
        """Verdicts, methods x symmetries; `rounding` adds the measured rounding to "unchanged".

        short: "=", "const 0.3" and "0.3" for unchanged, one constant and changes; "x" for a change
        without an amount.
        """
        verdicts = self._verdicts(of, rounding)
        return self._framed([[v.short if short else str(v) for v in row] for row in verdicts])

    def _verdicts(self, of: str = "map", rounding: bool = False) -> list[list[Verdict]]:
        symmetries = list(self.frame.columns.unique(0))
        return [[self.verdict(m, s, of, rounding) for s in symmetries] for m in self.frame.index]

    def _framed(self, cells: list[list[str]]) -> "pandas.DataFrame":
        import pandas as pd

        return pd.DataFrame(cells, self.frame.index, list(self.frame.columns.unique(0)))

    def _notes(self) -> list[str]:
        went = [m for m in self.ran_on if m not in self.errors]
        whole = [m for m in went if self.ran_on[m] != "head"]
        head = [m for m in went if self.ran_on[m] == "head"]
        rounding = " or ".join(f"{t:.0e}" for t in sorted(set(self.tolerance.values())))
        notes = [f"layer {self.layer!r}, seed {self.seed}; unchanged: below {rounding}"]
        notes += [f"on the head, backbone run once: {', '.join(head)}"] if head else []
        notes += [f"by whole passes: {', '.join(whole)}"] if whole else []
        notes += [f"not cut at the layer: {self.uncut}"] if self.uncut else []
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
        look = '<span style="background:{};color:#000;padding:0 .3em">{}</span>'
        cells = [[look.format(v.colour, v.short) for v in row] for row in self._verdicts()]
        table = self._framed(cells).rename(html.escape).to_html(escape=False)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in (SHORT, *self._notes()))
        return f'<div style="overflow-x:auto">{table}</div>{notes}'

    def plot(self, ax: Any, of: str = "map") -> None:
        """Draw the verdicts on matplotlib axes: white unchanged, pale one constant, red changed."""
        with extra("draw"):
            from matplotlib.colors import to_rgb

        verdicts, symmetries = self._verdicts(of), list(self.frame.columns.unique(0))
        ax.imshow([[to_rgb(v.colour) for v in row] for row in verdicts], aspect="auto")
        ax.set_xticks(range(len(symmetries)), symmetries, rotation=25, ha="right")
        ax.set_yticks(range(len(self.frame.index)), self.frame.index)
        for i, row in enumerate(verdicts):
            for j, verdict in enumerate(row):
                ax.text(j, i, verdict.short.replace("const ", "const\n"), ha="center", va="center")


@torch.inference_mode(False)
def audit(
    methods: Mapping[str, Callable[..., Tensor]] | Iterable[Callable[..., Tensor]] | None,
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

    >>> net = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    >>> x = torch.tensor([[[[4.0, 0.0], [1.0, 2.0]], [[0.0, 3.0], [1.0, 0.0]]]])
    >>> report = audit(None, net, x, 0, layer="0", symmetries=["mixing", "shift"])
    >>> [report.verdict("Grad-CAM", kind).kind for kind in ("mixing", "shift")]
    ['unchanged', 'one constant']
    """
    named = _named(methods)
    name, _ = find_layer(model, layer)
    whole, head, uncut = Place(model, x, name), None, None
    try:
        head = cut(model, x, name)
    except Uncut as error:
        uncut = str(error)
    first = head or whole
    A, _, y, _ = tap(first.model, first.x, layer=first.layer, reshape=reshape)
    if target is None:
        target = y.argmax(1)
    score(y, target)  # a target that does not fit is refused here, not by each method in turn
    places = {key: head if head and m.needs != "image" else whole for key, m in named.items()}
    drawn, errors = _drawn(symmetries, model, A, seed)

    before = _maps(named, places, x, target, reshape, errors)
    rows: dict[str, list[Any]] = {key: [] for key in named}
    for symmetry in tqdm(drawn.values(), "symmetries", disable=not progress):
        recoded = {place: place.recoded(symmetry) for place in set(places.values())}
        there = {key: recoded[place] for key, place in places.items()}
        after = _maps({key: named[key] for key in before}, there, x, target, reshape, errors)
        for key in named:
            rows[key] += compare(before[key], after[key]) if key in after else UNKNOWN
    wanted = any(m.needs != "image" for m in named.values())
    return AuditReport(
        _frame(rows, list(drawn)),
        errors,
        {key: "head" if place is head else "whole model" for key, place in places.items()},
        {key: rounding(before[key].dtype if key in before else x.dtype) for key in named},
        seed,
        name,
        uncut if wanted else None,
    )


UNKNOWN = (None,) * len(QUANTITIES)


def _maps(
    methods: Mapping[str, Method],
    places: Mapping[str, Place],
    x: Tensor,
    target: Target | Classes,
    reshape: Reshape | None,
    errors: dict[str, str],
) -> dict[str, Float[Tensor, "N h w"]]:
    """Each method's maps at its place; what made others fail goes into `errors`.

    Methods made of A and G alone share one tap at each place.
    """
    taps: dict[Place, Tap] = {}
    maps = {}
    for key, method in methods.items():
        place = places[key]
        try:
            if method.needs in ("activations", "gradient"):
                if place not in taps:
                    taps[place] = tap(
                        place.model, place.x, target, layer=place.layer, reshape=reshape
                    )
                M = method.of(taps[place]).to(x.dtype)
            else:
                M = method(place.model, place.x, target, layer=place.layer, reshape=reshape)
            M = torch.as_tensor(M).detach()
            if M.ndim != 3 or len(M) != len(x):
                raise ValueError(f"got a map of shape {tuple(M.shape)}, wanted (N, h, w)")
            maps[key] = M
        except Exception as error:  # the report is about methods, and this is what this one does
            errors.setdefault(key, f"{type(error).__name__}: {error}")
    return maps


def _frame(rows: dict[str, list[Any]], symmetries: list[str]) -> "pandas.DataFrame":
    import pandas as pd

    columns = pd.MultiIndex.from_product([symmetries, QUANTITIES])
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def compare(before: Float[Tensor, "N h w"], after: Float[Tensor, "N h w"]) -> Change:
    """What moved between two maps of the same images.

    >>> before = torch.tensor([[[0.0, 4.0, 1.0]]])
    >>> compare(before, before + 1)
    Change(map=0.25, constant=True, relu=0.25, minmax=0.0, argmax=True, mask=False)
    """
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

    return Change(
        map=change.abs().max().item(),
        constant=bool((high - low <= tolerance).all()),
        relu=((after.relu() - before.relu()) / scale).abs().max().item(),
        minmax=(normalise(after, "minmax") - normalise(before, "minmax")).abs().max().item(),
        argmax=bool((peak >= after.amax((1, 2)) - tolerance * scale[:, 0, 0]).all()),
        mask=mask_kept(before, after) and mask_kept(after, before),
    )


def _named(
    methods: Mapping[str, Callable[..., Tensor]] | Iterable[Callable[..., Tensor]] | None,
) -> dict[str, Method]:
    """The methods by name, each a `Method`."""
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
    return {name: Method.wrap(method) for name, method in named.items()}


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
