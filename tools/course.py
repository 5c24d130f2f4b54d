"""Write the course from the notebooks: student and instructor editions, slides, assignments, zips.

`make course` calls this.  What it reads:

    tag "solution"       a code cell that answers an exercise; the student gets an empty cell
    tag "exercise"       a cell with a function that `attempt` checks; the student gets its head
    <summary>Solution</summary>   a folded answer in prose; the student gets a line to write on
    slideshow metadata   slide_type "slide" starts a slide, "fragment" adds to it, "notes" is said;
                         minutes: how long it is shown; title; section: only what stands under this
                         heading; code: true shows the source as well
"""

import argparse
import ast
import copy
import html
import json
import os
import platform
import re
import shutil
import sys
import textwrap
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

from zerocam import ledger
from zerocam.checks import EXERCISES

ROOT = Path(__file__).parents[1]
TITLE = "What Does Zero Mean?"
DETAILS = re.compile(r"<details><summary>Solution</summary>.*?</details>\s*", re.S)
WORK = "# Your work\n"
ANSWER = "> **Your answer:**\n\n"
STUB = "    ...  # your work here"


def chapters(root: Path = ROOT) -> dict[str, dict]:
    """File name -> notebook, in reading order."""
    return {c.path.name: c.notebook for c in ledger.chapters(root)}


