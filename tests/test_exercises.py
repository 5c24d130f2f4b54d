"""Exercise checkers: right answers of any shape pass, and a mistake earns the hint that names it.

The functions here are written as students write them, and not as in tasks.py.
"""

import ast
import copy
import dataclasses
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from wrong_answers import OWN, REVIEW

import zerocam
from zerocam import references
from zerocam.lab import exercises
from zerocam.lab.exercises import marking, tasks

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def handed_in(name, function):
    """What the checker says of a student's function of this name."""

    def student(*given):
        return function(*given)

    student.__name__ = name
    return exercises.verdict(student)


# Right answers --------------------------------------------------------------------------------


def loop_class_maps(W, A):
    maps = []
    for image in A:
        maps.append(torch.stack([sum(w * a for w, a in zip(row, image, strict=True)) for row in W]))
    return torch.stack(maps) / (A.shape[2] * A.shape[3])


def pad_by_filling(A, t):
    N, K, h, w = A.shape
    out = t.reshape(1, K, 1, 1).repeat(N, 1, h + 2, w + 2)
    out[:, :, 1:-1, 1:-1] = A
    return out


def identity_less_one_row(alpha):
    rows = [alpha] + [
        e for i, e in enumerate(torch.eye(len(alpha)).to(alpha)) if i != alpha.argmax()
    ]
    return torch.stack(rows)


def random_rows(alpha):
    Q = torch.randn(len(alpha), len(alpha), generator=torch.Generator().manual_seed(0)).double()
    Q[0] = alpha
    return Q


def centre_by_loop(net):
    new = copy.deepcopy(net)
    with torch.no_grad():
        row = sum(net.head.linear.weight) / net.head.linear.out_features
        for c in range(net.head.linear.out_features):
            new.head.linear.weight[c] -= row
    return new


def centre_twice_by_loop(M):
    out = M.clone()
    for image in out:
        for k in range(len(image)):
            image[k] -= image[k].sum() / image[k].numel()
        image -= sum(image) / len(image)
    return out


def added_by_hand(net, x, without, c):
    A, G, *_ = zerocam.tap(net, x, c, layer="features")
    B = zerocam.activations(net, without, layer="features")
    return (G.mean((2, 3), keepdim=True) * (A - B)).sum(1)


def stretch_by_loop(A):
    out = torch.zeros_like(A)
    for n in range(len(A)):
        for k in range(A.shape[1]):
            a = A[n, k]
            if a.max() > a.min():
                out[n, k] = (a - a.min()) / (a.max() - a.min())
    return out


def story_by_loop(M):
    table = torch.zeros(len(M), len(M), dtype=torch.bool)
    for i, one in enumerate(M):
        for j, two in enumerate(M):
            gap = one - two
            loud = max(one.abs().max(), two.abs().max())
            table[i, j] = gap.max() - gap.min() < loud / 1000
    return table


