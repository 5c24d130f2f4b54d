"""A photograph before a network, and the map that explains it: what the command and the page show.

A photograph goes three steps: `Photo.read` takes its pixels, `look` shows them to the network and
settles class and layer (a `Case`), `explain` makes the map (an `Explanation`), which says the same
to the terminal, to the page and to the files it is written to.
"""

import contextlib
import functools
import importlib
import io
import json
import platform
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import grad_cam, hooks, layers, references, suggest_layer, targets
from zerocam.answers import refuse_bad_input, refuse_bad_scores
from zerocam.audits import audit
from zerocam.cam import blank_reasons
from zerocam.methods import Method
from zerocam.networks import Network, class_number, torchvision_input
from zerocam.photos import read_photo
from zerocam.refusals import LayerRefused, Refused
from zerocam.views import View, prepared, view

CHOICES = {
    "target": ("logit", "centred", "log_odds", "log_probability", "probability", "negative"),
    "reference": ("zero", "local_score", "spatial_mean"),
}
BLANK = {  # why a map is blank -> what to do about it
    "silent layer": "no channel fired; scale x as in training, load weights, or an earlier --layer",
    "zero gradient": "the target is saturated (--target logit or centred), or deaf to the --layer",
    "cancelled": "gradients for and against it cancel over positions; zerocam.methods.hires_cam",
    "all negative": "every position lowers this score, counted from {}; {}--reference spatial_mean "
    "shows where least",
    "constant": "it is the same everywhere; an even image, or one the layer cannot tell apart",
    "tiny": "run half precision in float32; else read the numbers: most tools round them off",
}
ZERO = {"zero": "a layer of zeros", "local_score": "a score of zero", "spatial_mean": "the mean"}
SIZE = 224  # pixels: side of the square that is shown to the network


class Photo(NamedTuple):
    """The pixels of an image file, RGB from 0 to 1, with the file's name and its checksum.

    kept: the share of the picture that was read; white: the value of white in a file of 16 bits.
    """

    pixels: Float[Tensor, "3 H W"]
    name: str
    sha256: str
    kept: float = 1.0
    white: int | None = None

    @classmethod
    def read(
        cls,
        file: Path | io.BytesIO,
        size: int = SIZE,
        whole: bool = False,
        white: int | None = None,
    ) -> "Photo":
        """A file, or bytes with a name, as `zerocam.photos` reads it; a pipe is read once."""
        stream = io.BytesIO() if isinstance(file, Path) else file
        if isinstance(file, Path):
            stream.name = str(file)
            with contextlib.suppress(OSError):  # `read_photo` says why it cannot be read
                stream.write(file.read_bytes())
                file = stream
        pixels = read_photo(file, size, whole=whole, white=white)
        kept = 1.0 if whole else _share_of_square(stream)
        return cls(
            pixels, Path(stream.name).name, sha256(stream.getvalue()).hexdigest(), kept, white
        )

    def lines(self) -> list[str]:
        """What was left out of the picture, and what was called white."""
        said = f"photo: the centred square, {self.kept:.0%} of the picture; --whole takes all of it"
        cut = [said.replace("%", " %")] if self.kept < 0.995 else []
        return cut + ([f"photo: {self.white} is white"] if self.white else [])


def _share_of_square(stream: io.BytesIO) -> float:
    from PIL import Image

    with Image.open(stream) as image:
        return min(image.size) / max(image.size)


@dataclass(frozen=True, eq=False)
class Case:
    """A photograph before a network: the class that is asked about, the layer that is looked at."""

    network: Network
    photo: Photo
    x: Float[Tensor, "N ch H W"]
    y: Float[Tensor, " C"]
    c: int
    where: dict[str, Any]  # layer, reshape and call, as `grad_cam` takes them
    why: str | None  # why this layer; None if the user named it

    def asking(self, c: str | int | None) -> "Case":
        """The same about another class; None: the predicted one."""
        number = class_number(c, self.network.class_names(len(self.y)))
        return replace(self, c=int(self.y.argmax()) if number is None else number)

    @property
    def class_name(self) -> str | None:
        """What the model's own labels call the class; None where nobody says it."""
        names = self.network.class_names(len(self.y))
        return names[self.c] if names and 0 <= self.c < len(names) else None

    @property
    def title(self) -> str:
        """The class by its number and name."""
        return f"class {self.c}" + (f" ({self.class_name})" if self.class_name else "")

    @functools.cached_property
    def view(self) -> View:
        """The image that a map of x is drawn on."""
        return view(self.network.prepare, self.photo.pixels, self.x)

    def lines(self) -> list[str]:
        """How the input was made, and why this layer."""
        usual = self.network.prepare is torchvision_input
        how = "ImageNet's mean and deviation" if usual else "as prepare makes it"
        said = [f"input: {how}", self.view.said, self.network.said]
        if self.why:
            said.append(f"layer {self.where['layer']!r}: {self.why}")
        if "call" in self.where:
            said.append(f"run {self.where['call']} of the layer, read as (N, K, h, w)")
        return [*self.photo.lines(), *filter(None, said)]


