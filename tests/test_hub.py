"""A real JupyterHub on loopback, with the settings of hub/: who gets in, and who climbs over.

Where these tests run as root, the hub has two students with accounts of the system.  The accounts
exist in a mount namespace alone, where /etc/passwd is another file; the machine keeps its own.
Without root a hub with walls cannot be had: then it is tested that it refuses to start.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from hub import walls
from tests import turns

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernels")]  # they can race for ports
NOTE = "notebooks/short.ipynb"


@dataclass
class Hub:
    """A hub that runs, and the word and the token that it knows."""

    port: int
    base: Path
    process: int = 0
    word: str = field(default_factory=secrets.token_hex)
    token: str = field(default_factory=secrets.token_hex)

    def log_in(self, name: str, word: str) -> str:
        """Through the form, as a browser does; the address of the page that comes."""
        jar = CookieJar()
        browser, page = build_opener(HTTPCookieProcessor(jar)), f"{self.url}/hub/login"
        browser.open(page, timeout=60).close()
        (xsrf,) = [cookie.value for cookie in jar if cookie.name == "_xsrf"]
        form = {"username": name, "password": word, "_xsrf": xsrf}
        with browser.open(page, urlencode(form).encode(), timeout=60) as answer:
            return answer.url

    def ask(self, method: str, path: str, body: dict | None = None, token: str = "") -> dict:
        """The API of the hub, or of a student's server."""
        headers = {"Authorization": f"token {token or self.token}"}
        data = json.dumps(body).encode() if body else None
        request = Request(self.url + path, data, headers, method=method)
        with build_opener().open(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def as_student(self, name: str, code: str) -> str:
        """What Python says when a student runs this code: its last line, an error's included."""
        command = ["nsenter", "--mount", f"--target={self.process}", "runuser", "-u", name, "--"]
        done = subprocess.run(
            [*command, sys.executable, "-I", "-c", code],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=120,
        )
        return (done.stdout + done.stderr).strip().rpartition("\n")[2] or "it did"

    def running(self, name: str) -> bool:
        """Whether the student's server answers."""
        servers = self.ask("GET", f"/hub/api/users/{name}")["servers"]
        return bool(servers) and servers[""]["ready"]


def until(true: Callable[[], bool], seconds: int = 120) -> None:
    """Wait; a server that does not answer yet is no error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except (HTTPError, URLError, OSError):
            pass
        time.sleep(0.3)
    raise TimeoutError(f"not so in {seconds} s")


def three_ports() -> int:
    """The first of three free ports in a row."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


HUB = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "hub/jupyterhub_config.py")]
STUDENTS = {"ada": 61001, "emmy": 61002}


def environment(base: Path, **more: str) -> dict[str, str]:
    places = {"ZEROCAM_CLASS": str(base / "class"), "ZEROCAM_COURSE": str(base / "course")}
    return os.environ | places | more


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


def namespace(base: Path, word: str) -> str:
    """A shell script that makes the accounts, and Python readable to them, for its own process."""
    lines = ["set -e", "umask 022", f"mkdir -p {base}/etc {base}/homes"]
    coded = subprocess.check_output(["openssl", "passwd", "-6", word], text=True).strip()
    rows: dict[str, list[str]] = {"passwd": [], "shadow": [], "group": []}
    for name, number in STUDENTS.items():
        rows["passwd"].append(f"{name}:x:{number}:{number}::{base}/homes/{name}:/bin/sh")
        rows["shadow"].append(f"{name}:{coded}:19000:0:99999:7:::")
        rows["group"].append(f"{name}:x:{number}:")
        home = f"{base}/homes/{name}"
        lines += [f"mkdir {home}", f"chmod 755 {home}", f"chown {number}:{number} {home}"]
    for file, more in rows.items():
        (base / "etc").mkdir(exist_ok=True)
        (base / "etc" / file).write_text(Path("/etc", file).read_text() + "\n".join(more) + "\n")
        (base / "etc" / file).chmod(Path("/etc", file).stat().st_mode & 0o777)
        lines.append(f"mount --bind {base}/etc/{file} /etc/{file}")
    python = Path(sys.executable).resolve()
    shut = [p for p in reversed(python.parents) if not p.stat().st_mode & 0o001]
    if shut:  # as a Python in /root: the same folder, with nothing else in it
        prefix, held = python.parents[1], base / "python"
        lines += [f"mkdir {held}", f"mount --bind {prefix} {held}"]
        lines += [f"mount -t tmpfs -o mode=755 tmpfs {shut[0]}", f"mkdir -p {prefix}"]
        lines += [f"mount --bind {held} {prefix}"]
    return "\n".join([*lines, f"exec {shlex.join(HUB)}"])


