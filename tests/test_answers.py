"""What a model is given and what it answers: every kind of input and output, right or refused."""

import copy
import warnings
from collections import OrderedDict, UserDict

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

import zerocam
from zerocam import layers, methods, targets
from zerocam.recode import reparametrize
from zerocam.refusals import LayerRefused, Refused
from zerocam.symmetries import random_symmetry


def body(channels=3, K=6):
    return nn.Sequential(nn.Conv2d(channels, K, 3, 2, 1), nn.ReLU())


def picture(n=2, channels=3, height=20, width=28):
    return torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(4))


class Answers(nn.Module):
    """y = fc(mean A), answered in the way it is told to."""

    def __init__(self, answer=lambda y, A: y):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc, self.answer = body(), nn.Linear(6, 4), answer

    def forward(self, x):
        A = self.body(x)
        return self.answer(self.fc(A.mean((2, 3))), A)


def plain(x, target=None, what=zerocam.grad_cam, **how):
    return what(Answers().eval(), x, target, layer="body", **how)


# ---- what it answers ----------------------------------------------------------------------------


class Output(OrderedDict):
    """An output of Hugging Face in small: a dict whose entries are attributes as well."""

    def __getattr__(self, name):
        return self[name]


class Logits:
    """An output that is no dict, with scores as an attribute."""

    def __init__(self, y):
        self.logits = y


NAMED = {
    "dict": lambda y, A: {"logits": y, "hidden": A},
    "output": lambda y, A: Output(logits=y, hidden=A),
    "attribute": lambda y, A: Logits(y),
}


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_an_output_that_names_its_logits_works_as_it_comes(named):
    model, x = Answers(named).eval(), picture()
    assert torch.equal(zerocam.grad_cam(model, x, 2, layer="body"), plain(x, 2))
    assert torch.equal(zerocam.grad_cam(model, x, layer="body"), plain(x))
    every = zerocam.grad_cam_all(model, x, layer="body", relu=False)
    assert torch.equal(every, zerocam.grad_cam_all(Answers().eval(), x, layer="body", relu=False))
    assert zerocam.explain_blank(model, x, 1, layer="body") == zerocam.explain_blank(
        Answers().eval(), x, 1, layer="body"
    )
    assert zerocam.suggest_layer(model, x) == zerocam.suggest_layer(Answers().eval(), x)
    for kind in (methods.ablation_cam, methods.score_cam):
        assert torch.equal(kind(model, x, 2, layer="body"), plain(x, 2, kind))


def test_an_output_that_names_its_logits_can_be_audited():
    x = picture(1)
    found = [
        zerocam.audit(None, Answers(answer).eval(), x, 1, layer="body", symmetries=["shift"])
        for answer in (NAMED["output"], lambda y, A: y)
    ]
    assert str(found[0].table()) == str(found[1].table())


def test_any_output_can_be_explained_by_a_target_of_ones_own():
    """By hand: the gradient of the same number by autograd, averaged, times the activations."""
    q = torch.randn(4, generator=torch.Generator().manual_seed(2))
    cases = {
        "mask": (lambda y, A: A[:, :4], lambda y: y[:, 1].clamp(max=0.2).mean((1, 2))),
        "detections": (
            lambda y, A: [{"scores": s.softmax(0)} for s in y],
            lambda y: torch.stack([one["scores"][2] for one in y]),
        ),
        "similarity": (lambda y, A: normalize(y), lambda y: y @ q),
        "regression": (lambda y, A: y[:, 0], lambda y: y),
        "tuple": (lambda y, A: (A, y), lambda y: y[1][:, 3]),
    }
    x = picture()
    for name, (answer, target) in cases.items():
        model = Answers(answer).eval()
        A = model.body(x).detach().requires_grad_()
        s = target(answer(model.fc(A.mean((2, 3))), A))
        (G,) = torch.autograd.grad(s.sum(), A)
        expected = (G.mean((2, 3), keepdim=True) * A).sum(1).detach()
        got = zerocam.grad_cam(model, x, target, layer="body", relu=False)
        torch.testing.assert_close(got, expected, msg=name)
        assert zerocam.explain_blank(model, x, target, layer="body")
        where, _ = zerocam.suggest_layer(model, x, target)
        assert where == {"layer": "body"}, name
        report = zerocam.audit(None, model, x, target, layer="body")
        assert report.verdict("Grad-CAM", "mixing").kind == "unchanged", name
        assert report.verdict("local score", "shift").kind == "unchanged", name
        assert "softmax shift" in report.absent, name  # none of these is read by a softmax
        if name != "similarity":  # whose output is scores, as far as anybody can tell
            with pytest.raises(Refused, match=r"model: got .*; pass a target of your own"):
                zerocam.grad_cam(model, x, 0, layer="body")


