"""Symmetries: by hand, group axioms, laws, counter-laws with their amount, refusals.

Integer weights, unimodular mixings and Z a power of two make the arithmetic exact (nets.py,
strategies.py), so "unchanged" means equal in every bit unless a comment says why not.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Backwards, C, K, Net, Square, Z, conv, h, heads, images, integers, linear, w
from strategies import integers_like, orders, powers_of_two, signs, unimodular
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import zerocam
from zerocam import methods, references, targets
from zerocam import symmetries as sym
from zerocam.recode import BorderWarning, last_linear, reparametrize
from zerocam.symmetries import Affine, Places, SoftmaxShift

A_, t_ = integers_like(2, K, h, w), integers_like(K)
AFFINE = st.builds(sym.affine, unimodular(K), t_)
LINEAR = st.one_of(
    st.builds(sym.permutation, orders(K)),
    st.builds(sym.scaling, powers_of_two(K)),
    st.builds(sym.sign_flip, signs(K)),
    st.builds(sym.mixing, unimodular(K)),
)
SOFTMAX = st.builds(SoftmaxShift, t_, st.integers(-9, 9).map(float))
PLACES = orders(Z).map(Places)
few = settings(max_examples=6)  # where each example copies and runs a network
HEADS = [*heads(), "flat mlp"]
CLASS = 3  # its gradients have both signs in every head
POOLED = ["gap", "mlp"]  # ds/dA is the same at all positions


def net(kind):
    if kind == "flat mlp":
        return Net(nn.Sequential(nn.Flatten(), linear(6, K * Z, 20), Square(), linear(C, 6, 30)))
    return Net(heads()[kind])


def signed(model, layer="features", target=CLASS, method=zerocam.grad_cam, **kw):
    return method(model, images(), target, layer=layer, relu=False, **kw)


def changed(model, T, **kw):
    """The signed Grad-CAM map after the change."""
    return signed(*reparametrize(model, "features", T, x=images()), **kw)


def dot(alpha, t):
    """alpha . t as a constant map."""
    return (alpha @ t)[:, None, None]


def tapped(model, layer="features"):
    return zerocam.tap(model, images(), CLASS, layer=layer)


# ---- by hand ------------------------------------------------------------------------------------


def test_two_channels_worked_by_hand():
    A = torch.tensor([[[[1.0, 2.0]], [[3.0, -4.0]]]])
    T = sym.affine(torch.tensor([[0.0, 1.0], [-1.0, 2.0]]), torch.tensor([10.0, 20.0]))
    assert T(A).tolist() == [[[[13.0, 6.0]], [[25.0, 10.0]]]]
    assert T.inverse().matrix.tolist() == [[2.0, -1.0], [1.0, 0.0]]
    assert T.inverse().shift.tolist() == [0.0, -10.0]
    assert T.push_gradient(A).tolist() == [[[[5.0, 0.0]], [[-1.0, -2.0]]]]
    T = sym.mixing(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    assert T.inverse().matrix.tolist() == [[0.5, 0.5], [0.5, -0.5]]


def test_the_constructors_worked_by_hand():
    A = torch.tensor([[1.0, 2.0, 3.0]])
    by_name = {
        "permutation": (sym.permutation(torch.tensor([1, 2, 0])), [2, 3, 1]),
        "scaling": (sym.scaling(torch.tensor([2.0, 0.5, 4.0])), [2, 1, 12]),
        "sign flip": (sym.sign_flip(torch.tensor([1.0, -1.0, -1.0])), [1, -2, -3]),
        "shift": (sym.shift(torch.tensor([5.0, 0.0, -5.0])), [6, 2, -2]),
        "turn": (sym.turn_relu6(torch.tensor([True, False, True])), [5, 2, 3]),
    }
    for kind, (T, expected) in by_name.items():
        assert T.kind == kind
        assert T(A).tolist() == [expected]


def test_a_softmax_shift_worked_by_hand():
    W, b = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([7.0, 8.0, 9.0])
    W_new, b_new = SoftmaxShift(torch.tensor([10.0, -10.0]), 1.0)(W, b)
    assert W_new.tolist() == [[11, -8], [13, -6], [15, -4]]
    assert b_new.tolist() == [8, 9, 10]
    assert SoftmaxShift(torch.zeros(2), 2.0)(W)[1].tolist() == [2, 2, 2]
    assert SoftmaxShift(torch.zeros(2))(W)[1] is None


# ---- the group axioms ---------------------------------------------------------------------------


@given(A=A_, S=AFFINE, T=AFFINE, U=AFFINE)
def test_affine_changes_form_a_group(A, S, T, U):
    assert torch.equal((S @ T)(A), S(T(A)))
    assert torch.equal(((S @ T) @ U)(A), (S @ (T @ U))(A))
    one = T @ T.inverse()
    assert torch.equal(one.matrix, torch.eye(K).double())
    assert not one.shift.any()
    assert torch.equal(T.inverse()(T(A)), A)
    assert torch.equal((S @ T).inverse()(A), T.inverse()(S.inverse()(A)))


@given(W=integers_like(C, K), b=integers_like(C), S=SOFTMAX, T=SOFTMAX)
def test_softmax_shifts_form_a_commutative_group(W, b, S, T):
    for ours, theirs in zip((S @ T)(W, b), S(*T(W, b)), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip((T @ S)(W, b), S(*T(W, b)), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(T.inverse()(*T(W, b))[0], W)
    assert torch.equal(T.inverse()(*T(W, b))[1], b)


@given(A=A_, S=PLACES, T=PLACES, U=PLACES)
def test_places_form_a_group(A, S, T, U):
    assert torch.equal((S @ T)(A), S(T(A)))
    assert torch.equal(((S @ T) @ U)(A), (S @ (T @ U))(A))
    assert torch.equal(T.inverse()(T(A)), A)
    assert torch.equal(T(T.inverse()(A)), A)
    assert torch.equal((S @ T).inverse()(A), T.inverse()(S.inverse()(A)))


@given(A=A_, T=AFFINE, S=PLACES)
def test_places_and_channels_do_not_see_each_other(A, T, S):
    assert torch.equal(S(T(A)), T(S(A)))


def test_places_worked_by_hand():
    A = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    order = torch.tensor([1, 2, 3, 0])
    assert Places(order)(A).tolist() == [[[[2, 3], [4, 1]], [[6, 7], [8, 5]]]]
    tokens = torch.cat([torch.tensor([[[9.0, 9.0]]]), A.flatten(2).mT], 1)  # a class token first
    moved = Places(order, zerocam.tokens_to_map(2, 2, skip=1))(tokens)
    assert moved.tolist() == [[[9, 9], [2, 6], [3, 7], [4, 8], [1, 5]]]
    last = Places(order, zerocam.channels_first)(A.permute(0, 2, 3, 1))
    assert torch.equal(last.permute(0, 3, 1, 2), Places(order)(A))
    half = Places(order, lambda A: A.float())(A.bfloat16())  # a reshape may change the format
    assert half.tolist() == Places(order)(A).tolist()


@given(T=LINEAR)
def test_linear_changes_are_inverted_exactly(T):
    assert torch.equal(T.inverse().matrix @ T.matrix, torch.eye(K).double())


def test_a_change_that_mixes_nothing_is_inverted_number_by_number():
    """Thirds and sevenths are not exact, but 1/3 and 1/7 are the numbers to expect."""
    T = sym.scaling(torch.tensor([3.0, 7.0, 0.1])) @ sym.permutation(torch.tensor([1, 2, 0]))
    assert T.matrix.tolist() == [[0, 3, 0], [0, 0, 7], [torch.tensor(0.1).item(), 0, 0]]
    tenth = torch.tensor(0.1).item()
    assert T.inverse().matrix.tolist() == [[0, 0, 1 / tenth], [1 / 3, 0, 0], [0, 1 / 7, 0]]
    torch.testing.assert_close(T.inverse().matrix, torch.linalg.inv(T.matrix))
    assert T.inverse() is T.inverse(), "computed once"


@given(A=A_, W=integers_like(2, K * Z), T=AFFINE)
def test_the_pushed_gradient_is_the_one_autograd_finds(A, W, T):
    A_new = T(A).requires_grad_()
    (G_new,) = torch.autograd.grad((T.inverse()(A_new).flatten(1) * W).sum(), A_new)
    assert torch.equal(T.push_gradient(W.reshape(2, K, h, w)), G_new)


@pytest.mark.parametrize("kind", sym.KINDS[:-1])
def test_random_symmetries_are_reproducible_and_well_conditioned(kind):
    first, again, other = (sym.random_symmetry(kind, 12, seed, size=3.0) for seed in (5, 5, 6))
    parts = {"softmax shift": ("v",), "places": ("order",)}.get(kind, ("matrix", "shift"))
    assert first.kind == kind
    assert all(torch.equal(getattr(first, p), getattr(again, p)) for p in parts)
    assert any(not torch.equal(getattr(first, p), getattr(other, p)) for p in parts)
    if kind not in ("softmax shift", "places"):
        assert torch.linalg.cond(first.matrix) <= 16 if kind == "scaling" else 4.0001
        one = first.inverse() @ first
        torch.testing.assert_close(one.matrix, torch.eye(12).double(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("positions", [2, 3, 8, 49])
def test_random_places_go_round_in_one_circle(positions):
    """So no position stays, and only a map that is the same everywhere does."""
    for seed in range(5):
        order = sym.random_symmetry("places", positions, seed).order.tolist()
        seen, here = [], 0
        for _ in range(positions):
            seen.append(here)
            here = order[here]
        assert here == 0
        assert sorted(seen) == list(range(positions))


def test_random_shifts_have_the_size_asked_for():
    for kind, part in (("shift", "shift"), ("affine", "shift"), ("softmax shift", "v")):
        t = getattr(sym.random_symmetry(kind, 500, seed=1, size=3.0), part)
        assert 2.7 < t.std() < 3.3  # three standard errors


# ---- laws: Grad-CAM under changes of the features (B1 to B4, G1, G2) ----------------------------


@pytest.mark.claim("B1", "B2")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(T=LINEAR)
def test_a_linear_change_leaves_the_map_alone(kind, T):
    model = net(kind)
    M = signed(model)
    M_new = changed(model, T)
    assert torch.equal(M_new, M)
    assert torch.equal(M_new.relu(), M.relu())


class Attention(nn.Module):
    """Each position asks all others; what it hears is averaged.  Not affine, and not local."""

    def __init__(self):
        super().__init__()
        self.mix = nn.MultiheadAttention(K, 1, batch_first=True).double()
        self.last = linear(C, K, 10)

    def forward(self, A):
        tokens = A.flatten(2).mT
        return self.last(self.mix(tokens, tokens, tokens)[0].mean(1))


@pytest.mark.claim("B1", "B3")
@few
@given(T=LINEAR, t=t_)
def test_the_laws_hold_before_attention(T, t):
    """In rounded numbers: the softmax inside is not exact on integers."""
    torch.manual_seed(5)
    model = Net(Attention())
    for p in model.head.mix.parameters():
        nn.init.normal_(p, std=0.1)
    M, alpha = signed(model), zerocam.channel_weights(tapped(model).G)
    close = {"rtol": 1e-9, "atol": 1e-9 * M.abs().max().item()}  # sums of terms that cancel
    torch.testing.assert_close(changed(model, T), M, **close)
    torch.testing.assert_close(changed(model, sym.shift(t)), M + dot(alpha, t), **close)


@pytest.mark.claim("B1")
@pytest.mark.parametrize("kind", HEADS)
def test_a_linear_change_acts_on_alpha_by_its_inverse_transpose(kind):
    """Alpha has no meaning without A: it changes though the map does not."""
    model, T = net(kind), sym.mixing(torch.tensor([[1.0, 2, 0], [0, 1, 0], [1, 0, 1]]))
    before, after = tapped(model), tapped(*reparametrize(model, "features", T))
    alpha, alpha_new = (zerocam.channel_weights(t.G) for t in (before, after))
    assert torch.equal(alpha_new, alpha @ T.inverse().matrix)
    assert not torch.equal(alpha_new, alpha)
    assert torch.equal(after.A, T(before.A))


@pytest.mark.claim("B3")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(t=t_)
def test_a_shift_adds_alpha_dot_t_everywhere(kind, t):
    model = net(kind)
    M, moved = signed(model), changed(model, sym.shift(t))
    assert torch.equal(moved, M + dot(zerocam.channel_weights(tapped(model).G), t))
    assert torch.equal(min_max(moved), min_max(M))


def min_max(M):
    low, high = M.amin((1, 2), keepdim=True), M.amax((1, 2), keepdim=True)
    return (M - low) / (high - low)


@pytest.mark.claim("B3")
@pytest.mark.parametrize("kind", HEADS)
def test_some_shift_makes_the_map_of_an_image_blank_and_some_makes_it_full(kind):
    model = net(kind)
    alpha, M = zerocam.channel_weights(tapped(model).G)[0], signed(model)[0]
    steps = (M.abs().max() / alpha.square().sum()).ceil() + 1
    blank, full = (changed(model, sym.shift(e * steps * alpha))[0] for e in (-1, 1))
    assert not blank.relu().any()
    assert (full > 0).all()


@pytest.mark.claim("B4")
@pytest.mark.parametrize("kind", HEADS)
def test_swapping_two_neurons_is_linear_and_leaves_the_map_alone(kind):
    """It turns (0, 1) into (1, 0) just as a -> 1 - a does, and (0, 0) into (0, 0)."""
    swap = sym.permutation(torch.tensor([1, 0, 2]))
    assert swap(torch.tensor([[0.0, 1.0, 5.0], [0, 0, 5]])).tolist() == [[1, 0, 5], [0, 0, 5]]
    assert torch.equal(changed(net(kind), swap), signed(net(kind)))


@pytest.mark.claim("B4")
@pytest.mark.parametrize("kind", HEADS)
def test_one_minus_a_moves_the_map_by_its_shift_alone(kind):
    """a -> 1 - a is affine: the sign flip does nothing, the 1 adds -sum_k alpha_k."""
    model = net(kind)
    alpha = zerocam.channel_weights(tapped(model).G)
    T = sym.affine(-torch.eye(K), torch.ones(K))
    assert torch.equal(changed(model, T), signed(model) + dot(alpha, -torch.ones(K).double()))


@pytest.mark.claim("G1")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(T=AFFINE)
def test_a_reference_that_moves_along_makes_the_map_affine_invariant(kind, T):
    model, x0 = net(kind), images(n=4, seed=90)  # 4 Z positions: means are exact
    new, layer = reparametrize(model, "features", T, x=images())

    def references_of(model, layer):
        A0 = zerocam.activations(model, x0, layer=layer)
        yield references.spatial_mean
        yield references.data_mean(A0)
        yield references.baseline(model, x0[:1], layer)

    for ours, theirs in zip(
        references_of(model, "features"), references_of(new, layer), strict=True
    ):
        M, moved = signed(model, reference=ours), signed(new, layer, reference=theirs)
        assert torch.equal(moved, M)
        assert M.any()


@pytest.mark.claim("G2")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(T=AFFINE, S=st.data())
def test_centred_target_and_moving_reference_make_the_map_invariant_under_everything(kind, T, S):
    """Four classes, so that the mean score is exact too."""
    model = net(kind)
    model.head[-1] = linear(4, model.head[-1].in_features, 50)
    S = SoftmaxShift(S.draw(integers_like(model.head[-1].in_features)), 3.0)
    new, layer = reparametrize(model, "features", T, x=images())
    new, layer = reparametrize(new, layer, S, x=images())
    how = {"target": targets.centred(CLASS), "reference": references.spatial_mean}
    M = signed(model, **how)
    assert torch.equal(signed(new, layer, **how), M)
    assert M.any()


# ---- laws: the softmax shift (C1, C3) -----------------------------------------------------------


@pytest.mark.claim("C1")
@few
@given(S=SOFTMAX)
def test_a_softmax_shift_adds_one_field_to_every_class_map(S):
    model, x = net("gap"), images()
    new, layer = reparametrize(model, "features", S, x=x)
    assert torch.equal(new(x).softmax(1), model(x).softmax(1))
    A = tapped(model).A
    field = torch.einsum("k,nkij->nij", S.v, A) / Z
    ours, theirs = (zerocam.grad_cam_all(m, x, layer=layer, relu=False) for m in (model, new))
    assert torch.equal(theirs, ours + field[:, None])


@pytest.mark.claim("C1")
def test_the_field_of_a_softmax_shift_is_not_a_constant():
    model = net("gap")
    moved = changed(model, SoftmaxShift(integers(K, seed=3))) - signed(model)
    assert (moved.amax((1, 2)) > moved.amin((1, 2))).all()


@pytest.mark.claim("C3")
@pytest.mark.parametrize("kind", HEADS)
def test_contrasts_do_not_see_a_softmax_shift(kind):
    model = net(kind)
    S = SoftmaxShift(integers(model.head[-1].in_features, seed=3), 3.0)
    assert torch.equal(
        changed(model, S, target=targets.contrast(1, 2)),
        signed(model, target=targets.contrast(1, 2)),
    )


# ---- laws: places (P1) --------------------------------------------------------------------------


@pytest.mark.claim("P1")
@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("complete", [False, True])
@few
@given(T=PLACES)
def test_before_an_average_the_function_stays_and_the_map_moves_with_its_positions(
    kind, complete, T
):
    model, x = net(kind), images()
    new, layer = reparametrize(model, "features", T, x=x)
    assert torch.equal(new(x), model(x))
    M = signed(model, complete=complete)
    moved = signed(new, layer, complete=complete)
    assert torch.equal(moved.flatten(1), M.flatten(1)[:, T.order])
    still = all(torch.equal(m[T.order], m) for m in M.flatten(1))
    assert torch.equal(moved, M) == still
    assert torch.equal(signed(new, layer, reference=references.spatial_mean).sum((1, 2)),
                       torch.zeros(2).double())  # fmt: skip


@pytest.mark.claim("P1")
@pytest.mark.parametrize("kind", ["conv", "flat", "flat mlp"])
def test_a_head_that_sees_the_order_of_positions_has_no_such_freedom(kind):
    T = sym.random_symmetry("places", Z, seed=0)
    with pytest.raises(ValueError, match="predictions: moved by"):
        reparametrize(net(kind), "features", T, x=images())


# ---- laws: the other methods (B6) ---------------------------------------------------------------

GRADIENT = [methods.hires_cam, methods.layer_cam, methods.grad_cam_pp, methods.xgrad_cam]


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("method", [*GRADIENT, methods.lafam], ids=lambda m: m.__name__)
def test_what_a_change_does_to_a_method_is_its_equation_at_the_moved_a_and_g(method, kind):
    """The inserted form and the chain rule agree: a second route to every cell of the table."""
    model, (A, G, *_) = net(kind), tapped(net(kind))
    M = torch.tensor([[1.0, 1, 0], [1, 2, 0], [0, -1, -1]])
    for T in (sym.shift(integers(K, seed=1)), sym.mixing(M), sym.affine(M, torch.ones(K))):
        moved = [T(A), T.push_gradient(G)][: 1 if method is methods.lafam else 2]
        assert torch.equal(changed(model, T, method=method), method.equation(*moved))


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(T=LINEAR)
def test_hires_cam_is_invariant_under_every_linear_change(kind, T):
    assert torch.equal(changed(net(kind), T, method=methods.hires_cam), hires(kind))


def hires(kind):
    return signed(net(kind), method=methods.hires_cam)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("method", GRADIENT, ids=lambda m: m.__name__)
@few
@given(order=orders(K), s=powers_of_two(K))
def test_gradient_methods_are_invariant_under_permutation_and_positive_scaling(
    method, kind, order, s
):
    """Grad-CAM++ too, to the last bit, since its formula here has no epsilon."""
    model = net(kind)
    M = signed(model, method=method)
    assert torch.equal(changed(model, sym.scaling(s), method=method), M)
    # Another order of summation: equal up to rounding where weights are fractions.
    permuted = changed(model, sym.permutation(order), method=method)
    torch.testing.assert_close(permuted, M, rtol=1e-12, atol=1e-12 * M.abs().max().item())


def test_an_epsilon_makes_grad_cam_pp_depend_on_the_unit_of_the_activations():
    """The usual 1e-6 in the denominator 2 g^2 + g^3 sum A has the unit of g^2."""

    def with_epsilon(A, G):
        share = G**2 / (2 * G**2 + G**3 * A.sum((2, 3), keepdim=True) + 1e-6)
        return zerocam.signed_map((G.relu() * share).sum((2, 3)), A)

    A, G = torch.rand(2, 2, K, h, w, generator=torch.Generator().manual_seed(0)).double()
    T = sym.scaling(torch.full((K,), 1024.0))
    ours, theirs = methods.grad_cam_pp.equation(A, G), with_epsilon(A, G)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=0)
    assert torch.equal(methods.grad_cam_pp.equation(T(A), T.push_gradient(G)), ours)
    moved = (with_epsilon(T(A), T.push_gradient(G)) / theirs - 1).abs()
    assert 1e-3 < moved.max() < 1


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
@few
@given(e=signs(K))
def test_xgrad_cam_is_invariant_under_sign_flips(kind, e):
    M = signed(net(kind), method=methods.xgrad_cam)
    assert torch.equal(changed(net(kind), sym.sign_flip(e), method=methods.xgrad_cam), M)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", POOLED)
@few
@given(T=AFFINE)
def test_below_pooling_hires_and_xgrad_cam_are_grad_cam(kind, T):
    """Linear or not: what counts is that the gradient is the same at all positions."""
    model = net(kind)
    new, layer = reparametrize(model, "features", T)
    A = zerocam.activations(new, images(), layer=layer)
    assert torch.equal(signed(new, layer, method=methods.hires_cam), signed(new, layer))
    if A.sum((2, 3)).all():  # else XGrad-CAM's weight is 0 by convention
        assert torch.equal(signed(new, layer, method=methods.xgrad_cam), signed(new, layer))


# ---- counter-laws, with their amount ------------------------------------------------------------

E = torch.tensor([1.0, -1.0, -1.0]).double()
T_SHIFT = integers(K, seed=4)


def field(weights, t):
    """sum_k weights_kij t_k."""
    return torch.einsum("nkij,k->nij", weights, t)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
def test_a_shift_adds_to_hires_cam_a_field_that_is_constant_only_below_pooling(kind):
    G = tapped(net(kind)).G
    moved = changed(net(kind), sym.shift(T_SHIFT), method=methods.hires_cam) - hires(kind)
    assert torch.equal(moved, field(G, T_SHIFT))
    assert (moved.amax((1, 2)) == moved.amin((1, 2))).all() == (kind in POOLED)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
def test_layer_cam_is_moved_by_shifts_and_sign_flips(kind):
    """By sum_k relu(G) t_k, and by -sum |G_k| A_k over the flipped channels."""
    A, G, *_ = tapped(net(kind))
    M = signed(net(kind), method=methods.layer_cam)
    moved = changed(net(kind), sym.shift(T_SHIFT), method=methods.layer_cam) - M
    assert torch.equal(moved, field(G.relu(), T_SHIFT))
    assert (moved.amax((1, 2)) == moved.amin((1, 2))).all() == (kind in POOLED)
    flipped = changed(net(kind), sym.sign_flip(E), method=methods.layer_cam) - M
    assert torch.equal(flipped, -(G.abs() * A)[:, E < 0].sum(1))
    assert flipped.any()


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
def test_grad_cam_pp_is_moved_by_shifts_by_no_constant(kind):
    """Its weights hold sum A, so even below pooling a shift does more than add a constant."""
    M = signed(net(kind), method=methods.grad_cam_pp)
    moved = changed(net(kind), sym.shift(T_SHIFT), method=methods.grad_cam_pp) - M
    spread = moved.amax((1, 2)) - moved.amin((1, 2))
    assert (spread > 1e-3 * M.abs().amax((1, 2))).all()
    flipped = changed(net(kind), sym.sign_flip(E), method=methods.grad_cam_pp) - M
    assert (flipped.abs().amax((1, 2)) > 1e-2 * M.abs().amax((1, 2))).any()


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", ["conv", "flat", "flat mlp"])
def test_xgrad_cam_is_moved_by_mixings_and_shifts_where_gradients_vary(kind):
    """alpha'_k = sum G'_k A'_k / sum A'_k, and G'_k A'_k mixes channels before the division."""
    M = signed(net(kind), method=methods.xgrad_cam)
    mixed = changed(
        net(kind), sym.mixing(torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1]])),
        method=methods.xgrad_cam,
    )  # fmt: skip
    shifted = changed(net(kind), sym.shift(T_SHIFT), method=methods.xgrad_cam) - M
    assert ((mixed - M).abs().amax((1, 2)) > 1e-2 * M.abs().amax((1, 2))).all()
    spread = shifted.amax((1, 2)) - shifted.amin((1, 2))
    assert (spread > 1e-3 * M.abs().amax((1, 2))).all()


@pytest.mark.claim("B6")
def test_eigen_cam_keeps_rotations_and_loses_units():
    """No class enters, so a softmax shift does nothing; scales do, shifts only if not centred.

    A singular value decomposition is not exact: equal means to 1e-9 of the largest value.
    """
    x = images()
    for centred in (False, True):

        def moved_by(T, centred=centred):
            model = net("gap")
            M = methods.eigen_cam(model, x, layer="features", centred=centred)
            new, layer = reparametrize(model, "features", T, x=x)
            moved = methods.eigen_cam(new, x, layer=layer, centred=centred) - M
            return moved.abs().amax() / M.abs().amax()

        rotation = sym.mixing(torch.linalg.qr(integers(K, K, seed=7))[0])
        kept = [sym.permutation(torch.tensor([2, 0, 1])), sym.sign_flip(E), rotation]
        kept += [SoftmaxShift(T_SHIFT)] + [sym.shift(10 * T_SHIFT)] * centred
        lost = [sym.scaling(torch.tensor([1.0, 4, 16]))] + [sym.shift(10 * T_SHIFT)] * (not centred)
        assert max(moved_by(T) for T in kept) < 1e-9
        assert min(moved_by(T) for T in lost) > 0.1


@pytest.mark.claim("B6")
def test_lafam_takes_every_channel_at_face_value():
    """A shift adds mean(t); flips and scales act on each channel's own share."""
    model, A = net("mlp"), tapped(net("mlp")).A
    M = signed(model, method=methods.lafam)
    assert torch.equal(changed(model, sym.sign_flip(E), method=methods.lafam), field(A, E) / K)
    shifted = changed(model, sym.shift(T_SHIFT), method=methods.lafam)
    torch.testing.assert_close(shifted, M + T_SHIFT.mean(), rtol=1e-14, atol=0)  # thirds
    assert torch.equal(changed(model, SoftmaxShift(integers(6, seed=1)), method=methods.lafam), M)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("kind", HEADS)