@pytest.fixture
def hub() -> Iterator[Hub]:
    base = Path(tempfile.mkdtemp(prefix="zerocam-hub-", dir="/tmp"))
    base.chmod(0o755)
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for name in ("student/notebooks", "instructor", "assignments"):
        (base / "course" / name).mkdir(parents=True)  # open to all, until the hub closes them
    (base / "course/student" / NOTE).write_text(json.dumps(notebook))
    for name in ("instructor/solution.txt", "assignments/gradebook.db", "instructor.zip"):
        (base / "course" / name).write_text("SECRET")
    hub = Hub(three_ports(), base)
    more = {"ZEROCAM_PORT": str(hub.port), "ZEROCAM_STUDENTS": " ".join(STUDENTS)}
    script = namespace(base, hub.word)
    with (base / "log").open("w") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            cwd=base,
            env=environment(base, ZEROCAM_API_TOKEN=hub.token, **more),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        hub.process = process.pid
        try:
            until(lambda: bool(hub.ask("GET", "/hub/api/")) or process.poll() is not None)
            yield hub
        finally:
            process.terminate()  # it ends the servers, too
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:  # how a hub ends is not what is tested: end them all
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)
            shutil.rmtree(base)


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
    hub.ask("DELETE", "/hub/api/users/ada/server")
    until(lambda: not hub.ask("GET", "/hub/api/users/ada")["servers"])
    hub.ask("POST", "/hub/api/users/ada/server")  # hands the edition out again
    until(lambda: hub.running("ada"))
    (cell,) = hub.ask("GET", place)["content"]["cells"]
    assert cell["source"] == "my work"


def a_student_who_climbs_falls(hub):
    """Ada, on all that is not hers; what she tries, Emmy may do to her own."""
    hub.ask("POST", "/hub/api/users/emmy/server")
    until(lambda: hub.running("emmy"))
    hub.ask("POST", "/user/emmy/api/kernels", {"name": "python3"})
    home, course = hub.base / "homes", hub.base / "course"
    mine = f"{home}/emmy/zerocam/{NOTE}"
    assert hub.as_student("emmy", f"print(len(open({mine!r}).read()) > 10)") == "True"
    for path in ("instructor/solution.txt", "assignments/gradebook.db", "instructor.zip"):
        for code in (f"open({str(course / path)!r}).read()", f"open({str(course / path)!r}, 'a')"):
            assert "PermissionError" in hub.as_student("ada", code), code
    runtime = f"{home}/emmy/.local/share/jupyter/runtime"
    climbs = [
        f"open({mine!r}).read()",
        f"open({mine!r}, 'w')",
        f"import os; os.unlink({mine!r})",
        f"import os; os.listdir('{home}/emmy')",
        f"import os; os.listdir('{runtime}')",  # with the keys of the kernels
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
    hub.ask("DELETE", "/hub/api/users/ada/server")
    until(lambda: not hub.ask("GET", "/hub/api/users/ada")["servers"])
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
    assert STUDENTS["emmy"] in found
    assert 0 not in found
    told = found[STUDENTS["emmy"]]
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

    if turns.has_turn("hub"):  # in every second commit: turns.py

        def test_a_class_of_two_on_one_hub(hub):
            """On one hub, since it takes its time to start."""
            a_student_gets_in_finds_the_edition_and_keeps_the_work(hub)
            a_student_who_climbs_falls(hub)
            limits_hold(hub)