def text(cell: dict) -> str:
    """The source of a cell."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


# The student edition ----------------------------------------------------------------------------


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


# Slides -----------------------------------------------------------------------------------------

STYLE = """
*{box-sizing:border-box}html{font:clamp(16px,2.7vmin + 4px,40px)/1.35 system-ui,sans-serif}
body{margin:0;background:#fff;color:#111}
section{min-height:100vh;padding:4vh 6vw 8vh;position:relative;border-bottom:1px solid #bbb;
display:flex;flex-direction:column;justify-content:center;gap:.5em}
h1{font-size:1.9em;margin:0}h2{font-size:1.4em;margin:0}h3{margin:0}p,ol,ul{margin:0}
img{max-width:100%;max-height:52vh;object-fit:contain;align-self:center;background:#fff}
pre{margin:0;padding:.6em 1em;background:#f4f4f4;overflow:auto;font-size:.8em}
blockquote{margin:0;padding-left:1em;border-left:.3em solid #2166ac}
table{border-collapse:collapse;font-size:.8em}td,th{border:1px solid #bbb;padding:.2em .6em}
math{font-size:1.1em}math[display=block]{font-size:1.5em;margin:.4em 0}
munder>munder>:first-child{border-bottom:1px solid;padding-bottom:.15em}
details{color:#333}aside{display:none;font-size:.7em;color:#333;
border-top:2px solid #2166ac;padding-top:.6em}body.notes aside{display:block}
footer{position:absolute;bottom:1.5vh;right:3vw;left:6vw;font-size:.55em;color:#555;
display:flex;justify-content:space-between}
@media print{@page{size:A4 landscape;margin:10mm}html{font-size:13pt}section{min-height:0;
height:auto;page-break-after:always;border:0;padding:0 0 2em}footer{position:static}}
"""
SCRIPT = """
const all=[...document.querySelectorAll("section")];
const now=()=>all.findIndex(s=>s.getBoundingClientRect().bottom>innerHeight/2);
addEventListener("keydown",e=>{if(e.target.closest?.("input,select,button,summary"))return;
const step={ArrowRight:1,PageDown:1," ":1,
ArrowLeft:-1,PageUp:-1}[e.key];
if(e.key==="n")document.body.classList.toggle("notes");
if(step){e.preventDefault();all[Math.max(0,Math.min(all.length-1,now()+step))].scrollIntoView()}});
"""


def deck(notebooks: dict[str, dict]) -> list[dict]:
    """The slides: chapter, minutes, what is shown, what is said."""
    slides: list[dict] = []
    for name, notebook in notebooks.items():
        for cell in notebook["cells"]:
            mark = cell["metadata"].get("slideshow", {})
            kind = mark.get("slide_type")
            if kind == "slide":
                slides.append({"chapter": name[:2], "minutes": 0, "shown": [], "said": []})
            if kind not in ("slide", "fragment", "notes"):
                continue
            slides[-1]["minutes"] += mark.get("minutes", 0)
            slides[-1]["shown"] += [f"<h2>{mark['title']}</h2>"] if "title" in mark else []
            shown, said = (_said if cell["cell_type"] == "markdown" else _output)(cell)
            slides[-1]["shown"] += [] if kind == "notes" else shown
            slides[-1]["said"] += shown + said if kind == "notes" else said
    return slides


def _said(cell: dict) -> tuple[list[str], list[str]]:
    """Of prose: headings, formulas, lists, tables, quotations, what is in bold; and the rest."""
    source = re.sub(r" *\{cite\}`[^`]*`|<!--.*?-->", "", DETAILS.sub("", text(cell)))
    if section := cell["metadata"]["slideshow"].get("section"):
        parts = re.split(r"(?m)^(?=#)", source)
        source = next(part for part in parts if part.startswith(("# ", "## ")) and section in part)
    shown, said = [], []
    for block in map(str.strip, re.split(r"\n\s*\n(?![^<]*</details>)", source.strip())):
        if block.startswith(("**You need", "After this")):
            continue
        keep = re.match(r"#|\$\$|- |\d\. |\||> |<details", block) or "**" in block
        (shown if keep else said).append(_html(block))
    while shown and shown[-1].startswith("<h"):  # of what follows in the next cell
        shown.pop()
    return shown, said


def _output(cell: dict) -> tuple[list[str], list[str]]:
    """Of code: pictures and print-outs, and the source if the mark says so."""
    shown, alt = [], cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
    if cell["metadata"]["slideshow"].get("code"):
        shown.append(f"<pre>{html.escape(text(cell))}</pre>")
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            png = "".join(data["image/png"]).replace("\n", "")
            alt = html.escape(alt, quote=True)
            shown.append(f'<img alt="{alt}" src="data:image/png;base64,{png}">')
        elif "text/html" in data:
            shown.append(re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.S))
        else:
            printed = "".join(output.get("text", data.get("text/plain", "")))
            shown.append(f"<pre>{html.escape(printed.strip())}</pre>")
    return shown, []


def _html(markdown: str) -> str:
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def mathml(formula: str, options: dict) -> str:
        where = "block" if options["display_mode"] else "inline"
        inner = re.sub(r"\\(begin|end)\{aligned\}|(?<!\\)&", "", formula)
        inner = inner.replace(r"\tfrac", r"\frac").replace(r"\textstyle", "")
        rows = [row for row in re.split(r"\\\\(?![a-zA-Z])", inner) if row.strip()]
        made = "".join(convert(row.strip(), display=where) for row in rows)
        return re.sub(r"<mo[^>]*>&#x0*23DF;</mo>", '<mspace width="0"/>', made)  # a line, by STYLE

    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    renderer.use(dollarmath_plugin, allow_space=True, renderer=mathml)
    # A link to another chapter leads nowhere from one file.
    return renderer.render(re.sub(r"\[([^]]*)\]\((?!http)[^)]*\)", r"\1", markdown))


def slides(notebooks: dict[str, dict]) -> str:
    """The lecture as one HTML file that asks nobody for anything."""
    made, total = [], 0
    for slide in deck(notebooks):
        total += slide["minutes"]
        said = f"<aside>{''.join(slide['said'])}</aside>" if slide["said"] else ""
        foot = f"<span>{TITLE} Chapter {int(slide['chapter'])}</span><span>to minute {total}</span>"
        shown = "".join(slide["shown"])
        made.append(f"<section>{shown}{said}<footer>{foot}</footer></section>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(made)}<script>{SCRIPT}</script></body></html>\n"
    )


# Assignments ------------------------------------------------------------------------------------

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
from zerocam.checks import attempt
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
        marks = f"from zerocam.checks import verdict\n\nfound = verdict({task})\n"
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


# Files ------------------------------------------------------------------------------------------


def files(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Every file of the course: its place and its text."""
    notebooks = chapters(root)
    for edition, make in (("student", student), ("instructor", instructor)):
        for name, notebook in notebooks.items():
            yield f"{edition}/notebooks/{name}", _dump(make(notebook))
        for name in ("LICENSE", "LICENSE-text", "THIRD_PARTY.md"):
            yield f"{edition}/{name}", (root / name).read_text(encoding="utf-8")
        yield f"{edition}/README.md", README[edition]
    for name in ASSIGNMENTS:
        source = _dump(assignment(name, notebooks))
        yield f"assignments/source/{name}/{name}.ipynb", source
    yield "assignments/nbgrader_config.py", NBGRADER
    yield "instructor/lecture.html", slides(notebooks)
    yield "instructor/teach.md", (root / "book" / "teach.md").read_text(encoding="utf-8")


def _dump(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


NBGRADER = """c = get_config()
c.CourseDirectory.course_id = "zero"
c.ExecutePreprocessor.timeout = 300
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # your work here"}
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


def zipped(folder: Path) -> Path:
    """Zip a folder so that the same files give the same bytes."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = file.relative_to(folder.parent).as_posix()
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, file.read_bytes())
    return path


def write(out: Path, root: Path = ROOT) -> list[Path]:
    """Write the editions and their zips into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    for name, content in files(root):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return [zipped(out / edition) for edition in README]


# Running it --------------------------------------------------------------------------------------


def place(folder: Path, notebooks: dict[str, dict], numbers: Sequence[str] = ()) -> list[Path]:
    """Write these notebooks, or those of the chapters named, into a folder."""
    chosen = {n: nb for n, nb in notebooks.items() if not numbers or n[:2] in numbers}
    for name, notebook in chosen.items():
        (folder / name).write_text(_dump(notebook), encoding="utf-8")
    return [folder / name for name in chosen]


def run(path: Path) -> tuple[float, str]:
    """Run a notebook from top to bottom: its processor seconds, kernel included; what it printed.

    Raises nbclient's CellExecutionError at the first cell that does.
    """
    import resource  # not on Windows

    import nbformat
    from nbclient import NotebookClient

    def spent() -> float:  # by kernels that have ended
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

    notebook, start = nbformat.read(path, as_version=4), spent()
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return spent() - start, "".join(o.get("text", "") for o in outputs)


def measure(folder: Path, numbers: Sequence[str]) -> None:
    """Run the student edition, unsolved, and store how long each chapter took."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in place(folder, {n: student(nb) for n, nb in chapters().items()}, numbers):
        seconds, printed = run(path)
        assert "✓ " not in printed.split("○")[-1], f"{path.name} comes solved"
        words, cells = size(chapters()[path.name])
        rows.append({"chapter": int(path.name[:2]), "words": words, "code cells": cells})
        rows[-1] |= {"processor seconds": round(seconds), "minutes to read": reading(words, cells)}
        print(rows[-1], flush=True)
    store("chapter_minutes", rows, "python tools/course.py --run")


def size(notebook: dict) -> tuple[int, int]:
    """Words of prose, and cells of code."""
    prose = [text(c).split() for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return sum(map(len, prose)), len(notebook["cells"]) - len(prose)


def reading(words: int, cells: int) -> int:
    """Minutes: 100 words a minute and 40 seconds for a cell, to the nearest five."""
    return 5 * round((words / 100 + cells * 2 / 3) / 5)


def store(name: str, rows: list[dict], command: str) -> None:
    """Keep a measurement with the machine it was made on; the book draws it as a table."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{platform.system()}, {os.cpu_count()} processor cores, {memory:.0f} GiB"
    versions = {"Python": platform.python_version(), "PyTorch": version("torch")}
    made = {"command": command, "machine": machine, "versions": versions}
    content = json.dumps({"made": made, "rows": rows}, indent=1) + "\n"
    (ROOT / "book" / "measured" / f"{name}.json").write_text(content, encoding="utf-8")


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


def main() -> None:
    """Write the course and say where it is; or run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
