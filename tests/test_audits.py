"""The audit: by hand, the table of claim B6 as measured, where methods run, errors, families."""

import functools
import random
import re

import numpy as np
import pytest
import torch
from nets import C, K, Net, h, heads, images, integers, linear, small_vit, w
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import zerocam
from zerocam import audits as audit
from zerocam import imagenet, methods, peers, recode, references, symmetries
from zerocam.cuts import Place, Uncut, cut
from zerocam.lab import nets, pictures
from zerocam.targets import centred, log_odds, log_probability, logit, probability


def run(head, named=None, **kw):
    return audit.audit(named, Net(heads()[head]), images(), 2, layer="features", **kw)


# ---- by hand ------------------------------------------------------------------------------------


def test_two_maps_compared_by_hand():
    before = torch.tensor([[[0.0, 4.0], [-2.0, 1.0]]]).double()
    same = audit.compare(before, before.clone())
    assert same == audit.Change(map=0, constant=True, relu=0, minmax=0, argmax=True, mask=True)
    up = audit.compare(before, before + 1)
    assert (up.map, up.constant, up.relu, up.minmax) == (0.25, True, 0.25, 0)
    assert (up.argmax, up.mask) == (True, False)  # 1 of 5 is above 15 %
    turned = audit.compare(before, -before)
    assert (turned.map, turned.constant, turned.relu) == (2, False, 1)
    assert (turned.argmax, turned.mask) == (False, False)


def test_a_blank_map_is_compared_with_what_it_becomes():
    blank = torch.zeros(1, 2, 2).double()
    assert audit.compare(blank, blank).map == 0
    assert audit.compare(blank, blank + 3).map == 1


def test_rounding_does_not_decide_about_a_mask():
    before = torch.tensor([[[100.0, 14.0]]]).double()
    assert audit.compare(before, before * torch.tensor([1, 1 + 1e-12]).double()).mask
    assert not audit.compare(before, before * torch.tensor([1, 1.1]).double()).mask


# ---- the table of B6 ----------------------------------------------------------------------------

GAP = {
    #                    permute  scale  flip   mix    shift     affine    softmax  places
    "Grad-CAM":               ("u", "u", "u", "u", "one", "one", "c", "c"),
    "Grad-CAM, spatial mean": ("u", "u", "u", "u", "u", "u", "c", "c"),
    "local score":            ("u", "u", "u", "u", "u", "u", "u", "c"),
    "HiResCAM":               ("u", "u", "u", "u", "one", "one", "c", "c"),
    "LayerCAM":               ("u", "u", "c", "c", "one", "c", "c", "c"),
    "XGrad-CAM":              ("u", "u", "u", "u", "one", "one", "c", "c"),
    "Grad-CAM++":             ("u", "u", "c", "c", "c", "c", "c", "c"),
    "Eigen-CAM":              ("u", "c", "u", "c", "c", "c", "u", "c"),
    "Eigen-CAM, centred":     ("u", "c", "u", "c", "u", "c", "u", "c"),
    "LaFAM":                  ("u", "c", "c", "c", "one", "c", "u", "c"),
}  # fmt: skip
MLP = GAP
FLAT = GAP | {
    "HiResCAM":               ("u", "u", "u", "u", "c", "c", "c", "c"),
    "LayerCAM":               ("u", "u", "c", "c", "c", "c", "c", "c"),
    "XGrad-CAM":              ("u", "u", "u", "c", "c", "c", "c", "c"),
}  # fmt: skip
WORD = {"u": "unchanged", "one": "one constant", "c": "changes"}


@pytest.mark.claim("B6")
@pytest.mark.parametrize(("head", "expected"), [("gap", GAP), ("mlp", MLP), ("flat", FLAT)])
def test_which_method_keeps_which_symmetry(head, expected):
    if head == "flat":  # its rows belong to (channel, position): no row for a softmax shift of K
        expected = {name: row[:-2] for name, row in expected.items()}
        table = run(head, symmetries=symmetries.KINDS[:-2]).table()
    else:
        table = run(head).table()
    got = {name: tuple(v.split(" (")[0] for v in row) for name, row in table.T.items()}
    assert got == {name: tuple(WORD[v] for v in row) for name, row in expected.items()}


@pytest.mark.claim("G2")
def test_referenced_and_centred_keeps_them_all():
    """Spatial mean as reference, zero-sum scores as target: nothing moves, whatever the change."""
    honest = {"honest": functools.partial(zerocam.grad_cam, relu=False,
                                          reference=references.spatial_mean)}  # fmt: skip
    for head in ("gap", "mlp", "conv"):
        model = Net(heads()[head])
        for seed in range(5):
            report = audit.audit(
                honest, model, images(), centred(2), layer="features", seed=seed,
                symmetries=symmetries.KINDS[:-1],
            )  # fmt: skip
            assert set(report.table().loc["honest"]) == {"unchanged"}, (head, seed)


@pytest.mark.claim("G5")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_only_places_move_the_local_score_of_the_default_table(head, seed):
    row = {"local score": audit.METHODS["local score"]}
    verdicts = run(head, row, seed=seed).table().loc["local score"]
    assert set(verdicts.drop("places")) == {"unchanged"}
    assert verdicts["places"].split(" (")[0] == ("does not apply" if head == "conv" else "changes")


def test_the_local_score_takes_a_target_or_a_single_score_as_it_is():
    """Compared with itself a single score is nothing; a logit moves with a softmax shift."""
    row = {"local score": audit.METHODS["local score"]}
    model = Net(nn.Sequential(*heads()["gap"][:2], nn.Linear(K, 1).double()))
    alone = audit.audit(row, model, images(), layer="features")
    assert alone.verdict("local score", "affine") == "unchanged"
    model = Net(heads()["gap"])
    asked = audit.audit(row, model, images(), logit(2), layer="features")
    assert asked.verdict("local score", "affine") == "unchanged"
    assert asked.verdict("local score", "softmax shift").kind == "changes"


# ---- places -------------------------------------------------------------------------------------


