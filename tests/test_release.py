"""The release: what is in it, and the same bytes for the same content."""

import zipfile
from pathlib import Path

import pytest

from tools import release


def build(folder: Path) -> Path:
    course = [f"course/{name}/a.ipynb" for name in ("student", "instructor", "lecture")]
    for name in ("html/index.html", *course):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_the_site_the_editions_and_the_lecture_are_in_it(tmp_path):
    archives = release.gather(tmp_path / "out", build(tmp_path / "built"), "1.2")
    assert [p.name for p in archives] == [
        f"what-does-zero-mean-1.2-{name}.zip"
        for name in ("site", "student", "instructor", "lecture")
    ]
    assert zipfile.ZipFile(archives[0]).namelist() == ["what-does-zero-mean-1.2-site/index.html"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(archives)


def test_the_same_content_gives_the_same_checksums(tmp_path):
    sums = []
    for out in ("one", "two"):
        archives = release.gather(tmp_path / out, build(tmp_path / f"{out}-built"), "1.2")
        sums.append(release.checksums(archives))
    assert sums[0] == sums[1]
    assert len(sums[0].splitlines()) == 4
    (tmp_path / "one-built" / "html" / "index.html").write_text("changed")
    archives = release.gather(tmp_path / "one", tmp_path / "one-built", "1.2")
    assert release.checksums(archives) != sums[0]


def test_a_release_without_a_site_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="run make book and make course first"):
        release.gather(tmp_path / "out", tmp_path, "1.2")