def test_a_change_that_moves_an_answer_of_any_form_is_refused():
    """A dict of a mask and of scores: the turn of the positions moves the mask alone."""
    model, x = Answers(lambda y, A: {"scores": y, "more": [A.sum(1)]}).eval(), picture()
    T = random_symmetry("places", 10 * 14, 0)
    with pytest.raises(Refused, match="predictions: moved by"):
        reparametrize(model, "body", T, x=x)
    told, _ = reparametrize(Answers().eval(), "body", T, x=x)
    torch.testing.assert_close(told(x), Answers().eval()(x))


class Bag(nn.Module):
    """One row of scores for all images together, weighted by attention."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body, self.a, self.fc = body(), nn.Linear(6, 1), nn.Linear(6, 2)

    def forward(self, x):
        z = self.body(x).mean((2, 3))
        return self.fc((self.a(z).softmax(0) * z).sum(0, keepdim=True))


def test_images_that_are_scored_together_get_a_map_each():
    model, x = Bag().eval(), picture(5)
    A = model.body(x).detach().requires_grad_()
    z = A.mean((2, 3))
    y = model.fc((model.a(z).softmax(0) * z).sum(0, keepdim=True))
    every = zerocam.grad_cam_all(model, x, layer="body", relu=False)
    assert every.shape == (5, 2, 10, 14)
    for c in range(2):
        (G,) = torch.autograd.grad(y[0, c], A, retain_graph=True)
        expected = (G.mean((2, 3), keepdim=True) * A).sum(1).detach()
        got = zerocam.grad_cam(model, x, c, layer="body", relu=False)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(every[:, c], expected)
    same = zerocam.grad_cam(model, x, lambda y: y[0, 1], layer="body", relu=False)
    assert torch.equal(same, got)


def test_no_image_of_a_bag_has_a_score_of_its_own(untyped):
    for what in (zerocam.grad_cam, zerocam.explain_blank):
        with pytest.raises(Refused, match=r"complete: got scores \(1,\) for maps \(3, 10, 14\)"):
            what(Bag().eval(), picture(3), 1, layer="body", complete=True)


def test_a_sum_over_images_that_have_scores_is_still_refused():
    with pytest.raises(Refused, match="reduce over classes, not over images"):
        plain(picture(3), lambda y: y.sum())


BAD = {
    "None": (lambda y, A: None, "got NoneType as its output"),
    "tuple": (lambda y, A: (y, A), "got tuple as its output"),
    "tiles": (lambda y, A: y[:1].expand(9, -1), r"got shape \(9, 4\)"),
    "whole numbers": (lambda y, A: y.round().long(), "got torch.int64 as its scores"),
    "complex": (lambda y, A: y.to(torch.complex64), "got torch.complex64 as its scores"),
}


@pytest.mark.parametrize(("answer", "message"), BAD.values(), ids=BAD)
def test_an_output_without_scores_is_refused_for_what_it_is(answer, message):
    model = Answers(answer).eval()
    for what in (zerocam.grad_cam, zerocam.grad_cam_all):
        with pytest.raises(Refused, match=f"model: {message}"):
            what(model, picture(), layer="body")
    with pytest.raises(Refused, match=f"model: {message}"):
        zerocam.suggest_layer(model, picture())


# ---- what it is given ---------------------------------------------------------------------------


class WithAge(nn.Module):
    """Reads images, two more numbers for each, and a factor."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.body, self.fc = body(), nn.Linear(8, 4)

    def forward(self, pixels, age, scale=1.0):
        return scale * self.fc(torch.cat([self.body(pixels).mean((2, 3)), age], 1))