@pytest.mark.claim("P1")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("head", ["gap", "mlp"])
def test_before_a_head_that_averages_places_move_every_method(head, seed):
    every = audit.METHODS | {"Score-CAM": methods.score_cam, "Ablation-CAM": methods.ablation_cam}
    report = run(head, every, symmetries=["places"], seed=seed)
    kinds = {method: report.verdict(method, "places").kind for method in every}
    assert kinds == dict.fromkeys(every, "changes")
    assert report.errors == report.absent == {}


@pytest.mark.claim("P1")
def test_a_map_that_shows_no_place_is_all_that_stays():
    def amount(model, x, target, *, layer):
        return zerocam.tap(model, x, target, layer=layer).s[:, None, None].expand(-1, h, w)

    report = run("gap", {"amount": amount}, symmetries=["places"])
    assert report.verdict("amount", "places") == "unchanged"


@pytest.mark.claim("P1")
def test_a_method_that_raises_once_is_told_where_and_the_others_of_its_row_are_told():
    runs = []

    def flaky(model, x, target=None, *, layer):
        runs.append(layer)
        if len(runs) in (3, 4):  # the first is of the model as it came
            raise RuntimeError(f"run {len(runs)}")
        return zerocam.grad_cam(model, x, target, layer=layer, relu=False)

    kinds = ["permutation", "scaling", "mixing", "shift"]
    report = run("gap", {"flaky": flaky}, symmetries=kinds)
    assert report.table().loc["flaky"].tolist()[:3] == ["unchanged", "error", "error"]
    assert report.verdict("flaky", "shift").kind == "one constant"
    assert report.errors == {"flaky": "at scaling: RuntimeError: run 3"}
    for said in ("flaky: at scaling: RuntimeError: run 3", "by running the whole model: flaky"):
        assert said in str(report)


def test_a_method_may_have_the_name_of_a_symmetry():
    def shift(model, x, target=None, *, layer):
        raise RuntimeError("mine")

    def softmax_shift(model, x, target=None, *, layer):
        return zerocam.grad_cam(model, x, target, layer=layer, relu=False)

    methods = {"shift": shift, "softmax shift": softmax_shift}
    kinds = ["shift", "softmax shift"]
    report = run("gap", methods, symmetries=kinds, softmax=False)
    assert report.table(short=True).to_numpy()[0].tolist() == ["error", "n/a"]
    assert report.verdict("softmax shift", "shift").kind == "one constant"
    assert report.verdict("softmax shift", "softmax shift") == "does not apply"
    assert report.errors == {"shift": "RuntimeError: mine"}
    assert report.absent.keys() == {"softmax shift"}


def test_a_methods_own_draws_are_no_change():
    """A map of a noisy copy of the input, with noise from each of the three sources."""

    def noisy(model, x, target=None, *, layer):
        of_numpy = torch.tensor(np.random.normal(size=x.shape))  # noqa: NPY002
        x = x + 0.1 * (torch.randn_like(x) + of_numpy + random.random())
        return zerocam.grad_cam(model, x, target, layer=layer, relu=False)

    model, x = Net(heads()["gap"]), images()
    assert not torch.allclose(*(noisy(model, x, 2, layer="features") for _ in range(2)))
    of_torch = torch.get_rng_state()
    of_numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
    kinds = ["permutation", "mixing", "shift"]
    report = audit.audit({"noisy": noisy}, model, x, 2, layer="features", symmetries=kinds)
    assert report.table().loc["noisy"].tolist()[:2] == ["unchanged", "unchanged"]
    assert report.verdict("noisy", "shift").kind == "one constant"
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert np.random.get_state()[1].tolist() == of_numpy  # noqa: NPY002


@pytest.mark.parametrize("head", ["conv", "flat"])
def test_where_the_head_sees_the_order_of_positions_the_column_says_so_and_why(head):
    kinds = ["mixing", "places"]
    report = run(head, symmetries=kinds)
    assert list(report.frame.columns.unique(0)) == kinds
    assert set(report.table()["places"]) == {"does not apply"}
    assert set(report.table(short=True)["places"]) == {"n/a"}
    assert report.frame["places"].isna().all().all()
    assert "does not apply" not in set(report.table()["mixing"])
    why = report.absent["places"]
    assert re.fullmatch(r"what is .* sees the order of positions \(predictions: moved by .*\)", why)
    for shown in (str(report), report._repr_html_()):
        assert why in shown
        assert "n/a: the model has no such re-coding" in shown


@pytest.mark.claim("P1")
def test_the_positions_of_tokens_move_and_the_class_token_stays():
    """Attention sees no order, except that the class token is another one than the patches."""
    model = small_vit().double()
    x = torch.randn(1, 3, 32, 32).double()
    where = {"layer": "encoder.layers.encoder_layer_1.ln_1"}
    where |= {"reshape": zerocam.tokens_to_map(4, 4, skip=1)}
    named = {"Grad-CAM": audit.METHODS["Grad-CAM"]}
    for kw in ({}, {"symmetries": ["places"]}):
        report = audit.audit(named, model, x, 2, **where, **kw)
        assert report.verdict("Grad-CAM", "places").kind == "changes"
    T = symmetries.Places(torch.arange(16).roll(1), where["reshape"])
    new, layer = recode.reparametrize(model, where["layer"], T, x=x)
    M, moved = (
        zerocam.grad_cam(m, x, 2, layer=at, relu=False, reshape=where["reshape"])
        for m, at in ((model, where["layer"]), (new, layer))
    )
    torch.testing.assert_close(moved.flatten(1), M.flatten(1).roll(1, 1), rtol=1e-9, atol=1e-12)
    every = symmetries.Places(torch.arange(17).roll(1), lambda A: A.mT[:, :, None])
    with pytest.raises(ValueError, match="predictions: moved by"):
        recode.reparametrize(model, where["layer"], every, x=x)


GRAD_CAM = {"Grad-CAM": audit.METHODS["Grad-CAM"]}  # without its ReLU


