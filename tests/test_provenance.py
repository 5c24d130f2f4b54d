"""The record of how a number was made."""

import platform
import re
from datetime import date
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from zerocam import provenance as module
from zerocam.provenance import provenance


def test_it_says_command_day_versions_and_machine():
    made = provenance("make it")
    assert made["command"] == "make it"
    assert date.fromisoformat(made["date"]) <= date.today()
    assert made["python"] == platform.python_version()
    assert made["torch"] == torch.__version__.split("+")[0]
    assert made["platform"].startswith(platform.system())


def test_packages_are_added_by_name_and_without_their_build(monkeypatch):
    assert re.fullmatch(r"[\d.]+", provenance("make it", "numpy")["numpy"])
    monkeypatch.setattr(module, "version", lambda name: "2.14.1+cpu")
    assert provenance("make it", "torchvision")["torchvision"] == "2.14.1"


def test_a_package_that_is_not_installed_is_an_error():
    with pytest.raises(PackageNotFoundError, match="no-such-package"):
        provenance("make it", "no-such-package")
