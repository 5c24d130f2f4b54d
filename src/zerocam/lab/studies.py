"""Results that need many seeds: one function per result, run here or on a cluster.

    python -m zerocam.lab.studies                                        lists the studies
    python -m zerocam.lab.studies NAME --seeds 0:20                      runs one, one by one
    python -m zerocam.lab.studies NAME --seeds 0:20 --jobs 2             on two processes
    python -m zerocam.lab.studies NAME --seeds 0:20 --scheduler tcp://…  on a Dask cluster

All give the same numbers.  Each seed is written to results/NAME.json as soon as it is done; seeds
found there are not run again, so a run that was cut short goes on where it stopped.

A study is a function `seed -> {name: number, tensor or word}` with the decorator `study`: it makes
its own data and nets from the seed, uses no global random state, and takes seconds.  Its name is
the name of the result, the first line of its docstring what the result says.  Of a tensor the mean
is kept; where its entries are yes or no, also how many they were, since a share of 300 things moves
in steps of 1/300.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from joblib import Parallel, delayed, parallel_config
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur, normalize

from zerocam import grad_cam, grad_cam_all, hooks, imagenet, layers
from zerocam.audits import METHODS, audit
from zerocam.cam import channel_weights, signed_map
from zerocam.hooks import tap
from zerocam.lab import pictures
from zerocam.lab.encodings import decode, encode, scaled, squared_error
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes, digits
from zerocam.lab.training import fit, train_scene_net
from zerocam.metrics import (
    HOWS,
    How,
    above,
    energy_inside,
    enlarge,
    iou,
    normalise,
    pointing,
)
from zerocam.recode import softmax_rows
from zerocam.symmetries import KINDS

Numbers = dict[str, float | str]
Found = Mapping[str, float | str | Tensor]
Study = Callable[[int], Found]
RESULTS = Path(__file__).parent / "results"
STUDIES: dict[str, Study] = {}
REDRAWN: set[str] = set()


def study(function: Study) -> Study:
    """Register a study under its function's name."""
    STUDIES[function.__name__] = function
    return function


def redrawn(function: Study) -> Study:
    """Say that on another processor a seed gives another network, as another seed would.

    Such a study trains so long in float32 that differences of rounding, 1e-7 at first, grow until
    the two networks differ like two seeds.  The other studies give the same numbers to rounding.
    """
    REDRAWN.add(function.__name__)
    return function