def test_score_cam_as_predicted(kind):
    """Masks are min-max scaled, so weights do not see [a].  Written down before measuring.

    permutation 0; scaling s: sum alpha_k s_k A_k, changes; a shift adds alpha . t for every head;
    a sign flip turns a mask m into 1 - m, changes; softmax shift: 0 for a probability, beta alone 0
    for the logit too, since the softmax over channels cancels it; v changes the logit's map.
    Equal means to rounding: the weights are exponentials.
    """
    model, x, A = net(kind), images(), tapped(net(kind)).A
    p = targets.probability(CLASS)

    def map_of(T=None, target=p):
        at = (model, "features") if T is None else reparametrize(model, "features", T, x=x)
        return signed(*at, target=target, method=methods.score_cam)

    A_k = [methods.signed_map(row.expand(2, K), A) for row in torch.eye(K).double()]
    M = map_of()
    alpha = torch.linalg.lstsq(torch.stack(A_k).flatten(2).permute(1, 2, 0), M.flatten(1)).solution
    s = torch.tensor([2.0, 0.5, 4.0]).double()
    close = {"rtol": 1e-9, "atol": 1e-9 * M.abs().max().item()}
    torch.testing.assert_close(map_of(sym.permutation(torch.tensor([2, 0, 1]))), M, **close)
    torch.testing.assert_close(map_of(sym.shift(T_SHIFT)), M + dot(alpha, T_SHIFT), **close)
    torch.testing.assert_close(map_of(sym.scaling(s)), methods.signed_map(alpha * s, A), **close)
    assert (map_of(sym.sign_flip(E)) - M).abs().max() > 0.1 * M.abs().max()
    v = integers(model.head[-1].in_features, seed=1)
    torch.testing.assert_close(map_of(SoftmaxShift(v, 5.0)), M, **close)
    only_beta = map_of(SoftmaxShift(0 * v, 5.0), target=CLASS)
    torch.testing.assert_close(only_beta, map_of(target=CLASS), **close)


