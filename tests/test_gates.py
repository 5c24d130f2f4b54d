"""The gates close: what must be rejected is rejected, by the very commands that `make` uses."""

import base64
import io
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests import turns
from tools import run_tests

# In one process: kernels can race for ports.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernels")]

ROOT = Path(__file__).parents[1]


def cell(code: str, printed: str) -> nbformat.NotebookNode:
    """A cell as if it had run and printed that."""
    out = nbformat.v4.new_output("stream", name="stdout", text=printed)
    return nbformat.v4.new_code_cell(code, execution_count=1, outputs=[out])


def picture(side: int) -> nbformat.NotebookNode:
    """A cell as if it had shown a square picture of noise, which no format makes much smaller."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
    data = {"image/png": base64.b64encode(stream.getvalue()).decode()}
    shown = nbformat.v4.new_output("display_data", data=data)
    return nbformat.v4.new_code_cell("show()", execution_count=1, outputs=[shown])


def notebook(path: Path, *cells: nbformat.NotebookNode) -> None:
    """A notebook with a title and these cells."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    title = nbformat.v4.new_markdown_cell("# A page")
    made = nbformat.v4.new_notebook(cells=[title, *cells], metadata={"kernelspec": spec})
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)


GOOD = cell("print(1 + 1)", "2\n")
CHANGED = cell("print(1 + 1)", "3\n")
FAILS = cell("print(1 + 1)\nraise RuntimeError('no')", "2\n")


# Notebooks, by nbval


def test_nbval_rejects_a_failing_cell_and_a_changed_number(tmp_path):
    notebook(tmp_path / "page.ipynb", GOOD, CHANGED, FAILS)
    sanitize = [str(ROOT / part) if part.endswith(".cfg") else part for part in run_tests.NBVAL]
    command = [*run_tests.PYTEST, *run_tests.ALONE, *sanitize, "--junitxml=r.xml", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    passed = [len(case) == 0 for case in ElementTree.parse(tmp_path / "r.xml").iter("testcase")]
    assert passed == [True, False, False], done.stdout
    assert not run_tests.verdict(done.returncode, tmp_path / "r.xml")[0]


# Runs, by their report


@pytest.mark.parametrize(
    ("cases", "returncode", "passed"),
    [
        ("<testcase/>", 0, True),
        ("<testcase/>", 1, False),
        ("", 0, False),
        ("<testcase/><testcase><skipped/></testcase>", 0, False),
        ("<testcase/><testcase><failure/></testcase>", 0, False),
        ("<testcase/><testcase><error/></testcase>", 0, False),
        ("<testcase><skipped type='pytest.xfail'/></testcase>", 0, True),
    ],
)
def test_a_run_that_skips_or_finds_no_test_has_failed(tmp_path, cases, returncode, passed):
    report = tmp_path / "r.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert run_tests.verdict(returncode, report)[0] == passed


def test_a_run_without_a_report_has_failed(tmp_path):
    assert not run_tests.verdict(0, tmp_path / "absent.xml")[0]
    assert run_tests.verdict(0, None)[0]
    assert not run_tests.verdict(2, None)[0]


# Tests, by what they draw and leave behind

DRAWS = """
import random
from pathlib import Path
import matplotlib, numpy, pytest, torch

@pytest.mark.parametrize("n", range(3))
def test_draws(n):
    assert matplotlib.rcParams["font.size"] == 10
    matplotlib.rcParams["font.size"] = 11
    drawn = [random.random(), numpy.random.rand(), torch.rand(1).item()]
    with Path("drawn").open("a") as file:
        print(n, *drawn, file=file)

def test_forgets_to_put_back():
    torch.set_grad_enabled(False)

@pytest.mark.slow
def test_takes_long():
    pass
"""
RUNS = """
import pytest
first, last = "test_it.py::test_draws[0]", "test_it.py::test_draws[2]"
for choice in (["-m", "not slow"], [last, first], ["--random-order-seed=1"]):
    print(int(pytest.main(["-q", "--strict-markers", *choice])))
"""


def test_a_draw_depends_on_the_name_alone_and_what_is_left_behind_is_refused(tmp_path):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "groups.py", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow")
    (tmp_path / "test_it.py").write_text(DRAWS)
    command = [sys.executable, "-c", RUNS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    codes = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert codes == ["1", "0", "0"], done.stdout  # the last finds it changed already
    assert "did not put back: gradients" in done.stdout
    lines = (tmp_path / "drawn").read_text().splitlines()
    rows = [(int(n), *map(float, drawn)) for n, *drawn in map(str.split, lines)]
    in_order, turned, shuffled = rows[:3], rows[3:5], rows[5:]
    assert turned == [in_order[2], in_order[0]]
    assert sorted(n for n, *_ in shuffled) == [0, 1, 2]
    for draws in zip(*(row[1:] for row in in_order + shuffled), strict=True):
        assert len(set(draws)) == 6
    assert "4 passed, 1 deselected" in done.stdout


EXAMPLE = '''

def {name}():
    """
    >>> import torch
    >>> print({name!r}, torch.rand(1).item(), file=open("drawn", "a"))
    >>> assert torch.get_num_threads() == 1
    """
'''


def test_so_is_a_draw_of_an_example_in_a_docstring(tmp_path):
    for name in ("conftest.py", "tests/groups.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --doctest-modules\ntestpaths = src")
    code = "".join(EXAMPLE.format(name=name) for name in ("first", "second"))
    (tmp_path / "src" / "examples.py").write_text(code)
    first, second = (f"src/examples.py::examples.{name}" for name in ("first", "second"))
    runs = "import pytest"
    for choice in ([first, second], [second, first], ["--random-order-seed=1"]):
        runs += f"\nprint(int(pytest.main(['-q', *{choice}])))"
    command = [sys.executable, "-c", runs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines().count("0") == 3, done.stdout
    drawn = (tmp_path / "drawn").read_text().splitlines()
    assert drawn[:2] == drawn[3:1:-1]
    assert len(set(drawn)) == 4


# Types


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('"""Doc."""\n\n\ndef f(x: int) -> str:\n    return str(x)\n', "Success"),
        ("def f(x: int) -> str:\n    return x\n", "return-value"),
        ("def f(x):\n    return x\n", "no-untyped-def"),
        ("import no_such_library\n", "import-not-found"),
    ],
)
def test_a_wrong_or_a_missing_type_is_refused(tmp_path, code, said):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src" / "zerocam").mkdir(parents=True)
    (tmp_path / "src" / "zerocam" / "__init__.py").write_text(code)
    command = run_tests.gates()["types"].command
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert said in done.stdout, done.stdout + done.stderr
    assert run_tests.verdict(done.returncode, None)[0] == (said == "Success")
    assert run_tests.QUICK["types"] == run_tests.gates()["types"]


# The environment


@pytest.fixture
def setup(tmp_path):
    """`make setup` in a folder with a space in its name, with a Python that is too old."""
    folder = tmp_path / "my project"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)

    def run(with_environment: bool) -> subprocess.CompletedProcess:
        if with_environment:
            (folder / ".venv" / "bin").mkdir(parents=True)
            python = folder / ".venv" / "bin" / "python"
            python.write_text('#!/bin/sh\necho "$@" >> asked\n')
            python.chmod(0o755)
        command = ["make", "setup", "PYTHON=false"]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "VENV"))}
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)

    run.folder = folder
    return run


