"""Draw what readers see when a heatmap goes wrong, each beside the same map mended.

    python -m tools.symptoms

Nothing is made up: each picture is a map of EfficientNet-Lite0 of one of the six photographs, with
one mistake made on purpose.  On the left what is seen, on the right the map without the mistake;
each has its own full colour.  book/_static/symptoms/NAME.webp; the page is book/your-model.md.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

import zerocam
from zerocam import references, symmetries, targets
from zerocam.imagenet import efficientnet_lite0, imagenet_input
from zerocam.lab.pictures import photograph

FOLDER = Path(__file__).parents[1] / "book" / "_static" / "symptoms"
SIDE, GAP = 168, 8  # pixels
MUG, CAT, DAISY, PALACE, JAY = 504, 285, 985, 698, 17


@dataclass(frozen=True)
class Symptom:
    """What is seen and what is right: two pictures, each an image (3, H, W) with its map (h, w)."""

    seen: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]


@functools.cache
def network() -> nn.Module:
    """EfficientNet-Lite0 with the released weights."""
    return efficientnet_lite0()


def signed(photo: Tensor, c: int, model: nn.Module | None = None, **more: object) -> Tensor:
    """The signed map (h, w) of a class in a photograph (3, H, W)."""
    arguments = {"layer": "features", "relu": False} | more
    return zerocam.grad_cam(model or network(), imagenet_input(photo)[None], c, **arguments)[0]  # type: ignore[arg-type]


def blank() -> Symptom:
    """A class that every place speaks against, cut at zero; on the right counted from the mean."""
    photo, c = photograph("chelsea"), JAY
    seen = signed(photo, c, relu=True)
    return Symptom((photo, seen), (photo, signed(photo, c, reference=references.spatial_mean)))


def all_blue() -> Symptom:
    """The same class, signed."""
    photo, c = photograph("chelsea"), JAY
    return Symptom((photo, signed(photo, c)), (photo, signed(photo, CAT)))


def mirrored() -> Symptom:
    """The network saw the photograph mirrored; its map is drawn on the photograph as it is."""
    photo = photograph("china")
    M = signed(photo.flip(2), PALACE)
    return Symptom((photo, M), (photo, M.flip(1)))


def shifted() -> Symptom:
    """Every channel of the layer, and what is read of it, moved by a constant: one function."""
    photo = photograph("coffee")
    A = zerocam.hooks.activations(network(), imagenet_input(photo)[None], layer="features")
    w = network().head.linear.weight[MUG]  # type: ignore[index, union-attr]
    T = symmetries.shift(-2 * A.mean() * w.detach().sign())
    model, layer = zerocam.reparametrize(network(), "features", T)
    return Symptom((photo, signed(photo, MUG, model, layer=layer)), (photo, signed(photo, MUG)))


def border() -> Symptom:
    """An even grey image has nothing in it: what is red or blue is made by the zeros around it."""
    photo = photograph("flower")
    grey, layer = torch.full_like(photo, 0.5), {"layer": "features.block0"}
    return Symptom((grey, signed(grey, DAISY, **layer)), (photo, signed(photo, DAISY)))


def one_row_added() -> nn.Module:
    """The network with the cat's weights, 20 times, added to those of every class.

    No prediction moves, and every map gets the same.
    """
    weight = network().head.linear.weight.detach()  # type: ignore[union-attr]
    T = symmetries.SoftmaxShift(20 * weight[CAT])
    x = imagenet_input(photograph("coffee"))[None]
    return zerocam.reparametrize(network(), "head.linear", T, x=x)[0]


def same_for_all() -> Symptom:
    """Where all classes have a part in common; on the right, against the mean of the classes."""
    photo, model = photograph("coffee"), one_row_added()
    centred = signed(photo, targets.centred(MUG), model)  # type: ignore[arg-type]
    return Symptom((photo, signed(photo, MUG, model)), (photo, centred))


def enlarged() -> Symptom:
    """7 x 7 numbers, enlarged: soft spots that no pixel of the photograph has drawn."""
    photo = photograph("chelsea")
    M = signed(photo, CAT)
    side = photo.shape[1]
    blocks = M.repeat_interleave(side // 7, 0).repeat_interleave(side // 7, 1)
    return Symptom((photo, M), (photo, blocks))


def mixed_up() -> Symptom:
    """Rows taken for columns where the output is folded into a map."""
    photo = photograph("coffee")
    M = signed(photo, MUG)
    return Symptom((photo, signed(photo, MUG, reshape=lambda A: A.mT)), (photo, M))


SYMPTOMS: dict[str, Callable[[], Symptom]] = {
    "blank": blank,
    "all-blue": all_blue,
    "mirrored": mirrored,
    "constant": shifted,
    "border": border,
    "same": same_for_all,
    "enlarged": enlarged,
    "mixed-up": mixed_up,
}


def picture(symptom: Symptom) -> Image.Image:
    """What is seen, and what is right, side by side on white."""
    sheet = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    for i, (image, M) in enumerate((symptom.seen, symptom.right)):
        drawn = zerocam.overlay(image, M).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(drawn, (i * (SIDE + GAP), 0))
    return sheet


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, symptom in SYMPTOMS.items():
        picture(symptom()).save(FOLDER / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
