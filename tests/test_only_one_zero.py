"""Chapter 9: what is left when re-codings must not matter, in exact numbers, and what is not.

Each law is followed by wrong variants that it must reject.  The dimensions are found by another
route than in the chapter: there with generators of the group, here with random members of it.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from nets import C, K, Net, h, heads, images, integers, w
from torch import nn

import zerocam
from zerocam import methods, references, targets
from zerocam.recode import reparametrize
from zerocam.symmetries import affine, mixing, shift

# ---- exact linear algebra on lists of fractions --------------------------------------------------


def matrix(rows):
    return [[Fraction(int(v)) if not isinstance(v, Fraction) else v for v in row] for row in rows]


def times(X, Y):
    return [[sum(a * b for a, b in zip(row, col, strict=True)) for col in zip(*Y, strict=True)]
            for row in X]  # fmt: skip


def transpose(X):
    return [list(col) for col in zip(*X, strict=True)]


def inverse(X):
    n = len(X)
    rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(X)]
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for k in range(n):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[n:] for row in rows]


PRIME = 2_147_483_647


def rank(rows):
    """The rank modulo a large prime: never above the true one."""
    rows, found = np.array(rows, dtype=object) % PRIME, 0
    for column in range(rows.shape[1]):
        below = np.flatnonzero(rows[found:, column])
        if not len(below):
            continue
        pivot = found + below[0]
        rows[[found, pivot]] = rows[[pivot, found]]
        rows[found] = rows[found] * pow(int(rows[found, column]), -1, PRIME) % PRIME
        others = np.flatnonzero(rows[:, column])
        for k in others[others != found]:
            rows[k] = (rows[k] - rows[k, column] * rows[found]) % PRIME
        found += 1
        if found == len(rows):
            break
    return found


def unimodular(size, rng):
    """A random integer matrix whose inverse has whole numbers too: both."""
    Q, back = np.eye(size, dtype=int), np.eye(size, dtype=int)
    for _ in range(6):
        i, j = rng.permutation(size)[:2]
        step, undo = np.eye(size, dtype=int), np.eye(size, dtype=int)
        step[i, j] = rng.integers(1, 4) * rng.choice([-1, 1])
        undo[i, j] = -step[i, j]
        Q, back = step @ Q, back @ undo
    assert (Q @ back == np.eye(size)).all()
    return Q, back


# ---- Theorem 1: the reference --------------------------------------------------------------------


def mean(A):
    return [sum(row) / len(row) for row in A]


def median(A):
    return [sorted(row)[len(row) // 2] for row in A]


def midrange(A):
    return [(max(row) + min(row)) / 2 for row in A]


def zero(A):
    return [Fraction(0) for _ in A]


def corner(A):
    return [row[0] for row in A]


def distinct(A):
    columns = sorted(set(zip(*A, strict=True)))
    return [sum(row) / len(columns) for row in zip(*columns, strict=True)]


def moved(A, Q, t):
    return [[v + s for v in row] for row, s in zip(times(Q, A), t, strict=True)]


def moves_along(rule, channels, positions, draws=20):
    """Whether r(QA + t) = Q r(A) + t holds for random whole numbers."""
    rng = np.random.default_rng(0)
    for _ in range(draws):
        A = matrix(rng.integers(-8, 9, (channels, positions)))
        Q = matrix(unimodular(channels, rng)[0] if channels > 1 else [[rng.choice([-2, 3])]])
        t = [Fraction(int(v)) for v in rng.integers(-8, 9, channels)]
        there = [row[0] + s for row, s in zip(times(Q, transpose([rule(A)])), t, strict=True)]
        if rule(moved(A, Q, t)) != there:
            return False
    return True


def treats_positions_alike(rule, A):
    orders = itertools.permutations(range(len(A[0])))
    return all(rule([[row[p] for p in order] for row in A]) == rule(A) for order in orders)


@pytest.mark.claim("I1")
@pytest.mark.parametrize(("rule", "along", "alike"), [
    (mean, True, True), (zero, False, True), (median, False, True),
    (midrange, False, True), (corner, True, False),
])  # fmt: skip
def test_of_these_references_the_mean_alone_does_both(rule, along, alike):
    A = matrix([[1, 4, 0, 2, 7], [0, 3, 5, 1, 1], [2, 0, 1, 7, 3]])
    assert moves_along(rule, 3, 5) == along
    assert treats_positions_alike(rule, A) == alike


@pytest.mark.claim("I1")
@pytest.mark.parametrize(("channels", "positions"), [(2, 3), (3, 4), (4, 3), (5, 4)])
def test_exchanging_independent_positions_leaves_only_the_mean_in_place(channels, positions):
    """The fixed points of all T that exchange two activations and double what is left over."""
    rng = np.random.default_rng(channels)
    while True:
        A = rng.integers(-5, 6, (channels, positions))
        spare = rng.integers(-5, 6, (channels + 1, channels + 1 - positions))
        spare[-1] = 0  # directions, to fill up
        H = np.hstack([np.vstack([A, np.ones((1, positions), dtype=int)]), spare])
        if round(np.linalg.det(H)):
            break
    H = matrix(H)
    back, conditions = inverse(H), []
    for p, q in itertools.combinations(range(positions), 2):
        order = list(range(positions))
        order[p], order[q] = q, p
        image = [[row[k] for k in order] + [2 * v for v in row[positions:]] for row in H]
        T = times(image, back)
        conditions += [[v - (i == j) for j, v in enumerate(row)] for i, row in enumerate(T)]
    point = [*mean(matrix(A)), Fraction(1)]  # a 1 below, as in H
    for row in conditions:
        assert sum(a * b for a, b in zip(row, point, strict=True)) == 0
    whole = [[int(v * math.lcm(*(u.denominator for u in row))) for v in row] for row in conditions]
    assert rank(whole) == channels  # of channels + 1 unknowns: one line, one point


@pytest.mark.claim("I1")
def test_one_channel_has_a_second_zero_and_two_have_not():
    assert moves_along(median, 1, 5)
    assert not moves_along(median, 2, 5)


@pytest.mark.claim("I1")
def test_a_rule_that_jumps_moves_along_and_is_not_the_mean():
    assert moves_along(distinct, 2, 5)
    twice = matrix([[0, 0, 3], [0, 0, 6]])
    assert treats_positions_alike(distinct, twice)
    assert distinct(twice) == [Fraction(3, 2), 3] != mean(twice)
    nudged = [[Fraction(0), Fraction(1, 10**9), Fraction(3)], twice[1]]
    assert abs(distinct(nudged)[0] - distinct(twice)[0]) > Fraction(1, 4)  # a jump
    assert abs(mean(nudged)[0] - mean(twice)[0]) < Fraction(1, 10**9)


@pytest.mark.claim("I1")
@pytest.mark.parametrize(
    ("reference", "same"),
    [
        (references.spatial_mean, True),
        (references.zero, False),
        (lambda A: A.flatten(2).median(2).values[..., None, None], False),
        (lambda A: A.amax((2, 3), keepdim=True), False),
        (lambda A: A[..., :1, :1], True),  # a corner moves along, but picks a position
    ],
    ids=["mean", "zero", "median", "highest", "corner"],
)
def test_in_the_package_a_map_stays_if_its_reference_moves_along(reference, same):
    model = Net(heads()["gap"])
    x, Q = images(), torch.tensor([[1.0, 2, 0], [0, 1, 0], [1, 0, 1]]).double()
    recoded, layer = reparametrize(model, "features", affine(Q, integers(K, seed=5)), x=x)
    how = {"relu": False, "reference": reference}
    maps = [
        zerocam.grad_cam(m, x, 2, layer=at, **how)
        for m, at in ((model, "features"), (recoded, layer))
    ]
    assert ((maps[0] - maps[1]).abs().max() < 1e-9 * maps[0].abs().max()) == same


# ---- Theorem 2: the table ------------------------------------------------------------------------


@pytest.mark.claim("I2")
def test_two_layers_with_one_table_are_one_mixing_apart():
    rng = np.random.default_rng(3)
    for _ in range(10):
        A, B = (matrix(unimodular(4, rng)[0]) for _ in range(2))
        G = matrix(rng.integers(-5, 6, (4, 4)))
        table = times(transpose(G), A)
        G_other = transpose(times(table, inverse(B)))
        Q = times(B, inverse(A))
        assert times(Q, A) == B
        assert times(transpose(inverse(Q)), G) == G_other
        table[0][0] += 1  # another table: this mixing does not do it, and it is the only candidate
        assert times(transpose(inverse(Q)), G) != transpose(times(table, inverse(B)))


def table_of(A, G):
    """<g_q, a_p> for each image: (N, q, p)."""
    return torch.einsum("nkq,nkp->nqp", G.flatten(2), A.flatten(2))


@pytest.mark.claim("I2")
@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_the_maps_of_the_package_that_mixing_keeps_are_read_from_the_table(head):
    A, G, *_ = zerocam.tap(Net(heads()[head]), images(), 2, layer="features")
    table = table_of(A, G)
    signed = zerocam.signed_map(zerocam.channel_weights(G), A).flatten(1)
    hires = methods.hires_cam.equation(A, G).flatten(1)
    torch.testing.assert_close(signed, table.mean(1))
    assert torch.equal(hires, table.diagonal(dim1=1, dim2=2))
    layer_cam = methods.layer_cam.equation(A, G).flatten(1)  # clips: not in the table
    assert not torch.allclose(layer_cam, table.diagonal(dim1=1, dim2=2))


@pytest.mark.claim("I2")
def test_mixing_keeps_the_table_and_a_shift_adds_one_number_to_each_row():
    A, G = integers(2, K, h, w, seed=1), integers(2, K, h, w, seed=2)
    T = mixing(torch.tensor([[1.0, 2, 0], [0, 1, 0], [1, 0, 1]]).double())
    assert torch.equal(table_of(T(A), T.push_gradient(G)), table_of(A, G))
    t = integers(K, seed=3)
    even = G.mean((2, 3), keepdim=True).expand_as(G)  # as before an averaging, linear head
    maps = [
        zerocam.signed_map(zerocam.channel_weights(g), a).flatten(1)
        for a, g in ((A, even), (shift(t)(T(A)), T.push_gradient(even)))
    ]
    first, second = (M - M.median(1, keepdim=True).values for M in maps)
    torch.testing.assert_close(first, second)
    assert (maps[0] - maps[1]).abs().min() > 0.1  # the maps themselves have moved
    gained = table_of(shift(t)(A), G) - table_of(A, G)
    expected = torch.einsum("nkq,k->nq", G.flatten(2), t)
    assert torch.equal(gained, expected[..., None].expand_as(gained))
    by_column = gained - gained.mean(1, keepdim=True)  # off the wrong means, the shift is left
    assert by_column.any()


@pytest.mark.claim("I2")
def test_without_continuity_the_rank_is_unchanged_by_mixing_and_not_in_the_table():
    g, thin, thick = np.array([1, 0]), np.array([[1, 1], [0, 0]]), np.array([[1, 1], [0, 1]])
    assert (g @ thin == g @ thick).all()
    assert np.linalg.matrix_rank(thin) < np.linalg.matrix_rank(thick)


# ---- Theorem 3: the linear maps ------------------------------------------------------------------


def dimension(Z, channels=2, *, gradients, shifts=False, alike=True, silent=False, seed=0):
    """Sample the group: maps F_p = sum c[p, i, j] g_i a_j that random re-codings leave alone."""
    rng = np.random.default_rng(seed)
    g, a = gradients * channels, Z * channels
    rows = []

    def products(G, A):  # what each unknown is multiplied by in F_p, for all p
        return np.kron(np.eye(Z, dtype=int), np.kron(G.T.ravel(), A.T.ravel()))

    for _ in range(g * a + 10):
        G = rng.integers(-5, 6, (channels, gradients))
        A = rng.integers(-5, 6, (channels, Z))
        Q, back = unimodular(channels, rng)
        flip = np.diag(rng.choice([-1, 1], channels))
        Q, back = Q @ flip, flip @ back
        rows.append(products(back.T @ G, Q @ A) - products(G, A))
        if shifts:
            t = rng.integers(-5, 6, (channels, 1))
            rows.append(products(G, A + t) - products(G, A))
        if alike:
            order = rng.permutation(Z)
            G_moved = G[:, order] if gradients > 1 else G
            rows.append(products(G_moved, A[:, order]) - products(G, A)[order])
        if silent:
            for p in range(Z):
                dark = A.copy()
                dark[:, p] = 0
                rows.append(products(G, dark)[p : p + 1])
    rows = np.concatenate(rows)
    return rows.shape[1] - rank(rows)


@pytest.mark.claim("I3")
@pytest.mark.parametrize(
    ("Z", "gradients", "without", "with_shifts"),
    [(3, 3, 5, 3), (3, 1, 2, 1), (2, 2, 4, 2), (4, 1, 2, 1), (2, 1, 2, 1)],
)
def test_random_recodings_leave_as_many_maps_as_the_theorem_says(
    Z, gradients, without, with_shifts
):
    assert dimension(Z, gradients=gradients) == without
    assert dimension(Z, gradients=gradients, shifts=True) == with_shifts


@pytest.mark.claim("I3")
def test_the_counts_change_if_a_condition_is_dropped():
    assert dimension(3, gradients=3, alike=False) == 3 * 9
    assert dimension(3, gradients=3, alike=False, shifts=True) == 3 * 6
    assert dimension(3, gradients=1, alike=False, shifts=True) == 3 * 2


def survivors(A, G):
    """The three maps that are left: (N, 3, positions)."""
    A = A - A.mean((2, 3), keepdim=True)
    hires = (G * A).sum(1)
    grad = (G.mean((2, 3), keepdim=True) * A).sum(1)
    return torch.stack([hires, grad, hires.mean((1, 2), keepdim=True).expand_as(hires)], 1)


@pytest.mark.claim("I3")
def test_the_three_maps_survive_and_are_independent_and_close_variants_do_not():
    A, G = integers(1, K, h, w, seed=1), integers(1, K, h, w, seed=2)
    T = affine(
        torch.tensor([[1.0, 2, 0], [0, 1, 0], [1, 0, 1]]).double(), integers(K, seed=3) * h * w
    )
    torch.testing.assert_close(survivors(T(A), T.push_gradient(G)), survivors(A, G))
    assert torch.linalg.matrix_rank(survivors(A, G).flatten(2)[0]) == 3

    def variants(A, G):
        median = A.flatten(2).median(2).values[..., None, None]
        return {
            "counted from zero": (G * A).sum(1),
            "counted from the median": (G * (A - median)).sum(1),
            "clipped channel by channel": (G * (A - A.mean((2, 3), keepdim=True))).relu().sum(1),
            "the gradient centred": ((G - G.mean((2, 3), keepdim=True)) * A).sum(1),
            "one channel left out": (G * (A - A.mean((2, 3), keepdim=True)))[:, 1:].sum(1),
        }

    after = variants(T(A), T.push_gradient(G))
    for name, before in variants(A, G).items():
        assert not torch.allclose(after[name], before), name


@pytest.mark.claim("I3")
@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_before_an_averaging_head_the_three_are_one(head):
    A, G, *_ = zerocam.tap(Net(heads()[head]), images(1), 2, layer="features")
    found = survivors(A, G)
    agree = torch.allclose(found[:, 0], found[:, 1]) and found[:, 2].abs().max() < 1e-9
    assert agree == (head != "conv")


def xi(g):
    return Fraction(g[0] ** 3 + g[1] ** 3, g[0] ** 2 + g[1] ** 2)


@pytest.mark.claim("I3")
def test_with_one_channel_there_is_a_map_that_is_no_sum_of_pairings():
    for factor in (-3, 2, 7):  # mixing one channel is multiplying by a number
        assert xi((factor * 1, factor * 2)) == factor * xi((1, 2))
    assert xi((1, 2)) != xi((1, 0)) + xi((0, 2))
    assert abs(xi((1, 10**9)) - xi((0, 10**9))) < 1  # it is continuous


def leveraged(A, G):
    leverage = times(transpose(G), times(inverse(times(G, transpose(G))), G))
    weights = [[leverage[q][q] * row[q] for q in range(len(row))] for row in G]
    return times([[sum(row) for row in weights]], A)


@pytest.mark.claim("I3")
def test_with_jumps_there_is_a_map_that_is_no_sum_of_pairings():
    A, G = matrix([[1, 0, 2], [0, 2, 1]]), matrix([[2, -1, 2], [0, 1, 2]])
    Q, other = matrix([[2, 1], [1, 1]]), matrix([[1, 0, 3], [2, 1, 0]])
    assert leveraged(times(Q, A), times(transpose(inverse(Q)), G)) == leveraged(A, G)
    both = [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(G, other, strict=True)]
    parts = [a + b for a, b in zip(leveraged(A, G)[0], leveraged(A, other)[0], strict=True)]
    assert leveraged(A, both)[0] != parts


# ---- Theorem 4: the amount -----------------------------------------------------------------------


def local_score(model, x, target, layer="features"):
    A, G, _, s = zerocam.tap(model, x, target, layer=layer)
    M = zerocam.signed_map(zerocam.channel_weights(G), A)
    return M - M.mean((1, 2), keepdim=True) + s[:, None, None] / M[0].numel()


@pytest.mark.claim("I4")
def test_by_hand():
    a, w_hand, b = np.array([[1, 0], [1, 2]]), np.array([3, 1]), -2
    M = w_hand @ a / 2
    s = w_hand @ a.mean(1) + b
    assert (M - M.mean() + s / 2).tolist() == ((w_hand @ a + b) / 2).tolist() == [1, 0]


@pytest.mark.claim("I4")
def test_before_an_average_and_a_linear_layer_it_is_what_the_head_says_of_each_position():
    model = Net(heads()["gap"])
    x = images()
    A = zerocam.activations(model, x, layer="features")
    tiles = A.flatten(2).permute(0, 2, 1).reshape(-1, K, 1, 1).expand(-1, -1, h, w)
    said = model.head(tiles)[:, 2].view(len(x), h, w) / (h * w)
    torch.testing.assert_close(local_score(model, x, 2), said)
    M = zerocam.grad_cam(model, x, 2, layer="features", relu=False)
    from_mean = M - M.mean((1, 2), keepdim=True)
    for wrong in (M, from_mean, local_score(model, x, 2) * (h * w)):  # no bias, no amount, no share
        assert not torch.allclose(wrong, said)


@pytest.mark.claim("I4")
@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_for_any_head_it_adds_up_to_the_score_and_no_recoding_moves_it(head):
    model, x = Net(heads()[head]), images()
    T = affine(torch.tensor([[1.0, 2, 0], [0, 1, 0], [1, 0, 1]]).double(), integers(K, seed=3))
    recoded, layer = reparametrize(model, "features", T, x=x)
    L, s = local_score(model, x, 2), zerocam.tap(model, x, 2, layer="features").s
    torch.testing.assert_close(L.sum((1, 2)), s)
    torch.testing.assert_close(local_score(recoded, x, 2, layer), L)
    M, M_there = (
        zerocam.grad_cam(m, x, 2, layer=at, relu=False)
        for m, at in ((model, "features"), (recoded, layer))
    )
    assert not torch.allclose(M_there, M)
    assert not torch.allclose(M_there + (s - M_there.sum((1, 2)))[:, None, None], M)


@pytest.mark.claim("I4")
def test_any_other_share_of_the_score_breaks_the_sum_and_any_other_f_the_law():
    a, w_hand, b = np.array([[1, 0, 2], [1, 2, 0]]), np.array([3, 1]), 6
    s = w_hand @ a.mean(1) + b
    M = w_hand @ a / 3
    for share in (0, s / 2, s, b / 3):
        assert np.isclose((M - M.mean() + share).sum(), s) == (share == s / 3)
    # f is fixed where all positions agree; a second term that vanishes there is not local
    same = np.repeat(a[:, :1], 3, 1)
    for extra in (lambda c: c.sum(0) ** 2, lambda c: np.ones(3)):
        assert not np.isclose(
            ((w_hand @ same + b) / 3 + extra(same)).sum(), w_hand @ same[:, 0] + b
        )


# ---- Theorem 5: the scores -----------------------------------------------------------------------


def doubly_centred(M):
    M = M - M.mean(1, keepdims=True)
    return M - M.mean(0, keepdims=True)


@pytest.mark.claim("I5")
def test_only_the_mean_of_the_classes_makes_a_sum_of_class_maps_blind_to_score_shifts():
    """beta I + gamma 11' loses a common field exactly if gamma = -beta / C: searched, C = 4."""
    M, field = np.array([[5, 1, 0], [2, 0, 4], [2, 2, 3], [1, 8, 8]]), np.array([7, -3, 11])
    for beta, gamma in itertools.product((-8, -4, 4, 8), range(-4, 5)):
        B = beta * np.eye(4, dtype=int) + gamma
        assert (B @ (M + field) == B @ M).all() == (beta + 4 * gamma == 0)


