"""The drawn figures of the slides; their numbers are computed, from the chapters' examples by hand.

They use the shapes and the scale of the book's drawn ideas, and are as wide as a slide.
"""

from collections.abc import Callable

import numpy as np

from tools.drawing import Drawing, number, tint
from tools.ideas import ALPHA, LAND, RAISE, ROW, WEIGHT, A, G, M, coast, ground, outline, plane
from tools.ideas import softmax as shares

DRAWINGS: dict[str, Callable[[dict], Drawing]] = {}
# Chapter 6, by hand: two channels, four positions; a row of weights for each of three classes.
SEEN = np.array([[4, 8, 0, 0], [0, 4, 8, 4]])
CLASSES = {"cat": [2, -1], "dog": [2, 0], "cup": [-1, 4]}
ROWS = np.array(list(CLASSES.values()))


def drawing(draw: Callable[[dict], Drawing]) -> Callable[[dict], Drawing]:
    """Register a drawing under the name of its function; it is given its title and description."""
    DRAWINGS[draw.__name__.replace("_", "-")] = draw
    return draw


@drawing
def two_questions(words: dict) -> Drawing:
    """A column of zeros among the activations, and a negative pixel in a map."""
    d = Drawing("two-questions", 226, 460, words)
    layer = np.array([[2, 0, 0, 1], [0, 3, 0, 0], [1, 4, 0, 2], [5, 0, 0, 1]])
    d.text(40, 22, "four channels, four positions", "b")
    d.cells(40, 34, layer, 40, of=6, tall=36)
    d.frame(120, 34, 40, 144)
    d.middle(140, 200, "1", "l b")
    d.text(280, 22, "the map for “cat”", "b")
    d.cells(280, 34, np.array([[1, 3, 2, 0], [2, 6, 5, 1], [1, 3, -4, -1], [0, 1, -2, 0]]), 36, 8)
    d.frame(352, 106, 36, 36)
    d.middle(370, 200, "2", "l b")
    return d


@drawing
def pipeline(words: dict) -> Drawing:
    """Chapter 2, by hand: channels, gradients and their means, the map, and what is drawn."""
    d = Drawing("pipeline", 232, 480, words)
    d.picture(6, 84)
    d.arrow((52, 106), (70, 106))
    for x, label in ((110, "channels"), (208, "gradients"), (286, "mean"), (386, "map")):
        d.middle(x, 22, label, "b")
    for k, y in ((0, 32), (1, 122)):
        d.cells(76, y, A[k], 34, of=4)
        d.cells(174, y, G[k], 34, 5)
        d.arrow((246, y + 34), (262, y + 34))
        d.cells(266, y + 14, ALPHA[k], 40, 5)
        d.middle(144 + 15, y + 40, "and", "soft s")
    d.arrow((310, 66), (330, 66), (330, 56), (347, 56), cls="pale")
    d.arrow((310, 156), (338, 156), (338, 76), (347, 76), cls="pale")
    d.cells(350, 32, M, 36, 9)
    d.arrow((386, 106), (386, 134))
    d.text(394, 125, "ReLU", "soft")
    d.cells(350, 138, np.maximum(M, 0), 36, 9)
    d.text(428, 178, "drawn", "b")
    w, a = ALPHA, A[:, 0, 0]
    d.text(76, 222, "upper left:", "soft")
    d.text(140, 222, f"{number(w[0])} · {a[0]} − {number(-w[1])} · {a[1]} = {number(w @ a)}", "l b")
    return d


