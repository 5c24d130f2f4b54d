"""Draw the ideas of the book into book/_static/ideas: python -m tools.ideas.

Each function is one drawing; its numbers are computed, from the examples by hand in the chapters.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .drawing import Drawing, number, plus, tint

FOLDER = Path(__file__).parents[1] / "book" / "_static" / "ideas"
IDEAS: dict[str, Callable[[], Drawing]] = {}

# Chapter 2, by hand: two channels on a grid of 2 x 2, and the gradients of a score.
A = np.array([[[1, 2], [0, 4]], [[3, 1], [2, 0]]])
G = np.array([[[4, 0], [2, 2]], [[-1, -3], [0, -4]]])
ALPHA = G.mean((1, 2))
M = np.einsum("k,kij->ij", ALPHA, A)


def idea(draw: Callable[[], Drawing]) -> Callable[[], Drawing]:
    """Register a drawing under the name of its function."""
    IDEAS[draw.__name__.replace("_", "-")] = draw
    return draw


def softmax(scores: np.ndarray) -> np.ndarray:
    """Shares of the exponentials."""
    e = np.exp(scores - scores.max())
    return e / e.sum()


@idea
def pipeline() -> Drawing:
    """Chapter 2: activations, gradients, weights, map; all numbers are there to be added up."""
    d = Drawing("pipeline", 452)
    d.picture(16, 22)
    d.arrow((66, 44), (86, 44))
    d.box(90, 26, 64, 36, "layers")
    d.arrow((158, 44), (178, 44))
    for k in (8, 0):
        d.add(
            "rect",
            "line",
            x=184 + k,
            y=22 + k,
            width=36,
            height=36,
            fill="none",
            style="fill:var(--wash)",
        )
    d.middle(202, 45, "$A$", "l")
    d.arrow((234, 44), (254, 44))
    d.box(258, 26, 60, 36, "head")
    d.arrow((322, 44), (342, 44))
    d.middle(364, 49, "score $s$")
    d.arrow((364, 60), (364, 84), (202, 84), (202, 70), cls="pale dash")
    d.text(384, 102, "how $s$ changes with each activation", "s soft", "end")
    for x, label in ((90, "activations $A_k$"), (216, "gradients"), (336, "their mean $α_k$")):
        d.middle(x, 138, label, "b")
    for k, y in ((0, 150), (1, 226)):
        d.text(16, y + 35, f"$k$\u00a0= {k + 1}")
        d.cells(60, y, A[k], 30, of=4)
        d.cells(186, y, G[k], 30, 5)
        d.arrow((254, y + 30), (290, y + 30))
        d.cells(314, y + 8, ALPHA[k], 44, 5)
    d.line((16, 306), (384, 306), cls="thin")
    d.middle(90, 332, "map $M$", "b")
    d.cells(60, 344, M, 30, 9)
    d.frame(60, 344, 30, 30)
    d.arrow((128, 374), (178, 374))
    d.middle(152, 365, "ReLU", "s soft")
    d.cells(186, 344, np.maximum(M, 0), 30, 9)
    d.middle(216, 332, "what is drawn", "b")
    d.text(272, 367, "upper left:", "soft")
    w, a = ALPHA, A[:, 0, 0]
    d.text(272, 386, f"{number(w[0])} · {a[0]} − {number(-w[1])} · {a[1]} = {number(w @ a)}", "b")
    d.middle(200, 434, "$M$\u00a0= $α_1$ · channel 1 + $α_2$ · channel 2, at each position")
    return d


# Chapter 3, by hand: two channels, three positions; the second channel is raised by 3.
ROW = np.array([[1, 0, 2], [0, 3, 1]])
WEIGHT, RAISE = np.array([2, -1]), np.array([0, 3])


@idea
def two_networks() -> Drawing:
    """Chapter 3: another number inside, another map, the same probabilities."""
    before, after = ROW, ROW + RAISE[:, None]
    score = 3 * WEIGHT @ before.mean(1)
    bias = score - 3 * WEIGHT @ after.mean(1)
    p = softmax(np.array([score, 0]))
    d = Drawing("two-networks", 476)
    d.picture(178, 14)
    for x, name, inside, b, to in (
        (98, "first network", before, 0, 1),
        (302, "second network", after, bias, -1),
    ):
        d.arrow((200 - 28 * to, 36), (x, 36), (x, 70))
        d.box(x - 84, 74, 168, 248)
        d.middle(x, 94, name, "b")
        d.middle(x, 116, "channels 1 and 2" if to == 1 else "channel 2 raised by 3", "soft")
        d.cells(x - 45, 126, inside, 30, of=6)
        d.arrow((x, 190), (x, 212))
        d.middle(x, 230, "average, weights 6 and −3", "s soft")
        d.middle(x, 248, f"{number(3 * WEIGHT @ inside.mean(1))} + bias {number(b)}")
        d.arrow((x, 256), (x, 278))
        d.middle(x, 300, f"score {number(score)}", "b")
        d.arrow((x, 322), (x, 344))
        for i, (share, word) in enumerate(zip(p, ("seven", "other"), strict=True)):
            y = 350 + 20 * i
            d.text(x - 84, y + 12, word, "s")
            d.add("rect", "wash", x=x - 46, y=y, width=90, height=15)
            d.add("rect", "ink", x=x - 46, y=y, width=float(90 * share), height=15)
            d.text(x + 50, y + 12, f"{share:.2f}")
        d.cells(x - 45, 416, WEIGHT @ inside, 30, 8)
    d.frame(53, 156, 90, 30)
    d.frame(257, 156, 90, 30)
    d.middle(200, 176, "≠", "l b")
    d.middle(200, 374, "=", "l b")
    d.middle(200, 436, "≠", "l b")
    d.middle(98, 463, "its map", "soft")
    d.middle(302, 463, "its map", "soft")
    return d


SAYS = {0: "as trained", 3: "zero 3 higher", -4: "zero 4 lower"}
LAND = np.array([-2, -1, 1, 4, 5, 3, 0, -1, 1, 2, -1, -3])


def through(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A smooth line through values at 0, 1, 2, ..."""
    i = np.minimum(at.astype(int), len(values) - 2)
    u, slope = at - i, np.gradient(values.astype(float))
    a, b, c, e = values[i], slope[i], values[i + 1], slope[i + 1]
    return (
        (1 + 2 * u) * (1 - u) ** 2 * a
        + u * (1 - u) ** 2 * b
        + u**2 * (3 - 2 * u) * c
        + u**2 * (u - 1) * e
    )


