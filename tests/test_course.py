"""The course is made of the chapters: no solution reaches a student, and nothing else is lost."""

import ast
import copy
import csv
import json
import os
import re
import sys
import warnings
import zipfile
from functools import cache
from itertools import cycle, islice, pairwise, product
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tests import turns
from tools import course
from tools.course import grading
from zerocam.lab.exercises import EXERCISES, verdict

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/someone/zero"
# In one process: kernels can race for ports, and a fixture that takes long is made once.
KERNEL = pytest.mark.xdist_group("kernels")
CHAPTERS = course.chapters(ROOT)
STUDENT = {name: course.student(notebook) for name, notebook in CHAPTERS.items()}


def answers(notebook):
    """Lines of solutions, found without the tool: those of marked cells, and folded ones."""
    after = False
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        after |= "## Exercises" in source
        if cell["cell_type"] == "markdown" and after:
            for folded in re.findall(r"<summary>Solution</summary>(.*?)</details>", source, re.S):
                yield from folded.strip().splitlines()
        tags = cell["metadata"].get("tags", [])
        if "solution" in tags or "exercise" in tags:
            yield from source.splitlines()
            for output in cell["outputs"]:
                yield from "".join(output.get("text", [])).splitlines()


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_solution_is_left(name):
    left = "\n".join("".join(cell["source"]) for cell in STUDENT[name]["cells"])
    told = "\n".join(
        "".join(cell["source"])
        for cell in CHAPTERS[name]["cells"]
        if not {"solution", "exercise"} & set(cell["metadata"].get("tags", []))
    )
    told = re.sub(r"<summary>Solution</summary>.*?</details>", "", told, flags=re.S)
    secret = [line for line in answers(CHAPTERS[name]) if len(line.strip()) > 12]
    secret = [line for line in secret if line.strip() not in told]
    harmless = r"(from|import|def|attempt)\b.*"  # the head of the function and its check
    secret = [line.strip() for line in secret if not re.fullmatch(harmless, line.strip())]
    assert len(secret) > 10
    assert [line for line in secret if line in left] == []
    assert "Solution" not in left
    assert all(cell.get("outputs", []) == [] for cell in STUDENT[name]["cells"])


def work(cell):
    return {"solution", "exercise"} & set(cell["metadata"].get("tags", []))


@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_but_solutions_is_lost(name):
    before, after = CHAPTERS[name]["cells"], STUDENT[name]["cells"]
    nbformat.validate(STUDENT[name])
    now = {c["id"]: "".join(c["source"]) for c in after}
    assert len(now) == len(after)
    for old in before:
        source = "".join(old["source"])
        if old["cell_type"] == "code":
            ast.parse(now[old["id"]])
            assert bool(work(old)) == ("your work" in now[old["id"]].lower())
            assert work(old) or now[old["id"]] == source
    told = "".join("".join(c["source"]) for c in before if c["cell_type"] == "markdown")
    told = re.sub(r"<details><summary>Solution</summary>.*?</details>", " ", told, flags=re.S)
    told = re.sub(r"\{cite\}`[^`]*`|\]\([^)]*\)", " ", told)  # written out, and shortened
    left = " ".join("".join(c["source"]) for c in after if c["cell_type"] == "markdown")
    assert set(re.findall(r"\w+", told)) <= set(re.findall(r"\w+", left))


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_question_in_words_has_a_cell_to_write_in(name):
    """And it comes after the question and its code, and before the next question."""
    seen = []
    for cell in STUDENT[name]["cells"]:
        source = "".join(cell["source"])
        if cell["metadata"].get("tags") == ["work"] and cell["cell_type"] == "markdown":
            assert source.startswith("**Your answer:**")
            seen.append("answer")
        elif cell["cell_type"] == "markdown":
            seen += re.findall(r"^(?:\*\*\d\. ([A-Z][a-z ]+)\.\*\*|## W)", source, re.M)
    seen = seen[seen.index("Predict") :]
    assert seen.count("answer") >= 2
    for kind, after in pairwise(seen):
        assert (after == "answer") == (kind not in ("answer", "Implement", ""))


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_folded_in_the_book_is_folded_in_jupyterlab(name):
    ids = {c["id"]: c for c in CHAPTERS[name]["cells"]}
    folded = 0
    for cell in STUDENT[name]["cells"]:
        old = ids.get(cell["id"], cell)
        if cell["cell_type"] == "code" and not work(old):
            hidden = bool({"hide-input", "hide-cell"} & set(old["metadata"].get("tags", [])))
            assert cell["metadata"].get("jupyter", {}).get("source_hidden", False) == hidden
            folded += hidden
    assert folded


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_later_cell_needs_what_a_solution_makes(name):
    """So that the unsolved chapter runs from top to bottom."""

    def made(nodes):
        names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return names | {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}

    known, owed = set(), set()
    for cell in CHAPTERS[name]["cells"]:
        if cell["cell_type"] != "code":
            continue
        nodes = list(ast.walk(ast.parse("".join(cell["source"]))))
        if work(cell):
            owed |= made(nodes) - known
            continue
        used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        owed -= made(nodes)
        known |= made(nodes)
        assert not used & owed