RIGHT = [
    ("lift", lambda M, w, low: torch.linalg.pinv(w[None])[:, 0] * (low - M.min()) * M.numel()),
    (
        "lift",  # one channel carries it all
        lambda M, w, low: (
            F.one_hot(w.abs().argmax(), len(w)) * (low - M.min()) * M.numel() / w[w.abs().argmax()]
        ),
    ),
    ("class_maps", loop_class_maps),
    ("class_maps", lambda W, A: torch.tensordot(A, W, ([1], [1])).movedim(3, 1) / A[0, 0].numel()),
    ("class_maps", lambda W, A: loop_class_maps(W.float(), A.float())),
    ("pad_with", pad_by_filling),
    ("heatmap_channel", identity_less_one_row),
    ("heatmap_channel", random_rows),
    ("relabel", lambda W, b, a, u: [W.mul(a), b.mul(a).add(u)]),
    ("centre_head", centre_by_loop),
    ("blind", lambda rule, M: not (rule(M) != rule(M.clamp(min=0))).any()),
    ("blind", lambda rule, M: (rule(M) == rule(M * (M > 0))).all()),
    ("absorb", lambda W, m: (torch.stack([-(m * kernel).sum() for kernel in W]), torch.tensor(m))),
    ("doubly_centred", centre_twice_by_loop),
    (
        "doubly_centred",  # the mean of everything is put back once
        lambda M: (
            M
            + M.mean((1, 2, 3)).reshape(-1, 1, 1, 1)
            - M.flatten(2).mean(2)[..., None, None]
            - M.mean(1)[:, None]
        ),
    ),
    ("added_by", added_by_hand),
    (
        "added_by",  # the difference of two signed maps, since the head is linear
        lambda net, x, y, c: (
            zerocam.grad_cam(net, x, c, layer="features", relu=False)
            - zerocam.grad_cam(net, y, c, layer="features", relu=False)
        ),
    ),
    ("stretch", stretch_by_loop),
    ("stretch", lambda A: stretch_by_loop(A).numpy()),
    ("drawn", lambda M: stretch_by_loop(M.clamp(min=0)[:, None])[:, 0]),
    ("folded", lambda W, v, o: [v - v, F.linear(v, W, o)]),
    ("one_story", story_by_loop),
    ("one_story", lambda M: story_by_loop(M).int().numpy()),
    (
        "one_story",  # the deviation from the mean difference
        lambda M: (
            (M[:, None] - M - (M[:, None] - M).mean((2, 3), keepdim=True)).abs().amax((2, 3))
            < 5e-4
            * torch.cartesian_prod(*2 * [M.flatten(1).norm(torch.inf, 1)]).amax(1).view(len(M), -1)
        ),
    ),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_any_right_answer_is_right(name, function):
    assert handed_in(name, function).state == "right"


# Typical mistakes and a word of the hint that names them ---------------------------------------


def head_with(change):
    def centre_head(net):
        new = copy.deepcopy(net)
        new.head.linear.weight.data = change(new.head.linear.weight.data)
        return new

    return centre_head


def without_guard(A):
    low = A.flatten(2).min(2).values[..., None, None]
    high = A.flatten(2).max(2).values[..., None, None]
    return (A - low) / (high - low)


def batch_stretch(A):
    low, high = A.amin((0, 2, 3), keepdim=True), A.amax((0, 2, 3), keepdim=True)
    return (A - low) / torch.where(high > low, high - low, 1)


def image_stretch(A):
    flat = A.flatten(1)
    low, high = flat.min(1).values, flat.max(1).values
    return (A - low.reshape(-1, 1, 1, 1)) / (high - low).reshape(-1, 1, 1, 1)


def drawn_scaled_first(M):
    low, high = M.amin((1, 2), keepdim=True), M.amax((1, 2), keepdim=True)
    return ((M - low) / (high - low)).relu()


def hires(net, x, without, c):
    A, G, *_ = zerocam.tap(net, x, c, layer="features")
    return (G * (A - zerocam.activations(net, without, layer="features"))).sum(1)


def cam(net, x, c, **how):
    return zerocam.grad_cam(net, x, c, layer="features", **how)


WRONG = [
    ("lift", "flipped", lambda M, w, low: (M.min() - low) * M.numel() * w / w.dot(w)),
    ("lift", "Z is left out", lambda M, w, low: (low - M.min()) * w / w.dot(w)),
    ("lift", "square of the length", lambda M, w, low: (low - M.min()) * M.numel() * w / w.norm()),
    ("lift", "highest value", lambda M, w, low: (low - M.max()) * M.numel() * w / w.dot(w)),
    ("lift", "becomes 0", lambda M, w, low: -M.min() * M.numel() * w / w.dot(w)),
    ("lift", "One constant", lambda M, w, low: torch.ones_like(w) * (low - M.min())),
    ("class_maps", "mean is left out", lambda W, A: torch.einsum("ck,nkij->ncij", W, A)),
    ("class_maps", "channels", lambda W, A: torch.einsum("ck,nkij->ncij", W, A) / A.shape[1]),
    ("class_maps", "changed places", lambda W, A: loop_class_maps(W, A).movedim(0, 1)),
    ("class_maps", "Rows and columns", lambda W, A: loop_class_maps(W, A.mT)),
    ("class_maps", "added up", lambda W, A: loop_class_maps(W, A.sum(0, keepdim=True))[0]),
    ("class_maps", "mixed up", lambda W, A: loop_class_maps(W, A.mean(0).expand_as(A))),
    ("class_maps", "ReLU", lambda W, A: loop_class_maps(W, A).clamp(min=0)),
    ("pad_with", "border is 0", lambda A, t: F.pad(A, (1, 1, 1, 1))),
    ("pad_with", "flipped", lambda A, t: pad_by_filling(A, -t)),
    ("pad_with", "One number", lambda A, t: F.pad(A, (1, 1, 1, 1), value=float(t.mean()))),
    ("pad_with", "inside", lambda A, t: F.pad(A, (1, 1, 1, 1)) + t.reshape(-1, 1, 1)),
    ("pad_with", "not put back", lambda A, t: F.pad(A - t.reshape(-1, 1, 1), (1, 1, 1, 1))),
    ("pad_with", "Two sides", lambda A, t: pad_by_filling(A, t)[:, :, 1:-1]),
    ("heatmap_channel", "first weight is 0", lambda a: torch.cat([a[None], torch.eye(len(a))[1:]])),
    ("heatmap_channel", "column", lambda a: torch.cat([a[None], torch.eye(len(a))[1:]]).T),
    (
        "heatmap_channel",
        "flipped",
        lambda a: -identity_less_one_row(a),
    ),
    ("heatmap_channel", "length one", lambda a: identity_less_one_row(F.normalize(a, dim=0))),
    ("heatmap_channel", "multiples of the first", lambda a: torch.outer(torch.ones_like(a), a)),
    ("heatmap_channel", "diagonal", lambda a: torch.eye(len(a)) * a),
    ("relabel", "old bias", lambda W, b, a, u: (W * a, b + u)),
    ("relabel", "left out", lambda W, b, a, u: (W * a, b * a)),
    ("relabel", "weights are not", lambda W, b, a, u: (W, b * a + u)),
    ("relabel", "Only the shift", lambda W, b, a, u: (W.clone(), b + u)),
    ("relabel", "shift first", lambda W, b, a, u: (W * a, (b + u) * a)),
    ("relabel", "depends on the picture", lambda W, b, a, u: (W * a + u, b * a)),
    ("relabel", "way back", lambda W, b, a, u: (W / a, (b - u) / a)),
    ("centre_head", "wrong axis", head_with(lambda W: W - W.mean(1)[:, None])),
    ("centre_head", "one number", head_with(lambda W: W - W.mean())),
    ("centre_head", "flipped", head_with(lambda W: W + W.sum(0) / len(W))),
    ("centre_head", "blue", head_with(lambda W: W - W.max(0).values)),
    ("centre_head", "mean is left out", head_with(lambda W: W - W.sum(0))),
    ("centre_head", "as they were", copy.deepcopy),
    ("blind", "compare the maps", lambda rule, M: torch.equal(M, M.clamp(min=0))),
    ("blind", "All must agree", lambda rule, M: bool((rule(M) == rule(M.relu())).max())),
    ("blind", "how much", lambda rule, M: rule(M).float().sum() == rule(M.relu()).float().sum()),
    ("blind", "first map", lambda rule, M: torch.equal(rule(M)[0], rule(M.relu())[0])),
    ("blind", "changed places", lambda rule, M: bool((rule(M) != rule(M.relu())).any())),
    ("blind", "ReLU comes after", lambda rule, M: bool((rule(M) == rule(M).clamp(min=0)).all())),
    ("absorb", "border is not", lambda W, m: (W.flatten(1).sum(1) * -m, 0.0)),
    ("absorb", "sign of the bias", lambda W, m: (W.flatten(1).sum(1) * m, m)),
    ("absorb", "sign of the padding", lambda W, m: (-W.flatten(1).sum(1) * m, -m)),
    ("absorb", "not the mean", lambda W, m: (-W.flatten(1).mean(1) * m, m)),
    ("absorb", "One sum", lambda W, m: (-W.sum().repeat(len(W)) * m, m)),
    ("absorb", "weights are left out", lambda W, m: (-m * torch.ones(len(W)), m)),
    (
        "doubly_centred",
        "over positions is gone",
        lambda M: M - M.flatten(2).mean(2)[..., None, None],
    ),
    ("doubly_centred", "over classes is gone", lambda M: M - M.mean(1)[:, None]),
    (
        "doubly_centred",
        "twice",
        lambda M: M - M.mean(1)[:, None] - M.flatten(2).mean(2)[..., None, None],
    ),
    ("doubly_centred", "One number", lambda M: M - M.flatten(1).mean(1).reshape(-1, 1, 1, 1)),
    (
        "doubly_centred",
        "mixed up",
        lambda M: (M - M.mean(1)[:, None]) - (M - M.mean(1)[:, None]).mean((0, 2, 3), keepdim=True),
    ),
    (
        "doubly_centred",
        "goes over images",
        lambda M: (M - M.mean(0)) - (M - M.mean(0)).mean((2, 3), keepdim=True),
    ),
    ("doubly_centred", "negative values", lambda M: centre_twice_by_loop(M).clamp(min=0)),
    ("added_by", "flipped", lambda net, x, y, c: added_by_hand(net, y, x, c)),
    ("added_by", "not used", lambda net, x, y, c: cam(net, x, c, relu=False)),
    ("added_by", "negative values", lambda net, x, y, c: added_by_hand(net, x, y, c).relu()),
    (
        "added_by",
        "with itself",
        lambda net, x, y, c: cam(net, x, c, relu=False, reference=references.spatial_mean),
    ),
    ("added_by", "subtract the images", lambda net, x, y, c: cam(net, x - y, c, relu=False)),
    ("added_by", "clipped", lambda net, x, y, c: cam(net, x, c) - cam(net, y, c)),
    ("stretch", "nan", without_guard),
    ("stretch", "mixed up", batch_stretch),
    ("stretch", "wrong axis", image_stretch),
    ("stretch", "not taken off", lambda A: A / A.flatten(2).max(2).values[..., None, None]),
    ("stretch", "cut off", lambda A: stretch_by_loop(A.clamp(min=0))),
    ("stretch", "flipped", lambda A: stretch_by_loop(0 - A)),
    ("drawn", "Min-max before the ReLU", drawn_scaled_first),
    ("drawn", "mixed up", lambda M: M.relu() / M.relu().max().clamp(min=1e-9)),
    ("drawn", "nan", lambda M: M.relu() / M.relu().amax((1, 2), keepdim=True)),
    ("drawn", "scaling is left out", lambda M: M.clamp(min=0)),
    ("drawn", "flipped", lambda M: stretch_by_loop((-M).relu()[:, None])[:, 0]),
    ("drawn", "absolute", lambda M: stretch_by_loop(M.abs()[:, None])[:, 0]),
    ("folded", "counts twice", lambda W, v, o: (v, F.linear(v, W, o))),
    ("folded", "sign is flipped", lambda W, v, o: (v * 0, o - F.linear(v, W))),
    ("folded", "through the matrix", lambda W, v, o: (v * 0, o + v)),
    ("folded", "transposed", lambda W, v, o: (v * 0, F.linear(v, W.T, o))),
    ("folded", "changed places", lambda W, v, o: (F.linear(v, W, o), v * 0)),
    ("folded", "as a pair", lambda W, v, o: F.linear(v, W, o)),
    ("one_story", "changed places", lambda M: ~story_by_loop(M)),
    (
        "one_story",
        "constant still counts",
        lambda M: torch.stack(
            [
                (m - M).abs().amax((1, 2)) < 1e-3 * M.abs().amax((1, 2)).clamp(m.abs().max())
                for m in M
            ]
        ),
    ),
    (
        "one_story",
        "same mean",
        lambda M: torch.stack(
            [
                (m - M).mean((1, 2)).abs() < 1e-3 * M.abs().amax((1, 2)).clamp(m.abs().max())
                for m in M
            ]
        ),
    ),
    (
        "one_story",
        "all layers",
        lambda M: (
            (M - M[:, None]).flatten(2).sort().values.diff(dim=2).sum(2) < M.abs().max() / 1e3
        ),
    ),
    ("one_story", "scale the maps", lambda M: story_by_loop(stretch_by_loop(M[:, None])[:, 0])),
    (
        "one_story",
        "no unit",
        lambda M: (
            torch.sub(*(M[:, None] - M).flatten(2).sort().values[..., [-1, 0]].unbind(2)) < 1e-3
        ),
    ),
    ("one_story", "No tolerance", lambda M: (M[:, None] - M).flatten(2).std(2) == 0),
    ("one_story", "first map against all", lambda M: story_by_loop(M)[0]),
]


@pytest.mark.parametrize(("name", "word", "function"), WRONG)
def test_a_mistake_gets_the_hint_that_names_it(name, word, function):
    found = handed_in(name, function)
    assert found.state == "not yet"
    assert word in found.hint
    assert found.hint in exercises.EXERCISES[name].mistakes


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_each_exercise_is_tried_with_enough_answers(name):
    assert [n for n, _ in RIGHT].count(name) >= 1
    assert len({word for n, word, _ in WRONG if n == name}) >= 4


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_each_listed_mistake_is_told_from_all_others(name):
    task = exercises.EXERCISES[name]
    assert exercises.verdict(task.right).state == "right"
    found = [exercises.verdict(mistake, name).hint for mistake in task.mistakes.values()]
    assert found == list(task.mistakes)


# Answers that went wrong for others, typed in again --------------------------------------------

TYPED = [(name, *row) for table in (REVIEW, OWN) for name, rows in table.items() for row in rows]


def test_the_wrong_answers_are_those_of_the_review_and_thirty_more():
    assert sum(map(len, REVIEW.values())) == 77
    assert sum(map(len, OWN.values())) >= 30
    assert {*REVIEW, *OWN} == {*exercises.EXERCISES}


@pytest.mark.parametrize(("name", "did", "function", "words"), TYPED)
def test_a_wrong_answer_is_named_or_localised_and_its_case_is_shown(name, did, function, words):
    found = exercises.verdict(function, name)
    assert found.state == "not yet"
    assert words in found.hint
    assert "none of the usual" not in found.hint
    assert "The smallest input that fails" in found.case
    listed = found.hint in exercises.EXERCISES[name].mistakes or "factor" in found.hint
    assert not listed or re.search(r"yours(?s:.*): (?s:.*)wanted(?s:.*): ", found.case)


# What no list foresees --------------------------------------------------------------------------


def hint(name, function):
    found = handed_in(name, function)
    assert found.state == "not yet"
    return found.hint


def test_general_hints():
    assert "up to a factor of 3" in hint("class_maps", lambda W, A: 3 * loop_class_maps(W, A))
    assert "factor of -1" in hint("class_maps", lambda W, A: -loop_class_maps(W, A))
    assert "shape [1, 1, 2], wanted [1, 1, 1, 2]" in hint(
        "class_maps", lambda W, A: loop_class_maps(W, A)[0]
    )
    assert "1 things, wanted 2" in hint("relabel", lambda W, b, a, u: W)
    assert "nan or inf" in hint("stretch", lambda A: A / 0)
    special = hint("stretch", lambda A: stretch_by_loop(A) + (A.std((2, 3)) == 0).any())
    assert special == "It is right on 2 of 3 inputs. Given a channel that is constant, it is not."
    assert "none of the usual" in hint("drawn", lambda M: M.cos())


def test_a_factor_that_is_not_the_same_on_all_inputs_is_told():
    """The mistake that chapter 1 invites: its own Z, 98, in the place of M.numel()."""
    found = hint("lift", lambda M, w, low: (low - M.min()) * 98 * w / (w @ w))
    assert "another one on each input: 16.3, 12.2, 16.3" in found  # 98 / 6, 98 / 8, 98 / 6
    two = hint("lift", lambda M, w, low: (M.min() - low) * w / (w @ w))  # sign and Z
    assert "another one on each input: -0.167, -0.125, -0.167" in two
    assert "0.02, 0.01, 0.24" in hint("class_maps", lambda W, A: loop_sums(W, A) / 100)


def loop_sums(W, A):
    return loop_class_maps(W, A) * A[0, 0].numel()


@pytest.mark.parametrize(("name", "word", "function"), [*WRONG, *[(n, "", f) for n, f in RIGHT]])
def test_of_what_is_wrong_the_smallest_input_that_fails_is_shown(name, word, function):
    case = handed_in(name, function).case
    assert bool(case) == bool(word)
    if not word:
        return
    (special,) = re.findall("^  The smallest input that fails, (.*):", case)
    task = exercises.EXERCISES[name]
    assert [line.split(" = ")[0].strip() for line in case.splitlines()[1:][: len(task.takes)]] == [
        *task.takes
    ]

    def size(words):
        return sum(t.numel() for t in marking._tensors(task.cases[words]()))

    for words in task.cases:  # alone, each smaller one is passed
        if size(words) < size(special):
            one = dataclasses.replace(task, cases={words: task.cases[words]})
            assert marking._verdict(one, function).state == "right"


def test_the_numbers_of_the_case_are_the_students_and_the_wanted_ones():
    found = handed_in("relabel", lambda W, b, a, u: (a * W, a * b - u))
    assert str(found) == (
        "not yet. The sign of the shift is flipped.\n"
        "  The smallest input that fails, 0.9 and 0.1 for 1 and 0:\n"
        "    W = [[-1, 7], [-9, 1], [-9, 4]]\n"
        "    b = [5, -6, -2]\n"
        "    a = 0.8\n"
        "    u = 0.1\n"
        "    yours: [3.9, -4.9, -1.7]\n"  # 0.8 * 5 - 0.1
        "    wanted: [4.1, -4.7, -1.5]"  # 0.8 * 5 + 0.1
    )
    moved = handed_in("lift", lambda M, w, low: 0 * w).case.splitlines()
    assert moved[-2] == "    the moved map, yours: [[5, -4, -5], [3, -4, -6]]"  # M itself
    assert moved[-1] == "    the moved map, wanted: [[12, 3, 2], [10, 3, 1]]"  # lowest: 1


def test_numbers_that_look_alike_are_shown_with_more_digits():
    case = handed_in("relabel", lambda W, b, a, u: (a * W, a * b + u + 4e-4)).case
    assert case.splitlines()[-2:] == [
        "    yours: [4.1004, -4.6996, -1.4996]",
        "    wanted: [4.1, -4.7, -1.5]",
    ]


def test_of_a_large_result_the_first_place_that_differs_is_shown():
    def last_wrong(A):
        out = stretch_by_loop(A)
        out[-1, -1, -1, -1] += float(A.numel() > 100)
        return out

    case = handed_in("stretch", last_wrong).case
    yours, wanted = (float(x) for x in re.findall(r"at \[1, 2, 3, 4\]: (.*)", case))
    assert "A = numbers of the shape [2, 3, 4, 5]" in case
    assert yours - wanted == pytest.approx(1, abs=1e-3)


# What went wrong for students: each of these was once answered with a wrong or an empty hint -----


def test_a_forgotten_return_is_not_an_empty_function():
    def lift(M, w, lowest):
        t = (lowest - M.min()) * M.numel() * w / (w @ w)  # noqa: F841

    found = exercises.verdict(lift)
    assert found.state == "not yet"
    assert found.hint == "It returns None. Does each way through it end with `return`?"
    assert "None" in hint("blind", lambda rule, M: print("blind"))
    assert "None" in hint("class_maps", lambda W, A: None if len(A) > 1 else loop_class_maps(W, A))


def stub_of_dots(A): ...


def stub_of_words(A):
    """Write this."""


def stub_that_passes(A):
    pass


def stub_that_returns(A):
    return


@pytest.mark.parametrize(
    "stub", [stub_of_dots, stub_of_words, stub_that_passes, stub_that_returns, lambda A: None]
)
def test_an_empty_function_is_nothing_yet(stub):
    assert exercises.verdict(stub, "stretch").state == "nothing yet"


def slow_lift(dtype):
    def lift(M, w, lowest):
        t = torch.zeros(len(w), dtype=dtype)
        for k in range(len(w)):
            t[k] = (lowest - M.min()) * M.numel() * w[k] / (w @ w)
        return t

    return lift


@pytest.mark.parametrize("kind", [list, tuple, torch.Tensor.tolist, torch.Tensor.numpy])
def test_float32_and_lists_of_the_right_numbers_are_right(kind):
    assert handed_in("lift", slow_lift(torch.float32)).state == "right"
    lift = slow_lift(torch.float64)
    assert handed_in("lift", lambda *given: kind(lift(*given))).state == "right"
    assert handed_in("stretch", lambda A: stretch_by_loop(A).tolist()).state == "right"


def test_no_mistake_is_named_that_was_not_made():
    always = hint("blind", lambda rule, M: True)
    assert always.startswith("It says True of every rule. If the ReLU comes after")
    assert "absolute value" in hint("blind", lambda rule, M: torch.equal(rule(M), rule(M.abs())))
    assert "False of every rule" in hint("blind", lambda rule, M: rule(M) is rule(M.relu()))


@pytest.mark.parametrize(
    ("name", "function", "shapes"),
    [
        ("relabel", lambda W, b, a, u: (a * W, (a * b + u)[:, None]),
         "Result 2 of 2 has the shape [3, 1], wanted [3]"),
        ("lift", lambda M, w, low: slow_lift(torch.float64)(M, w, low)[None],
         "It has the shape [1, 3], wanted [3]"),
        ("lift", lambda M, w, low: M - M.min() + low, "It has the shape [2, 3], wanted [3]"),
        ("lift", lambda M, w, low: (low - M.min()) * M.numel(), "It has the shape [], wanted [3]"),
    ],
)  # fmt: skip
def test_the_shape_that_is_told_is_the_one_that_differs(name, function, shapes):
    found = handed_in(name, function)
    assert found.hint == f"{shapes}."
    many_answers = exercises.EXERCISES[name].judged is not None  # none of them is "the" wanted one
    assert ("yours" in found.case) == (not many_answers)


class Callable:
    """A right answer that is an object."""

    def __call__(self, M, w, lowest):
        return slow_lift(torch.float64)(M, w, lowest)


@pytest.mark.parametrize(
    "function",
    [
        lambda M, w, lowest: slow_lift(torch.float64)(M, w, lowest),
        functools.partial(lambda dtype, *given: slow_lift(dtype)(*given), torch.float64),
        Callable(),
    ],
)
def test_a_function_without_a_name_has_the_one_of_the_notebook(function, monkeypatch, capsys):
    assert exercises.verdict(function, "lift").state == "right"
    with pytest.raises(ValueError, match="name the exercise"):
        exercises.attempt(function)
    monkeypatch.setattr(sys.modules["__main__"], "lift", function, raising=False)
    exercises.attempt(function)
    assert capsys.readouterr().out == "✓ lift: right. It agrees on 3 inputs.\n"


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("pad_with", lambda A, t: F.pad(A, (1, 1, 1, 1), value=t), "Each channel has its own"),
        ("pad_with", lambda A, t: F.pad(A - t, (1, 1, 1, 1)), "t[:, None, None]"),
        ("class_maps", lambda W, A: W @ A, "Add up over channels"),
        ("blind", lambda rule, M: bool(rule(M) == rule(M.relu())), "torch.equal gives one answer"),
    ],
)
def test_an_error_of_torch_that_students_meet_is_explained(name, function, words):
    found = hint(name, function)
    assert found.startswith("It stops with ")
    assert words in found


