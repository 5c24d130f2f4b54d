"""What the answers of book/self-test.md say of a network is so."""

import copy
import json
import re
from pathlib import Path

import torch
from torch import nn

from zerocam import grad_cam, metrics, references, targets
from zerocam.lab import transformer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "self-test.md").read_text(encoding="utf-8")
SECTIONS = re.compile(r'notebooks/([\w-]+\.ipynb)\)((?:,? (?:and )?"[^"]+")+)')


def parts():
    """A convolution, a BatchNorm, a head, two images, another convolution; all in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv, norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
        for values in (norm.running_mean, norm.weight.data, norm.bias.data):
            values.normal_()
        norm.running_var.uniform_(0.5, 2)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))
        x, behind = torch.randn(2, 3, 8, 9), nn.Conv2d(5, 5, 3)
    return conv.double(), norm.double().eval(), head.double(), x.double(), behind.double()


def signed(model, x, target=1, layer="0", **at):
    return grad_cam(model, x, target, layer=layer, relu=False, **at)


def spread(change):
    return (change.amax((1, 2)) - change.amin((1, 2))).max()


def test_fourteen_questions_each_with_an_answer_that_links_to_a_chapter():
    questions = re.split(r"^\*\*\d+\.\*\* ", PAGE, flags=re.M)[1:]
    assert len(questions) == 14
    assert all(q.count("<details><summary>Answer</summary>") == 1 for q in questions)
    assert all(re.search(r"notebooks/0[1-8]-", q) for q in questions)


def test_each_section_that_an_answer_names_stands_in_its_chapter():
    named = SECTIONS.findall(PAGE)
    assert len(named) > 10
    for chapter, sections in named:
        cells = json.loads((ROOT / "notebooks" / chapter).read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        titles = re.findall(r"^#+ (.*)", text, flags=re.M)
        for section in re.findall(r'"([^"]+)"', sections):
            assert any(title.startswith(section) for title in titles), (chapter, section)


def test_4_merging_a_batchnorm_moves_the_map_by_one_constant():
    conv, norm, head, x, _ = parts()
    merged = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm)
    before, after = nn.Sequential(conv, norm, head), nn.Sequential(merged, nn.Identity(), head)
    torch.testing.assert_close(after(x), before(x))
    change = signed(after, x) - signed(before, x)
    assert spread(change) < 1e-12 < 0.01 < change.abs().min()


def test_5_minmax_at_20_per_cent_sinks_below_zero_at_minus_a_quarter():
    for low, lit in ((-0.24, 1), (-0.26, 2)):  # the empty place is marked from there on
        m = torch.tensor([[[1.0, 0.0, low]]])
        assert metrics.above(m, 0.2, "minmax").sum() == lit
        assert torch.equal(metrics.above(m, 0.2), metrics.above(m.relu(), 0.2))


def test_6_a_bias_of_the_last_layer_moves_the_score_and_not_the_map():
    conv, norm, head, x, _ = parts()
    model = nn.Sequential(conv, norm, head)
    y, M = model(x).detach(), signed(model, x)
    head[2].bias.data[1] += 10
    torch.testing.assert_close(model(x)[:, 1], y[:, 1] + 10)
    assert torch.equal(signed(model, x), M)


class Normed(nn.Module):
    """A convolution, plus a number, then a LayerNorm over channels and a head."""

    def __init__(self, more):
        super().__init__()
        conv, _, self.head, *_ = parts()
        self.norm = nn.LayerNorm(5, dtype=torch.float64)
        conv.bias.data += more
        self.conv = conv

    def forward(self, x):
        return self.head(self.norm(self.conv(x).movedim(1, -1)).movedim(-1, 1).tanh())


def test_7_what_needs_no_compensation_cannot_move_the_map():
    x, (old, new) = parts()[3], (Normed(0), Normed(5))
    torch.testing.assert_close(new(x), old(x))
    torch.testing.assert_close(signed(new, x, layer="conv"), signed(old, x, layer="conv"))


def test_8_one_cold_labels_turn_the_map_of_the_best_head_over():
    conv, norm, *_ = parts()
    g = torch.Generator().manual_seed(1)
    x = torch.randn(60, 3, 8, 9, generator=g, dtype=torch.float64)
    A = norm(conv(x)).relu().detach()
    inputs = torch.cat([A.mean((2, 3)), torch.ones(60, 1).double()], 1)
    T = torch.eye(4, dtype=torch.float64)[torch.randint(4, (60,), generator=g)]
    hot, cold = (torch.linalg.lstsq(inputs, t, driver="gelsd").solution[:5].T for t in (T, 1 - T))
    torch.testing.assert_close(cold, -hot)


def test_10_a_bias_that_is_there_already_lifts_the_map():
    conv, _, head, x, behind = parts()
    model = nn.Sequential(conv, behind, nn.ReLU(), head)
    y, M = model(x).detach(), signed(model, x)
    t = torch.linspace(1, 2, 5).double()
    conv.bias.data += t
    behind.bias.data -= behind.weight.data.sum((2, 3)) @ t
    torch.testing.assert_close(model(x), y)
    lift = signed(model, x) - M
    assert spread(lift) < 1e-12 < lift.abs().min()


def test_12_a_temperature_scales_the_centred_map_and_bends_that_of_the_probability():
    conv, _, head, x, _ = parts()
    old, new = nn.Sequential(conv, head), nn.Sequential(conv, head, nn.Linear(4, 4, bias=False))
    new[2].weight.data = torch.eye(4).double() / 10
    for target in (targets.logit(1), targets.centred(1)):
        torch.testing.assert_close(signed(new, x, target), signed(old, x, target) / 10)
    before, after = (signed(m, x, targets.probability(1)) for m in (old, new))
    ratio = after / before
    assert spread(ratio) > 0.1 * ratio.abs().max()


def test_13_a_map_is_blank_where_the_layer_is_or_unmoved_by_a_bias():
    """At a position made dark by a shift: Grad-CAM moves to 0 there, from the mean it stays."""
    conv, _, head, x, _ = parts()
    model = nn.Sequential(conv, head)
    dark = copy.deepcopy(model)
    i, j = divmod(int(signed(model, x)[0].abs().argmax()), conv(x).shape[-1])
    a = conv(x)[0, :, i, j].detach()  # where the first map is loudest
    dark[0].bias.data -= a
    dark[1][2].bias.data += dark[1][2].weight.data @ a
    torch.testing.assert_close(dark(x), model(x))
    assert signed(dark, x)[0, i, j].abs() < 1e-12 < 0.01 < signed(model, x)[0, i, j].abs()
    mean = {"reference": references.spatial_mean}
    torch.testing.assert_close(signed(dark, x, **mean), signed(model, x, **mean))
    assert signed(dark, x, **mean)[0, i, j].abs() > 0.01


def test_14_zero_ablation_depends_on_where_the_value_bias_stands_and_the_others_do_not():
    net = transformer.DigitTransformer(seed=1)
    biases = torch.stack([-block.attention.value.bias.detach() for block in net.blocks])
    folded = transformer.value_shifted(net, biases)
    x, labels = (part[:20] for part in transformer.digit_images("test"))
    torch.testing.assert_close(folded(x), net(x))
    for how, reference in transformer.REFERENCES.items():
        lost = [
            transformer.added_loss(model, x, labels, transformer.head_outputs(model, x), reference)
            for model in (net, folded)
        ]
        assert torch.allclose(*lost, atol=1e-9) == (how != "zero")
