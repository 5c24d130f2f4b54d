"""Write the course into _build/course, or run it: `make course` calls this."""

import argparse
import secrets
from pathlib import Path

from .assignments import prepare
from .files import write, zipped
from .lecture.build import build
from .notebooks import ROOT
from .timing import measure


def main() -> None:
    """Write the course and say where it is; or run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "course")
    parser.add_argument("--run", nargs="*", metavar="NN", help="run the unsolved chapters, or NN")
    parser.add_argument("--seed", help="of the tasks for marks; a new one if none is named")
    options = parser.parse_args()
    if options.run is not None:
        return measure(options.out / "run", options.run)
    zips = write(options.out)
    marks, seed = options.out / "assignments", options.seed or secrets.token_hex(8)
    if prepare(marks, seed):
        print(f"{marks}  tasks for marks; their seed is in seed.txt: keep it, and tell nobody")
    else:
        print(f"{marks}  left as it is: it holds what students handed in")
    build(options.out / "lecture")
    for path in [*zips, zipped(options.out / "lecture")]:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
