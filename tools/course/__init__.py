"""The course, made from the notebooks of the chapters; `make course` writes it.

    notebooks     the chapters as they are stored, and what the others ask of a cell
    editions      for students, without solutions; for instructors, with them; for Colab
    lecture       the slides, handouts and figures of the lecture
    marks         variants of the exercises, published nowhere, chosen by a seed
    exam          eight questions, whose numbers the seed chooses, and their solutions
                  papers/ has it, and objectives, rubrics, entry test, a letter to students
    assignments   two of them, made of variants, for nbgrader
    grading       what students hand in: collected, marked, told
    hand_ins      the commands for that
    files         every file of the course, and its zips
    timing        how long a chapter takes its reader: runs the student edition

These names are what the others use of it.
"""

from .assignments import ASSIGNMENTS, assignment, nbgrader, prepare
from .editions import instructor, plain, stub, student
from .exam import exam
from .files import files, write, zipped
from .grading import collect, grade
from .marks import VARIANTS, Variant, choices, drawn
from .notebooks import chapters, tags, text
from .timing import measure, place, run

__all__ = [
    "ASSIGNMENTS",
    "VARIANTS",
    "Variant",
    "assignment",
    "chapters",
    "choices",
    "collect",
    "drawn",
    "exam",
    "files",
    "grade",
    "instructor",
    "measure",
    "nbgrader",
    "place",
    "plain",
    "prepare",
    "run",
    "stub",
    "student",
    "tags",
    "text",
    "write",
    "zipped",
]
