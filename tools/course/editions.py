"""The student and the instructor edition of the notebooks, and the one for Colab.

What is read in a notebook:

    tag "solution"       a code cell that answers an exercise; the student gets an empty cell
    tag "exercise"       a cell with a function that `attempt` checks; the student gets its head
    <summary>Solution</summary>   a folded answer in prose; the student gets nothing of it
    **1. Predict.**      a question; if no function is asked for, a cell to write in comes after it
    tag "hide-input", "hide-cell"   folded in the book; for students in JupyterLab as well
"""

import ast
import base64
import copy
import re
from functools import cache

from pybtex.database import parse_file

from book._ext.zerobook.measured import file_of, in_words

from .notebooks import DRAWING, ROOT, TITLE, tags, text

DETAILS = re.compile(r"<details><summary>Solution</summary>.*?</details>\s*", re.S)
QUESTION = re.compile(r"^(?=\*\*\d\. [A-Z][a-z ]+\.\*\*)|^(?=## )", re.M)
IN_WORDS = re.compile(r"\*\*\d\. (?!Implement)")
WORK = "# Your work\n"
ANSWER = "**Your answer:** *(double-click here, and write over this line)*\n"
STUB = "    ...  # your work here"
LINK = re.compile(r"\[([^]]*)\]\((?:\.\./book/)?([\w-]+)\.md#?([^)]*)\)")
MEASURED = re.compile(r"^```\{measured\} (\w+)\n```$", re.M)
CITE = re.compile(r" ?\{cite\}`([^`]*)`")
INSTALL = """# Colab does not have the book's package: this installs it, once in a session.
import importlib.util

if importlib.util.find_spec("zerocam") is None:
    %pip install --quiet "zerocam[lab] @ git+{address}@{branch}"
"""
README = {
    "student": f"""# {TITLE} The exercises

You need Python 3.11 or later and 7 GB of free disk (on Linux; less where PyTorch comes without
CUDA). In the folder of this file:

{{install}}
    zero/bin/jupyter lab notebooks

On Windows, `zero\\Scripts\\` takes the place of `zero/bin/`. Open
`00-check-your-setup.ipynb` first: its last line says whether all is there.

The notebooks run from top to bottom as they are. Cells tagged `work` wait for you: `attempt` says
whether a function is right, and if not, what the matter may be and on which input. Questions in
words have a cell to write in. Folded code opens with a click on its three dots. `entry-test.md` has
ten questions to try before the course. The text is under CC BY-SA 4.0.
""",
    "instructor": f"""# {TITLE} With solutions

The notebooks with their outputs and solutions. `teach.md` is the guide; the slides are in the
folder `lecture` beside this one. `objectives.md`, `rubrics.md`, `entry-test.md` and `mail.md` are
for you to copy. The text is under CC BY-SA 4.0.
""",
}
FROM_WHEELS = """    python3 -m venv zero
    zero/bin/pip install --no-index --find-links wheels "zerocam[student]"

`wheels` is a folder that your lecturer hands out. With a clone of the book and a network, the
second line is `zero/bin/pip install "CLONE[student]"`, where CLONE is the path of the clone. Then
"""
FROM_ADDRESS = """    python3 -m venv zero
    zero/bin/pip install "zerocam[student] @ git+{address}@{branch}"
"""
CHECK = """import platform
import sys
from importlib.metadata import version

assert sys.version_info >= (3, 11), "Python 3.11 or later is needed"
import captum
import ipywidgets
import sklearn
import torch
import zerocam
from zerocam.imagenet import EfficientNetLite0
from zerocam.lab.exercises import EXERCISES

net = EfficientNetLite0().eval()  # its weights came with the installation
heatmap = zerocam.grad_cam(net, torch.zeros(1, 3, 224, 224), 0, layer="features")
assert heatmap.isfinite().all()
print("Python", platform.python_version(), "on", platform.system(), platform.machine())
print("PyTorch", version("torch"), "and zerocam", zerocam.__version__)
print("a heatmap of the shape", [*heatmap.shape], "and", len(EXERCISES), "exercises")
print("Ready.")
"""


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
    cells: list[dict] = []
    asked = False  # whether a question in words waits for its cell
    for cell in new["cells"]:
        if cell["cell_type"] == "markdown":
            asked = _prose(cell, cells, asked)
        else:
            cells.append(_code(cell))
    new["cells"] = cells
    return new