@dataclass(frozen=True)
class Result:
    """The numbers, and words, of a study: seeds[seed][name], in order of seeds.

    of[name]: out of how many things a share was counted; other numbers have no entry.
    """

    name: str
    seeds: dict[int, Numbers]
    made: dict[str, str] = field(default_factory=dict)
    of: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Tensor:
        """The number called `key`, one entry per seed, in float64."""
        return torch.tensor([run[key] for run in self.seeds.values()], dtype=torch.float64)

    def keys(self) -> list[str]:
        """The names of the numbers, without those of words."""
        first = next(iter(self.seeds.values()))
        return [key for key, value in first.items() if not isinstance(value, str)]

    def mean(self, key: str) -> float:
        """The mean over seeds."""
        return self[key].mean().item()

    def interval(self, key: str, *, one_more: bool = False) -> tuple[float, float]:
        """The 95 % interval of the mean (Student's t); of one more seed's value with `one_more`.

        Raises ValueError for fewer than two seeds.
        """
        from scipy.stats import t

        n, values = len(self.seeds), self[key]
        if n < 2:
            raise ValueError(f"seeds: got {n}, wanted 2 or more for an interval; run more seeds")
        half = t.ppf(0.975, n - 1) * values.std().item() * (1 / n + one_more) ** 0.5
        return values.mean().item() - half, values.mean().item() + half

    def near(self, key: str, value: float, other: float) -> bool:
        """Whether two values of a number are equal but for rounding.

        |value - other| <= 2 grains, or <= 1/1000 of the largest stored size of the number.  The
        grain of a share is what one thing moves it by, 1 / of; that of another number is 0.  Of
        two or three things, one may change.
        """
        grains = min(2 / self.of[key], 0.5) if key in self.of else 0.0
        return abs(value - other) <= max(grains, 1e-3 * self[key].abs().max().item())

    def belongs(self, key: str, value: float, chance: float) -> bool:
        """Whether `value` might come from one more seed of the study.

        chance: how often a good seed may be refused, here for one number, 0 to 1.  Any of these is
        enough, for n stored values v with mean m and standard deviation s:

        - `near` m;
        - |value - m| <= t s sqrt(1 + 1/n), Student's t with n - 1 degrees; for shares with
          arcsin(sqrt(v)) in the place of v, which makes their spread the same near 0 and 1 as
          in the middle;
        - for a share that varies: the counts fit.  If all seeds have one rate, then given the sum
          of all n + 1 counts the new one is hypergeometric, which is exact for rare things too.

        A number that never varied is taken for a law: only the first counts.  Raises ValueError for
        fewer than two seeds.
        """
        from scipy.stats import hypergeom, t

        n, v, new = len(self.seeds), self[key], torch.tensor(value, dtype=torch.float64)
        if n < 2:
            raise ValueError(f"seeds: got {n}, wanted 2 or more for an interval; run more seeds")
        if self.near(key, value, v.mean().item()):
            return True
        of = self.of.get(key, 0)
        share = of > 0 and min(v.min(), value) >= 0 and max(v.max(), value) <= 1
        a, b = (z.sqrt().asin() if share else z for z in (v, new))
        if abs(b - a.mean()) <= t.ppf(1 - chance / 2, n - 1) * a.std() * (1 + 1 / n) ** 0.5:
            return True
        if not share or v.min() == v.max():
            return False
        count, before = round(value * of), round(v.sum().item() * of)
        rule = hypergeom((n + 1) * of, before + count, of)
        return bool(min(rule.cdf(count), rule.sf(count - 1)) >= chance / 2)

    def strange(self, seed: int, again: Numbers, chance: float | None = None) -> dict[str, str]:
        """What of `again`, a stored seed computed once more, is not as it should be, and why.

        Words must be the same, and numbers `near` the stored ones of that seed; or, if a chance is
        given, `belongs` says that another seed might have given them.  A number more or less than
        stored is strange.

        >>> stored = Result("r", {0: {"a": 0.5}, 1: {"a": 0.6}}, of={"a": 10})
        >>> stored.strange(0, {"a": 0.6}), stored.strange(0, {"a": 0.8})
        ({}, {'a': 'got 0.8, stored 0.5'})
        """
        stored, found = self.seeds[seed], {}
        for key in stored | again:
            new, old = again.get(key), stored.get(key)
            fine = new == old
            if not fine and isinstance(new, float) and isinstance(old, float):
                fine = self.near(key, new, old) or (
                    chance is not None and self.belongs(key, new, chance)
                )
            if not fine:
                found[key] = f"got {new}, stored {old}"
        return found

    def line(self, *keys: str, digits: int = 2, **names: str) -> str:
        """`name = mean; name_low = ...; name_high = ...`, a line for each: prose may use them.

        keys are printed under their own names, `names` as line(short="a_long_key").  None of
        both: all.
        """

        def show(value: float) -> str:
            return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0

        names = {k: k for k in keys} | names or {k: k for k in self.keys()}
        rows = [(name, self.mean(k), *self.interval(k)) for name, k in names.items()]
        return "\n".join(
            f"{k} = {show(m)}; {k}_low = {show(low)}; {k}_high = {show(high)}"
            for k, m, low, high in rows
        )


def versions() -> dict[str, str]:
    """What the numbers depend on besides the seed."""
    return {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}