def coast(x: float, y: float, step: float = 31, high: float = 11) -> tuple[np.ndarray, np.ndarray]:
    """The outline of the land; y is the height of zero."""
    at = np.linspace(0, len(LAND) - 1, 6 * (len(LAND) - 1) + 1)
    return x + step * at, y - high * through(LAND, at)


def ground(d: Drawing, xs: np.ndarray, ys: np.ndarray, to: float, cls: str) -> None:
    """What lies between an outline and a height."""
    line = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs, ys, strict=True))
    d.add("path", cls, d=f"M{xs[0]:.1f} {to:.1f}L{line}L{xs[-1]:.1f} {to:.1f}Z")


def shore(d: Drawing, x: float, y: float, level: float) -> None:
    """The land above (red) and below (blue) a level, and the level."""
    (xs, ys), sea = coast(x, y), y - 11 * level
    ground(d, xs, ys, y + 55, "wash")
    ground(d, xs, np.minimum(ys, sea), sea, "up")
    ground(d, xs, np.maximum(ys, sea), sea, "down")
    outline(d, xs, ys)
    d.line((x - 10, sea), (round(xs[-1] + 10, 1), sea), cls="strong")


def outline(d: Drawing, xs: np.ndarray, ys: np.ndarray) -> None:
    """The land's own line."""
    d.line(*zip(xs.round(1), ys.round(1), strict=True))


