"""A class at work on the hub of hub/, all at the same time: what it takes, and what holds.

    python -m tests.class_of --students 20 --out book/measured/hub.json

Run as root.  Each student logs in through the form, which starts a server, and runs chapter 2 of
the student edition cell by cell, saving after each.  While they work, each tries to read the
notebook of the next.  Then the first student goes through the chapter again; in the middle of it
the server and the kernel are killed, and started again.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError

from websocket import WebSocket, WebSocketException, create_connection

from tests.hubs import WAIT, Hub, opened, until
from tools.course.files import write
from tools.course.timing import store

CELL = 1800  # seconds that a cell may take
SPARE = 1536  # MiB that must stay free on the machine, or all is stopped


@dataclass
class Student:
    """Somebody with a browser, and what the server has said that it saved: cell by cell."""

    hub: Hub
    name: str
    note: str
    token: str = ""
    channel: WebSocket | None = None
    saved: dict[str, dict] = field(default_factory=dict)
    sent: dict[str, dict] = field(default_factory=dict)  # whether or not the server answered
    now: int = 0  # cells saved since this way through the notebook began
    ended: float = 0.0

    @property
    def home(self) -> str:
        return f"/user/{self.name}"

    def log_in(self) -> float:
        """Through the form, which starts the server; the seconds until it answers."""
        began = time.monotonic()
        self.hub.log_in(self.name, self.hub.word)
        until(lambda: self.hub.running(self.name), 900, pause=1)
        taken = time.monotonic() - began
        made = self.hub.ask("POST", f"/hub/api/users/{self.name}/tokens", {"note": "class"})
        self.token = made["token"]
        return taken

    def start(self) -> None:
        """Ask until a server answers: the hub may still think that the dead one runs."""

        def answers() -> bool:
            with suppress(HTTPError):
                self.hub.ask("POST", f"/hub/api/users/{self.name}/server")
            return bool(self.hub.ask("GET", f"{self.home}/api/status", token=self.token))

        until(answers, 900)

    def read(self) -> dict:
        """The notebook, as the server has it on the disk."""
        path = f"{self.home}/api/contents/{self.note}"
        return self.hub.ask("GET", path, token=self.token)["content"]

    def work(self, line: str = "") -> int:
        """Run all code cells, each with this line added, and save after each: how many failed."""
        self.now, failed, notebook = 0, 0, self.read()
        kernel = {"name": "python3"}
        asked = {"path": self.note, "name": self.note, "type": "notebook", "kernel": kernel}
        made = self.hub.ask("POST", f"{self.home}/api/sessions", asked, self.token)
        address = f"{self.hub.url}{self.home}/api/kernels/{made['kernel']['id']}/channels"
        self.channel = create_connection(
            address.replace("http", "ws", 1),
            header=[f"Authorization: token {self.token}"],
            timeout=WAIT,
        )
        self.channel.settimeout(CELL)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(cells, 1):
            cell["source"] = "".join(cell["source"]) + line
            cell["outputs"], cell["execution_count"] = run(self.channel, cell["source"]), number
            failed += any(output["output_type"] == "error" for output in cell["outputs"])
            body = {"type": "notebook", "format": "json", "content": notebook}
            self.sent[cell["id"]] = work_in(cell)
            self.hub.ask("PUT", f"{self.home}/api/contents/{self.note}", body, self.token)
            self.saved[cell["id"]] = self.sent[cell["id"]]
            self.now += 1
        self.channel.close()
        self.ended = time.monotonic()
        return failed

    def lost(self) -> int:
        """How many cells the server had saved that are not on the disk, so or newer."""
        there = {cell["id"]: work_in(cell) for cell in self.read()["cells"]}
        return sum(there.get(n) not in (cell, self.sent[n]) for n, cell in self.saved.items())


def work_in(cell: dict) -> dict:
    """What a student wrote into a code cell, and what came out: streams as one text."""
    outputs = cell.get("outputs", [])
    texts = ["".join(o.get("text", o.get("ename", ""))) for o in outputs]
    kinds = sorted({o["output_type"] for o in outputs})
    return {"source": "".join(cell["source"]), "text": "".join(texts), "kinds": kinds}


def run(channel: WebSocket, source: str) -> list[dict]:
    """What a cell prints and shows, as it is stored."""
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "version": "5.3", "date": ""}
    header |= {"session": number, "username": "", "date": "2000-01-01T00:00:00Z"}
    content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}}
    content |= {"allow_stdin": False, "stop_on_error": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    channel.send(json.dumps(message | {"channel": "shell", "buffers": []}))
    outputs: list[dict] = []
    while True:
        answer = json.loads(channel.recv() or "{}")  # an empty one: it was closed
        if not answer:
            raise ConnectionError("the kernel's connection was closed")
        if answer["parent_header"].get("msg_id") != number:
            continue
        kind, content = answer["msg_type"], answer["content"]
        if kind in ("stream", "error", "display_data", "execute_result"):
            content.pop("transient", None)
            outputs.append({"output_type": kind} | content)
        if kind == "status" and content["execution_state"] == "idle":
            return outputs


def climbs(students: Sequence[Student]) -> int:
    """Each tries once to read the notebook of the next: how many were not refused just there.

    One's own notebook is read first, so an account that can read nothing counts as well.
    """
    succeeded = 0
    for one, other in zip(students, [*students[1:], students[0]], strict=True):
        mine, theirs = (str(s.hub.folder(s.name) / s.note) for s in (one, other))
        said = one.hub.as_student(one.name, f"open({mine!r}).read(); open({theirs!r}).read()")
        succeeded += not ("PermissionError" in said and theirs in said)
    return succeeded


def processes(numbers: Sequence[int]) -> Iterator[tuple[int, Path]]:
    """The processes of these accounts: whose, and its folder in /proc."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (owner := path.stat().st_uid) in numbers:
                yield owner, path