@dataclass(frozen=True, eq=False)
class Explanation:
    """One map and all that is said of it: for the terminal, the page and the record."""

    case: Case
    target: str
    reference: str
    M: Float[Tensor, "h w"]
    blank: str  # what `explain_blank` says of it

    def lines(self) -> list[str]:
        """What `zerocam map` prints."""
        M, case = self.M, self.case
        row, column = divmod(int(M.argmax()), M.shape[1])
        lines = [
            *case.lines(),
            f"{case.title}, score {case.y[case.c]:.3g}, {kind_of_score(case.y, case.c)}",
            f"signed map {tuple(M.shape)} at {case.where['layer']!r}",
            f"target {self.target}, zero: {self.reference}; "
            "white is zero, red is for, blue against",
            f"highest {M.max():.3g} at row {row + 1}, column {column + 1}",
            f"lowest {M.min():.3g}, sum {M.sum():.3g}, positive {(M > 0).float().mean():.0%}",
        ]
        if self.blank in BLANK:
            other = "try --target centred, or " * (len(case.y) > 1 and self.target != "centred")
            advice = BLANK[self.blank].format(ZERO[self.reference], other)
            lines.append(f"blank when drawn the usual way: {self.blank}. {advice}")
        return lines

    def record(self, out: list[str], symmetries: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is needed to make the map again, and the map: for .json, .npz and .png."""
        case, layer, view = self.case, self.case.where["layer"], self.case.view
        record = provenance(
            case.network, photo=case.photo.name, layer=None if case.why else layer,
            call=case.where.get("call"), c=case.c, size=min(case.photo.pixels.shape[1:]),
            whole=len(set(case.photo.pixels.shape[1:])) > 1, white=case.photo.white,
            target=self.target, reference=self.reference, out=out,
        ) | {
            "photo_sha256": case.photo.sha256,
            "class": case.c, "class_name": case.class_name, "score": case.y[case.c].item(),
            "target": self.target, "layer": layer, "reference": self.reference,
            "shape": list(self.M.shape), "map": self.M.tolist(), "blank": self.blank,
            "photo_to_input": None if view.place is None else view.place.tolist(),
            "drawn_on": view.said,
        }  # fmt: skip
        return record if symmetries is None else record | {"symmetries": symmetries}

    def symmetries(self) -> dict[str, Any] | None:
        """What an audit says of this very map, and the seed of its re-codings.

        None where one run of several was chosen: a re-coding would change them all.
        """
        case, method = self.case, _method(self.reference)
        if "call" in case.where:
            return None
        target = getattr(targets, self.target)(case.c)
        report = audit({"map": method}, case.network.model, case.x, target, **case.where)
        return {k: report.verdict("map", k) for k in report.symmetries} | {"seed": report.seed}

    def write(self, out: str, record: dict[str, Any]) -> None:
        """The map as a picture or as numbers, as the name of the file ends.

        .png, .json and .npz hold the record; .npz holds the map and the photograph, too.
        """
        kind = Path(out).suffix.lower()
        if kind == ".png":
            Path(out).write_bytes(png([self], record))
        elif kind == ".csv":
            rows = [["", *range(self.M.shape[1])], *([i, *m] for i, m in enumerate(self.M.numpy()))]
            Path(out).write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        elif kind == ".npy":
            np.save(out, self.M.numpy())
        elif kind == ".npz":
            photo = self.case.photo.pixels.numpy()
            np.savez(out, map=self.M.numpy(), photo=photo, record=text(record))
        else:
            Path(out).write_text(text(record) + "\n")


def png(explanations: list[Explanation], record: Any) -> bytes:
    """Maps over one photograph, on one scale, with a colour bar; the record is its text "zerocam".

    A map whose input cannot be traced back to the photograph is drawn on that input.
    """
    plots, limit = drawing(), max(float(e.M.abs().max()) for e in explanations)
    several = len({e.case.network.name for e in explanations}) > 1
    tiles = []
    for e in explanations:
        title = f"{e.case.title}, {e.target}\nzero: {e.reference}"
        title = f"{e.case.network.name}\n{title}" if several else title
        tiles.append((title, e.case.view.darkened(), e.case.view.lay(e.M)))
    fig, _ = plots.tiles([("the image", tiles[0][1], None), *tiles], limit=limit)
    fig.savefig(stream := io.BytesIO(), format="png", metadata={"zerocam": text(record)})
    plots.plt.close(fig)
    return stream.getvalue()


def look(
    network: Network,
    photo: Photo,
    c: str | int | None = None,
    layer: str | None = None,
    call: int | None = None,
) -> Case:
    """Show a photograph to a network; None: the predicted class, the suggested layer.

    call: which run of a layer that runs several times, counted from 0.
    """
    model, x = network.model, shown(network, photo)
    if layer is None:
        where, why = suggest_layer(model, x)
    else:
        where, why = _named(model, x, layer, call), None
    y = hooks.tap(model, x, **where).y[0].cpu()
    return Case(network, photo, x, y, 0, where, why).asking(c)


def _named(model: nn.Module, x: Tensor, layer: str, call: int | None) -> dict[str, Any]:
    """Where a named layer's map is; of one run of several, its output is read as (N, K, h, w)."""
    if call is not None:
        return {"layer": layer, "call": call}
    try:
        return layers.named_layer(model, x, layer)
    except LayerRefused:
        hooks.activations(model, x, layer=layer)  # where it runs several times, this says so
        raise


def shown(network: Network, photo: Photo) -> Tensor:
    """The model's input made of a photograph: with the type of its weights, on its device."""
    x = prepared(network.prepare, photo.pixels)
    refuse_bad_input(network.model, x)
    if x.ndim > 3 and len(x) > 1:  # of fewer axes the first may be channels
        raise Refused("prepare", f"{len(x)} images of one photograph", "one, (1, ch, H, W)")
    return x.to(next((p for p in network.model.parameters() if p.is_floating_point()), x))


def explain(case: Case, target: str = "logit", reference: str = "zero") -> Explanation:
    """The signed map of a case; target and reference are names of `CHOICES`."""
    _, M, blank = explain_all(case, case.x, case.c, target, reference)
    return Explanation(case, target, reference, M[0], blank[0])


def explain_all(
    case: Case, x: Tensor, c: int | None, target: str, reference: str
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N h w"], list[str]]:
    """The scores of a batch, its signed maps, and what `explain_blank` says of each: one pass.

    Where the case has it, and of class c; None: of the predicted classes.
    """

    def s(y: Tensor) -> Tensor:
        return getattr(targets, target)(y.argmax(1) if c is None else c)(y)

    made = hooks.tap(case.network.model, x, s, **case.where)
    refuse_bad_scores(made.y, len(x))
    M = _method(reference).of(made).cpu()
    return made.y.cpu(), M, blank_reasons(made, **_counted_from(reference))


def _counted_from(reference: str) -> dict[str, Any]:
    """The arguments of `grad_cam` for one of the `CHOICES` of what counts as nothing."""
    if reference == "local_score":
        return {"complete": True}
    return {"reference": getattr(references, reference)}


def _method(reference: str) -> Method:
    """Grad-CAM, signed, counted from a reference."""
    return Method.wrap(functools.partial(grad_cam, relu=False, **_counted_from(reference)))


def kind_of_score(y: Float[Tensor, " C"], c: int) -> str:
    """The class's share of the softmax, or why there is none to speak of."""
    if len(y) == 1:
        return "the only one: the map speaks for more of it, with --target negative for less"
    fades = "its map fades where it is sure; return the logits"
    if y.min() >= 0 and abs(y.sum() - 1) < 0.01:
        return f"a probability already: {fades}"
    if y.min() >= 0 and y.max() <= 1:
        return f"like all scores between 0 and 1: if a sigmoid makes them, {fades}"
    if y.max() <= 0 and abs(y.logsumexp(0)) < 0.01:
        return f"a log-probability already, of {y[c].exp():.3f}; return the logits for more targets"
    return f"softmax {y.softmax(0)[c]:.3f}"


def provenance(network: Network, **asked: Any) -> dict[str, Any]:
    """How a record was made: what was asked of the command, the weights, the versions."""
    named = {"command": "map", "model": network.name, "weights": network.weights}
    made = {"arguments": named | asked, "weights_sha256": network.digest()}
    return made | {"versions": _versions()}


def _versions() -> dict[str, str]:
    """What the numbers and the picture depend on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in ("zerocam", "torch", "torchvision", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def text(record: Any) -> str:
    """A record, to be read by people and by programs."""
    return json.dumps(record, indent=1)


def drawing() -> ModuleType:
    """`zerocam.plots`, drawing into files only; imported here, for only pictures need it."""
    plots = importlib.import_module("zerocam.plots")
    plots.plt.switch_backend("Agg")
    plots.style()
    return plots