@cache
def edition_files():
    return dict(course.files(address=ADDRESS, branch="main"))


def built():
    files = edition_files()
    for name, text in files.items():
        if name.endswith((".ipynb", ".md")):
            cells = json.loads(text)["cells"] if name.endswith("ipynb") else []
            prose = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
            yield name, "\n".join(prose) if cells else text, files


def test_no_edition_has_a_raw_role_or_a_dead_link():
    seen = 0
    for name, text, files in built():
        if name.endswith("THIRD_PARTY.md"):
            continue
        assert not re.findall(r"\{[\w:-]+\}`|^(?:```|:::)\{|\[\]\(", text, re.M), name
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if link.startswith(("http", "data:")):
                continue
            seen += 1
            place = (ROOT / name).parent / link.partition("#")[0]
            assert os.path.relpath(os.path.normpath(place), ROOT) in files, (name, link)
    assert seen > 20


def test_citations_are_written_out():
    texts = [text for name, text, _ in built() if "02-grad" in name]
    assert len(texts) == 3
    assert all("an older method, CAM (Zhou et al., 2016)" in text for text in texts)


@KERNEL
@pytest.mark.slow
def test_the_set_up_check_says_ready(tmp_path):
    text = edition_files()["student/notebooks/00-check-your-setup.ipynb"]
    (tmp_path / "check.ipynb").write_text(text)
    _, printed = course.run(tmp_path / "check.ipynb")
    assert printed.splitlines()[-1] == "Ready."


@pytest.mark.parametrize(
    ("address", "line"),
    [("", "--find-links wheels"), ("https://github.com/someone/zero", "@ git+https://github.com/")],
)
def test_the_student_edition_says_how_to_install(address, line):
    readme = dict(course.files(address=address))["student/README.md"]
    assert line in readme
    assert "zerocam[student]" in readme


def test_a_stub_keeps_the_head_and_the_check():
    source = "import torch\n\n\ndef g(y):\n    return y\n\n\ndef f(x, *, t=1):\n    return x * t\n"
    made = course.stub(source + "\n\nattempt(f)\nprint(f(2), g(3))\n")
    head = "def f(x, *, t=1):\n    ...  # your work here"
    assert made == f"import torch\n\n\n{head}\n\n\nattempt(f)"


if turns.has_turn("unsolved"):  # in every fourth commit: turns.py

    @KERNEL
    @pytest.mark.slow
    def test_an_unsolved_chapter_runs(tmp_path):
        """The others are run by: python -m tools.course --run."""
        (path,) = course.place(tmp_path, STUDENT, ["01"])
        _, printed = course.run(path)
        assert "○ lift: nothing yet." in printed


def test_the_zips_are_the_same_twice(tmp_path):
    first, second = (course.write(tmp_path / name) for name in ("a", "b"))
    assert [p.name for p in first] == ["student.zip", "instructor.zip"]
    for p, q in zip(first, second, strict=True):
        assert p.read_bytes() == q.read_bytes()
    with zipfile.ZipFile(first[0]) as archive:
        names = set(archive.namelist())
    assert {f"student/notebooks/{name}" for name in CHAPTERS} <= names
    assert not [n for n in names if "teach" in n or "lecture" in n]
    solved = json.loads((tmp_path / "a/instructor/notebooks" / next(iter(CHAPTERS))).read_text())
    assert "Solution" in json.dumps(solved)
    assert sys.dont_write_bytecode or not list((tmp_path / "a").rglob("*.pyc"))


def for_colab():
    found = {n: t for n, t in course.files(address=ADDRESS, branch="main") if n.startswith("colab")}
    return {name.rpartition("/")[2]: json.loads(text) for name, text in found.items()}


