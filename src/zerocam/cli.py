"""The command line: a map, or an audit, of one photograph; and a form in the browser for the same.

    zerocam map photo.jpg --class espresso --out map.png      (or: python -m zerocam map ...)
    zerocam audit photo.jpg --model my_module:make_model
    zerocam page

A photograph goes three steps: `Photo.read` takes its pixels, `look` shows them to the network and
settles class and layer (a `Case`), `explain` makes the map (an `Explanation`), which says the same
to the terminal, to the page and to the files it is written to.

Exit codes: 0 done, 1 refused (one line on stderr says why and what would help), 2 wrong usage.
What your model raises is told in that line, too, with its place in your file.
"""

import argparse
import base64
import contextlib
import functools
import importlib
import io
import json
import platform
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import (
    explain_blank,
    hooks,
    imagenet,
    layers,
    references,
    suggest_layer,
    targets,
)
from zerocam.audits import AuditReport, audit
from zerocam.methods import GRAD_CAM, Method
from zerocam.page import Asked, server
from zerocam.photos import read_photo

MODELS = (
    "efficientnet_lite0 (default), torchvision:NAME, or MODULE:NAME of your model, or of a "
    "function that makes it, or (model, prepare); prepare: photo (3, S, S), 0 to 1 -> (1, ch, H, W)"
)
CHOICES = {
    "target": ("logit", "centred", "log_probability", "probability", "negative"),
    "reference": ("zero", "spatial_mean"),
}
ENDINGS = {"map": (".png", ".csv", ".npy", ".npz", ".json"), "audit": (".png", ".csv")}
BLANK = {  # why a map is blank -> what to do about it
    "silent layer": "no unit fired; scale x as in training, load weights, or an earlier --layer",
    "zero gradient": "the target is saturated (--target logit or centred), or deaf to the --layer",
    "all negative": "nothing speaks for it; --reference spatial_mean shows where most and least do",
    "constant": "it is the same everywhere; an even image, or one the layer cannot tell apart",
    "tiny": "there is something, but most tools would lose it in rounding; read the numbers",
}
SIZE = 224  # pixels: side of the square that is shown to the network
LIBRARY = re.compile(r"site-packages|^<|lib.python3").search  # a file that is not the user's own


# ---- a network, a photograph, a map -------------------------------------------------------------


class Network(NamedTuple):
    """A model in eval mode, and what makes its input (1, ch, H, W) of a photograph (3, S, S)."""

    model: nn.Module
    prepare: Callable[[Tensor], Tensor]
    name: str = ""
    weights: str = "default"


class Photo(NamedTuple):
    """The pixels of an image file, RGB from 0 to 1, with the file's name and its checksum."""

    pixels: Float[Tensor, "3 S S"]
    name: str
    sha256: str

    @classmethod
    def read(cls, file: Path | io.BytesIO, size: int = SIZE) -> "Photo":
        """The centred square of a file, or of bytes with a name, as `zerocam.photos` reads it."""
        pixels = read_photo(file, size)
        raw = file.getvalue() if isinstance(file, io.BytesIO) else file.read_bytes()
        return cls(pixels, Path(file.name).name, sha256(raw).hexdigest())


