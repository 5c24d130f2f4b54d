"""The course, made from the notebooks of the chapters; `make course` writes it.

    notebooks     the chapters as they are stored, and what the others ask of a cell
    editions      for students, without solutions; for instructors, with them; for Colab
    lecture       the slides; lecture.css and lecture.js are put into their one file
    assignments   two of them, released and marked by nbgrader
    files         every file of the course, and its zips
    timing        how long a chapter takes its reader: runs the student edition

These names are what the others use of it.
"""

from .assignments import ASSIGNMENTS, assignment, nbgrader, release, solution
from .editions import instructor, stub, student
from .files import files, write, zipped
from .lecture import deck, slides
from .notebooks import chapters, tags, text
from .timing import measure, place, run

__all__ = [
    "ASSIGNMENTS",
    "assignment",
    "chapters",
    "deck",
    "files",
    "instructor",
    "measure",
    "nbgrader",
    "place",
    "release",
    "run",
    "slides",
    "solution",
    "stub",
    "student",
    "tags",
    "text",
    "write",
    "zipped",
]