def test_an_old_python_is_refused(setup):
    done = setup(with_environment=False)
    assert done.returncode != 0
    assert "Python 3.11 or later is needed; false is" in done.stdout


def test_an_environment_that_is_there_needs_no_other_python(setup):
    done = setup(with_environment=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-m pip install" in (setup.folder / "asked").read_text()
    assert (setup.folder / ".venv" / ".stamp").exists()


def test_the_gate_names_its_environment_without_the_folders_above():
    (venv,) = [w for w in run_tests.gates()["book"].command if w.startswith("VENV=")]
    assert not os.path.isabs(venv.removeprefix("VENV="))


# The book


@pytest.fixture
def build(tmp_path):
    """Build a tiny book with this book's settings and its `make book`; gives exit code and log."""

    def run(
        pages: dict[str, str], *cells: nbformat.NotebookNode, execute: bool = True, **env: str
    ) -> tuple[int, str]:
        config = (ROOT / "_config.yml").read_text()
        runs = "execute_notebooks: cache"
        assert config.count(runs) == 1
        if not execute:  # where the stored outputs will do, no kernel is started
            config = config.replace(runs, "execute_notebooks: 'off'")
        (tmp_path / "_config.yml").write_text(config)
        shutil.copy(ROOT / "CITATION.cff", tmp_path)
        ignore = shutil.ignore_patterns("__pycache__")
        for name in ("_ext", "_static"):
            shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name, ignore=ignore)
        shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
        notebook(tmp_path / "notebooks" / "01-page.ipynb", *cells)
        for name, text in pages.items():
            (tmp_path / "book" / f"{name}.md").write_text(text)
        toc = "format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/01-page\n"
        toc += "".join(f"- file: book/{name}\n" for name in pages if name != "index")
        (tmp_path / "book" / "_toc.yml").write_text(toc)
        (tmp_path / ".venv").symlink_to(sys.prefix)
        make = ("make", "-f", str(ROOT / "Makefile"), "-o", ".venv/.stamp", "book")
        return run.command(*make, **env)

    def command(*words: str, **env: str) -> tuple[int, str]:
        ours = ("ZEROCAM_", "MAKE", "MFLAGS")
        env = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | env
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    run.command = command
    return run