@pytest.mark.claim("B6")
def test_ablation_cam_as_predicted():
    """GAP head, so alpha_k = W_ck mean(A_k) / y_c.  Written down before measuring.

    permutation 0; a scale or sign s multiplies A_k alone: sum alpha_k s_k A_k, changes; a shift
    moves what "off" means: alpha'_k = W_ck (mean A_k + t_k) / y_c, changes by no constant; mixing
    changes; beta divides the map by y_c + beta instead of y_c; v changes.  If "off" moves along,
    a shift adds alpha . t; off = the channel's own mean gives alpha = 0, a blank map.
    """
    model, x = net("gap"), images()
    A, _, y, _ = tapped(model)
    W, y = model.head[2].weight[CLASS].detach(), y[:, CLASS, None]
    T = sym.shift(T_SHIFT)

    def map_of(T=None, **kw):
        at = (model, "features") if T is None else reparametrize(model, "features", T, x=x)
        return signed(*at, method=methods.ablation_cam, **kw)

    alpha, s = W * A.mean((2, 3)) / y, torch.tensor([2.0, -0.5, -4.0]).double()
    alpha_moved = W * (A.mean((2, 3)) + T_SHIFT) / y
    M = map_of()
    close = {"rtol": 1e-12, "atol": 1e-12 * M.abs().max().item()}  # divisions by y_c
    torch.testing.assert_close(M, methods.signed_map(alpha, A), **close)
    torch.testing.assert_close(map_of(sym.permutation(torch.tensor([2, 0, 1]))), M, **close)
    scaled = map_of(sym.mixing(s.diag()))
    torch.testing.assert_close(scaled, methods.signed_map(alpha * s, A), **close)
    torch.testing.assert_close(map_of(T), methods.signed_map(alpha_moved, T(A)), **close)
    beta = SoftmaxShift(torch.zeros(K), 1000.0)
    torch.testing.assert_close(map_of(beta), M * (y / (y + 1000))[:, :, None], **close)

    assert not map_of(to=references.spatial_mean).any()
    off = references.data_mean(A)
    moving = map_of(T, to=references.data_mean(T(A))) - map_of(to=off)
    alpha_off = W * (A.mean((2, 3)) - off(A)[:, :, 0, 0]) / y
    torch.testing.assert_close(moving, dot(alpha_off, T_SHIFT).expand_as(M), **close)