class Held(nn.Module):
    """The same with the other inputs held: a function of images alone."""

    def __init__(self, model, *more):
        super().__init__()
        self.model, self.more = model, more

    def forward(self, x):
        return self.model(x, *self.more)


def test_several_inputs_go_in_as_a_tuple_or_by_their_names():
    model, x, age = WithAge().eval(), picture(), torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    held = Held(model, age, 2.0).eval()
    given = [(x, age, 2.0), {"age": age, "pixels": x, "scale": 2.0}]
    given.append(UserDict(given[1]))  # as the processors of Hugging Face return
    for every in given:
        for what in (zerocam.grad_cam, methods.ablation_cam, methods.score_cam):
            for target in (None, 2, targets.centred(1)):
                expected = what(held, x, target, layer="model.body")
                assert torch.equal(what(model, every, target, layer="body"), expected)
        all_of_it = zerocam.grad_cam_all(model, every, layer="body")
        assert torch.equal(all_of_it, zerocam.grad_cam_all(held, x, layer="model.body"))
        where, why = zerocam.suggest_layer(model, every)
        assert (where, "10 x 14" in why) == ({"layer": "body"}, True)
        assert layers.named_layer(model, every, "body.0") == {"layer": "body.0"}
        report = zerocam.audit([zerocam.grad_cam], model, every, 1, layer="body")
        verdicts = [report.verdict("grad_cam", kind).kind for kind in ("scaling", "shift")]
        assert verdicts == ["unchanged", "changes"]


def test_a_missing_input_is_named_with_the_way_to_give_it():
    said = r"x: got inputs with missing a required argument: 'age', .*WithAge.forward takes, "
    for what in (zerocam.suggest_layer, lambda m, x: zerocam.grad_cam(m, x, layer="body")):
        with pytest.raises(Refused, match=said + r"\(pixels, age, scale=1.0\); pass all of it"):
            what(WithAge().eval(), picture())


x4 = picture()
WRONG = {
    "one image": (
        x4[0],
        r"\(3, 20, 28\), .*add a batch axis: x\[None\], or pass \(x,\) if",
    ),
    "channels last": (x4.permute(0, 2, 3, 1), r"20, 28, 3\), .*x.permute\(0, 3, 1, 2\)$"),
    "video": (x4[:, :, None].expand(-1, -1, 5, -1, -1), r"make each frame an image: x.transpose"),
    "grey": (x4[:, :1], r"repeat the grey channel: x.expand\(-1, 3, -1, -1\)$"),
    "bytes": (x4.byte(), r"got torch.uint8 of shape .*x.float\(\) / 255"),
    "float64": (x4.double(), r"x.to\('cpu', torch.float32\), as the weights are$"),
    "numpy": (x4.numpy(), r"x: got ndarray, .*torch.from_numpy\(x\).float\(\)"),
    "PIL": (Image.new("RGB", (28, 20)), r"x: got Image, .*read_photo\(path\)\[None\]"),
    "list": ([x4[0], x4[1]], r"x: got list, .*torch.stack\(x\)"),
    "word": ("photo.jpg", "x: got str, .*make a tensor of it"),
    "vectors": (x4[:, 0, 0], r"\(2, 28\), .*give each image its channels, rows and columns"),
    "empty": (x4[:0], "an empty batch"),
    "nothing": ((), r"x: got a tuple of nothing, wanted images \(N, ch, H, W\) in it"),
    "no images": ({"ids": x4[:, 0, 0]}, "x: got a dict of torch.float32 of shape"),
}


