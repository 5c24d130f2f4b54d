"""Chapter 12: the networks people use, and the photographs they are shown."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from zerocam import grad_cam, grad_cam_all, hooks, imagenet, layers
from zerocam.audits import METHODS, audit
from zerocam.extras import extra
from zerocam.lab import pictures
from zerocam.lab.studies.result import Numbers, Result
from zerocam.lab.studies.runner import Found, measured, study
from zerocam.metrics import energy_inside, enlarge, pointing
from zerocam.recode import softmax_rows
from zerocam.symmetries import KINDS

with extra("lab"):
    from torchvision.transforms.v2.functional import normalize


@study
def families(seed: int) -> Found:
    """One classifier of torchvision, number `seed` of its list, with random weights.

    layer, reading: what `suggest_layer` says, at the smallest `side` in pixels at which the next
    larger one says the same.  channels, rows, columns: the shape of A there.  signs: of A.
    mixing, shift: the audit's verdict on the signed map, above 2000 channels in float64, since
    such mixtures are close to singular.  Nothing here depends on what a network has learnt.
    """
    from torchvision import models as zoo

    name = zoo.list_models(module=zoo)[seed]
    model, g = imagenet.torchvision_net(name), torch.Generator()
    said: dict[str, list[tuple[Tensor, dict[str, Any]]]] = {}
    for side in (32, 64, 96, 128, 224):
        x = torch.randn(1, 3, side, side, generator=g.manual_seed(0))
        try:
            where, _ = layers.suggest_layer(model, x)
        except (ValueError, RuntimeError, AssertionError):  # too small, or another size is wanted
            continue
        said.setdefault(where["layer"], []).append((x, where))
        if len(said[where["layer"]]) == 2:
            break
    x, where = said[where["layer"]][0]
    A = hooks.activations(model, x, **where)[0]
    if len(A) > 2000:
        model, x = model.double(), x.double()
    method = partial(grad_cam, relu=False)
    report = audit({"map": method}, model, x, **where, symmetries=["mixing", "shift"])
    readings = {None: "channels first", hooks.channels_first: "channels last"}
    return {
        "name": name,
        "layer": where["layer"],
        "reading": readings.get(where.get("reshape"), "tokens"),
        "signs": "both" if A.min() < 0 else "never negative",
        **{k: report.verdict("map", k).kind for k in ("mixing", "shift")},
        "side": x.shape[2],
        **dict(zip(("channels", "rows", "columns"), A.shape, strict=True)),
    }


def on_pair(
    net: nn.Module, x: Tensor, right: Bool[Tensor, "H W"], alone: Tensor, where: dict[str, Any]
) -> dict[str, Tensor]:
    """What the maps of all classes at one layer say of two photographs in one picture x.

    below, off: share of activations below zero, exactly zero.  blank, full: share of classes with
    nothing positive, nothing negative.  own: share of the positive mass on the own photograph,
    other: of the negative mass on the other one, point: highest value on the own one; for the
    classes that the network gives to each photograph `alone`.  own_mean, other_mean: own, other,
    counted from the spatial mean.  moved: largest change of a map when its class is centred,
    relative to its largest value; mean over classes.
    """
    with torch.no_grad():
        classes = net(alone).argmax(1)
    A = hooks.activations(net, x, **where)
    M = grad_cam_all(net, x, **where, relu=False)[0]
    masks, shown = torch.stack([~right, right]), enlarge(M[classes], tuple(right.shape))
    size, level = M.abs().amax((1, 2)), M[classes].mean((1, 2), keepdim=True)
    return {
        "below": A < 0, "off": A == 0, "blank": M.amax((1, 2)) <= 0, "full": M.amin((1, 2)) >= 0,
        "own": energy_inside(shown, masks), "other": energy_inside(-shown, ~masks),
        "point": pointing(shown, masks), "own_mean": energy_inside(shown - level, masks),
        "other_mean": energy_inside(level - shown, ~masks),
        "moved": M.mean(0).abs().max() / size.clamp(min=1e-30),
    }  # fmt: skip


@study
def photographs(seed: int) -> Found:
    """EfficientNet-Lite0 on pair `seed` of thirty, at three layers; see `on_pair`, and the audit.

    Names end in the layer: act, the last ReLU6; norm, the BatchNorm before it; conv, the
    convolution before that.  audit_...: a method's verdicts on the class of the right photograph,
    in the order of `symmetries.KINDS`: = unchanged, c one constant, x changes, - does not apply.
    """
    net, names = imagenet.efficientnet_lite0(), pictures.pairs()[seed]
    photo, right = pictures.collage(*names)
    x, alone = (
        imagenet.imagenet_input(p)
        for p in (photo[None], torch.stack([pictures.photograph(name) for name in names]))
    )
    found: dict[str, str | Tensor] = {}
    for layer in ("act", "norm", "conv"):
        numbers = on_pair(net, x, right, alone, {"layer": f"features.last.{layer}"})
        found |= {f"{key}_{layer}": value for key, value in numbers.items()}
    with torch.no_grad():
        c = int(net(alone)[1].argmax())
    report = audit(METHODS, net, x, c, layer="features", seed=seed)
    letters = {"unchanged": "=", "one constant": "c", "changes": "x", "error": "!"}
    letters["does not apply"] = "-"
    for method in METHODS:
        verdicts = [report.verdict(method, kind) for kind in KINDS]
        found[f"audit_{method}"] = "".join(letters[v.kind] for v in verdicts)
    return found


def trained(name: str, seeds: Iterable[int] = range(30), weights: str | None = "DEFAULT") -> Result:
    """`on_pair` for a network of torchvision, on square pairs: the middle half of each photograph.

    common: length of the mean row of the head, as a share of the root mean square length.
    weights None: random ones, which can show that this runs and nothing else.
    """
    net = imagenet.torchvision_net(name, weights=weights)
    right, where = torch.arange(224).expand(224, 224) >= 112, None
    found: dict[int, Numbers] = {}
    for seed in seeds:
        alone = torch.stack([pictures.photograph(photo) for photo in pictures.pairs()[seed]])
        alone = normalize(alone, imagenet.MEAN, imagenet.STD)
        x = torch.cat([photo[:, :, 56:168] for photo in alone], 2)[None]
        if where is None:
            where, W = layers.suggest_layer(net, x)[0], softmax_rows(net, x).weight.detach()
            common = W.mean(0).norm() / W.square().sum(1).mean().sqrt()
        numbers, of = measured({"common": common} | on_pair(net, x, right, alone, where))
        found[seed] = numbers
    return Result(name, found, of=of)