@drawing
def one_neuron(words: dict) -> Drawing:
    """Chapter 1, by hand: off for on; the score stays, the evidence moves, its difference stays."""
    d = Drawing("one-neuron", 224, 464, words)
    dark, bright = np.array([0, 1]), np.array([1, 0])
    for x, name, a, w, b in (
        (96, "first network", dark, 3, 1),
        (290, "turned round", bright, -3, 4),
    ):
        d.middle(x + 74, 22, name, "b")
        for j, label in enumerate(("neuron", "evidence", "score")):
            d.middle(x + 24 + 50 * j, 46, label, "soft s")
        for i, value in enumerate(a):
            y = 56 + 46 * i
            d.cells(x, y, np.array([[value]]), 48, of=3, tall=40)
            d.cells(x + 50, y, np.array([[w * value]]), 48, 5, tall=40)
            d.cells(x + 100, y, np.array([[w * value + b]]), 48, tall=40)
        d.middle(x + 74, 164, f"evidence: {number(w)} · neuron; bias {number(b)}", "soft s")
        difference = w * (a[1] - a[0])
        d.cells(x + 50, 176, np.array([[difference]]), 48, 5, tall=40)
        d.frame(x + 50, 176, 48, 40)
    d.text(10, 82, "dark image")
    d.text(10, 128, "bright image")
    d.text(10, 202, "the difference", "b")
    return d


@drawing
def raised(words: dict) -> Drawing:
    """Chapter 3, by hand: a channel raised by 3, and the bias that makes up for it."""
    d = Drawing("raised", 232, 480, words)
    for x, label in (
        (138, "two channels"),
        (285, "map"),
        (370, "sum"),
        (412, "bias"),
        (458, "score"),
    ):
        d.middle(x, 22, label, "b")
    score = (WEIGHT @ ROW).sum()
    for y, name, inside in ((36, "first", ROW), (140, "second", ROW + RAISE[:, None])):
        m = WEIGHT @ inside
        d.text(6, y + 44, name)
        for k in (0, 1):
            d.text(60, y + 23 + 38 * k, f"{number(WEIGHT[k])} ·".replace(" ", "\u00a0"), "soft")
            d.cells(88, y + 38 * k, inside[k], 34, of=6)
        d.arrow((196, y + 36), (226, y + 36))
        d.cells(232, y + 19, m, 36, 8)
        d.middle(370, y + 42, number(m.sum()), "l")
        d.middle(392, y + 42, "+", "soft")
        d.middle(412, y + 42, number(score - m.sum()), "l")
        d.middle(434, y + 42, "=", "soft")
        d.middle(458, y + 42, number(score), "l b")
    d.frame(88, 178, 102, 34)
    d.text(88, 227, f"channel 2 raised by {RAISE[1]}", "soft s")
    return d


def land(d: Drawing, x: float, y: float, level: float, step: float, high: float) -> None:
    """A coast, and what of it stands above a level (red) or lies below it (blue)."""
    (xs, ys), sea = coast(x, y, step, high), y - high * level
    ground(d, xs, ys, y + 5.2 * high, "wash")
    ground(d, xs, np.minimum(ys, sea), sea, "up")
    ground(d, xs, np.maximum(ys, sea), sea, "down")
    outline(d, xs, ys)
    d.line((x - 6, sea), (round(xs[-1] + 6, 1), sea), cls="strong")
    d.text(round(xs[-1] + 9, 1), sea + 4.5, "0")


@drawing
def sea_level(words: dict) -> Drawing:
    """Chapter 3: one landscape, three levels from which it is counted."""
    d = Drawing("sea-level", 232, 480, words)
    levels = {0: "as trained", 3: "zero 3 higher", -4: "zero 4 lower"}
    for i, (level, says) in enumerate(levels.items()):
        x = 10 + 160 * i
        d.middle(x + 66, 24, says, "b")
        land(d, x, 122, level, 12, 14)
        d.middle(x + 66, 222, f"{sum(h > level for h in LAND)} of {len(LAND)} above")
    return d


