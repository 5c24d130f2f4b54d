"""Simulate a class on a JupyterHub on this machine, through its web interface and its API.

    python hub/measure.py --students 20            stores book/measured/hub.json
    python hub/measure.py --students 2 --chapter short

Each student logs in with a password, starts a server, opens a notebook over the contents API and
runs it cell by cell in a kernel over a websocket, saving after each.  Then the first student's
server is killed in the middle of the work and started again: nothing that was saved may be lost.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import course  # noqa: E402

SHORT = [
    "import torch, zerocam",
    "from zerocam.checks import attempt",
    "def lift(M, w, lowest): ...",
]
SHORT += ["attempt(lift)", "print('sum =', torch.arange(5).sum().item())"]


class Hub:
    """A hub on loopback, in a folder of its own; gone at the end."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token, self.password = secrets.token_hex(16), secrets.token_hex(8)

    def __enter__(self) -> "Hub":
        environment = os.environ | {
            "ZEROCAM_CLASS": str(self.folder / "class"),
            "ZEROCAM_EDITION": str(self.folder / "edition"),
            "ZEROCAM_PORT": str(self.port),
            "ZEROCAM_PASSWORD": self.password,
            "ZEROCAM_API_TOKEN": self.token,
        }
        command = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "hub/jupyterhub_config.py")]
        self.log = (self.folder / "hub.log").open("w")
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=self.log, stderr=self.log
        )
        return self

    def __exit__(self, *_: object) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for child in children:
            if child.is_running():
                child.kill()
        self.log.close()

    async def api(self, method: str, path: str, body: object = None) -> object:
        """The hub's REST API."""
        headers = {"Authorization": f"token {self.token}"}
        return await _ask(method, f"{self.url}/hub/api{path}", headers, body)

    async def ready(self) -> None:
        """Wait until the hub answers through its proxy."""
        await _until(lambda: self.api("GET", "/"), 120, "the hub")


