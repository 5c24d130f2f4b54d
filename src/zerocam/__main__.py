"""The command line: `python -m zerocam map` and `audit` on one photograph, and `page` for a form.

Exit codes: 0 done, 1 refused (one line on stderr says why and what would help), 2 wrong usage.
What your model raises is told in that line, too, with its place in your file.
"""

import argparse
import contextlib
import functools
import importlib
import json
import platform
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from zerocam import (
    explain_blank,
    grad_cam,
    hooks,
    imagenet,
    layers,
    plots,
    references,
    suggest_layer,
    targets,
)
from zerocam.audits import audit
from zerocam.page import server, told
from zerocam.photos import read_photo

MODELS = (
    "efficientnet_lite0 (default), torchvision:NAME, or MODULE:NAME of your model, or of a "
    "function that makes it, or (model, prepare); prepare: photo (3, S, S), 0 to 1 -> (1, ch, H, W)"
)
CHOICES = {
    "target": ("logit", "centred", "log_probability", "probability", "negative"),
    "reference": ("zero", "spatial_mean"),
}
ENDINGS = (".png", ".csv", ".npy", ".npz", ".json")
BLANK = {  # why a map is blank -> what to do about it
    "silent layer": "no unit fired; scale x as in training, load weights, or an earlier --layer",
    "zero gradient": "the target is saturated (--target logit or centred), or deaf to the --layer",
    "all negative": "nothing speaks for it; --reference spatial_mean shows where most and least do",
    "constant": "it is the same everywhere; an even image, or one the layer cannot tell apart",
    "tiny": "there is something, but most tools would lose it in rounding; read the numbers",
}