@pytest.mark.parametrize(("x", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_batch_of_images_is_refused_for_its_own_reason(untyped, x, message):
    for what in (
        lambda: plain(x),
        lambda: zerocam.grad_cam_all(Answers().eval(), x, layer="body"),
        lambda: zerocam.suggest_layer(Answers().eval(), x),
    ):
        with pytest.raises(Refused, match=message):
            what()


class Tokens(nn.Module):
    """The scores of tokens (N, T, D)."""

    def __init__(self, classes):
        super().__init__()
        self.body, self.fc = nn.Linear(5, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.body(x).mean(1))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_tokens_that_the_model_takes_as_they_are_want_no_batch_axis(n, classes):
    model, x = Tokens(classes), torch.randn(n, 7, 5)
    at = {"layer": "body", "reshape": zerocam.tokens_to_map(1, 7)}
    M = zerocam.grad_cam(model, x, 0, **at)
    assert M.shape == (n, 1, 7)
    assert torch.equal(M, zerocam.grad_cam(model, (x,), 0, **at))


def test_a_batch_of_one_signal_wants_no_other():
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(8, 3))
    M = zerocam.grad_cam(model, torch.randn(1, 2, 4), 0, layer="0", reshape=lambda A: A[:, :, None])
    assert M.shape == (1, 1, 4)


def test_means_of_channels_are_scores_of_one_image_and_not_of_three():
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(Refused, match="add a batch axis"):
        zerocam.grad_cam(model, x4[0], 0, layer="0")


def test_a_mend_is_named_only_where_it_works():
    """Channels that are neither first nor last: the model's own words are all there is."""
    with pytest.raises(RuntimeError, match="channels"):
        plain(torch.zeros(1, 5, 20, 28))


@pytest.mark.parametrize(
    ("model", "said"), [(Bag, "the class Bag"), (len, "builtin_function"), ({}, "dict")]
)
def test_what_is_no_network_is_refused(untyped, model, said):
    with pytest.raises(Refused, match=f"model: got {said}.*wanted an nn.Module"):
        zerocam.grad_cam(model, picture(), layer="body")


# ---- one and three dimensions -------------------------------------------------------------------


def line(A):
    return A[:, :, None]


def test_a_signal_has_a_map_of_one_row():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 5, 7, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 3)
    )
    net, x = net.eval(), torch.randn(4, 2, 61, generator=torch.Generator().manual_seed(1))
    with pytest.raises(
        LayerRefused, match=r"\(4, 5, 28\).*for a signal .*lambda A: A\[:, :, None\]"
    ):
        zerocam.grad_cam(net, x, 1, layer="1")
    M = zerocam.grad_cam(net, x, 1, layer="1", reshape=line, relu=False)
    A = net[:2](x)
    expected = torch.einsum("k,nkt->nt", net[4].weight[1], A) / 28
    torch.testing.assert_close(M[:, 0], expected.detach())
    where, why = zerocam.suggest_layer(net, x)
    assert (where["layer"], "5 channels, 1 x 28" in why) == ("1", True)
    assert torch.equal(zerocam.grad_cam(net, x, 1, **where, relu=False), M)
    assert torch.equal(
        zerocam.grad_cam(net, x, 1, relu=False, **layers.named_layer(net, x, "1")), M
    )


def test_a_volume_has_a_map_of_three_dimensions_folded_into_two():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    net, x = net.eval(), torch.randn(2, 1, 6, 10, 14, generator=torch.Generator().manual_seed(1))
    with pytest.raises(LayerRefused, match=r"reshape=lambda A: A.flatten\(2, 3\).*M.unflatten\(1"):
        zerocam.grad_cam(net, x, 1, layer="1")
    M = zerocam.grad_cam(net, x, 1, layer="1", reshape=lambda A: A.flatten(2, 3), relu=False)
    expected = torch.einsum("k,nkdij->ndij", net[4].weight[1], net[:2](x)) / (3 * 5 * 7)
    torch.testing.assert_close(M.unflatten(1, (3, 5)), expected.detach())
    with pytest.raises(Refused, match=r"x: got volumes, .*A.flatten\(2, 3\)"):
        zerocam.suggest_layer(net, x)


