"""The other methods: by hand, a second derivation in loops, peer libraries, edges, refusals.

What each method keeps and loses under a change of coordinates is in test_symmetries.py.
"""

import functools
import inspect
import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import C, K, Net, Square, Z, h, heads, images, integers, linear, w
from torch import nn

import zerocam
from zerocam import methods, references, targets
from zerocam.hooks import channel_axis

EQUATIONS = [
    methods.hires_cam,
    methods.layer_cam,
    methods.grad_cam_pp,
    methods.xgrad_cam,
    methods.eigen_cam,
    methods.lafam,
]
PERTURBING = [methods.score_cam, methods.ablation_cam]
EVERY = EQUATIONS + PERTURBING


def named(method):
    return method.__name__


def maps(method, model=None, target=3, **kw):
    return method(model or net("flat mlp"), images(), target, layer="features", **kw)


def net(kind):
    """A network whose gradients vary over positions ("flat mlp"), or one of nets.heads."""
    if kind == "flat mlp":
        return Net(nn.Sequential(nn.Flatten(), linear(6, K * Z, 20), Square(), linear(C, 6, 30)))
    return Net(heads()[kind])


# ---- by hand ------------------------------------------------------------------------------------

A2 = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[3.0, -1.0], [2.0, 0.0]]]])
G2 = torch.tensor([[[[4.0, 0.0], [2.0, -2.0]], [[-1.0, -3.0], [0.0, 1.0]]]])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # 4*1 - 1*3 = 1;  0 - 3*-1 = 3;  0 + 0;  -2*1 + 0 = -2
        (methods.hires_cam, [[1.0, 3.0], [0.0, -2.0]]),
        # 4*1 + 0;  0;  0;  0 + 1*0
        (methods.layer_cam, [[4.0, 0.0], [0.0, 0.0]]),
        # sums 4 and 4: alpha = 4/(2+16) + 2/(2+8) = 19/45 and 1/(2+4) = 1/6
        (methods.grad_cam_pp, [[19 / 45 + 3 / 6, 38 / 45 - 1 / 6], [2 / 6, 19 / 45]]),
        # alpha = (4 - 2)/4 = 1/2 and (-3 + 3)/4 = 0
        (methods.xgrad_cam, [[0.5, 1.0], [0.0, 0.5]]),
        (methods.lafam, [[2.0, 0.5], [1.0, 0.5]]),
    ],
    ids=lambda m: getattr(m, "__name__", ""),
)
def test_two_channels_worked_by_hand(method, expected):
    given = (A2,) if method is methods.lafam else (A2, G2)
    torch.testing.assert_close(method.equation(*given)[0], torch.tensor(expected))


def test_eigen_cam_worked_by_hand():
    """Rank one: X = u v^T with v = (3, 4)/5, so the map is 5 u, signed by its largest entry."""
    u = torch.tensor([[1.0, -2.0], [0.0, 1.5]]).double()
    A = torch.stack([3 * u, 4 * u])[None]
    torch.testing.assert_close(methods.eigen_cam.equation(A)[0], -5 * u)
    centred = methods.eigen_cam.equation(A + 100, centred=True)[0]
    torch.testing.assert_close(centred, -5 * (u - u.mean()))


class Channels(nn.Module):
    """One channel with the values 5 to 8, and one that is 2 everywhere."""

    def forward(self, x):
        ramp = torch.tensor([[5.0, 6.0], [7.0, 8.0]]).to(x)
        return torch.stack([ramp.expand_as(x[:, 0]), torch.full_like(x[:, 0], 2)], 1)


class Seen(nn.Module):
    """y = (the sum of the image, 1), whatever the features say."""

    def __init__(self):
        super().__init__()
        self.features = Channels()

    def forward(self, x):
        self.features(x)
        total = x.sum((1, 2, 3))
        return torch.stack([total, torch.ones_like(total)], 1)


