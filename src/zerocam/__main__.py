"""The command line: `python -m zerocam map` and `python -m zerocam audit` on one photograph.

Exit codes: 0 done, 1 refused (one line on stderr says why and what would help), 2 wrong usage.
"""

import argparse
import importlib
import sys

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize, pil_to_tensor

from zerocam import explain_blank, grad_cam, models, references, targets
from zerocam.audit import audit
from zerocam.models import TargetLayer

MODELS = (
    "efficientnet_lite0 (default), torchvision:NAME, or MODULE:FUNCTION, a function that makes "
    "your model"
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision wants


def load_photo(path: str, size: int) -> Tensor:
    """The largest centred square of an image file, (3, size, size), RGB from 0 to 1."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.fit(ImageOps.exif_transpose(file).convert("RGB"), (size, size))
    except OSError as error:
        raise ValueError(f"photo: got {path!r}, which cannot be read ({error})") from None
    return pil_to_tensor(image).float() / 255


def load_model(name: str, weights: str) -> tuple[nn.Module, TargetLayer | None]:
    """(model in eval mode, its usual layer if known) from a name."""
    if name == "efficientnet_lite0":
        return models.efficientnet_lite0(), TargetLayer("features")
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        from torchvision import models as zoo

        if rest not in zoo.list_models():
            raise ValueError(f"model: got {rest!r}, wanted a model of torchvision, e.g. resnet18")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # random weights are the same at every call
                model = zoo.get_model(rest, weights=None if weights == "none" else "DEFAULT")
        except OSError as error:
            raise ValueError(
                f"weights: got none for {rest}, they could not be downloaded ({error}); connect to "
                "a network once, or pass --weights none for random weights"
            ) from None
        return model.eval(), models.TARGET_LAYERS.get(rest)
    if not rest:
        raise ValueError(f"model: got {name!r}, wanted {MODELS}")
    sys.path.insert(0, "")
    try:
        model = getattr(importlib.import_module(kind), rest)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"model: got {name!r}, which cannot be imported ({error})") from None
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: got a {type(model).__name__} from {name}, wanted an nn.Module")
    return model.eval(), None


def last_layer(model: nn.Module, x: Tensor) -> str:
    """The last module whose output still has positions: the usual place for a heatmap."""
    seen = ["one with output (N, K, h, w)"]

    def look(name: str, out: object) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2:].numel() > 1:
            seen.append(name)

    for name, module in model.named_modules():
        module.register_forward_hook(lambda _m, _a, out, name=name: look(name, out))
    with torch.no_grad():
        model(x)
    return seen[-1]


def prepare(photo: Tensor, model_name: str) -> Tensor:
    """The photograph as the model wants it, (1, 3, size, size)."""
    if model_name == "efficientnet_lite0":
        return models.imagenet_input(photo)[None]
    return normalize(photo, MEAN, STD)[None]


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
        sub.add_argument("--model", default="efficientnet_lite0", help=MODELS)
        sub.add_argument("--weights", choices=("default", "none"), default="default",
                         help="of a torchvision model; none: random")  # fmt: skip
        sub.add_argument("--layer", help="dotted name; the usual one if the model is known")
        sub.add_argument("--class", dest="c", help="number or ImageNet name; default: predicted")
        sub.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    draw, check = commands.choices["map"], commands.choices["audit"]
    kinds = ("logit", "centred", "log_probability", "probability")
    draw.add_argument("--target", choices=kinds, default="logit", help="what is explained")
    draw.add_argument("--reference", choices=("zero", "spatial_mean"), default="zero",
                      help="the activation that counts as nothing")  # fmt: skip
    draw.add_argument("--out", default="map.png", help="picture .png or numbers .csv (map.png)")
    check.add_argument("--seed", type=int, default=0, help="of the random re-codings (default 0)")
    check.add_argument("--out", help="picture .png or numbers .csv")
    return top


def run(args: argparse.Namespace) -> None:
    """Do what the command says; ValueError if it cannot be done."""
    if args.out and not args.out.endswith((".png", ".csv")):
        raise ValueError(f"out: got {args.out!r}, wanted a name that ends in .png or .csv")
    c = args.c and (int(args.c) if args.c.isdigit() else models.imagenet_class(args.c))
    photo = load_photo(args.photo, args.size)
    x = prepare(photo, args.model)
    model, place = load_model(args.model, args.weights)
    if args.layer:
        place = TargetLayer(args.layer, place and place.reshape)
    if place is None:
        raise ValueError(
            f"layer: none given for {args.model}; pass --layer with the last one that has "
            f"positions, here {last_layer(model, x)}"
        )
    with torch.no_grad():
        y = model(x)
    c = int(y[0].argmax()) if c is None else c
    name = f" ({models.imagenet_classes()[c]})" if y.shape[1] == 1000 and 0 <= c < 1000 else ""
    import matplotlib

    matplotlib.use("Agg")
    from zerocam import plots

    plots.style()
    if args.command == "audit":
        report = audit(None, model, x, c, **place._asdict(), seed=args.seed, progress=True)
        print(f"class {c}{name}\n\n{report}")
        fig, ax = plots.plt.subplots(figsize=(10, 5))
        report.plot(ax)
        numbers = report.frame
    else:
        target = getattr(targets, args.target)(c)
        reference = getattr(references, args.reference)
        M = grad_cam(model, x, target, relu=False, reference=reference, **place._asdict())[0]
        top = divmod(int(M.argmax()), M.shape[1])
        print(f"class {c}{name}, probability {y.softmax(1)[0, c]:.3f}")
        print(f"signed map {tuple(M.shape)} at {place.layer!r}")
        print(f"target {args.target}, zero: {args.reference}")
        print(f"highest {M.max():.3g} at row {top[0] + 1}, column {top[1] + 1}")
        print(f"lowest {M.min():.3g}, sum {M.sum():.3g}, positive {(M > 0).float().mean():.0%}")
        if not M.max() > 0 and args.reference == "zero":
            print("blank after a ReLU:", explain_blank(model, x, target, **place._asdict())[0])
        numbers = pd.DataFrame(M.numpy())
        fig, _ = plots.row(photo, {f"class {c}{name}": M})
    if args.out and args.out.endswith(".csv"):
        numbers.to_csv(args.out)
        print(f"numbers: {args.out}")
    elif args.out:
        fig.savefig(args.out)
        print(f"picture: {args.out}; white is zero or unchanged, red is for, blue against")


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 refused."""
    args = parser().parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError, RuntimeError) as error:
        print("zerocam:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
