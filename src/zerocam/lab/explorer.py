"""The explorable: move zero in the browser, without a kernel, and watch what moves.

explorer.js computes every map from a few kB of stored features.  They are exact for less: the map
of class c needs W_c . A only, so features may be re-coded to coordinates B of the span of the rows
that are asked for, B B^T = 1, and the maps do not notice (a linear re-coding, chapter 4).

    A      features, coordinates in B              (D, h, w)  from (K, h, w)
    W, b   the head's rows of the listed classes   (C, D), (C,)
    T      shifts; row 0 lifts all channels alike, row c + 1 only the map of class c   (1 + C, D)
    U      6 - a for a in the channels that speak for class c, seen as a shift         (C, D)
    V      v = -max_c W and v = -min_c W: all maps below zero, all maps above          (2, D)

`python -m zerocam.lab.explorer` writes explorer.json anew from the networks.
"""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import imagenet, metrics, references, targets
from zerocam.cam import channel_weights, grad_cam, signed_map
from zerocam.extras import extra
from zerocam.hooks import Layer, activations, tap
from zerocam.lab import nets, pictures, scenes
from zerocam.recode import reparametrize
from zerocam.refusals import Refused
from zerocam.symmetries import shift
from zerocam.targets import Classes, Target

FOLDER = Path(__file__).parent
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
THINGS = ("tabby", "tiger cat", "Egyptian cat", "lynx", "espresso", "coffee mug", "cup", "daisy")
# A state says what differs from this one: shift to labels re-code the network, class on reads it.
START: dict[str, Any] = {"example": "photo", "class": 4, "target": "logit", "reference": "zero"}
START |= {"shift": 0.0, "along": -1, "turn": False, "flip": 0, "mix": 0.0, "soft": 0.0}
START |= {"labels": 1}  # along: a class's number, plus one; 0 for all channels; -1: the class shown
START |= {"relu": True, "scale": "none", "smooth": True}
START |= {"places": 0}  # re-codes the network, too: columns to the right, round the edge
PRESETS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name: (title, question, state)
    "trained": ("As trained", "Two networks, still the same. Now move the zero of B.", {}),
    "shift": ("Shift", "Can a bias erase a heatmap?", {"shift": -1.1}),
    "turn": ("On for off", "What if the neurons exchange on and off?", {"turn": True}),
    "mix": ("Mix", "Does the sign of a neuron matter?", {"flip": 6, "mix": 0.6}),
    "softmax": ("Softmax", "Can the whole picture speak against every class?", {"soft": -1.0}),
    "relu": (
        "ReLU",
        "Another picture. Is it the ReLU that finds the seven? Without it, try both ways to scale.",
        {"example": "digits", "class": 7, "relu": False, "scale": "minmax"},
    ),
    "reference": (
        "Reference",
        "Is there a map that stays? Put the bias back, and explain the score minus the mean score. "
        "Then try every control.",
        {"shift": -1.1, "soft": -0.5, "reference": "local", "target": "centred"},
    ),
}
RECODES = ("shift", "along", "turn", "flip", "mix", "soft", "labels", "places")  # the rest reads
FALLBACK = (
    "Where no script may run, this table stands in place of the explorable. Network A is as it was "
    "trained; network B is the same, re-coded. In step 5 the picture is a page with a two and a "
    "seven. The network says “two”, so “seven” has a low probability. In this step the lowest "
    "value of the map becomes 0 and the highest 1, so every position but the lowest is above zero."
)
FIRST = "shift"  # two networks, one function, before anybody touches anything


