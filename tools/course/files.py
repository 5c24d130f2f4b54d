"""The files of the course, and its zips: the same content gives the same bytes."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from book._ext.zerobook.address import ADDRESS, BRANCH

from .assignments import ASSIGNMENTS, NBGRADER, assignment
from .editions import README, colab, instructor, student
from .lecture import slides
from .notebooks import ROOT, chapters, dump


def files(
    root: Path = ROOT, address: str = ADDRESS, branch: str = BRANCH
) -> Iterator[tuple[str, str]]:
    """Every file of the course: its place and its text; for Colab where there is an address."""
    notebooks = chapters(root)
    for edition, make in (("student", student), ("instructor", instructor)):
        for name, notebook in notebooks.items():
            yield f"{edition}/notebooks/{name}", dump(make(notebook))
        for name in ("LICENSE", "LICENSE-text", "THIRD_PARTY.md"):
            yield f"{edition}/{name}", (root / name).read_text(encoding="utf-8")
        yield f"{edition}/README.md", README[edition]
    for name in ASSIGNMENTS:
        source = dump(assignment(name, notebooks))
        yield f"assignments/source/{name}/{name}.ipynb", source
    for name, notebook in notebooks.items() if address else ():
        yield f"colab/notebooks/{name}", dump(colab(notebook, address, branch))
    yield "assignments/nbgrader_config.py", NBGRADER
    yield "instructor/lecture.html", slides(notebooks)
    yield "instructor/teach.md", (root / "book" / "teach.md").read_text(encoding="utf-8")


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