@pytest.mark.parametrize("shape", [(2, 3, 5, 3), (2, 4, 5, 3)])
def test_the_channels_are_where_reshape_finds_them(shape):
    """Channels last, once with as many rows as channels."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Tanh(), nn.Linear(3, 4).double()

        def forward(self, A):
            return self.head(self.layer(A).mean((1, 2)))

    kw = {"layer": "layer", "reshape": zerocam.channels_first, "symmetries": ["mixing", "shift"]}
    report = audit.audit(GRAD_CAM, Last(), torch.randn(*shape).double(), 1, **kw)
    found = [report.verdict("Grad-CAM", kind).kind for kind in ("mixing", "shift")]
    assert found == ["unchanged", "one constant"]


@pytest.mark.parametrize("T", [3, 6])
def test_a_signal_is_audited_along_its_channels(T):
    """(N, K, T), once with as many times as channels."""
    head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 4)).double()
    model = nn.Sequential(nn.Tanh(), *head)
    kw = {"layer": "0", "reshape": lambda A: A[:, :, None], "symmetries": ["mixing", "shift"]}
    report = audit.audit(GRAD_CAM, model, torch.randn(2, 3, T).double(), 1, **kw)
    found = [report.verdict("Grad-CAM", kind).kind for kind in ("mixing", "shift")]
    assert found == ["unchanged", "one constant"]


def test_a_layer_that_returns_a_tuple_has_no_places_to_move():
    class Pairs(nn.Module):
        def forward(self, A):
            return A.tanh(), None

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = Pairs(), nn.Linear(2, 4).double()

        def forward(self, x):
            return self.head(self.layer(x)[0].mean((2, 3)))

    report = audit.audit([methods.grad_cam], Reads(), images(), 1, layer="layer")
    assert "got a tuple as its output" in report.absent["places"]


@pytest.mark.claim("B3")
def test_under_a_shift_the_sign_moves_and_the_order_stays():
    t = integers(K, seed=9) * 100
    report = run("gap", symmetries={"shift": symmetries.shift(t)})
    row = report.frame.loc["Grad-CAM", "shift"]
    assert row["constant"]
    assert row["argmax"]
    assert row["relu"] > 0.1
    assert row["minmax"] < report.tolerance["Grad-CAM"]
    assert report.verdict("Grad-CAM", "shift", of="minmax") == "unchanged"
    assert report.verdict("Grad-CAM", "shift", of="mask") == "changes"


# ---- where a method runs ------------------------------------------------------------------------


def test_the_backbone_runs_once_where_the_model_can_be_cut():
    model, runs = Net(heads()["mlp"]), []
    model.features = nn.Sequential(model.features)
    model.features[0].register_forward_hook(lambda *_: runs.append(1))
    report = audit.audit(None, model, images(), 2, layer="features")
    assert set(report.ran_on.values()) == {"head"}
    assert len(runs) == 1


class Untraceable(nn.Module):
    """Decides by value, which no tracer can follow."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if x.sum() > -1e9 else x


def test_methods_of_A_and_G_share_one_pass_for_each_recoding():
    """Nine methods run the network as often as one; each with the choices it was given."""

    def runs(named) -> int:
        model, count = Untraceable(Net(heads()["mlp"])), []
        model.register_forward_hook(lambda *_: count.append(1))  # a hook is shared by the copies
        report = audit.audit(named, model, images(), 2, layer="inner.features")
        assert report.errors == report.absent == {}
        assert set(report.ran_on.values()) == {"whole model"}
        return len(count)

    one = {"Grad-CAM": audit.METHODS["Grad-CAM"]}
    shared = {name: method for name, method in audit.METHODS.items() if name != "local score"}
    assert runs(shared) == runs(one)  # the local score explains a target of its own
    own_pass = {"by hand": lambda *args, **kw: zerocam.grad_cam(*args, **kw)}
    assert runs(one | own_pass) == runs(one) + 1 + len(symmetries.KINDS)


def test_a_method_that_chooses_its_own_run_of_the_layer_is_asked_itself():
    """`call` and `reshape` say how to tap the network, so no shared tap will do."""
    chosen = {"first": functools.partial(zerocam.grad_cam, relu=False, call=0)}
    report = run("mlp", chosen | {"Grad-CAM": audit.METHODS["Grad-CAM"]})
    assert report.errors == report.absent == {}
    assert report.frame.loc["first"].equals(report.frame.loc["Grad-CAM"])


@pytest.mark.parametrize("head", ["gap", "mlp", "conv"])
def test_head_and_whole_model_agree(head):
    model, x = Net(heads()[head]), images()
    on_head = audit.audit(None, model, x, 2, layer="features")
    on_whole = audit.audit(None, Untraceable(model), x, 2, layer="inner.features")
    assert set(on_head.ran_on.values()) == {"head"}
    assert set(on_whole.ran_on.values()) == {"whole model"}
    assert on_head.table().equals(on_whole.table())


def test_a_method_that_needs_the_image_gets_the_whole_model():
    seen = []

    def needs_image(model, x, target, *, layer):
        seen.append(tuple(x.shape))
        return zerocam.grad_cam(model, x, target, layer=layer, relu=False)

    def head_will_do(model, x, target, *, layer):
        return zerocam.grad_cam(model, x, target, layer=layer, relu=False)

    head_will_do.on_head = True
    report = run("gap", [needs_image, head_will_do, methods.score_cam])
    assert report.ran_on == {
        "needs_image": "whole model", "head_will_do": "head", "score_cam": "whole model",
    }  # fmt: skip
    assert set(seen) == {tuple(images().shape)}
    table = report.table()
    assert (table.loc["needs_image"] == table.loc["head_will_do"]).all()


def test_skip_connections_around_the_layer_are_kept():
    model, x = imagenet.torchvision_net("resnet18"), torch.randn(2, 3, 64, 64)
    place = cut(model, x, "layer4.1.bn2")
    torch.testing.assert_close(place.model(place.x.clone()), model(x), rtol=0, atol=1e-5)
    here, there = (
        zerocam.grad_cam(m, v, 3, layer=at, relu=False)
        for m, v, at in ((model, x, "layer4.1.bn2"), (place.model, place.x, place.layer))
    )
    torch.testing.assert_close(there, here, rtol=0, atol=1e-6)


# ---- errors, refusals, report -------------------------------------------------------------------


def broken(model, x, target, *, layer):
    raise RuntimeError("no such luck")


def flat(model, x, target, *, layer):
    return torch.zeros(3)


