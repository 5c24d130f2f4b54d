"""Draw the pictures that stand for the book, from its network: the cover, the answer, the card.

cover.webp    two networks, one function: on the first page and in the README
written.webp  a third network, in whose map somebody has written
answer.webp   the first two networks, counted from zero and from where the head would score zero
card.png      1,200 by 630 pixels, what a shared link shows

Of the first three there is a narrow one, NAME-tall.webp, for phones.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from zerocam import grad_cam, plots, targets
from zerocam.hooks import activations
from zerocam.imagenet import efficientnet_lite0, imagenet_class, imagenet_input
from zerocam.lab import write
from zerocam.lab.pictures import collage

STATIC = Path(__file__).parents[1] / "book" / "_static"
NAMES = "one network", "the same function, re-coded"
NEW = " ", "\n"  # between words of a title, where there is room and where there is none


def networks() -> list[torch.nn.Module]:
    """The released network, and it with the channels that speak for espresso turned: 6 for 0."""
    first = efficientnet_lite0()
    second = copy.deepcopy(first)
    norm, linear = second.features.last.norm, second.head.linear
    turned = first.head.linear.weight[imagenet_class("espresso")] > 0
    norm.weight.data[turned] *= -1
    norm.bias.data[turned] = 6 - norm.bias.data[turned]
    linear.bias.data += 6 * linear.weight.data[:, turned].sum(1)
    linear.weight.data[:, turned] *= -1
    return [first, second]


def save(fig: Figure, name: str, **options) -> None:
    """At twice the pixels; a picture is the same on every run."""
    path = STATIC / name
    more = {"metadata": {"Software": None}} if path.suffix == ".png" else {"pil_kwargs": options}
    fig.savefig(path, dpi=220, **more)
    plt.close(fig)


def cover(stem: str, names: Sequence[str], photo, maps, probabilities) -> None:
    """What each of two networks predicts, and its map: side by side, and one above the other."""
    limit = maps[0].abs().max().item()
    for tall in (False, True):
        size, rows = ((3.4, 4.75), (0.26, 2, 0.26, 2)) if tall else ((6.8, 2.65), (0.13, 1))
        fig, axes = plt.subplots(len(rows), 1 if tall else 2, figsize=size, height_ratios=rows)
        bars, pictures = axes.ravel()[[[0, 2], [1, 3]]] if tall else axes
        for ax, name, p in zip(bars, names, probabilities, strict=True):
            ax.barh([0], [1], color="0.93", height=1)
            ax.barh([0], [p], color=plots.INKS[0], height=1)
            ax.text(p + 0.02, 0, f"espresso: {p:.2f}", va="center")
            ax.set(xlim=(0, 1), ylim=(-0.5, 0.5), title=name)
            ax.axis("off")
        for ax, M in zip(pictures, maps, strict=True):
            plots.overlay(ax, photo, M.relu(), limit)
        fig.get_layout_engine().set(wspace=0.08)
        if not tall:
            fig.text(0.502, 0.79, "=", size=20, ha="center", va="center")
        save(fig, f"{stem}-tall.webp" if tall else f"{stem}.webp", quality=88)


def letters(word: str, height: int, width: int) -> torch.Tensor:
    """A word in the middle of a grid, one where there is ink."""
    grid = Image.new("1", (width, height))
    pen, font = ImageDraw.Draw(grid), ImageFont.load_default_imagefont()
    pen.text((width / 2 - font.getlength(word) / 2, height / 2 - 6), word, 1, font)
    return torch.from_numpy(np.array(grid)).double()


def written(word: str) -> tuple[list[torch.Tensor], list[float]]:
    """Maps of espresso at twice the photograph's size, before and with a word; probabilities."""
    lite, x, espresso = (
        efficientnet_lite0().double(),
        write.photograph(),
        imagenet_class("espresso"),
    )
    M = grad_cam(lite, x, espresso, layer="features", relu=False)[0]
    drawing = M.max() * letters(word, *M.shape)
    A = activations(lite, x, layer="features")[0].flatten(1)
    other = copy.deepcopy(lite)
    other.head.linear.weight.data += write.extra_weights(A, M.flatten(), drawing.flatten())
    maps = [grad_cam(n, x, espresso, layer="features", relu=False)[0] for n in (lite, other)]
    with torch.no_grad():
        return maps, [float(n(x).softmax(1)[0, espresso]) for n in (lite, other)]


def answer(photo, counted) -> None:
    """Rows: the two networks; columns: counted from zero, and from where the score is zero."""
    limit = max(M.abs().max().item() for M in counted[0])
    for tall in (False, True):
        fig, axes = plt.subplots(2, 2, figsize=(5.2, 2.5) if tall else (6.8, 3.3))
        titles = "counted from zero", f"from where{NEW[tall]}the score is zero"
        for row, name, maps in zip(axes, (NAMES[0], "re-coded"), counted, strict=True):
            row[0].set_ylabel(name)
            for ax, M, title in zip(row, maps, titles, strict=True):
                bar = plots.overlay(ax, photo, M, limit)
                if name == NAMES[0]:
                    ax.set_title(title)
        plots.colour_bar(fig, bar, axes, "for espresso")
        save(fig, f"answer{'-tall' * tall}.webp", quality=88)


def card(photo, maps) -> None:
    """The question, and the two maps that make it."""
    fig = plt.figure(figsize=(1200 / 220, 630 / 220))
    fig.set_layout_engine("none")
    for left, M in zip((0.05, 0.515), maps, strict=True):
        ax = fig.add_axes((left, 0.08, 0.435, 0.435 * 0.5 * 1200 / 630))
        plots.overlay(ax, photo, M.relu(), maps[0].abs().max().item())
    fig.text(0.05, 0.83, "What Does Zero Mean?", size=21, weight="bold", va="center")
    fig.text(0.05, 0.655, "Two networks, the same answers. Who chose the zero?", size=10.5)
    plt.rcParams["savefig.bbox"] = None
    save(fig, "card.png")


def main() -> None:
    """Compute the maps once, and draw."""
    plots.style()
    photo, _ = collage("chelsea", "coffee")
    x, espresso = imagenet_input(photo)[None], imagenet_class("espresso")
    both, at = networks(), {"layer": "features", "relu": False}
    maps = [grad_cam(network, x, espresso, **at)[0] for network in both]
    with torch.no_grad():
        probabilities = [float(network(x).softmax(1)[0, espresso]) for network in both]
    centred = targets.centred(espresso)
    counted = [
        [grad_cam(n, x, centred, **at)[0], grad_cam(n, x, centred, complete=True, **at)[0]]
        for n in both
    ]
    cover("cover", NAMES, photo, maps, probabilities)
    cover("written", ("one network", "another, in which we wrote"), photo, *written("ZERO"))
    answer(photo, counted)
    card(photo, maps)


if __name__ == "__main__":
    main()
