"""A real JupyterHub on loopback, with two students: the class of 20 is hub/measure.py itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernels")]  # they can race for ports


def test_two_students_lose_nothing_when_a_server_is_killed():
    command = [sys.executable, "hub/measure.py", "--students", "2", "--chapter", "short"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert found["students"] == "2"
    assert found["cells that failed"] == "0"
    assert found["servers killed and started again"] == "1"
    assert found["work lost"] == "0"
    assert 50 < int(found["memory of a kernel at its peak, median, MiB"]) < 3000


def test_the_stored_class_had_twenty_students_who_lost_nothing():
    stored = json.loads((ROOT / "book" / "measured" / "hub.json").read_text())
    found = {row["what"]: row["value"] for row in stored["rows"]}
    assert found["students"] >= 20
    assert found["cells that failed"] == found["work lost"] == 0
    assert found["servers killed and started again"] == 1
