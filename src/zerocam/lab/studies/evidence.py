"""Studies that try the book's findings where they might end: other recipes, cuts, networks, eyes.

Chapters 7, 10 and 12.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, nn

from zerocam import imagenet
from zerocam.cam import channel_weights, grad_cam, grad_cam_all, local_score, signed_map
from zerocam.hooks import tap
from zerocam.lab import pictures
from zerocam.lab.nets import LITES, SMALL_SIGHT, SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies.runner import Found, redrawn, study
from zerocam.lab.training import fit, train_scene_net
from zerocam.metrics import How, energy_inside, enlarge, iou, pointing
from zerocam.targets import centred, logit

# ---- chapter 7: where the negative mass lies ---------------------------------------------------

RECIPES = ("sgd", "dropout", "adam", "no_norm", "bce", "multi_label", "two_softmax")


def dilate(mask: Bool[Tensor, "N S S"], pixels: int = 4) -> Bool[Tensor, "N S S"]:
    """The mask and all within `pixels` of it, in squares; 4 is one position of SceneNet's map.

    >>> dilate(torch.eye(3)[None] * torch.eye(3)[0] > 0, pixels=1).int()  # the upper left corner
    tensor([[[1, 1, 0],
             [1, 1, 0],
             [0, 0, 0]]], dtype=torch.int32)
    """
    return F.max_pool2d(mask[:, None].float(), 2 * pixels + 1, 1, pixels)[:, 0] > 0


def regions(masks: Bool[Tensor, "N 2 S S"]) -> dict[str, Bool[Tensor, "M S S"]]:
    """Near the own digit, near the other alone, and blank paper; first digits, then second ones."""
    near = dilate(masks.transpose(0, 1).flatten(0, 1))
    far = dilate(masks.flip(1).transpose(0, 1).flatten(0, 1))
    return {"own": near, "other": far & ~near, "blank": ~near & ~far}


def recipe(name: str, seed: int, n: int = 3000) -> SceneNet:
    """A net trained on n scenes in one of seven ways; two of them show two digits at once.

    sgd: the book's own.  dropout: the same with a chance of 0.3.  adam: another optimiser.
    no_norm: without BatchNorm.  bce: ten yes-or-no questions, one digit a scene.  multi_label: the
    same questions, two digits a scene.  two_softmax: cross-entropy towards one half for each.
    """
    two, yes_or_no = name in ("multi_label", "two_softmax"), F.binary_cross_entropy_with_logits
    scenes = digit_scenes(n, digits=1 + two, seed=seed)
    net = SceneNet(seed=seed, norm=name != "no_norm", dropout=0.3 if name == "dropout" else 0.0)
    t = scenes.labels[:, 0]
    if two or name == "bce":
        t = torch.zeros(n, 10).scatter_(1, scenes.labels, 0.5 if name == "two_softmax" else 1.0)
    how: dict[str, Any] = {
        "adam": {"optimiser": "adam", "lr": 0.01},
        "no_norm": {"lr": 0.02, "epochs": 6},
        "bce": {"loss": yes_or_no, "lr": 0.3, "epochs": 6},
        "multi_label": {"loss": yes_or_no, "lr": 0.3, "epochs": 8},
        "two_softmax": {"epochs": 8},
    }
    fit(net, scenes.x, t, seed=seed, **how.get(name, {}))
    return net


@study
@redrawn
def recipes(seed: int) -> Found:
    """Where negative mass lies in nets of seven recipes: near its own digit, the other, on blank.

    Both digits of 200 unseen pairs are explained at "features", the last ReLU's output (names end
    in the place), and for the book's own recipe also before that ReLU (sgd_before).  neg_: mean
    share of the negative mass of the logit's map; centred_: of the centred logit's.  read: share
    of 300 unseen single digits that are read right; of 300 pairs, both, where the net has seen
    pairs.  area_: the share of the picture that each place takes.
    """
    pairs = digit_scenes(200, digits=2, split="test", seed=5000 + seed)
    x, c = pairs.x.repeat(2, 1, 1, 1), pairs.labels.T.flatten()
    places = regions(pairs.masks)
    found: dict[str, Tensor] = {f"area_{place}": mask for place, mask in places.items()}
    for name in RECIPES:
        net, many = recipe(name, seed), 1 + (name in ("multi_label", "two_softmax"))
        unseen = digit_scenes(300, digits=many, split="test", seed=9000 + seed)
        with torch.no_grad():
            top = net(unseen.x).topk(many, 1)[1].sort(1)[0]
        found[f"read_{name}"] = (top == unseen.labels.sort(1)[0]).all(1)
        spots = {name: "features"} | ({"sgd_before": "features.norm4"} if name == "sgd" else {})
        for label, layer in spots.items():
            for target, s in {"neg": logit(c), "centred": centred(c)}.items():
                A, G, *_ = tap(net, x, s, layer=layer)
                M = enlarge(signed_map(channel_weights(G), A), x.shape[-1])
                for place, mask in places.items():
                    found[f"{target}_{label}_{place}"] = energy_inside(-M, mask)
    return found


CUTS = [cut / 20 for cut in range(19)]  # 0 to 0.90 of the maximum


@study
@redrawn
def cuts(seed: int) -> Found:
    """IoU with the cut chosen on held-out pages of one training digit, tried on pairs of new ones.

    The book's recipe; maps of both digits of 300 unseen pairs, counted from zero, from the spatial
    mean (mean) and as local scores (local), of the logit and of the centred logit; and the logit's
    map scaled by min-max, with the ReLU and without (relu, signed).  cut: that of `CUTS` with the
    highest mean IoU on 300 other pages, of one digit of the training split each; at: the IoU of the
    pairs cut there, best: with the cut that suits them best, at_15: at 15 %.
    """
    net, _ = train_scene_net(seed=seed, n=3000, dtype=torch.float32)
    pages = {
        "held": digit_scenes(300, seed=8000 + seed),
        "new": digit_scenes(300, digits=2, split="test", seed=1000 + seed),
    }
    overlap: dict[str, dict[str, Tensor]] = {}
    for name, page in pages.items():
        row, W = torch.arange(len(page))[:, None], net.head.linear.weight.detach()
        with torch.no_grad():
            A, y = net.features(page.x), net(page.x)
        M = torch.einsum("ck,nkij->ncij", W, A) / A[0, 0].numel()
        explained = {"logit": (M, y), "centred": (M - M.mean(1, True), y - y.mean(1, True))}
        for target, both in explained.items():
            V, s = (v[row, page.labels].flatten(0, 1) for v in both)
            maps = {"zero": V, "mean": V - V.mean((1, 2), True), "local": local_score(V, s)}
            maps = {f"{target}_{key}": enlarge(m, page.x.shape[-1]) for key, m in maps.items()}
            if target == "logit":
                maps |= {"relu": maps["logit_zero"].relu(), "signed": maps["logit_zero"]}
            for key, m in maps.items():
                how: How = "minmax" if key in ("relu", "signed") else "max"
                found = [iou(m, page.masks.flatten(0, 1), cut, how).mean() for cut in CUTS]
                overlap.setdefault(key, {})[name] = torch.stack(found)
    numbers: dict[str, float] = {}
    for key, by in overlap.items():
        i = int(by["held"].argmax())
        numbers |= {f"cut_{key}": CUTS[i], f"at_{key}": by["new"][i].item()}
        numbers |= {f"best_{key}": by["new"].max().item(), f"at_15_{key}": by["new"][3].item()}
    return numbers


def in_sight(ink: Bool[Tensor, "N S S"]) -> Bool[Tensor, "N s s"]:
    """The positions of a map that see ink when each sees 8 x 8 pixels, as with `SMALL_SIGHT`."""
    return F.max_pool2d(F.pad(ink[:, None].float(), (2, 2, 2, 2)), 8, 4)[:, 0] > 0


def rounded(share: Tensor) -> Tensor:
    """To five decimals: what is 0 but for rounding is then 0 on every processor."""
    return share.double().round(decimals=5)


@study
@redrawn
def sight(seed: int) -> Found:
    """What is blue where there is no ink: nets whose positions see 8 x 8 pixels, or 26 x 26.

    Both learn the same 3,000 pages of one digit (names begin in small, wide), and explain the logit
    of both digits of 200 unseen pairs.  read: share of 500 unseen single digits read right.  own,
    other, blank: mean share of the negative mass in each of `regions`; clear: at positions with no
    ink in their own 8 x 8 pixels.  page_: the same counted from the features of a blank page.
    point: pointing.  miss: one digit is erased; the mean error of what the map, counted from a
    blank page, says of the places that saw it, as a share of the mean change of the score.
    miss_apart: the same over pages on which no 8 x 8 pixels show ink of both.
    """
    train = digit_scenes(3000, seed=seed)
    single = digit_scenes(500, split="test", seed=9000 + seed)
    pairs = digit_scenes(200, digits=2, split="test", seed=5000 + seed)
    x, c, row = pairs.x.repeat(2, 1, 1, 1), pairs.labels.T.flatten(), torch.arange(400)
    own, other = pairs.masks.transpose(0, 1).flatten(0, 1), pairs.masks.flip(1).transpose(0, 1)
    other, places = other.flatten(0, 1), regions(pairs.masks)
    clear = ~in_sight(own | other)
    apart = ~(in_sight(own) & in_sight(other)).flatten(1).any(1)
    found: dict[str, Tensor] = {f"area_{name}": mask for name, mask in places.items()}
    found |= {"area_clear": clear, "apart": apart}
    for name, net, epochs in (
        ("small", SceneNet(seed=seed, blocks=SMALL_SIGHT), 8),
        ("wide", SceneNet(seed=seed), 4),
    ):
        fit(net, train.x, train.labels[:, 0], epochs=epochs, seed=seed)
        with torch.no_grad():
            found[f"{name}_read"] = net(single.x).argmax(1) == single.labels[:, 0]
            A, blank = net.features(x), net.features(torch.zeros_like(x[:1]))
            change = (net(x) - net(x * ~other[:, None]))[row, c]
            W = net.head.linear.weight[c] / A[0, 0].numel()
        for start, r in ((name, 0), (f"{name}_page", blank)):
            M = torch.einsum("nk,nkij->nij", W, A - r)
            big = enlarge(M, x.shape[-1])
            found |= {f"{start}_{p}": energy_inside(-big, mask) for p, mask in places.items()}
            found[f"{start}_clear"] = rounded(energy_inside(-M, clear).double().mean())
            found |= {f"{start}_point": pointing(big, own)}
        gap = ((M * in_sight(other)).sum((1, 2)) - change).abs()
        found[f"{name}_miss"] = rounded(gap.mean() / change.abs().mean())
        found[f"{name}_miss_apart"] = rounded(gap[apart].mean() / change[apart].abs().mean())
    return found


# ---- chapter 12: three networks of one family --------------------------------------------------


@study
def lites(seed: int) -> Found:
    """EfficientNet-Lite0, 1 and 2 on pair `seed` of thirty, each at the size it was trained for.

    Names begin in lite0, lite1, lite2 and end in the layer: act, the last ReLU6; norm, the
    BatchNorm before it; conv, the convolution before that.  For the classes that the network gives
    to each photograph alone: own, share of the positive mass on the own photograph, other, of the
    negative mass on the other one, point, whether the highest value is on the own; the first two
    also counted from the spatial mean (own_mean) and as local scores (own_local).  blank: share of
    1,000 classes with nothing positive, of the left photograph alone; constant: between its maps at
    conv and at norm, as a share of the largest value at norm, the median over classes.  common:
    length of the mean row of the head, as a share of a typical one; negative: share of its entries
    below zero.  kink_lowest, kink_mean: how far above its batch mean a channel of the last ReLU6
    switches on, in standard deviations.
    """
    names, found = pictures.pairs()[seed], {}
    for i, (kind, side) in enumerate(LITES.items()):
        net = imagenet.released(kind)
        photo, right = pictures.collage(*names, side)
        both = torch.stack([pictures.photograph(name, side) for name in names])
        alone, x = (imagenet.imagenet_input(v) for v in (both, photo[None]))
        with torch.no_grad():
            classes, y = net(alone).argmax(1), net(x)[0]
        masks, single = torch.stack([~right, right]), {}
        for layer in ("act", "norm", "conv"):
            at: dict[str, Any] = {"layer": f"features.last.{layer}", "relu": False}
            end = f"lite{i}_{{}}_{layer}"
            M = grad_cam(net, x.expand(2, -1, -1, -1), classes, **at)
            mean = M - M.mean((1, 2), keepdim=True)
            for key, V in {"": M, "_mean": mean, "_local": local_score(M, y[classes])}.items():
                big = enlarge(V, tuple(right.shape))
                found[end.format(f"own{key}")] = energy_inside(big, masks)
                found[end.format(f"other{key}")] = energy_inside(-big, ~masks)
            found[end.format("point")] = pointing(big, masks)
            if layer != "act":
                single[layer] = V = grad_cam_all(net, alone[:1], **at)[0]
                found[end.format("blank")] = V.amax((1, 2)) <= 0
        gap = (single["norm"] - single["conv"]).mean((1, 2)).abs()
        row, last = net.head.linear.weight.detach(), net.get_submodule("features.last.norm")
        assert isinstance(last, nn.BatchNorm2d)
        kink = -(last.bias / last.weight).detach()
        found |= {
            f"lite{i}_constant": (gap / single["norm"].abs().amax((1, 2))).median(),
            f"lite{i}_common": row.mean(0).norm() / row.square().sum(1).mean().sqrt(),
            f"lite{i}_negative": row.mean(0) < 0,
            f"lite{i}_kink_lowest": kink.min(), f"lite{i}_kink_mean": kink.mean(),
        }  # fmt: skip
    return found


def outlined(net: nn.Module, side: int = 224) -> dict[str, Tensor]:
    """How well maps of the six photographs fit their outlines, counted from three zeros.

    The predicted class, centred, at "features"; zero, mean and local as in `cuts`.  overlap_: IoU
    of each photograph at each of `CUTS`, (6, 19); point_: whether the highest point lies on the
    outlined thing, (6,).
    """
    masks = torch.stack([pictures.outline(name, side) for name in pictures.CREDITS])
    x = torch.stack([pictures.photograph(name, side) for name in pictures.CREDITS])
    x = imagenet.imagenet_input(x)
    with torch.no_grad():
        y = net(x)
    M = grad_cam(net, x, centred(), layer="features", relu=False)
    maps = {"zero": M, "mean": M - M.mean((1, 2), True)}
    maps["local"] = local_score(M, y.amax(1) - y.mean(1))
    found: dict[str, Tensor] = {}
    for key, V in maps.items():
        big = enlarge(V, side)
        found[f"overlap_{key}"] = torch.stack([iou(big, masks, cut) for cut in CUTS], 1)
        found[f"point_{key}"] = pointing(big, masks)
    return found


def shuffled(net: nn.Module, *names: str, seed: int = 0) -> nn.Module:
    """A copy in which the weights of the named modules are the same numbers in another order.

    Each weight and bias is permuted within itself, so that their sizes stay: the function moves.
    """
    g, other = torch.Generator().manual_seed(seed), copy.deepcopy(net)
    with torch.no_grad():
        for p in (p for name in names for p in other.get_submodule(name).parameters()):
            p.copy_(p.flatten()[torch.randperm(p.numel(), generator=g)].view_as(p))
    return other