def test_score_cam_worked_by_hand():
    """Masks (0, 1/3, 2/3, 1), and 0 for the constant channel: 3 * 2/3 + 6 = 8 is seen, and 0.

    With a quarter of the image's sum as logarithm of 3, the weights are 9 : 1.
    """
    x = torch.tensor([[[[3.0, 0.0], [3.0, 6.0]]]]).double()
    A = Channels()(x)
    how = {"target": lambda y: math.log(3) / 4 * y[:, 0], "layer": "features"}
    M = methods.score_cam(Seen(), x, **how)
    torch.testing.assert_close(M, (9 * A[:, 0] + 1 * A[:, 1]) / 10)
    # Seen through the closed mask is now the baseline, 4 everywhere: 4 + 8/3 + 10/3 + 6 and 16.
    M = methods.score_cam(Seen(), x, baseline=4.0, **how)
    torch.testing.assert_close(M, (3**4 * A[:, 0] + 3**4 * A[:, 1]) / (2 * 3**4))


def test_ablation_cam_worked_by_hand():
    """y = 2 mean A_0 - mean A_1 + 3 = 2*1 - 1 + 3 = 4: losing A_0 costs 2, losing A_1 gains 1."""
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        model[3].weight.copy_(torch.tensor([[2.0, -1.0], [0.0, 0.0]]))
        model[3].bias.copy_(torch.tensor([3.0, 0.0]))
    M = methods.ablation_cam(model, A2, 0, layer="0", relu=False)
    assert torch.equal(M, 0.5 * A2[:, 0] - 0.25 * A2[:, 1])
    # "Off" at 3 instead: A_0 gains 4, A_1 loses 2.
    M = methods.ablation_cam(model, A2, 0, layer="0", relu=False, to=3.0)
    assert torch.equal(M, -1.0 * A2[:, 0] + 0.5 * A2[:, 1])
    # Each channel at its own value, as a tensor or as a callable: A_0 gains 4, A_1 gains 1.
    r = torch.tensor([3.0, 0.0])[None, :, None, None]
    for to in (r, r.double(), lambda A: r):
        M = methods.ablation_cam(model, A2, 0, layer="0", relu=False, to=to)
        assert torch.equal(M, -1.0 * A2[:, 0] - 0.25 * A2[:, 1])
    one = methods.ablation_cam(model, A2, 0, layer="0", relu=False, to=torch.tensor(3))
    assert torch.equal(one, -1.0 * A2[:, 0] + 0.5 * A2[:, 1])


# ---- a second derivation: loops, numpy, one position at a time ----------------------------------


def slow(method, A, G):
    """The same map for one image, written from the papers' sums."""
    channels, rows, columns = A.shape
    M = np.zeros((rows, columns))
    places = [(i, j) for i in range(rows) for j in range(columns)]
    for k in range(channels):
        total = sum(A[k, i, j] for i, j in places)
        if method == "grad_cam_pp":
            weight = 0.0
            for i, j in places:
                g = G[k, i, j]
                if g > 0:
                    weight += g * (g**2 / (2 * g**2 + total * g**3))
        elif method == "xgrad_cam":
            weight = sum(G[k, i, j] * (A[k, i, j] / total) for i, j in places)
        for i, j in places:
            if method == "hires_cam":
                M[i, j] += G[k, i, j] * A[k, i, j]
            elif method == "layer_cam":
                M[i, j] += max(G[k, i, j], 0.0) * A[k, i, j]
            elif method == "lafam":
                M[i, j] += A[k, i, j] / channels
            else:
                M[i, j] += weight * A[k, i, j]
    return M


