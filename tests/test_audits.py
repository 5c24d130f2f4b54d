"""The audit: by hand, the table of claim B6 as measured, where methods run, errors, families."""

import functools
import re

import pytest
import torch
import torchvision
from nets import Backwards, K, Net, heads, images, integers
from torch import nn

import zerocam
from zerocam import audits as audit
from zerocam import imagenet, methods, peers, recode, references, symmetries
from zerocam.cut import Place, Uncut, cut
from zerocam.lab import nets, pictures
from zerocam.targets import centred


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
    #                    permute  scale  flip   mix    shift     affine    softmax
    "Grad-CAM":               ("u", "u", "u", "u", "one", "one", "c"),
    "Grad-CAM, spatial mean": ("u", "u", "u", "u", "u", "u", "c"),
    "HiResCAM":               ("u", "u", "u", "u", "one", "one", "c"),
    "LayerCAM":               ("u", "u", "c", "c", "one", "c", "c"),
    "XGrad-CAM":              ("u", "u", "u", "u", "one", "one", "c"),
    "Grad-CAM++":             ("u", "u", "c", "c", "c", "c", "c"),
    "Eigen-CAM":              ("u", "c", "u", "c", "c", "c", "u"),
    "Eigen-CAM, centred":     ("u", "c", "u", "c", "u", "c", "u"),
    "LaFAM":                  ("u", "c", "c", "c", "one", "c", "u"),
}  # fmt: skip
MLP = GAP
FLAT = GAP | {
    "HiResCAM":               ("u", "u", "u", "u", "c", "c", "c"),
    "LayerCAM":               ("u", "u", "c", "c", "c", "c", "c"),
    "XGrad-CAM":              ("u", "u", "u", "c", "c", "c", "c"),
}  # fmt: skip
WORD = {"u": "unchanged", "one": "one constant", "c": "changes"}


@pytest.mark.claim("B6")
@pytest.mark.parametrize(("head", "expected"), [("gap", GAP), ("mlp", MLP), ("flat", FLAT)])
def test_which_method_keeps_which_symmetry(head, expected):
    if head == "flat":  # its rows belong to (channel, position): no row for a softmax shift of K
        expected = {name: row[:-1] for name, row in expected.items()}
        table = run(head, symmetries=symmetries.KINDS[:-1]).table()
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
            report = audit.audit(honest, model, images(), centred(2), layer="features", seed=seed)
            assert set(report.table().loc["honest"]) == {"unchanged"}, (head, seed)


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


class Counting(nn.Module):
    """Counts its runs."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.runs = inner, []

    def forward(self, x):
        self.runs.append(len(x))
        return self.inner(x)


def test_the_backbone_runs_once_where_the_model_can_be_cut():
    model = Net(heads()["mlp"])
    front = Counting(model.features)
    model.features = nn.Sequential(front)
    front.__dict__["runs"] = runs = []
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
    """Eight methods run the network as often as one; each with the choices it was given."""

    def runs(named) -> int:
        model, count = Untraceable(Net(heads()["mlp"])), []
        model.register_forward_hook(lambda *_: count.append(1))  # a hook is shared by the copies
        report = audit.audit(named, model, images(), 2, layer="inner.features")
        assert report.errors == {}
        assert set(report.ran_on.values()) == {"whole model"}
        return len(count)

    one = {"Grad-CAM": audit.METHODS["Grad-CAM"]}
    assert runs(None) == runs(one)
    own_pass = {"by hand": lambda *args, **kw: zerocam.grad_cam(*args, **kw)}
    assert runs(one | own_pass) == runs(one) + 1 + len(symmetries.KINDS)


def test_a_method_that_chooses_its_own_run_of_the_layer_is_asked_itself():
    """`call` and `reshape` say how to tap the network, so no shared tap will do."""
    chosen = {"first": functools.partial(zerocam.grad_cam, relu=False, call=0)}
    report = run("mlp", chosen | {"Grad-CAM": audit.METHODS["Grad-CAM"]})
    assert report.errors == {}
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
        for m, v, at in ((model, x, "layer4.1.bn2"), (place.model, place.x, "cut"))
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
        audit.Verdict("error"): ("error", "error"),
    }
    for verdict, (words, short) in told.items():
        assert (verdict, verdict.short) == (words, short)
        assert verdict.startswith(verdict.kind)
    assert len({verdict.colour for verdict in told}) == 4


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
    assert report.errors == {}, (
        "dropout draws the same at each run, so what moved is the symmetry's"
    )
    assert set(report.ran_on.values()) == {"head" if named is None else "whole model"}
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_change_that_moves_predictions_is_refused():
    model = Untraceable(Net(nn.Sequential(*heads()["mlp"][:-1], Backwards())))
    lifted = {"lifted": symmetries.SoftmaxShift(integers(6, seed=1))}
    with pytest.raises(ValueError, match="predictions: moved by"):
        audit.audit(None, model, images(), 2, layer="inner.features", symmetries=lifted)


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
    assert expected.errors == {}
    assert set(expected.ran_on.values()) == set(same.ran_on.values()) == {"head"}


@pytest.mark.claim("C5")
def test_a_single_score_has_no_softmax_shift():
    """softmax of one score is 1 whatever is added to it, but its sigmoid is not."""
    model = Net(nn.Sequential(*heads()["gap"][:2], nn.Linear(K, 1).double()))
    report = audit.audit(None, model, images(), layer="features")
    assert list(report.frame.columns.unique(0)) == list(symmetries.KINDS)[:-1]
    assert "got one score" in report.errors["softmax shift"]
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
    assert report.errors == {}
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
    assert report.errors == {}
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


class Inside(Net):
    """Its layer is made inside a head whose last linear layer stands before it."""

    def __init__(self, head):
        super().__init__(head)
        self.register_module("first", nn.Sequential(nn.Flatten(), nn.Linear(16, 16).double()))

    def forward(self, x):
        return self.head(self.features(self.first(x).view_as(x)))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Twice, "the layer runs 2 times"),
        (Normed, "has other gradients"),
        (Inside, "its last linear layer is not behind the layer"),
    ],
)
def test_why_a_model_is_not_cut(make, why):
    with pytest.raises(Uncut, match=why):
        cut(make(heads()["gap"]), images(), "features")


def test_a_head_of_attention_ends_in_its_classifier():
    """torch.fx would register the last block's linear layer behind the classifier's."""
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24,
        num_classes=5,
    ).eval()  # fmt: skip
    nn.init.normal_(model.heads.head.weight)
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