@pytest.mark.claim("I5")
def test_the_doubly_centred_table_is_what_both_shifts_leave_and_all_that_they_leave():
    M = np.array([[5.0, 1], [2, 0], [2, 2]])
    u, f = np.array([[10.0], [20], [30]]), np.array([[100.0, -7]])
    assert doubly_centred(M).tolist() == [[1, -1], [0, 0], [-1, 1]]
    both = doubly_centred(M + u + f)
    np.testing.assert_allclose(both, doubly_centred(M), atol=1e-12)
    for wrong in (lambda T: T - T.mean(1, keepdims=True), lambda T: T - T.mean(0, keepdims=True),
                  lambda T: T - T.mean()):  # fmt: skip
        assert not np.allclose(wrong(M + u + f), wrong(M))
    # all that they leave: any u and f come from a t and a v
    W, A = integers(3, 4, seed=1).numpy(), integers(4, 2, seed=2).numpy()
    assert np.linalg.matrix_rank(W) == 3
    assert np.linalg.matrix_rank(A) == 2
    t, v = np.linalg.pinv(W) @ (2 * u), np.linalg.pinv(A.T) @ (2 * f.T)
    moved = ((W + v.T) @ A + W @ t) / 2
    np.testing.assert_allclose(moved, W @ A / 2 + u + f, atol=1e-9)