# ---- models as people have them -----------------------------------------------------------------


class Around(nn.Module):
    """A network inside another."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in place", "a part", "its forward"])
def test_what_was_compiled_and_has_run_gives_the_same_map(how):
    torch._dynamo.reset()
    x, inner = picture(), Answers().eval()
    model, layer = inner, "body"
    if how == "in place":
        model.compile(backend="eager")
    elif how == "a part":
        model, layer = Around(torch.compile(inner, backend="eager")).eval(), "inner._orig_mod.body"
    else:
        model.forward = torch.compile(model.forward, backend="eager")
    with torch.no_grad():
        before = model(x)
    for what in (zerocam.grad_cam, zerocam.grad_cam_all):
        expected = what(Answers().eval(), x, layer="body")
        assert torch.equal(what(model, x, layer=layer), expected)
    assert zerocam.suggest_layer(model, x)[0]["layer"].endswith("body")
    with torch.no_grad():
        assert torch.equal(model(x), before)
    torch._dynamo.reset()


def scripted(how):
    with warnings.catch_warnings():  # torch would rather have it replaced
        warnings.simplefilter("ignore")
        inner = nn.Sequential(body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)).eval()
        return Around(how(inner)).eval()


@pytest.mark.parametrize("how", [torch.jit.script, lambda m: torch.jit.trace(m, picture(1))])
def test_torchscript_inside_is_named(how):
    model = scripted(how)
    with pytest.raises(LayerRefused, match=r"layer 'inner.0': got TorchScript, .*it was made from"):
        zerocam.grad_cam(model, picture(1), 0, layer="inner.0")
    with pytest.raises(Refused, match="not 'inner': it is TorchScript"):
        zerocam.suggest_layer(model, picture(1))


class Checkpointed(nn.Module):
    """Its second half is not kept for the backward pass but computed again."""

    def __init__(self, reentrant):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.fc = body(), body(6, 6), nn.Linear(6, 3)
        self.reentrant = reentrant

    def forward(self, x):
        A = checkpoint(self.b, self.a(x), use_reentrant=self.reentrant)
        return self.fc(A.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_checkpoint_is_passed_or_named():
    x, mend = picture(), "make the checkpoint with use_reentrant=False"
    kept, thrown = Checkpointed(reentrant=False).eval(), Checkpointed(reentrant=True).eval()
    eager = nn.Sequential(kept.a, kept.b, nn.AdaptiveAvgPool2d(1), nn.Flatten(), kept.fc).eval()
    for name, layer in {"a": "0", "b": "1"}.items():
        expected = zerocam.grad_cam(eager, x, 1, layer=layer)
        torch.testing.assert_close(zerocam.grad_cam(kept, x, 1, layer=name), expected)
    for what in (zerocam.grad_cam, zerocam.grad_cam_all):
        with pytest.raises(LayerRefused, match=f"use_reentrant=True lies between it and .*{mend}"):
            what(thrown, x, layer="a")
        with pytest.raises(LayerRefused, match=f"the layer runs inside a checkpoint with .*{mend}"):
            what(thrown, x, layer="b")
    with pytest.raises(
        Refused, match=r"not 'b': .*inside a checkpoint.*not 'a': a checkpoint with"
    ):
        zerocam.suggest_layer(thrown, x)


def test_weights_of_inference_mode_are_named_and_a_copy_works():
    with torch.inference_mode():
        model = Answers().eval()
    x = picture()
    for what in (
        lambda m: zerocam.grad_cam(m, x, 1, layer="body"),
        lambda m: zerocam.suggest_layer(m, x),
    ):
        with pytest.raises(
            Refused, match=r"weights made in inference_mode.*copy.deepcopy\(model\)"
        ):
            what(model)
        what(copy.deepcopy(model))
    again = zerocam.grad_cam(copy.deepcopy(model), x, 1, layer="body")
    assert torch.equal(again, plain(x, 1))


class Quantised(nn.Module):
    """Like torch's quantised modules: a module of theirs, and a product without a slope."""

    def __init__(self):
        super().__init__()
        self.weight = torch.randint(-9, 9, (6, 4))

    def forward(self, z):
        return (z.detach().round().long() @ self.weight).float()