def test_a_map_in_float32_is_allowed_the_rounding_of_float32():
    """Some libraries answer in float32 whatever they were given."""

    def coarse(model, x, target, *, layer):
        return zerocam.grad_cam(model, x, target, layer=layer, relu=False).float() / 3

    report = run("mlp", {"fine": audit.METHODS["Grad-CAM"], "coarse": coarse})
    assert report.tolerance == {"fine": 2**-26, "coarse": 2**-11.5}
    assert report.verdict("coarse", "mixing") == "unchanged"


def test_a_method_that_raises_is_a_row_with_its_error():
    report = run("gap", [broken, flat, zerocam.grad_cam])
    assert report.errors["broken"] == "RuntimeError: no such luck"
    assert "wanted (N, h, w)" in report.errors["flat"]
    assert set(report.table().loc["broken"]) == {"error"}
    assert report.frame.loc["broken"].isna().all()
    assert report.verdict("grad_cam", "permutation") == "unchanged"
    for shown in (str(report), report._repr_html_()):
        assert "no such luck" in shown


def test_a_model_that_cannot_be_cut_says_why():
    """Only where it matters: a method that needs the image takes whole passes anyway."""
    model = Untraceable(Net(heads()["gap"]))
    kw = {"layer": "inner.features", "symmetries": ["shift"]}
    report = audit.audit([methods.hires_cam], model, images(), 2, **kw)
    assert "torch.fx cannot follow it: symbolically traced variables" in report.uncut
    assert f"not cut at the layer: {report.uncut}" in str(report)
    assert audit.audit([zerocam.grad_cam_all], model, images(), 2, **kw).uncut is None
    assert run("gap", [methods.hires_cam], symmetries=["shift"]).uncut is None


def test_a_verdict_is_its_words():
    told = {
        audit.Verdict("unchanged"): ("unchanged", "="),
        audit.Verdict("unchanged", 1.4e-9): ("unchanged (1e-09)", "= 1e-09"),
        audit.Verdict("one constant", 0.251): ("one constant (0.25)", "const 0.25"),
        audit.Verdict("changes", 2.0): ("changes (2)", "2"),
        audit.Verdict("changes"): ("changes", "x"),
        audit.Verdict("does not apply"): ("does not apply", "n/a"),
        audit.Verdict("error"): ("error", "error"),
    }
    for verdict, (words, short) in told.items():
        assert (verdict, verdict.short) == (words, short)
        assert verdict.startswith(verdict.kind)
    assert len({verdict.colour for verdict in told}) == 5


def test_the_report_shows_rounding_in_text_and_hides_it_on_the_page():
    report = run("mlp")
    rounded = re.compile(r"= \d+e-\d+")
    assert rounded.search(str(report))
    assert not rounded.search(report._repr_html_() + repr(report))
    assert "backbone run once: Grad-CAM" in str(report)


def test_the_short_table_says_the_same_in_less():
    report = run(
        "gap", {"g": audit.METHODS["Grad-CAM"], "l": audit.METHODS["LaFAM"], "broken": broken}
    )
    long, short = report.table(), report.table(short=True)
    assert long.loc["g", "permutation"] == "unchanged"
    assert short.loc["g", "permutation"] == "="
    assert long.loc["g", "shift"] == f"one constant ({short.loc['g', 'shift'].split()[1]})"
    assert long.loc["l", "scaling"] == f"changes ({short.loc['l', 'scaling']})"
    assert set(short.loc["broken"]) == {"error"}
    assert report.table("argmax", short=True).loc["l", "mixing"] in ("=", "x")
    assert report.table(rounding=True, short=True).loc["g", "mixing"].startswith("= ")


def test_the_picture_shows_the_verdicts():
    import matplotlib.pyplot as plt

    report = run("gap")
    fig, ax = plt.subplots()
    report.plot(ax)
    words = [t.get_text().replace("\n", " ") for t in ax.texts]
    assert words == report.table(short=True).to_numpy().flatten().tolist()
    assert [t.get_text() for t in ax.get_yticklabels()] == list(report.frame.index)
    plt.close(fig)


def test_the_same_seed_gives_the_same_report_and_another_does_not():
    one, same, other = (run("gap", seed=s).frame for s in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_the_model_is_left_as_it_was():
    model = Net(heads()["mlp"]).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    audit.audit(None, model, images(), layer="features")
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("layer", ["features", "features.act3"])
@pytest.mark.parametrize("named", [None, {"Score-CAM": methods.score_cam}])
def test_a_model_in_training_mode_is_left_as_it_was(untyped, named, layer, dropout):
    """On the head and by whole passes: no mode changes, no running mean of a BatchNorm moves."""
    model = nets.SceneNet(dropout=dropout, dtype=torch.float64).train()
    model.head.pool.eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0)).double()
    report = audit.audit(named, model, x, 1, layer=layer, symmetries=["mixing", "shift"])
    assert report.errors == report.absent == {}, (
        "dropout draws the same at each run, so what moved is the symmetry's"
    )
    assert set(report.ran_on.values()) == {"head" if named is None else "whole model"}
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("none", [[], {}, ()])
def test_no_symmetries_and_no_methods_are_refused(none):
    with pytest.raises(ValueError, match=r"symmetries: got .*, wanted at least one, or None for"):
        run("conv", symmetries=none)
    with pytest.raises(ValueError, match=r"methods: got .*, wanted callables"):
        run("conv", none)


def test_a_change_that_moves_predictions_is_refused():
    """One of your own, that is: a kind that the model does not have is a column that says so."""
    turned = {"turned": symmetries.random_symmetry("places", h * w)}
    with pytest.raises(ValueError, match="predictions: moved by"):
        run("conv", symmetries=turned)


def test_inference_mode_changes_nothing():
    class Gated(Net):
        """Its head multiplies A by what goes around the layer."""

        def forward(self, x):
            return self.head(self.features(x) * x.sum(1, keepdim=True))

    model, x = Gated(heads()["mlp"]), images()
    expected = audit.audit(None, model, x, 2, layer="features")
    with torch.inference_mode():
        same = audit.audit(None, model, x, 2, layer="features")
    assert same.frame.equals(expected.frame)
    assert expected.absent.keys() == {"places"}  # what goes around the layer stays in its places
    assert set(expected.ran_on.values()) == set(same.ran_on.values()) == {"head"}