def above(level: float) -> str:
    """How much of the land stands out."""
    return f"{sum(land > level for land in LAND)} of {len(LAND)} above zero"


@idea
def sea_level() -> Drawing:
    """Chapter 3: a shift moves the level that zero is counted from, and nothing of the land."""
    d = Drawing("sea-level", 538)
    for i, (level, says) in enumerate(SAYS.items()):
        y = 92 + 178 * i
        d.text(14, y - 66, says, "b")
        d.text(
            386,
            y - 66,
            f"{sum(land > level for land in LAND)} of {len(LAND)} above zero",
            "soft",
            "end",
        )
        shore(d, 29.5, y, level)
        d.text(385, y - 11 * level + 4.5, "0", at="start")
        d.cells(14, y + 59, LAND - level, 31, 9, tall=24)
    return d


@idea
def turning_basis() -> Drawing:
    """Chapter 4: the four positions of chapter 2 in two systems of axes; the map does not move."""
    Q = np.array([[1, -1], [1, 1]])
    points = A.reshape(2, 4)
    turned, weights = Q @ points, np.linalg.inv(Q).T @ ALPHA
    d = Drawing("turning-basis", 412)
    sides = (("as trained", np.eye(2), points, ALPHA), ("mixed", Q, turned, weights))
    for x, (name, axes, numbers, w) in zip((24, 224), sides, strict=True):
        d.text(x - 8, 26, name, "b")
        plane(d, x + 22, 158, axes)
        for p, letter in enumerate("abcd"):
            at, value = points[:, p] * (30, -30) + (x + 22, 158), ALPHA @ points[:, p]
            fill = f"fill:{tint(value, 6)}"
            d.add("circle", "line", cx=at[0], cy=at[1], r=11, style=fill)
            d.middle(at[0], at[1] + 4.5, letter, "in b")
            d.middle(x, 264 + 24 * p, letter, "b")
            d.cells(x + 20, 247 + 24 * p, numbers[:, p], 44, tall=24)
            d.cells(x + 108, 247 + 24 * p, w @ numbers[:, p], 44, 9, tall=24)
        for j, head in enumerate(("$A_1$", "$A_2$", "$M$")):
            d.middle(x + 42 + 44 * j, 238, head)
        d.middle(x, 372, "$α$")
        d.cells(x + 20, 355, w, 44, 5, tall=24)
    d.middle(200, 398, "in each line: $M$\u00a0= $α_1$ $A_1$ + $α_2$ $A_2$", "s soft")
    return d


def plane(d: Drawing, x: float, y: float, Q: np.ndarray, unit: float = 30) -> None:
    """The grid of the coordinates Q a and its two axes; a = 0 lies at x, y."""
    low, high = np.array([-0.7, -1.4]), np.array([4.6, 3.8])
    for k in (0, 1):
        along = np.array([-Q[k, 1], Q[k, 0]])  # the line on which coordinate k stays as it is
        along = along * (1 if along.sum() > 0 or along[0] > 0 else -1)
        for c in range(-9, 10):
            start = c * Q[k] / (Q[k] @ Q[k])
            ends = np.sort([(edge - start) / (along + 1e-9) for edge in (low, high)], 0)
            first, last = ends[0].max(), ends[1].min()
            if first < last - 0.2:
                at = [start + along * u for u in (first, last)]
                p, q = ((round(x + unit * a, 1), round(y - unit * b, 1)) for a, b in at)
                if c:
                    d.line(p, q, cls="thin")
                else:
                    d.arrow(p, q)
                    d.text(
                        q[0] + 5,
                        q[1] + (4 if q[1] > y else 5 if k == 0 else -2),
                        f"$A_{2 - k}$",
                        "soft",
                    )