class Columns(nn.Module):
    """(N, K, h, w) with each column n to the right, round the edge: an average does not see it."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, A: Tensor) -> Tensor:
        """The same activations at other positions."""
        return A.roll(self.n, 3)


@dataclass(frozen=True)
class Original:
    """A network from its target layer on, and what it saw; everything in float64."""

    title: str
    picture: Float[Tensor, "ch H W"]
    classes: tuple[str, ...]
    W: Float[Tensor, "C K"]
    b: Float[Tensor, " C"]
    A: Float[Tensor, "1 K h w"]
    blank: Float[Tensor, "1 K h w"]
    usual: Float[Tensor, "n K u u"]
    basis: Float[Tensor, "D K"]
    top: float | None = None  # of its last ReLU, if it has one

    @property
    def shifts(self) -> Float[Tensor, "S K"]:
        """T: all channels alike by their typical size; each class's map alone by its largest."""
        maps = torch.einsum("ck,kij->cij", self.W, self.A[0]).abs().amax((1, 2))
        alone = torch.linalg.pinv(self.W).T * maps[:, None]
        return torch.cat([self.A.square().mean().sqrt() * torch.ones_like(alone[:1]), alone])

    @property
    def speaks(self) -> Float[Tensor, "C K"]:
        """1 for the channels that speak for a class, if on can be turned for off; else 0."""
        return (self.W > 0).double() * (self.top is not None)

    @property
    def turns(self) -> Float[Tensor, "C K"]:
        """U: top - a is -(a - top), a shift, and then a sign that no map sees."""
        return -(self.top or 0.0) * self.speaks

    @property
    def extras(self) -> Float[Tensor, "2 K"]:
        """V: what the softmax does not see."""
        return torch.stack([-self.W.amax(0), -self.W.amin(0)])

    def network(self, state: dict[str, Any]) -> nn.Sequential:
        """The re-coded network from A on: a layer "recode", then its head."""
        s = START | state
        D, eye = len(self.basis), torch.eye(len(self.basis)).double()
        mix = eye + s["mix"] * eye.roll(1, 1).triu()  # each channel takes in some of the next
        flip = torch.where(torch.arange(D) < s["flip"], -1.0, 1.0).double().diag()

        def lift(Q: Tensor) -> Tensor:  # acts in the basis, leaves the rest alone
            return torch.eye(self.basis.shape[1]).double() + self.basis.T @ (Q - eye) @ self.basis

        Q, undo = lift(flip @ mix), lift(torch.linalg.inv(mix) @ flip)
        along = s["class"] + 1 if s["along"] < 0 else s["along"]
        t = s["shift"] * self.shifts[along] + s["turn"] * self.turns[s["class"]]
        sign = 1 - 2 * s["turn"] * self.speaks[s["class"]]
        W = s["labels"] * (self.W + abs(s["soft"]) * self.extras[int(s["soft"] > 0)])
        recode = nn.Conv2d(len(Q), len(Q), 1).double()
        head = nn.Linear(len(Q), len(W)).double()
        with torch.no_grad():
            recode.weight.copy_((sign[:, None] * Q)[:, :, None, None])
            recode.get_parameter("bias").copy_(sign * (Q @ t))
            head.weight.copy_(W @ undo * sign)
            head.bias.copy_(s["labels"] * self.b - W @ t)
        moved = nn.Sequential(recode, Columns(s["places"]))
        parts = {"recode": moved, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
        model = nn.Sequential()
        for name, module in (parts | {"head": head}).items():
            model.add_module(name, module)
        return model

    def explain(self, state: dict[str, Any]) -> dict[str, Tensor]:
        """Probabilities p (C,), signed map M and drawn map L (h, w), all by `grad_cam`."""
        s, model = START | state, self.network(state)
        there: dict[str, Any] = {"layer": "recode"}
        made: dict[str, Callable[[], references.Reference]] = {
            "zero": lambda: references.zero,
            "spatial": lambda: references.spatial_mean,
            "data": lambda: references.data_mean(activations(model, self.usual, **there)),
            "blank": lambda: references.baseline(model, self.blank, "recode"),
        }
        target = getattr(targets, s["target"])(s["class"])
        local = s["reference"] == "local"
        there |= {"complete": True} if local else {"reference": made[s["reference"]]()}
        M, L = (grad_cam(model, self.A, target, relu=r, **there) for r in (False, s["relu"]))
        with torch.no_grad():
            p = (s["labels"] * model(self.A)).softmax(1)[0]
        return {"p": p, "M": M[0], "L": metrics.normalise(L, s["scale"])[0]}


def originals() -> dict[str, Original]:
    """The cat beside the coffee, and two pages of digits, with the networks that saw them."""
    lite, net = imagenet.efficientnet_lite0().double(), nets.scene_net(dtype=torch.float64)
    rows = [imagenet.imagenet_class(name) for name in THINGS]
    W, b = (p.detach()[rows] for p in lite.head.linear.parameters())
    photo, _ = pictures.collage("chelsea", "coffee")
    shown = [photo, torch.full_like(photo, 127 / 255)]
    shown += [pictures.photograph(name) for name in pictures.CREDITS]
    at: dict[str, Any] = {"layer": "features"}
    A, blank, *usual = (
        activations(lite, imagenet.imagenet_input(x)[None].double(), **at) for x in shown
    )
    span = torch.cat([W, -W.amax(0)[None], -W.amin(0)[None], torch.ones_like(W[:1])])
    left, _, right = torch.linalg.svd(span / span.norm(dim=1, keepdim=True), full_matrices=False)
    basis = left @ right  # the orthonormal rows nearest to these (Löwdin)
    made = {
        "photo": Original(
            "a cat and a coffee",
            photo.double(),
            THINGS,
            W,
            b,
            A,
            blank,
            torch.cat(usual),
            basis,
            top=6.0,
        )
    }
    W, b = (p.detach() for p in net.head.linear.parameters())
    seen = activations(net, scenes.digit_scenes(100, seed=0, dtype=torch.float64).x, **at)
    order = W.square().sum(0).argsort(descending=True, stable=True)  # loudest channels first
    corners = [(0, 0), (0, 16), (16, 0), (16, 16)]
    pages = {"digits": ("a two and a seven", scenes.scene((2, 7), dtype=torch.float64))}
    pages["threes"] = "four threes", scenes.scene((3,) * 4, corners, size=32, dtype=torch.float64)
    for name, (title, page) in pages.items():
        A, blank = (activations(net, x, **at) for x in (page.x, torch.zeros_like(page.x)))
        basis = torch.eye(len(order)).double()[order]
        made[name] = Original(title, page.x[0], WORDS, W, b, A, blank, seen, basis)
    return made


def build(made: dict[str, Original] | None = None) -> dict[str, Any]:
    """What explorer.json holds, from `originals()`."""
    made = made or originals()
    examples = {name: _compact(o) for name, o in made.items()}
    presets = {}
    for name, (title, asks, state) in PRESETS.items():
        o = made[state.get("example", "photo")]
        trained = {k: v for k, v in state.items() if k not in RECODES}
        then, now = o.explain(trained), o.explain(state)
        c = (START | state)["class"]
        above = [f"{100 * (maps['L'] > 0).double().mean():.0f} %" for maps in (then, now)]
        moved = f"{(now['p'] - then['p']).abs().max() + 0:.4f}"
        row = [o.classes[c], f"{now['p'][c]:.2f}", *above, moved]
        presets[name] = {"title": title, "asks": asks, "state": state, "row": row}
    return {"start": START, "presets": presets, "examples": examples, "colours": colours()}


def _compact(o: Original) -> dict[str, Any]:
    B, A = o.basis, o.A[0]
    arrays = {"A": torch.einsum("dk,kij->dij", B, A), "W": o.W @ B.T, "b": o.b}
    arrays |= {"T": o.shifts @ B.T, "U": o.turns @ B.T, "V": o.extras @ B.T}
    arrays["mean"] = B @ o.usual.mean((0, 2, 3))
    arrays["blank"] = torch.einsum("dk,kij->dij", B, o.blank[0])
    numbers = {
        name: [list(a.shape), base64.b64encode(a.float().numpy().astype("<f4").tobytes()).decode()]
        for name, a in arrays.items()
    }
    about = {"title": o.title, "classes": o.classes, "turns": o.top is not None}
    return {**about, "picture": embedded(o.picture), **numbers}


def embedded(image: Float[Tensor, "ch H W"]) -> str:
    """A picture as an address that holds it: PNG if grey, else JPEG."""
    from PIL import Image

    pixels = (255 * image).round().byte().permute(1, 2, 0).squeeze(-1).numpy()
    kind, stream = ("png" if pixels.ndim == 2 else "jpeg"), io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=82, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def colours() -> list[str]:
    """Seven stops of the colour map of signs, from against to for."""
    from matplotlib.colors import to_hex

    from zerocam.plots import SIGNED

    return [to_hex(SIGNED(k / 6)) for k in range(7)]


@cache
def data() -> dict[str, Any]:
    """explorer.json, read once.

    >>> sorted(data()["examples"])
    ['digits', 'photo', 'threes']
    """
    return json.loads((FOLDER / "explorer.json").read_text(encoding="utf-8"))


class Page(str):
    """HTML that a notebook draws.

    >>> Page("<b>zero</b>")
    <explorer>
    """

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return "<explorer>"


def script(*names: str) -> str:
    """Modules of this folder as one text without imports and exports.

    >>> "export " in script("drawing", "explorer")
    False
    """
    text = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names)
    return re.sub(r"^import .*\n|^export \{.*\n|^export (?=\w)", "", text, flags=re.MULTILINE)


