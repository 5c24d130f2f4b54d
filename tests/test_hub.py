"""A real JupyterHub on loopback, with the settings of hub/: who gets in, and who climbs over.

Where these tests run as root, the hub has two students with accounts of the system.  The accounts
exist in a mount namespace alone, where /etc/passwd is another file; the machine keeps its own.
Without root a hub with walls cannot be had: then it is tested that it refuses to start.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from hub import walls
from tests import class_of, turns
from tests.hubs import HUB, Hub, environment, opened, until

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernels")]  # they can race for ports
NOTE, TWO = "notebooks/short.ipynb", "notebooks/two.ipynb"
EMPTY = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
# The first takes some memory, the second the time in which a server is killed; then it fails.
CODE = ("kept = b'1' * (100 << 20)\nprint('one')", "import time\ntime.sleep(1)\n1 / 0")
TWO_CELLS = [EMPTY | {"id": f"c{i}", "source": source} for i, source in enumerate(CODE)]


def test_without_root_or_without_students_a_hub_refuses_to_start(tmp_path):
    more = {} if os.geteuid() else {"ZEROCAM_STUDENTS": ""}
    done = subprocess.run(
        HUB, cwd=tmp_path, env=environment(tmp_path, **more), capture_output=True, text=True
    )
    assert done.returncode
    told = done.stdout + done.stderr
    assert "The hub does not start, since its walls would not hold" in told
    assert ("it needs root" if os.geteuid() else "ZEROCAM_STUDENTS names nobody") in told


def test_an_update_in_mid_course_loses_nobodys_work(tmp_path):
    edition, folder = tmp_path / "edition", tmp_path / "folder"

    def update(**files):
        shutil.rmtree(edition, ignore_errors=True)
        edition.mkdir()
        for name, words in files.items():
            (edition / f"{name}.txt").write_text(words)
        command = [sys.executable, "-I", str(ROOT / "hub/hand_out.py"), str(edition), str(folder)]
        subprocess.run(command, check=True)
        return {p.stem: p.read_text() for p in sorted(folder.glob("*.txt"))}

    assert update(one="1", two="2") == {"one": "1", "two": "2"}
    (folder / "two.txt").write_text("mine")
    assert update(one="1b", two="2", three="3") == {"one": "1b", "two": "mine", "three": "3"}
    now = update(one="1b", two="2b")
    assert now == {"one": "1b", "two": "mine", "two-new": "2b", "three": "3"}
    (folder / "two-new.txt").write_text("mine, too")
    assert update(one="1b", two="2b") == now | {"two-new": "mine, too"}
    assert update(two="2c")["two-new-2"] == "2c"
    assert (folder / "two-new.txt").read_text() == "mine, too"


def a_course(folder: Path) -> None:
    """Open to all, until the hub closes it."""
    for name in ("student/notebooks", "instructor", "assignments"):
        (folder / name).mkdir(parents=True)
    for name, cells in {NOTE: [], TWO: TWO_CELLS}.items():
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / "student" / name).write_text(json.dumps(notebook))
    for name in ("instructor/solution.txt", "assignments/gradebook.db", "instructor.zip"):
        (folder / name).write_text("SECRET")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with opened(["ada", "emmy"], a_course) as hub:
        yield hub


def a_student_gets_in_finds_the_edition_and_keeps_the_work(hub):
    for name, word in {"ada": "a guess", "nobody": hub.word, "root": hub.word}.items():
        with pytest.raises(HTTPError, match="403"):
            hub.log_in(name, word)
    assert hub.log_in("ada", hub.word).startswith(f"{hub.url}/hub/spawn")
    until(lambda: hub.running("ada"))
    place = f"/user/ada/api/contents/{NOTE}"
    file = hub.ask("GET", place)
    assert file["content"]["cells"] == []
    kernel = hub.ask("POST", "/user/ada/api/kernels", {"name": "python3"})
    assert kernel["name"] == "python3"
    work = {"cell_type": "markdown", "metadata": {}, "id": "a", "source": "my work"}
    file["content"]["cells"] = [work]
    hub.ask("PUT", place, {key: file[key] for key in ("type", "format", "content")})
    hub.stop("ada")
    hub.ask("POST", "/hub/api/users/ada/server")  # hands the edition out again
    until(lambda: hub.running("ada"))
    (cell,) = hub.ask("GET", place)["content"]["cells"]
    assert cell["source"] == "my work"


def the_work_of_a_class_is_measured(hub):
    """The measuring of tests/class_of.py, and that its counts of what goes wrong can rise."""
    students, found = class_of.lesson(hub, TWO, 0.5)
    assert found["students"] == found["cells of each student"] == 2
    assert found["cells that failed"] == 3  # one of each student, and of the first once more
    assert found["servers killed and started again"] == 1
    assert found["climbs that succeeded"] == found["saved cells that were lost"] == 0
    assert 0 < found["start after the kill, s"] < 60
    assert 0 < found["slowest start of a server, s"] <= found["from log-in to the last cell, s"]
    kernel, student, together = [n for what, n in found.items() if what.startswith("memory")]
    assert 100 < kernel < student < together <= 2 * student + 1 < 1200  # rounded
    ada, emmy = students
    note = hub.folder("emmy") / TWO
    note.write_text(note.read_text().replace("one", "two", 1))
    shut = [note, *list(note.parents)[:3]]
    for path in shut:
        path.chmod(0o755)
    assert (ada.lost(), emmy.lost()) == (0, 1)
    assert class_of.climbs(students) == 1
    for path in shut:
        path.chmod(0o700)


def a_student_who_climbs_falls(hub):
    """Ada, on all that is not hers; what she tries, Emmy may do to her own."""
    assert hub.running("emmy")
    hub.ask("POST", "/user/emmy/api/kernels", {"name": "python3"})
    home, course = hub.base / "homes", hub.base / "course"
    mine = f"{home}/emmy/zerocam/{NOTE}"
    assert hub.as_student("emmy", f"print(len(open({mine!r}).read()) > 10)") == "True"
    for path in ("instructor/solution.txt", "assignments/gradebook.db", "instructor.zip"):
        for code in (f"open({str(course / path)!r}).read()", f"open({str(course / path)!r}, 'a')"):
            assert "PermissionError" in hub.as_student("ada", code), code
    runtime = f"{home}/emmy/.jupyter-run"
    count = "import glob; print(len(glob.glob({!r})) > 0)"
    for kept in ("/kernel-*.json", "/kernel-*-ipc-1"):  # no kernel of hers has a port
        assert hub.as_student("emmy", count.format(runtime + kept)) == "True", kept
    climbs = [
        f"open({mine!r}).read()",
        f"open({mine!r}, 'w')",
        f"import os; os.unlink({mine!r})",
        f"import os; os.listdir('{home}/emmy')",
        f"import os; os.listdir('{runtime}')",  # with the keys and the sockets of kernels
        f"import os; os.listdir('{course}/instructor')",
        f"import os; os.listdir('{hub.base}/class')",
        f"import os; os.rename('{course}/instructor', '{course}/open')",
        f"open('{course}/student/{NOTE}', 'w')",
        f"open({str(ROOT / 'hub/jupyterhub_config.py')!r}, 'a')",
        f"open('/proc/{hub.process}/environ').read()",
        f"import os; os.kill({hub.process}, 9)",
        f"import os; os.symlink('{home}/emmy', '{home}/ada/e'); os.listdir('{home}/ada/e')",
        f"import os; os.symlink('{course}/instructor/solution.txt', '{home}/ada/s')\n"
        f"open('{home}/ada/s').read()",
        "open('/etc/shadow').read()",
    ]
    for code in climbs:
        assert "PermissionError" in hub.as_student("ada", code), code
    # A link in the place of the folder that the hub fills: it fills it as ada, who may not.
    hub.stop("ada")
    swap = f"import os; os.rename('{home}/ada/zerocam', '{home}/ada/old')\n"
    swap += f"os.symlink('{course}/instructor', '{home}/ada/zerocam'); print('swapped')"
    assert hub.as_student("ada", swap) == "swapped"
    with pytest.raises(HTTPError, match="500"):
        hub.ask("POST", "/hub/api/users/ada/server")
    assert [p.name for p in (course / "instructor").iterdir()] == ["solution.txt"]
    # The token of one student on the server of another.
    token = hub.ask("POST", "/hub/api/users/ada/tokens", {"note": "a"})["token"]
    assert hub.ask("GET", "/hub/api/user", token=token)["name"] == "ada"
    for path in ("/user/emmy/api/contents", "/user/emmy/api/kernels", "/hub/api/users"):
        with pytest.raises(HTTPError, match=r"40[34]"):
            hub.ask("GET", path, token=token)


def limits_hold(hub):
    """A server runs as its student, and may take so much memory and no more."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"jupyterhub-singleuser" in (path / "cmdline").read_bytes():
                owner = re.search(r"Uid:\s+(\d+)", (path / "status").read_text())[1]
                found[int(owner)] = (path / "limits").read_text()
        except OSError:
            continue
    assert hub.students["emmy"] in found
    assert 0 not in found
    told = found[hub.students["emmy"]]
    assert re.search(rf"Max data size\s+{6 * 2**30} ", told)
    assert re.search(r"Max cpu time\s+3600 ", told)


if os.geteuid() == 0:  # without, the hub refuses to start

    def test_an_account_that_is_missing_or_strong_is_refused(tmp_path):
        (tmp_path / "student").mkdir()
        (tmp_path / "instructor").mkdir()
        for name, told in {"nobody-at-all": "has no account", "root": "strong account"}.items():
            (problem,) = walls.refusals([name], tmp_path, tmp_path / "class")
            assert told in problem
        assert not (tmp_path / "class").exists()
        (problem,) = walls.refusals(["root"], tmp_path / "absent", tmp_path / "class")
        assert "run make course first" in problem

    if turns.has_turn("hub"):  # in every fourth commit: turns.py

        def test_a_class_of_two_on_one_hub(hub):
            """On one hub, since it takes its time to start."""
            a_student_gets_in_finds_the_edition_and_keeps_the_work(hub)
            the_work_of_a_class_is_measured(hub)
            a_student_who_climbs_falls(hub)
            limits_hold(hub)
