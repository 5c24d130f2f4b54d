"""The files of the course, and its zips: the same content gives the same bytes."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from book._ext.zerobook.address import ADDRESS, BRANCH

from .editions import README, check_setup, colab, instructor, plain, readme, student
from .notebooks import ROOT, chapters, dump

HERE = Path(__file__).parent
PAPERS = {  # for whom
    "objectives.md": ("instructor",),
    "rubrics.md": ("instructor",),
    "mail.md": ("instructor",),
    "entry-test.md": ("instructor", "student"),
}
DRAWINGS = "book/_static/ideas"


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
        for path in sorted((root / DRAWINGS).glob("*.svg")):
            yield f"{edition}/{DRAWINGS}/{path.name}", path.read_text(encoding="utf-8")
        yield f"{edition}/README.md", readme(edition, address, branch)
    first = next(iter(notebooks.values()))
    yield "student/notebooks/00-check-your-setup.ipynb", dump(check_setup(first))
    for name, notebook in notebooks.items() if address else ():
        yield f"colab/notebooks/{name}", dump(colab(notebook, address, branch))
    for name, editions in PAPERS.items():
        for edition in editions:
            yield f"{edition}/{name}", (HERE / "papers" / name).read_text(encoding="utf-8")
    guide = (root / "book" / "teach.md").read_text(encoding="utf-8")
    yield "instructor/teach.md", plain(guide)


def zipped(folder: Path) -> Path:
    """Zip a folder so that the same files give the same bytes."""
    path = folder.with_name(f"{folder.name}.zip")
    path.unlink(missing_ok=True)
    path.touch(0o777 & folder.stat().st_mode & ~0o111)  # for those who may read the folder
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = file.relative_to(folder.parent).as_posix()
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, file.read_bytes())
    return path


def write(out: Path, root: Path = ROOT) -> list[Path]:
    """Write the editions and their zips anew; the folder `assignments` is not touched."""
    for old in out.glob("*"):
        if old.is_dir() and old.name != "assignments":
            shutil.rmtree(old)
    (out / "instructor").mkdir(mode=0o700, parents=True)  # nobody else reads the solutions
    for name, content in files(root):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return [zipped(out / edition) for edition in README]
