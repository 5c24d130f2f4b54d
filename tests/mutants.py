"""Wrong versions of the package that its tests must reject.  Run: python tests/mutants.py [module].

A mutant is (module, right, wrong): one place in src/zerocam/MODULE.py, and what to write there
instead.  It is run against tests/test_MODULE.py, or against the files named after it.  Each new law
adds one.  The working tree is never touched: a mutant lives in a copy of the package.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "zerocam"

MUTANTS = [
    ("ledger", "if not condition:", "if condition is None:"),
    ("ledger", "if value not in found", "if name not in found"),
    ("ledger", 'sub(" ", piece) for piece', 'sub(piece, piece) for piece'),
    ("ledger", 'done.replace("−", "-")', "done"),
    ("ledger", r"(?<![\w.]){re", "{re"),
    ("ledger", "if write else wrong", "if not write else wrong"),
    ("ledger", "everywhere | chapter.printed", "everywhere"),
    ("ledger", "if claim not in registry", "if claim in registry"),
    ("ledger", 'c.number == entry["chapter"] for c', "True for c"),
    ("ledger", '(claim in guarded) == ("unguarded" in entry)', "False"),
]  # fmt: skip


def tests_of(mutant: tuple[str, ...]) -> tuple[str, ...]:
    """The test files that must reject a mutant."""
    return mutant[3:] or (f"test_{mutant[0]}.py",)


def mutate(mutant: tuple[str, ...] | None, folder: str) -> None:
    """Write the package, with the mutant's one change if there is one, into a folder."""
    copy = Path(folder) / "zerocam"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is None:
        return
    module, right, wrong = mutant[:3]
    source = (copy / f"{module}.py").read_text(encoding="utf-8")
    if (n := source.count(right)) != 1:
        raise ValueError(f"{module}.py holds {right!r} {n} times; wanted once: mend the mutant")
    (copy / f"{module}.py").write_text(source.replace(right, wrong), encoding="utf-8")


def passes(files: tuple[str, ...], mutant: tuple[str, ...] | None = None) -> bool:
    """Whether the tests pass on a copy of the package; for a process that does nothing else."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        mutate(mutant, folder)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = folder
        code = pytest.main(
            ["-qx", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:nbval"]
            + ["--hypothesis-profile=mutants"]
            + [str(ROOT / "tests" / name) for name in files]
        )
        if code not in (0, 1):  # 1: a test failed, as it should; anything else is our own fault
            log.seek(0)
            raise RuntimeError(f"the tests could not run on {mutant}:\n{log.read().decode()}")
        imported = sys.modules["zerocam"].__file__
        if not imported.startswith(folder):
            raise RuntimeError(f"the tests ran on {imported}, not on the copy")
    return code == 0


def survives(mutant: tuple[str, ...]) -> bool:
    """Whether the tests fail to notice a mutant."""
    return passes(tests_of(mutant), mutant)


def main(modules: list[str]) -> int:
    """Test the clean package, then every mutant; 1 if one survives."""
    os.chdir(ROOT)
    mutants = [m for m in MUTANTS if not modules or m[0] in modules]
    files = tuple(sorted({name for m in mutants for name in tests_of(m)}))
    # Each mutant has a process of its own, forked from one that has imported torch already.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision", "hypothesis", "jaxtyping", "beartype"])
    with context.Pool(2, maxtasksperchild=1) as pool:
        if not pool.apply(passes, (files,)):
            print(f"the clean package must pass first; see: pytest {' '.join(files)}")
            return 1
        lives = pool.map(survives, mutants, chunksize=1)
    alive = [mutant for mutant, live in zip(mutants, lives, strict=True) if live]
    print(f"{len(mutants) - len(alive)} of {len(mutants)} mutants rejected")
    for module, right, wrong, *_ in alive:
        print(f"SURVIVES in {module}.py: {right!r} -> {wrong!r}")
    return int(bool(alive) or not mutants)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