INDEX = "# A book\n\n```{launch-links}\n```\n\n```{citation}\n```\n"


def test_a_good_book_is_built_and_an_address_turns_its_buttons_on(build, tmp_path):
    address = "https://github.com/someone/zero"
    code, log = build({"index": INDEX}, GOOD, ZEROCAM_REPOSITORY=address)
    assert code == 0, log
    index = (tmp_path / "_build/html/book/index.html").read_text()
    page = (tmp_path / "_build/html/notebooks/01-page.html").read_text()
    assert f"mybinder.org/v2/gh/{address[19:]}/main" in index
    assert f"mybinder.org/v2/gh/{address[19:]}/main" in page
    colab = f"colab.research.google.com/github/{address[19:]}/blob/colab"
    assert colab in index
    assert f"{colab}/notebooks/01-page.ipynb" in page
    assert "{https://github.com/someone/zero}" in index.replace("</span><span", "")
    assert f'href="{address}"' in page


def test_a_second_build_runs_what_has_changed_and_no_page_loses_its_style(build, tmp_path):
    """By the line for pip alone: no make, and no --all, which reads every page anew."""
    site, read = tmp_path / "_build" / "html", tmp_path / "src" / "read.txt"
    read.parent.mkdir()
    read.write_text("white")
    other = "# Other\n\n::::{tab-set}\n:::{tab-item} One\nText.\n:::\n::::\n"
    shows = "from PIL import Image\nImage.new('RGB', (40, 30))"
    cells = [cell("print(open('../src/read.txt').read())", ""), cell(shows, "")]
    code, log = build({"index": INDEX, "other": other}, *cells)
    assert code == 0, log

    def content() -> dict[str, bytes]:
        """All files but the changed page, index.html, and the indexes."""
        files = {str(p.relative_to(site)): p for p in site.rglob("*") if p.is_file()}
        return {name: path.read_bytes() for name, path in files.items() if "index" not in name}

    def again() -> dict[str, bytes]:
        program = str(Path(sys.executable).parent / "jupyter-book")
        code, log = build.command(program, "build", ".", "--toc", "book/_toc.yml", "-W", "-n")
        assert code == 0, log
        return content()

    first = content()
    assert b"white\n" in first["notebooks/01-page.html"]
    assert {"_static/site.css", "_static/site.js", "book/other.html"} <= set(first)
    (tmp_path / "book" / "index.md").write_text(INDEX + "\nAnother line.\n")
    second = again()
    assert "Another line." in (site / "book" / "index.html").read_text()
    assert second == first
    read.write_text("black")
    third = again()
    assert b"black\n" in third["notebooks/01-page.html"]
    assert {name for name in first if third.get(name) != first[name]} == {"notebooks/01-page.html"}


if not turns.has_turn("second build"):  # see turns.py
    del test_a_second_build_runs_what_has_changed_and_no_page_loses_its_style


def test_the_build_rejects_a_failing_cell(build):
    code, log = build({"index": INDEX}, FAILS)
    assert code != 0
    assert "RuntimeError" in log


def test_the_build_rejects_broken_links_wrong_numbers_and_heavy_pages(build, tmp_path):
    """Each is a warning, and the build goes on to the next; `make book` fails at the first.

    A formula with an error ends the build at once: tests/test_lean.py.
    """
    bad = "# Bad\n\n[a](absent.md) [b](#absent) {cite}`absent` 0.5 3<!--01:n-->\n"
    code, log = build({"index": INDEX, "bad": bad}, GOOD, picture(1300), execute=False)
    assert code != 0
    warnings = [line for line in log.splitlines() if "WARNING" in line]
    for message in (
        "'absent.md'",
        "'absent'",
        'could not find bibtex key "absent"',
        "0.5 is typed by hand",
        "01:n: no cell prints",
        "01-page: page, kb: got 1",
    ):
        assert any(message in line for line in warnings), f"{message}, got {log}"
    assert "mybinder" not in (tmp_path / "_build/html/book/index.html").read_text()
