"""Two graded assignments for nbgrader, made of the exercises of the chapters."""

import ast
import os
import sys
import textwrap
from pathlib import Path
from typing import Any
from zlib import crc32

from zerocam.lab.exercises import EXERCISES

from .notebooks import TITLE, tags, text

ASSIGNMENTS = {
    "assignment1": ("lift", "class_maps", "pad_with", "heatmap_channel"),
    "assignment2": (
        *("relabel", "centre_head", "blind"),
        *("absorb", "doubly_centred", "added_by", "stretch", "one_story"),
    ),
}
IMPORTS = """import copy

import torch
import torch.nn.functional as F
from torch import nn

import zerocam
from zerocam import grad_cam, metrics, references
from zerocam.lab.exercises import attempt
"""
NBGRADER = """c = get_config()
c.CourseDirectory.course_id = "zero"
c.ExecutePreprocessor.timeout = 300
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # your work here"}
"""
REASON = """**In words.** Choose one of these functions. Say in three sentences which claim
it serves, by what you would notice that it is wrong, and what it does not show.
"""


def solution(name: str, notebooks: dict[str, dict]) -> ast.FunctionDef:
    """The function of this name in an exercise cell of the chapters."""
    cells = [c for nb in notebooks.values() for c in nb["cells"] if "exercise" in tags(c)]
    found = [n for c in cells for n in ast.parse(text(c)).body if getattr(n, "name", "") == name]
    if not found:
        raise ValueError(f"name: got {name!r}, wanted a function of an exercise cell")
    return found[0]


def assignment(name: str, notebooks: dict[str, dict]) -> dict:
    """An nbgrader source: for each function a cell to fill and a cell that marks it."""
    title = f"# {TITLE} {name.capitalize()[:-1]} {name[-1]}\n\nEach function counts two points."
    cells = [_cell("markdown", title), _cell("code", IMPORTS, "imports", locked=True)]
    for task in ASSIGNMENTS[name]:
        function = solution(task, notebooks)
        head = f"def {task}({ast.unparse(function.args)}):"
        body = textwrap.indent("\n".join(map(ast.unparse, function.body)), "    ")
        body = f"    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"
        source = f"{head}\n{body}\n\n\nattempt({task})"
        marks = f"from zerocam.lab.exercises import verdict\n\nfound = verdict({task})\n"
        marks += 'assert found.state == "right", found'
        cells += [
            _cell("markdown", f"Write {EXERCISES[task]['asks']}"),
            _cell("code", source, task, solution=True),
            _cell("code", marks, f"{task}_marks", grade=True, points=2, locked=True),
        ]
    cells += [_cell("markdown", REASON)]
    cells += [_cell("markdown", "*Your answer*", "reason", solution=True, grade=True, points=2)]
    kernel = next(iter(notebooks.values()))["metadata"]["kernelspec"]
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
    from traitlets.config import Config

    # It calls alembic by name, which lies beside this Python.
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ["PATH"]])
    config = Config()
    exec(
        (folder / "nbgrader_config.py").read_text(encoding="utf-8"), {"get_config": lambda: config}
    )
    config.CourseDirectory.root = str(folder)
    return NbGraderAPI(config=config)


def release(folder: Path) -> None:
    """Make what the students get of each assignment."""
    grader = nbgrader(folder)
    for name in ASSIGNMENTS:
        done = grader.generate_assignment(name, create=True)
        if not done["success"]:
            raise RuntimeError(f"nbgrader could not release {name}: {done['log']}")