def test_the_edition_for_colab_has_one_cell_more():
    made = for_colab()
    assert list(made) == list(CHAPTERS)
    for name, notebook in CHAPTERS.items():
        nbformat.validate(made[name])
        cells = made[name]["cells"][1:]
        assert len(cells) == len(notebook["cells"])
        for new, old in zip(cells, notebook["cells"], strict=True):
            if old["cell_type"] == "code":
                assert new == old
            else:  # a drawing is held where the chapter names its file
                words = re.sub(r"\(data:image/svg[^)]*\)", "(DRAWING)", "".join(new["source"]))
                assert "_static/ideas" not in words
                known = re.sub(
                    r"\(\.\./book/_static/ideas/[^)]*\)", "(DRAWING)", "".join(old["source"])
                )
                assert words == course.plain(known)
                assert new | {"source": 0} == old | {"source": 0}


def test_the_editions_bring_the_drawings():
    files = edition_files()
    for name, text in files.items():
        if name.startswith(("student/notebooks", "instructor/notebooks")):
            for link in re.findall(r"\]\(\.\./(book/_static/[^)]*)\)", text):
                assert f"{name.split('/')[0]}/{link}" in files


@pytest.mark.parametrize("there", [True, False])
def test_on_colab_the_package_is_installed_if_it_is_missing(there):
    first = for_colab()[next(iter(CHAPTERS))]["cells"][0]
    code = TransformerManager().transform_cell("".join(first["source"]))
    asked = []
    shell = SimpleNamespace(run_line_magic=lambda *call: asked.append(call))
    exec(
        code if there else code.replace('("zerocam")', '("absent")'), {"get_ipython": lambda: shell}
    )
    command = f'install --quiet "zerocam[lab] @ git+{ADDRESS}@main"'
    assert asked == ([] if there else [("pip", command)])


def test_without_an_address_there_is_no_edition_for_colab():
    assert not [name for name, _ in course.files(address="") if "colab" in name]


# Assignments --------------------------------------------------------------------------------------

SEED = "a seed for tests"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(course.VARIANTS.glob("*.py")), ids=lambda p: p.stem)
def test_each_choice_of_a_variant_has_a_right_answer_and_tells_its_mistakes(path):
    may = course.choices(path.stem)
    assert may
    every = product(*may.values())
    if path.stem == "added_by":  # each value once: its networks take their time
        every = zip(
            *(islice(cycle(v), max(map(len, may.values()))) for v in may.values()), strict=True
        )
    for values in every:
        made = course.Variant(path.stem, dict(zip(may, values, strict=True)))
        assert verdict(made.task.right, made.task).state == "right"
        found = [verdict(mistake, made.task).hint for mistake in made.task.mistakes.values()]
        assert found == list(made.task.mistakes), made.chosen
        assert not re.search(r"[{}]", made.asks)
        assert made.name not in EXERCISES


def test_another_seed_makes_other_tasks():
    first, second = (
        [course.drawn(task, seed).chosen for tasks in course.ASSIGNMENTS.values() for task in tasks]
        for seed in ("2027", "2028")
    )
    assert sum(a != b for a, b in zip(first, second, strict=True)) >= 9
    assert course.drawn("lift", "2027").chosen == first[0]


def test_the_published_answer_of_a_chapter_earns_nothing():
    """Where both take the same arguments, the chapter's function is told from the variant's."""
    tried = 0
    for name, task in EXERCISES.items():
        made = course.drawn(name, SEED) if name != "drawn" else None
        if made and made.task.takes == task.takes:
            tried += 1
            assert verdict(task.right, made.task).state == "not yet", name
    assert tried >= 7