def run(
    name: str,
    seeds: Iterable[int],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    folder: Path | None = None,
) -> Result:
    """The study's numbers for these seeds, the same however they are computed.

    jobs: processes on this machine.  scheduler: the address of a Dask scheduler, instead.  folder:
    where NAME.json is kept; seeds found there are not run again, and each new one is written as it
    comes.  None stores nothing.

    A Dask cluster runs the seeds of a lost worker again on another one.  Raises ValueError for an
    unknown study, and when the stored numbers were made with other versions.
    """
    if name not in STUDIES:
        raise ValueError(f"study: got {name!r}, wanted one of {', '.join(STUDIES)}")
    wanted = sorted(set(seeds))
    stored = load(name, folder) if folder and (folder / f"{name}.json").exists() else None
    if stored and {k: stored.made.get(k) for k in versions()} != versions():
        raise ValueError(
            f"{name}: stored with {stored.made}, this is {versions()}; "
            "delete the file to make all numbers anew"
        )
    done, of = (dict(stored.seeds), dict(stored.of)) if stored else ({}, {})
    todo = [seed for seed in wanted if seed not in done]
    with _backend(jobs, scheduler):
        work = (delayed(_one)(STUDIES[name], seed) for seed in todo)
        for seed, numbers, counted in Parallel(return_as="generator_unordered", batch_size=1)(work):
            done[seed] = numbers
            of |= counted
            if folder:
                _write(name, done, of, folder)
    return Result(name, {seed: done[seed] for seed in wanted}, of=of)


def load(name: str, folder: Path | None = None) -> Result:
    """The stored numbers of a study."""
    raw = json.loads(((folder or RESULTS) / f"{name}.json").read_text())
    seeds = {int(s): v for s, v in raw["seeds"].items()}
    return Result(raw["name"], seeds, raw["made"], raw.get("of", {}))


