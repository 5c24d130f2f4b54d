"""Is the suggested map in its place?  Tried on families of torchvision, timm and transformers.

    pip install timm==1.0.31 transformers==5.24.0
    python -m zerocam.lab.studies.zoo                all families; goes on where a run was cut short
    python -m zerocam.lab.studies.zoo swin timm:vgg  these, anew

Needs no weights of anybody: where a position lies does not depend on what a network has learnt.
Of a family of timm, the member with the fewest parameters is taken, on small images; of one of
transformers, its image classifier, made small where its configuration has these names.  Where that
does not settle it, as where each of a few positions sees the whole small image, the network's own
size is taken.  The answers are stored in book/measured/zoo.json, a row for each family, with the
command, the day and the versions.
"""

import argparse
import contextlib
import functools
import importlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import hooks, imagenet, layers
from zerocam.lab.provenance import made_by, write_json
from zerocam.refusals import Refused

STORED = Path("book") / "measured" / "zoo.json"
PARTS = 4  # so many patches of the image down, and across
CHANCE = (2 / PARTS) ** 2  # of the positions at most would be in their place by chance: a quarter
ENOUGH = 0.5  # of them are twice as many
SIDE = 160  # of an image in pixels at most, where the network takes any size
LARGEST = 150e6  # parameters of the smallest member of a family; larger ones are not run
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
NEEDS_MORE = {  # of transformers: image classifiers that are no function of an image alone
    "shieldgemma2": "reads text as well",
    "timm_wrapper": "is a network of timm",
    "dinat": "needs the package natten",
    "siglip2": "reads patches that were cut out before",
    "imagegpt": "reads a sequence of colours, not an image",
}
TORCHVISION = ("densenet121", "mnasnet0_5", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5",
               "squeezenet1_1", "swin_t")  # fmt: skip
Row = dict[str, str]
Made = tuple[str, nn.Module, Tensor]  # the name of a network, the network, and an image
Make = Callable[[str], Iterator[Made]]
LIBRARIES = ("torchvision", "timm", "transformers")
COLUMNS = ("family", "in place", "map", "reading", "layer", "network", "why")


class TooLarge(Exception):
    """A family whose smallest member has more parameters than are run here."""