@pytest.mark.slow
def test_no_variant_is_published():
    """Nothing of a variant is in what students get, in the package, the book or the wheel."""
    made = [course.drawn(task, SEED) for tasks in course.ASSIGNMENTS.values() for task in tasks]
    public = dict(edition_files())
    for folder in ("src", "book", "notebooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".toml", ".json", ".ipynb", ".js"):
                public[str(path)] = path.read_text(encoding="utf-8")
    everything = "\n".join(public.values())
    for variant in made:
        assert f"{variant.name}(" not in everything
        lines = [line.strip() for line in variant.solution.splitlines()[1:]]
        lines = [line for line in lines if len(line) > 40]
        assert not [line for line in lines if json.dumps(line)[1:-1] in everything]


def handed_in(notebook, bodies):
    """A student's notebook: the released one, with these functions written into it."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        task = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if task in bodies:
            cell["source"] = bodies[task]
    return notebook


def right_bodies(name):
    return {task: course.drawn(task, SEED).solution for task in course.ASSIGNMENTS[name]}


def points(source, answer):
    """The points of an answer, each cell run in this process; what a mark says of a wrong one.

    The marks are those of the source, as nbgrader puts them back.
    """
    names, score, found = {}, 0, ""
    given = {c["metadata"].get("nbgrader", {}).get("grade_id"): c for c in answer["cells"]}
    for cell in source["cells"]:
        marked = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] != "code":
            continue
        here = cell if marked.get("grade") else given[marked["grade_id"]]
        try:
            exec("".join(here["source"]), names)
            score += marked.get("points", 0)
        except AssertionError as error:
            found += f"{error}\n"
    return score, found


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The folder in which both assignments are released."""
    folder = tmp_path_factory.mktemp("course") / "assignments"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PATH", os.environ["PATH"])  # into which `course` puts this Python
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's
            assert course.prepare(folder, SEED)
        yield folder


def read(folder, name):
    return json.loads((folder / name / f"{name}.ipynb").read_text())


@KERNEL
@pytest.mark.slow
@pytest.mark.parametrize("name", course.ASSIGNMENTS)
def test_an_assignment_gives_points_for_what_is_right_alone(released, name):
    tasks, right = course.ASSIGNMENTS[name], right_bodies(name)
    given, source = read(released / "release", name), read(released / "source", name)
    assert points(source, handed_in(given, right))[0] == 2 * len(tasks)
    one_wrong = right | {tasks[-1]: re.sub("return .*", "return 0.5", right[tasks[-1]])}
    score, found = points(source, handed_in(given, one_wrong))
    assert score == 2 * len(tasks) - 2
    assert found.startswith("not yet. ")
    score, found = points(source, given)
    assert score == 0
    assert found.count("nothing yet. ") == len(tasks)
    told = json.dumps(given)
    assert not re.search("BEGIN|MISTAKES|CASES|Exercise", told)
    for body in right.values():
        for line in body.splitlines()[1:]:
            assert len(line) < 30 or json.dumps(line)[1:-1] not in told


def test_feedback_keeps_the_verdict_and_cuts_what_is_hidden():
    notebook = course.assignment("assignment1", "2027")
    cells = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade")]
    first, *others = [c for c in cells if c["cell_type"] == "code"]
    trace = ["MISTAKES", "assert _found"]
    error = {"output_type": "error", "ename": "AssertionError", "evalue": "not yet. The sign"}
    printed = {"output_type": "stream", "name": "stdout", "text": "CASES"}
    first["outputs"] = [printed, error | {"traceback": trace}]
    shown = grading.shown(notebook)
    assert first["source"].endswith("is tried on is not shown.")
    assert [out["text"] for out in first["outputs"]] == ["not yet. The sign"]
    assert all([out["text"] for out in cell["outputs"]] == ["right"] for cell in others)
    assert not re.search("HIDDEN|MISTAKES|CASES|_task", json.dumps(shown))


def test_collect_says_what_is_missing(tmp_path):
    with pytest.raises(SystemExit, match="is no folder"):
        list(course.collect(tmp_path / "course", tmp_path / "nosuch"))
    (tmp_path / "in").mkdir()
    said = list(course.collect(tmp_path / "course", tmp_path / "in"))
    assert said == [f"NOTHING was collected: {tmp_path / 'in'} has no notebook"]


@KERNEL
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # nbgrader's
def test_hand_ins_are_collected_marked_told_and_exported(released, tmp_path):
    """Right, wrong, empty, renamed, twice, and what is no hand-in, on the way of the commands."""
    name = "assignment1"
    given, right = read(released / "release", name), right_bodies(name)
    one = handed_in(given, {"lift": right["lift"]})
    wrong = {t: re.sub("return .*", "return verdict", body) for t, body in right.items()}
    files = {
        "ada_42/assignment1.ipynb": handed_in(given, right),
        "dave/assignment1.ipynb": handed_in(given, wrong),
        "eve/assignment1.ipynb": given,
        "my assignment1 emmy (2).ipynb": one,
        "notes.ipynb": {"cells": []},
        "broken.ipynb": None,
    }
    (tmp_path / "gina").mkdir()
    (tmp_path / "report.pdf").write_text("a report")
    for place, notebook in files.items():
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook) if notebook else "no notebook")
    (tmp_path / "eve/old.ipynb").write_text(json.dumps(handed_in(given, right)))
    os.utime(tmp_path / "eve/old.ipynb", (0, 0))
    (tmp_path / "link.ipynb").symlink_to(released / "source" / name / f"{name}.ipynb")
    said = list(course.collect(released, tmp_path))
    assert sorted(said) == [
        "NOT TAKEN broken.ipynb: it has no cells of an assignment",
        "NOT TAKEN eve/old.ipynb: eve has handed in a newer one",
        "NOT TAKEN link.ipynb: it is a link",
        "NOT TAKEN notes.ipynb: it has no cells of an assignment",
        "NOT TAKEN report.pdf: it is no notebook",
        "NOTHING IN gina: it has no notebook",
        "ada_42: assignment1",
        "dave: assignment1; READ IT, it uses verdict",
        "eve: assignment1; no function is written",
        "my___emmy__2: assignment1; it was called my assignment1 emmy (2).ipynb",
    ]
    marked = list(course.grade(released))
    most = 2 * len(course.ASSIGNMENTS[name]) + 2
    score = {"ada_42": most - 2, "dave": 0, "eve": 0, "my___emmy__2": 2}
    assert marked == [f"{who}: {name}, {n} of {most} points" for who, n in score.items()]
    with (released / "marks.csv").open() as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file) if row["score"] != "0.0"}
    assert {who: float(row["score"]) for who, row in rows.items()} == {
        who: n for who, n in score.items() if n
    }
    told = (released / "feedback" / "dave" / name / f"{name}.html").read_text()
    assert "not yet. " in told
    assert "nothing yet. " in (released / "feedback/eve" / name / f"{name}.html").read_text()
    for html in (released / "feedback").rglob("*.html"):
        text = re.sub(r"<[^>]*>", "", html.read_text())
        assert "place_value is tried on is not shown" in text
        assert not re.search("HIDDEN TESTS|MISTAKES|CASES|def _task|assert _found", text)
    marked = released / "autograded" / "dave" / name / f"{name}.ipynb"
    assert "BEGIN HIDDEN TESTS" in marked.read_text()  # the lecturer's copy is whole
    assert not course.prepare(released, "another seed")  # what was handed in stays marked