class Student:
    """One person with a browser: cookies, a server, a kernel, a notebook."""

    def __init__(self, hub: Hub, name: str):
        self.hub, self.name, self.home = hub, name, f"{hub.url}/user/{name}"
        self.cookies: dict[str, str] = {}

    async def log_in(self) -> None:
        """Through the form, as a person does."""
        page = f"{self.hub.url}/hub/login"
        await self._visit("GET", page)
        body = f"username={self.name}&password={self.hub.password}&_xsrf={self.cookies['_xsrf']}"
        answer = await self._visit("POST", page, body)
        if answer.code != 302 or "jupyterhub-session-id" not in self.cookies:
            raise RuntimeError(f"{self.name} could not log in: {answer.code}")
        made = await self.hub.api("POST", f"/users/{self.name}/tokens", {"note": "measure"})
        self.headers = {"Authorization": f"token {made['token']}"}

    async def _visit(self, method: str, url: str, body: str | None = None):
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = HTTPRequest(
            url, method, headers, body, follow_redirects=False, request_timeout=120
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        for line in answer.headers.get_list("Set-Cookie"):
            key, _, value = line.split(";")[0].partition("=")
            self.cookies[key] = value
        return answer

    async def start(self) -> float:
        """Start the server; the seconds it took."""
        began = time.monotonic()
        await self.hub.api("POST", f"/users/{self.name}/server")

        async def up() -> None:
            user = await self.hub.api("GET", f"/users/{self.name}")
            if not user["servers"].get("", {}).get("ready"):
                raise LookupError
            await self.ask("GET", "/api/status")

        await _until(up, 600, f"the server of {self.name}")
        return time.monotonic() - began

    async def ask(self, method: str, path: str, body: object = None) -> object:
        """The API of the student's own server, through the hub's proxy."""
        return await _ask(method, self.home + path, self.headers, body)

    async def read(self, name: str) -> dict:
        """A notebook, as the server has it on disk."""
        return (await self.ask("GET", f"/api/contents/notebooks/{name}"))["content"]

    async def work(self, name: str, cells: int | None = None) -> int:
        """Run the code cells, or the first few, and save after each: how many failed."""
        notebook = await self.read(name)
        kernel = await self.ask("POST", "/api/kernels", {"name": "python3"})
        channel = f"{self.home.replace('http', 'ws', 1)}/api/kernels/{kernel['id']}/channels"
        socket_ = await websocket_connect(HTTPRequest(channel, headers=self.headers))
        failed = 0
        for cell in [c for c in notebook["cells"] if c["cell_type"] == "code"][:cells]:
            cell["outputs"] = await _execute(socket_, "".join(cell["source"]))
            failed += any(o["output_type"] == "error" for o in cell["outputs"])
            cell["execution_count"] = 1
            saved = {"type": "notebook", "format": "json", "content": notebook}
            await self.ask("PUT", f"/api/contents/notebooks/{name}", saved)
        socket_.close()
        return failed

    def processes(self) -> list[psutil.Process]:
        """The server and its kernels."""
        everything = psutil.Process(self.hub.process.pid).children(recursive=True)
        mine = [p for p in everything if _environment(p).get("JUPYTERHUB_USER") == self.name]
        return mine


async def _execute(socket_, source: str) -> list[dict]:
    """What a cell prints and shows, as stored; an empty list for a cell without code."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"session": "measure", "username": "measure", "date": "2000-01-01T00:00:00Z"}
    content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}}
    content |= {"allow_stdin": False, "stop_on_error": True}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    await socket_.write_message(json.dumps(message | {"channel": "shell"}))
    outputs: list[dict] = []
    while True:
        raw = await asyncio.wait_for(socket_.read_message(), 900)
        if raw is None:
            raise ConnectionError("the kernel's connection was closed")
        answer = json.loads(raw)
        if answer.get("parent_header", {}).get("msg_id") != header["msg_id"]:
            continue
        kind, content = answer["header"]["msg_type"], answer["content"]
        if kind in ("stream", "error", "display_data", "execute_result"):
            content.pop("transient", None)
            outputs.append({"output_type": kind} | content)
        if kind == "status" and content["execution_state"] == "idle":
            return outputs


async def _ask(method: str, url: str, headers: dict, body: object = None) -> object:
    data = json.dumps(body) if body is not None else "" if method in ("POST", "PUT") else None
    request = HTTPRequest(url, method, headers, data, request_timeout=300)
    answer = await AsyncHTTPClient().fetch(request)
    return json.loads(answer.body) if answer.body else None


async def _until(attempt, seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except (HTTPClientError, OSError, LookupError) as error:
            if time.monotonic() > limit:
                raise TimeoutError(f"{what} was not ready in {seconds} s: {error}") from error
            await asyncio.sleep(0.5)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _memory(processes: list[psutil.Process]) -> dict[str, float]:
    """MiB, of kernels and of all; shared pages divided among sharers, not counted on macOS."""
    found = {"kernel": 0.0, "all": 0.0}
    for process in processes:
        try:
            full = process.memory_full_info()
            size = getattr(full, "pss", full.uss) / 2**20
            kernel = "ipykernel" in " ".join(process.cmdline())
        except psutil.Error:
            continue
        found["all"] += size
        found["kernel"] += size * kernel
    return found


def _free_port() -> int:
    """A port with two free ones after it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        try:
            for offset in range(3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port


async def lesson(hub: Hub, students: int, name: str) -> dict[str, object]:
    """A class works; a server dies; the numbers."""
    await hub.ready()
    people = [Student(hub, f"student{i:02}") for i in range(1, students + 1)]
    began = time.monotonic()
    for student in people:
        await student.log_in()
    starts = await asyncio.gather(*(student.start() for student in people))
    peak: dict[str, dict[str, float]] = {}

    async def watch() -> None:
        while True:
            now = {s.name: _memory(s.processes()) for s in people}
            for who, m in now.items():
                peak[who] = {k: max(v, peak.get(who, m)[k]) for k, v in m.items()}
            if psutil.virtual_memory().available < 2 * 2**30:
                raise MemoryError(f"less than 2 GiB are left with {students} students; take fewer")
            total = sum(m["all"] for m in now.values())
            peak["everybody"] = {"all": max(total, peak.get("everybody", {"all": 0})["all"])}
            await asyncio.sleep(2)

    watcher = asyncio.create_task(watch())
    class_work = asyncio.gather(*(student.work(name) for student in people))
    await asyncio.wait([watcher, class_work], return_when=asyncio.FIRST_COMPLETED)
    if watcher.done():
        watcher.result()  # raises
    failed = class_work.result()
    worked = time.monotonic() - began
    watcher.cancel()

    victim = people[0]
    before = await victim.read(name)
    half = asyncio.create_task(victim.work(name, 2))
    await asyncio.sleep(1)
    for process in victim.processes():
        process.send_signal(signal.SIGKILL)
    await asyncio.wait([half], timeout=10)
    interrupted = half.exception() is not None if half.done() else bool(half.cancel())

    async def noticed() -> None:
        if (await hub.api("GET", f"/users/{victim.name}"))["servers"]:
            raise LookupError

    await _until(noticed, 120, "the hub's notice of the death")
    again = await victim.start()
    after = await victim.read(name)
    kept = [_printed(c) for c in before["cells"]] == [_printed(c) for c in after["cells"]]
    resumed = await victim.work(name, 2)
    others = [_ran(await s.read(name)) for s in people[1:]]
    kernels = sorted(peak[s.name]["kernel"] for s in people)
    everything = sorted(peak[s.name]["all"] for s in people)
    each = max(everything)
    return {
        "students": students,
        "cells that failed": sum(failed),
        "servers killed and started again": int(interrupted),
        "work lost": int(not kept) + int(resumed > 0) + sum(not ran for ran in others),
        "slowest start of a server, s": round(max(starts)),
        "start after the kill, s": round(again),
        "from log-in to the last cell, s": round(worked),
        "memory of a kernel at its peak, median, MiB": round(kernels[len(kernels) // 2]),
        "memory of a student at the peak, largest, MiB": round(each),
        "memory of all at the peak, MiB": round(peak["everybody"]["all"]),
        "students on 24 GiB, 2 GiB kept free": int(22 * 1024 // each),
    }


def _printed(cell: dict) -> str:
    """The text a cell printed, one stream or several."""
    return "".join("".join(o.get("text", "")) for o in cell.get("outputs", []))


def _ran(notebook: dict) -> bool:
    return all(c["execution_count"] for c in notebook["cells"] if c["cell_type"] == "code")


def simulate(students: int, chapter: str, folder: Path) -> dict[str, object]:
    """Prepare an edition, run a hub, give a lesson.

    chapter: its two digits, or "short" for a notebook of five lines.
    """
    place = folder / "edition" / "notebooks"
    place.mkdir(parents=True)
    if chapter == "short":
        empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        cells = [empty | {"id": f"c{i}", "source": line} for i, line in enumerate(SHORT)]
        editions = {
            "short.ipynb": {"cells": cells, "metadata": {}, "nbformat": 4} | {"nbformat_minor": 5}
        }
        (path,) = course.place(place, editions)
    else:
        made = {name: course.student(nb) for name, nb in course.chapters().items()}
        (path,) = course.place(place, made, [chapter])
    AsyncHTTPClient.configure(None, max_clients=4 * students + 10)
    with Hub(folder) as hub:
        try:
            return asyncio.run(lesson(hub, students, path.name))
        except BaseException:
            print((folder / "hub.log").read_text()[-3000:], file=sys.stderr)
            raise


def main() -> None:
    """Simulate, print, and store the numbers of a whole class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=20)
    parser.add_argument("--chapter", default="02")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = simulate(options.students, options.chapter, Path(folder))
    for name, value in found.items():
        print(f"{name}: {value}")
    if options.chapter != "short":
        rows = [{"what": name, "value": value} for name, value in found.items()]
        said = f"--students {options.students} --chapter {options.chapter}"
        course.store("hub", rows, f"python hub/measure.py {said}")


if __name__ == "__main__":
    main()