# ---- folding ------------------------------------------------------------------------------------


def folded(model, T, **kw):
    return reparametrize(model, "features", T, fold=True, **kw)


@pytest.mark.claim("B1", "B3")
@pytest.mark.parametrize("kind", ["gap", "mlp", "flat", "flat mlp"])
@few
@given(T=AFFINE)
def test_folding_into_the_weights_is_the_inserted_form_without_the_detour(kind, T):
    model, x = net(kind), images()
    new, layer = folded(model, T, x=x)
    assert torch.equal(new(x), model(x))
    assert torch.equal(zerocam.activations(new, x, layer=layer), T(tapped(model).A))
    assert torch.equal(signed(new, layer), changed(model, T))
    assert len(list(new.modules())) == len(list(model.modules()))


@pytest.mark.parametrize("kind", ["pointwise", "unpadded", "reflected", "padded"])
@few
@given(T=AFFINE)
def test_folding_into_a_convolution(kind, T):
    """A shift passes a convolution whose padding knows what zero has become, or has none."""
    head = heads()["conv"]
    if kind == "pointwise":
        head[0] = nn.Conv2d(K, 4, 1).double()
        nn.init.constant_(head[0].weight, 2.0), nn.init.constant_(head[0].bias, -3.0)
    elif kind == "unpadded":
        head[0].padding = (0, 0)
    elif kind == "reflected":
        bent = nn.Conv2d(K, 4, 3, padding=1, padding_mode="reflect").double()
        bent.load_state_dict(head[0].state_dict())
        head[0] = bent
    else:
        T = sym.mixing(T.matrix)
    x = integers(2, 2, 4, 4, seed=8, bound=3)
    new, _ = folded(Net(head), T, x=x)
    assert torch.equal(new(x), Net(head)(x))