@pytest.mark.claim("C5")
def test_a_single_score_has_no_softmax_shift():
    """softmax of one score is 1 whatever is added to it, but its sigmoid is not."""
    model = Net(nn.Sequential(*heads()["gap"][:2], nn.Linear(K, 1).double()))
    report = audit.audit(None, model, images(), layer="features")
    assert list(report.frame.columns.unique(0)) == list(symmetries.KINDS)
    assert "got one score" in report.absent["softmax shift"]
    assert set(report.table()["softmax shift"]) == {"does not apply"}
    assert report.verdict("Grad-CAM", "mixing") == "unchanged"


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"named": []}, "methods: got .*, wanted callables"),
        ({"named": {"x": 3}}, "methods: got .*, wanted callables"),
        ({"named": [lambda *a, **k: 1, lambda *a, **k: 2]}, "two called '<lambda>', wanted {name"),
        ({"symmetries": ["twist"]}, "kind: got 'twist', wanted one of permutation"),
        ({"symmetries": {"wide": symmetries.shift(torch.ones(7))}}, "wanted 7 channels"),
    ],
)
def test_refusals(untyped, kw, message):
    with pytest.raises(ValueError, match=message):
        run("gap", **kw)


def test_a_map_that_is_not_finite_is_an_error_and_not_a_number():
    def broken(model, x, target, *, layer):
        return zerocam.grad_cam(model, x, target, layer=layer) / 0

    report = run("gap", {"broken": broken, "g": zerocam.grad_cam}, symmetries=["permutation"])
    assert report.verdict("broken", "permutation").kind == "error"
    assert report.errors["broken"].startswith("map: got NaN or inf for image [0")
    assert report.verdict("g", "permutation").kind == "unchanged"


def test_one_symmetry_may_be_named_alone():
    assert run("gap", {"g": zerocam.grad_cam}, symmetries="shift").symmetries == ["shift"]


@pytest.mark.parametrize("of", ["size", "constant"])
def test_an_unknown_quantity_is_refused(of):
    report = run("gap", {"g": zerocam.grad_cam}, symmetries=["shift"])
    for ask in (report.table, functools.partial(report.verdict, "g", "shift")):
        with pytest.raises(ValueError, match=f"of: got '{of}', wanted one of map, relu"):
            ask(of=of)


# ---- the peers, and the networks people use -----------------------------------------------------


def test_the_peers_can_be_audited():
    others = [
        peers.captum_method(), peers.pytorch_grad_cam_method(), peers.torchcam_method(),
    ]  # fmt: skip
    model, x = Net(heads()["gap"]).float(), images().float()
    table = audit.audit(
        others, model, x, 2, layer="features", symmetries=["mixing", "shift"]
    ).table()
    assert table.loc["captum LayerGradCam", "mixing"] == "unchanged"
    assert table.loc["captum LayerGradCam", "shift"].startswith("one constant")
    assert set(table["mixing"]) == {"unchanged"}
    assert table.shape == (3, 2)


def test_a_peer_explains_the_predicted_class_or_one_that_is_named():
    model, x = Net(heads()["gap"]).float(), images().float()
    predicted = model(x).argmax(1)
    for peer in (peers.captum_method(), peers.pytorch_grad_cam_method(), peers.torchcam_method()):
        named = peer(model, x, predicted, layer="features")
        assert torch.equal(peer(model, x, layer="features"), named)
        other = peer(model, x, (predicted + 1) % 3, layer="features")
        assert not torch.allclose(other, named)
        with pytest.raises(ValueError, match="target: got a function, wanted a class"):
            peer(model, x, lambda y: y[:, 0], layer="features")


FAMILIES = ["resnet18", "mobilenet_v3_large", "swin_t"]  # ReLU, hard-swish, channels last
FEW = {k: audit.METHODS[k] for k in ("Grad-CAM", "Grad-CAM, spatial mean", "HiResCAM")}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_laws_hold_on_the_families_of_torchvision(name):
    """Others, and more of them: test_real_photographs.py.  Here, that the head alone is run."""
    model = imagenet.torchvision_net(name)
    x = torch.randn(1, 3, 96, 96)
    where, _ = zerocam.suggest_layer(model, x)
    report = audit.audit(FEW, model, x, 7, **where, symmetries=["mixing", "shift"])
    assert report.errors == report.absent == {}
    assert set(report.ran_on.values()) == {"head"}
    assert report.verdict("Grad-CAM", "mixing") == "unchanged"
    assert report.verdict("Grad-CAM", "shift").startswith("one constant")
    assert set(report.table().loc["Grad-CAM, spatial mean"]) == {"unchanged"}


@pytest.mark.slow
def test_the_trained_imagenet_network_gives_the_same_table(untyped):  # tracing passes no tensor
    """EfficientNet-Lite0 on a photograph: GAP and a linear head, so the rows of `GAP`."""
    model = imagenet.efficientnet_lite0()
    x = imagenet.imagenet_input(pictures.photograph("chelsea"))[None]
    report = audit.audit(None, model, x, layer="features")
    assert report.errors == report.absent == {}
    assert set(report.ran_on.values()) == {"head"}
    got = {name: tuple(v.split(" (")[0] for v in row) for name, row in report.table().T.items()}
    assert got == {name: tuple(WORD[v] for v in row) for name, row in GAP.items()}


def test_a_target_that_does_not_fit_is_refused_before_any_method_runs():
    model = Net(heads()["gap"])
    with pytest.raises(ValueError, match="target: got class 5, wanted 0 to 4"):
        audit.audit([zerocam.grad_cam], model, images(), 5, layer="features")


class Detached(Net):
    """No gradient comes back to its features."""

    def forward(self, x):
        return self.head(self.features(x).detach())


def test_no_map_that_cannot_be_made_is_audited():
    model = Detached(heads()["gap"])
    with pytest.raises(Uncut, match="no gradient of the target reaches it"):
        cut(model, images(), "features")
    with torch.no_grad():
        assert isinstance(cut(Net(heads()["gap"]), images(), "features"), Place)
    with pytest.raises(ValueError, match="no gradient of the target reaches it"):
        audit.audit([zerocam.grad_cam], model, images(), layer="features")