@drawing
def compared(words: dict) -> Drawing:
    """One landscape, and three levels that somebody might count from."""
    d = Drawing("compared", 224, 450, words)
    x, y, step, high = 20, 118, 24, 17
    xs, ys = coast(x, y, step, high)
    ground(d, xs, ys, y + 5.6 * high, "wash")
    outline(d, xs, ys)
    at = {0: "a layer of zeros?", 3: "after a shift?", LAND.mean(): "the mean?"}
    for level, says in at.items():
        sea = round(y - high * float(level), 1)
        d.line((x - 8, sea), (round(xs[-1] + 8, 1), sea), cls="strong dash")
        d.text(
            round(xs[-1] + 16, 1), sea + 4.5 + (10 if says.startswith("a layer") else -4), says, "b"
        )
    return d


@drawing
def softmax_freedom(words: dict) -> Drawing:
    """Chapter 6, by hand: what all classes gain, the probabilities do not see."""
    d, v = Drawing("softmax-freedom", 240, 528, words), -ROWS.max(0)
    for x, name, rows in ((48, "as trained", ROWS), (296, "the same added to all", ROWS + v)):
        scores = rows @ SEEN.mean(1)
        d.text(x, 22, name, "b")
        for at, label in ((20, "score"), (74, "probability"), (170, "map")):
            d.middle(x + at, 44, label, "soft s")
        for k, (score, p) in enumerate(zip(scores, shares(scores), strict=True)):
            y = 52 + 44 * k
            d.cells(x, y, np.array([[score]]), 40, 40, tall=36)
            d.middle(x + 74, y + 23, f"{p:.3f}")
            d.cells(x + 110, y, rows[k] @ SEEN / 4, 30, 12, tall=36)
    for k, name in enumerate(CLASSES):
        d.text(12, 75 + 44 * k, name, "b")
    d.text(12, 216, "each map gains the same field:")
    d.cells(406, 194, v @ SEEN / 4, 30, 12, tall=36)
    return d


@drawing
def zero_sum(words: dict) -> Drawing:
    """Chapter 6: minus their mean, the maps of all classes add up to zero at each position."""
    d, maps = Drawing("zero-sum", 240, 480, words), ROWS @ SEEN / 4
    centred = maps - maps.mean(0)
    for x, name, values in ((56, "maps", maps), (280, "minus the mean of all classes", centred)):
        d.text(x, 24, name, "b")
        for k in range(3):
            d.cells(x, 36 + 42 * k, values[k], 44, 8, tall=36)
        d.line((x, 167), (x + 176, 167))
        d.cells(x, 174, values.sum(0), 44, 16, tall=36)
    for k, name in enumerate(CLASSES):
        d.text(12, 59 + 42 * k, name, "b")
    d.text(12, 197, "sum", "b")
    d.arrow((238, 100), (272, 100))
    d.frame(368, 36, 44, 120)
    d.text(280, 231, "cat is low there: the cup is high", "soft")
    return d


@drawing
def local_score(words: dict) -> Drawing:
    """Chapter 10, by hand: the map less its mean, plus an equal share of the score."""
    d = Drawing("local-score", 226, 480, words)
    w, b, a, t = np.array([3, 1]), -2, np.array([[1, 0], [1, 2]]), np.array([1, -1])
    heads = (
        (115, "map"),
        (218, "minus its mean"),
        (326, "score / positions"),
        (430, "local score"),
    )
    for x, label in heads:
        d.middle(x, 40, label, "b")
    for y, name, at, bias in ((58, "first", a, b), (130, "shifted", a + t[:, None], b - w @ t)):
        m, score = w @ at / 2, w @ at.mean(1) + bias
        d.text(6, y + 30, name)
        parts = (m, m - m.mean(), np.array([score, score]) / 2)
        columns = zip((115, 218, 326, 430), (*parts, parts[1] + parts[2]), strict=True)
        for x, values in columns:
            d.cells(x - 40, y, values, 40, 4, tall=48)
        for x, sign in ((167, "→"), (272, "+"), (378, "=")):
            d.middle(x, y + 30, sign, "l b")
    d.frame(390, 58, 80, 48)
    d.frame(390, 130, 80, 48)
    d.middle(218, 204, "where", "soft")
    d.middle(326, 204, "how much", "soft")
    d.middle(430, 204, "adds up to", "soft s")
    d.middle(430, 219, f"the score, {number(score)}", "soft s")
    return d


