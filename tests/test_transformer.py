"""Chapter 13: what stands in for a head, and the other ways to write a transformer.

Tolerances: the networks compute in float64 with numbers of size 1 to 100 and some hundred
additions, so that rounding stays below 1e-12; 1e-9 leaves room for other processors.
"""

import copy
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VisionTransformer

import zerocam
from zerocam.hooks import hooked, tokens_to_map
from zerocam.lab import studies, transformer
from zerocam.lab.transformer import FREEDOMS, REFERENCES, DigitTransformer
from zerocam.refusals import Refused

GRID = tokens_to_map(4, 4, skip=1)


def random(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


@pytest.fixture(scope="module")
def net():
    """Random weights, twice as large as usual, so that every part has an effect."""
    model = DigitTransformer(seed=3)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.mul_(2).add_(0.1 * random(*p.shape, seed=i))
    return model


@pytest.fixture(scope="module")
def trained():
    """Trained for a third of the usual time."""
    return transformer.train_transformer(epochs=5)


@pytest.fixture(scope="module")
def data():
    """Unseen digits with their labels, and others for what is usual."""
    x, labels = transformer.digit_images("test")
    return x[:20], labels[:20], transformer.digit_images("train")[0][:15]


def losses(model, data, reference):
    x, labels, others = data
    known = transformer.head_outputs(model, others)
    return transformer.added_loss(model, x, labels, known, reference).flatten()


def shifts(size=1.0):
    return size * random(2, 32, seed=7)


# ---- T1: the value bias -------------------------------------------------------------------------


def uniform_head():
    """One head that looks at all tokens alike: with four of them, each weight is exactly 1/4."""
    attention = transformer.Attention(2, 1).double()
    with torch.no_grad():
        for part in (attention.query, attention.key):
            part.weight.zero_(), part.bias.zero_()
        attention.value.weight.copy_(torch.eye(2))
        attention.value.bias.copy_(torch.tensor([0.0, 1]))
        attention.out.weight.copy_(torch.tensor([[3.0, 5], [2, -1]]))
        attention.out.bias.copy_(torch.tensor([12.0, 8]))
    return attention


@pytest.mark.claim("T1")
def test_one_head_and_four_tokens_by_hand():
    u = torch.tensor([[[4.0, 0], [0, 8], [8, 4], [0, 0]]]).double()
    attention = uniform_head()
    seen = []
    for t in ([0, 0], [16, -32]):  # multiples of the number of tokens: all sums are exact
        transformer.move_value_bias(attention, torch.tensor(t).double())
        with hooked([attention.heads], lambda _m, _a, z: seen.append(z[0, 0].tolist())):
            assert attention(u)[0, 0].tolist() == [3 * 3 + 5 * 4 + 12, 2 * 3 - 4 + 8]
    assert seen == [[3, 4], [19, -28]]
    assert attention.out.bias.tolist() == [12 - 3 * 16 + 5 * 32, 8 - 2 * 16 - 32]


@pytest.mark.claim("T1")
def test_the_value_bias_moves_no_score_and_every_head_by_t(net, data):
    x, t = data[0], shifts()
    twin = transformer.value_shifted(net, t)
    torch.testing.assert_close(twin(x), net(x), rtol=0, atol=1e-9)
    gap = transformer.head_outputs(twin, x) - transformer.head_outputs(net, x)
    torch.testing.assert_close(gap, t[:, None, None].expand_as(gap), rtol=0, atol=1e-9)
    half = copy.deepcopy(net)  # without the way back it is another function
    half.blocks[0].attention.value.bias.data += t[0]
    assert not torch.allclose(half(x), net(x))


@pytest.mark.claim("T1")
def test_zero_in_the_twin_is_minus_t_here_and_the_mean_if_t_is_minus_the_mean(net, data):
    one = random(8, seed=5)
    twin = transformer.value_shifted(net, one.repeat(2, 4))
    here = losses(net, data, lambda z, known: -one)
    torch.testing.assert_close(losses(twin, data, REFERENCES["zero"]), here, rtol=0, atol=1e-9)
    mean = transformer.head_outputs(net, data[2]).mean((1, 2))
    twin = transformer.value_shifted(net, -mean)
    found, wanted = losses(twin, data, REFERENCES["zero"]), losses(net, data, REFERENCES["mean"])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    assert (losses(net, data, REFERENCES["zero"]) - wanted).abs().min() > 1e-6


class Joint(nn.Module):
    """Attention as timm writes it: one layer for queries, keys and values, and `proj`."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(6, 18).double(), nn.Linear(6, 6).double()

    def forward(self, u):
        q, k, v = self.qkv(u).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.claim("T1")
def test_it_moves_in_the_attention_of_torchvision_and_in_that_of_timm():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = VisionTransformer(16, 8, 2, 2, 12, 24, num_classes=5).double().eval()
        joint = Joint()
    for p in (*vit.parameters(), *joint.parameters()):
        p.data += 0.3 * random(*p.shape, seed=p.numel())
    x, u = random(3, 3, 16, 16), random(3, 5, 6)
    before, wide = vit(x), random(12, seed=1)
    for block in vit.encoder.layers:
        transformer.move_value_bias(block.self_attention, wide)
    torch.testing.assert_close(vit(x), before, rtol=0, atol=1e-9)
    before = joint(u)
    biases = joint.qkv.bias.detach().clone()
    transformer.move_value_bias(joint, wide[:6])
    torch.testing.assert_close(joint(u), before, rtol=0, atol=1e-9)
    torch.testing.assert_close(joint.qkv.bias - biases, torch.cat([torch.zeros(12), wide[:6]]))


@pytest.mark.claim("T5")
@pytest.mark.parametrize(
    "attention",
    [nn.MultiheadAttention(4, 2, bias=False), transformer.Attention(4, 2, bias=False)],
    ids=["torch", "ours"],
)
def test_without_biases_there_is_no_place_for_t(attention):
    with pytest.raises(ValueError, match="without biases"):
        transformer.move_value_bias(attention, torch.ones(4))


class Normed(Joint):
    """With a norm between the heads and the output, as timm's `scale_norm`."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3).double()

    def forward(self, u):
        q, k, v = self.qkv(u).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        heads = self.norm(F.scaled_dot_product_attention(q, k, v))
        return self.proj(heads.transpose(1, 2).flatten(2))


class Unlike(Joint):
    """With weights that sum to another number than one: a sink takes half."""

    def forward(self, u):
        q, k, v = self.qkv(u).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return self.proj((F.scaled_dot_product_attention(q, k, v) / 2).transpose(1, 2).flatten(2))


@pytest.mark.claim("T1")
@pytest.mark.parametrize(
    "make",
    [
        Normed,
        Unlike,
        lambda: nn.MultiheadAttention(6, 2, add_zero_attn=True, dtype=torch.float64),
        lambda: nn.MultiheadAttention(6, 2, add_bias_kv=True, dtype=torch.float64),
    ],
    ids=["norm", "sink", "zero token", "token of its own"],
)
def test_where_the_output_would_change_nothing_is_moved(make):
    attention = make()
    before = copy.deepcopy(attention.state_dict())
    with pytest.raises(ValueError, match="answers otherwise once moved"):
        transformer.move_value_bias(attention, random(6, seed=2))
    for name, value in attention.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.claim("T1")
def test_in_32_bits_a_large_move_is_rounding():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2).eval()
    u, t = random(3, 5, 8, seed=4).float(), 256 * random(8, seed=3).float()
    values, written = (
        p.detach().clone() for p in (attention.in_proj_bias, attention.out_proj.bias)
    )
    before = attention(u, u, u)[0]
    transformer.move_value_bias(attention, t)
    torch.testing.assert_close(attention.in_proj_bias - values, torch.cat([torch.zeros(16), t]))
    assert (attention.out_proj.bias - written).abs().max() > 100
    gap = (attention(u, u, u)[0] - before).abs().max()
    assert 1e-6 < gap < 1e-3  # more than 1e-7, the rounding of the answer itself, and no more


