"""Chapter 10: what five references make of the same maps."""

import torch
from torch import Tensor

from zerocam.extras import extra
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies.runner import Found, redrawn, study
from zerocam.lab.training import train_scene_net
from zerocam.metrics import energy_inside, enlarge, iou, pointing

with extra("lab"):
    from torchvision.transforms.v2.functional import gaussian_blur


@study
@redrawn
def reference_study(seed: int) -> Found:
    """What five references make of the maps of both digits of 300 unseen pairs.

    References of `zerocam.references`, and blurred: the same scene, too soft to read.  iou: at
    15 % of the maximum.  energy: share of the positive mass on the own digit.  other: share of the
    negative mass on the other digit.  tell: chance that the maximum for a class present is above
    that for an absent one; tell_sum: the same for the sum, ties count half.  blank: share of absent
    classes with nothing positive.  curve_..._45: IoU cut at 45 % of the maximum.
    """
    net, _ = train_scene_net(seed=seed, n=3000, dtype=torch.float32)
    pairs, row = digit_scenes(300, digits=2, split="test", seed=1000 + seed), torch.arange(300)
    here = torch.zeros(300, 10, dtype=torch.bool).scatter_(1, pairs.labels, True)
    soft = gaussian_blur(pairs.x, [25, 25], [4.0, 4.0])
    usual = digit_scenes(500, seed=2000 + seed).x
    with torch.no_grad():
        A, blurred, usual, blank = (
            net.features(x).double() for x in (pairs.x, soft, usual, torch.zeros_like(pairs.x[:1]))
        )
        W = net.head.linear.weight.double() / A[0, 0].numel()
    references = {"zero": torch.zeros(()), "spatial_mean": A.mean((2, 3), keepdim=True)}
    references |= {"data_mean": usual.mean((0, 2, 3), keepdim=True)}
    references |= {"blank_page": blank, "blurred": blurred}
    own, rival = pairs.masks.flatten(0, 1), pairs.masks.flip(1).flatten(0, 1)
    found: dict[str, Tensor] = {}
    for name, r in references.items():
        maps = torch.einsum("ck,nkij->ncij", W, A - r)
        M = enlarge(maps[row[:, None], pairs.labels].flatten(0, 1), pairs.x.shape[-1])
        found |= {f"iou_{name}": iou(M, own), f"energy_{name}": energy_inside(M, own)}
        found |= {f"point_{name}": pointing(M, own), f"other_{name}": energy_inside(-M, rival)}
        found[f"blank_{name}"] = maps.amax((2, 3))[~here] <= 0
        for key, size in {"tell": maps.amax((2, 3)), "tell_sum": maps.sum((2, 3))}.items():
            apart = (size[here][:, None] - size[~here]).mul(1e6).round()
            found[f"{key}_{name}"] = torch.stack([apart > 0, apart >= 0])
        for cut in range(5, 80, 5) if name in ("zero", "spatial_mean") else ():
            found[f"curve_{name}_{cut}"] = iou(M, own, cut / 100)
    return found