Quantised.__module__ = "torch.ao.nn.quantized.modules.linear"


def test_whole_numbers_behind_a_layer_are_named():
    model = nn.Sequential(body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Quantised()).eval()
    said = "'3' computes with whole numbers, which have none.*explain the float model"
    with pytest.raises(LayerRefused, match=said):
        zerocam.grad_cam(model, picture(), 0, layer="0")
    with pytest.raises(Refused, match=said):
        zerocam.suggest_layer(model, picture())


@pytest.mark.slow
def test_a_model_that_torch_has_quantised_is_refused_with_the_cause():
    from torch.ao import quantization

    net = nn.Sequential(*body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = quantization.quantize_dynamic(copy.deepcopy(net), {nn.Linear}, dtype=torch.qint8)
        static = nn.Sequential(quantization.QuantStub(), *net, quantization.DeQuantStub()).eval()
        engine = torch.backends.quantized.supported_engines[-1]
        static.qconfig = quantization.get_default_qconfig(engine)
        quantization.prepare(static, inplace=True)(picture())
        quantization.convert(static, inplace=True)
        with pytest.raises(LayerRefused, match="'4' computes with whole numbers"):
            zerocam.grad_cam(dynamic, picture(), 0, layer="1")
        with pytest.raises(LayerRefused, match=r"got torch.quint8 as its output, wanted floats"):
            zerocam.grad_cam(static, picture(), 0, layer="2")
        with pytest.raises(Refused, match="whole numbers have no gradient"):
            zerocam.suggest_layer(static, picture())


def test_where_the_gradient_is_cut_is_named():
    class Cuts(nn.Module):
        def forward(self, A):
            return A.detach().mean((2, 3))

    with pytest.raises(LayerRefused, match="cut in a Cuts by a detach, no_grad or inference_mode"):
        zerocam.grad_cam(nn.Sequential(body(), Cuts(), nn.Linear(6, 2)), picture(), 0, layer="0")


class Membrane(nn.Module):
    """A leaky unit that keeps its charge as an attribute, in a dict, in a buffer or in a list."""

    def __init__(self, kept):
        super().__init__()
        self.kept, self.charge, self.memory, self.steps = kept, None, {"charge": 0.0}, 0
        self.register_buffer("buffer", torch.zeros(1))

    def forward(self, x):
        self.steps += 1
        if self.kept == "attribute":
            self.charge = x if self.charge is None else 0.5 * self.charge + x
            return self.charge.sigmoid()
        if self.kept == "in place":
            self.charge = torch.zeros_like(x) if self.charge is None else self.charge
            return self.charge.mul_(0.5).add_(x.detach()).sigmoid() * x
        if self.kept == "dict":
            self.memory["charge"] = 0.5 * self.memory["charge"] + x
            return self.memory["charge"].sigmoid()
        self.buffer = 0.5 * self.buffer + x.mean()
        return (x + self.buffer).sigmoid()


@pytest.mark.parametrize("kept", ["attribute", "in place", "dict", "buffer"])
@pytest.mark.parametrize("ran_before", [False, True])
def test_a_state_that_a_forward_moves_is_put_back(kept, ran_before):
    torch.manual_seed(0)
    unit = Membrane(kept)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), unit, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    net, x = net.eval(), picture()
    if ran_before:
        with torch.no_grad():
            net(x)
    before = copy.deepcopy((unit.charge, unit.memory, unit.buffer, unit.steps))
    one = zerocam.grad_cam(net, x, 1, layer="1", relu=False)
    zerocam.suggest_layer(net, x[:1]) if not ran_before else None
    methods.score_cam(net, x, 1, layer="1") if kept == "dict" else None
    after = (unit.charge, unit.memory, unit.buffer, unit.steps)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert torch.equal(zerocam.grad_cam(net, x, 1, layer="1", relu=False), one)