# ---- heads that look right and are not ----------------------------------------------------------


class Normed(Net):
    """Divides by a maximum that autograd does not see; a tracer does not see that."""

    def forward(self, x):
        A = self.features(x)
        with torch.no_grad():
            top = A.amax((2, 3), keepdim=True)
        return self.head(A / top)


class Round(torch.autograd.Function):
    """Rounds on the way there, and passes the gradient straight back."""

    @staticmethod
    def forward(ctx, A):
        return A.round()

    @staticmethod
    def backward(ctx, G):
        return G


class Rounded(Net):
    """Its head reads rounded features."""

    def forward(self, x):
        return self.head(Round.apply(self.features(x) / 3))


def prepared() -> Net:
    """What a hook does to the input, a tracer does not see."""
    model = Net(heads()["mlp"])
    model.register_forward_pre_hook(lambda _module, args: (args[0] * 2 - 1,))
    return model


@pytest.mark.parametrize("make", [Normed, Rounded, lambda _head: prepared()])
def test_a_head_is_used_only_if_scores_and_gradients_are_the_models(make):
    model = make(heads()["gap"])
    every = zerocam.tap(model, images(), 2, layer="features")
    try:
        place = cut(model, images(), "features")
    except Uncut:
        place = None
    else:
        head = zerocam.tap(place.model, place.x, 2, layer=place.layer)
        torch.testing.assert_close(head.y, every.y)
        torch.testing.assert_close(head.G, every.G)
    report = audit.audit([methods.hires_cam], model, images(), 2, layer="features")
    assert report.ran_on["hires_cam"] == ("head" if place else "whole model")


class Twice(Net):
    """Runs its features twice."""

    def forward(self, x):
        return self.head(self.features(x) + self.features(-x))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Twice, "the layer runs 2 times"),
        (Normed, "has other gradients"),
    ],
)
def test_why_a_model_is_not_cut(make, why):
    with pytest.raises(Uncut, match=why):
        cut(make(heads()["gap"]), images(), "features")


def test_a_head_of_attention_ends_in_its_classifier():
    """torch.fx would register the last block's linear layer behind the classifier's."""
    model = small_vit()
    x = torch.randn(1, 3, 32, 32)
    where, _ = zerocam.suggest_layer(model, x)
    signed = audit.signed(zerocam.grad_cam)
    report = audit.audit({"Grad-CAM": signed, "centred": signed}, model, x, 2, **where)
    assert set(report.ran_on.values()) == {"head"}
    row = report.table().loc["Grad-CAM"]
    assert row["mixing"] == "unchanged"
    assert row["softmax shift"].startswith("changes")


class Keeps(Net):
    """Keeps what it has seen on itself, as some attention layers do."""

    def forward(self, x):
        self.seen = self.features(x)
        self.mean = self.seen.mean((2, 3))
        return self.head(self.seen)


def test_a_model_that_keeps_activations_is_audited_and_keeps_no_tracers():
    model, x = Keeps(heads()["gap"]), images()
    y = model(x)  # kept with their graph, which deepcopy refuses
    recode.reparametrize(model, "features", symmetries.random_symmetry("mixing", K, 0), x=x)
    report = audit.audit([audit.signed(zerocam.grad_cam)], model, x, 2, layer="features")
    assert report.table().iloc[0]["mixing"] == "unchanged"
    assert isinstance(model.seen, torch.Tensor)
    assert isinstance(model.mean, torch.Tensor)
    torch.testing.assert_close(model(x), y, rtol=0, atol=0)


# ---- the layer that the scores are read from ----------------------------------------------------


class Scores(nn.Module):
    """A head that can also be told what each of its scores is to gain: share * v . z.

    That is what a softmax shift of the layer `fc` does, written out in the head itself.
    """

    v, share = None, 1.0

    def __init__(self, *, out=C, seed=1):
        super().__init__()
        self.fc = linear(out, K, seed)

    def read(self, A):
        """The scores, and what the layer of the scores reads."""
        z = A.mean((2, 3))
        return self.fc(z), z

    def after(self, y):
        """What is done to the scores."""
        return y

    def forward(self, A):
        y, z = self.read(A)
        gain = 0 if self.v is None else self.share * (z @ self.v)[:, None]
        return self.after(y) + gain


class Several(Scores):
    """Three tasks; the first is explained, and the others are registered last and run last."""

    def __init__(self):
        super().__init__()
        self.others = nn.ModuleDict({"sex": linear(2, K, 3), "race": linear(C + 2, K, 5)})

    def read(self, A):
        y, z = super().read(A)
        return {"age": y, **{name: head(z) for name, head in self.others.items()}}["age"], z


class Unused(Scores):
    """A projection that runs in training alone."""

    def __init__(self):
        super().__init__()
        self.project = nn.Sequential(linear(9, K, 3), nn.ReLU(), linear(9, 9, 5))


class Gated(Scores):
    """A gate of linear layers, registered after the head, that runs before it."""

    def __init__(self):
        super().__init__()
        squeeze = [linear(2, K, 3), nn.ReLU(), linear(K, 2, 5), nn.Sigmoid()]
        self.gate = nn.Sequential(*squeeze)

    def read(self, A):
        return super().read(A * self.gate(A.mean((2, 3)) / 64)[:, :, None, None])