@pytest.mark.claim("B5")
def test_a_shift_before_zero_padding_is_wrong_at_the_border_by_the_padding_not_shifted():
    """The amount: -W t for each tap that falls on padding.  Inside: nothing."""
    model, x, T = net("conv"), integers(2, 2, 5, 6, seed=8, bound=3), sym.shift(T_SHIFT)
    with pytest.raises(ValueError, match=r"zero padding, which still says 0 \(its border: moved"):
        folded(model, T)
    with pytest.warns(BorderWarning, match="at its border") as seen:
        new, _ = folded(model, T, x=x, allow_border=True)
    assert seen[0].message.inside < 1e-12 < 0.1 < seen[0].message.border
    A, next_layer = zerocam.activations(model, x, layer="features"), model.head[0]
    moved = (new.head[0](T(A)) - next_layer(A)).detach()
    image_of_zero = T_SHIFT[None, :, None, None].expand(1, K, *A.shape[2:])
    whole = torch.einsum("okab,k->o", next_layer.weight, T_SHIFT)[:, None, None]
    assert torch.equal(moved, (F.conv2d(image_of_zero, next_layer.weight, padding=1) - whole)
                       .expand_as(moved))  # fmt: skip
    assert not moved[..., 1:-1, 1:-1].any()
    assert moved.any()


@pytest.mark.claim("B5")
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_shift_passes_padding_with_the_layers_own_values(mode):
    model, x = net("conv"), integers(2, 2, 5, 6, seed=8, bound=3)
    model.head[0].padding_mode = mode
    new, _ = folded(model, sym.shift(T_SHIFT), x=x)
    assert torch.equal(new(x), model(x))


@pytest.mark.claim("B5")
def test_a_shift_passes_zero_padding_that_no_weight_meets():
    model, x = net("conv"), integers(2, 2, 5, 6, seed=8, bound=3)
    with torch.no_grad():
        model.head[0].weight.mul_(F.pad(torch.ones(1, 1).double(), (1, 1, 1, 1)))
    new, _ = folded(model, sym.shift(T_SHIFT), x=x)
    assert torch.equal(new(x), model(x))


def relu_net(*between):
    model = net("gap")
    model.features = nn.Sequential(model.features, *between)
    return model


@few
@given(order=orders(K), s=powers_of_two(K))
def test_permutation_and_positive_scaling_fold_through_relu_and_max_pooling(order, s):
    model, T = relu_net(nn.ReLU(), nn.MaxPool2d((1, 2))), sym.permutation(order) @ sym.scaling(s)
    new, layer = folded(model, T, x=images())
    assert torch.equal(new(images()), model(images()))
    assert torch.equal(zerocam.activations(new, images(), layer=layer), T(tapped(model).A))


@pytest.mark.claim("F4")
@pytest.mark.parametrize(
    "T", [sym.sign_flip(E), sym.shift(T_SHIFT), Affine(torch.eye(K) + 1, torch.zeros(K))]
)
def test_nothing_else_folds_through_a_relu(T):
    with pytest.raises(ValueError, match="only permutation and positive scaling commute with it"):
        folded(relu_net(nn.ReLU()), T)
    # The reason is right: relu(T z) is not T relu(z).
    z = integers(1, K, h, w, seed=9)
    assert not torch.equal(T(z).relu(), T(z.relu()))


def relu6_net():
    """Its ReLU6 is off, in between and fully on, each at a third of the places or so."""
    model = relu_net(nn.ReLU6())
    with torch.no_grad():
        model.features[0].weight.copy_(integers(K, 2, 3, 3, seed=70, bound=1))
    return model


@pytest.mark.claim("F4")
@few
@given(order=orders(K), turned=st.lists(st.booleans(), min_size=K, max_size=K).map(torch.tensor))
def test_a_relu6_lets_on_and_off_be_exchanged(order, turned):
    """No new module, the same scores, and a map that has moved by alpha' . 6."""
    model, T = relu6_net(), sym.turn_relu6(turned) @ sym.permutation(order)
    new, layer = folded(model, T, x=images())
    assert [type(m) for m in new.modules()] == [type(m) for m in model.modules()]
    assert torch.equal(new(images()), model(images()))
    tap, A = tapped(model), zerocam.activations(new, images(), layer=layer)
    assert all(where.any() for where in (tap.A == 0, (tap.A > 0) & (tap.A < 6), tap.A == 6))
    kept, moved = tap.A[:, order][:, ~turned], tap.A[:, order][:, turned]
    assert torch.equal(A[:, ~turned], kept)
    assert torch.equal(A[:, turned], 6 - moved)
    alpha = zerocam.channel_weights(tap.G)[:, order][:, turned]
    moved_by = -6 * alpha.sum(1)[:, None, None]  # alpha' . t, and alpha' = -alpha where turned
    assert torch.equal(signed(new, layer=layer), signed(model) + moved_by)


