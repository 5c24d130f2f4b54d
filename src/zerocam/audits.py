"""Does a heatmap speak of the network, or of its coordinates?  Change nothing, and look.

The audit re-codes a network so that every prediction stays (`zerocam.symmetries`), computes each
method's map again, and compares.  What moves is not a fact about what the network computes.  The
last of eight kinds moves every map that shows a place at all: before a head that averages, where
something is at the layer is an assumption (chapter 9).

Where the model can be cut at the layer (`zerocam.cuts`), the part before it runs once and only the
head is re-coded and run again; methods that need the image itself take whole passes.  Methods made
of A and G alone share one forward and backward pass for each re-coding.
"""

import contextlib
import functools
import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from zerocam import methods as _methods
from zerocam.answers import Inputs, images, refuse_non_finite
from zerocam.cam import grad_cam
from zerocam.cuts import Place, Uncut, cut
from zerocam.extras import Missing, extra
from zerocam.hooks import Layer, Reshape, Tap, channels_along, find_layer, score, tap
from zerocam.methods import GRAD_CAM, Method
from zerocam.metrics import normalise
from zerocam.recode import rounding, softmax_rows
from zerocam.references import spatial_mean
from zerocam.refusals import Refused, reason
from zerocam.symmetries import KINDS, Affine, Places, Symmetry, random_symmetry
from zerocam.targets import Classes, Target, centred, logit
from zerocam.views import same_draws

if TYPE_CHECKING:
    import pandas  # of the extra `draw`: at run time only where a table is made

One = Callable[..., Tensor]
Methods = Mapping[str, One] | Iterable[One] | One
Kind = Literal["unchanged", "one constant", "changes", "does not apply", "error"]