def end(numbers: Sequence[int]) -> None:
    """Kill all processes of these accounts at once."""
    for _, path in processes(numbers):
        with suppress(ProcessLookupError):
            os.kill(int(path.name), signal.SIGKILL)


class Memory:
    """MiB that students take, at the peak: each, the kernels of each, and all together.

    It is the proportional set size: a page that several processes share is divided among them.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers, self.all = numbers, 0.0
        self.each, self.kernel = dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, 0.0)

    def look(self) -> None:
        """Once."""
        each, kernel = dict.fromkeys(self.numbers, 0.0), dict.fromkeys(self.numbers, 0.0)
        for owner, path in processes(self.numbers):
            with suppress(OSError):
                size = kib(path / "smaps_rollup", "Pss") / 1024
                each[owner] += size
                kernel[owner] += size * (b"ipykernel" in (path / "cmdline").read_bytes())
        self.all = max(self.all, sum(each.values()))
        for peak, new in ((self.each, each), (self.kernel, kernel)):
            peak.update({owner: max(peak[owner], new[owner]) for owner in self.numbers})

    @contextmanager
    def watched(self, pause: float) -> Iterator[None]:
        """Look again and again; where the machine runs short, end all."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(pause):
                self.look()
                if (free := kib(Path("/proc/meminfo"), "MemAvailable") / 1024) < SPARE:
                    print(f"only {free:.0f} MiB are left: all is ended", file=sys.stderr)
                    end(self.numbers)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def kib(path: Path, name: str) -> int:
    """A number in a file of /proc with lines `Name:  123 kB`."""
    return next(
        int(s.split()[1]) for s in path.read_text().splitlines() if s.startswith(f"{name}:")
    )


def lesson(hub: Hub, note: str, pause: float = 2) -> tuple[list[Student], dict[str, int]]:
    """The class works, the first student's server dies and comes again: the numbers."""
    students = [Student(hub, name, note) for name in hub.students]
    memory = Memory(list(hub.students.values()))
    began = time.monotonic()
    with memory.watched(pause), ThreadPoolExecutor(len(students)) as pool:
        starts = list(pool.map(Student.log_in, students))
        print(f"all servers run after {time.monotonic() - began:.0f} s", flush=True)
        working = [pool.submit(student.work) for student in students]
        until(lambda: all(s.now for s in students) or any(w.done() for w in working), CELL)
        climbed = climbs(students)
        print(f"all climbed, {sum(not w.done() for w in working)} still work", flush=True)
        failed = [future.result() for future in working]
        memory.look()
    worked = max(student.ended for student in students) - began
    first = students[0]
    half, first.now = max(1, first.now // 2), 0
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(first.work, "\n# again")
        until(lambda: first.now >= half or again.done(), CELL, 0.01)
        end([hub.students[first.name]])
        killed = time.monotonic()
        with suppress(OSError):
            first.channel.sock.shutdown(socket.SHUT_RDWR)
        died = isinstance(again.exception(), WebSocketException | OSError)
    first.start()
    back = time.monotonic() - killed
    lost = sum(student.lost() for student in students)
    failed.append(first.work())
    largest = max(memory.each.values())
    return students, {
        "students": len(students),
        "cells of each student": len(first.saved),
        "cells that failed": sum(failed),
        "climbs that succeeded": climbed,
        "servers killed and started again": int(died),
        "saved cells that were lost": lost,
        "slowest start of a server, s": round(max(starts)),
        "start after the kill, s": round(back),
        "from log-in to the last cell, s": round(worked),
        "memory of a kernel at its peak, median, MiB": round(
            statistics.median(memory.kernel.values())
        ),
        "memory of a student at the peak, largest, MiB": round(largest),
        "memory of all students at the peak, MiB": round(memory.all),
        "students on 24 GiB, 2 GiB kept free": int(22 * 1024 / largest),
    }


def main() -> None:
    """Measure, print, and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    names = [f"s{number:02}" for number in range(1, options.students + 1)]
    with opened(names, write) as hub:
        (chapter,) = (hub.base / "course/student/notebooks").glob("02-*.ipynb")
        try:
            _, found = lesson(hub, f"notebooks/{chapter.name}")
        except BaseException:
            print((hub.base / "log").read_text()[-5000:], file=sys.stderr)
            raise
    for name, value in found.items():
        print(f"{name}: {value}")
    rows = [{"what": name, "value": value} for name, value in found.items()]
    command = f"python -m tests.class_of --students {options.students} --out {options.out}"
    store(options.out, rows, command)


if __name__ == "__main__":
    main()