@idea
def constant_field() -> Drawing:
    """Chapter 3: what a shift of 3 adds to a map, at each of 16 positions, in three cases."""
    slope = np.array([[-1, -2, -1, 0], [-2, -4, -2, 0], [-1, -2, -1, 0], [0, 0, 0, 0]])
    t, page = 3, np.pad(np.ones((4, 4)), 1)
    seen = np.array([[page[i : i + 3, j : j + 3].sum() for j in range(4)] for i in range(4)])
    even = slope.mean() * np.ones((4, 4))
    d = Drawing("constant-field", 506)
    rows = (
        ("Grad-CAM: one weight everywhere", even, f"· {t}  =", even * t, "a constant", 5),
        ("HiResCAM: a slope for each place", slope, f"· {t}  =", slope * t, "a field", 5),
        (
            "A shift of 1, seen by 3 × 3 cells",
            seen,
            f"− {seen.max():.0f}  =",
            seen - seen.max(),
            "a field",
            0,
        ),
    )
    for i, (cause, left, sign, right, what, limit) in enumerate(rows):
        y = 36 + 162 * i
        d.text(24, y - 10, cause, "b")
        d.text(376, y - 10, what, "b", "end")
        d.cells(24, y, left, 32, limit, tall=28, **({} if limit else {"of": 12}))
        d.middle(200, y + 61, sign.replace("  ", "\u00a0\u00a0"), "l")
        d.cells(248, y, right, 32, 14, tall=28)
    d.middle(200, 492, "Outside the page the padding says 0, with or without a shift.", "s soft")
    return d


@idea
def softmax_freedom() -> Drawing:
    """Chapter 6, by hand: minus 2 and minus 4 on the weights of all classes."""
    a = np.array([[4, 8, 0, 0], [0, 4, 8, 4]])
    w = np.array([[2, -1], [2, 0], [-1, 4]])
    v = -w.max(0)
    names = ("cat", "dog", "cup")
    d = Drawing("softmax-freedom", 516)
    for x, name, rows in (
        (16, "as trained", w),
        (216, f"with $v$\u00a0= ({number(v[0])}, {number(v[1])}) added", w + v),
    ):
        scores = rows @ a.mean(1)
        d.text(x, 26, name, "b")
        d.text(x, 52, "scores", "s soft")
        zero, unit = 146, 4.5
        for k, score in enumerate(scores):
            at = x + 42 + 48 * k
            high = unit * abs(float(score))
            d.add(
                "rect",
                "up" if score > 0 else "down",
                x=at,
                y=zero - high if score > 0 else float(zero),
                width=30,
                height=high,
            )
            d.middle(
                at + 15, zero - high - 6 if score > 0 else zero + high + 15, number(score), "b"
            )
            d.middle(at + 15, zero + 16 if score > 0 else zero - 7, names[k], "s")
        d.line((x + 32, zero), (x + 168, zero), cls="strong")
        d.text(x + 22, zero + 4.5, "0", at="end")
        d.text(x, 274, "probabilities", "s soft")
        left = x + 42
        for k, share in enumerate(softmax(scores)):
            d.middle(left + 15 + 48 * k, 294, f"{share:.3f}")
        d.text(x, 330, "maps", "s soft")
        for k in range(3):
            d.text(x, 358 + 32 * k, names[k])
            d.cells(x + 36, 341 + 32 * k, rows[k] @ a / 4, 33, 12, tall=26)
    d.middle(200, 294, "=", "l b")
    d.middle(200, 390, "≠", "l b")
    d.line((16, 306), (384, 306), cls="thin")
    d.line((16, 256), (384, 256), cls="thin")
    d.text(16, 476, "Each map gains the same picture:")
    d.cells(252, 459, v @ a / 4, 33, 12, tall=26)
    return d


