"""Two graded assignments for nbgrader, made of the variants that a seed chooses."""

import os
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

from .exam import exam
from .marks import drawn
from .notebooks import TITLE, dump

ASSIGNMENTS = {
    "assignment1": ("lift", "class_maps", "pad_with", "heatmap_channel"),
    "assignment2": (
        *("relabel", "centre_head", "blind"),
        *("absorb", "doubly_centred", "added_by", "stretch", "one_story", "folded"),
    ),
}
IMPORTS = """import copy

import torch
import torch.nn.functional as F
from torch import nn

import zerocam
from zerocam import grad_cam, metrics, references
"""
NBGRADER = """c = get_config()
c.CourseDirectory.course_id = "zero"
c.ExecutePreprocessor.timeout = 300
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # your work here"}
"""
RULES = """Each function counts two points, and the answer in words two. The functions are like
those of the chapters, and not the same: read each question to its end. What you hand in is run on
other inputs than the one that is shown. Write where it says *your work here*, leave the other cells
as they are, and hand in this file under its own name."""
REASON = """**In words.** Choose one of these functions. Say in three sentences which claim
it serves, by what you would notice that it is wrong, and what it does not show.
"""


def assignment(name: str, seed: str) -> dict:
    """An nbgrader source: for each function a cell to fill and a cell that marks it."""
    title = f"# {TITLE} {name.capitalize()[:-1]} {name[-1]}\n\n{RULES}"
    cells = [_cell("markdown", title), _cell("code", IMPORTS, "imports", locked=True)]
    for task in ASSIGNMENTS[name]:
        made = drawn(task, seed)
        head, body = made.solution.split("\n", 1)
        source = f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"
        asks = f"{made.asks}\n\n```\n{made.shown}\n```" if made.shown else made.asks
        cells += [
            _cell("markdown", asks),
            _cell("code", source, task, solution=True),
            _cell("code", made.check(), f"{task}_marks", grade=True, points=2, locked=True),
        ]
    cells += [_cell("markdown", REASON)]
    cells += [_cell("markdown", "*Your answer*", "reason", solution=True, grade=True, points=2)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str, grade_id: str = "", **how: object) -> dict:
    cell = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    cell["id"] = grade_id.replace("_", "-") or f"text-{crc32(source.encode()):08x}"
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    if grade_id:
        what = {"grade": False, "solution": False, "locked": False, "task": False} | how
        kind = {"cell_type": kind} if what["grade"] else {}
        cell["metadata"]["nbgrader"] = {"grade_id": grade_id, "schema_version": 3} | what | kind
    return cell


def nbgrader(folder: Path) -> Any:
    """nbgrader in a course folder; its gradebook lies there."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import PyFileConfigLoader

    # It calls alembic by name, which lies beside this Python.
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ["PATH"]])
    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    config.CourseDirectory.root = str(folder)
    return NbGraderAPI(config=config)


def prepare(folder: Path, seed: str) -> bool:
    """Write the exam and both assignments, and release these; False where hand-ins lie.

    A folder with a `submitted` in it is left as it is: another seed would change the questions of
    what was handed in.
    """
    if (folder / "submitted").exists():
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)  # nobody else reads the checkers, the marks and the seed
    (folder / "nbgrader_config.py").write_text(NBGRADER, encoding="utf-8")
    (folder / "seed.txt").write_text(f"{seed}\n", encoding="utf-8")
    for paper, words in zip(("exam", "exam-solutions"), exam(seed), strict=True):
        (folder / f"{paper}.md").write_text(words, encoding="utf-8")
    for name in ASSIGNMENTS:
        place = folder / "source" / name / f"{name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(dump(assignment(name, seed)), encoding="utf-8")
    grader = nbgrader(folder)
    for name in ASSIGNMENTS:
        done = grader.generate_assignment(name, create=True)
        if not done["success"]:
            raise RuntimeError(f"nbgrader could not release {name}: {done['log']}")
    return True
