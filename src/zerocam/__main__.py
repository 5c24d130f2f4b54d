"""The command line: `python -m zerocam map` and `python -m zerocam audit` on one photograph.

Exit codes: 0 done, 1 refused (one line on stderr says why and what would help), 2 wrong usage.
"""

import argparse
import importlib
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from zerocam import explain_blank, grad_cam, references, targets
from zerocam.audit import METHODS, audit
from zerocam.models import (
    TARGET_LAYERS,
    efficientnet_lite0,
    imagenet_class,
    imagenet_classes,
    imagenet_input,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision wants
LARGEST = 40_000_000  # pixels of a photograph


def load_photo(path: str, size: int) -> Tensor:
    """The largest centred square of an image file, (3, size, size), RGB from 0 to 1."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(
                    f"photo: got {image.width} x {image.height} pixels, wanted at most "
                    f"{LARGEST // 10**6} million; make it smaller first"
                )
            image = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (size, size))
    except FileNotFoundError:
        raise ValueError(f"photo: got no file {path!r}; check the path") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"photo: got {path!r}, which cannot be read ({error})") from None
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def load_model(name: str, weights: str) -> tuple[nn.Module, str | None, object]:
    """(model in eval mode, its usual layer or None, reshape) from a name."""
    if name == "efficientnet_lite0":
        return efficientnet_lite0(), "features", None
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        from torchvision.models import get_model, list_models

        if rest not in list_models():
            raise ValueError(f"model: got {rest!r}, wanted a model of torchvision, e.g. resnet18")
        place = TARGET_LAYERS.get(rest)
        try:
            model = get_model(rest, weights=None if weights == "none" else "DEFAULT").eval()
        except OSError as error:
            raise ValueError(
                f"weights: got none for {rest}, they could not be downloaded ({error}); connect to "
                "a network once, or pass --weights none for random weights"
            ) from None
        return model, place and place.layer, place and place.reshape
    if not rest:
        raise ValueError(
            f"model: got {name!r}, wanted efficientnet_lite0, torchvision:NAME, or MODULE:FUNCTION "
            "for a function that returns your model"
        )
    sys.path.insert(0, "")
    try:
        model = getattr(importlib.import_module(kind), rest)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"model: got {name!r}, which cannot be imported ({error})") from None
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: got a {type(model).__name__} from {name}, wanted an nn.Module")
    return model.eval(), None, None


def prepare(photo: Tensor, model_name: str) -> Tensor:
    """The photograph as the model wants it, (1, 3, size, size)."""
    if model_name == "efficientnet_lite0":
        return imagenet_input(photo)[None]
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return ((photo - mean) / std)[None]


def find_class(text: str | None) -> int | None:
    """A class from its number or its ImageNet name."""
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdigit() else imagenet_class(text)


def parser() -> argparse.ArgumentParser:
    """The arguments of both commands."""
    top = argparse.ArgumentParser(
        prog="python -m zerocam",
        description="A class heatmap with an honest zero, and an audit of heatmap methods.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="map | audit")
    for name, what in (
        ("map", "draw a Grad-CAM map over a photograph, and print its numbers"),
        ("audit", "re-code the network without moving a prediction; print which maps move"),
    ):
        sub = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        sub.add_argument("photo", help="an image file; its centred square is used")
        sub.add_argument(
            "--model",
            default="efficientnet_lite0",
            help="efficientnet_lite0 (default), torchvision:NAME, or MODULE:FUNCTION",
        )
        sub.add_argument("--weights", choices=("default", "none"), default="default",
                         help="of a torchvision model; none: random")  # fmt: skip
        sub.add_argument("--layer", help="dotted name; the usual one if the model is known")
        sub.add_argument("--class", dest="c", help="number or ImageNet name; default: predicted")
        sub.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    draw, check = commands.choices["map"], commands.choices["audit"]
    draw.add_argument("--target", choices=("logit", "centred", "log_probability"), default="logit")
    draw.add_argument("--reference", choices=("zero", "spatial_mean"), default="zero")
    draw.add_argument("--out", default="map.png", help="PNG to write (default map.png)")
    check.add_argument("--seed", type=int, default=0, help="of the random re-codings (default 0)")
    return top


def run(args: argparse.Namespace) -> None:
    """Do what the command says; ValueError if it cannot be done."""
    model, layer, reshape = load_model(args.model, args.weights)
    layer = args.layer or layer
    if layer is None:
        names = [n for n, _ in model.named_children()]
        raise ValueError(
            f"layer: none given for {args.model}; pass --layer with the last one that has "
            f"positions; its children: {', '.join(names)}"
        )
    photo = load_photo(args.photo, args.size)
    x = prepare(photo, args.model)
    with torch.no_grad():
        y = model(x)
    c = find_class(args.c)
    c = int(y[0].argmax()) if c is None else c
    at = {"layer": layer, "reshape": reshape}
    name = f" ({imagenet_classes()[c]})" if y.shape[1] == 1000 and 0 <= c < 1000 else ""
    if args.command == "audit":
        extra = {} if reshape is None else {"reshape": reshape}
        report = audit(METHODS, model, x, c, layer=layer, seed=args.seed, progress=True, **extra)
        print(f"class {c}{name}\n\n{report}")
        return
    import matplotlib

    matplotlib.use("Agg")
    from zerocam import plots

    target = getattr(targets, args.target)(c)
    reference = references.spatial_mean if args.reference == "spatial_mean" else None
    M = grad_cam(model, x, target, relu=False, reference=reference, **at)[0]
    print(f"class {c}{name}, probability {y.softmax(1)[0, c]:.3f}")
    print(f"signed map {tuple(M.shape)} at {layer!r}, target {args.target}, zero: {args.reference}")
    print(f"highest {M.max():.3g}, lowest {M.min():.3g}, sum {M.sum():.3g}")
    if not M.amax() > 0 and reference is None:
        print(f"blank after a ReLU: {explain_blank(model, x, target, **at)[0]}")
    plots.style()
    fig, _ = plots.row(photo, {f"class {c}{name}": M})
    fig.savefig(args.out)
    print(f"white is zero, red is for, blue is against: {Path(args.out)}")


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 refused."""
    args = parser().parse_args(argv)
    try:
        run(args)
    except ValueError as error:
        print(f"zerocam: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