@pytest.mark.claim("I5")
def test_in_the_package_mean_and_centred_score_give_the_doubly_centred_table():
    model, x = Net(heads()["gap"]), images(1)
    maps = zerocam.grad_cam_all(model, x, layer="features", relu=False)[0].flatten(1).numpy()
    both = [
        zerocam.grad_cam(
            model,
            x,
            targets.centred(c),
            layer="features",
            relu=False,
            reference=references.spatial_mean,
        )
        for c in range(C)
    ]
    found = torch.cat(both).flatten(1).numpy()
    np.testing.assert_allclose(found, doubly_centred(maps), atol=1e-9)
    assert not np.allclose(found, maps - maps.mean(1, keepdims=True))
    assert not np.allclose(found, maps - maps.mean(0, keepdims=True))


# ---- what no map can do --------------------------------------------------------------------------


@pytest.mark.claim("I6")
def test_silence_leaves_two_maps_and_shifts_take_both():
    assert dimension(3, gradients=3, silent=True) == 2
    assert dimension(3, gradients=3, silent=True, shifts=True) == 0
    assert dimension(3, gradients=1, silent=True) == 1
    assert dimension(3, gradients=1, silent=True, shifts=True) == 0


@pytest.mark.claim("I6")
@pytest.mark.parametrize("reference", [references.zero, references.spatial_mean])
def test_a_map_of_the_package_is_silent_or_unmoved_and_not_both(reference):
    model, x = Net(heads()["gap"]), images(1)
    dark = integers(1, K, h, w, seed=9)
    dark[..., 1, 2] = 0
    _, G, *_ = zerocam.tap(model, x, 2, layer="features")
    alpha = zerocam.channel_weights(G)

    def drawn(A):
        return zerocam.signed_map(alpha, A - reference(A))

    silent = drawn(dark)[0, 1, 2].abs() < 1e-9
    unmoved = torch.allclose(drawn(dark + integers(K, seed=3)[:, None, None]), drawn(dark))
    assert bool(silent) != unmoved


