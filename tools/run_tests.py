"""Run every gate of the project and sum up; `make test` calls this, with names it runs only those.

A pytest gate passes if pytest passes, at least one test ran and none was skipped.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

REPORTS = Path("_build/reports")
PYTEST = [sys.executable, "-m", "pytest", "-q", "--no-header"]
ALONE = ["-o", "addopts=--strict-markers"]  # without the package's doctests and shape checks
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/sanitize.cfg"]
RUFF = [sys.executable, "-m", "ruff"]
PAIR = ["-n", str(min(2, os.cpu_count() or 1))]

GATES = {
    "package": [*PYTEST, *PAIR, "--dist", "loadgroup"],
    "mutants": [sys.executable, "tests/mutants.py"],
    "notebooks": [*PYTEST, *ALONE, *NBVAL, "notebooks"],
    # Relative: make splits at spaces, and the folder above may have some.
    "book": ["make", "book", f"VENV={os.path.relpath(sys.prefix)}"],
    "browser": [sys.executable, "tests/site/browser.py"],
    "site": [*PYTEST, *ALONE, "tests/site"],
    "style": [*RUFF, "check", "."],
    "format": [*RUFF, "format", "--check", "."],
}


# Each of these keeps one core busy, so they run at the same time.
TOGETHER = {"notebooks", "book"}


def verdict(returncode: int, report: Path | None) -> tuple[bool, str]:
    """Whether a gate passed, and why: for pytest from its JUnit report, else from its exit code."""
    if report is None:
        return returncode == 0, "passed" if returncode == 0 else f"failed, exit code {returncode}"
    if not report.exists():
        return False, f"no report, exit code {returncode}"
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = sum(c.find("failure") is not None or c.find("error") is not None for c in cases)
    skipped = [s for c in cases if (s := c.find("skipped")) is not None]
    skipped = [s for s in skipped if s.get("type") != "pytest.xfail"]
    passed = returncode == 0 and bool(cases) and not bad and not skipped
    return passed, f"{len(cases)} tests, {bad} failed, {len(skipped)} skipped"


def run(name: str, command: list[str], log=None) -> tuple[str, bool, str, float]:
    """Run one gate, a thread a process; its name, whether it passed, why, and its seconds."""
    start = time.monotonic()
    report = None
    if command[1:3] == ["-m", "pytest"]:
        report = REPORTS / f"{name}.xml"
        report.unlink(missing_ok=True)
        command = [*command, f"--junitxml={report}"]
    print(f"\n=== {name}: {' '.join(command)}", flush=True)
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, stdout=log, stderr=log and subprocess.STDOUT)
    return name, *verdict(done.returncode, report), time.monotonic() - start


def run_all(names: list[str]) -> list[tuple[str, bool, str, float]]:
    """Run gates side by side, and print what each wrote when all have ended."""
    if len(names) == 1:
        return [run(names[0], GATES[names[0]])]
    logs = {
        name: (REPORTS / f"{name}.log").open("w+", encoding="utf-8", errors="replace")
        for name in names
    }
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda name: run(name, GATES[name], logs[name]), names))
    for name, log in logs.items():
        log.seek(0)
        print(f"\n=== {name} wrote\n{log.read()}", flush=True)
        log.close()
    return results


def main() -> int:
    """Run the gates named, or all; print a line for each; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gates", nargs="*", metavar="gate", help=f"of {', '.join(GATES)}")
    names = parser.parse_args().gates or list(GATES)
    if unknown := [n for n in names if n not in GATES]:
        parser.error(f"no such gate: {', '.join(unknown)}; there are {', '.join(GATES)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    begin, results = time.monotonic(), []
    for _, group in groupby(names, lambda name: name in TOGETHER or name):
        results += run_all(list(group))
    print("\n=== summary")
    for name, passed, why, seconds in results:
        print(f"{'ok    ' if passed else 'FAILED'} {name:<10} {seconds:5.0f} s  {why}")
    failed = [name for name, passed, *_ in results if not passed]
    total = time.monotonic() - begin
    print(f"{'FAILED: ' + ', '.join(failed) if failed else 'all gates passed'} ({total:.0f} s)")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