@idea
def pairings() -> Drawing:
    """Chapter 9: the table of pairings, and what a shift adds to it."""
    g, a, t = np.array([[2, -1, 2], [0, 1, 2]]), np.array([[1, 0, 2], [0, 2, 1]]), np.array([3, -1])
    table = g.T @ a
    d = Drawing("pairings", 372)
    x, y, size, right = 96, 104, 56, 274
    d.text(16, 58, "activations", "soft")
    d.text(16, 90, "gradients", "soft")
    d.text(right, 72, f"A shift by ({number(t[0])}, {number(t[1])})", "soft")
    d.text(right, 90, "adds to each row", "soft")
    for p in range(3):
        mid = x + size * (p + 0.5)
        d.middle(mid, 26, f"$a_{p + 1}$", "l")
        d.cells(mid - 15, 36, a[:, p][:, None], 30, of=6, tall=24)
        row = y + size * (p + 0.5)
        d.text(16, row + 5, f"$g_{p + 1}$", "l")
        d.cells(38, row - 12, g[:, p], 24, 6, tall=24)
        d.arrow((right, row), (right + 22, row), cls="pale")
        d.text(right + 32, row + 5, plus(g[:, p] @ t), "b")
    d.cells(x, y, table, size, 9)
    for p in range(3):
        d.frame(x + size * p, y + size * p, size, size)
    d.cells(x, y + 3 * size + 14, table.mean(0), size, 9, tall=34)
    d.text(16, y + 3 * size + 36, "means", "soft")
    d.text(right, y + 3 * size + 36, "Grad-CAM", "b")
    d.add("rect", "", x=16, y=335, width=18, height=18, rx=2, style="fill: #fff")  # as a cell
    d.frame(16, 335, 18, 18)
    d.text(42, 349, "HiResCAM:", "b")
    d.text(112, 349, f"lower right, {g[0, 2]} · {a[0, 2]} + {g[1, 2]} · {a[1, 2]} = {table[2, 2]}")
    return d


def bars(d: Drawing, x: float, y: float, values: np.ndarray, unit: float, under=False) -> None:
    """Two bars that stand on zero, at the height y, or hang from it; their numbers."""
    for k, value in enumerate(values):
        high, at = unit * abs(float(value)), x + 16 + 42 * k
        if value:
            top = y - high if value > 0 else float(y)
            cls = "up" if value > 0 else "down"
            d.add("rect", cls, x=at, y=top, width=28, height=high)
        end = y + 16 if under else y - high - 6 if value >= 0 else y + high + 15
        d.middle(at + 14, end, number(value), "b")
    d.line((x + 6, y), (x + 96, y))
    d.text(x - 1, y + 4.5, "0", at="end")


@idea
def bias_back() -> Drawing:
    """Chapter 10, by hand: what the map gains by a shift the bias loses; the score puts it back."""
    w, b, a, t = np.array([3, 1]), -2, np.array([[1, 0], [1, 2]]), np.array([1, -1])
    d = Drawing("bias-back", 416)
    for x, name, at, bias in (
        (44, "first network", a, b),
        (244, "shifted", a + t[:, None], b - w @ t),
    ):
        m = w @ at / 2
        d.box(x - 24, 12, 160, 192)
        d.middle(x + 56, 34, name, "b")
        bars(d, x + 8, 132, m, 26, under=True)
        d.line((x + 14, 132 - 26 * m.mean()), (x + 104, 132 - 26 * m.mean()), cls="strong dash")
        d.middle(x + 56, 172, f"map $M$, mean {number(m.mean())}")
        d.middle(x + 56, 191, f"bias {number(bias)}, score {number(w @ at.mean(1) + bias)}", "soft")
        d.arrow((x + 56, 204), (x + 56, 220), (200, 220), (200, 242))
    less, share = w @ a / 2 - (w @ a / 2).mean(), (w @ a.mean(1) + b) / 2
    columns = (
        (less, "$M$ minus its mean", "where, rather", "than elsewhere"),
        (np.array([share, share]), "score / $Z$", "how much", ""),
        (less + share, "local score $L$", "adds up to", f"the score, {number(2 * share)}"),
    )
    for x, (values, name, *says) in zip((22, 156, 290), columns, strict=True):
        d.middle(x + 50, 268, name, "b")
        bars(d, x, 328, values, 36)
        for j, line in enumerate(says):
            d.middle(x + 50, 378 + 18 * j, line, "soft")
    d.middle(136, 333, "+", "l b")
    d.middle(270, 333, "=", "l b")
    return d


