"""The explorable: move zero in the browser, without a kernel, and watch what moves.

explorer.js computes every map from a few kB of stored features.  They are exact for less: the map
of class c needs W_c . A only, so features may be re-coded to coordinates B of the span of the rows
that are asked for, B B^T = 1, and the maps do not notice (a linear re-coding, chapter 4).

    A      features, coordinates in B              (D, h, w)  from (K, h, w)
    W, b   the head's rows of the listed classes   (C, D), (C,)
    T      shifts; row 0 lifts all channels alike, row c + 1 only the map of class c   (1 + C, D)
    V      v = -max_c W and v = -min_c W: all maps below zero, all maps above          (2, D)

`python -m zerocam.lab.explorer` writes explorer.json anew from the networks.
"""

import base64
import io
import json
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
from zerocam.hooks import Layer, activations, tap
from zerocam.lab import nets, pictures, scenes
from zerocam.recode import reparametrize
from zerocam.symmetries import shift
from zerocam.targets import Classes, Target

FOLDER = Path(__file__).parent
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
THINGS = ("tabby", "tiger cat", "Egyptian cat", "lynx", "espresso", "coffee mug", "cup", "daisy")
# A state says what differs from this one: shift to labels re-code the network, class on reads it.
START = {"example": "photo", "shift": 0.0, "along": 5, "flip": 0, "mix": 0.0, "soft": 0.0}
START |= {"labels": 1, "class": 4, "target": "logit", "reference": "zero"}
START |= {"relu": True, "scale": "none", "smooth": True}
PRESETS = {  # name: (title, what to see, state)
    "start": (
        "As trained",
        "Red speaks for the espresso, blue against it, white is zero. Now move the zero.",
        {},
    ),
    "shift": (
        "Shift",
        "Each channel got a constant, and the next bias takes it back: the map is blank, "
        "and no prediction moves.",
        {"shift": -1.1},
    ),
    "mix": (
        "Mix",
        "Half of the channels changed sign, then all were mixed: the weights follow, "
        "and the map stays.",
        {"flip": 6, "mix": 0.6},
    ),
    "softmax": (
        "Softmax",
        "Each class got the same extra weights, which no softmax sees: "
        "now all of it speaks against everything.",
        {"soft": -1.0},
    ),
    "relu": (
        "ReLU",
        "No ReLU, scaled from lowest to highest: the seven is everywhere. "
        "Divide by the maximum: one place again.",
        {"example": "digits", "class": 7, "along": 8, "relu": False, "scale": "minmax"},
    ),
    "reference": (
        "Reference",
        "Counted from the picture's mean and the average class, no re-coding moves this map. "
        "Try the shift.",
        {"shift": -1.1, "soft": -0.5, "reference": "spatial", "target": "centred"},
    ),
}


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

    @property
    def shifts(self) -> Float[Tensor, "S K"]:
        """T: all channels alike by their typical size; each class's map alone by its largest."""
        maps = torch.einsum("ck,kij->cij", self.W, self.A[0]).abs().amax((1, 2))
        alone = torch.linalg.pinv(self.W).T * maps[:, None]
        return torch.cat([self.A.square().mean().sqrt() * torch.ones_like(alone[:1]), alone])

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

        def lift(Q):  # acts in the basis, leaves the rest alone
            return torch.eye(self.basis.shape[1]).double() + self.basis.T @ (Q - eye) @ self.basis

        Q, undo = lift(flip @ mix), lift(torch.linalg.inv(mix) @ flip)
        t = s["shift"] * self.shifts[s["along"]]
        W = s["labels"] * (self.W + abs(s["soft"]) * self.extras[int(s["soft"] > 0)])
        recode = nn.Conv2d(*Q.shape, 1).double()
        head = nn.Linear(len(Q), len(W)).double()
        with torch.no_grad():
            recode.weight.copy_(Q[:, :, None, None])
            recode.bias.copy_(Q @ t)
            head.weight.copy_(W @ undo)
            head.bias.copy_(s["labels"] * self.b - W @ t)
        parts = {"recode": recode, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
        model = nn.Sequential()
        for name, module in (parts | {"head": head}).items():
            model.add_module(name, module)
        return model

    def explain(self, state: dict[str, Any]) -> dict[str, Tensor]:
        """Probabilities p (C,), signed map M and drawn map L (h, w), all by `grad_cam`."""
        s, model = START | state, self.network(state)
        there = {"layer": "recode"}
        made = {
            "zero": lambda: references.zero,
            "spatial": lambda: references.spatial_mean,
            "data": lambda: references.data_mean(activations(model, self.usual, **there)),
            "blank": lambda: references.baseline(model, self.blank, "recode"),
        }
        target = getattr(targets, s["target"])(s["class"])
        there |= {"reference": made[s["reference"]]()}
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
    at = {"layer": "features"}
    A, blank, *usual = (
        activations(lite, imagenet.imagenet_input(x)[None].double(), **at) for x in shown
    )
    span = torch.cat([W, -W.amax(0)[None], -W.amin(0)[None], torch.ones_like(W[:1])])
    left, _, right = torch.linalg.svd(span / span.norm(dim=1, keepdim=True), full_matrices=False)
    basis = left @ right  # the orthonormal rows nearest to these (Löwdin)
    made = {
        "photo": Original(
            "a cat and a coffee", photo.double(), THINGS, W, b, A, blank, torch.cat(usual), basis
        )
    }
    W, b = (p.detach() for p in net.head.linear.parameters())
    usual = activations(net, scenes.digit_scenes(100, seed=0, dtype=torch.float64).x, **at)
    order = W.square().sum(0).argsort(descending=True, stable=True)  # loudest channels first
    corners = [(0, 0), (0, 16), (16, 0), (16, 16)]
    pages = {"digits": ("a two and a seven", scenes.scene((2, 7), dtype=torch.float64))}
    pages["threes"] = "four threes", scenes.scene((3,) * 4, corners, size=32, dtype=torch.float64)
    for name, (title, page) in pages.items():
        A, blank = (activations(net, x, **at) for x in (page.x, torch.zeros_like(page.x)))
        basis = torch.eye(len(order)).double()[order]
        made[name] = Original(title, page.x[0], WORDS, W, b, A, blank, usual, basis)
    return made


def build(made: dict[str, Original] | None = None) -> dict[str, Any]:
    """What explorer.json holds, from `originals()`."""
    made = made or originals()
    examples = {name: _compact(o) for name, o in made.items()}
    presets = {}
    for name, (title, says, state) in PRESETS.items():
        o = made[state.get("example", "photo")]
        now, then = (o.explain(s) for s in (state, {"example": state.get("example", "photo")}))
        c = (START | state)["class"]
        presets[name] = {
            "title": title,
            "says": says,
            "state": state,
            "row": [
                o.classes[c],
                f"{now['p'][c]:.2f}",
                f"{100 * (now['L'] > 0).double().mean():.0f} %",
                f"{(now['p'] - then['p']).abs().max() + 0:.4f}",
            ],
        }
    return {"start": START, "presets": presets, "examples": examples, "colours": _colours()}


def _compact(o: Original) -> dict[str, Any]:
    B, A = o.basis, o.A[0]
    arrays = {"A": torch.einsum("dk,kij->dij", B, A), "W": o.W @ B.T, "b": o.b}
    arrays |= {"T": o.shifts @ B.T, "V": o.extras @ B.T, "mean": B @ o.usual.mean((0, 2, 3))}
    arrays["blank"] = torch.einsum("dk,kij->dij", B, o.blank[0])
    numbers = {
        name: [list(a.shape), base64.b64encode(a.float().numpy().astype("<f4").tobytes()).decode()]
        for name, a in arrays.items()
    }
    return {"title": o.title, "classes": o.classes, "picture": _picture(o.picture), **numbers}


def _picture(image: Float[Tensor, "ch H W"]) -> str:
    from PIL import Image

    pixels = (255 * image).round().byte().permute(1, 2, 0).squeeze(-1).numpy()
    kind, stream = ("png" if pixels.ndim == 2 else "jpeg"), io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=82, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _colours() -> list[str]:
    from matplotlib.colors import to_hex

    from zerocam.plots import SIGNED

    return [to_hex(SIGNED(k / 6)) for k in range(7)]


@cache
def data() -> dict[str, Any]:
    """explorer.json, read once."""
    return json.loads((FOLDER / "explorer.json").read_text(encoding="utf-8"))


class Page(str):
    """HTML that a notebook draws."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return "<explorer>"


def show(preset: str = "start", at: str = "", *, full: bool = False) -> Page:
    """The explorable, as one piece of HTML that asks nobody for anything.

    preset: one of `PRESETS`.  at: a state to open in instead of the preset's, as the address of
    the explorer's page writes it, "example=digits&shift=-0.5".  full: with all controls open, and
    the state in the address.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: got {preset!r}, wanted one of {', '.join(PRESETS)}")
    stored = data()
    rows = "".join(
        f"<tr><th scope='row'>{p['title']}</th><td>{escape(p['says'])}</td>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in p["row"])
        + "</tr>"
        for p in stored["presets"].values()
    )
    heads = ("step", "what it shows", "class", "probability", "drawn above zero", "moved by")
    table = "<tr>" + "".join(f"<th scope='col'>{h}</th>" for h in heads) + f"</tr>{rows}"
    source = (FOLDER / "explorer.js").read_text(encoding="utf-8").replace("\nexport ", "\n")
    numbers = json.dumps(stored, separators=(",", ":"), ensure_ascii=False)
    return Page(
        f"<div class='zero-explorer' data-preset='{preset}' data-at='{escape(at)}' "
        f"data-full='{int(full)}'>"
        f"<p>What the explorable shows, where no script may run:</p><table>{table}</table></div>\n"
        f"<script>(() => {{\n{source}\nmountAll({numbers});\n}})();</script>"
    )


def live(model: nn.Module, x: Tensor, target: Target | Classes = None, *, layer: Layer) -> Any:
    """The shift on a network of your own: a slider that runs a re-coded copy at each stop.

    Needs a kernel and ipywidgets.  1 is the largest value of the map; x is one image (1, ch, H, W).
    The copies come from `reparametrize`, which refuses a change that moves a prediction.
    """
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