def load_model(name: str, weights: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """(model in eval mode, photo (3, S, S) -> x (1, ch, H, W)) from a name."""
    if name == "efficientnet_lite0":
        return imagenet.efficientnet_lite0(), lambda photo: imagenet.imagenet_input(photo)[None]
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        try:
            model = imagenet.torchvision_net(rest, weights=None if weights == "none" else "DEFAULT")
        except OSError as error:
            raise ValueError(
                f"weights: got none for {rest}, they could not be downloaded ({error}); connect to "
                "a network once, or pass --weights none for random weights"
            ) from None
        return model, torchvision_input
    if not rest:
        raise ValueError(f"model: got {name!r}, wanted {MODELS}")
    sys.path.insert(0, "")
    made = getattr(importlib.import_module(kind), rest)
    made = made if isinstance(made, nn.Module) else made()
    model, prepare = made[:2] if isinstance(made, tuple) else (made, torchvision_input)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: got a {type(model).__name__} from {name}, wanted an nn.Module")
    return model.eval(), prepare


def whole(text: str) -> int:
    """A number of pixels, or a port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a whole number from 1 to 65535")
    return int(text)


def torchvision_input(photo: Tensor) -> Tensor:
    """The photograph as torchvision's networks want it, (1, 3, size, size)."""
    return normalize(photo, imagenet.MEAN, imagenet.STD)[None]


def parser() -> argparse.ArgumentParser:
    """The arguments of the three commands."""
    top = argparse.ArgumentParser(
        prog="python -m zerocam",
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
        sub.add_argument("--size", type=whole, default=224, help="pixels a side (default 224)")
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
    for sub, endings in ((draw, ", ".join(ENDINGS) + "; default map.png"), (check, ".png or .csv")):
        sub.add_argument("--out", action="append", default=[], metavar="FILE",
                         help=f"what to write: {endings}; may be repeated")  # fmt: skip
    return top


def run(args: argparse.Namespace) -> None:
    """Do what the command says; ValueError if it cannot be done."""
    endings = ENDINGS if args.command == "map" else (".png", ".csv")
    outs = args.out or ["map.png"] * (args.command == "map")
    for out in outs:
        if not (out.endswith(endings) and Path(out).parent.is_dir()):
            wanted = f"a name that ends in {', '.join(endings)}, in a folder that exists"
            raise ValueError(f"out: got {out!r}, wanted {wanted}")
    number = (args.c or "").removeprefix("-").isdecimal()
    c = int(args.c) if number else None if args.c is None else imagenet.imagenet_class(args.c)
    photo = read_photo(args.photo, args.size)
    model, prepare = load_model(args.model, args.weights)
    print(
        "input:",
        "ImageNet's mean and deviation" if prepare is torchvision_input else "as prepare makes it",
    )
    x = torch.as_tensor(prepare(photo))
    x = x.to(next((p for p in model.parameters() if p.is_floating_point()), x))
    if args.layer is not None:
        where = layers.named_layer(model, x, args.layer)
    else:
        where, why = suggest_layer(model, x)
        print(f"layer {where['layer']!r}: {why}")
    y = hooks.tap(model, x, **where).y
    c = int(y[0].argmax()) if c is None else c
    name = f" ({imagenet.imagenet_classes()[c]})" if y.shape[1] == 1000 and 0 <= c < 1000 else ""
    plots.plt.switch_backend("Agg")
    plots.style()
    if args.command == "audit":
        report = audit(None, model, x, c, **where, seed=args.seed, progress=True)
        print(f"class {c}{name}\n\n{report}")
        fig, ax = plots.plt.subplots(figsize=(10, 5))
        report.plot(ax)
        for out in outs:
            report.frame.to_csv(out) if out.endswith(".csv") else fig.savefig(out)
            print(f"written: {out}")
        plots.plt.close(fig)
        return
    target = getattr(targets, args.target)(c)
    method = functools.partial(grad_cam, relu=False, reference=getattr(references, args.reference))
    M = hooks.at_least_float32(method(model, x, target, **where)[0]).cpu()
    top = divmod(int(M.argmax()), M.shape[1])
    said = f"softmax {y.softmax(1)[0, c]:.3f}"
    if y.shape[1] == 1:
        said = "the only one: the map speaks for more of it, with --target negative for less"
    elif y.min() >= 0 and abs(y[0].sum() - 1) < 0.01:
        said = "a probability already: its map fades where it is sure; return the logits"
    print(f"class {c}{name}, score {y[0, c]:.3g}, {said}")
    print(f"signed map {tuple(M.shape)} at {where['layer']!r}")
    print(f"target {args.target}, zero: {args.reference}; white is zero, red is for, blue against")
    print(f"highest {M.max():.3g} at row {top[0] + 1}, column {top[1] + 1}")
    print(f"lowest {M.min():.3g}, sum {M.sum():.3g}, positive {(M > 0).float().mean():.0%}")
    why = explain_blank(model, x, target, **where, reference=method.keywords["reference"])[0]
    if why in BLANK:
        print(f"blank when drawn the usual way: {why}. {BLANK[why]}")
    record = {
        "arguments": vars(args) | {"photo": Path(args.photo).name, "c": c, "out": outs},
        "photo_sha256": sha256(Path(args.photo).read_bytes()).hexdigest(),
        "class": c, "class_name": name[2:-1] or None, "score": y[0, c].item(),
        "target": args.target, "layer": where["layer"], "reference": args.reference,
        "shape": list(M.shape), "map": M.tolist(), "blank": why,
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("zerocam", "torch", "torchvision", "pillow")},
    }  # fmt: skip
    if any(out.endswith((".json", ".npz")) for out in outs):
        report = audit({"map": method}, model, x, target, **where)
        record["symmetries"] = report.table().loc["map"].to_dict() | {"seed": report.seed}
    for out in outs:
        write(out, M, photo, f"class {c}{name}, {args.target}\nzero: {args.reference}", record)
        print(f"written: {out}")


def write(out: str, M: Tensor, photo: Tensor, name: str, record: dict) -> None:
    """The map as a picture with its colour bar, as numbers, or with the record of its making.

    .png holds the record in its text entry "zerocam"; .npz holds map, photo and record.
    """
    text = json.dumps(record, indent=1)
    if out.endswith(".png"):
        fig, _ = plots.row(photo, {name: M})
        fig.savefig(out, metadata={"zerocam": text})
        plots.plt.close(fig)
    elif out.endswith(".csv"):
        pd.DataFrame(M.numpy()).to_csv(out)
    elif out.endswith(".npy"):
        np.save(out, M.numpy())
    elif out.endswith(".npz"):
        np.savez(out, map=M.numpy(), photo=photo.numpy(), record=text)
    else:
        Path(out).write_text(text + "\n")


def serve(args: argparse.Namespace) -> None:
    """Answer the page until the user has had enough."""
    load_model(args.model, args.weights)  # refuse now what could not be drawn later

    def draw(words: list[str]) -> None:
        run(parser().parse_args([*words, "--weights", args.weights]))

    with server(draw, args.model, args.port, CHOICES) as s:
        print(f"http://127.0.0.1:{s.server_port}/ (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            s.serve_forever()


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 refused."""
    args = parser().parse_args(argv)
    try:
        serve(args) if args.command == "page" else run(args)
    except Exception as error:  # one line, whatever it is
        print("zerocam:", told(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