@pytest.mark.claim("F4")
@pytest.mark.parametrize(
    "T",
    [
        sym.sign_flip(E),
        sym.shift(T_SHIFT),
        sym.shift(torch.full((K,), 6.0)),
        sym.scaling(torch.tensor([2.0, 1.0, 1.0])),
        sym.shift(torch.full((K,), 12.0)) @ sym.sign_flip(-torch.ones(K)),
        sym.shift(torch.full((K,), 9.0)) @ sym.mixing(-2.0 * torch.eye(K)),
        Affine(torch.eye(K) - 2 / K, torch.full((K,), 6.0)),
    ],
)  # the last turns along a diagonal: its rows sum to -1, but mix channels
def test_nothing_else_folds_through_a_relu6(T):
    with pytest.raises(ValueError, match="only permutations and a -> 6 - a commute with it"):
        folded(relu6_net(), T)
    z = integers(1, K, h, w, seed=9)
    assert not torch.allclose(F.relu6(T(z)), T(F.relu6(z)))


def test_a_shift_folds_through_max_pooling_but_a_sign_flip_does_not():
    model, T = relu_net(nn.MaxPool2d((1, 2))), sym.shift(T_SHIFT)
    assert torch.equal(folded(model, T, x=images())[0](images()), model(images()))
    with pytest.raises(ValueError, match="takes a maximum"):
        folded(model, sym.sign_flip(E))


def test_scales_and_shifts_fold_into_a_batchnorm_and_mixings_do_not():
    model = relu_net(nn.BatchNorm2d(K).double().eval())
    norm = model.features[1]
    with torch.no_grad():
        norm.weight.copy_(integers(K, seed=1)), norm.bias.copy_(integers(K, seed=2))
    T = sym.affine(torch.tensor([2.0, -0.5, 4.0]).diag(), T_SHIFT)
    new, layer = folded(model, T, x=images())
    A = zerocam.activations(new, images(), layer=layer)
    torch.testing.assert_close(A, T(tapped(model).A), rtol=1e-12, atol=1e-12)  # BN divides
    with pytest.raises(ValueError, match="BatchNorm or grouped convolution, which keeps"):
        folded(model, sym.permutation(torch.tensor([1, 2, 0])))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_scales_and_shifts_fold_into_a_grouped_convolution_and_mixings_do_not(groups):
    """Its output channels read different inputs, so they cannot stand in for each other."""
    grouped = nn.Conv2d(4, 4, 3, groups=groups).double()
    model = nn.Sequential(grouped, nn.Conv2d(4, C, 1).double(), *heads()["gap"][:2])
    x = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    for kind in sym.KINDS[:-2]:
        T = sym.random_symmetry(kind, 4)
        if groups > 1 and kind in ("permutation", "mixing", "affine"):
            with pytest.raises(ValueError, match=f"got a {kind} at a .* keeps channels apart"):
                reparametrize(model, "0", T, fold=True)
        else:
            new, _ = reparametrize(model, "0", T, fold=True)
            torch.testing.assert_close(new(x), model(x), rtol=1e-12, atol=1e-12)


def test_a_layer_that_does_more_than_its_weights_say_is_not_folded_into():
    """2 (W x + b) with b + t is not 2 (W x + b) + t."""
    model = relu_net(conv(K, K, 5))
    model.features[1].register_forward_hook(lambda _m, _a, out: 2 * out)
    with pytest.raises(ValueError, match="the layer before: moved by"):
        folded(model, sym.shift(T_SHIFT))
    folded(model, sym.scaling(torch.tensor([2.0, 4.0, 8.0])), x=images())  # which 2 does not mind


class Functional(nn.Module):
    """relu and pooling as functions, with a name for what happens in between."""

    def __init__(self, between):
        super().__init__()
        self.features, self.between, self.last = conv(K, 2, 70), between, linear(C, K, 10)

    def forward(self, x):
        return self.last(self.between(self.features(x)).mean((2, 3)))


def test_folding_refuses_what_it_does_not_know():
    T = sym.scaling(torch.tensor([2.0, 4.0, 8.0]))
    with pytest.raises(ValueError, match="'mean' is not known to let it by"):
        folded(Functional(torch.relu), T)
    with pytest.raises(ValueError, match="is not the next link of a plain chain"):
        folded(Functional(lambda A: A + A.tanh()), T)
    with pytest.raises(ValueError, match=r"cannot be traced .*; use the inserted form"):
        folded(Functional(lambda A: A if A.sum() > 0 else -A), T)
    with pytest.raises(ValueError, match="got 2 channels between weights"):
        folded(net("gap"), sym.shift(torch.ones(2)))
    twice = relu_net(conv(K, K, 5))
    twice.features.append(twice.features[1])
    with pytest.raises(ValueError, match="plain chain"):
        folded(twice, T)
    twice.features, twice.head[2] = twice.features[0], nn.Sequential(nn.Linear(K, K), nn.ReLU())
    twice.head.extend([twice.head[2][0], linear(C, K, 1)])
    with pytest.raises(ValueError, match="'head_2_0' is not known"):  # the same layer again
        folded(twice, T)
    twice.unused = nn.ReLU()
    with pytest.raises(ValueError, match="no weights around 'unused'"):
        reparametrize(twice, "unused", T, fold=True)


class Flat(nn.Module):
    """Positions and channels on one axis, as `flatten` makes it of A (1, 4, 2, 3)."""

    def __init__(self, made, flatten, inputs):
        super().__init__()
        self.features, self.flatten, self.last = made, flatten, linear(C, inputs, 10)

    def forward(self, x):
        return self.last(self.flatten(self.features(x)))


@pytest.mark.parametrize(
    ("flatten", "inputs"),
    [
        (nn.Flatten(2), 6),
        (nn.Flatten(1, 2), 3),
        (lambda A: torch.flatten(A, 2), 6),
        (lambda A: A.flatten(start_dim=2), 6),
        (lambda A: torch.flatten(A, end_dim=2), 3),
        (nn.Identity(), 3),
    ],
)
def test_a_linear_layer_along_other_axes_is_not_folded_into(flatten, inputs):
    """As many inputs as there are positions, or columns: no weight of it stands for a channel."""
    model, T = Flat(conv(inputs, 2, 70), flatten, inputs), sym.scaling(2.0 ** torch.arange(inputs))
    x = integers(2, 2, 2, 3, seed=8, bound=3)
    assert model(x).shape[-1] == C
    with pytest.raises(ValueError, match="works along another axis than that of the channels"):
        reparametrize(model, "features", T, fold=True)
    assert torch.equal(reparametrize(model, "features", T, x=x)[0](x), model(x))


@pytest.mark.parametrize(
    "flatten",
    [nn.Flatten(), nn.Flatten(1, 3), lambda A: torch.flatten(A, 1), lambda A: A.flatten(1, -1),
     lambda A: torch.flatten(input=A, start_dim=1)],
)  # fmt: skip
def test_behind_a_flatten_of_all_but_the_images_it_is(flatten):
    model, x = Flat(conv(4, 2, 70), flatten, 24), integers(2, 2, 2, 3, seed=8, bound=3)
    T = sym.scaling(torch.tensor([2.0, 4, 1, 8])) @ sym.permutation(torch.tensor([1, 2, 3, 0]))
    assert torch.equal(reparametrize(model, "features", T, fold=True)[0](x), model(x))


