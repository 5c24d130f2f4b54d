"""Write your own heatmap: what the writing page stores, and the same by the package.

Add one vector v to the weights of every class: no probability moves, and every class map moves by
the field v . A / Z (chapter 6).  A drawing becomes the map M of a class if A^T v = Z (drawing - M).
write.js solves that in the browser, for the shortest v, on the features of one photograph.

    A      features of the photograph at twice its size, 14 x 28 positions       (K, Z)
    W      the head's rows of the listed classes                                 (C, K)
    y      the scores of all 1,000 classes                                       (1000,)

95 of 100 activations are zero, so A is stored as gaps and values: `packed` and `unpacked`.
`python -m zerocam.lab.write` writes write.json anew from the network.
"""

import base64
import json
from functools import cache
from html import escape
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zerocam import imagenet
from zerocam.hooks import activations
from zerocam.lab import explorer, pictures
from zerocam.lab.explorer import FOLDER, THINGS, Page

STEPS = 65535  # of a stored activation, from 0 to the 6 of a ReLU6
TOP = 6.0
FAR = 255  # a gap that long says only: go on


def packed(A: Float[Tensor, "K Z"]) -> tuple[str, str]:
    """Gaps between what is not zero, a byte each, and its values, high bytes first; base64.

    >>> [len(text) for text in packed(torch.tensor([[0.0, 3.0, 0.0, 6.0]]))]
    [4, 8]
    """
    whole = (A.flatten() * (STEPS / TOP)).round().long().numpy()
    at = np.flatnonzero(whole)
    gaps: list[int] = []
    for gap in np.diff(at, prepend=-1) - 1:
        far, near = divmod(int(gap), FAR)
        gaps += [FAR] * far + [near]
    planes = np.concatenate([whole[at] >> 8, whole[at] & 255]).astype(np.uint8)
    texts = (np.array(gaps, np.uint8), planes)
    return tuple(base64.b64encode(a.tobytes()).decode() for a in texts)  # type: ignore[return-value]


def unpacked(gaps: str, planes: str, shape: tuple[int, int]) -> Float[Tensor, "K Z"]:
    """What `packed` packed, to half a step.

    >>> A = torch.tensor([[0.0, 3.0], [0.0, 6.0]])
    >>> unpacked(*packed(A), (2, 2)).round(decimals=3).tolist()
    [[0.0, 3.0], [0.0, 6.0]]
    """
    skips, halves = (
        np.frombuffer(base64.b64decode(t), np.uint8).astype(int) for t in (gaps, planes)
    )
    at = np.cumsum(np.where(skips < FAR, skips + 1, FAR))[skips < FAR] - 1
    high, low = halves.reshape(2, -1)
    A = np.zeros(shape[0] * shape[1])
    A[at] = (256 * high + low) * (TOP / STEPS)
    return torch.from_numpy(A.reshape(shape))


def photograph() -> Float[Tensor, "1 3 448 896"]:
    """The cat beside the coffee at twice the usual size, as the network wants it."""
    return imagenet.imagenet_input(pictures.collage("chelsea", "coffee", 448)[0])[None].double()


def build() -> dict[str, Any]:
    """What write.json holds."""
    lite = imagenet.efficientnet_lite0().double()
    x = photograph()
    A = activations(lite, x, layer="features")[0]
    with torch.no_grad():
        y = lite(x)[0]
    weight = lite.head.linear.weight.detach()
    rows = [imagenet.imagenet_class(name) for name in THINGS]
    W = weight[rows]
    unit = float(W.abs().max()) / 32767
    numbers = ((W / unit).round().numpy(), "<i2"), (y.numpy(), "<f4")
    texts = [base64.b64encode(a.astype(kind).tobytes()).decode() for a, kind in numbers]
    small, _ = pictures.collage("chelsea", "coffee")
    return {
        "title": "a cat and a coffee",
        "classes": THINGS,
        "numbers": rows,
        "shape": list(A.shape),
        "row": round(float(weight.norm(dim=1).mean()), 4),  # length of a typical row
        "unit": unit,
        "W": texts[0],
        "y": texts[1],
        "A": packed(A.flatten(1)),
        "picture": explorer.embedded(small),
        "colours": explorer.colours(),
    }


def extra_weights(
    A: Float[Tensor, "K Z"],
    M: Float[Tensor, " Z"],
    drawing: Float[Tensor, " Z"],
    channels: int | None = None,
) -> Float[Tensor, " K"]:
    """The v that brings the map M nearest to the drawing, and of these the shortest.

    channels: how many, of the loudest, may get extra weight; all by default.
    """
    loud = A.square().sum(1).argsort(descending=True, stable=True)[:channels]
    v = torch.zeros(len(A), dtype=A.dtype)
    wanted = len(M) * (drawing - M)
    v[loud] = torch.linalg.lstsq(A[loud].T, wanted[:, None], driver="gelsd").solution[:, 0]
    return v


@cache
def data() -> dict[str, Any]:
    """write.json, read once.

    >>> data()["shape"]
    [1280, 14, 28]
    """
    return json.loads((FOLDER / "write.json").read_text(encoding="utf-8"))


def show() -> Page:
    """The writing page, as one piece of HTML that asks nobody for anything."""
    numbers = json.dumps(data(), separators=(",", ":"), ensure_ascii=False)
    nothing = "Drawing needs scripts. Chapter 6 writes the word NIL into the same map, in Python."
    return Page(
        f"<div class='zero-explorer zero-write'><p>{escape(nothing)}</p></div>\n"
        f"<script>(() => {{\n{explorer.script('drawing', 'write')}\n"
        f"mountWriting({numbers});\n}})();</script>"
    )


if __name__ == "__main__":
    text = json.dumps(build(), indent=0, ensure_ascii=False)
    (FOLDER / "write.json").write_text(text + "\n", encoding="utf-8")