def show(preset: str = FIRST, at: str = "", *, full: bool = False) -> Page:
    """The explorable, as one piece of HTML that asks nobody for anything.

    preset: one of `PRESETS`; "start" is the first.  at: a state to open in instead of the preset's,
    as the address of the explorer's page writes it, "example=digits&shift=-0.5".  full: with all
    controls open, and the state in the address.  Raises `Refused` for another preset.

    >>> show("shift").startswith("<div class='zero-explorer' data-preset='shift'")
    True
    """
    preset = FIRST if preset == "start" else preset
    if preset not in PRESETS:
        raise Refused("preset", f"{preset!r}", f"one of {', '.join(PRESETS)}")
    stored = data()
    shown = {name: example["title"] for name, example in stored["examples"].items()}
    rows = "".join(
        f"<tr><th scope='row'>{f'{n} ' if n else ''}{p['title']}</th><td>{escape(p['asks'])}</td>"
        + "".join(
            f"<td>{escape(cell)}</td>"
            for cell in (shown[(START | p["state"])["example"]], *p["row"])
        )
        + "</tr>"
        for n, p in enumerate(stored["presets"].values())
    )
    heads = (
        "step",
        "question",
        "picture",
        "class",
        "probability",
        "drawn above zero in A",
        "in B",
        "probability changed by",
    )
    table = "<tr>" + "".join(f"<th scope='col'>{h}</th>" for h in heads) + f"</tr>{rows}"
    numbers = json.dumps(stored, separators=(",", ":"), ensure_ascii=False)
    return Page(
        f"<div class='zero-explorer' data-preset='{preset}' data-at='{escape(at)}' "
        f"data-full='{int(full)}'>"
        f"<p>{FALLBACK}</p><table>{table}</table></div>\n"
        f"<script>(() => {{\n{script('drawing', 'explorer')}\nmountAll({numbers});\n}})();</script>"
    )