@idea
def residual_stream() -> Drawing:
    """Chapter 13, by hand: the value bias moves into the output bias."""
    value, weight, t, out = np.array([4, 0, 8]), np.array([2, 1, 1]) / 4, 10, 3
    d = Drawing("residual-stream", 486)
    d.box(62, 38, 326, 332)
    for x, name, v, _bias, took in (
        (218, "first network", value, "b", 0),
        (330, "second network", value + t, "b − 30", out * t),
    ):
        z = v @ weight
        d.middle(x, 26, name, "b")
        d.cells(x - 45, 54, v, 30, of=24, tall=28)
        d.arrow((x, 82), (x, 126))
        d.cells(x - 22, 130, z, 44, of=24, tall=28)
        d.arrow((x, 158), (x, 194))
        d.cells(x - 22, 198, out * z, 44, of=72, tall=28)
        d.arrow((x, 226), (x, 262))
        d.middle(x, 282, f"{number(out * z)} + $b$" + (f" − {took}" if took else ""))
        d.arrow((x, 290), (x, 322))
        d.middle(x, 344, f"{number(out * z - took)} + $b$", "b")
        d.middle(x, 438, "0 + $b$" + (f" − {took}" if took else ""), "b")
    d.middle(274, 344, "=", "l b")
    d.middle(274, 438, "≠", "l b")
    d.text(74, 66, "values of")
    d.text(74, 83, "three tokens")
    d.text(74, 110, "weights ½, ¼, ¼", "s soft")
    d.text(74, 149, "the head's output")
    d.text(74, 181, "output matrix, 3", "s soft")
    d.text(74, 249, "output bias", "s soft")
    d.text(74, 344, "to the stream")
    d.arrow((28, 30), (28, 470), cls="strong")
    d.arrow((28, 68), (62, 68))
    d.arrow((62, 340), (40, 340))
    d.add("circle", "line wash", cx=28, cy=340, r=11)
    d.middle(28, 345, "+", "l b")
    d.text(62, 404, "With zero in the head's place:", "soft")
    d.upwards(18, 240, "residual stream", "soft")
    return d


@idea
def where_zeros_come_from() -> Drawing:
    """Chapter 8: its seven panels, who chose each zero, and what it means."""
    kinds = (
        (
            "Padding",
            "the convolution",
            "like an input of 0: black, white or grey, as coded",
            padding,
        ),
        ("Normalised input", "who subtracted the mean", "the average colour", normalised),
        ("ReLU", "the architecture", "off: no slope, all values alike", kink),
        ("Dropout", "training", "absent, as taught", dropped),
        ("Sparsity", "the coordinates", "nothing by itself", pile),
        ("Weight decay, zero biases", "the recipe", "no opinion at $x$\u00a0= 0", decay),
        ("BatchNorm", "the data", "the batch's average", bell),
    )
    d = Drawing("where-zeros-come-from", 510)
    d.text(100, 26, "this zero means", "soft")
    d.text(384, 26, "and was chosen by", "soft", "end")
    for i, (name, chosen, means, draw) in enumerate(kinds):
        y = 38 + 60 * i
        d.line((16, y), (384, y), cls="thin")
        draw(d, 16, y + 8)
        d.text(100, y + 26, name, "b")
        d.text(384, y + 26, chosen, "", "end")
        d.text(100, y + 46, means, "s soft")
    d.line((16, 458), (384, 458), cls="thin")
    d.middle(200, 480, "Forced by the architecture: padding and ReLU.")
    d.middle(200, 500, "Coordinates: sparsity. Set or taught: the others.")
    return d


def zero(d: Drawing, x: float, y: float, high: float = 36) -> None:
    """An axis of 68 units that begins at x, y - 6, with its zero at x + 34."""
    d.line((x, y + 40), (x + 68, y + 40), cls="pale")
    d.line((x + 34, y + 40 - high), (x + 34, y + 44), cls="strong")


