"""Run a study from the command line: python -m zerocam.lab.studies NAME --seeds 0:20."""

import argparse
from pathlib import Path

from zerocam.lab.studies import RESULTS, STUDIES, run


def _span(text: str) -> list[int]:
    start, colon, stop = text.partition(":")
    return list(range(int(start), int(stop))) if colon else [int(s) for s in text.split(",")]


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
    raise SystemExit(main())