# ---- branches, and layers that run more than once -----------------------------------------------


class Two(nn.Module):
    """Two branches that meet in the head; or, with one body for both, a Siamese network."""

    def __init__(self, *, shared):
        super().__init__()
        self.a = body(2)
        self.b = self.a if shared else body(2)
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        z = [part(x[:, i : i + 2]).mean((2, 3)) for i, part in ((0, self.a), (2, self.b))]
        return self.fc(torch.cat(z, 1))


def test_of_two_branches_one_is_to_be_named_and_of_two_runs_one():
    x = picture(1, 4)
    with pytest.raises(
        Refused, match=r"not 'b': part of the image goes round it \(of several br.*name"
    ):
        zerocam.suggest_layer(Two(shared=False).eval(), x)
    assert zerocam.grad_cam(Two(shared=False).eval(), x, 0, layer="b").shape == (1, 10, 14)
    model = Two(shared=True).eval()
    with pytest.raises(Refused, match=r"not 'a': it runs 2 times \(name it and call=0 to 1\)"):
        zerocam.suggest_layer(model, x)
    assert layers.named_layer(model, x, "a") == {"layer": "a"}
    maps = [zerocam.grad_cam(model, x, 0, layer="a", call=call, relu=False) for call in (0, 1)]
    for half, M in zip((slice(0, 6), slice(6, 12)), maps, strict=True):
        A = model.a(x[:, :2] if half.start == 0 else x[:, 2:])
        expected = torch.einsum("k,nkij->nij", model.fc.weight[0, half], A) / A[0, 0].numel()
        torch.testing.assert_close(M, expected.detach())


def test_rows_that_are_not_images_are_refused():
    class Windows(nn.Module):
        def forward(self, x):
            return x.unflatten(3, (2, -1)).movedim(3, 1).flatten(0, 1)

    class Back(nn.Module):
        def forward(self, A):
            return A.unflatten(0, (-1, 2)).mean((1, 3, 4))

    net = nn.Sequential(Windows(), Back(), nn.Linear(3, 2)).eval()
    with pytest.raises(LayerRefused, match="got 4 rows for 2 images, wanted one for each image"):
        zerocam.grad_cam(net, picture(), 0, layer="0")
    apart = zerocam.grad_cam(
        net,
        picture(),
        0,
        layer="0",
        reshape=lambda A: A.unflatten(0, (-1, 2)).movedim(1, 3).flatten(3),
    )
    assert apart.shape == (2, 20, 28)


@pytest.mark.parametrize(
    ("shape", "mend", "meant"),
    [
        ((2, 4, 20, 28), "leave its opacity out: x[:, :3]", lambda x: x[:, :3]),
        ((1, 2, 3, 20, 28), "its first two: x.flatten(0, 1)", lambda x: x.flatten(0, 1)),
        (
            (1, 3, 2, 20, 28),
            "image: x.transpose(1, 2).flatten(0, 1)",
            lambda x: x[0].transpose(0, 1),
        ),
    ],
)
def test_images_with_an_axis_or_a_channel_too_many_are_refused(shape, mend, meant):
    x = torch.rand(shape)
    with pytest.raises(Refused, match="what the model takes, ") as refused:
        zerocam.grad_cam(Answers(), x, 0, layer="body")
    assert refused.value.mend.endswith(mend)
    assert len(zerocam.grad_cam(Answers(), meant(x), 0, layer="body")) == 2