def test_what_pools_or_convolves_along_the_channels_of_a_linear_layer_does_not_let_by():
    T = sym.scaling(torch.tensor([2.0, 4, 1]))
    for along in (nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d((1, 3)), nn.Conv2d(3, 3, 1).double()):
        model = nn.Sequential(linear(3, 3, 1), along, linear(2, 3, 2))
        with pytest.raises(ValueError, match="'_1' works along another axis"):
            reparametrize(model, "0", T, fold=True)
    for between in (nn.ReLU(), nn.Flatten()):
        model = nn.Sequential(linear(3, 3, 1), between, linear(2, 3, 2))
        new, _ = reparametrize(model, "0", T, fold=True)
        x = integers(4, 3, seed=3)
        assert torch.equal(new(x), model(x))


def pruned(m):
    for name in ("weight", "bias"):
        prune.l1_unstructured(m, name, 0.5)
    return m


@pytest.mark.parametrize("made", [parametrizations.weight_norm, pruned, "bias alone"])
def test_weights_that_a_hook_makes_become_weights_of_their_own(made):
    made = (lambda m: prune.l1_unstructured(m, "bias", 0.5)) if made == "bias alone" else made
    model = Flat(made(conv(4, 2, 70)), nn.Flatten(), 24)
    made(model.last)
    x, T = integers(2, 2, 2, 3, seed=8, bound=3), sym.scaling(torch.tensor([2.0, 4, 1, 8]))
    new, layer = reparametrize(model, "features", T, fold=True, x=x)
    torch.testing.assert_close(new(x), model(x), rtol=1e-12, atol=1e-12)
    A = zerocam.activations(new, x, layer=layer)
    torch.testing.assert_close(A, T(zerocam.activations(model, x, layer=layer)))
    assert sorted(dict(new.named_parameters())) == [f"{m}.{p}" for m in ("features", "last")
                                                    for p in ("bias", "weight")]  # fmt: skip
    assert all(p.requires_grad for p in new.parameters())


def test_a_hook_of_ones_own_beside_made_weights_is_not_lost():
    model = Flat(pruned(conv(4, 2, 70)), nn.Flatten(), 24)
    model.features.register_forward_pre_hook(lambda m, args: (2 * args[0],))
    with pytest.raises(ValueError, match="the layer before: moved by"):
        reparametrize(model, "features", sym.scaling(torch.tensor([2.0, 4, 1, 8])), fold=True)


def test_a_batchnorm_without_weights_takes_none_in():
    model = relu_net(nn.BatchNorm2d(K, affine=False).double().eval())
    with pytest.raises(ValueError, match="got a BatchNorm2d without weights; use the inserted"):
        folded(model, sym.scaling(torch.tensor([2.0, 4.0, 8.0])))


# ---- reparametrize: the copy, the original, the check -------------------------------------------


def test_the_original_is_not_touched_also_on_failure():
    model, x = relu_net(nn.Dropout()).train(), images()
    model.features.register_forward_hook(lambda *_: None)
    model.features[0].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    names = [name for name, _ in model.named_modules()]
    random = torch.get_rng_state()
    bad = sym.affine(torch.eye(K), torch.full((K,), 1e300, dtype=torch.float64))
    for T, kw in [
        (sym.shift(T_SHIFT), {}),
        (sym.shift(T_SHIFT), {"fold": True}),
        (SoftmaxShift(T_SHIFT), {}),
        (bad, {}),
        (bad, {"fold": True}),
    ]:
        if T is bad:
            with pytest.raises(ValueError, match="moved by"):
                reparametrize(model, "features", T, x=x, **kw)
        else:
            new, _ = reparametrize(model, "features", T, x=x, **kw)
            assert new is not model
            assert new.training
            assert not new.get_submodule("features.original.0" if not kw and T.kind == "shift"
                                         else "features.0").training  # fmt: skip
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()]
    assert names == [name for name, _ in model.named_modules()]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert len(model.features._forward_hooks) == 1
    assert all(p.grad is None for p in model.parameters())


def test_moved_predictions_are_refused_with_the_measured_difference():
    class Lossy(Affine):
        """Forgets its shift on the way back."""

        def inverse(self):
            return Lossy(super().inverse().matrix, torch.zeros(K).double())

    T = Lossy(torch.eye(K).double(), torch.ones(K).double())
    with pytest.raises(ValueError, match=r"random activations: moved by 0\.\d+ of the largest"):
        reparametrize(net("gap"), "features", T)
    uneven = sym.mixing(torch.tensor([[3.0, 1, 0], [0, 3, 1], [1, 0, 3]]))
    with pytest.raises(ValueError, match=r"moved by .* wanted at most 1e-30"):
        reparametrize(net("gap").float(), "features", uneven, tolerance=1e-30)


def test_a_large_common_number_does_not_hide_moved_predictions():
    """30,000 in all scores, and a head that reads the first position."""

    class Far(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Tanh(), nn.Linear(2, 3)
            self.head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])

        def forward(self, x):
            return 30_000 + self.head(self.layer(x)[:, :, 0, 0])

    x = images().float()
    model, T = Far(), sym.Places(torch.arange(h * w).roll(1))
    with pytest.raises(ValueError, match="softmax of the predictions: moved by 0"):
        reparametrize(model, "layer", T, x=x)
    told, _ = reparametrize(model, "layer", sym.shift(torch.tensor([1.0, 2.0])), x=x)
    torch.testing.assert_close(told(x), model(x))  # rounded at 30,000, and accepted


@pytest.mark.parametrize("fold", [False, True])
def test_predictions_that_are_all_zero_have_not_moved(fold):
    model = relu_net(conv(K, K, 5))
    nn.init.zeros_(model.head[-1].weight), nn.init.zeros_(model.head[-1].bias)
    T = sym.scaling(torch.tensor([2.0, 4.0, 8.0]))
    new, _ = reparametrize(model, "features", T, fold=fold, x=images())
    assert not new(images()).any()


@pytest.mark.parametrize("fold", [False, True])
def test_a_copy_made_in_inference_mode_can_be_explained(fold):
    model, T = relu_net(conv(K, K, 5)), sym.scaling(torch.tensor([2.0, 4.0, 8.0]))
    with torch.inference_mode():
        new, layer = reparametrize(model, "features", T, fold=fold, x=images())
    assert torch.equal(signed(new, layer), signed(model))


def test_a_softmax_shift_goes_to_the_layer_of_the_scores_whatever_is_registered_last():
    model = net("mlp")
    model.head = nn.Sequential(*model.head[:-1], Backwards())
    v = integers(5, seed=1)
    new, _ = reparametrize(model, "features", SoftmaxShift(v), x=images())
    assert torch.equal(new.head[-1].last.weight, model.head[-1].last.weight + v)
    assert torch.equal(new.head[-1].first.weight, model.head[-1].first.weight)


def test_a_softmax_shift_that_moves_a_prediction_is_refused():
    """Here by taking scores below zero, where a ReLU keeps them."""
    model = net("gap")
    model.head.append(nn.Hardtanh(-1e4, 1e4))
    reparametrize(model, "features", SoftmaxShift(T_SHIFT), x=images())
    with pytest.raises(ValueError, match="predictions: moved by"):
        reparametrize(model, "features", SoftmaxShift(T_SHIFT, 1e5), x=images())


