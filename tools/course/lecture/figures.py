"""The computed figures of the slides: maps of the chapters' networks, drawn as wide as a slide."""

import io
from collections.abc import Callable
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from zerocam import activations, grad_cam, metrics, plots, references, reparametrize
from zerocam.imagenet import efficientnet_lite0, imagenet_class, imagenet_input
from zerocam.lab.nets import scene_net
from zerocam.lab.pictures import collage, photograph
from zerocam.lab.scenes import scene
from zerocam.symmetries import shift
from zerocam.targets import centred

FIGURES: dict[str, Callable[[], Figure]] = {}
SIZE, TEXT = (13, 6.2), 24  # inches, points: a slide is 27 inches wide at this scale of text
AT = {"layer": "features", "relu": False}
F64 = torch.float64


def figure(draw: Callable[[], Figure]) -> Callable[[], Figure]:
    """Register a figure under the name of its function."""
    FIGURES[draw.__name__.replace("_", "-")] = draw
    return draw


def draw(name: str, pngs: dict[str, bytes] | None = None) -> str:
    """The figure as SVG, the same bytes each time; into pngs with 300 dots per inch."""
    with plt.rc_context():
        plots.style()
        size = {"font.size": TEXT, "axes.titlesize": TEXT, "figure.figsize": SIZE}
        fixed = {"svg.hashsalt": "zero", "svg.fonttype": "path", "savefig.bbox": None}
        lines = {"lines.linewidth": 4, "axes.linewidth": 2}
        plt.rcParams.update(size | fixed | lines)
        fig, svg, png = FIGURES[name](), io.StringIO(), io.BytesIO()
        fig.savefig(svg, format="svg", dpi=110, metadata={"Date": None})
        if pngs is not None:
            fig.savefig(png, format="png", dpi=300, metadata={"Software": None})
            pngs[name] = png.getvalue()
        plt.close(fig)
    return svg.getvalue()


# The networks and what they see -------------------------------------------------------------------


@cache
def cup() -> tuple:
    """Chapters 1 and 6: the network, photograph, input and class of the cup beside the cat."""
    photo, _ = collage("chelsea", "coffee")
    x = imagenet_input(photo)[None].double()
    return efficientnet_lite0().double(), photo, x, imagenet_class("espresso")


