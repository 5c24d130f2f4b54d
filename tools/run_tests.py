"""Run the gates of the project and sum up: `make test`, `make quick` and `make portable` call this.

    python -m tools.run_tests                 every gate of `make test`
    python -m tools.run_tests package site    only these
    python -m tools.run_tests --portable      the settings of other machines, each with its gates

A pytest gate passes if pytest passes, at least one test ran and none was skipped.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

REPORTS = Path("_build/reports")
PYTEST = [sys.executable, "-m", "pytest", "-q", "--no-header"]
ALONE = ["-o", "addopts=--strict-markers"]  # without the package's doctests and shape checks
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/sanitize.cfg"]
RUFF = [sys.executable, "-m", "ruff"]
CORES = os.cpu_count() or 1
PAIR = ["-n", str(min(2, CORES))]
BY_FILE = [*PAIR, "--dist", "loadfile"]  # the cells of a notebook belong to one process
BY_GROUP = [*PAIR, "--dist", "loadgroup"]
CHAPTER_SECONDS = 180  # three times what a chapter may take on an idle machine

# Other machines, as far as this one can imitate them: other numbers of threads, which sum in
# another order, and kernels for older processors in PyTorch, oneDNN, MKL and OpenBLAS.
# A thread that waits sleeps: where two processes run, one that spins takes the other's core.
THREADS = {
    f"{n} threads": {"OMP_NUM_THREADS": n, "ZEROCAM_THREADS": n, "OMP_WAIT_POLICY": "PASSIVE"}
    for n in ("2", "4")
}
KERNELS = {
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell"},
    "SSE4": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
SETTINGS = {**(KERNELS if platform.machine() in ("x86_64", "AMD64") else {}), **THREADS}
# Tests without a number that another processor could move.
MACHINERY = (
    *("address", "api_page", "benchmarks", "cluster", "course", "gates", "hub", "imports", "lean"),
    *("ledger", "moved", "page", "paper", "refusals", "release", "repository", "run_tests"),
    *("walls", "workflows"),
)
# Those of them in which something takes turns from commit to commit: tests/turns.py.
TURNS = ("cluster", "course", "gates", "hub")
# Tests of trainings, and of what stands beside the package; `make test` runs them too.
BESIDE = ("course", "exercises", "explorer", "extras", "page", "relu_ablation", "training")
BESIDE += ("workflows", "write")
# The notebooks that train a network, so that another rounding has the longest way to grow.
TRAIN = ("04", "05", "06", "07", "08")


@dataclass(frozen=True)
class Gate:
    """A command that must pass, and its seconds on two idle cores, to say how long is left."""

    command: list[str]
    seconds: int
    setting: Mapping[str, str] = field(default_factory=dict)
    one_core: bool = False  # two of these in a row run side by side


TYPES = Gate(
    [sys.executable, "-m", "mypy"], 3, one_core=True
)  # 20 the first time, until it has its cache


class Outcome(NamedTuple):
    """What became of a gate."""

    name: str
    passed: bool
    why: str
    seconds: float


def notebooks(numbers: Iterable[str] = ("",)) -> list[str]:
    """The paths of the notebooks whose names begin with one of these numbers."""
    paths = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
    return [f"notebooks/{path.name}" for n in numbers for path in paths if path.name.startswith(n)]


def nbval(paths: Iterable[str]) -> list[str]:
    """The command that runs notebooks again and compares what they print."""
    return [*PYTEST, *ALONE, *BY_FILE, *NBVAL, *paths]


def package(*more: str) -> list[str]:
    """The command for the tests of the package."""
    return [*PYTEST, *BY_GROUP, *more]


def turn() -> int:
    """A number that differs from commit to commit, to take turns by."""
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return int(done.stdout, 16) if done.returncode == 0 else 0


def gates() -> dict[str, Gate]:
    """What `make test` runs, in its order."""
    # Relative: make splits at spaces, and the folder above may have some.
    venv = f"VENV={os.path.relpath(sys.prefix)}"
    n = turn()
    tests, notebook = portable([list(SETTINGS)[n % len(SETTINGS)]], n).values()
    here = [path for path in notebooks() if path not in notebook.command]
    return {
        "style": Gate([*RUFF, "check", "."], 1),
        "format": Gate([*RUFF, "format", "--check", "."], 1),
        "browser": Gate([sys.executable, "-m", "tools.browser"], 2),
        "package": Gate(package(), 310),
        "notebooks": Gate(nbval(here), 155),
        "types": TYPES,
        # From the outputs that are stored, which the notebooks' gates find again.
        "book": Gate(["make", "book", "ZEROCAM_EXECUTE=off", venv], 70, one_core=True),
        "mutants": Gate([sys.executable, "-m", "tests.mutants"], 130, one_core=True),
        # A sample of `make portable`: for each commit another setting, notebook, part of the tests.
        "a notebook elsewhere": replace(notebook, one_core=True),
        "site": Gate([*PYTEST, *ALONE, *BY_GROUP, "tests/site"], 225),
        "elsewhere": tests,
    }


QUICK = {
    "style": Gate([*RUFF, "check", "."], 1),
    "format": Gate([*RUFF, "format", "--check", "."], 1),
    "types": TYPES,
    "laws": Gate(
        package("-m", "not slow", *(f"--ignore=tests/test_{part}.py" for part in BESIDE)), 110
    ),
}


def resting(sample: int) -> list[str]:
    """The files that a sample leaves to others: four of five that have numbers.

    By the digit that follows the setting's, so that each setting comes to each file.
    """
    paths = sorted((Path(__file__).parents[1] / "tests").glob("test_*.py"))
    parts = [path.stem.removeprefix("test_") for path in paths]
    parts = [part for part in parts if part not in MACHINERY]
    asked = parts[sample // len(SETTINGS) % 5 :: 5]
    return [part for part in parts if part not in asked]


def portable(names: Iterable[str], sample: int | None) -> dict[str, Gate]:
    """Tests and training notebooks under each setting, the tests in an order of the setting's own.

    With a sample number: only the quick tests of a fifth of the files, and one notebook, for the
    gates of `make test`.  Without one everything has its turn, see tests/turns.py.
    """
    found = {}
    for i, name in enumerate(SETTINGS):
        if name not in names:
            continue
        seed = i + 1 if sample is None else sample % 10_000 + 1
        left_out = list(MACHINERY) if sample is None else [*MACHINERY, *resting(sample)]
        some = [f"--ignore=tests/test_{part}.py" for part in left_out]
        some += [f"--random-order-seed={seed}", *(["-m", "not slow"] if sample is not None else [])]
        every = {"ZEROCAM_TURNS": "all"} if sample is None else {}
        every |= {"ZEROCAM_ALL_FAMILIES": "1"} if sample is None and i == 0 else {}
        trained = TRAIN if sample is None else [TRAIN[sample // 8 % len(TRAIN)]]
        seconds = (400, 150) if sample is None else (45, 60)
        found[f"tests, {name}"] = Gate(package(*some), seconds[0], SETTINGS[name] | every)
        found[f"notebooks, {name}"] = Gate(nbval(notebooks(trained)), seconds[1], SETTINGS[name])
    if set(SETTINGS) <= set(names):
        known = gates()
        found |= {"browser": known["browser"], "book": known["book"]}
        found["what takes turns"] = Gate(
            package(*(f"tests/test_{part}.py" for part in TURNS)), 200, {"ZEROCAM_TURNS": "all"}
        )
        found["pages, other fonts"] = replace(
            known["site"], setting={"ZEROCAM_PAGES": "all", "ZEROCAM_TURNS": "all"}, seconds=500
        )
    return found


def cases(report: Path) -> list[ElementTree.Element]:
    """The tests that a JUnit report lists."""
    return list(ElementTree.parse(report).iter("testcase"))


def verdict(returncode: int, report: Path | None) -> tuple[bool, str]:
    """Whether a gate passed, and why: for pytest from its JUnit report, else from its exit code."""
    if report is None:
        return returncode == 0, "passed" if returncode == 0 else f"failed, exit code {returncode}"
    if not report.exists():
        return False, f"no report, exit code {returncode}"
    found = cases(report)
    bad = sum(c.find("failure") is not None or c.find("error") is not None for c in found)
    skipped = [s for c in found if (s := c.find("skipped")) is not None]
    skipped = [s for s in skipped if s.get("type") != "pytest.xfail"]
    passed = returncode == 0 and bool(found) and not bad and not skipped
    return passed, f"{len(found)} tests, {bad} failed, {len(skipped)} skipped"


def slow_chapters(report: Path) -> list[str]:
    """Each notebook that took longer than a chapter may, by the report of nbval."""
    spent: dict[str, float] = {}
    for case in cases(report):
        name = case.get("classname", "")
        spent[name] = spent.get(name, 0.0) + float(case.get("time", 0))
    limit = CHAPTER_SECONDS
    return [f"{n}: {s:.0f} s, wanted at most {limit}" for n, s in spent.items() if s > limit]


def slowest(reports: Iterable[Path], count: int = 10) -> list[tuple[float, str]]:
    """The tests that took the most seconds, longest first."""
    found = [
        (float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}")
        for report in reports
        if report.exists()
        for case in cases(report)
    ]
    return sorted(found, reverse=True)[:count]


def report_of(name: str) -> Path:
    """Where the report of a gate is written."""
    return REPORTS / f"{name.replace(', ', '-').replace(' ', '-')}.xml"


def run(name: str, gate: Gate, log=None) -> Outcome:
    """Run one gate, by default with a thread a process."""
    start = time.monotonic()
    report, command = None, gate.command
    if command[1:3] == ["-m", "pytest"]:
        report = report_of(name)
        report.unlink(missing_ok=True)
        command = [*command, f"--junitxml={report}"]
    shown = " ".join([*(f"{k}={v}" for k, v in gate.setting.items()), *command])
    print(f"{shown}\n", file=log, flush=True)
    env = {**os.environ, "OMP_NUM_THREADS": "1", **gate.setting}
    done = subprocess.run(command, env=env, stdout=log, stderr=log and subprocess.STDOUT)
    passed, why = verdict(done.returncode, report)
    here = "--nbval" in command and not gate.setting  # an imitated machine may be slower
    if passed and report and here and (late := slow_chapters(report)):
        passed, why = False, "; ".join(late)
    return Outcome(name, passed, why, time.monotonic() - start)


def run_together(gates: Mapping[str, Gate]) -> list[Outcome]:
    """Run gates side by side, and print what each wrote when all have ended."""
    if len(gates) == 1:
        return [run(*item) for item in gates.items()]
    logs = {
        name: (REPORTS / f"{name}.log").open("w+", encoding="utf-8", errors="replace")
        for name in gates
    }
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda item: run(*item, logs[item[0]]), gates.items()))
    for name, log in logs.items():
        log.seek(0)
        print(f"\n=== {name} wrote\n{log.read()}", flush=True)
        log.close()
    return results


def seconds_of(gates: Iterable[Gate]) -> float:
    """The seconds that gates are expected to take; those side by side count once."""
    gates = list(gates)
    beside = [g.seconds for g in gates if g.one_core]
    return sum(g.seconds for g in gates if not g.one_core) + (max(beside) if beside else 0)


def run_all(todo: Mapping[str, Gate]) -> list[Outcome]:
    """Run gates in turn, saying before each how many are left and for about how long."""
    begin, results = time.monotonic(), []
    groups = groupby(todo, lambda name: "beside" if todo[name].one_core else name)
    for names in [list(group) for _, group in groups]:
        rest = list(todo)[len(results) :]
        expected = seconds_of(todo[name] for name in todo if name not in rest)
        spent = time.monotonic() - begin
        pace = spent / expected if expected > 30 else 1  # of this machine; guessed until known
        left = pace * seconds_of(todo[name] for name in rest) / 60
        at = f"{len(results) + 1} of {len(todo)}"
        print(f"\n=== {at}: {' and '.join(names)}; about {left:.0f} min left", flush=True)
        results += run_together({name: todo[name] for name in names})
    return results


def summary(results: list[Outcome], seconds: float) -> str:
    """A line for each gate, the slowest tests, and whether all passed."""
    lines = ["", "=== the ten slowest tests"]
    reports = [report_of(result.name) for result in results]
    lines += [f"{spent:6.1f} s  {test}" for spent, test in slowest(reports)]
    lines += ["", "=== summary"]
    wide = max(len(r.name) for r in results)
    for name, passed, why, spent in results:
        lines.append(f"{'ok    ' if passed else 'FAILED'} {name:<{wide}} {spent:5.0f} s  {why}")
    failed = [r.name for r in results if not r.passed]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "all gates passed"
    return "\n".join([*lines, f"{verdict} ({seconds:.0f} s)"])


def main() -> int:
    """Run the gates named, or all; print a line for each; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = gates()
    parser.add_argument("gates", nargs="*", metavar="gate", help=f"of {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="the daily loop: laws and style")
    parser.add_argument("--portable", action="store_true", help="under the settings of others")
    parser.add_argument("--only", action="append", choices=list(SETTINGS), help="one setting")
    asked = parser.parse_args()
    if unknown := [n for n in asked.gates if n not in known]:
        parser.error(f"no such gate: {', '.join(unknown)}; there are {', '.join(known)}")
    if asked.portable:
        todo = portable(asked.only or SETTINGS, None)
    else:
        todo = QUICK if asked.quick else {n: known[n] for n in asked.gates or known}
    REPORTS.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    results = run_all(todo)
    print(summary(results, time.monotonic() - begin), flush=True)
    return int(not all(r.passed for r in results))


if __name__ == "__main__":
    raise SystemExit(main())
