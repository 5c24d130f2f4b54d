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

PEERS = ["captum_method", "pytorch_grad_cam_method", "torchcam_method"]
# Public names of version 1.0.0 by module, written down when they moved.
VERSION_1 = {
    "audit": ["METHODS", "AuditReport", "audit", "compare", "cut", "signed", *PEERS],
    "cam": ["Tap", "activations", "channel_axis", "channels_first", "find_layer", "tokens_to_map"],
    "checks": ["EXERCISES", "attempt"],
    "encodings": ["decode", "encode", "loss_for", "minus_one_hot", "one_hot", "scaled"],
    "experiments": ["RESULTS", "STUDIES", "Result", "load", "run", "study"],
    "explorer": ["Original", "build", "data", "live", "originals", "show"],
    "heads": ["WATCHED", "Step", "pull_back", "short_way"],
    "ledger": ["check", "problems"],
    "models": [
        *("SceneNet", "scene_net", "suggest_layer", "named_layer", "efficientnet_lite0"),
        *("imagenet_input", "imagenet_class", "imagenet_classes", "torchvision_net", "MEAN"),
    ],
    "photos": ["CREDITS", "collage", "pairs", "photograph"],
    "scenes": ["digit_scenes", "digits", "scene"],
    "symmetries": ["BorderWarning", "last_linear", "reparametrize", "rounding", "softmax_rows"],
    "training": ["accuracy", "fit", "mirrored", "ship", "train_scene_net"],
}
OFFERED = {
    *("activations", "audit", "channel_weights", "channels_first", "explain_blank", "grad_cam"),
    *("grad_cam_all", "reparametrize", "signed_map", "suggest_layer", "tap", "tokens_to_map"),
}  # by version 1.0.0 itself
CHANGES = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
ROWS = [  # of the table for those who import the package: old module, names, where they are now
    (module, re.findall(r"`(\w+)`", names or ""), new)
    for module, names, new in re.findall(
        r"^\| `zerocam\.(\w+)`(?: \(([^)]*)\))? \| (`[\w.]+`|gone:)", CHANGES, re.M
    )
]
GONE = [(module, name) for module, names, new in ROWS if new == "gone:" for name in names]


def test_the_table_of_version_1_and_that_of_the_package_name_the_same_modules():
    assert {f"zerocam.{name}" for name in VERSION_1} == set(MOVED)


@pytest.mark.parametrize(("module", "name"), [(m, n) for m in VERSION_1 for n in VERSION_1[m]])
def test_a_name_of_version_1_is_found_and_says_where_it_is(module, name):
    homes = MOVED[f"zerocam.{module}"]
    new = homes.get(name, homes.get(""))
    with pytest.warns(DeprecationWarning, match=f"zerocam.{module}.{name} is {new}.{name} since"):
        found = getattr(import_module(f"zerocam.{module}"), name)
    assert found is getattr(import_module(new), name)


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
