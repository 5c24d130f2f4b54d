"""Write the course into _build/course, or run it: `make course` calls this."""

import argparse
from pathlib import Path

from .assignments import release
from .files import write
from .notebooks import ROOT
from .timing import measure


def main() -> None:
    """Write the course and say where it is; or run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "course")
    parser.add_argument("--run", nargs="*", metavar="NN", help="run the unsolved chapters, or NN")
    options = parser.parse_args()
    if options.run is not None:
        return measure(options.out / "run", options.run)
    zips = write(options.out)
    release(options.out / "assignments")
    for path in zips:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
