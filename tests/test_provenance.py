"""The record of how a number was made."""

import json
import platform
import re
from datetime import date
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from zerocam.lab import provenance as module
from zerocam.lab.provenance import made_by, write_json


def test_it_says_command_day_versions_and_machine():
    made = made_by("make it")
    assert made["command"] == "make it"
    assert date.fromisoformat(made["date"]) <= date.today()
    assert made["python"] == platform.python_version()
    assert made["torch"] == torch.__version__.split("+")[0]
    assert made["platform"].startswith(platform.system())


def test_packages_are_added_by_name_and_without_their_build(monkeypatch):
    assert re.fullmatch(r"[\d.]+", made_by("make it", "numpy")["numpy"])
    monkeypatch.setattr(module, "version", lambda name: "2.14.1+cpu")
    assert made_by("make it", "torchvision")["torchvision"] == "2.14.1"


def test_a_package_that_is_not_installed_is_an_error():
    with pytest.raises(PackageNotFoundError, match="no-such-package"):
        made_by("make it", "no-such-package")


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "made.json"
    write_json(path, {"seeds": {"0": 0.1}})
    assert path.read_text() == '{\n "seeds": {\n  "0": 0.1\n }\n}\n'
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"seeds": object()})
    assert json.loads(path.read_text()) == {"seeds": {"0": 0.1}}


def test_the_record_has_one_writer():
    root = Path(__file__).parents[1]
    paths = [p for f in ("src", "tools", "benchmarks", "book") for p in (root / f).rglob("*.py")]
    day = re.compile(r"date\.today|strftime|torch\.__version__")
    assert [p.name for p in paths if day.search(p.read_text())] == ["provenance.py"]