@pytest.mark.claim("I7")
def test_a_common_function_can_cancel_the_gradient_that_a_map_sees():
    """The row of one class is taken from all rows: same probabilities, and its map is 0."""
    model, x = Net(heads()["gap"]), images(1)
    other = Net(heads()["gap"])
    linear = next(m for m in other.head.modules() if isinstance(m, nn.Linear))
    linear.weight.data = linear.weight.data - linear.weight.data[2]
    gap = other(x) - model(x)
    torch.testing.assert_close(gap, gap[:, :1].expand_as(gap))  # one number for all scores
    for reference in (None, references.spatial_mean):
        how = {"layer": "features", "relu": False, "reference": reference}
        assert zerocam.grad_cam(model, x, 2, **how).any()
        assert not zerocam.grad_cam(other, x, 2, **how).any()
    how = {"layer": "features", "relu": False}
    compared = [zerocam.grad_cam(m, x, targets.centred(2), **how) for m in (model, other)]
    torch.testing.assert_close(*compared)  # a map that compares classes stays
    assert compared[0].any()


@pytest.mark.claim("I8")
def test_a_mixing_turns_any_independent_activations_into_any_others():
    rng = np.random.default_rng(5)
    for _ in range(10):
        A, B = (matrix(unimodular(3, rng)[0]) for _ in range(2))
        assert times(times(B, inverse(A)), A) == B
    thin = matrix([[1, 1, 0], [0, 0, 1], [2, 2, 0]])  # dependent: no mixing makes it B
    assert rank([[int(v) for v in row] for row in thin]) == 2