@cache
def turned_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Chapter 1: the maps before and after on and off changed places where they speak for it."""
    network, _, x, espresso = cup()
    A = activations(network, x, layer="features")[0]
    w = network.head.linear.weight[espresso].detach()
    for_it = w > 0
    before = grad_cam(network, x, espresso, **AT)[0]
    after = torch.where(for_it, -w, w), torch.where(for_it[:, None, None], 6 - A, A)
    return before, torch.einsum("k,kij->ij", *after) / before.numel()


@cache
def digits() -> tuple:
    """Chapters 2, 3, 7 and 10: the network of digits and its page with a two and a seven."""
    return scene_net(dtype=F64), scene((2, 7), dtype=F64).x


@cache
def three_maps() -> dict[str, torch.Tensor]:
    """Chapter 2: the maps of two, seven and four."""
    net, x = digits()
    return {
        name: grad_cam(net, x, c, **AT)[0] for name, c in (("two", 2), ("seven", 7), ("four", 4))
    }


# The figures --------------------------------------------------------------------------------------


@figure
def espresso() -> Figure:
    """The first heatmap of the book, alone."""
    _, photo, _, _ = cup()
    fig, ax = plt.subplots()
    plots.overlay(ax, photo, turned_maps()[0])
    return fig


@figure
def two_networks() -> Figure:
    """The image, and what Grad-CAM draws for two networks with one function."""
    _, photo, _, _ = cup()
    before, after = turned_maps()
    fig, axes = plt.subplot_mosaic(".ii.;aabb")
    plots.show_image(axes["i"], photo)
    for at, name, M in (("a", "first network", before), ("b", "second network", after)):
        plots.overlay(axes[at], photo, M.relu(), limit=before.abs().max().item())
        axes[at].set_title(name)
    return fig


@figure
def one_constant() -> Figure:
    """A row of both maps, through the highest position: two parallel lines."""
    before, after = turned_maps()
    row = int(before.argmax()) // before.shape[1]
    at = np.arange(before.shape[1]) + 1
    fig, ax = plt.subplots()
    for M, name in ((before[row], "first network"), (after[row], "second network")):
        ax.plot(at, M, "o-", markersize=11, label=name)
    ax.axhline(0, color="black")
    ax.text(at[-1] + 0.3, 0, "zero", va="bottom")
    ax.set(xlabel="position in the row of the cup", ylabel="map", xticks=at[::2])
    ax.legend(loc="center left", bbox_to_anchor=(0, 0.5))
    return fig


@figure
def three_rainbows() -> Figure:
    """Three maps in rainbow colours, each stretched to its own highest value."""
    fig, axes = plt.subplots(2, 2, figsize=(9, 9))
    for ax, M, letter in zip(axes.flat[1:], three_maps().values(), "ABC", strict=True):
        ax.imshow(M.relu().numpy(), cmap="jet", interpolation="bilinear")
        ax.set_axis_off()
        ax.set_title(f"map {letter}")
    plots.show_image(axes[0, 0], torch.full((40, 40), 0.85))
    axes[0, 0].set_title("the picture")
    axes[0, 0].text(20, 20, "?", fontsize=90, ha="center", va="center")
    return fig


@figure
def one_scale() -> Figure:
    """The page, and the three maps on one scale."""
    _, x = digits()
    maps = three_maps()
    limit = max(M.abs().max().item() for M in maps.values())
    fig, axes = plt.subplots(2, 2, figsize=(9.6, 9))
    plots.show_image(axes[0, 0], x[0])
    for ax, letter, (name, M) in zip(axes.flat[1:], "ABC", maps.items(), strict=True):
        bar = plots.overlay(ax, x[0], M, limit=limit)
        ax.set_title(f'{letter}: "{name}"')
    plots.colour_bar(fig, bar, list(axes.flat))
    return fig


@figure
def adds_up() -> Figure:
    """Of three classes the map, its sum, the bias, and the score."""
    net, x = digits()
    maps, b = three_maps(), net.head.linear.bias.detach()
    limit = max(M.abs().max().item() for M in maps.values())
    fig, axes = plt.subplots(1, 3)
    for ax, (name, M), c in zip(axes, maps.items(), (2, 7, 4), strict=True):
        plots.overlay(ax, x[0], M, limit=limit)
        ax.set_title(f'"{name}"')
        score = net(x)[0, c].item()
        lines = f"sum {M.sum():.2f}\n+ bias {b[c]:.2f}\n= score {score:.2f}"
        ax.set_xlabel(lines.replace("-", "−"), fontsize=28, labelpad=14)
    return fig


@figure
def two_names() -> Figure:
    """The maps of one photograph at the last convolution and at its BatchNorm."""
    network, picture = cup()[0], photograph("chelsea")
    photo, cat = imagenet_input(picture)[None].double(), imagenet_class("Egyptian cat")
    fig, axes = plt.subplots(1, 2)
    for ax, layer, name in zip(axes, ("conv", "norm"), ("convolution", "BatchNorm"), strict=True):
        M = grad_cam(network, photo, cat, layer=f"features.last.{layer}", relu=False)[0]
        bar = plots.overlay(ax, picture, M, limit=0.25)
        ax.set_title(f"at the {name}")
    plots.colour_bar(fig, bar, list(axes.flat))
    return fig


@figure
def opposite_heatmaps() -> Figure:
    """Two networks with one function: what Grad-CAM draws for two, seven and nine."""
    net, x = digits()
    asked = {"two": 2, "seven": 7, "nine": 9}
    first = torch.stack([grad_cam(net, x, c, **AT)[0] for c in asked.values()])
    alpha = net.head.linear.weight.detach()[[*asked.values()]] / first[0].numel()
    down, up = -1.1 * first[:2].amax((1, 2)), first.max() / 2 - first[2:].amin((1, 2))
    other, layer = reparametrize(
        net, "features", shift(torch.linalg.pinv(alpha) @ torch.cat([down, up])), x=x
    )
    second = [grad_cam(other, x, c, layer=layer, relu=False)[0] for c in asked.values()]
    fig, axes = plt.subplots(2, 3, figsize=(10.6, 7.2))
    limit = max(M.max().item() for M in (*first, *second))
    for line, maps, name in zip(axes, (first, second), ("first", "second"), strict=True):
        line[0].set_ylabel(name)
        for ax, M, word in zip(line, maps, asked, strict=True):
            plots.overlay(ax, x[0], M.relu(), limit=limit)
            if name == "first":
                ax.set_title(f'"{word}"')
    return fig


@figure
def three_heads() -> Figure:
    """The same probabilities three times, and three maps of one class."""
    network, photo, x, c = cup()
    A, W = activations(network, x, layer="features")[0], network.head.linear.weight.detach()
    trained = turned_maps()[0]
    fig, axes = plt.subplots(2, 2, figsize=(12, 7))
    plots.show_image(axes[0, 0], photo)
    limit = 2 * trained.max().item()
    added = {"as trained": 0, "second head": -W.amax(0), "third head": -W.amin(0)}
    for ax, (name, v) in zip(axes.flat[1:], added.items(), strict=True):
        M = torch.einsum("k,kij->ij", W[c] + v, A) / trained.numel()
        plots.overlay(ax, photo, M, limit=limit)
        ax.set_title(name)
    return fig


ANSWERS = (
    "how much, from\na layer of zeros?",
    "the same\nquestion",
    "where more,\nwhere less?",
    "where, and\nhow much?",
)


@figure
def three_zeros() -> Figure:
    """Chapter 10: two questions, counted from zero, after a shift, from the mean, and whole."""
    net, x = digits()
    W = net.head.linear.weight.detach()
    W = (W - W.mean(0)) / 100  # alpha of the centred scores: 100 positions
    t = torch.linalg.pinv(W[[2, 6]]) @ torch.tensor([-1.2, 0.7], dtype=F64)
    other, after = reparametrize(net, "features", shift(t), x=x)
    ways = {
        "from zero": (net, "features", {}),
        "re-coded": (other, after, {}),
        "from the mean": (net, "features", {"reference": references.spatial_mean}),
        "local score": (net, "features", {"complete": True}),
    }
    fig, axes = plt.subplots(2, 4)
    for line, (c, name) in zip(axes, ((2, "two:\npresent"), (6, "six:\nabsent")), strict=True):
        line[0].set_ylabel(name)
        for ax, (way, (model, layer, how)) in zip(line, ways.items(), strict=True):
            M = grad_cam(model, x, centred(c), layer=layer, relu=False, **how)[0]
            plots.overlay(ax, x[0], M, limit=1.2)
            ax.set_title(way if c == 2 else "")
    for ax, question in zip(axes[1], ANSWERS, strict=True):
        ax.set_xlabel(question)
    return fig


@cache
def relu_maps() -> dict[str, torch.Tensor]:
    """Chapter 7: the map of seven, enlarged, with and without the ReLU."""
    net, x = digits()
    M = metrics.enlarge(grad_cam(net, x, 7, **AT), 40)
    return {"with the ReLU": M.relu(), "without": M}


def boxes(how: str, show: Callable) -> Figure:
    """The two maps, and the box round the largest region above 15 %."""
    from skimage.measure import label, regionprops

    fig, axes = plt.subplots(1, 2, figsize=(12, 6.4))
    for ax, (name, V) in zip(axes, relu_maps().items(), strict=True):
        show(ax, V[0])
        regions = regionprops(label(metrics.above(V, 0.15, how)[0].numpy()))
        top, left, bottom, right = max(regions, key=lambda region: region.area).bbox
        for colour, width in (("black", 9), ("white", 4)):
            frame = {"lw": width, "ec": colour, "fill": False, "clip_on": False, "zorder": 5}
            ax.add_patch(plt.Rectangle((left, top), right - left, bottom - top, **frame))
        ax.set_title(name)
    return fig


@figure
def relu_boxes() -> Figure:
    """The usual way: rainbow colours, min-max scaled."""
    x = digits()[1]
    return boxes("minmax", lambda ax, V: plots.rainbow_overlay(ax, x[0], V))


@figure
def same_boxes() -> Figure:
    """The same two maps, divided by their maximum."""
    limit = relu_maps()["without"].abs().max().item()
    return boxes("max", lambda ax, V: plots.show_map(ax, V, limit=limit))


@figure
def thresholds() -> Figure:
    """A row of the map without the ReLU, and the two heights at which it is cut."""
    V = relu_maps()["without"][0]
    line = V[int(V.argmax()) // V.shape[1]]
    low, high = V.min().item(), V.max().item()
    fig, ax = plt.subplots()
    ax.plot(line, color="#222222")
    ax.axhline(0, color="0.6", lw=2)
    for f, name, colour in (
        (0.15 * high, "15 % of the maximum", plots.INKS[0]),
        (low + 0.15 * (high - low), "15 % after min-max", plots.INKS[1]),
    ):
        ax.axhline(f, color=colour, ls="--")
        ax.text(len(line), f, name, color=colour, va="bottom", ha="right")
    ax.set(xlabel="position", ylabel="map of “seven”")
    return fig