@pytest.mark.parametrize("kind", ["gap", "conv", "flat mlp"])
@pytest.mark.parametrize("method", [m for m in EQUATIONS if m is not methods.eigen_cam], ids=named)
def test_loops_give_the_same_map(method, kind):
    A, G, *_ = zerocam.tap(net(kind), images(), 3, layer="features")
    expected = [slow(method.__name__, a, g) for a, g in zip(A.numpy(), G.numpy(), strict=True)]
    M = maps(method, net(kind), relu=False)
    torch.testing.assert_close(M, torch.tensor(np.array(expected)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("centred", [False, True])
def test_power_iteration_finds_eigen_cam(centred):
    M = maps(methods.eigen_cam, centred=centred)
    A = zerocam.activations(net("flat mlp"), images(), layer="features").numpy()
    for a, m in zip(A, M.numpy(), strict=True):
        X = a.reshape(K, Z).T
        X = X - X.mean(0) if centred else X
        v = np.ones(K)
        for _ in range(3000):
            v = X.T @ (X @ v)
            v /= np.sqrt(v @ v)
        u = X @ v
        u = u * np.sign(u[np.abs(u).argmax()])
        np.testing.assert_allclose(m.ravel(), u, rtol=1e-8, atol=1e-8)


def test_loops_give_score_cam():
    """An image larger than the map, so that masks are enlarged: by torch, the rest by hand."""
    x = integers(2, 2, 4, 8, seed=3, bound=2)
    model = net("conv")
    model.features.stride = (2, 2)
    target = targets.probability(torch.tensor([3, 1]))
    M = methods.score_cam(model, x, target, layer="features", relu=False, baseline=0.5)
    A = zerocam.activations(model, x, layer="features")
    for n in range(2):
        scores = []
        for k in range(K):
            big = nn.Upsample(x.shape[2:], mode="bilinear")(A[n : n + 1, k : k + 1])[0, 0].numpy()
            low, high = big.min(), big.max()
            seen = x[n].numpy().copy()
            for c in range(2):
                for i in range(4):
                    for j in range(8):
                        m = (big[i, j] - low) / (high - low)
                        seen[c, i, j] = seen[c, i, j] * m + 0.5 * (1 - m)
            with torch.no_grad():
                y = model(torch.tensor(seen)[None])[0].numpy()
            scores.append(np.exp(y[[3, 1][n]] - y.max()) / np.exp(y - y.max()).sum())
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = sum(weights[k] * A[n, k].numpy() for k in range(K))
        np.testing.assert_allclose(M[n].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("off", ["zero", "five", "mean"])
def test_loops_give_ablation_cam(off):
    """The head alone, on activations with one channel overwritten."""
    model = net("conv")
    to = {"zero": 0.0, "five": 5.0, "mean": references.spatial_mean}[off]
    M = maps(methods.ablation_cam, model, relu=False, to=to)
    A = zerocam.activations(model, images(), layer="features")
    for n in range(2):
        expected = 0
        for k in range(K):
            without = A[n : n + 1].clone()
            without[0, k] = {"zero": 0.0, "five": 5.0, "mean": A[n, k].mean()}[off]
            with torch.no_grad():
                whole, less = (model.head(a)[0, 3].item() for a in (A[n : n + 1], without))
            expected = expected + (whole - less) / whole * A[n, k].numpy()
        np.testing.assert_allclose(M[n].numpy(), expected, rtol=1e-12)


class Last(nn.Module):
    """Keeps its channels last, as many as it has rows: the shape alone does not tell them."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Linear(3, 2).double()

    def forward(self, A):
        return self.head((1.5 * self.layer(2 * A)).relu().mean((1, 2)))


def test_ablation_finds_the_channels_where_reshape_does():
    model, A = Last(), torch.randn(2, 3, 5, 3).double()
    M = methods.ablation_cam(model, A, 1, layer="layer", reshape=zerocam.channels_first, relu=False)
    expected = 0
    with torch.no_grad():
        whole = model(A)[:, 1]
        for k in range(3):
            without = A.clone()
            without[..., k] = 0
            drop = (whole - model(without)[:, 1]) / whole
            expected = expected + drop[:, None, None] * 2 * A[..., k]
    torch.testing.assert_close(M, expected, rtol=1e-10, atol=1e-12)


def test_ablation_reaches_whoever_else_has_the_output():
    class Keeps(nn.Module):
        """Its head reads what the layer's own hook has kept."""

        def __init__(self):
            super().__init__()
            self.layer, self.kept = nn.Tanh(), None
            self.layer.register_forward_hook(lambda m, args, out: setattr(self, "kept", out))

        def forward(self, x):
            self.layer(x)
            A, self.kept = self.kept, None
            return torch.stack([A.mean((1, 2, 3)), A[:, 0].mean((1, 2))], 1)

    x = torch.rand(1, 2, 3, 3).double() + 0.1
    A = x.tanh()[0]
    M = methods.ablation_cam(Keeps(), x, 1, layer="layer")
    torch.testing.assert_close(M[0], A[0], rtol=1e-12, atol=0)  # all hangs on channel 0


# ---- peer libraries, where they compute the published formula -----------------------------------


def relu_net():
    """Float32, activations >= 0 with some zeros, for peers that count on both."""
    torch_state = torch.Generator().manual_seed(0)
    model = net("conv").float()
    model.features = nn.Sequential(model.features, nn.ReLU())
    with torch.no_grad():
        for p in model.head.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_state))
    return model.eval()


@pytest.mark.parametrize(
    ("method", "peer"),
    [
        (methods.hires_cam, "HiResCAM"),
        (methods.layer_cam, "LayerCAM"),
        (methods.grad_cam_pp, "GradCAMPlusPlus"),
        (methods.xgrad_cam, "XGradCAM"),
        (methods.eigen_cam, "EigenCAM"),
        (methods.score_cam, "ScoreCAM"),
        (methods.ablation_cam, "AblationCAM"),
    ],
    ids=lambda m: getattr(m, "__name__", m),
)
def test_pytorch_grad_cam_agrees(method, peer, capsys):
    """Its raw map, before it clips and scales.  Its epsilons, 1e-6 to 1e-8, limit the agreement.

    Its EigenCAM is the centred one, with the sign the decomposition happens to give.
    """
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = relu_net(), images().float()
    A, G, *_ = zerocam.tap(model, x, 3, layer="features")
    more = {"centred": True} if peer == "EigenCAM" else {}
    ours = method(model, x, 3, layer="features", relu=False, **more)
    with getattr(pytorch_grad_cam, peer)(model=model, target_layers=[model.features]) as theirs:
        picked = [ClassifierOutputTarget(3)] * 2
        given = (x, model.features, picked, A.numpy(), G.numpy(), False)
        their_map = torch.tensor(theirs.get_cam_image(*given))
    if peer == "EigenCAM":
        their_map = their_map * (their_map * ours).sum((1, 2), keepdim=True).sign()
    size = ours.abs().max().item()
    torch.testing.assert_close(their_map, ours, rtol=0, atol=1e-4 * size)


def test_captum_agrees_on_gradient_times_activation():
    from captum.attr import LayerGradientXActivation

    model, x = net("flat mlp"), images()
    theirs = LayerGradientXActivation(model, model.features).attribute(x, 3).sum(1).detach()
    torch.testing.assert_close(maps(methods.hires_cam, relu=False), theirs)


@pytest.mark.parametrize(
    ("method", "peer"), [(methods.xgrad_cam, "XGradCAM"), (methods.score_cam, "ScoreCAM")]
)
def test_torchcam_agrees(method, peer):
    """Its masks are scaled before they are enlarged, so only where nothing is enlarged."""
    import torchcam.methods

    model, x = relu_net(), images().float()
    with getattr(torchcam.methods, peer)(model, "features") as extract:
        y = model(x)
        theirs = extract(3, y, normalized=False)[0].detach()
    ours = method(model, x, 3, layer="features")
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5 * ours.max().item())