@dataclass(frozen=True, eq=False)
class Case:
    """A photograph before a network: the class that is asked about, the layer that is looked at."""

    network: Network
    photo: Photo
    x: Float[Tensor, "1 ch H W"]
    y: Float[Tensor, " C"]
    c: int
    where: dict[str, Any]  # layer and reshape, as `grad_cam` takes them
    why: str | None  # why this layer; None if the user named it

    @property
    def class_name(self) -> str | None:
        """What ImageNet calls the class, for a network of as many classes."""
        known = len(self.y) == 1000 and 0 <= self.c < 1000
        return imagenet.imagenet_classes()[self.c] if known else None

    @property
    def title(self) -> str:
        """The class by its number and name."""
        return f"class {self.c}" + (f" ({self.class_name})" if self.class_name else "")

    def lines(self) -> list[str]:
        """How the input was made, and why this layer."""
        usual = self.network.prepare is torchvision_input
        how = "ImageNet's mean and deviation" if usual else "as prepare makes it"
        suggested = [f"layer {self.where['layer']!r}: {self.why}"] if self.why else []
        return [f"input: {how}", *suggested]


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
            f"{case.title}, score {case.y[case.c]:.3g}, {_kind_of_score(case.y, case.c)}",
            f"signed map {tuple(M.shape)} at {case.where['layer']!r}",
            f"target {self.target}, zero: {self.reference}; "
            "white is zero, red is for, blue against",
            f"highest {M.max():.3g} at row {row + 1}, column {column + 1}",
            f"lowest {M.min():.3g}, sum {M.sum():.3g}, positive {(M > 0).float().mean():.0%}",
        ]
        if self.blank in BLANK:
            lines.append(f"blank when drawn the usual way: {self.blank}. {BLANK[self.blank]}")
        return lines

    def record(self, out: list[str], symmetries: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is needed to make the map again, and the map: for .json, .npz and .png."""
        case, layer = self.case, self.case.where["layer"]
        arguments = {
            "command": "map", "photo": case.photo.name, "layer": None if case.why else layer,
            "c": case.c, "size": case.photo.pixels.shape[-1], "target": self.target,
            "reference": self.reference, "model": case.network.name,
            "weights": case.network.weights, "out": out,
        }  # fmt: skip
        record = {
            "arguments": arguments, "photo_sha256": case.photo.sha256,
            "class": case.c, "class_name": case.class_name, "score": case.y[case.c].item(),
            "target": self.target, "layer": layer, "reference": self.reference,
            "shape": list(self.M.shape), "map": self.M.tolist(), "blank": self.blank,
            "versions": _versions(),
        }  # fmt: skip
        return record if symmetries is None else record | {"symmetries": symmetries}

    def symmetries(self) -> dict[str, Any]:
        """What an audit says of this very map, and the seed of its re-codings."""
        case, method = self.case, _method(self.reference)
        target = getattr(targets, self.target)(case.c)
        report = audit({"map": method}, case.network.model, case.x, target, **case.where)
        return report.table().loc["map"].to_dict() | {"seed": report.seed}

    def png(self, record: dict[str, Any]) -> bytes:
        """The map over its photograph, with a colour bar; the record is its text "zerocam"."""
        plots = _plots()
        title = f"{self.case.title}, {self.target}\nzero: {self.reference}"
        fig, _ = plots.row(self.case.photo.pixels, {title: self.M})
        fig.savefig(stream := io.BytesIO(), format="png", metadata={"zerocam": _text(record)})
        plots.plt.close(fig)
        return stream.getvalue()

    def write(self, out: str, record: dict[str, Any]) -> None:
        """The map as a picture or as numbers, as the name of the file ends.

        .png, .json and .npz hold the record; .npz holds the map and the photograph, too.
        """
        kind = Path(out).suffix
        if kind == ".png":
            Path(out).write_bytes(self.png(record))
        elif kind == ".csv":
            import pandas as pd

            pd.DataFrame(self.M.numpy()).to_csv(out)
        elif kind == ".npy":
            np.save(out, self.M.numpy())
        elif kind == ".npz":
            photo = self.case.photo.pixels.numpy()
            np.savez(out, map=self.M.numpy(), photo=photo, record=_text(record))
        else:
            Path(out).write_text(_text(record) + "\n")


def load_model(name: str, weights: str = "default") -> Network:
    """The network of that name, see `MODELS`; weights "none": random ones for torchvision's."""
    kind, _, rest = name.partition(":")
    if name == "efficientnet_lite0":
        model, prepare = imagenet.efficientnet_lite0(), lite0_input
    elif kind == "torchvision":
        try:
            model = imagenet.torchvision_net(rest, weights=None if weights == "none" else "DEFAULT")
        except OSError as error:
            raise ValueError(
                f"weights: got none for {rest}, they could not be downloaded ({error}); connect to "
                "a network once, or pass --weights none for random weights"
            ) from None
        prepare = torchvision_input
    elif rest:
        model, prepare = _own_model(kind, rest)
    else:
        raise ValueError(f"model: got {name!r}, wanted {MODELS}")
    return Network(model.eval(), prepare, name, weights)


def _own_model(module: str, name: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The user's model, or what the user's function makes, from a module that Python finds."""
    sys.path.insert(0, "")  # as `python -m` does; a console command does not
    made = getattr(importlib.import_module(module), name)
    made = made if isinstance(made, nn.Module) else made()
    model, prepare = made[:2] if isinstance(made, tuple) else (made, torchvision_input)
    if not isinstance(model, nn.Module):
        got = type(model).__name__
        raise ValueError(f"model: got a {got} from {module}:{name}, wanted an nn.Module")
    return model, prepare


def torchvision_input(photo: Float[Tensor, "3 S S"]) -> Float[Tensor, "1 3 S S"]:
    """The photograph as torchvision's networks want it: less ImageNet's mean, by its deviation."""
    mean, std = (torch.tensor(v, dtype=photo.dtype) for v in (imagenet.MEAN, imagenet.STD))
    return ((photo - mean[:, None, None]) / std[:, None, None])[None]


def lite0_input(photo: Float[Tensor, "3 S S"]) -> Float[Tensor, "1 3 S S"]:
    """The photograph as EfficientNet-Lite0 wants it."""
    return imagenet.imagenet_input(photo)[None]


def class_number(text: str | None) -> int | None:
    """A class by its number or its ImageNet name; None, the predicted one, if none is asked for."""
    if text is None:
        return None
    return int(text) if text.removeprefix("-").isdecimal() else imagenet.imagenet_class(text)


def look(network: Network, photo: Photo, c: int | None = None, layer: str | None = None) -> Case:
    """Show a photograph to a network; None: the predicted class, the suggested layer."""
    model = network.model
    x = torch.as_tensor(network.prepare(photo.pixels))
    x = x.to(next((p for p in model.parameters() if p.is_floating_point()), x))
    where, why = (
        suggest_layer(model, x) if layer is None else (layers.named_layer(model, x, layer), None)
    )
    y = hooks.tap(model, x, **where).y[0]
    return Case(network, photo, x, y, int(y.argmax()) if c is None else c, where, why)


def explain(case: Case, target: str = "logit", reference: str = "zero") -> Explanation:
    """The signed map of a case; target and reference are names of `CHOICES`."""
    model, x, s = case.network.model, case.x, getattr(targets, target)(case.c)
    M = _method(reference)(model, x, s, **case.where)[0].cpu()
    M = M.float() if M.dtype in (torch.float16, torch.bfloat16) else M  # NumPy has no bfloat16
    zero = getattr(references, reference)
    blank = explain_blank(model, x, s, **case.where, reference=zero)[0]
    return Explanation(case, target, reference, M, blank)


def _method(reference: str) -> Method:
    """Grad-CAM, signed, counted from a reference."""
    return replace(GRAD_CAM, relu=False, options={"reference": getattr(references, reference)})


def _kind_of_score(y: Float[Tensor, " C"], c: int) -> str:
    """The class's share of the softmax, or why there is none to speak of."""
    if len(y) == 1:
        return "the only one: the map speaks for more of it, with --target negative for less"
    if y.min() >= 0 and abs(y.sum() - 1) < 0.01:
        return "a probability already: its map fades where it is sure; return the logits"
    return f"softmax {y.softmax(0)[c]:.3f}"


def _versions() -> dict[str, str]:
    """What the numbers and the picture depend on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in ("zerocam", "torch", "torchvision", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1)


def _plots() -> ModuleType:
    """`zerocam.plots`, drawing into files only; imported here, for only pictures need it."""
    from zerocam import plots

    plots.plt.switch_backend("Agg")
    plots.style()
    return plots


# ---- the commands -------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The arguments of the three commands."""
    top = argparse.ArgumentParser(
        prog="zerocam",
        description="A class heatmap with an honest zero, and an audit of heatmap methods.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="map | audit | page")
    for name, what in (
        ("map", "draw a Grad-CAM map over a photograph, and print its numbers"),
        ("audit", "re-code the network without moving a prediction; print which maps move"),
    ):
        sub = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        sub.add_argument("photo", help="an image file; its centred square is used")
        sub.add_argument("--layer", help="dotted name; default: one is suggested")
        sub.add_argument("--class", dest="c", help="number or ImageNet name; default: predicted")
        sub.add_argument("--size", type=whole, default=SIZE, help=f"pixels a side (default {SIZE})")
    draw, check = commands.choices["map"], commands.choices["audit"]
    for option, choices in CHOICES.items():
        what = {"target": "what is explained", "reference": "what counts as nothing"}[option]
        draw.add_argument(f"--{option}", choices=choices, default=choices[0], help=what)
    check.add_argument("--seed", type=int, default=0, help="of the random re-codings (default 0)")
    page = commands.add_parser("page", help="a form in the browser, for this machine alone")
    page.add_argument("--port", type=whole, default=8765, help="(default 8765)")
    for sub in (draw, check, page):
        sub.add_argument("--model", default="efficientnet_lite0", help=MODELS)
        sub.add_argument("--weights", choices=("default", "none"), default="default",
                         help="of a torchvision model; none: random")  # fmt: skip
    for sub, rest in ((draw, "; default map.png"), (check, "")):
        endings = ", ".join(ENDINGS["map" if sub is draw else "audit"])
        sub.add_argument("--out", action="append", default=[], metavar="FILE",
                         help=f"what to write: {endings}{rest}; may be repeated")  # fmt: skip
    return top


def whole(text: str) -> int:
    """A number of pixels, or a port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a whole number from 1 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Do what the words of `map` or `audit` say; ValueError if it cannot be done."""
    for out in args.out:
        if not (out.endswith(ENDINGS[args.command]) and Path(out).parent.is_dir()):
            endings = ", ".join(ENDINGS[args.command])
            raise ValueError(
                f"out: got {out!r}, wanted a name that ends in {endings}, in a folder that exists"
            )
    c, photo = class_number(args.c), Photo.read(Path(args.photo), args.size)
    case = look(load_model(args.model, args.weights), photo, c, args.layer)
    if args.command == "map":
        draw_map(case, args.target, args.reference, args.out or ["map.png"])
    else:
        draw_audit(case, args.seed, args.out)


def draw_map(case: Case, target: str, reference: str, outs: list[str]) -> None:
    """Print what there is to say of one map, and write it."""
    explanation = explain(case, target, reference)
    print("\n".join(explanation.lines()))
    audited = any(out.endswith((".json", ".npz")) for out in outs)
    record = explanation.record(outs, explanation.symmetries() if audited else None)
    for out in outs:
        explanation.write(out, record)
        print(f"written: {out}")


def draw_audit(case: Case, seed: int, outs: list[str]) -> AuditReport:
    """Print which methods' maps move, and write the table."""
    print("\n".join(case.lines()))
    model = case.network.model
    report = audit(None, model, case.x, case.c, **case.where, seed=seed, progress=True)
    print(f"{case.title}\n\n{report}")
    for out in outs:
        if out.endswith(".csv"):
            report.frame.to_csv(out)
        else:
            plt = _plots().plt
            fig, ax = plt.subplots(figsize=(10, 5))
            report.plot(ax)
            fig.savefig(out)
            plt.close(fig)
        print(f"written: {out}")
    return report


def serve(args: argparse.Namespace) -> None:
    """Answer the page until the user has had enough; the model is loaded once."""
    network = load_model(args.model, args.weights)
    with server(functools.partial(answer, network), args.model, args.port, CHOICES) as s:
        print(f"http://127.0.0.1:{s.server_port}/ (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            s.serve_forever()


def answer(network: Network, photo: bytes, asked: Asked) -> dict[str, str]:
    """What the page hears of a photograph: {"picture": PNG in base64, "text"}, or {"error"}."""
    file = io.BytesIO(photo)
    file.name = "photo"  # for the messages, and the record
    chosen = {name: asked.get(name, choices[0]) for name, choices in CHOICES.items()}
    try:
        case = look(network, Photo.read(file), class_number(asked.get("class")))
        explanation = explain(case, **chosen)
        picture = explanation.png(explanation.record([]))
    except Exception as error:  # whatever it is, the page must hear of it
        return {"error": told(error)}
    text = "".join(f"{line}\n" for line in explanation.lines())
    return {"picture": base64.b64encode(picture).decode(), "text": text}


def told(error: Exception) -> str:
    """An error in one line: this package's own as it is, any other as the model's, with its place.

    The place is the last one in a file that is neither this package's nor an installed one's.
    """
    said, places = " ".join(str(error).split()), traceback.extract_tb(error.__traceback__)
    own = [Path(p.filename).parent == Path(__file__).parent for p in places]
    theirs = [p for p, o in zip(places, own, strict=True) if not o and not LIBRARY(p.filename)]
    if (isinstance(error, ValueError) and own[-1]) or (isinstance(error, OSError) and not theirs):
        return said
    at = "".join(f" ({Path(p.filename).name} line {p.lineno}, in {p.name})" for p in theirs[-1:])
    return f"model: got {type(error).__name__}, {said}{at}; see --help, or run it by itself first"


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 refused."""
    args = parser().parse_args(argv)
    try:
        serve(args) if args.command == "page" else run(args)
    except Exception as error:  # one line, whatever it is
        print("zerocam:", told(error), file=sys.stderr)
        return 1
    return 0