class Pointwise(Scores):
    """A convolution of one pixel, and linear layers in the gate only."""

    def __init__(self, size=1):
        super().__init__()
        self.size, self.gate = size, linear(K, K, 3)
        self.fc = nn.Conv2d(K, C, size, padding=size // 2).double()

    def read(self, A):
        A = A * self.gate(A.mean((2, 3)) / 64).sigmoid()[:, :, None, None]
        return self.fc(A).mean((2, 3)), F.unfold(A, self.size, padding=self.size // 2).mean(2)


class Sequence(Scores):
    """A one-dimensional convolution over the positions."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Conv1d(K, C, 1).double()

    def read(self, A):
        return self.fc(A.flatten(2)).mean(2), A.mean((2, 3))


class Chunk(Scores):
    """One layer holds the rows of several tasks; the first C are the scores."""

    def __init__(self):
        super().__init__(out=C + 4)

    def after(self, y):
        return y[:, :C]


class Centres(Scores):
    """Each class scores by the better one of its two rows."""

    def __init__(self):
        super().__init__(out=2 * C)

    def after(self, y):
        return y.unflatten(1, (C, 2)).amax(2)


class Temperature(Scores):
    """Scores divided by a temperature."""

    share = 1 / 0.07

    def after(self, y):
        return y / 0.07


class Normed1d(Scores):
    """A BatchNorm behind the head: each score has a slope of its own, one of them negative."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(C, eps=0).double().eval()
        self.bn.running_var.copy_(torch.arange(1.0, C + 1) ** 2)
        self.bn.weight.data.copy_(torch.tensor([2.0, 3, -1, 5, 4]))
        self.share = (self.bn.weight / self.bn.running_var.sqrt()).abs().mean().item()

    def after(self, y):
        return self.bn(y)


class Exits(Scores):
    """Two heads, at two depths, whose scores are averaged."""

    share = 0.5

    def __init__(self):
        super().__init__()
        self.early = linear(C, K, 3)

    def read(self, A):
        early, (y, z) = self.early(A.amax((2, 3))), super().read(A)
        return (early + y) / 2, z


class Mixture(Scores):
    """Heads weighted by a gate that runs last, and does not see a common shift of its own rows."""

    def __init__(self):
        super().__init__()
        self.first, self.gate = linear(C, K, 3), linear(C + 1, K, 5)

    def read(self, A):
        z = A.mean((2, 3))
        first, last = self.first(z), self.fc(z)
        share = (self.gate(z) / 99).softmax(1)[:, :1]
        return (1 - share) * first + share * last, share * z


class Shared(Scores):
    """One head, run on two poolings."""

    def read(self, A):
        both = A.mean((2, 3)), A.amax((2, 3))
        return self.fc(both[0]) + self.fc(both[1]), sum(both)


class Silent(Scores):
    """What is behind the head does not see a common shift at all."""

    share = 0.0

    def __init__(self, after):
        super().__init__()
        self.hidden, self.last = linear(K, K, 3), after

    def read(self, A):
        z = self.hidden(A.mean((2, 3))) / 64
        return self.fc(z) / 8, z

    def after(self, y):
        return self.last(y)


class Own(nn.Linear):
    """A linear layer by another name, that says what it is made from."""


def made(change):
    """A head whose weights are made from others at each run."""

    def make():
        head = Scores()
        head.fc.weight.data.copy_(integers(C, K, seed=7) / 4)
        change(head.fc)
        return head

    return make


def own():
    head = Scores()
    head.fc.__class__ = Own
    return head


READ = {
    "plain": Scores, "a subclass": own, "several tasks": Several, "unused": Unused, "gated": Gated,
    "1x1": Pointwise, "3x3": lambda: Pointwise(3), "1d": Sequence, "chunk": Chunk,
    "two centres": Centres, "temperature": Temperature, "batchnorm": Normed1d, "exits": Exits,
    "mixture": Mixture, "shared": Shared,
    "weight norm": made(parametrizations.weight_norm),
    "old weight norm": made(nn.utils.weight_norm),
    "spectral norm": made(parametrizations.spectral_norm),
    "old spectral norm": made(nn.utils.spectral_norm),
    "pruned": made(lambda fc: prune.l1_unstructured(fc, "weight", amount=4)),
    "log-softmax": lambda: Silent(nn.LogSoftmax(1)), "softmax": lambda: Silent(nn.Softmax(1)),
    "layernorm": lambda: Silent(nn.LayerNorm(C).double()),
}  # fmt: skip
SIGNED = {"map": audit.signed(zerocam.grad_cam)}


@pytest.mark.claim("C1")
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("passes", ["head", "whole model"])
@pytest.mark.parametrize("name", READ)
def test_the_softmax_shift_goes_into_the_layer_that_the_scores_are_read_from(name, passes):
    """What it does is what the head does when it is told to add the same to all of its scores."""
    head = READ[name]()
    model, x = Net(head).eval(), images() / 8
    where = "features" if passes == "head" else "inner.features"
    audited = model if passes == "head" else Untraceable(model).eval()
    report = audit.audit(SIGNED, audited, x, 2, layer=where)
    found = report.changes["map"]["softmax shift"]
    before = SIGNED["map"](model, x, 2, layer="features")
    W = head.fc.weight.detach()
    head.v = symmetries.random_symmetry("softmax shift", W[0].numel(), 0, W.std().item()).v
    expected = audit.compare(before, SIGNED["map"](model, x, 2, layer="features"))
    assert found is not None, report.absent
    assert found.map == pytest.approx(expected.map, rel=1e-6, abs=1e-9)
    assert (found.map > 0.01) == (head.share > 0)
    assert report.rows == where.replace("features", "head.fc")
    assert f"rows of {report.rows!r}: keeps the predictions" in str(report)
    assert set(report.ran_on.values()) == {passes}


class Cosine(Scores):
    """Rows and features of length one."""

    def __init__(self):
        super().__init__(out=C + 1)
        self.rows = nn.Parameter(integers(C, C + 1, seed=9))

    def after(self, y):
        return 16 * F.normalize(y) @ F.normalize(self.rows).T


class NormLinear(nn.Linear):
    """A linear layer that normalises its rows and what it reads."""

    def forward(self, z):
        return 16 * F.linear(F.normalize(z), F.normalize(self.weight))


def normalised():
    head = Scores()
    head.fc.__class__ = NormLinear
    return head


def ended(after):
    """A head with something behind its scores."""

    def make():
        head = Scores()
        head.fc.weight.data /= 8
        head.after = after
        return head

    return make


NONE = {
    "cosine": (Cosine, "behind the last layer with 6 rows"),
    "rows of length one": (normalised, "no layer with a row for each score"),
    "embedding": (ended(F.normalize), "behind the last layer with 5 rows"),
    "sigmoids": (ended(torch.sigmoid), "behind the last layer with 5 rows"),
    "tanh": (ended(torch.tanh), "behind the last layer with 5 rows"),
    "relu": (ended(lambda y: (y - y.mean()).relu()), "behind the last layer with 5 rows"),
    "hard-swish": (ended(F.hardswish), "behind the last layer with 5 rows"),
    "sigmoids, and a layer nobody hears": (lambda: Unheard(), "behind the last layer with 5 rows"),
    "a norm before sigmoids": (lambda: Before(), "behind the last layer with 5 rows"),
    "one score": (lambda: Scores(out=1), "got one score, wanted two or more scores"),
}


class Unheard(Scores):
    """Sigmoids; an auxiliary layer runs last, and what it puts out goes nowhere."""

    def __init__(self):
        super().__init__()
        self.fc.weight.data /= 8
        self.other = linear(C, C, 5)

    def after(self, y):
        self.other(y)
        return y.sigmoid()


class Before(Scores):
    """A LayerNorm that takes a common shift away again, before a head of sigmoids."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm = linear(C + 2, K, 3), nn.LayerNorm(C + 2).double()
        self.fc = linear(C, C + 2, 5)

    def read(self, A):
        z = self.norm(self.hidden(A.mean((2, 3))))
        return self.fc(z / 8), z

    def after(self, y):
        return y.sigmoid()


@pytest.mark.claim("C5")
@pytest.mark.parametrize("name", NONE)
def test_where_no_softmax_shift_exists_the_column_says_so_and_the_others_stand(name):
    make, why = NONE[name]
    model, x = Net(make()), images() / 8
    report = audit.audit(SIGNED, model, x, layer="features")
    assert why in report.absent["softmax shift"]
    assert "have no such freedom" in report.absent["softmax shift"]
    assert report.verdict("map", "softmax shift") == "does not apply"
    assert report.rows is None
    assert "softmax=False" not in str(report)
    others = audit.audit(SIGNED, model, x, layer="features", symmetries=["mixing", "shift"])
    assert [report.changes["map"][kind] for kind in others.symmetries] == [
        *others.changes["map"].values()
    ]
    assert report.verdict("map", "mixing") == "unchanged"
    assert report.verdict("map", "shift").amount > 0


def test_scores_that_are_not_read_through_a_softmax_have_no_softmax_shift():
    """Several labels and a regression have linear heads too: only who asks can say so."""
    report = run("gap", SIGNED, softmax=False)
    assert report.absent["softmax shift"].startswith("the scores are not read by a softmax")
    assert report.verdict("map", "softmax shift") == "does not apply"
    assert run("gap", SIGNED).verdict("map", "softmax shift").kind == "changes"


DIRECTION = integers(C, seed=2)
TARGETS = {
    "cosine": (lambda y: F.normalize(y) @ DIRECTION.to(y), "does not apply"),
    "sigmoid": (lambda y: y[:, 1].sigmoid(), "does not apply"),
    "square": (lambda y: -(y[:, 1] - 3).square(), "does not apply"),
    "logit": (lambda y: y[:, 1], "changes"),
    "sum": (lambda y: 1e6 * y[:, :3].sum(1), "changes"),
    "centred": (centred(1), "unchanged"),
    "probability": (probability(1), "unchanged"),
    "log-probability": (log_probability(1), "unchanged"),
    "log-odds": (log_odds(1), "unchanged"),
}


@pytest.mark.claim("C5")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_is_not_read_as_scores_are_has_no_softmax_shift(name, dtype):
    target, kind = TARGETS[name]
    head = Scores()
    head.fc.weight.data /= 16  # no probability is so near to one that its map is rounding
    model, x = Net(head).to(dtype), (images() / 8).to(dtype)
    report = audit.audit(SIGNED, model, x, lambda y: target(y).to(y), layer="features")
    assert report.verdict("map", "softmax shift").kind == kind


def test_a_target_may_be_large_where_its_scores_cancel():
    """Twice a gain is the gain twice, up to the rounding of the gain, not of the zero before it."""
    a = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    y = torch.cat([a, 2 * a, -3 * a], 1)
    assert audit._linear_in_a_common_gain(y, lambda y: 1e6 * y.sum(1))


def test_a_drawn_shift_that_moves_a_prediction_is_a_column_that_says_so():
    """Behind a ReLU a shift is harmless until it takes a score below zero."""
    said = []
    for seed in range(12):
        model = Net(ended(torch.relu)())
        model.head.fc.bias.data += 6
        report = audit.audit(SIGNED, model, images() / 8, 0, layer="features", seed=seed)
        said.append(report.absent.get("softmax shift", ""))
        assert (report.rows is None) == bool(said[-1])
        assert report.verdict("map", "mixing") == "unchanged"
    assert any("predictions: moved by" in why for why in said), said


def test_a_layer_with_as_many_channels_as_rows_and_columns_is_audited():
    """K = h = w could be channels last: a re-coded layer is what the layer has proved to be."""
    torch.manual_seed(0)
    head = nn.AvgPool2d(16), nn.Flatten(), nn.Linear(16, 5)
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()), *head).eval()
    x = torch.rand(1, 3, 16, 16)
    report = zerocam.audit(None, model, x, layer="0.1")
    assert (report.errors, report.uncut) == ({}, None)
    assert report.verdict("Grad-CAM", "shift").kind == "one constant"
    assert report.verdict("Grad-CAM", "places").kind == "changes"
    M = zerocam.grad_cam(model, x, 1, layer="0.1", relu=False)
    T = symmetries.random_symmetry("places", 256, 0)
    told, layer = zerocam.reparametrize(model, "0.1", T, x=x)
    turned = zerocam.grad_cam(told, x, 1, layer=layer, relu=False)
    torch.testing.assert_close(turned.flatten().sort()[0], M.flatten().sort()[0])
    with pytest.raises(zerocam.Refused, match=r"layer '0\.1': no gradient of the target"):
        zerocam.audit(None, model, x, lambda y: y.detach().sum(1), layer="0.1")


def test_half_precision_is_said_to_hide_small_changes():
    model, x = (
        nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        torch.rand(1, 3, 4, 4),
    )
    for kind, said in ((torch.float32, False), (torch.bfloat16, True)):
        report = zerocam.audit(None, model, x.to(kind), 0, layer="0", symmetries=["shift"])
        assert ("in half precision const may hide a change below this" in str(report)) == said