def test_without_images_nobody_can_tell_where_the_scores_are_read():
    with pytest.raises(ValueError, match="softmax shift: got no x, wanted images; only trying"):
        reparametrize(net("gap"), "features", SoftmaxShift(T_SHIFT))


def test_parameters_stay_trainable_and_tied_weights_are_untied():
    model = Net(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(K, K, 1), Square()))
    model.head.append(nn.Linear(K, K).double())
    model.head[4].weight = model.head[2].weight
    model.head[2].requires_grad_(False)
    new, _ = folded(model, sym.shift(T_SHIFT) @ sym.mixing(torch.eye(K) * 2), x=images())
    assert not new.head[2].weight.requires_grad
    assert new.features.weight.requires_grad
    assert torch.equal(new.head[4].weight, model.head[4].weight)


class Tokens(nn.Module):
    """Tokens (N, T, K), or channels last (N, h, w, K)."""

    def __init__(self, last):
        super().__init__()
        self.features, self.tokens, self.head = conv(K, 2, 70), nn.Identity(), linear(C, K, 10)
        self.last = last

    def forward(self, x):
        A = self.features(x).permute(0, 2, 3, 1)
        A = self.tokens(A if self.last else A.flatten(1, 2))
        return self.head(A.flatten(1, -2).mean(1))


@few
@given(T=AFFINE)
def test_channels_may_be_last(T):
    for last, reshape in ((True, zerocam.channels_first), (False, zerocam.tokens_to_map(h, w))):
        model = Tokens(last)
        new, layer = reparametrize(model, "tokens", T, x=images())
        M, moved = (
            signed(m, at, target=targets.contrast(1, 2), reshape=reshape,
                   reference=references.spatial_mean)
            for m, at in ((model, "tokens"), (new, layer))
        )  # fmt: skip
        assert torch.equal(moved, M)
        assert torch.equal(zerocam.activations(new, images(), layer=layer, reshape=reshape),
                           T(tapped(model).A))  # fmt: skip


class Encoded(nn.Module):
    """Patches of an image, a transformer of torch's own, the mean of its tokens."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.patches = nn.Conv2d(2, 8, 2, stride=2)
            block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, C)

    def forward(self, x):
        later = torch.ones(16, 16).triu(1).bool()  # a mask, given by its name
        return self.head(self.blocks(self.patches(x).flatten(2).mT, mask=later).mean(1))


@pytest.mark.parametrize("layer", ["blocks.layers.0", "blocks.layers.1.norm1"])
def test_a_layer_may_take_keywords_and_have_its_attributes_read(layer):
    """torch's encoder hands its layers masks, and looks into them before it runs them."""
    model, x = Encoded().eval(), torch.randn(2, 2, 8, 8, generator=torch.manual_seed(1))
    T = sym.random_symmetry("affine", 8, seed=3)
    changed, at = reparametrize(model, layer, T, x=x)
    with torch.no_grad():
        torch.testing.assert_close(changed(x), model(x), rtol=1e-4, atol=1e-4)
    how = {"relu": False, "reshape": zerocam.tokens_to_map(4, 4)}
    spatial = {"reference": references.spatial_mean}
    before = zerocam.grad_cam(model, x, 1, layer=layer, **how, **spatial)
    after = zerocam.grad_cam(changed, x, 1, layer=at, **how, **spatial)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_channel_dim_decides_where_the_shape_does_not():
    A, T = integers(2, K, 5, K, seed=1), sym.shift(T_SHIFT)
    assert torch.equal(T(A), A + T_SHIFT[:, None, None])
    assert torch.equal(T(A, -1), A + T_SHIFT)
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    new, layer = reparametrize(model, "0", T, x=A, channel_dim=-1)
    place = new.get_submodule("0")
    assert torch.equal(place.change(place.original(A)), A + T_SHIFT)
    assert layer == "0.change"


def test_a_layer_registered_twice_is_changed_in_both_places():
    model = net("gap")
    model.alias = model.features
    new, layer = reparametrize(model, "features", sym.shift(T_SHIFT), x=images())
    assert new.alias is new.features
    assert layer == "features.change"


def test_the_precision_of_the_model_is_kept():
    T = sym.random_symmetry("affine", K, seed=1)
    for dtype in (torch.float32, torch.float64):
        model, x = net("mlp").to(dtype), images().to(dtype)
        for fold in (False, True):
            new, layer = reparametrize(model, "features", T, x=x, fold=fold)
            assert new(x).dtype == zerocam.activations(new, x, layer=layer).dtype == dtype


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sym.mixing(torch.ones(3, 3)), "got a singular matrix"),
        (lambda: sym.affine(torch.ones(2, 2), torch.ones(2)), "singular"),
        (lambda: sym.mixing(torch.full((2, 2), torch.nan)), "singular matrix, or nearly, or NaN"),
        (lambda: sym.mixing(torch.tensor([[1.0, 1.0], [0.0, 0.0]])), "got a singular matrix"),
        (lambda: sym.mixing(torch.tensor([1.0, torch.nan]).diag()), "or nearly, or NaN"),
        (lambda: sym.mixing(torch.tensor([1.0, torch.inf]).diag()), "or nearly, or NaN"),
        (lambda: sym.scaling(torch.tensor([1.0, 0.0])), "wanted s > 0; for s < 0 add a sign_flip"),
        (lambda: sym.sign_flip(torch.tensor([1.0, 2.0])), r"wanted only \+1 and -1"),
        (lambda: sym.turn_relu6(torch.ones(2)), "got torch.float32, wanted True where a channel"),
        (lambda: sym.random_symmetry("shear", 3), "'shear', wanted one of permutation, scaling"),
        (lambda: sym.shift(torch.ones(4))(torch.ones(2, K, 5, 6)), "wanted 4 channels on axis 1"),
        (lambda: SoftmaxShift(torch.ones(4))(torch.ones(C, K)), "v of length 4, wanted 3"),
        (lambda: Places(torch.arange(5))(torch.ones(2, K, h, w)), "with 8 positions, wanted 5"),
        (lambda: Places(torch.tensor([1, 0]), lambda A: A.mean(1, True))(torch.ones(1, 3, 1, 2)),
         "reshape that does more than rearrange"),
        (lambda: reparametrize(net("gap"), "features", Places(torch.arange(Z))),
         "places: got no x, or fold=True"),
        (lambda: reparametrize(net("gap"), "features", Places(torch.arange(Z)), x=images(),
                               fold=True), "places: got no x, or fold=True"),
        (lambda: last_linear(nn.ReLU()), "a ReLU without nn.Linear"),
        (lambda: reparametrize(nn.Sequential(nn.Linear(3, 1)), "0", SoftmaxShift(torch.ones(3))),
         "softmax shift: got one score from '0', wanted two or more"),
        (lambda: reparametrize(net("gap"), "feature", sym.shift(T_SHIFT)), "nearest: features"),
        (lambda: reparametrize(net("gap"), "", sym.shift(T_SHIFT)), "got the model itself"),
        (lambda: reparametrize(Pair(), "0", sym.shift(T_SHIFT), x=images()), "tuple as its output"),
        (lambda: reparametrize(net("gap"), "features", sym.shift(torch.ones(5)), x=images()),
         "wanted 5 channels"),
    ],
)  # fmt: skip
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Pair(nn.Sequential):
    """A layer that returns two tensors."""

    def __init__(self):
        super().__init__(nn.Identity())
        self[0].forward = lambda A: (A, A)

    def forward(self, x):
        return self[0](x)[0]