def signed(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method without its final ReLU: functools.partial(method, relu=False).

    Take it for an audit: a ReLU hides what moves below zero.  Any callable that takes `relu`.

    >>> signed(_methods.hires_cam).keywords
    {'relu': False}
    """
    return functools.partial(method, relu=False)


def _local_score(
    model: nn.Module, x: Inputs, target: Target | Classes = None, **where: Any
) -> Tensor:
    """The local score of a class's centred score; of a target, or a single score, as it is."""
    c = None if callable(target) else target

    def s(y: Tensor) -> Tensor:
        return (centred if y.shape[1] > 1 else logit)(c)(y)

    wanted = target if callable(target) else s
    return grad_cam(model, x, wanted, relu=False, complete=True, **where)


METHODS: dict[str, Method] = {
    "Grad-CAM": replace(GRAD_CAM, relu=False),
    "Grad-CAM, spatial mean": replace(GRAD_CAM, relu=False, options={"reference": spatial_mean}),
    "local score": Method(_local_score, "head", relu=None, name="local score"),
    "HiResCAM": replace(_methods.hires_cam, relu=False),
    "LayerCAM": replace(_methods.layer_cam, relu=False),
    "Grad-CAM++": replace(_methods.grad_cam_pp, relu=False),
    "XGrad-CAM": replace(_methods.xgrad_cam, relu=False),
    "Eigen-CAM": _methods.eigen_cam,
    "Eigen-CAM, centred": replace(_methods.eigen_cam, options={"centred": True}),
    "LaFAM": _methods.lafam,
}


class Change(NamedTuple):
    """How one method's maps moved under one symmetry.

    `map`, `relu` and `minmax`: the largest relative change over the images, of the map as the
    method returned it, of its positive part, and of the map scaled to [0, 1].  `constant`: whether
    the change is the same at every position.  `argmax`, `mask`: whether the highest position, and
    the positions above 15 % of the maximum, stayed.  The first is 0 or above, with no upper end.

    >>> M = torch.tensor([[[0.0, 4.0, 1.0]]])
    >>> change = compare(M, 2 * M)  # twice as large: another map, in the same places
    >>> change.map, change.constant, change.minmax, change.argmax, change.mask
    (1.0, False, 0.0, True, True)
    """

    map: float
    constant: bool
    relu: float
    minmax: float
    argmax: bool
    mask: bool


QUANTITIES = Change._fields
UNKNOWN = (None,) * len(QUANTITIES)


class Verdict(str):
    """What became of a map, in words: "unchanged", "one constant (0.3)", "changes (0.3)", "error".

    "does not apply": the model has no re-coding of this kind, so nothing is counted.

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
        words = {"unchanged": "=", "one constant": "const", "changes": "", "does not apply": "n/a"}
        return f"{words.get(self.kind, self.kind)} {self._shown}".strip() or "x"

    @property
    def colour(self) -> str:
        """White for unchanged, pale red for one constant, red for changes, grey for the others."""
        return COLOURS[self.kind]


COLOURS = {
    "unchanged": "#ffffff",
    "one constant": "#fddbc7",
    "changes": "#f4a582",
    "does not apply": "#f0f0f0",
    "error": "#d9d9d9",
}
SHORT = (
    "=: unchanged; const: one constant was added; a number: the largest change, relative to the "
    "largest value of the map; n/a: the model has no such re-coding, as said below"
)

WHY = {"places": "what is behind the layer sees the order of positions ({})"}
MOVES = "a common shift would move each of them"
ONLY = (
    "keeps the predictions only if a softmax reads the scores; where they are read otherwise "
    "(several labels, a regression, an embedding), pass softmax=False"
)


@dataclass(frozen=True, repr=False)
class AuditReport:
    """What moved, per method and symmetry.

        changes    {method: {symmetry: `Change`}}; None for a map that could not be made
        errors     {method: message} for methods that raised, and at which symmetry first
        absent     {symmetry: reason} for symmetries that the model does not have
        ran_on     {method: "head" or "whole model"}
        tolerance  {method: relative change that counts as rounding, from the format of its map}
        uncut      why none was run on the head alone; None if the model was cut at the layer
        rows       the layer whose rows gained the softmax shift; None if none did

    As text, in a notebook, and by `plot` it is a table of verdicts.  `frame` and `table` give
    tables of pandas, which the extra `draw` brings.

    >>> net = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0]], [[0.0, 3.0]]]])
    >>> report = audit(GRAD_CAM, net, x, 0, layer="0", symmetries=["scaling", "softmax shift"])
    >>> report.verdict("grad_cam", "scaling").kind, report.ran_on
    ('unchanged', {'grad_cam': 'head'})
    >>> report.absent["softmax shift"].partition(";")[0]
    'no common shift of the scores: no layer with a row for each score'
    """

    changes: Mapping[str, Mapping[str, Change | None]]
    errors: dict[str, str]
    absent: dict[str, str]
    ran_on: dict[str, str]
    tolerance: dict[str, float]
    seed: int
    layer: str
    uncut: str | None = None
    rows: str | None = None

    @property
    def symmetries(self) -> list[str]:
        """The names of the symmetries that were tried."""
        return list(next(iter(self.changes.values())))

    @functools.cached_property
    def frame(self) -> "pandas.DataFrame":
        """All numbers: a row for each method, columns (symmetry, quantity), see `Change`.

        A map that could not be made has NaN.
        """
        columns = [(kind, quantity) for kind in self.symmetries for quantity in QUANTITIES]
        rows = [[n for c in row.values() for n in c or UNKNOWN] for row in self.changes.values()]
        return self._framed(rows, columns)

    def verdict(
        self, method: str, symmetry: str, of: str = "map", rounding: bool = False
    ) -> Verdict:
        """One of "unchanged", "one constant (amount)", "changes (amount)", or the other kinds.

        of: a field of `Change`, but for `constant`.  rounding: add the amount to "unchanged".
        """
        known = [q for q in QUANTITIES if q != "constant"]
        if of not in known:
            raise Refused("of", f"{of!r}", f"one of {', '.join(known)}")
        if symmetry in self.absent:
            return Verdict("does not apply")
        change = self.changes[method][symmetry]
        if change is None:
            return Verdict("error")
        amount = getattr(change, of)
        if of in ("argmax", "mask"):
            return Verdict("unchanged" if amount else "changes")
        if amount <= self.tolerance[method]:
            return Verdict("unchanged", amount if rounding else None)
        return Verdict("one constant" if of == "map" and change.constant else "changes", amount)

    def table(
        self, of: str = "map", rounding: bool = False, short: bool = False
    ) -> "pandas.DataFrame":
        """Verdicts, methods x symmetries; `rounding` adds the measured rounding to "unchanged".

        short: "=", "const 0.3" and "0.3" for unchanged, one constant and changes; "x" for a change
        without an amount; "n/a" for "does not apply".
        """
        verdicts = self._verdicts(of, rounding)
        words = [[v.short if short else str(v) for v in row] for row in verdicts]
        return self._framed(words, self.symmetries)

    def _framed(self, cells: list[list[Any]], columns: list[Any]) -> "pandas.DataFrame":
        with extra("draw"):
            import pandas as pd

        return pd.DataFrame(cells, list(self.changes), pd.Index(columns))

    def _verdicts(self, of: str = "map", rounding: bool = False) -> list[list[Verdict]]:
        return [[self.verdict(m, s, of, rounding) for s in self.symmetries] for m in self.changes]

    def _notes(self) -> list[str]:
        went = [m for m, row in self.changes.items() if any(row.values()) or m not in self.errors]
        whole = [m for m in went if self.ran_on[m] != "head"]
        head = [m for m in went if self.ran_on[m] == "head"]
        rounding = " or ".join(f"{t:.0e}" for t in sorted(set(self.tolerance.values())))
        notes = [f"layer {self.layer!r}, seed {self.seed}; unchanged: below {rounding}"]
        if max(self.tolerance.values()) > 1e-2:
            notes += ["in half precision const may hide a change below this; run in float32"]
        notes += [f"from stored activations, backbone run once: {'; '.join(head)}"] if head else []
        notes += [f"by running the whole model: {'; '.join(whole)}"] if whole else []
        notes += [f"not cut at the layer: {self.uncut}"] if self.uncut else []
        notes += [f"softmax shift of the rows of {self.rows!r}: {ONLY}"] if self.rows else []
        return notes + [f"{k}: {said}" for d in (self.absent, self.errors) for k, said in d.items()]

    def __str__(self) -> str:
        return self._text(rounding=True)

    def __repr__(self) -> str:
        return self._text(rounding=False)

    def _text(self, rounding: bool) -> str:
        rows = [[f" {v.short}" for v in row] for row in self._verdicts(rounding=rounding)]
        names = [name.ljust(max(map(len, self.changes))) for name in ("", *self.changes)]
        columns = zip(self.symmetries, *rows, strict=True)
        even = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
        table = map(" ".join, zip(names, *even, strict=True))
        return "\n".join([*table, "", SHORT, *self._notes()])

    def _repr_html_(self) -> str | None:
        """The short verdicts in colour; like repr, without rounding, which machines differ in.

        None where pandas is not installed: a notebook then shows the text.
        """
        look = '<span style="background:{};color:#000;padding:0 .3em">{}</span>'
        cells = [[look.format(v.colour, v.short) for v in row] for row in self._verdicts()]
        with contextlib.suppress(Missing):
            table = self._framed(cells, [*map(html.escape, self.symmetries)])
            table = table.rename(html.escape).to_html(escape=False)
            notes = "".join(f"<p>{html.escape(note)}</p>" for note in (SHORT, *self._notes()))
            return f'<div style="overflow-x:auto">{table}</div>{notes}'
        return None

    def plot(self, ax: Any, of: str = "map") -> None:
        """Draw the verdicts on matplotlib axes: white unchanged, pale one constant, red changed."""
        with extra("draw"):
            from matplotlib.colors import to_rgb

        verdicts, symmetries = self._verdicts(of), self.symmetries
        ax.imshow([[to_rgb(v.colour) for v in row] for row in verdicts], aspect="auto")
        ax.set_xticks(range(len(symmetries)), symmetries, rotation=25, ha="right")
        ax.set_yticks(range(len(self.changes)), list(self.changes))
        for i, row in enumerate(verdicts):
            for j, verdict in enumerate(row):
                ax.text(j, i, verdict.short.replace("const ", "const\n"), ha="center", va="center")


@torch.inference_mode(False)
def audit(
    methods: Methods | None,
    model: nn.Module,
    x: Inputs,
    target: Target | Classes = None,
    *,
    layer: Layer,
    symmetries: Mapping[str, Symmetry] | Iterable[str] | None = None,
    seed: int = 0,
    reshape: Reshape | None = None,
    progress: bool = False,
    softmax: bool = True,
) -> AuditReport:
    """How far each method's map moves when the network is re-coded and predicts the same.

    methods: {name: method}, methods alone, one method, or None for `METHODS`.  A method is any
    callable (model, x, target, *, layer) -> (N, h, w); `reshape` is passed on if given.  One that
    looks at nothing before the layer may say so, `method.on_head = True`, and is run on the head.
    symmetries: {name: symmetry}, a name or names from `zerocam.symmetries.KINDS`, or None for one
    random draw of each kind, from `seed`, with shifts of the size of the layer's activations.  A
    kind that the model does not have, as "places" where the head sees the order of positions, or
    that moves a prediction, is a column that does not apply, with the reason in `absent`.  softmax:
    False where the scores are not read through a softmax (several labels, a regression, an
    embedding): such a model has no softmax shift, and nobody can tell that from its scores.
    `progress` shows a bar.  The predicted classes are found once, on the model as it came.

    Changes are relative to the largest absolute value of each image's map.  A method that raises
    is reported with its message.  Each run of a method draws the same from torch, NumPy and
    Python, so that its own dice are no change.  The model is left as it was.

    Raises `Refused` as `grad_cam` does, for no methods or symmetries at all, and for a symmetry of
    your own that moves a prediction.

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
    raw: list[Tensor] = []

    def seen(A: Tensor) -> Tensor:
        raw.append(A)
        return A if reshape is None else reshape(A)

    # a target that does not fit is refused here, not by each method in turn
    A, _, y, _ = tap(first.model, first.x, target, layer=first.layer, reshape=reshape and seen)
    if raw and (axis := channels_along(raw[0], reshape)) is not None:
        whole, head = replace(whole, channel_dim=axis), head and replace(head, channel_dim=axis)
        first = head or whole
    if target is None:
        target = y.argmax(1)
    places = {key: head if head and m.needs != "image" else whole for key, m in named.items()}
    softmax = softmax and _linear_in_a_common_gain(y, target)
    drawn, absent, rows = _drawn(symmetries, first, A, seed, reshape, softmax)

    errors: dict[str, str] = {}
    before = _maps(named, places, x, target, reshape, errors)
    changes: dict[str, dict[str, Change | None]] = {key: {} for key in named}
    for kind, symmetry in tqdm(drawn.items(), "symmetries", disable=not progress):
        after = {}
        try:
            recoded = {place: place.recoded(symmetry) for place in set(places.values()) if symmetry}
        except Refused as refused:
            if isinstance(symmetries, Mapping):
                raise
            recoded = {}
            absent[kind] = WHY.get(kind, "{}").format(f"{refused.what}: {refused.why}")
        if recoded:
            there = {key: recoded[place] for key, place in places.items()}
            left = {key: named[key] for key in before}
            after = _maps(left, there, x, target, reshape, errors, f"at {kind}: ")
        for key in named:
            changes[key][kind] = compare(before[key], after[key]) if key in after else None
    return AuditReport(
        changes,
        errors,
        absent,
        {key: "head" if place is head else "whole model" for key, place in places.items()},
        {key: rounding(before[key].dtype if key in before else images(x).dtype) for key in named},
        seed,
        name,
        uncut if any(m.needs != "image" for m in named.values()) else None,
        find_layer(model, rows)[0] if rows and "softmax shift" not in absent else None,
    )