if not turns.has_turn("hand-ins"):  # see turns.py
    del test_hand_ins_are_collected_marked_told_and_exported


def test_every_exercise_of_a_chapter_has_a_variant_in_one_assignment():
    asked = [task for tasks in course.ASSIGNMENTS.values() for task in tasks]
    cells = [c for nb in CHAPTERS.values() for c in nb["cells"] if "exercise" in course.tags(c)]
    found = [re.search(r"attempt\((\w+)\)", course.text(c)).group(1) for c in cells]
    assert sorted(asked) == sorted(found) == sorted(p.stem for p in course.VARIANTS.glob("*.py"))


# The papers ---------------------------------------------------------------------------------------

PAPERS = Path(course.VARIANTS).parent / "papers"


@pytest.mark.parametrize("seed", range(8))
def test_the_solutions_of_the_exam_are_right(seed):
    """Computed anew from the numbers of the questions."""
    questions, solutions = course.exam(str(seed))
    assert course.exam(str(seed)) == (questions, solutions)
    assert "<<" not in questions + solutions
    asked, told = (re.split(r"^\*\*\d\.", t, flags=re.M)[1:] for t in (questions, solutions))
    assert len(asked) == len(told) == 8
    assert [re.match(r" \(5 points\)", q) is not None for q in asked] == [True] * 8
    assert all(sum(map(int, re.findall(r" \((\d)\)", s))) == 5 for s in told[:7])

    def rows(text):
        return [
            [float(x) for x in m.split(",")] for m in re.findall(r"\(([-\d., ]+, [-\d. ]+)\)", text)
        ]

    *a, w = rows(asked[0])
    a, w = np.array(a).reshape(2, 2, 2), np.array(w)
    bias = float(re.search(r"bias (\d+)", asked[0])[1])
    score = w @ a.mean((1, 2)) + bias
    heat = np.einsum("k,kij->ij", w / 4, a)
    assert f"the score is {score:g} " in told[0]
    assert f"adds up to {score - bias:g}," in told[0]
    assert rows(told[0]) == heat.tolist()
    t = float(re.search(r"A_2 \+ (\d+)", asked[1])[1])
    assert told[1].startswith(f"** (a) {bias - w[1] * t:g},")
    assert rows(told[1]) == (heat + w[1] * t / 4).tolist()
    three = np.array(rows(asked[2]))
    assert rows(told[2]) == [three.mean(0).tolist(), *(three - three.mean(0)).tolist()]
    values = [float(v) for v in re.search("values ([^A-Z]*)\\.", asked[4])[1].split(",")]
    low, high = min(values), max(values)
    boxes = [
        [v for v in values if v > 0.15 * high],
        [v for v in values if v - low > 0.15 * (high - low)],
    ]
    marked = re.findall(r"positions with ([-\d., ]*\d)", told[4])
    assert [[float(v) for v in m.split(",")] for m in marked] == [boxes[0], *boxes]
    assert len(boxes[1]) > len(boxes[0])
    covered = np.array(rows(asked[6]))
    assert rows(told[6]) == (w[0] / 4 * (a[0] - covered)).tolist()
    assert f"(b) {(w[0] / 4 * (a[0] - covered)).sum():g}," in told[6]


