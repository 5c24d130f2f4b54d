"""The course is made of the chapters: no solution reaches a student, and nothing else is lost."""

import ast
import contextlib
import copy
import io
import json
import os
import re
import sys
import warnings
import zipfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tools import course

ROOT = Path(__file__).parents[1]
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


@pytest.mark.parametrize("name", CHAPTERS)
def test_there_is_a_place_for_each_answer_and_nothing_else_is_lost(name):
    before, after = CHAPTERS[name]["cells"], STUDENT[name]["cells"]
    assert len(before) == len(after)
    asked = [bool({"solution", "exercise"} & set(c["metadata"].get("tags", []))) for c in before]
    assert [c["metadata"].get("tags") == ["work"] for c in after] == asked
    for old, new, work in zip(before, after, asked, strict=True):
        source = "".join(new["source"])
        if new["cell_type"] == "code":
            ast.parse(source)
            assert work == ("your work" in source.lower())
        if not work and "<summary>Solution</summary>" not in "".join(old["source"]):
            assert "".join(old["source"]) == source
    text = "".join("".join(c["source"]) for c in before if c["cell_type"] == "markdown")
    answers = "".join("".join(c["source"]) for c in after).count("**Your answer:**")
    assert answers == text.count("<summary>Solution</summary>")


def test_a_stub_keeps_the_head_and_the_check():
    source = "import torch\n\n\ndef g(y):\n    return y\n\n\ndef f(x, *, t=1):\n    return x * t\n"
    made = course.stub(source + "\n\nattempt(f)\nprint(f(2), g(3))\n")
    head = "def f(x, *, t=1):\n    ...  # your work here"
    assert made == f"import torch\n\n\n{head}\n\n\nattempt(f)"


@KERNEL
@pytest.mark.slow
def test_an_unsolved_chapter_runs(tmp_path):
    """The others are run by: python -m tools.course --run."""
    (path,) = course.place(tmp_path, STUDENT, ["01"])
    _, printed = course.run(path)
    assert "○ lift: nothing yet." in printed


def test_the_lecture_lasts_ninety_minutes_and_follows_the_guide():
    slides = course.deck(CHAPTERS)
    assert 80 <= sum(slide["minutes"] for slide in slides) < 90  # the rest is for questions
    assert all(slide["minutes"] > 0 and slide["shown"] for slide in slides)
    guide = (ROOT / "book" / "teach.md").read_text().split("## The lab")[0]
    plan = re.findall(r"^\| (\d+) to (\d+) \| (?:chapter (\d+))?", guide, re.M)
    assert plan[0][0] == "0"
    assert plan[-1][1] == "90"
    assert all(a[1] == b[0] for a, b in pairwise(plan))
    planned = {f"{int(c):02}": int(end) - int(start) for start, end, c in plan if c}
    shown = dict.fromkeys(planned, 0)
    for slide in slides:
        shown[slide["chapter"]] += slide["minutes"]
    assert shown == planned


def test_the_slides_need_nothing_from_outside():
    page = course.slides(CHAPTERS)
    assert page.count("<section>") == len(course.deck(CHAPTERS)) > 20
    loads = r'(?:src|poster|data)="(?!data:image/png;base64,)[^"]*"|<link|@import|url\(|fetch\('
    assert re.findall(loads, page) == []
    assert all(len(alt.split()) > 3 for alt in re.findall(r'<img alt="([^"]*)"', page))
    unseen = r"base64,[^\"]*|<script>.*?</script>|<annotation.*?</annotation>"
    shown = re.sub(unseen, "", page, flags=re.S)
    assert not re.search(r"\{cite\}|\$\$|\\(?:frac|alpha|underbrace)|Solution", shown)


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


ADDRESS = "https://github.com/someone/zero"


def for_colab():
    found = {n: t for n, t in course.files(address=ADDRESS, branch="main") if n.startswith("colab")}
    return {name.rpartition("/")[2]: json.loads(text) for name, text in found.items()}


def test_the_edition_for_colab_has_one_cell_more():
    made = for_colab()
    assert list(made) == list(CHAPTERS)
    for name, notebook in CHAPTERS.items():
        assert made[name] | {"cells": made[name]["cells"][1:]} == notebook
        nbformat.validate(made[name])


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