# ---- taking heads away --------------------------------------------------------------------------


def test_a_head_that_nothing_reads_costs_nothing_and_the_others_do(net, data):
    deaf = copy.deepcopy(net)
    deaf.blocks[1].attention.out.weight.data[:, 16:24] = 0  # head 7 of 8
    before = deaf(data[0])
    lost = losses(deaf, data, REFERENCES["zero"])
    assert lost[6] == 0
    assert (lost.abs() > 1e-6).tolist() == [i != 6 for i in range(8)]
    assert torch.equal(deaf(data[0]), before)  # no hook was left behind
    assert losses(net, data, lambda z, known: z).abs().max() == 0


@pytest.mark.claim("T4")
@pytest.mark.parametrize("move", ["value bias", "value and output"])
@pytest.mark.parametrize("how", REFERENCES)
def test_each_stand_in_moves_along_or_does_not(net, data, how, move):
    other = transformer.rewritten(net, move, seed=2)
    gap = (losses(other, data, REFERENCES[how]) - losses(net, data, REFERENCES[how])).abs().max()
    moves = (how, move) in {("zero", "value bias"), ("modal", "value and output")}
    assert gap > 1e-3 if moves else gap < 1e-9


@pytest.mark.claim("T4")
def test_the_stand_ins_themselves():
    z, known = random(4, 5, 3, seed=1), random(50, 5, 3, seed=2)
    Q, t = random(3, 3, seed=3), random(3, seed=4)

    def gap(how, Q, t):
        r = REFERENCES[how]
        moved = r(z @ Q.T + t, known @ Q.T + t)
        return (moved - (r(z, known) @ Q.T + t)).abs().max()

    for how in ("mean", "resample"):
        assert gap(how, Q, t) < 1e-12
    scales = torch.diag(torch.tensor([2.0, 0.5, 3])).double()
    assert gap("modal", scales, t) < 1e-12
    assert gap("modal", Q, 0 * t) > 0.1
    assert gap("zero", Q, 0 * t) == 0
    assert gap("zero", scales, t) > 0.1
    other = REFERENCES["resample"](z, known)
    assert all(any(torch.equal(o, k) for k in known) for o in other)  # outputs for real images
    assert not torch.equal(other[0], other[1])


