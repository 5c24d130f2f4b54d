"""What students hand in: collected by name, marked, told, written into a table.

python -m tools.course.grading collect HANDED_IN     files as they came, in any folders
python -m tools.course.grading grade                 marks, feedback/ and marks.csv
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from .assignments import ASSIGNMENTS, nbgrader

# What a function of the course does not need, and a way round the checker does.
UNUSUAL = re.compile(
    r"verdict|_task|lab\.exercises|sys\.modules|_getframe|\bgc\b|inspect|__\w+__|_exit|open\("
)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?(### END HIDDEN TESTS|\Z)", re.S)
UNSEEN = """What the machine cannot see:
  It knows what a function gives, not why. Two students with the same code get the same marks.
  A hand-in runs in one kernel with its checker, and could read or change it. Where one of the words
  is used that this takes, it is named above: read that file yourself. None named is no proof.
  The answer in words has no mark yet. rubrics.md has its levels; enter them in nbgrader's
  formgrader, or as points in marks.csv.
"""


def collect(folder: Path, handed_in: Path) -> Iterator[str]:
    """Copy what was handed in to where nbgrader looks for it, and say of each file what was done.

    The assignment is known by its cells, whatever the file is called.  The student is the folder in
    which the file came or, where it came in none, what the file's name has beside the assignment's.
    Of two hand-ins of one student the newer counts.
    """
    if not handed_in.is_dir():
        raise SystemExit(f"{handed_in} is no folder. Nothing was collected.")
    taken: set[tuple[str, str]] = set()
    files = [p for p in handed_in.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    for path in sorted(handed_in.iterdir()):
        if (
            path.is_dir()
            and not path.name.startswith(".")
            and not any(path in p.parents for p in files)
        ):
            yield f"NOTHING IN {path.name}: it has no notebook"
        elif path.is_file() and path.suffix != ".ipynb":
            yield f"NOT TAKEN {path.name}: it is no notebook"
    if not files:
        yield f"NOTHING was collected: {handed_in} has no notebook"
    for path in sorted(files, key=lambda p: (-p.stat().st_mtime, p)):
        if path.is_symlink():
            yield f"NOT TAKEN {path.name}: it is a link"
            continue
        name, cells = _assignment(path)
        if name is None:
            yield f"NOT TAKEN {path.name}: it has no cells of an assignment"
            continue
        inside = path.relative_to(handed_in).parts
        rest = re.sub(rf"{name}|[^\w-]", " ", path.stem).strip(" _-")
        student = re.sub(r"[^\w.-]", "_", inside[0] if len(inside) > 1 else rest)
        if not student or student.startswith("."):
            yield f"NOT TAKEN {path.name}: whose is it? Put it into a folder with a name"
            continue
        if (name, student) in taken:
            yield f"NOT TAKEN {'/'.join(inside)}: {student} has handed in a newer one"
            continue
        taken.add((name, student))
        place = folder / "submitted" / student / name / f"{name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        notes = [f"it was called {path.name}"] if path.name != place.name else []
        lost = sorted({t + end for t in ASSIGNMENTS[name] for end in ("", "_marks")} - set(cells))
        notes += [f"it has lost the cells {', '.join(lost)}"] if lost else []
        written = [t for t in ASSIGNMENTS[name] if "NotImplementedError" not in cells.get(t, "Not")]
        notes += [] if written else ["no function is written"]
        code = "\n".join(source for key, source in cells.items() if not key.endswith("_marks"))
        words = sorted(set(UNUSUAL.findall(code)))
        notes += [f"READ IT, it uses {', '.join(words)}"] if words else []
        yield "; ".join([f"{student}: {name}", *notes])


def _assignment(path: Path) -> tuple[str | None, dict[str, str]]:
    """The assignment whose cells a file has, and all its cells, by their name or number."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = {
            cell["metadata"].get("nbgrader", {}).get("grade_id", str(i)): "".join(cell["source"])
            for i, cell in enumerate(notebook["cells"])
            if cell["cell_type"] == "code"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, {}
    shares = {name: len(set(tasks) & set(cells)) for name, tasks in ASSIGNMENTS.items()}
    name = max(shares, key=lambda key: shares[key])
    return (name if shares[name] else None), cells


def grade(folder: Path) -> Iterator[str]:
    """Mark all hand-ins: what students are told goes into feedback/, all marks into marks.csv."""
    from nbgrader.plugins import CsvExportPlugin

    grader = nbgrader(folder)
    for name in ASSIGNMENTS:
        for student in sorted(grader.get_submitted_students(name)):
            done = grader.autograde(name, student, force=True)
            if not done["success"]:
                yield f"NOT MARKED {student}: {name}\n{done['log']}"
                continue
            marked_file = folder / "autograded" / student / name / f"{name}.ipynb"
            whole = marked_file.read_bytes()
            _writable(marked_file).write_text(json.dumps(shown(json.loads(whole))), "utf-8")
            try:
                told = grader.generate_feedback(name, student, force=True)
            finally:
                marked_file.write_bytes(whole)
            if not told["success"]:
                yield f"NO FEEDBACK {student}: {name}\n{told['log']}"
            with grader.gradebook as book:
                marked = book.find_submission(name, student)
                yield f"{student}: {name}, {marked.score:g} of {marked.max_score:g} points"
    with grader.gradebook as book:
        export = CsvExportPlugin(config=grader.config)
        export.to = str(folder / "marks.csv")
        export.export(book)


def shown(notebook: dict) -> dict:
    """A marked hand-in as its student may see it: without hidden tests, with what they found.

    Of a cell that marks, the first line and the message of the error are left.  Its other lines
    hold the solution and the other forms of the task, and a traceback quotes them.
    """
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or not cell["metadata"].get("nbgrader", {}).get("grade"):
            continue
        cell["source"] = HIDDEN.sub("", "".join(cell["source"])).rstrip()
        found = [out["evalue"] for out in cell["outputs"] if out["output_type"] == "error"]
        text = "\n".join(found) or "right"
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
    return notebook


def _writable(path: Path) -> Path:
    path.chmod(path.stat().st_mode | 0o200)
    return path
