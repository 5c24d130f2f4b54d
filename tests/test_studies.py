"""Studies over seeds: means, intervals, what is stored, runs that go on.  See test_cluster.py."""

import json

import pytest
import torch

from zerocam.lab.studies import STUDIES, Result, load, run, runner


def squares(seed: int) -> dict[str, float]:
    """Sums of squares of random numbers; cheap, and any change of order would show."""
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(seed))
    return {"sum": (noise * noise).sum(), "first": noise[0].item()}


@pytest.fixture
def extra(monkeypatch):
    monkeypatch.setitem(STUDIES, "squares", squares)


def test_mean_and_interval_by_hand():
    result = Result("r", {0: {"a": 1.0}, 1: {"a": 2.0}, 2: {"a": 3.0}})
    assert result["a"].tolist() == [1, 2, 3]
    assert result.mean("a") == 2
    half = 4.302652729911275 / 3**0.5  # t(0.975, 2) times the standard error; the std is 1
    assert result.interval("a") == pytest.approx((2 - half, 2 + half))
    assert result.interval("a", one_more=True) == pytest.approx((2 - 2 * half, 2 + 2 * half))
    yes = Result("r", {n: {"a": float(n < 4)} for n in range(20)}, of={"a": 1})  # 4 of 20
    z, share = 1.959963984540054, 0.2  # Wilson's interval, written out
    middle, half = (
        (share + z**2 / 40) / (1 + z**2 / 20),
        z * (share * 0.8 / 20 + (z / 40) ** 2) ** 0.5,
    )
    half /= 1 + z**2 / 20
    assert yes.interval("a") == pytest.approx((middle - half, middle + half))
    line = "a = 2.0; a_low = -0.5; a_high = 4.5"
    assert result.line("a", digits=1) == result.line(digits=1) == line
    assert result.line(b="a", digits=1) == line.replace("a", "b")


def test_a_mean_that_rounds_to_zero_has_no_sign():
    result = Result("r", {0: {"a": -0.001}, 1: {"a": -0.001}})
    assert result.line("a") == "a = 0.00; a_low = 0.00; a_high = 0.00"


def test_a_run_cut_short_goes_on_where_it_stopped(extra, tmp_path, monkeypatch):
    asked = []

    def tired(seed):
        asked.append(seed)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return squares(seed)

    monkeypatch.setitem(STUDIES, "tired", tired)
    with pytest.raises(KeyboardInterrupt):
        run("tired", range(4), folder=tmp_path)
    assert list(load("tired", tmp_path).seeds) == [0, 1]
    result = run("tired", range(4), folder=tmp_path)
    assert asked == [0, 1, 2, 2, 3]
    assert result.seeds == run("squares", range(4)).seeds == load("tired", tmp_path).seeds


def test_the_file_says_how_it_was_made(extra, tmp_path):
    run("squares", [0, 1], folder=tmp_path)
    run("squares", [1, 2], folder=tmp_path)
    stored = json.loads((tmp_path / "squares.json").read_text())
    assert stored["made"]["command"] == "python -m zerocam.lab.studies squares --seeds 0:3"
    assert {"python", "torch", "date"} <= stored["made"].keys()
    assert stored["seeds"]["2"] == run("squares", [2]).seeds[2]  # all digits are kept
    run("squares", [5], folder=tmp_path)
    assert load("squares", tmp_path).made["command"].endswith("--seeds 0,1,2,5")
    assert list(run("squares", [5, 1], folder=tmp_path).seeds) == [1, 5]  # those asked for


def test_words_are_stored_and_not_averaged(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "named", lambda seed: {"name": f"n{seed}", "a": seed})
    found = run("named", [1, 2], folder=tmp_path)
    assert found.keys() == ["a"]
    assert load("named", tmp_path).seeds == {1: {"name": "n1", "a": 1.0}, 2: {"name": "n2", "a": 2}}
    assert found.line(digits=1).startswith("a = 1.5; a_low")


# ---- what belongs, and what is strange ----------------------------------------------------------


def twenty(*values: float, of: int | None = None) -> Result:
    """Twenty seeds of a number `a` that begins with these values and goes on with the last one."""
    row = [*values, *[values[-1]] * (20 - len(values))]
    return Result("r", {s: {"a": v} for s, v in enumerate(row)}, of={"a": of} if of else {})


def test_yes_and_no_are_counted_and_other_numbers_are_not(tmp_path, monkeypatch):
    hits = torch.tensor([[True, False], [True, True]])
    found = {"hits": hits, "gap": hits[0].int() - hits[1].int(), "loss": torch.tensor([1.0, 2.0])}
    monkeypatch.setitem(STUDIES, "counted", lambda seed: found)
    result = run("counted", [0, 1], folder=tmp_path)
    assert result.seeds[1] == {"hits": 0.75, "gap": -0.5, "loss": 1.5}
    assert result.of == {"hits": 4, "gap": 2} == load("counted", tmp_path).of
    assert run("counted", [0], folder=tmp_path).of == result.of  # also when nothing is left to run


