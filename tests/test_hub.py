"""A real JupyterHub on loopback, with the settings of hub/: who gets in, and what they find."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernels")]  # they can race for ports
NOTE = "notebooks/short.ipynb"


@dataclass
class Hub:
    """A hub that runs, and the word and the token that it knows."""

    port: int
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

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        """The API of the hub, or of a student's server."""
        headers = {"Authorization": f"token {self.token}"}
        data = json.dumps(body).encode() if body else None
        request = Request(self.url + path, data, headers, method=method)
        with build_opener().open(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "edition" / "notebooks").mkdir(parents=True)
    (tmp_path / "edition" / NOTE).write_text(json.dumps(notebook))
    hub = Hub(three_ports())
    environment = os.environ | {
        "ZEROCAM_CLASS": str(tmp_path / "class"),
        "ZEROCAM_EDITION": str(tmp_path / "edition"),
        "ZEROCAM_PORT": str(hub.port),
        "ZEROCAM_PASSWORD": hub.word,
        "ZEROCAM_STUDENTS": "ada emmy",
        "ZEROCAM_API_TOKEN": hub.token,
    }
    command = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "hub/jupyterhub_config.py")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until(lambda: bool(hub.ask("GET", "/hub/api/")))
            yield hub
        finally:
            process.terminate()  # it ends the servers, too
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:  # how a hub ends is not what is tested: end them all
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)


def test_a_student_gets_in_finds_the_edition_and_keeps_the_work(hub):
    for name, word in {"ada": "a guess", "nobody": hub.word}.items():
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