@contextmanager
def _backend(jobs: int, scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        with parallel_config("loky", n_jobs=jobs) if jobs > 1 else nullcontext():
            yield
        return
    from distributed import Client

    with Client(scheduler) as client, parallel_config("dask", client=client):
        yield


def measured(found: Found) -> tuple[Numbers, dict[str, int]]:
    """The means of what a study found, in float64, and out of how many where it counted.

    >>> measured({"right": torch.tensor([True, False, True, True]), "loss": 0.5, "name": "a"})
    ({'right': 0.75, 'loss': 0.5, 'name': 'a'}, {'right': 4})
    """
    numbers = {
        key: v if isinstance(v, str) else torch.as_tensor(v, dtype=torch.float64).mean().item()
        for key, v in found.items()
    }
    counts = {k: v for k, v in found.items() if isinstance(v, Tensor) and not v.is_floating_point()}
    return numbers, {key: v.numel() for key, v in counts.items()}


def _one(function: Study, seed: int) -> tuple[int, Numbers, dict[str, int]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order everywhere
    try:
        return seed, *measured(function(seed))
    finally:
        torch.set_num_threads(threads)


def _write(name: str, done: dict[int, Numbers], of: dict[str, int], folder: Path) -> None:
    seeds = sorted(done)
    span = f"{seeds[0]}:{seeds[-1] + 1}"
    if seeds != list(range(seeds[0], seeds[-1] + 1)):
        span = ",".join(map(str, seeds))
    made = {"command": f"python -m zerocam.lab.studies {name} --seeds {span}"}
    made |= versions() | {"date": date.today().isoformat()}
    result = Result(name, {s: done[s] for s in seeds}, made, of)
    text = json.dumps(asdict(result), indent=1) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.json.part"
    part.write_text(text)
    os.replace(part, folder / f"{name}.json")  # at no moment is there half a file


def _span(text: str) -> list[int]:
    start, colon, stop = text.partition(":")
    return list(range(int(start), int(stop))) if colon else [int(s) for s in text.split(",")]


# ---- chapter 5: label encodings ----------------------------------------------------------------

ENCODINGS = {  # name: scale and shift of T = scale I + shift
    "one_hot": (1, 0),
    "reshuffled": (1, 0),  # the yardstick: one-hot once more, the batches in another order
    "minus_one_hot": (-1, 0),
    "plus_minus_one": (2, -1),
    "softened": (0.8, 0.1),  # 0.9 and 0.1
    "shifted": (1, 1),  # 2 and 1
}


def alike(M: Float[Tensor, "N h w"], R: Float[Tensor, "N h w"]) -> Float[Tensor, " N"]:
    """Correlation of two maps over positions, -1 to 1: blind to scale and offset; flat: 0."""
    M, R = (V.flatten(1) - V.flatten(1).mean(1, keepdim=True) for V in (M, R))
    return F.cosine_similarity(M, R, dim=1)


def encoded(seed: int, **net: str) -> Found:
    """Six nets that differ in their encoding alone, on both digits of 200 unseen pairs.

    accuracy: single unseen digits.  point, opposite: pointing of relu(M), of relu(-M).  sum: mean
    of sum_ij M, the score less its bias.  below: share of classes present for which it is negative.
    lowest: the smallest activation.  like: `alike` with the one-hot net's map, times the sign of
    the scale.  like_centred: the same for M less its mean over classes.  common: length of the
    mean class-weight vector, as a share of the root mean square length.
    """
    train = digit_scenes(2000, seed=seed)
    single, pairs = (
        digit_scenes(200, digits=d, split="test", seed=d * 1000 + seed) for d in (1, 2)
    )
    own, row, c = pairs.masks.flatten(0, 1), torch.arange(400) // 2, pairs.labels.flatten()
    found: dict[str, Tensor] = {}
    first: tuple[Tensor, Tensor] | None = None
    for name, (scale, shift) in ENCODINGS.items():
        T, sign = scaled(10, scale, shift), 1 if scale > 0 else -1
        model, order = SceneNet(seed=seed, **net), seed + 500 * (name == "reshuffled")
        fit(model, train.x, encode(T, train.labels[:, 0]), loss=squared_error, epochs=3, lr=0.01,
            optimiser="adam", seed=order)  # fmt: skip
        with torch.no_grad():
            right = decode(T, model(single.x)) == single.labels[:, 0]
            A, W = model.features(pairs.x), model.head.linear.weight
            M = torch.einsum("ck,nkij->ncij", W, A) / A[0, 0].numel()
        maps = M[row, c], (M - M.mean(1, keepdim=True))[row, c]
        first = first or maps
        total, big = maps[0].sum((1, 2)), enlarge(maps[0], 40)
        numbers = {
            "accuracy": right, "point": pointing(big, own), "opposite": pointing(-big, own),
            "sum": total, "below": total < 0, "lowest": A.min(),
            "like": sign * alike(maps[0], first[0]),
            "like_centred": sign * alike(maps[1], first[1]),
            "common": W.mean(0).norm() / W.square().sum(1).mean().sqrt(),
        }  # fmt: skip
        found |= {f"{key}_{name}": value for key, value in numbers.items()}
    return found


@study
@redrawn
def encodings_relu(seed: int) -> Found:
    """What six label encodings make of the same ReLU net; see `encoded`."""
    return encoded(seed, activation="relu")


@study
@redrawn
def encodings_tanh(seed: int) -> Found:
    """The same with tanh, whose activations have both signs."""
    return encoded(seed, activation="tanh")


# ---- chapter 7: the ReLU and its rivals --------------------------------------------------------


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
    """Where each normalisation cuts: 15 % of its range; unscaled, 15 % of the mean maximum."""
    return {"rank": 0.85, "none": 0.15 * V.amax((1, 2)).mean().item()}.get(how, 0.15)


def dilate(mask: Bool[Tensor, "N S S"], pixels: int = 4) -> Bool[Tensor, "N S S"]:
    """The mask and all within `pixels` of it, in squares; 4 is one position of SceneNet's map."""
    return F.max_pool2d(mask[:, None].float(), 2 * pixels + 1, 1, pixels)[:, 0] > 0


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
        for name, V in maps.items():
            found[f"point_{name}_{d}"] = pointing(V, own)
            for how in HOWS if d == 2 else ("max", "rank"):
                found[f"energy_{name}_{how}_{d}"] = energy_inside(normalise(V, how), own)
                found[f"iou_{name}_{how}_{d}"] = iou(V, own, fixed_level(V, how), how)
    for name in ("relu", "signed"):
        found[f"area_{name}"] = above(maps[name], 0.15, "minmax")
        for cut in range(10, 100, 10):
            found[f"curve_{name}_{cut}"] = iou(maps[name], own, cut / 100, "minmax")
    W = net.head.linear.weight.detach() / A[0, 0].numel()
    near, far = dilate(own), dilate(scenes.masks.flip(1).transpose(0, 1).flatten(0, 1))
    regions = {"own": near, "other": far & ~near, "blank": ~near & ~far}
    shifts = {"logit": 0, "centred": W.mean(0), "blue": W.amax(0)}
    for target, shift in shifts.items():
        M = enlarge(signed_map(alpha - shift, A), x.shape[-1])
        for place, mask in regions.items():
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


# ---- chapter 8: where zero comes from ----------------------------------------------------------


def he(net: nn.Module, seed: int) -> nn.Module:
    """He-normal weights from a stream of their own, zero biases; changes and returns `net`."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            draw = torch.randn(p.shape, generator=g, dtype=torch.float64) if p.ndim > 1 else 0
            p.copy_(torch.as_tensor(draw * (2 / p[0].numel()) ** 0.5))
    return net


def right(net: nn.Module, x: Tensor, labels: Tensor) -> Bool[Tensor, " N"]:
    """Whether the highest score of an image is that of its label."""
    with torch.no_grad():
        return net(x).argmax(1) == labels


@study
def input_codings(seed: int) -> Found:
    """One small net, four codings of the same 8 x 8 digits, the same start and order.

    ink: x.  paper: 1 - x.  centred: x less its mean.  negative: minus that.  early: mean loss of
    the first epoch.  accuracy: on 297 unseen digits after two.  gap_: paper less ink (inverted),
    negative less centred (negated).
    """
    (x, labels), (test, wanted) = digits("train"), digits("test")
    found: dict[str, float | Tensor] = {}
    for name, sign, shift in (
        ("ink", 1, 0), ("paper", -1, 1), ("centred", 1, -x.mean()), ("negative", -1, x.mean())
    ):  # fmt: skip
        with torch.random.fork_rng(devices=[]):  # constructors draw; `he` draws again
            one, two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, padding=1)
            net = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        history = fit(he(net, seed), (sign * x + shift)[:, None], labels, epochs=2, lr=0.05,
                      seed=seed)  # fmt: skip
        found[f"early_{name}"] = history.epochs[0]
        found[f"accuracy_{name}"] = right(net, (sign * test + shift)[:, None], wanted)
    gaps = {"inverted": ("paper", "ink"), "negated": ("negative", "centred")}
    for key in ("early", "accuracy"):
        for gap, (one, less) in gaps.items():  # 1 * makes whole numbers of yes and no
            found[f"gap_{key}_{gap}"] = 1 * found[f"{key}_{one}"] - 1 * found[f"{key}_{less}"]
    return found


class DropTo(nn.Module):
    """a -> value + (a - value) keep / (1 - p), half the time keep = 0: dropout about a value.

    value = 0 is torch's dropout.  In eval mode, and for value None, a -> a.
    """

    def __init__(self, value: float | None, p: float = 0.5):
        super().__init__()
        self.value, self.p = value, p

    def forward(self, a: Tensor) -> Tensor:
        """a, with a share p of its entries at `value` and the others further from it."""
        if self.value is None or not self.training:
            return a
        return self.value + (a - self.value) * (torch.rand_like(a) >= self.p) / (1 - self.p)


@study
def dropped(seed: int) -> Found:
    """What an absent unit says: three trainings, four ways to take 32 of 64 hidden units away.

    Trained without dropout (names end in _none), with it (_zero), and with dropout that writes 2
    (_two).  full: accuracy on 297 unseen digits.  at_zero, at_two, at_mean, resampled: the same
    when a random half of the units, another for each image, is replaced by 0, by 2, by the unit's
    mean, or by its value for another image.  off: share of hidden zeros.  unit: mean activation.
    """
    (x, labels), (test, wanted) = digits("train"), digits("test")
    found: dict[str, Tensor] = {}
    for name, value in (("none", None), ("zero", 0.0), ("two", 2.0)):
        with torch.random.fork_rng(devices=[]):
            net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), DropTo(value), nn.Linear(64, 10))
        fit(he(net, seed), x.flatten(1), labels, epochs=20, batch=50, seed=seed)
        with torch.no_grad():
            known, a = net[:2](x.flatten(1)), net[:2](test.flatten(1))
            g = torch.Generator().manual_seed(seed)
            out = torch.rand(a.shape, generator=g).argsort(1) < 32
            other = known[torch.randint(len(x), (len(a),), generator=g)]
            stand_ins = {"full": a, "at_zero": 0 * a, "at_two": 0 * a + 2,
                         "at_mean": known.mean(0).expand_as(a), "resampled": other}  # fmt: skip
            for how, r in stand_ins.items():
                found[f"{how}_{name}"] = right(net[3], torch.where(out, r, a), wanted)
            found[f"off_{name}"], found[f"unit_{name}"] = a == 0, a
    return found


# ---- chapter 10: references --------------------------------------------------------------------


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


# ---- chapter 12: the networks people use -------------------------------------------------------


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
    in the order of `symmetries.KINDS`: = unchanged, c one constant, x changes.
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
    W, right = softmax_rows(net).weight.detach(), torch.arange(224).expand(224, 224) >= 112
    common, where = W.mean(0).norm() / W.square().sum(1).mean().sqrt(), None
    found: dict[int, Numbers] = {}
    for seed in seeds:
        alone = torch.stack([pictures.photograph(photo) for photo in pictures.pairs()[seed]])
        alone = normalize(alone, imagenet.MEAN, imagenet.STD)
        x = torch.cat([photo[:, :, 56:168] for photo in alone], 2)[None]
        where = where or layers.suggest_layer(net, x)[0]
        numbers, of = measured({"common": common} | on_pair(net, x, right, alone, where))
        found[seed] = numbers
    return Result(name, found, of=of)


def main(argv: list[str] | None = None) -> int:
    """Run a study from the command line and print its means with their intervals."""
    parser = argparse.ArgumentParser(prog="python -m zerocam.lab.studies")
    parser.add_argument("name", nargs="?", choices=list(STUDIES))
    parser.add_argument("--seeds", type=_span, default=_span("0:20"), help="0:20, or 1,5,7")
    parser.add_argument("--jobs", type=int, default=1, help="processes on this machine")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where NAME.json is kept")
    o = parser.parse_args(argv)
    if o.name is None:
        for name, function in STUDIES.items():
            print(f"{name:20} {(function.__doc__ or '').splitlines()[0]}")
        return 0
    result = run(o.name, o.seeds, jobs=o.jobs, scheduler=o.scheduler, folder=o.folder)
    print(result.line(digits=3) if len(result.seeds) > 1 else result.seeds)
    return 0


if __name__ == "__main__":
    from zerocam.lab import studies  # the registry that workers import, not this run's second copy

    raise SystemExit(studies.main())
