"""The commands for what students hand in.

python -m tools.course.hand_ins collect HANDED_IN     files as they came, in any folders
python -m tools.course.hand_ins grade                 marks, feedback/ and marks.csv
"""

import argparse
from pathlib import Path

from .grading import UNSEEN, collect, grade
from .notebooks import ROOT


def main() -> None:
    """Collect or grade, and say what was done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "course" / "assignments")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("collect").add_argument("handed_in", type=Path)
    commands.add_parser("grade")
    options = parser.parse_args()
    if options.command == "collect":
        for line in collect(options.folder, options.handed_in):
            print(line)
    else:
        for line in grade(options.folder):
            print(line, flush=True)
        print(UNSEEN)


if __name__ == "__main__":
    main()