@pytest.mark.claim("I8")
@pytest.mark.parametrize("method", [methods.lafam, methods.eigen_cam])
def test_methods_without_a_class_move_under_mixing(method):
    A = integers(1, K, h, w, seed=1)
    T = mixing(torch.tensor([[1.0, 2, 0], [0, 1, 0], [1, 0, 1]]).double())
    assert not torch.allclose(method.equation(T(A)), method.equation(A))
    G = integers(1, K, h, w, seed=2)
    with_class = methods.hires_cam.equation
    assert torch.equal(with_class(T(A), T.push_gradient(G)), with_class(A, G))


class Exchange(nn.Module):
    """Every position's activations go one place to the right."""

    def forward(self, A):
        return A.roll(1, 3)


@pytest.mark.claim("I9")
@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_positions_exchanged_before_an_average_move_the_map_and_no_score(head):
    model, x = Net(heads()[head]), images(1)
    exchanged = nn.Sequential(model.features, Exchange(), model.head)
    same = torch.allclose(model(x), exchanged(x))
    assert same == (head != "conv")  # a convolution sees the order
    if same:
        maps = local_score(model, x, 2), local_score(exchanged, x, 2, "1")
        torch.testing.assert_close(maps[1], maps[0].roll(1, 2))
        assert not torch.allclose(maps[1], maps[0])