def padding(d: Drawing, x: float, y: float) -> None:
    """A page in a frame of zeros."""
    for i in range(4):
        for j in range(6):
            inside = 0 < i < 3 and 0 < j < 5
            at = {"x": x + 1 + 11 * j, "y": y + 11 * i, "width": 11, "height": 11}
            d.add("rect", "cell full" if inside else "cell open", **at)


def normalised(d: Drawing, x: float, y: float) -> None:
    """A histogram of pixels about its mean."""
    for k, high in enumerate((10, 24, 18, 12, 16, 28, 14)):
        d.add(
            "rect",
            "cell",
            x=x + 3 + 9 * k,
            y=y + 40 - high,
            width=9,
            height=high,
            style="fill:var(--wash)",
        )
    zero(d, x, y)


def kink(d: Drawing, x: float, y: float) -> None:
    """The ReLU."""
    zero(d, x, y, 0)
    d.line((x, y + 40), (x + 34, y + 40), (x + 66, y + 6), cls="strong")


def dropped(d: Drawing, x: float, y: float) -> None:
    """Units, of which some are taken away."""
    for k in range(8):
        at = {"cx": x + 9 + 16.5 * (k % 4), "cy": y + 12 + 20 * (k // 4), "r": 6}
        off = k in (1, 4, 6)
        d.add(
            "circle",
            "line pale dash" if off else "line",
            **at,
            style="fill:none" if off else "fill:var(--soft)",
        )


def pile(d: Drawing, x: float, y: float) -> None:
    """A histogram with most of its values at zero."""
    for k, high in enumerate((9, 6, 3)):
        d.add(
            "rect",
            "cell",
            x=x + 39 + 9 * k,
            y=y + 40 - high,
            width=9,
            height=high,
            style="fill:var(--wash)",
        )
    d.add("rect", "cell full", x=x + 29.5, y=y + 4, width=9, height=36)
    zero(d, x, y, 0)


def decay(d: Drawing, x: float, y: float) -> None:
    """Weights drawn to zero."""
    zero(d, x, y)
    for k, (start, level) in enumerate(((4, 12), (64, 12), (12, 26), (56, 26))):
        d.arrow((x + start, y + level), (x + (29 if k % 2 == 0 else 39), y + level), cls="pale")


def bell(d: Drawing, x: float, y: float) -> None:
    """Values spread about their mean."""
    u = np.linspace(-1, 1, 25)
    points = [(round(x + 34 + 32 * a, 1), round(y + 38 - 32 * np.exp(-5 * a * a), 1)) for a in u]
    d.line(*points)
    zero(d, x, y)


@idea
def sea_level_moving() -> Drawing:
    """The level of `sea_level` as it moves; nothing else does."""
    d, y = Drawing("sea-level-moving", 184), 88
    xs, ys = coast(29.5, y)
    levels = (("a", 0), ("b", 3), ("c", -4))
    for kind, at in (("above", y - 300), ("below", y)):
        with d.group("clipPath", id=f"idea-{d.name}-{kind}"):
            d.add("rect", "sea", x=0, y=at, width=400, height=300)
    ground(d, xs, ys, y + 55, "wash")
    for kind, to, cls in (("above", y + 55, "up"), ("below", y - 70, "down")):
        with d.group(clip_path=f"url(#idea-{d.name}-{kind})"):
            ground(d, xs, ys, to, cls)
    outline(d, xs, ys)
    with d.group(class_="sea"):
        d.line((19.5, y), (380.5, y), cls="strong")
        d.text(385, y + 4.5, "0")
    for name, level in levels:
        with d.group(class_=f"sea-{name}"):
            d.text(14, 18, SAYS[level], "b")
            d.text(386, 18, above(level), "soft", "end")
            d.cells(14, y + 65, LAND - level, 31, 9, tall=24)
    stays = ("0%, 14%", "30%, 46%", "62%, 80%")
    heights = [
        f"{at} {{ transform: translateY({-11 * v}px); }}"
        for at, (_, v) in zip(stays, levels, strict=True)
    ]
    d.motion = moving(
        f"sea {' '.join(heights)} 96%, 100% {{ transform: none; }}",
        [("sea-a", 14, 20, 90, 96), ("sea-b", 24, 30, 46, 52), ("sea-c", 56, 62, 80, 86)],
    )
    return d


@idea
def turning_basis_moving() -> Drawing:
    """The axes of `turning_basis` as they turn; the points and the map stay."""
    Q = np.array([[1, -1], [1, 1]])
    points = A.reshape(2, 4)
    d, x, y = Drawing("turning-basis-moving", 214), 38, 146
    with d.group("clipPath", id=f"idea-{d.name}-window"):
        d.add("rect", x=x - 22, y=y - 116, width=164, height=160)
    with d.group(clip_path=f"url(#idea-{d.name}-window)"), d.group(class_="turn"):
        for c in sorted(range(-9, 10), key=lambda c: c == 0):
            for ends in (((-300, c * 30), (300, c * 30)), ((c * 30, -300), (c * 30, 300))):
                d.line(*((x + a, y + b) for a, b in ends), cls="thin" if c else "")
    for p, letter in enumerate("abcd"):
        at, value = points[:, p] * (30, -30) + (x, y), ALPHA @ points[:, p]
        d.add("circle", "line", cx=at[0], cy=at[1], r=11, style=f"fill:{tint(value, 6)}")
        d.middle(at[0], at[1] + 4.5, letter, "in b")
        d.middle(232, 57 + 26 * p, letter, "b")
        d.cells(340, 39 + 26 * p, value, 44, 9, tall=26)
    for j, head in enumerate(("$A_1$", "$A_2$", "$M$")):
        d.middle(274 + 44 * j, 30, head)
    d.middle(232, 175, "$α$")
    ends = {"a": ((184, 151), (44, 28)), "b": ((86, 196), (152, 24))}
    for name, axes in (("a", np.eye(2)), ("b", Q)):
        with d.group(class_=f"turn-{name}"):
            d.cells(252, 39, (axes @ points).T, 44, tall=26)
            d.cells(252, 157, np.linalg.inv(axes).T @ ALPHA, 44, 5, tall=26)
            for k, (a, b) in enumerate(ends[name]):
                d.text(a, b, f"$A_{k + 1}$", "soft")
    still, turned = "transform: none;", "transform: rotate(45deg) scale(.7071);"
    d.motion = f".idea .turn {{ transform-origin: {x}px {y}px; }}\n" + moving(
        f"turn 0%, 18% {{ {still} }} 40%, 76% {{ {turned} }} 98%, 100% {{ {still} }}",
        [("turn-a", 18, 24, 92, 98), ("turn-b", 34, 40, 76, 82)],
    )
    return d


def moving(what: str, shown: list[tuple]) -> str:
    """A loop of nine seconds that stands still for who asks for less motion.

    what is a class and its key frames; shown, classes that are seen for a part of the loop, of
    which the first is seen where nothing moves.
    """
    name, frames = what.split(" ", 1)
    still, loop = "", f".idea .{name} {{ animation: idea-{name} 9s ease-in-out infinite; }}\n"
    keys = f"@keyframes idea-{name} {{ {frames} }}\n"
    for i, (part, *at) in enumerate(shown):
        ends = "1001" if i == 0 else "0110"
        still += f".idea .{part} {{ opacity: 0; }}\n" if i else ""
        loop += f".idea .{part} {{ animation: idea-{part} 9s linear infinite; }}\n"
        steps = " ".join(f"{t}% {{ opacity: {o}; }}" for t, o in zip(at, ends, strict=True))
        first, last = ends[0], ends[-1]
        steps = f"0% {{ opacity: {first}; }} {steps} 100% {{ opacity: {last}; }}"
        keys += f"@keyframes idea-{part} {{ {steps} }}\n"
    return f"{still}@media screen and (prefers-reduced-motion: no-preference) {{\n{loop}}}\n{keys}"


def main() -> None:
    """Write all drawings."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in IDEAS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