@pytest.mark.claim("T4")
def test_the_modal_value_lies_where_values_lie_closest():
    crowd = torch.tensor([0.0, 9, 5.0, 5.25, 5.5, 20, 30, 40, 50, 60])
    known = torch.stack([crowd, -crowd], 1)[:, None]
    assert transformer.modal(known, share=0.3).tolist() == [5.25, -5.25]


@pytest.mark.slow
@pytest.mark.claim("T2")
def test_in_a_trained_network_any_head_can_be_made_the_most_important(trained, data):
    x, labels = transformer.digit_images("test")
    x, labels = x[:60], labels[:60]
    known = transformer.head_outputs(trained, data[2])
    for head in range(8):
        t = transformer.aimed_shift(trained, x, labels, known, head)
        assert t.view(8, 8).all(1).tolist() == [i == head for i in range(8)]
        twin = transformer.value_shifted(trained, t)
        lost = losses(twin, (x, labels, data[2]), REFERENCES["zero"])
        assert lost.argmax() == head
        torch.testing.assert_close(twin(x), trained(x), rtol=0, atol=1e-9)


@pytest.mark.claim("T2")
def test_a_head_that_nothing_reads_cannot_be_made_so(net, data):
    deaf = copy.deepcopy(net)
    deaf.blocks[0].attention.out.weight.data[:, 8:16] = 0
    known = transformer.head_outputs(deaf, data[2])
    with pytest.raises(ValueError, match="makes head 1 the first"):
        transformer.aimed_shift(deaf, *data[:2], known, 1)


@pytest.mark.claim("T3")
def test_twenty_networks_keep_what_is_a_law_and_change_what_is_not():
    result = studies.load("transformer_heads")
    assert len(result.seeds) == 20
    for key in ("kept", "same_mean", "same_resample", "same_modal", "aimed"):
        assert result[key].min() == 1
    low, high = result.interval("first")
    assert 0.3 < low < high < 0.7
    assert 0.6 < result.interval("change")[0] < result.interval("change")[1] < 0.9
    assert result.interval("order")[0] > 0.8
    assert result["accuracy"].min() > 0.8