# ---- what all methods share ---------------------------------------------------------------------


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_a_method_has_the_shape_and_the_signature_of_grad_cam(method):
    x = images(3).float()
    model = net("flat mlp").float()
    M = method(model, x, layer="features")
    assert M.shape == (3, h, w)
    assert M.dtype == x.dtype
    assert not M.requires_grad
    shown = list(inspect.signature(method).parameters)
    assert ("complete" in shown) == (method.needs == "gradient")
    shown = [name for name in shown if name != "complete"]
    assert shown[:7] == ["model", "x", "target", "layer", "relu", "reshape", "call"]
    assert method.__doc__.startswith("M")


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_relu_clips_the_signed_map_and_is_off_only_where_the_paper_has_none(method):
    signed = maps(method, relu=False)
    assert (signed < 0).any()
    assert torch.equal(maps(method, relu=True), signed.relu())
    by_default = signed if method in (methods.eigen_cam, methods.lafam) else signed.relu()
    assert torch.equal(maps(method), by_default)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_no_target_means_the_class_predicted_for_the_image_itself(method):
    """Not for its masked or ablated version: here some of those are seen as another class."""
    model, x = net("gap"), images()
    predicted = model(x).argmax(1)
    assert torch.equal(
        method(model, x, layer="features"), method(model, x, predicted, layer="features")
    )


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_images_in_a_batch_do_not_see_each_other(method):
    model, x = net("conv"), images()
    batch = method(model, x, torch.tensor([3, 1]), layer="features", relu=False)
    for n, c in enumerate((3, 1)):
        alone = method(model, x[n : n + 1], c, layer="features", relu=False)
        torch.testing.assert_close(batch[n : n + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_the_model_comes_back_as_it_was_also_when_it_fails(method):
    model = net("conv").train()
    model.head.insert(0, nn.BatchNorm2d(K).double())
    model.head.insert(0, nn.Dropout())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    maps(method, model)
    with pytest.raises(RuntimeError, match="on purpose"):
        method(model, images(), _fail, layer="features", **no_target_is_no_failure(method))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert all(not m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def _fail(*_):
    raise RuntimeError("on purpose")


def no_target_is_no_failure(method):
    """eigen_cam and lafam never look at the target: let their reshape fail."""
    return {"reshape": _fail} if method in (methods.eigen_cam, methods.lafam) else {}


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_tokens_and_repeated_layers_work_as_in_grad_cam(method):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.tokens = net("flat mlp"), nn.Identity()

        def forward(self, x):
            A = self.inner.features(x)
            self.tokens(2 * A.flatten(2).transpose(1, 2))
            A = self.tokens(A.flatten(2).transpose(1, 2))
            return self.inner.head(A.transpose(1, 2).unflatten(2, (h, w)))

    reshape = zerocam.tokens_to_map(h, w)
    M = method(Twice(), images(), 3, layer="tokens", relu=False, reshape=reshape, call=1)
    torch.testing.assert_close(M, maps(method, relu=False), rtol=1e-12, atol=1e-12)


# ---- what is particular -------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
def test_the_sign_of_eigen_cam_is_fixed_by_the_map_alone(centred):
    A = integers(6, K, h, w, seed=2)
    M = methods.eigen_cam.equation(A, centred=centred)
    assert (M.amax((1, 2)) == M.abs().amax((1, 2))).all()
    assert torch.equal(methods.eigen_cam.equation(-A, centred=centred), M)


def test_degenerate_activations_give_zeros_not_nan():
    A = torch.zeros(1, 2, h, w).double()
    A[:, 1, 0, 0], A[:, 1, 1, 1] = 1.0, -1.0  # one silent channel, one that sums to zero
    G = torch.ones_like(A)
    assert not methods.xgrad_cam.equation(A, G).any()
    assert torch.equal(methods.grad_cam_pp.equation(A, 0 * G), torch.zeros(1, h, w).double())
    pole = torch.full_like(A, -2 / Z)  # 2 + G sum A = 0
    assert not methods.grad_cam_pp.equation(pole, G).any()
    assert not methods.eigen_cam.equation(0 * A).any()
    assert not methods.eigen_cam.equation(0 * A + 3, centred=True).any()


def test_score_cams_published_baseline_score_cancels():
    """Subtracting s(x_b) from every channel's score does nothing after a softmax over channels."""
    shifted = maps(methods.score_cam, target=lambda y: targets.probability(3)(y) + 100)
    expected = maps(methods.score_cam, target=targets.probability(3))
    torch.testing.assert_close(shifted, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", PERTURBING, ids=named)
def test_progress_is_shown_on_request_only(method, capsys):
    maps(method)
    assert capsys.readouterr() == ("", "")
    maps(method, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{K}/{K}" in err


class Gate(nn.Module):
    """Lets everybody through, but holds one thread the third time it comes."""

    def __init__(self):
        super().__init__()
        self.thread, self.calls = None, 0
        self.reached, self.opened = threading.Event(), threading.Event()

    def forward(self, x):
        self.calls += threading.current_thread() is self.thread
        if threading.current_thread() is self.thread and self.calls == 3:
            self.reached.set()
            self.opened.wait(10)
        return x


class Standardised(Net):
    """Divides an image by its deviation, which is zero for an even one."""

    def forward(self, x):
        return super().forward((x - x.mean()) / x.std())


def test_scores_of_masked_images_are_checked_like_all_scores():
    """A channel that is the same everywhere masks all of the image."""
    model = Standardised(heads()["gap"])
    with torch.no_grad():
        model.features.weight[1] = 0
    with pytest.raises(ValueError, match="scores: got NaN or inf"):
        methods.score_cam(model, images(), 0, layer="features")
    with pytest.raises(ValueError, match=r"target: got \(2, 5\) from the callable"):
        methods.score_cam(Net(heads()["gap"]), images(), lambda y: y, layer="features")


def test_ablation_in_one_thread_does_not_reach_another():
    """Passes: activations, whole score, first channel set.  The third waits before the layer."""
    model, expected = net("conv"), maps(methods.ablation_cam, net("conv"))
    gate = Gate()
    model.features = nn.Sequential(gate, model.features)
    found = []
    gate.thread = threading.Thread(
        target=lambda: found.append(maps(methods.ablation_cam, model)), daemon=True
    )
    gate.thread.start()
    assert gate.reached.wait(10)
    here = maps(methods.ablation_cam, model)
    gate.opened.set()
    gate.thread.join()
    assert torch.equal(here, expected)
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: maps(methods.ablation_cam, target=lambda y: 0 * y[:, 0]),
         r"score 0 for image \[0, 1\], wanted another value: Ablation-CAM divides by it"),
        (lambda: maps(methods.ablation_cam, to=lambda A: A),
         r"values of shape \(2, 3, 2, 4\), wanted one per channel"),
        (lambda: maps(methods.ablation_cam, to=torch.zeros(3)),
         r"values of shape \(3,\), wanted one per channel"),
        (lambda: maps(methods.ablation_cam, to=torch.zeros(1, 5, 1, 1)),
         r"values of shape \(1, 5, 1, 1\), wanted one per channel"),
        (lambda: maps(methods.score_cam, target=7), "got class 7, wanted 0 to 4"),
        (lambda: maps(methods.hires_cam, target=7), "got class 7, wanted 0 to 4"),
        (lambda: methods.lafam(net("gap"), images(), layer="feature"), "nearest: features"),
        (lambda: channel_axis(torch.ones(2, 4, 5), 3), "wanted 3 channels on axis 1 or"),
        (lambda: channel_axis((1, 2), 3), "got a tuple as its output"),
    ],
)  # fmt: skip
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- methods are values -------------------------------------------------------------------------


@pytest.mark.parametrize("method", EQUATIONS, ids=named)
def test_a_tap_at_hand_gives_the_map_that_the_method_gives(method):
    model = net("flat mlp")
    made = zerocam.tap(model, images(), 3, layer="features")
    assert torch.equal(method.of(made), maps(method, model))
    assert torch.equal(method.of(made, relu=False), maps(replace(method, relu=False), model))


@pytest.mark.parametrize("method", PERTURBING, ids=named)
def test_a_method_that_needs_the_model_does_not_take_a_tap(method):
    made = zerocam.tap(net("gap"), images(), 3, layer="features")
    with pytest.raises(ValueError, match=f"got {method.name}, which needs the (head|image), want"):
        method.of(made)


def test_a_method_remembers_its_choices_and_a_call_overrides_them():
    A = integers(2, K, h, w, seed=2)
    centred = replace(methods.eigen_cam, options={"centred": True})
    made = zerocam.hooks.Tap(A, A, A[:, :, 0, 0], A[:, 0, 0, 0])
    expected = methods.eigen_cam.equation(A, centred=True)
    assert torch.equal(centred.of(made), expected)
    assert torch.equal(methods.eigen_cam.of(made, centred=True), expected)
    assert torch.equal(centred.of(made, centred=False), methods.eigen_cam.of(made))
    assert "centred=True" in repr(centred)
    with pytest.raises(TypeError, match="center"):
        methods.eigen_cam.of(made, center=True)


def test_any_callable_is_wrapped_as_what_it_is():
    wrap, partial = methods.Method.wrap, functools.partial
    assert wrap(methods.lafam).needs == "activations"
    assert wrap(zerocam.grad_cam).equation is zerocam.cam.referenced_map
    chosen = wrap(partial(partial(methods.eigen_cam, centred=False), centred=True, relu=True))
    assert (chosen.options, chosen.relu) == ({"centred": True}, True)
    assert (wrap(methods.score_cam).needs, wrap(methods.ablation_cam).needs) == ("image", "head")
    # a choice of the run leaves no shared tap, but the head will do
    assert wrap(partial(methods.hires_cam, call=0)).needs == "head"
    assert wrap(partial(methods.score_cam, call=0)).needs == "image"
    assert wrap(lambda *_, **__: None).needs == "image"
