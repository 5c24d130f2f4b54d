"""The gates' own arithmetic: what is left, what was slow, which setting has its turn."""

from pathlib import Path

import pytest

from tests import turns
from tools import run_tests

ROOT = Path(__file__).parents[1]
Gate = run_tests.Gate


def report(folder: Path, *cases: tuple[str, str, float]) -> Path:
    """A JUnit report of tests: (file, name, seconds)."""
    path = folder / "r.xml"
    rows = (f'<testcase classname="{c}" name="{n}" time="{s}"/>' for c, n, s in cases)
    path.write_text(f"<testsuites><testsuite>{''.join(rows)}</testsuite></testsuites>")
    return path


def test_gates_side_by_side_count_once():
    two = [Gate([], 80, one_core=True), Gate([], 190, one_core=True)]
    assert run_tests.seconds_of([Gate([], 100), *two]) == 290
    assert run_tests.seconds_of([]) == 0


def test_a_notebook_is_late_by_the_sum_of_its_cells(tmp_path):
    cells = [("notebooks.07", "Cell 1", 100), ("notebooks.07", "Cell 2", 81)]
    found = run_tests.slow_chapters(report(tmp_path, *cells, ("notebooks.08", "Cell 1", 179)))
    assert found == ["notebooks.07: 181 s, wanted at most 180"]


def test_the_slowest_tests_come_first_and_absent_reports_count_nothing(tmp_path):
    path = report(tmp_path, ("a", "quick", 1), ("b", "slow", 9), ("c", "middling", 5))
    found = run_tests.slowest([path, tmp_path / "absent.xml"], count=2)
    assert found == [(9, "b::slow"), (5, "c::middling")]


def test_every_setting_has_its_own_order():
    todo = run_tests.portable(run_tests.SETTINGS, None)
    tests = [gate.command for name, gate in todo.items() if name.startswith("tests, ")]
    seeds = [
        part for command in tests for part in command if part.startswith("--random-order-seed=")
    ]
    assert len(set(seeds)) == len(run_tests.SETTINGS) >= 2


@pytest.mark.parametrize("sample", range(40))
def test_a_sample_is_one_setting_with_one_notebook_that_exists(sample):
    name = list(run_tests.SETTINGS)[sample % len(run_tests.SETTINGS)]
    todo = run_tests.portable([name], sample)
    assert list(todo) == [f"tests, {name}", f"notebooks, {name}"]
    assert all(gate.setting == run_tests.SETTINGS[name] for gate in todo.values())
    ignored = [p[9:] for p in todo[f"tests, {name}"].command if p.startswith("--ignore=")]
    assert ignored == [p for p in ignored if (ROOT / p).exists()] != []
    assert len(ignored) == len(set(ignored))
    (path,) = [part for part in todo[f"notebooks, {name}"].command if part.endswith(".ipynb")]
    assert (ROOT / path).exists()


def test_every_setting_comes_to_every_file_with_numbers():
    """Each commit asks a fifth of the files."""
    every = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    every -= set(run_tests.MACHINERY)
    settings = len(run_tests.SETTINGS)
    for setting in range(settings):
        asked = [every - set(run_tests.resting(setting + settings * i)) for i in range(5)]
        assert set.union(*asked) == every
        assert sum(map(len, asked)) == len(every)
        assert max(map(len, asked)) - min(map(len, asked)) <= 1


def test_each_commit_runs_every_notebook_once_one_of_them_as_another_machine(monkeypatch):
    paths, settings = set(run_tests.notebooks()), set()
    for n in range(len(run_tests.SETTINGS) * len(run_tests.TRAIN)):
        monkeypatch.setattr(run_tests, "turn", lambda n=n: n)
        gates = run_tests.gates()
        (one,) = paths & set(gates["a notebook elsewhere"].command)
        assert paths & set(gates["notebooks"].command) == paths - {one}
        setting = gates["elsewhere"].setting
        assert gates["a notebook elsewhere"].setting == setting
        settings.add(frozenset(setting.items()))
    assert settings == {frozenset(s.items()) for s in run_tests.SETTINGS.values()}


def test_quick_leaves_out_files_that_are_there():
    ignored = [a for a in run_tests.QUICK["laws"].command if a.startswith("--ignore=")]
    assert len(ignored) == len(run_tests.BESIDE)
    assert all((ROOT / a.removeprefix("--ignore=")).exists() for a in ignored)


def test_the_whole_sweep_gives_all_their_turn():
    todo = run_tests.portable(run_tests.SETTINGS, None)
    wide = [g for name, g in todo.items() if name.startswith(("tests, ", "pages, "))]
    assert len(wide) == len(run_tests.SETTINGS) + 1
    wide.append(todo["what takes turns"])
    assert all(gate.setting["ZEROCAM_TURNS"] == "all" for gate in wide)
    for path in (ROOT / "tests").glob("test_*.py"):  # no file with turns is left out of all
        part = path.stem.removeprefix("test_")
        if "turns." in path.read_text() and part != "run_tests":
            asked = [g for g in wide[:-2] if f"--ignore={path.relative_to(ROOT)}" not in g.command]
            assert bool(asked) == (part not in run_tests.TURNS), part
            assert asked or f"tests/{path.name}" in wide[-1].command


def test_what_is_dear_takes_turns_and_each_has_its_turn(monkeypatch):
    names = [name for part in turns.PARTS for name in part]
    assert len(names) == len(set(names))
    spent = [sum(part.values()) for part in turns.PARTS]
    assert max(spent) - min(spent) < 10
    asked = {}
    for n in (*range(24), None):
        monkeypatch.setattr(turns, "number", lambda n=n: n)
        asked[n] = {name for name in names if turns.has_turn(name)}
        asked[n] |= {(every, x) for every in (2, 3) for x in turns.some("abcdefg", every)}
        assert len(asked[n] & set(names)) < len(names) or n is None
    assert set.union(*(asked[n] for n in range(24))) == asked[None]
    assert len(asked[None]) == len(names) + 7 * 2


def test_a_failed_gate_fails_the_run_and_is_named():
    results = [run_tests.Outcome("style", True, "passed", 1.0)]
    assert run_tests.summary(results, 1).endswith("all gates passed (1 s)")
    results.append(run_tests.Outcome("site", False, "3 tests, 1 failed, 0 skipped", 2.0))
    assert run_tests.summary(results, 3).endswith("FAILED: site (3 s)")