@pytest.mark.slow
def test_training_is_the_same_bit_for_bit_and_touches_no_global_state(trained):
    state = torch.get_rng_state()
    one, two = (transformer.train_transformer(4, epochs=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
    x, labels = transformer.digit_images("test")
    assert (trained(x).argmax(1) == labels).double().mean() > 0.6


# ---- T5: the family -----------------------------------------------------------------------------


@pytest.mark.claim("T5")
@pytest.mark.parametrize("name", FREEDOMS)
def test_no_probability_depends_on_it(net, data, name):
    x = data[0]
    other = transformer.rewritten(net, name)
    torch.testing.assert_close(other(x).softmax(1), net(x).softmax(1), rtol=0, atol=1e-9)
    pairs = list(zip(net.parameters(), other.parameters(), strict=True))
    assert max((p - q).abs().max() for p, q in pairs) > 0.1
    assert [p.shape for p, _ in pairs] == [q.shape for _, q in pairs]
    same = torch.allclose(other(x), net(x))
    assert same == (name != "centred head")  # there the scores move, all by the same


@pytest.mark.claim("T5")
@pytest.mark.parametrize("name", FREEDOMS)
def test_without_biases_a_freedom_works_or_says_that_it_needs_them(data, name):
    bare = DigitTransformer(bias=False, seed=1)
    with torch.no_grad():  # so that there is something to fold
        for i, norm in enumerate(m for m in bare.modules() if isinstance(m, nn.LayerNorm)):
            norm.weight.add_(0.3 * random(32, seed=i)), norm.bias.add_(random(32, seed=i + 9))
    if name in ("query and key", "value and output", "mean direction", "centred head"):
        gap = transformer.rewritten(bare, name)(data[0]).softmax(1) - bare(data[0]).softmax(1)
        assert gap.abs().max() < 1e-9
    else:
        with pytest.raises(Refused, match=r"got one without biases, wanted .*; this "):
            transformer.rewritten(bare, name)


@pytest.mark.claim("T5")
def test_what_each_freedom_touches(net):
    def touched(name):
        other = transformer.rewritten(net, name)
        pairs = zip(net.named_parameters(), other.parameters(), strict=True)
        return {n.replace("blocks.0.", "") for (n, p), q in pairs
                if not torch.equal(p, q) and "blocks.1" not in n}  # fmt: skip

    def both(*parts):
        return {f"attention.{p}.{w}" for p in parts for w in ("weight", "bias")}

    assert touched("value bias") == {"attention.value.bias", "attention.out.bias"}
    assert touched("value and output") == both("value") | {"attention.out.weight"}
    assert touched("query and key") == both("query", "key")
    assert touched("key bias") == {"attention.key.bias"}
    assert touched("centred head") == {"head.weight", "head.bias"}
    folded = transformer.rewritten(net, "LayerNorm folded")
    for norm in (m for m in folded.modules() if isinstance(m, nn.LayerNorm)):
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()


@pytest.mark.claim("T5")
@pytest.mark.parametrize(
    ("name", "keeps"),
    [
        ("value bias", True),
        ("value and output", True),
        ("key bias", True),
        ("LayerNorm folded", True),
        ("mean direction", False),
    ],
)
def test_rms_norm_keeps_them_but_for_the_mean_direction(data, name, keeps):
    model = DigitTransformer(norm=nn.RMSNorm, seed=1)
    model.norm.weight.data += 0.3 * random(32)
    gap = (transformer.rewritten(model, name)(data[0]) - model(data[0])).abs().max()
    assert gap < 1e-9 if keeps else gap > 0.01


@pytest.mark.claim("T5")
def test_with_tied_rows_the_mean_row_is_read_at_the_input():
    E, u = random(5, 3), random(3, seed=1)
    centred = E - E.mean(0)
    torch.testing.assert_close((centred @ u).softmax(0), (E @ u).softmax(0))  # as a head only
    assert not torch.allclose((centred @ centred[2]).softmax(0), (E @ E[2]).softmax(0))


def misfit(function, a, b):
    """How far c f(x) + d is from f(a x + b) at best, relative to its size."""
    x = torch.linspace(-12, 12, 481).double()
    basis = torch.stack([function(x), torch.ones_like(x)], 1)
    wanted = function(a * x + b)
    best = basis @ torch.linalg.lstsq(basis, wanted[:, None]).solution
    return ((best[:, 0] - wanted).norm() / wanted.norm()).item()


@pytest.mark.claim("T5")
def test_a_gelu_lets_no_recoding_of_one_unit_by_and_a_relu_a_positive_scale():
    ways = [(a, b) for a in (-2, -1, -0.5, 0.5, 1, 2) for b in (-1, 0, 1)]
    passed = {
        name: {way for way in ways if misfit(f, *way) < 1e-9}
        for name, f in (("gelu", F.gelu), ("relu", torch.relu))
    }
    assert passed == {"gelu": {(1, 0)}, "relu": {(0.5, 0), (1, 0), (2, 0)}}


# ---- T6: where ----------------------------------------------------------------------------------


def local_score(model, x, label, layer):
    target = zerocam.targets.centred(label)
    A, G, _, s = zerocam.tap(model, x, target, layer=layer, reshape=GRID)
    M = zerocam.signed_map(zerocam.channel_weights(G), A)
    return M - M.mean((1, 2), keepdim=True) + s[:, None, None] / 16, s


@pytest.mark.claim("T6")
def test_behind_the_last_block_the_patches_have_no_gradient(net, data):
    x = data[0][:2]
    with pytest.raises(ValueError, match="the class token"):
        zerocam.grad_cam(net, x, 3, layer="blocks.1", reshape=GRID)
    seen = []
    with hooked([net.blocks[1]], lambda _m, _a, u: seen.append(u) or u.retain_grad()):
        net(x)[:, 3].sum().backward()
    net.zero_grad()
    assert not seen[0].grad[:, 1:].any()
    assert seen[0].grad[:, 0].any()


@pytest.mark.claim("T6")
@pytest.mark.parametrize("layer", ["blocks.0", "blocks.0.attention.value"])
def test_the_local_score_adds_up_and_no_value_bias_moves_it(net, data, layer):
    x = data[0][:3]
    L, s = local_score(net, x, 3, layer)
    torch.testing.assert_close(L.sum((1, 2)), s)
    twin = transformer.value_shifted(net, shifts())
    torch.testing.assert_close(local_score(twin, x, 3, layer)[0], L, rtol=0, atol=1e-9)
    M, there = (
        zerocam.grad_cam(m, x, 3, layer=layer, reshape=GRID, relu=False) for m in (net, twin)
    )
    assert torch.allclose(there, M, atol=1e-9) == (layer == "blocks.0")  # behind, it is taken back


@pytest.mark.claim("T6")
def test_rollout_by_hand_and_what_it_does_not_read(net, data):
    alike = copy.deepcopy(net)
    for block in alike.blocks:
        block.attention.query.weight.data.zero_(), block.attention.query.bias.data.zero_()
    x = data[0][:2]
    # Each block: half stays, half is spread over 17 tokens.
    half, share = Fraction(1, 2), Fraction(1, 34)
    patch = share * (half + 17 * share) + half * share
    found = transformer.rollout(alike, x)
    torch.testing.assert_close(found, torch.full_like(found, float(patch)))
    rolled = transformer.rollout(net, x)
    assert rolled.std((1, 2)).min() > 1e-3
    assert rolled.sum((1, 2)).max() < 1
    for name in FREEDOMS:
        other = transformer.rollout(transformer.rewritten(net, name), x)
        torch.testing.assert_close(other, rolled, rtol=0, atol=1e-9)
    altered = copy.deepcopy(net)
    altered.blocks[-1].attention.value.weight.data *= -3
    assert torch.equal(transformer.rollout(altered, x), rolled)
    assert not torch.allclose(altered(x), net(x))


def test_rollout_goes_through_the_blocks_in_their_order(net, data):
    x = data[0][:1]
    maps = [zerocam.hooks.activations(net, x, layer=f"blocks.{i}.attention.weights",
                                      reshape=lambda w: w)[0].mean(0) for i in (0, 1)]  # fmt: skip
    first, second = ((w + torch.eye(17)) / 2 for w in maps)
    wanted = (second @ first)[0, 1:].view(4, 4)
    torch.testing.assert_close(transformer.rollout(net, x)[0], wanted)
    assert not torch.allclose((first @ second)[0, 1:].view(4, 4), wanted)


# ---- T7: directions and sparse features ---------------------------------------------------------


def ablated(head, u, known, *, affine):
    mean, r = known.mean(0), known[:10].mean(0) - known.mean(0)
    r = r / r.norm()
    return head(u - ((u - affine * mean) @ r)[:, None] * r)


@pytest.mark.claim("T7")
def test_a_direction_ablated_from_the_mean_does_not_notice_a_shift_that_the_head_takes_back():
    head, t = nn.Linear(6, 4).double(), random(6, seed=3)
    other = copy.deepcopy(head)
    other.bias.data -= head.weight.data @ t
    u, known = random(5, 6, seed=1), random(30, 6, seed=2)
    torch.testing.assert_close(other(u + t), head(u))
    for affine in (0, 1):
        before = ablated(head, u, known, affine=affine)
        after = ablated(other, u + t, known + t, affine=affine)
        assert torch.allclose(after, before) == bool(affine)


@pytest.mark.claim("T7")
def test_a_shifted_pre_bias_leaves_the_features_and_is_what_no_features_rebuild():
    W, V, c = random(7, 3), random(3, 7, seed=1), random(7, seed=2)
    u, b, t = (random(3, seed=seed) for seed in (3, 4, 5))

    def features(u, b):
        return (W @ (u - b) + c).relu()

    torch.testing.assert_close(features(u + t, b + t), features(u, b))
    assert not torch.allclose(features(u + t, b), features(u, b))
    torch.testing.assert_close(V @ features(u + t, b + t) + b + t, V @ features(u, b) + b + t)
    assert torch.equal(V @ torch.zeros(7).double() + b, b)
