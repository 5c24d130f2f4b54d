"""A real JupyterHub on loopback, with the settings of hub/, and accounts of its own for a class.

The accounts exist in a mount namespace alone, where /etc/passwd is another file; the machine keeps
its own.  It needs root.  tests/test_hub.py asks it who gets in; tests/class_of.py measures it.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

ROOT = Path(__file__).parents[1]
HUB = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "hub/jupyterhub_config.py")]
WAIT = 300  # seconds for one answer: twenty servers that start keep a hub busy


@dataclass
class Hub:
    """A hub that runs, its students, and the word and the token that it knows."""

    port: int
    base: Path
    names: Sequence[str]
    process: int = 0
    word: str = field(default_factory=secrets.token_hex)
    token: str = field(default_factory=secrets.token_hex)

    @property
    def students(self) -> dict[str, int]:
        """The number of each account: that of no other hub, since no other has this port."""
        return {name: 100 * self.port + i for i, name in enumerate(self.names)}

    def log_in(self, name: str, word: str) -> str:
        """Through the form, as a browser does; the address of the page that comes."""
        jar = CookieJar()
        browser, page = build_opener(HTTPCookieProcessor(jar)), f"{self.url}/hub/login"
        browser.open(page, timeout=WAIT).close()
        (xsrf,) = [cookie.value for cookie in jar if cookie.name == "_xsrf"]
        form = {"username": name, "password": word, "_xsrf": xsrf}
        with browser.open(page, urlencode(form).encode(), timeout=WAIT) as answer:
            return answer.url

    def ask(self, method: str, path: str, body: dict | None = None, token: str = "") -> dict:
        """The API of the hub, or of a student's server."""
        headers = {"Authorization": f"token {token or self.token}"}
        data = json.dumps(body).encode() if body else None
        request = Request(self.url + path, data, headers, method=method)
        with build_opener().open(request, timeout=WAIT) as answer:
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

    def stop(self, name: str) -> None:
        """Stop the student's server, and wait until it has ended."""
        self.ask("DELETE", f"/hub/api/users/{name}/server")
        until(lambda: not self.ask("GET", f"/hub/api/users/{name}")["servers"])

    def folder(self, name: str) -> Path:
        """Where a student works."""
        return self.base / "homes" / name / "zerocam"


def until(true: Callable[[], bool], seconds: float = 120, pause: float = 0.3) -> None:
    """Wait; a server that does not answer yet is no error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except (HTTPError, URLError, OSError):
            pass
        time.sleep(pause)
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


def environment(base: Path, **more: str) -> dict[str, str]:
    """What tells a hub where its folders are."""
    places = {"ZEROCAM_CLASS": str(base / "class"), "ZEROCAM_COURSE": str(base / "course")}
    return os.environ | places | more


def namespace(hub: Hub) -> str:
    """A shell script that makes the accounts, and Python readable to them, for its own process."""
    base = hub.base
    lines = ["set -e", "umask 022", f"mkdir -p {base}/etc {base}/homes"]
    coded = subprocess.check_output(["openssl", "passwd", "-6", hub.word], text=True).strip()
    rows: dict[str, list[str]] = {"passwd": [], "shadow": [], "group": []}
    for name, number in hub.students.items():
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


@contextmanager
def opened(names: Sequence[str], prepare: Callable[[Path], object]) -> Iterator[Hub]:
    """A hub with accounts of these names, gone at the end.

    prepare: writes the course into the folder that it is given.
    """
    base = Path(tempfile.mkdtemp(prefix="zerocam-hub-", dir="/tmp"))
    base.chmod(0o755)
    (base / "course").mkdir()
    prepare(base / "course")
    hub = Hub(three_ports(), base, names)
    more = {"ZEROCAM_PORT": str(hub.port), "ZEROCAM_STUDENTS": " ".join(names)}
    script = namespace(hub)
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