def test_the_table_of_objectives_is_complete_and_adds_up():
    text = (PAPERS / "objectives.md").read_text()
    named = set(re.findall(r"^\| (O\d) \|", text.split("##")[1], re.M))
    table = text.split("## Objective, chapter, exercise, mark")[1].split("## Hours")[0]
    found = re.findall(r"^\| (O\d) \| (\d+) \| `(\w+)` \| (assignment) (\d) \| 2 \|$", table, re.M)
    assert {objective for objective, *_ in found} <= named == {f"O{i}" for i in range(1, 6)}
    marked = {task: name for name, tasks in course.ASSIGNMENTS.items() for task in tasks}
    assert {task: a + n for _, _, task, a, n in found} == marked
    assert all(EXERCISES[task].chapter == f"{int(c):02}" for _, c, task, _, _ in found)
    others = re.findall(r"\| (\d+)(?: each)? \|$", table, re.M)[len(found) :]
    assert 2 * len(found) + 2 * int(others[0]) + sum(map(int, others[1:])) == 100
    hours = text.split("## Hours")[1]
    *each, together = [int(h) for h in re.findall(r"\| \**(\d+)\** \|$", hours, re.M)]
    assert sum(each) == together
    assert "open-questions.md" in text
    topics = re.findall(r"^\d\. \*\*", (ROOT / "book/open-questions.md").read_text(), re.M)
    assert len(topics) == 8  # as the paper says


def test_each_rubric_has_four_levels_and_the_entry_test_ten_answers():
    for part in (PAPERS / "rubrics.md").read_text().split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        levels = len(lines) - 2 if lines[0].startswith("| Points") else lines[0].count("|") - 2
        assert levels == 4, part
    questions, answers = (PAPERS / "entry-test.md").read_text().split("## Answers")
    assert len(re.findall(r"^\d+\. ", questions, re.M)) == 10
    assert len(re.findall(r"^\d+\. ", answers, re.M)) == 10


# The guide ----------------------------------------------------------------------------------------


def test_the_guide_quotes_the_sentences_that_it_warns_of():
    guide = (ROOT / "book" / "teach.md").read_text().split("## Chapter by chapter")[1]
    parts = re.split(r"^### Chapter (\d+)$", guide, flags=re.M)[1:]
    assert [int(n) for n in parts[::2]] == [int(name[:2]) for name in CHAPTERS]
    for number, part in zip(parts[::2], parts[1::2], strict=True):
        (notebook,) = (nb for n, nb in CHAPTERS.items() if int(n[:2]) == int(number))
        prose = [course.text(c) for c in notebook["cells"] if c["cell_type"] == "markdown"]
        prose = re.sub(r"<!--.*?-->|[*`]|\s+", " ", " ".join(prose))
        prose = re.sub(r"\s+", " ", prose).lower()
        sentences = re.findall(r'\*It starts at\* "(.*?)"', part)
        assert len(sentences) >= 2, number
        for sentence in sentences:
            plain = re.sub(r"\s+", " ", re.sub(r"[*`]", " ", sentence)).strip(" .").lower()
            assert plain in prose, f"chapter {number}: {sentence}"
        for word in ("**Ask:**", "**Cut:**", "**If it fails:**"):
            assert part.count(word) == 1
        split = re.search(r"\*Expected:\* (.*?) %", part).group(1)
        assert sum(map(int, re.findall(r"\d+", split))) == 100, number