def live(model: nn.Module, x: Tensor, target: Target | Classes = None, *, layer: Layer) -> Any:
    """The shift on a network of your own: a slider that runs a re-coded copy at each stop.

    Needs a kernel, and ipywidgets of the extra `lab`.  1 is the largest value of the map; x is one
    image (1, ch, H, W).  The copies come from `reparametrize`, which refuses a change that moves a
    prediction.
    """
    with extra("lab"):
        from ipywidgets import FloatSlider, Image, Label, VBox
        from matplotlib import pyplot as plt

    from zerocam import plots

    A, G, *_ = tap(model, x, target, layer=layer)
    alpha = channel_weights(G)
    unit = signed_map(alpha, A).abs().max() * alpha[0] / alpha[0].square().sum()
    slider = FloatSlider(min=-1.5, max=1.5, step=0.05, description="shift")
    picture, says = Image(format="png"), Label()

    def draw(_: Any = None) -> None:
        moved, where = reparametrize(model, layer, shift(slider.value * unit), x=x)
        M = grad_cam(moved, x, target, layer=where, relu=False)[0]
        with torch.no_grad():
            p, c = moved(x)[0].softmax(0).max(0)
        fig, _ = plots.row(x[0].clamp(0, 1), {"signed map": M, "Grad-CAM": M.relu()})
        fig.savefig(stream := io.BytesIO(), format="png")
        plt.close(fig)
        picture.value, says.value = stream.getvalue(), f"class {c}, probability {p:.4f}"

    slider.observe(draw, "value")
    draw()
    return VBox([slider, picture, says])


if __name__ == "__main__":
    text = json.dumps(build(), indent=0, ensure_ascii=False)
    (FOLDER / "explorer.json").write_text(text + "\n", encoding="utf-8")
