"""Every stored result: enough seeds, a known study, and a seed that comes out the same again."""

import pytest

from zerocam.experiments import RESULTS, STUDIES, load, run

NAMES = sorted(path.stem for path in RESULTS.glob("*.json"))
NAMES.remove("benchmarks")  # costs, not a study: test_benchmarks.py


def test_every_result_is_of_a_study_and_says_how_it_was_made():
    assert NAMES
    for name in NAMES:
        stored = load(name)
        assert name in STUDIES
        assert stored.name == name
        assert stored.made["command"].startswith(f"python -m zerocam.experiments {name} --seeds ")
        assert {"python", "torch", "date"} <= stored.made.keys()
        assert len(stored.seeds) >= 20
        first = next(iter(stored.seeds.values()))
        assert all(numbers.keys() == first.keys() for numbers in stored.seeds.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_computed_again_lands_in_the_stored_interval(name):
    """Another processor rounds differently; a seed may move, but not out of the 95 % band."""
    stored = load(name)
    seed = next(iter(stored.seeds))
    again = run(name, [seed])
    assert again.keys() == stored.keys()
    for key, word in stored.seeds[seed].items():
        assert not isinstance(word, str) or again.seeds[seed][key] == word, key
    for key in again.keys():  # noqa: SIM118
        _, high = stored.interval(key, one_more=True)
        half = high - stored.mean(key) + 1e-6  # a number that never varies has no band
        assert abs(again[key].item() - stored.seeds[seed][key]) <= half, key
