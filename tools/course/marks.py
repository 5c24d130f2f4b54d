"""The tasks that count: for each exercise of a chapter a variant that is published nowhere.

A file of variants/ is one variant: what may differ from year to year stands in its constants, each
with what it may be, as `P = 2  # one of (1, 2, 3)`.  A seed chooses.  What is chosen goes into the
lecturer's copy of an assignment: the solution, and the checker, which nbgrader hides from students.
"""

import ast
import random
import re
import runpy
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from zerocam.lab.exercises.marking import Exercise, example

VARIANTS = Path(__file__).parent / "variants"
CHOICE = re.compile(r"^(\w+) = .*?  # one of (\(.*\))$", re.M)


def choices(exercise: str) -> dict[str, tuple]:
    """What each constant of a variant may be."""
    found = CHOICE.finditer((VARIANTS / f"{exercise}.py").read_text(encoding="utf-8"))
    return {m[1]: ast.literal_eval(m[2]) for m in found}


def drawn(exercise: str, seed: str) -> "Variant":
    """The variant of an exercise that a seed chooses."""
    draw = random.Random(f"{seed} {exercise}")
    return Variant(exercise, {k: draw.choice(may) for k, may in choices(exercise).items()})


class Variant:
    """One choice of the constants of a variant.

    chosen: the constants.  name: of the function to write.  asks: what to write, as a sentence.
    shown: one input and what is wanted there.  solution: the function as text.  checker: text that
    defines TASK.
    """

    def __init__(self, exercise: str, chosen: dict[str, Any]) -> None:
        self.chosen = chosen
        source = (VARIANTS / f"{exercise}.py").read_text(encoding="utf-8")
        self.checker = CHOICE.sub(lambda found: f"{found[1]} = {chosen[found[1]]!r}", source)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{exercise}.py"
            path.write_text(self.checker, encoding="utf-8")
            made = runpy.run_path(str(path))
        self.name, self.task = str(made["NAME"]), made["TASK"]
        assert isinstance(self.task, Exercise)
        words = " ".join((self.task.right.__doc__ or "").format(**chosen).split())
        self.asks = f"Write `{self.name}({', '.join(self.task.takes)})`. {words}"
        self.shown = example(self.task)
        self.solution = _solution(self.checker, self.name, chosen)

    def check(self) -> str:
        """A cell that marks the function, and what of it is hidden from students."""
        body = textwrap.indent(self.checker.rstrip() + "\nreturn TASK", "    ")
        return (
            f"# What {self.name} is tried on is not shown.\n### BEGIN HIDDEN TESTS\n"
            f"from zerocam.lab.exercises import verdict\n\n\ndef _task():\n{body}\n\n\n"
            f"_found = verdict({self.name}, _task())\n"
            'assert _found.state == "right", _found\n### END HIDDEN TESTS'
        )


class _Inline(ast.NodeTransformer):
    """The constants that were chosen, and the entry of a table that they name."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        self.chosen = chosen

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self.chosen[node.id]) if node.id in self.chosen else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.value, ast.Dict) and isinstance(node.slice, ast.Constant):
            keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            return node.value.values[keys.index(node.slice.value)]
        return node


def _solution(source: str, name: str, chosen: dict[str, Any]) -> str:
    """The function `right` under the name of the question, for one choice of the constants."""
    (right,) = (n for n in ast.parse(source).body if getattr(n, "name", "") == "right")
    right.name, right.body = name, right.body[1:]
    return ast.unparse(ast.fix_missing_locations(_Inline(chosen).visit(right)))