@drawing
def opposite_features(words: dict) -> Drawing:
    """Chapter 4: a channel that says the opposite, and its weight that does so too."""
    d = Drawing("opposite-features", 224, 470, words)
    flip = np.array([1, -1])
    for x, name, e in ((30, "first network", flip * flip), (262, "second network", flip)):
        d.text(x, 24, name, "b")
        d.middle(x + 20, 48, "weight", "soft s")
        d.middle(x + 118, 48, "channel", "soft s")
        for k in (0, 1):
            y = 58 + 58 * k
            d.cells(x, y, np.array([[e[k] * WEIGHT[k]]]), 40, 5, tall=46)
            d.middle(x + 51, y + 28, "·", "l b")
            d.cells(x + 62, y, e[k] * (ROW[k] - k), 38, 5, tall=46)
        d.text(x, 198, "map", "b")
        for j in range(3):
            d.add("rect", "cell", x=x + 62 + 38 * j, y=174, width=38, height=40, fill="#fff")
            d.middle(x + 81 + 38 * j, 200, "?", "in l b")
    d.middle(243, 92, "=", "l b")
    d.middle(243, 150, "≠", "l b")
    return d


@drawing
def mixture(words: dict) -> Drawing:
    """Chapter 4: the four positions of chapter 2 along two systems of axes, and one map."""
    d, Q = Drawing("mixture", 240, 516, words), np.array([[1, -1], [1, 1]])
    points = A.reshape(2, 4)
    sides = (
        ("as trained", np.eye(2), points, ALPHA),
        ("mixed", Q, Q @ points, np.linalg.inv(Q).T @ ALPHA),
    )
    for x, (name, axes, numbers, w) in zip((4, 264), sides, strict=True):
        d.text(x, 22, name, "b")
        plane(d, x + 16, 142, axes, 20)
        for p, letter in enumerate("abcd"):
            (cx, cy), y = points[:, p] * (20, -20) + (x + 16, 142), 46 + 36 * p
            fill = f"fill:{tint(ALPHA @ points[:, p], 6)}"
            d.add("circle", "line", cx=float(cx), cy=float(cy), r=9, style=fill)
            d.middle(cx, cy + 4, letter, "in b s")
            d.middle(x + 138, y + 20, letter, "b")
            d.cells(x + 148, y, numbers[:, p], 32, tall=30)
            d.cells(x + 216, y, np.array([[w @ numbers[:, p]]]), 32, 9, tall=30)
        for at, head in ((164, "$A_1$"), (196, "$A_2$"), (232, "$M$")):
            d.middle(x + at, 38, head)
        d.middle(x + 138, 214, "$α$")
        d.cells(x + 148, 194, w, 32, 5, tall=30)
    return d


@drawing
def mirror(words: dict) -> Drawing:
    """Chapter 5, by hand: one step of gradient descent on opposite labels."""
    d = Drawing("mirror", 200, 430, words)
    heads = ("label", "weight", "score", "error", "to the layer", "new weight")
    a, rate = 2, 0.1
    for j, head in enumerate(heads):
        d.middle(38 + 70 * j, 30, head, "b s" if j > 3 else "b")
    for i, sign in enumerate((1, -1)):
        label, w = sign, sign
        error = w * a - label
        row = (label, w, w * a, error, error * w, w - rate * error * a)
        for j, value in enumerate(row):
            d.cells(8 + 70 * j, 44 + 56 * i, np.array([[value]]), 60, 4, tall=46)
    d.frame(288, 44, 60, 102)
    d.middle(318, 168, "the same", "b")
    d.text(8, 192, f"activation {a}; score = weight · activation; error = score − label", "soft s")
    return d
