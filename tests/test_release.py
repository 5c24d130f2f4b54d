"""The release: what is in it, and the same bytes for the same content."""

import importlib.util
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def release(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("release", TOOLS / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path) -> Path:
    for name in ("html/index.html", "course/student/a.ipynb", "course/instructor/a.ipynb"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_the_site_and_both_editions_are_in_it(release, tmp_path):
    archives = release.gather(tmp_path / "out", build(tmp_path / "built"), "1.2")
    assert [p.name for p in archives] == [
        f"what-does-zero-mean-1.2-{name}.zip" for name in ("site", "student", "instructor")
    ]
    assert zipfile.ZipFile(archives[0]).namelist() == ["what-does-zero-mean-1.2-site/index.html"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(archives)


def test_the_same_content_gives_the_same_checksums(release, tmp_path):
    sums = []
    for out in ("one", "two"):
        archives = release.gather(tmp_path / out, build(tmp_path / f"{out}-built"), "1.2")
        sums.append(release.checksums(archives))
    assert sums[0] == sums[1]
    assert len(sums[0].splitlines()) == 3
    (tmp_path / "one-built" / "html" / "index.html").write_text("changed")
    archives = release.gather(tmp_path / "one", tmp_path / "one-built", "1.2")
    assert release.checksums(archives) != sums[0]


def test_a_release_without_a_site_is_refused(release, tmp_path):
    with pytest.raises(SystemExit, match="run make book and make course first"):
        release.gather(tmp_path / "out", tmp_path, "1.2")
