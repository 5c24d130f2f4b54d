"""The gates close: what must be rejected is rejected, by the very commands that `make` uses."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import pytest

from tools import run_tests

pytestmark = pytest.mark.xdist_group("kernels")  # in one process: kernels can race for ports

ROOT = Path(__file__).parents[1]


def notebook(path: Path, code: str, printed: str) -> None:
    """A notebook of one cell, as if it had run and printed that."""
    cell = nbformat.v4.new_code_cell(code, execution_count=1, id="one")
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)]
    title = nbformat.v4.new_markdown_cell("# A page", id="title")
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=[title, cell], metadata={"kernelspec": spec})
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)


GOOD = ("print(1 + 1)", "2\n")
FAILS = ("print(1 + 1)\nraise RuntimeError('no')", "2\n")
CHANGED = ("print(1 + 1)", "3\n")


# Notebooks, by nbval


def test_nbval_rejects_a_failing_cell_and_a_changed_number(tmp_path):
    for name, (code, printed) in {"good": GOOD, "fails": FAILS, "changed": CHANGED}.items():
        notebook(tmp_path / f"{name}.ipynb", code, printed)
    sanitize = [str(ROOT / part) if part.endswith(".cfg") else part for part in run_tests.NBVAL]
    command = [*run_tests.PYTEST, *run_tests.ALONE, *sanitize, "--junitxml=r.xml", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    cases = ElementTree.parse(tmp_path / "r.xml").iter("testcase")
    passed = {c.get("classname").split(".")[0]: len(c) == 0 for c in cases}
    assert passed == {"good": True, "fails": False, "changed": False}, done.stdout
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
    (venv,) = [word for word in run_tests.GATES["book"] if word.startswith("VENV=")]
    assert not os.path.isabs(venv.removeprefix("VENV="))


# The book


@pytest.fixture
def build(tmp_path):
    """Build a tiny book with this book's settings and its `make book`; gives exit code and log."""

    def run(pages: dict[str, str], code: tuple[str, str] = GOOD, **environment: str):
        for name in ("_config.yml", "CITATION.cff"):
            shutil.copy(ROOT / name, tmp_path)
        ignore = shutil.ignore_patterns("__pycache__")
        for name in ("_ext", "_static"):
            shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name, ignore=ignore)
        shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
        notebook(tmp_path / "notebooks" / "01-page.ipynb", *code)
        for name, text in pages.items():
            (tmp_path / "book" / f"{name}.md").write_text(text)
        toc = "format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/01-page\n"
        toc += "".join(f"- file: book/{name}\n" for name in pages if name != "index")
        (tmp_path / "book" / "_toc.yml").write_text(toc)
        (tmp_path / ".venv").symlink_to(sys.prefix)
        command = ["make", "-f", str(ROOT / "Makefile"), "-o", ".venv/.stamp", "book"]
        env = {
            k: v for k, v in os.environ.items() if not k.startswith(("ZEROCAM_", "MAKE", "MFLAGS"))
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=env | environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    return run


INDEX = "# A book\n\n```{launch-links}\n```\n\n```{citation}\n```\n"


def test_a_good_book_is_built_and_an_address_turns_its_buttons_on(build, tmp_path):
    address = "https://github.com/someone/zero"
    code, log = build({"index": INDEX}, ZEROCAM_REPOSITORY=address)
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


def test_the_build_rejects_a_failing_cell(build):
    code, log = build({"index": INDEX}, FAILS)
    assert code != 0
    assert "RuntimeError" in log


def test_the_build_rejects_broken_links_and_wrong_numbers(build, tmp_path):
    bad = "# Bad\n\n[a](absent.md) [b](#absent) {cite}`absent` 0.5 3<!--01:n-->\n"
    code, log = build({"index": INDEX, "bad": bad})
    assert code != 0
    for message in (
        "'absent.md'",
        "'absent'",
        'could not find bibtex key "absent"',
        "0.5 is typed by hand",
        "01:n: no cell prints",
    ):
        assert message in log, log
    assert "mybinder" not in (tmp_path / "_build/html/book/index.html").read_text()


def test_the_build_rejects_a_formula_with_an_error(build):
    code, log = build({"index": INDEX, "bad": "# Bad\n\nHere $\\nosuch{1}$.\n"})
    assert code != 0
    assert "Undefined control sequence: \\nosuch" in log, log


def test_the_build_rejects_a_page_that_is_too_heavy(build):
    noise = "np.random.default_rng(0).integers(0, 256, (1100, 1100, 3), dtype=np.uint8)"
    picture = f"import numpy as np\nfrom PIL import Image\nImage.fromarray({noise})"
    code, log = build({"index": INDEX}, (picture, "\n"))
    assert code != 0
    assert "01-page: page, kb: got 3" in log, log
