"""Chapter 7: the ReLU of a map, and its rivals."""

import torch
from jaxtyping import Float
from torch import Tensor

from zerocam.cam import channel_weights, signed_map
from zerocam.hooks import tap
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies.evidence import regions
from zerocam.lab.studies.runner import Found, redrawn, study
from zerocam.lab.training import train_scene_net
from zerocam.metrics import HOWS, How, above, energy_inside, enlarge, iou, normalise, pointing


def rival_maps(
    alpha: Float[Tensor, "N K"], A: Float[Tensor, "N K h w"], size: int | tuple[int, int]
) -> dict[str, Float[Tensor, "N H W"]]:
    """Seven maps made of the same A and alpha, enlarged to the image before any ReLU.

    relu, signed, abs, negative: relu(M), M, |M|, relu(-M).  abs_weights, relu_weights: M with
    |alpha|, relu(alpha) for alpha.  lafam: the mean of A over channels, without any class.
    """
    M, absolute, clipped = (
        enlarge(signed_map(w, A), size) for w in (alpha, alpha.abs(), alpha.relu())
    )
    maps = {"relu": M.relu(), "signed": M, "abs": M.abs(), "negative": (-M).relu()}
    maps |= {"abs_weights": absolute, "relu_weights": clipped}
    return maps | {"lafam": enlarge(A.mean(1), size)}


def fixed_level(V: Float[Tensor, "N H W"], how: How) -> float:
    """Where each normalisation cuts: 15 % of its range; unscaled, 15 % of the mean maximum.

    >>> V = torch.tensor([[[0.0, 2.0]]])
    >>> fixed_level(V, "max"), fixed_level(V, "rank"), round(fixed_level(V, "none"), 2)
    (0.15, 0.85, 0.3)
    """
    return {"rank": 0.85, "none": 0.15 * V.amax((1, 2)).mean().item()}.get(how, 0.15)


@study
@redrawn
def relu_ablation(seed: int) -> Found:
    """Seven maps of digit scenes, four normalisations; and where the negative pixels lie.

    A net that learnt single digits explains 300 scenes of one unseen digit (names end in _1) and
    both digits of 300 scenes of two (_2), each cut at `fixed_level`.  curve_..._30: IoU when
    min-max scaled and cut at 0.30.  neg_, pos_: mean share of a map's negative or positive mass
    near its own digit, near the other one, and on blank paper.  blue: the logit after a softmax
    shift that makes every map negative.  order: ReLU before the enlarging against after it.
    below_zero: share of maps whose min-max threshold at 15 % lies below zero.
    """
    net, _ = train_scene_net(seed=seed, n=3000, dtype=torch.float32)
    found: dict[str, Tensor] = {}
    for d in (1, 2):
        scenes = digit_scenes(300, digits=d, split="test", seed=1000 + seed)
        x, own = scenes.x.repeat(d, 1, 1, 1), scenes.masks.transpose(0, 1).flatten(0, 1)
        A, G, *_ = tap(net, x, scenes.labels.T.flatten(), layer="features")
        alpha = channel_weights(G)
        maps = rival_maps(alpha, A, x.shape[-1])
        hows: tuple[How, ...] = HOWS if d == 2 else ("max", "rank")
        for name, V in maps.items():
            found[f"point_{name}_{d}"] = pointing(V, own)
            for how in hows:
                found[f"energy_{name}_{how}_{d}"] = energy_inside(normalise(V, how), own)
                found[f"iou_{name}_{how}_{d}"] = iou(V, own, fixed_level(V, how), how)
    for name in ("relu", "signed"):
        found[f"area_{name}"] = above(maps[name], 0.15, "minmax")
        for cut in range(10, 100, 10):
            found[f"curve_{name}_{cut}"] = iou(maps[name], own, cut / 100, "minmax")
    W = net.head.linear.weight.detach() / A[0, 0].numel()
    places = regions(scenes.masks)
    shifts = {"logit": 0, "centred": W.mean(0), "blue": W.amax(0)}
    for target, shift in shifts.items():
        M = enlarge(signed_map(alpha - shift, A), x.shape[-1])
        for place, mask in places.items():
            found[f"neg_{target}_{place}"] = energy_inside(-M, mask)
            if target != "blue":  # what is positive there is rounding
                found[f"pos_{target}_{place}"] = energy_inside(M, mask)
            found[f"area_{place}"] = mask
    M = signed_map(alpha, A)
    after, before = (above(V) for V in (maps["relu"], enlarge(M.relu(), x.shape[-1])))
    found["same_mask"] = (above(maps["signed"]) == after).flatten(1).all(1)
    found["order_changed"] = (before != after).flatten(1).any(1)
    found["order_iou"] = iou(before.float(), after, 0.5)
    found["below_zero"] = maps["signed"].amin((1, 2)) < -3 / 17 * maps["signed"].amax((1, 2))
    return found