@pytest.mark.parametrize("usual", [0.0, 0.5, 1.0])
def test_a_share_that_never_varies_may_move_by_one_thing_and_not_by_three(usual):
    """The grain of a share of 2,400 is 1/2,400, far below what any band of it would be."""
    result, step = twenty(usual, of=2400), (-1 if usual == 1 else 1) / 2400
    for chance in (None, 1e-7):
        assert result.strange(0, {"a": usual + step}, chance) == {}
        assert result.strange(0, {"a": usual + 3 * step}, chance).keys() == {"a"}


def test_of_two_things_one_may_change_and_not_both():
    assert twenty(1.0, of=2).near("a", 0.5, 1.0)
    assert not twenty(1.0, of=2).near("a", 0.0, 1.0)


def test_a_number_that_is_no_count_is_asked_for_three_digits():
    result = twenty(4.0, 2.0)  # a thousandth of the largest
    assert result.near("a", 2.0039, 2.0)
    assert not result.near("a", 2.0041, 2.0)


def test_the_interval_for_one_more_by_hand():
    """Of 1, 2, 3: the mean is 2, s is 1; t(0.975, 2) sqrt(1 + 1/3) = 4.968."""
    result = Result("r", {0: {"a": 1.0}, 1: {"a": 2.0}, 2: {"a": 3.0}})
    for sign in (1, -1):
        assert result.belongs("a", 2 + sign * 4.96, 0.05)
        assert not result.belongs("a", 2 + sign * 4.98, 0.05)
    assert result.interval("a", one_more=True)[1] == pytest.approx(2 + 4.968, abs=1e-3)


def test_a_value_of_another_distribution_does_not_belong():
    """Ten times -1 and ten times 1, s = 1.03: at 1 in 10,000, t sqrt(1 + 1/20) is 5.02."""
    result = Result("r", {s: {"a": (-1.0) ** s} for s in range(20)})
    s = result["a"].std().item()
    assert result.belongs("a", 5.0 * s, 1e-4)
    assert not result.belongs("a", 5.1 * s, 1e-4)
    assert result.belongs("a", 5.1 * s, 1e-7)
    assert not result.belongs("a", 10 * s, 1e-7)
    assert result.strange(0, {"a": -10 * s}, 1e-7).keys() == {"a"}
    assert result.strange(0, {"a": -1.5}).keys() == {"a"}  # not redrawn: the seed itself again


def test_a_rare_thing_is_counted_exactly():
    """19 seeds without it, one with one; five more times in the next: 6 (1/21)^5 20/21 = 1.40e-6.

    That is the chance that five or six of the six fall on one seed of 21, if all have one rate;
    the angles, asin sqrt, alone would refuse four already.
    """
    result = twenty(1 / 2400, 0.0, of=2400)
    assert result.belongs("a", 5 / 2400, 2 * 1.3e-6)
    assert not result.belongs("a", 5 / 2400, 2 * 1.5e-6)
    assert result.belongs("a", 4 / 2400, 1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5])
def test_a_share_and_the_share_of_the_others_are_judged_alike(value):
    """Seeds of 0.01 to 0.105, s = 0.03: 0.3 is eight s away, and by its angle only five."""
    low = [s / 200 for s in range(2, 22)]
    one, other = (
        Result("r", {s: {"a": abs(flip - v)} for s, v in enumerate(low)}, of={"a": 10_000})
        for flip in (0, 1)
    )
    judged = one.belongs("a", value, 1e-5)
    assert judged == other.belongs("a", 1 - value, 1e-5)
    assert judged == (value < 0.4)


def test_what_else_is_strange():
    stored = Result("r", {0: {"a": 1.0, "word": "x"}, 1: {"a": 2.0, "word": "x"}})
    assert stored.strange(0, {"a": 1.0, "word": "x"}) == {}
    assert stored.strange(0, {"a": 1.0, "word": "y"}, 0.01) == {"word": "got y, stored x"}
    assert stored.strange(0, {"a": float("nan"), "word": "x"}, 0.01).keys() == {"a"}
    assert stored.strange(0, {"a": 1.0}, 0.01) == {"word": "got None, stored x"}
    assert stored.strange(0, {"a": 1.0, "word": "x", "b": 1.0}, 0.01).keys() == {"b"}


def test_refusals(extra, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"study: got 'cubes', wanted one of .*squares"):
        run("cubes", [0])
    with pytest.raises(ValueError, match="seeds: got 1, wanted 2 or more"):
        run("squares", [0]).interval("sum")
    with pytest.raises(ValueError, match="seeds: got 1, wanted 2 or more"):
        run("squares", [0]).belongs("sum", 5.0, 0.01)
    run("squares", [0], folder=tmp_path)
    monkeypatch.setattr(runner, "versions", lambda: {"torch": "0"})
    with pytest.raises(ValueError, match="delete the file"):
        run("squares", [1], folder=tmp_path)
