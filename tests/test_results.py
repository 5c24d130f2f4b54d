"""Every stored result: enough seeds, a known study, and a seed that comes out the same again."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import poisson

from tests import turns
from zerocam.lab import pictures, studies
from zerocam.lab.studies import REDRAWN, STUDIES, Result, evidence, load, run

MEASURED = Path(__file__).parents[1] / "book" / "measured"
FILES = {path.stem: path for path in studies.RESULTS.glob("*.json")}
NAMES = sorted(FILES)
# The others: 20 random starts.
SEEDS = {"families": 80} | dict.fromkeys(("lites", "photographs"), len(pictures.pairs()))
COMMANDS = {
    "benchmarks": "python -m benchmarks",
    "hub": "python -m tests.class_of --students 20 --out book/measured/hub.json",
}
FILES |= {name: MEASURED / f"{name}.json" for name in COMMANDS}

# These two differ in one word, so one is enough; which, is drawn by each change of the code.  No
# fault is missed: a fault of what they share shows in either, and the word itself, the activation
# of the network, is tanh here alone and ReLU in two other studies that are computed again.
ENCODINGS = ["encodings_relu", "encodings_tanh"]
CODE = sorted(Path(studies.__file__).parent.glob("*.py"))
LEFT_OUT = ENCODINGS[zlib.crc32(b"".join(path.read_bytes() for path in CODE)) % 2]

STORED = {name: load(name) for name in NAMES}
NUMBERS = [(name, key) for name in sorted(REDRAWN) for key in STORED[name].keys()]  # noqa: SIM118
CHANCE = 2e-5 / len(NUMBERS)
ASKED = {"input_codings": 4, "dropped": 4}  # seeds to compute again; of the others, one
# The dearest take turns, the others are computed again each time: see turns.py.
TURN = dict.fromkeys(ENCODINGS, "encodings")
TURN |= {name: name for name in ("transformer_heads", "photographs", "lites", "sight")}
AGAIN = [name for name in NAMES if name not in TURN or turns.has_turn(TURN[name])]
# Of the seven recipes, those that have their turn: each is a training of its own.
RECIPES = tuple(turns.some(evidence.RECIPES, 3))


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_is_stored_says_which_command_made_it(name):
    made = json.loads(FILES[name].read_text())["made"]
    study = f"python -m zerocam.lab.studies {name} --seeds 0:{SEEDS.get(name, 20)}"
    assert made["command"] == COMMANDS.get(name, study)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_of_a_study_with_all_its_seeds(name):
    stored = STORED[name]
    assert name in STUDIES
    assert stored.name == name
    assert {"python", "torch", "date"} <= stored.made.keys()
    assert list(stored.seeds) == list(range(SEEDS.get(name, 20)))
    assert all(numbers.keys() == stored.seeds[0].keys() for numbers in stored.seeds.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_share_is_a_whole_number_of_what_was_counted(name):
    stored = STORED[name]
    assert stored.of.keys() <= set(stored.keys())
    for key, of in stored.of.items():
        counts = stored[key] * of
        assert (counts - counts.round()).abs().max() < 0.02, key  # areas were stored to 1e-8


def of_recipes(stored: Result, names: tuple[str, ...]) -> Result:
    """The numbers of these recipes, and those that belong to none."""
    others = [name for name in evidence.RECIPES if name not in names]

    def kept(key: str) -> bool:
        return not any(f"_{name}_" in f"{key}_" for name in others)

    def part(numbers: dict) -> dict:
        return {key: value for key, value in numbers.items() if kept(key)}

    seeds = {seed: part(row) for seed, row in stored.seeds.items()}
    return Result(stored.name, seeds, stored.made, part(stored.of))


def test_every_number_of_the_recipes_has_its_turn():
    stored = STORED["recipes"]
    parts = [set(of_recipes(stored, evidence.RECIPES[i::3]).keys()) for i in range(3)]
    assert set.union(*parts) == set(stored.keys())
    shared = {key for key in stored.keys() if key.startswith("area_")}  # noqa: SIM118
    assert all(a & b == shared for a, b in ((parts[0], parts[1]), (parts[1], parts[2])))
    assert all(len(part) > len(stored.keys()) / 4 for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in AGAIN if name != LEFT_OUT])
def test_a_seed_computed_again_belongs_with_the_stored_ones(name, monkeypatch):
    """On any processor: the same numbers to rounding, or those that another seed might give.

    The dearest studies are asked in every fourth commit, and a third of the recipes in each; all of
    them under every setting of `make portable`, and with ZEROCAM_TURNS=all.

    How often does it fail by chance?  Below 1 time in 10,000, over all numbers together:

    - Studies that train nothing leave nothing to chance.  On another processor no number of thirty
      pairs of photographs moved by more than 1.4e-4 of its largest value; 1e-3 is allowed.
    - Two studies train briefly.  There, of twenty seeds one had a number that moved by 2e-3 and the
      others had none above 1e-3.  So four seeds are asked, and only what is strange in all four is
      a fault: for each of the two studies (1/20)^4 = 6e-6, together 1.3e-5.
    - The redrawn ones have 434 numbers.  Each may refuse a good seed with the chance 2e-5 / 434, so
      that all together do with 2e-5 at most, however they depend on each other.  Student's t then
      leaves 8.9 standard deviations to each side of the mean.
    - A share that is the same in all twenty seeds may differ by two things, not by three.  Where
      one thing turns up at a rate r per seed, not once in twenty seeds and then three times has the
      chance exp(-20 r) P(3 or more), at most 2.5e-5, for r = 1/7.  There are three such shares that
      no law holds fixed, one of them in each of the encodings, of which one study is asked: 5e-5.

    1.3e-5 + 2e-5 + 5e-5 = 8.3e-5; the next test does this sum.  It takes the seed for a new one,
    and the numbers, or the angles of shares, for nearly normal: the test after it asks the stored
    ones.  In fact a seed lies nearer to itself: over four processors, real and imitated, the root
    mean square of the difference was 0.01 to 0.9 standard deviations, where two seeds have 1.4.
    """
    stored, chance = STORED[name], CHANCE if name in REDRAWN else None
    if name == "recipes":
        stored = of_recipes(stored, RECIPES)
        monkeypatch.setattr(evidence, "RECIPES", RECIPES)
    again = run(name, list(stored.seeds)[: ASKED.get(name, 1)])
    assert again.of == stored.of
    first, *more = [stored.strange(s, row, chance) for s, row in again.seeds.items()]
    assert {key: why for key, why in first.items() if all(key in other for other in more)} == {}


def test_a_false_alarm_is_rarer_than_one_in_ten_thousand():
    never = {
        (name, key)
        for name, key in NUMBERS
        if key in STORED[name].of and STORED[name][key].unique().numel() == 1
    }
    laws = {
        ("reference_study", "blank_spatial_mean"),  # what sums to zero has a positive value
        ("reference_study", "tell_sum_spatial_mean"),  # and its sum tells nothing: ties, one half
        ("relu_ablation", "same_mask"),  # a share of the maximum cuts both maps alike
    }
    assert laws < never
    unasked = sum(name == LEFT_OUT for name, _ in never)
    rate = np.linspace(0.001, 1, 1000)
    three = (np.exp(-20 * rate) * poisson.sf(2, rate)).max()
    assert three == pytest.approx(2.5e-5, abs=1e-6)
    briefly = sum((1 / 20) ** seeds for seeds in ASKED.values())
    assert briefly + len(NUMBERS) * CHANCE + (len(never - laws) - unasked) * three < 1e-4


def test_no_stored_seed_is_strange_to_the_others():
    """8,680 questions to numbers that are right: at the chance of the test, no refusal.

    At a hundredth each, a hundredth is refused, so the assumptions hold where it can be seen.
    """
    refused = 0
    for name, key in NUMBERS:
        stored = STORED[name]
        for seed, row in stored.seeds.items():
            others = {s: {key: r[key]} for s, r in stored.seeds.items() if s != seed}
            rest = Result(name, others, of=stored.of)
            if not rest.belongs(key, row[key], 0.01):
                refused += 1
                assert rest.belongs(key, row[key], CHANCE), (name, seed, key)
    assert 0.003 < refused / (20 * len(NUMBERS)) < 0.03
