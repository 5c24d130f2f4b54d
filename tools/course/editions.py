"""The student and the instructor edition of the notebooks, and the one for Colab.

What is read in a notebook:

    tag "solution"       a code cell that answers an exercise; the student gets an empty cell
    tag "exercise"       a cell with a function that `attempt` checks; the student gets its head
    <summary>Solution</summary>   a folded answer in prose; the student gets a line to write on
"""

import ast
import copy
import re

from .notebooks import TITLE, tags, text

DETAILS = re.compile(r"<details><summary>Solution</summary>.*?</details>\s*", re.S)
WORK = "# Your work\n"
ANSWER = "> **Your answer:**\n\n"
STUB = "    ...  # your work here"
INSTALL = """# Colab does not have the book's package: this installs it, once in a session.
import importlib.util

if importlib.util.find_spec("zerocam") is None:
    %pip install --quiet "zerocam[lab] @ git+{address}@{branch}"
"""
README = {
    "student": f"""# {TITLE} The exercises

Open the notebooks in JupyterLab, in an environment in which `zerocam[book]` is installed.
They run from top to bottom as they are. Cells tagged `work` wait for you: `attempt` says whether a
function is right, and if not, what the matter may be. The text is under CC BY-SA 4.0.
""",
    "instructor": f"""# {TITLE} With solutions

The notebooks with their outputs and solutions. `lecture.html` holds the slides: arrow keys turn
them, `n` shows what to say. `teach.md` is the guide. The text is under CC BY-SA 4.0.
""",
}


def stub(source: str) -> str:
    """Of an exercise cell: its imports, the heads of the functions asked for, the attempts."""
    body = ast.parse(source).body
    calls = {ast.unparse(n): n.value.args[0].id for n in body if _is_attempt(n)}
    imports = [ast.unparse(n) for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
    asked = [n for n in body if isinstance(n, ast.FunctionDef) and n.name in calls.values()]
    heads = [f"def {n.name}({ast.unparse(n.args)}):\n{STUB}" for n in asked]
    return "\n\n\n".join(["\n".join(imports), *heads, "\n".join(calls)])


def _is_attempt(node: ast.stmt) -> bool:
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return is_call and ast.unparse(node.value.func) == "attempt"


def student(notebook: dict) -> dict:
    """A copy without solutions and outputs, and with a marked place for each answer."""
    new = copy.deepcopy(notebook)
    for cell in new["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = DETAILS.sub(ANSWER, text(cell)).splitlines(keepends=True)
            continue
        cell["outputs"], cell["execution_count"] = [], None
        if {"solution", "exercise"} & set(tags(cell)):
            source = WORK if "solution" in tags(cell) else stub(text(cell))
            cell["source"] = source.splitlines(keepends=True)
            cell["metadata"] = {"tags": ["work"]}
    return new


def instructor(notebook: dict) -> dict:
    """A copy as it is stored, with the solutions unfolded."""
    new = copy.deepcopy(notebook)
    for cell in new["cells"]:
        if {"solution", "exercise"} & set(tags(cell)):
            cell["metadata"] = {"tags": [t for t in tags(cell) if t != "hide-cell"]}
    return new


def colab(notebook: dict, address: str, branch: str) -> dict:
    """A copy with a first cell that installs what the chapters need, where it is missing."""
    cell = {"cell_type": "code", "id": "install", "metadata": {}}
    source = INSTALL.format(address=address, branch=branch).splitlines(keepends=True)
    cell |= {"source": source, "outputs": [], "execution_count": None}
    return notebook | {"cells": [cell, *copy.deepcopy(notebook["cells"])]}
