"""`make pdf` on a small book: what breaks a single page is in it, and the file is whole."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("pdf")  # printed once
ROOT = Path(__file__).parents[2]
INDEX = """# A small book

A theorem, an exercise, a formula $a^2$, and a line of code wider than the paper:

```{prf:proposition}
It holds.
```

```{exercise}
Prove it.
```
"""
CHAPTER = "# Second chapter\n\n```python\n" + "wide = " + "1 + " * 60 + "1\n```\n"
CHAPTER += "\nFar.\n" * 200 + "\n## Out of view\n\n```{explorer} shift\n```\n"


@pytest.fixture(scope="module")
def pdf(tmp_path_factory) -> bytes:
    """Build the book as one page and print it."""
    folder = tmp_path_factory.mktemp("pdf")
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copy(ROOT / "CITATION.cff", folder)
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, folder / "book" / name)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    (folder / "book" / "index.md").write_text(INDEX)
    (folder / "book" / "second.md").write_text(CHAPTER)
    toc = "format: jb-book\nroot: book/index\nchapters:\n- file: book/second\n"
    (folder / "book" / "_toc.yml").write_text(toc)
    recipe = re.search(r"^pdf:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M).group(1)
    for line in recipe.splitlines():
        program, *arguments = line.strip().removeprefix("$(BIN)/").split()
        command = [str(Path(sys.executable).parent / program), *arguments]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        found = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "_build" / "book.pdf").read_bytes()


def test_the_pdf_is_whole_and_tagged(pdf):
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 2
    for part in (b"/StructTreeRoot", b"/Outlines"):
        assert part in pdf


def test_the_pdf_has_the_chapters_in_its_outline(pdf):
    for title in ("A small book", "Second chapter"):
        assert title.encode() in pdf


def test_what_is_out_of_view_is_drawn(pdf):
    assert b"(Network B, map as drawn, with ReLU: from 0.00 to 0.00, blank.)" in pdf


def test_the_pdf_holds_the_fonts_of_the_site(pdf):
    for name in (b"SourceSerif4", b"SourceSans3", b"SourceCodePro"):
        assert re.search(rb"/FontName /(?:\w+\+)?" + name, pdf), name
