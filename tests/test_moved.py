"""Every public name of version 1 works, is the same object, and says where it is now."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import zerocam
from zerocam import audits
from zerocam.moved import MOVED, find

HERE = Path(__file__).parent
# What the modules of version 1.0.0 define at their top, without what begins with an underscore:
# read with `ast` from `git show 123da3d:src/zerocam/NAME.py`; of `__init__` what it imports.
VERSION_1 = {
    module: names.split()
    for module, names in re.findall(r"^(\w+): (.*)$", (HERE / "version_1.txt").read_text(), re.M)
}
OFFERED = {
    *("activations", "audit", "channel_weights", "channels_first", "explain_blank", "grad_cam"),
    *("grad_cam_all", "reparametrize", "signed_map", "suggest_layer", "tap", "tokens_to_map"),
}  # by version 1.0.0 itself
CHANGES = (HERE.parent / "CHANGELOG.md").read_text(encoding="utf-8")
ROWS = [  # of the table for those who import the package: old module, names, where they are now
    (module, re.findall(r"`(\w+)`", names or ""), new)
    for module, names, new in re.findall(
        r"^\| `zerocam\.(\w+)`(?: \(([^)]*)\))? \| (`[\w.]+`|gone:)", CHANGES, re.M
    )
]
GONE = [(module, name) for module, names, new in ROWS if new == "gone:" for name in names]


def test_the_tables_name_modules_and_names_of_version_1():
    assert len(VERSION_1) == 21
    assert sum(map(len, VERSION_1.values())) == 252
    assert {module.removeprefix("zerocam.") for module in MOVED} <= VERSION_1.keys()
    assert {m for m, _ in GONE} <= VERSION_1.keys()
    named = {(m.removeprefix("zerocam."), n) for m, homes in MOVED.items() for n in homes if n}
    assert {(m, n) for m, n in named if n not in VERSION_1[m]} == set()
    assert set(VERSION_1["__init__"]) == OFFERED


@pytest.mark.parametrize(("module", "name"), [(m, n) for m in VERSION_1 for n in VERSION_1[m]])
def test_a_name_of_version_1_is_where_it_was_or_says_where_it_is_or_stands_among_those_gone(
    module, name
):
    old = "zerocam" if module == "__init__" else f"zerocam.{module}"
    homes, there = MOVED.get(old, {}), import_module(old)
    if (module, name) in GONE:
        assert not hasattr(there, name)
    elif new := homes.get(name, homes.get("")):
        with pytest.warns(DeprecationWarning, match=f"{old}.{name} is {new}.{name} since"):
            found = getattr(there, name)
        assert found is getattr(import_module(new), name)
    else:
        assert hasattr(there, name)


def test_what_the_package_itself_offered_is_there_without_a_warning():
    assert set(zerocam.__all__) >= OFFERED
    assert all(callable(getattr(zerocam, name)) for name in OFFERED)


def test_the_changelog_says_where_everything_is():
    said = {f"zerocam.{module}": {} for module, _, _ in ROWS}
    for module, names, new in ROWS:
        if new != "gone:":
            said[f"zerocam.{module}"] |= dict.fromkeys(names or [""], new.strip("`"))
    assert {module: homes for module, homes in said.items() if homes} == MOVED


@pytest.mark.parametrize(("module", "name"), GONE)
def test_what_the_changelog_calls_gone_is_gone(module, name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(import_module(f"zerocam.{module}"), name)


def test_each_name_that_moved_alone_is_found():
    """Those of `MOVED` that are named one by one; the other modules by their public names below."""
    for old, homes in MOVED.items():
        for name, new in homes.items():
            if name:
                with pytest.warns(DeprecationWarning, match=f"{old}.{name} is {new}.{name} since"):
                    assert find(old, name) is getattr(import_module(new), name)


def test_the_function_audit_stays_when_its_old_module_is_imported():
    function = zerocam.audit
    module = import_module("zerocam.audit")
    assert zerocam.audit is function is audits.audit
    with pytest.warns(DeprecationWarning, match="zerocam.audits.METHODS"):
        assert module.METHODS is audits.METHODS
    code = "import zerocam; from zerocam.audit import METHODS; print(type(zerocam.audit).__name__)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "function\n"


def test_what_never_was_there_is_not_found():
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        find("zerocam.photos", "nosuch")
    with pytest.raises(ModuleNotFoundError):
        import_module("zerocam.nosuch")


@pytest.mark.slow
def test_an_old_command_still_runs():
    command = [sys.executable, "-W", "ignore", "-m", "zerocam.experiments", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m zerocam.lab.studies" in done.stdout