def _maps(
    methods: Mapping[str, Method],
    places: Mapping[str, Place],
    x: Inputs,
    target: Target | Classes,
    reshape: Reshape | None,
    errors: dict[str, str],
    at: str = "",
) -> dict[str, Float[Tensor, "N h w"]]:
    """Each method's maps at its place; what made others fail goes into `errors`, with the words at.

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
                M = method.of(taps[place]).to(images(x).dtype)
            else:
                with same_draws(images(x).device):
                    M = method(place.model, place.x, target, layer=place.layer, reshape=reshape)
            M = torch.as_tensor(M).detach()
            if M.ndim != 3 or len(M) != len(images(x)):
                raise Refused("map", f"shape {tuple(M.shape)}", "(N, h, w)")
            refuse_non_finite(M, "map")
            maps[key] = M
        except Exception as error:  # the report is about methods, and this is what this one does
            errors.setdefault(key, at + reason(error))
    return maps


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


def _named(methods: Methods | None) -> dict[str, Method]:
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
            raise Refused("methods", f"two called {twice[0]!r}", "{name: method}")
        named = dict(zip(names, methods, strict=True))
    if not named or not all(callable(m) for m in named.values()):
        wanted = "callables (model, x, target, *, layer) -> (N, h, w)"
        raise Refused("methods", f"{methods!r}", wanted)
    return {name: Method.wrap(method) for name, method in named.items()}


def _linear_in_a_common_gain(y: Tensor, target: Target | Classes) -> bool:
    """Whether a target gains twice as much where all scores gain twice as much, or nothing.

    So do scores, their sums and differences, and what is read from a softmax; no sigmoid or length,
    and no target that reads something else than scores (N, C).
    """
    gain = 1 + y.abs().max()
    try:
        s, once, twice = (score(y + n * gain, target, len(y)) for n in range(3))
    except Exception:  # the target is the user's own code, and y not what it was written for
        return False
    largest = torch.stack([gain, s.abs().max(), once.abs().max()]).max()
    return bool((twice - 2 * once + s).abs().max() <= rounding(y.dtype) * largest)


def _drawn(
    symmetries: Mapping[str, Symmetry] | Iterable[str] | None,
    first: Place,
    A: Tensor,
    seed: int,
    reshape: Reshape | None,
    softmax: bool,
) -> tuple[dict[str, Symmetry | None], dict[str, str], nn.Module | None]:
    """The symmetries by name, why the model does not have one, and the layer of the scores."""
    if symmetries is not None and not symmetries:
        raise Refused("symmetries", f"{symmetries!r}", "at least one, or None for one of each kind")
    if isinstance(symmetries, Mapping):
        return dict(symmetries), {}, None
    drawn: dict[str, Symmetry | None] = {}
    absent: dict[str, str] = {}
    rows = None
    kinds = [symmetries] if isinstance(symmetries, str) else symmetries
    for kind in KINDS if kinds is None else kinds:
        K, size = A.shape[1], A.square().mean().sqrt().item()
        if kind == "softmax shift":
            try:
                if not softmax:
                    raise Refused(kind, why="the scores are not read by a softmax", mend=MOVES)
                rows = softmax_rows(first.model, first.x)
            except Refused as refused:
                drawn[kind], absent[kind] = None, f"{refused.why}; {refused.mend}"
                continue
            K, size = rows.weight[0].numel(), rows.weight.std().item()
        shift, mixing = drawn.get("shift"), drawn.get("mixing")
        if kind == "places":
            turned = random_symmetry(kind, A[0, 0].numel(), seed)
            drawn[kind] = replace(turned, reshape=reshape) if isinstance(turned, Places) else turned
        elif kind == "affine" and isinstance(shift, Affine) and isinstance(mixing, Affine):
            drawn[kind] = shift @ mixing  # the same draw, not factorised twice
        else:
            drawn[kind] = random_symmetry(kind, K, seed, size)
    return drawn, absent, rows