def in_place(model: nn.Module, x: Float[Tensor, "1 ch H W"], **where: object) -> float:
    """The share of positions that the patch of the image over them moves most.

    The image is changed in one of PARTS x PARTS patches at a time.  How much a patch moves a
    position counts in relation to what the patch moves anywhere, and to what moves the position
    anyway.  In place: the position lies in the patch that moves it most, or beside it, closer than
    one patch.  By chance the share would be 0.25 or less.

    >>> x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> turned = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(64, 2))
    >>> in_place(turned, x, layer="0"), in_place(turned, x, layer="0", reshape=lambda A: A.flip(3))
    (1.0, 0.25)
    """
    A = hooks.activations(model, x, **where)  # type: ignore[arg-type]
    (H, W), (h, w), noise = x.shape[2:], A.shape[2:], torch.Generator().manual_seed(1)
    moved = []
    for i in range(PARTS):
        for j in range(PARTS):
            changed = x.clone()
            rows = slice(i * H // PARTS, (i + 1) * H // PARTS)
            patch = changed[:, :, rows, j * W // PARTS : (j + 1) * W // PARTS]
            patch += 2 * torch.randn(patch.shape, generator=noise)
            there = hooks.activations(model, changed, **where)  # type: ignore[arg-type]
            moved.append((there - A).abs().sum(1)[0])
    D = torch.stack(moved)
    D = D / D.mean((1, 2), keepdim=True).clamp(min=1e-30)
    top = (D / D.mean(0).clamp(min=1e-30)).argmax(0)
    down = (top // PARTS + 0.5) / PARTS - ((torch.arange(h) + 0.5) / h)[:, None]
    across = (top % PARTS + 0.5) / PARTS - (torch.arange(w) + 0.5) / w
    return (torch.maximum(down.abs(), across.abs()) < 1 / PARTS).double().mean().item()


def row(family: str, network: str, model: nn.Module, x: Float[Tensor, "1 ch H W"]) -> Row:
    """What is suggested for a network, and whether it is in its place."""
    found = dict.fromkeys(COLUMNS, "") | {"family": family, "network": network}
    try:
        where, _ = layers.suggest_layer(model, x)
    except Refused as refused:
        return found | {"in place": "refused", "why": refused.why}
    h, w = hooks.activations(model, x, **where).shape[2:]
    share = in_place(model, x, **where)
    verdict = "" if share > ENOUGH else ", undecided" if share > CHANCE else ", wrong"
    readings = {None: "channels first", hooks.channels_first: "channels last"}
    return found | {
        "layer": where["layer"],
        "map": f"{h} x {w}",
        "reading": readings.get(where.get("reshape"), "tokens"),
        "in place": f"{share:.0%}{verdict}",
    }


@torch.no_grad()
def drawn(model: nn.Module, x: Float[Tensor, "1 ch H W"]) -> nn.Module:
    """The network with random weights, as far from special as they would be after training.

    Weights that start at zero, so that a block does nothing at first, are drawn or become 1; and
    every BatchNorm has seen one batch of noise.
    """
    for name, p in model.named_parameters():
        if not p.any() and name.endswith(("weight", "gamma")):
            p.fill_(1) if p.ndim == 1 else p.normal_(std=p[0].numel() ** -0.5)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if norms:  # a few networks take no batch, or fail in training mode: these stay as they are
        before = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with contextlib.suppress(Exception):
            model.train()(torch.randn(4, *x.shape[1:]))
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
    return model.eval()


def torchvision_families() -> Iterator[tuple[str, Make]]:
    """(family, how to make a small member): some that need no other package than the tests have."""

    def made(name: str, _known: str) -> Iterator[Made]:
        model = imagenet.torchvision_net(name)
        for side in (SIDE, 224):
            yield name, model, torch.randn(1, 3, side, side)

    for name in TORCHVISION:
        yield f"torchvision:{name.partition('_')[0]}", functools.partial(made, name)


def timm_families() -> Iterator[tuple[str, Make]]:
    """(family, how to make its smallest member, by its name where that is known)."""
    import timm

    def smallest(module: str, known: str) -> Iterator[Made]:
        sizes = {}
        for name in [known] if known else timm.list_models(module=module):
            with torch.device("meta"):
                made = timm.create_model(name, num_classes=10)
            sizes[name] = sum(p.numel() for p in made.parameters())
        name = min(sizes, key=lambda name: sizes[name])
        if sizes[name] > LARGEST:
            raise TooLarge(f"{name} has {sizes[name] / 1e6:.0f} million parameters")
        model = timm.create_model(name, num_classes=10)
        channels, *size = model.pretrained_cfg["input_size"]
        for sides in ((min(n, SIDE) for n in size), size):
            yield name, model, torch.randn(1, channels, *sides)

    for module in timm.list_modules():
        if timm.list_models(module=module):
            yield f"timm:{module}", functools.partial(smallest, module)


def transformers_families() -> Iterator[tuple[str, Make]]:
    """(family, how to make its image classifier)."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    zoo = importlib.import_module("transformers")

    def classifier(name: str, _known: str) -> Iterator[Made]:
        kind = getattr(zoo, name)
        for smaller in (SMALL, {}):
            config = kind.config_class(num_labels=7)
            inner = getattr(config, "vision_config", config)
            for key, value in smaller.items():
                if isinstance(getattr(inner, key, None), int):
                    setattr(inner, key, value)
            size = getattr(inner, "image_size", 224)
            sides = size if isinstance(size, list | tuple) else (size, size)
            yield name, kind(config), torch.randn(1, getattr(inner, "num_channels", 3), *sides)

    for family, kinds in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.items():
        name = kinds if isinstance(kinds, str) else kinds[0]
        if family not in NEEDS_MORE:
            yield f"transformers:{family}", functools.partial(classifier, name)


def tried(family: str, made: Iterator[Made]) -> Row:
    """The row of the first of these networks that settles it; else of the last one that runs."""
    error: Exception | None = None
    found: Row | None = None
    try:
        for network, model, x in made:
            try:
                model.eval()(x)
            except Exception as raised:  # the code of other packages, at a size it may not take
                error = raised
                continue
            found = row(family, network, drawn(model, x), x)
            if found["in place"].endswith("%"):
                return found
    except (ImportError, TooLarge) as raised:  # it needs another package, or is too large
        error = raised
    if found:
        return found
    said = str(error).strip().partition("\n")[0][:80].replace("|", "/")
    return dict.fromkeys(COLUMNS, "") | {
        "family": family,
        "in place": "not run",
        "why": said or type(error).__name__,
    }


def main(argv: list[str] | None = None) -> int:
    """Try the families, print and store a row for each; 1 if one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m zerocam.lab.studies.zoo")
    parser.add_argument("families", nargs="*", help="parts of names: these alone, and anew")
    parser.add_argument("--out", type=Path, default=STORED)
    o = parser.parse_args(argv)
    stored = json.loads(o.out.read_text()) if o.out.exists() else {"rows": []}
    rows = {r["family"]: r for r in stored["rows"]}
    made = made_by("python -m zerocam.lab.studies.zoo", *LIBRARIES)
    made |= {"cores": str(os.cpu_count())}
    both = (stored.get("made", made), made)
    old, new = ({name: one.get(name) for name in ("torch", *LIBRARIES)} for one in both)
    if old != new:  # one line says how all rows were made
        raise Refused("zoo", f"{old} in {o.out}", str(new), "name another file with --out")
    for families in (torchvision_families, timm_families, transformers_families):
        for family, make in families():
            wanted = any(part in family for part in o.families)
            before = rows.get(family, {})
            if not wanted and (o.families or before.get("in place")):
                continue
            torch.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of other libraries, on their own names
                rows[family] = tried(family, make(before.get("network", "")))
            print(*rows[family].values(), sep="  ", flush=True)
            write_json(o.out, {"made": made, "rows": [rows[key] for key in sorted(rows)]})
    return int(any(r["in place"].endswith("wrong") for r in rows.values()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