# One typical mistake for each function.
MISTAKEN = {
    "lift": "    return (M.min() - lowest) * M.numel() * w / (w @ w)",
    "class_maps": "    return torch.einsum('ck,nkij->ncij', W, A)",
    "pad_with": "    return F.pad(A, (1, 1, 1, 1))",
    "heatmap_channel": "    return torch.diag(alpha)",
    "relabel": "    return a * W, b + u",
    "centre_head": "    net.head.linear.weight.data -= 1\n    return net",
    "blind": "    return torch.equal(M, M.relu())",
    "absorb": "    return -m * W.sum((1, 2, 3)), 0",
    "doubly_centred": "    return M - M.mean((2, 3), keepdim=True)",
    "added_by": "    return grad_cam(net, x, c, layer='features', relu=False)",
    "stretch": "    return A / A.max()",
    "one_story": "    return (M[:, None] - M).mean((2, 3)).abs() < 1e-3 * M.abs().max()",
}


def handed_in(notebook, bodies):
    """A student's notebook: the released one, with these bodies written into it."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        task = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if task in bodies:
            lines = "".join(cell["source"]).splitlines()
            place = next(i for i, line in enumerate(lines) if "NotImplementedError" in line)
            cell["source"] = "\n".join([*lines[:place], bodies[task], *lines[place + 1 :]])
    return notebook


def right_bodies(name):
    bodies = {}
    for task in course.ASSIGNMENTS[name]:
        body = course.solution(task, CHAPTERS).body
        bodies[task] = "\n".join("    " + line for n in body for line in ast.unparse(n).split("\n"))
    return bodies


def points(notebook):
    """The points of a notebook, cell by cell in this process; what a mark says of a wrong one."""
    names, score, found = {}, 0, ""
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        marked = cell["metadata"].get("nbgrader", {})
        try:
            with contextlib.redirect_stdout(out := io.StringIO()):
                exec("".join(cell["source"]), names)
            score += marked.get("points", 0)
        except (NotImplementedError, AssertionError) as error:
            found += f"{error}\n"
        found += out.getvalue()
    return score, found


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The folder in which both assignments are released."""
    folder = tmp_path_factory.mktemp("course")
    course.write(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PATH", os.environ["PATH"])  # into which `course` puts this Python
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's
            course.release(folder / "assignments")
        yield folder / "assignments"


def read(folder, name):
    return json.loads((folder / name / f"{name}.ipynb").read_text())


@KERNEL
@pytest.mark.slow
@pytest.mark.parametrize("name", course.ASSIGNMENTS)
def test_an_assignment_gives_points_for_what_is_right_alone(released, name):
    tasks, right = course.ASSIGNMENTS[name], right_bodies(name)
    wrong = {task: MISTAKEN[task] for task in tasks} | {tasks[0]: right[tasks[0]]}
    given = read(released / "release", name)
    assert points(handed_in(given, right))[0] == 2 * len(tasks)
    score, found = points(handed_in(given, wrong))
    assert score == 2
    assert all(f"△ {task}: not yet." in found for task in tasks[1:])
    assert points(given)[0] == 0
    text = json.dumps(given)
    assert "BEGIN SOLUTION" not in text
    for body in right.values():
        last = body.strip().splitlines()[-1].strip()
        assert last == "return net" or json.dumps(last)[1:-1] not in text


@KERNEL
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # nbgrader's
def test_nbgrader_marks_a_notebook_with_a_right_a_wrong_and_an_empty_answer(released):
    """One assignment, one student: what a kernel computes is that of the test above."""
    name = "assignment1"
    first, *others, last = course.ASSIGNMENTS[name]
    assert others
    bodies = {first: right_bodies(name)[first]} | {task: MISTAKEN[task] for task in others}
    path = released / "submitted" / "student" / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(handed_in(read(released / "release", name), bodies)))
    grader = course.nbgrader(released)
    done = grader.autograde(name, "student")
    assert done["success"], done["log"]
    with grader.gradebook as book:
        marked = book.find_submission(name, "student")
        assert (marked.score, marked.max_score) == (2, 2 * len(course.ASSIGNMENTS[name]) + 2)
    told = json.dumps(read(released / "autograded" / "student", name), ensure_ascii=False)
    assert all(f"△ {task}: not yet." in told for task in others)
    assert f"△ {last}: not yet." not in told


def test_every_exercise_of_a_chapter_is_in_one_assignment():
    asked = [task for tasks in course.ASSIGNMENTS.values() for task in tasks]
    cells = [c for nb in CHAPTERS.values() for c in nb["cells"] if "exercise" in course.tags(c)]
    found = [re.search(r"attempt\((\w+)\)", course.text(c)).group(1) for c in cells]
    assert sorted(asked) == sorted(found)


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