@pytest.mark.claim("I9")
def test_of_all_maps_of_three_positions_only_flat_ones_are_alike_and_unmoved():
    values = itertools.product(range(3), repeat=3)
    orders = list(itertools.permutations(range(3)))
    kept = [F for F in values if all(tuple(F[p] for p in order) == F for order in orders)]
    assert kept == [(v, v, v) for v in range(3)]


@pytest.mark.claim("I5")
def test_a_recoding_takes_a_table_to_any_other_with_the_same_doubly_centred_table():
    """The proof of Theorem 5, step by step: 9 channels, 3 classes, 4 positions."""
    K, C, Z, draw = 9, 3, 4, torch.Generator().manual_seed(0)
    W, A, u, f = (
        torch.randn(*size, generator=draw, dtype=torch.float64)
        for size in ((C, K), (K, Z), (C,), (Z,))
    )
    t = torch.linalg.lstsq(W, u).solution  # W t = u, with independent rows
    v = torch.linalg.lstsq(A.T, f).solution  # A^T v = f, with independent activations
    both = W @ A + u[:, None] + f  # the table that is to be reached

    def recoded(v, t):
        return (W + v) @ (A + t[:, None])

    assert (recoded(v, t) - both).abs().max() > 0.1  # the two shifts add <v, t> besides
    m = torch.linalg.svd(W).Vh[C:].T @ torch.randn(K - C, generator=draw, dtype=torch.float64)
    n = m - A @ torch.linalg.lstsq(A, m).solution  # no activation has a part of it
    n /= n @ m
    lam = 1 - n @ t  # anything but -<n, t>
    mu = -(v @ t + lam * (v @ m)) / (n @ t + lam)
    torch.testing.assert_close(recoded(v + mu * n, t + lam * m), both, rtol=0, atol=1e-9)