@pytest.mark.slow
def test_a_loop_without_end_and_an_end_of_python_are_told():
    """In a process of its own, since an interrupt goes to the main thread."""
    code = """
import signal, sys
from zerocam.lab.exercises import attempt, marking

signal.signal(signal.SIGINT, signal.default_int_handler)
marking.LIMIT = 0.5

def lift(M, w, lowest):
    while True:
        pass

attempt(lift)

def lift(M, w, lowest):
    sys.exit(3)

attempt(lift)

def interrupted(M, w, lowest):
    raise KeyboardInterrupt

try:
    attempt(interrupted, "lift")
except KeyboardInterrupt:
    print("the reader's own interrupt goes through")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert "not yet. It has not ended after 0.5 seconds." in done.stdout
    assert "not yet. It ends Python, with exit()." in done.stdout
    assert done.stdout.endswith("the reader's own interrupt goes through\n")


def test_what_the_student_wrote_never_raises():
    def stops(W, A):
        raise ZeroDivisionError("oh dear\nand a second line")

    assert hint("class_maps", stops) == "It stops with ZeroDivisionError: oh dear."
    assert "TypeError" in hint("class_maps", lambda W: W)
    assert hint("class_maps", lambda W, A: "a") == "It returns a str, wanted numbers in a tensor."
    assert hint("blind", lambda r, M: "blind") == "It returns a str, wanted True or False."
    assert "wanted a network" in hint("centre_head", lambda net: net.head.linear.weight)
    assert "wanted a network" in hint("centre_head", lambda net: "a")
    assert "it has the shape" in hint("lift", lambda M, w, low: w[:-1]).lower()
    assert "complex" in hint("stretch", lambda A: stretch_by_loop(A) + 0j)
    assert "nan or inf" in hint("heatmap_channel", lambda a: torch.full((len(a), len(a)), np.nan))


def test_a_network_with_other_names_does_not_fit():
    class Bare(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            state = net.state_dict().values()
            self.kept = torch.nn.ParameterList(
                torch.nn.Parameter(t, requires_grad=False) for t in state
            )

    assert "does not fit the question" in hint("centre_head", Bare)


def test_arguments_are_not_to_be_changed():
    def in_place(net):
        net.head.linear.weight.data -= net.head.linear.weight.data.mean(0)
        return net

    def trains(net, x, without, c):
        net.train()
        return added_by_hand(net, x, without, c)

    assert hint("centre_head", in_place).startswith("It changes `net`")
    assert hint("drawn", lambda M: M.relu_()) == (
        "It changes `M`, which it was given. Work on a copy."
    )
    assert hint("added_by", trains).startswith("It changes `net`")
    net = tasks.small_net(0)
    in_place(net)
    assert not torch.equal(net.head.linear.weight, tasks.small_net(0).head.linear.weight)


def test_nothing_yet(capsys):
    def stretch(A): ...

    def class_maps(W, A):
        raise NotImplementedError

    assert exercises.verdict(stretch).state == exercises.verdict(class_maps).state == "nothing yet"
    exercises.attempt(stretch)
    said = capsys.readouterr().out
    assert said == "○ stretch: nothing yet. Write the function, then run this cell again.\n"


def test_numbers_of_other_kinds_count():
    assert (
        handed_in("blind", lambda r, M: np.bool_(torch.equal(r(M), r(M.relu())))).state == "right"
    )
    assert handed_in("stretch", lambda A: stretch_by_loop(A).requires_grad_()).state == "right"


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"got 'class_map', wanted one of lift, class_maps"):
        handed_in("class_map", lambda W, A: A)


def test_the_question_is_a_sentence():
    asks = exercises.EXERCISES["relabel"].asks
    assert asks == (
        "Write `relabel(W, b, a, u)`. Return the weights (C, K) and the bias (C,) of the head that "
        "gives scores for labels a t + u. `W` and `b` are those of the head for the labels t."
    )


@pytest.mark.parametrize("folder", ["src", "tools", "book"])
def test_no_text_is_run_as_code(folder):
    paths = [*(NOTEBOOKS[0].parents[1] / folder).rglob("*.py")]
    calls = [
        node.func.id
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert len(calls) > 50
    assert not {"eval", "exec"} & set(calls)


# The chapters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_each_chapter_has_its_exercises(path):
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    found = re.findall(r"^\*\*(\d)\. (Predict|By hand|Implement|Explore)\.\*\*", text, re.M)
    assert [number for number, _ in found] == [str(i + 1) for i in range(len(found))]
    kinds = [kind for _, kind in found if kind != "By hand"]  # some chapters have one
    assert kinds == ["Predict", "Implement", "Explore"]
    after = text[text.index("## Exercises") : text.index("## What we know now")]
    folds = re.findall("<summary>(.*)</summary>", after)
    assert set(folds) <= {"Solution", "Hint", "First hint", "Second hint"}
    assert folds.count("First hint") == folds.count("Second hint")
    implement = after[after.index("Implement.") : after.index("Explore.")]
    assert "hint</summary>" in implement.lower()
    assert "<summary>Solution</summary>" not in text[: text.index("## Exercises")]
    tagged = [set(c["metadata"].get("tags", [])) & {"solution", "exercise"} for c in cells]
    assert tagged.count({"exercise"}) == 1
    answers = tagged.count({"solution"}) + after.count("<summary>Solution</summary>")
    assert answers >= 2
    for cell, tags in zip(cells, tagged, strict=True):
        assert not tags or "hide-cell" in cell["metadata"]["tags"]
    (cell,) = (c for c, tags in zip(cells, tagged, strict=True) if tags == {"exercise"})
    (name,) = re.findall(r"^attempt\((\w+)\)$", "".join(cell["source"]), re.M)
    defined = [d.name for d in ast.parse("".join(cell["source"])).body if hasattr(d, "name")]
    assert name in defined
    assert re.search(rf"^def {name}\(.*\):\n    \.\.\..*\n\nattempt\({name}\)$", implement, re.M)
    assert exercises.EXERCISES[name].chapter == path.name[:2]
    printed = "".join(t for o in cell["outputs"] for t in o.get("text", []))
    assert f"✓ {name}: right." in printed
    assert f"{name}({', '.join(exercises.EXERCISES[name].takes)})" in text.replace("`", "")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_each_chapter_says_what_it_asks_of_the_reader(path):
    cells = json.loads(path.read_text())["cells"]
    head = "".join(cells[0]["source"])
    assert len(re.findall(r"^- ", head, re.M)) >= 2
    assert "After this chapter you can" in head
    assert "**You need**" in head
    said = int(re.search(r"(\d+) minutes to read", head).group(1))
    assert re.search(r"the code\s+runs in", head)
    words = sum(len("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
    code = sum(c["cell_type"] == "code" for c in cells)
    assert abs(said - (words / 100 + code * 40 / 60)) < 4  # 100 words a minute, 40 s a cell
