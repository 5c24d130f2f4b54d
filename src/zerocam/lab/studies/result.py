"""What a study found: numbers by seed, and whether another number belongs with them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from zerocam.extras import extra
from zerocam.refusals import Refused

Numbers = dict[str, float | str]
RESULTS = Path(__file__).parents[1] / "results"


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

        Where each seed says yes or no (of[key] is 1), Wilson's interval of the share of yes.

        Raises `Refused` for fewer than two seeds.
        """
        with extra("lab"):
            from scipy.stats import binomtest, t

        n, values = len(self.seeds), self[key]
        if n < 2:
            raise Refused("seeds", f"{n}", "2 or more for an interval", "run more seeds")
        if self.of.get(key) == 1 and not one_more:
            share = binomtest(round(values.sum().item()), n).proportion_ci(method="wilson")
            return float(share.low), float(share.high)
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

        A number that never varied is taken for a law: only the first counts.  Raises `Refused` for
        fewer than two seeds.
        """
        with extra("lab"):
            from scipy.stats import hypergeom, t

        n, v, new = len(self.seeds), self[key], torch.tensor(value, dtype=torch.float64)
        if n < 2:
            raise Refused("seeds", f"{n}", "2 or more for an interval", "run more seeds")
        if self.near(key, value, v.mean().item()):
            return True
        of = self.of.get(key, 0)
        share = of > 0 and min(v.min().item(), value) >= 0 and max(v.max().item(), value) <= 1
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


def load(name: str, folder: Path | None = None) -> Result:
    """The stored numbers of a study; `folder` None: those that come with the package.

    >>> stored = load("relu_ablation")
    >>> len(stored.seeds), 0 < stored.mean("point_relu_1") <= 1
    (20, True)
    """
    raw = json.loads(((folder or RESULTS) / f"{name}.json").read_text())
    seeds = {int(s): v for s, v in raw["seeds"].items()}
    return Result(raw["name"], seeds, raw["made"], raw.get("of", {}))