def _prose(cell: dict, cells: list[dict], asked: bool) -> bool:
    """Add prose as students get it, with a cell to write in at the end of a question in words."""
    source = plain(DETAILS.sub("", text(cell)))
    written = [""]  # the text of each cell; between two of them stands an answer
    for part in QUESTION.split(source):
        if asked and QUESTION.match(part):
            written.append("")
            asked = False
        written[-1] += part
        asked = asked or bool(IN_WORDS.match(part))
    for number, words in enumerate(written):
        name = f"{cell['id']}-{number}" if number else cell["id"]
        if number:
            answer = {"cell_type": "markdown", "metadata": {"tags": ["work"]}, "source": [ANSWER]}
            cells.append({"id": f"{name}-answer"} | answer)
        if words.strip():
            cells.append(cell | {"id": name, "source": words.strip().splitlines(keepends=True)})
    return asked


def _code(cell: dict) -> dict:
    """A code cell without outputs; empty where it answers an exercise, folded as in the book."""
    cell["outputs"], cell["execution_count"] = [], None
    if {"solution", "exercise"} & set(tags(cell)):
        source = WORK if "solution" in tags(cell) else stub(text(cell))
        cell["source"] = source.splitlines(keepends=True)
        cell["metadata"] = {"tags": ["work"]}
    elif {"hide-input", "hide-cell"} & set(tags(cell)):
        cell["metadata"]["jupyter"] = {"source_hidden": True}
    return cell


def check_setup(notebook: dict) -> dict:
    """A notebook of one cell, which says whether the installation is complete."""
    words = (
        "# Is my machine ready?\n\nRun the cell below. It takes a minute the first time. If its "
    )
    words += "last line is **Ready.**, you are; if not, send what stands there to your lecturer."
    prose = {"cell_type": "markdown", "id": "ready-or-not", "metadata": {}, "source": [words]}
    code = {"cell_type": "code", "id": "check", "metadata": {}, "source": CHECK.splitlines(True)}
    return notebook | {"cells": [prose, code | {"outputs": [], "execution_count": None}]}


def readme(edition: str, address: str, branch: str) -> str:
    """What stands beside the notebooks."""
    install = FROM_ADDRESS.format(address=address, branch=branch) if address else FROM_WHEELS
    return README[edition].replace("{install}\n", install.rstrip() + "\n")


def plain(prose: str) -> str:
    """Prose of the site in words that need no site: its citations, links to pages and tables."""
    tables = MEASURED.sub(lambda it: "\n".join(in_words(file_of(ROOT, it[1]))), prose)
    return LINK.sub(_named, CITE.sub(_cited, tables))


@cache
def _references() -> dict[str, str]:
    """Key of a reference -> who and when."""
    found = parse_file(ROOT / "book" / "references.bib", "bibtex").entries
    names = {}
    for key, entry in found.items():
        last = [" ".join(p.prelast_names + p.last_names) for p in entry.persons["author"]]
        last = [name.strip("{}") for name in last]
        who = f"{last[0]} et al." if len(last) > 2 else " and ".join(last)
        names[key] = ", ".join([who, *[entry.fields[k] for k in ("year",) if k in entry.fields]])
    return names


def _cited(role: re.Match) -> str:
    return f" ({'; '.join(_references()[key.strip()] for key in role[1].split(','))})"


def _named(link: re.Match) -> str:
    """A link to a page that the edition does not have: the words, and which page."""
    page = (ROOT / "book" / f"{link[2]}.md").read_text(encoding="utf-8")
    title = re.search(r"^# (.*)$", page, re.M)[1]
    words = link[1] or link[3].replace("-", " ").capitalize()
    return f"{words} (page *{title}* of the book)"


def instructor(notebook: dict) -> dict:
    """A copy as it is stored, with the solutions unfolded, and no role or link of the site."""
    new = copy.deepcopy(notebook)
    for cell in new["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = plain(text(cell)).splitlines(keepends=True)
        if {"solution", "exercise"} & set(tags(cell)):
            cell["metadata"] = {"tags": [t for t in tags(cell) if t != "hide-cell"]}
    return new


def colab(notebook: dict, address: str, branch: str) -> dict:
    """A copy that installs what the chapters need, and holds its drawings: Colab has no files."""
    cell = {"cell_type": "code", "id": "install", "metadata": {}}
    source = INSTALL.format(address=address, branch=branch).splitlines(keepends=True)
    cell |= {"source": source, "outputs": [], "execution_count": None}
    cells = copy.deepcopy(notebook["cells"])
    for other in cells:
        if other["cell_type"] == "markdown":
            other["source"] = DRAWING.sub(_held, plain(text(other))).splitlines(keepends=True)
    return notebook | {"cells": [cell, *cells]}


def _held(drawing: re.Match) -> str:
    data = base64.b64encode((ROOT / drawing[2]).read_bytes()).decode()
    return f"{drawing[1]}(data:image/svg+xml;base64,{data})"
