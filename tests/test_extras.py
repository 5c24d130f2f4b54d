"""What is not installed is named, with the extra that brings it."""

import subprocess
import sys

import pytest

from zerocam.extras import Missing, extra


def test_a_missing_package_is_named_with_its_extra():
    code = "import sys; sys.modules['matplotlib'] = None; import zerocam.plots"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = "draw: got no matplotlib, wanted it installed; pip install 'zerocam[draw]'"
    assert done.stderr.rstrip().endswith(said)


def test_who_asks_for_an_import_error_or_for_a_value_error_gets_one():
    for kind in (ImportError, ValueError):
        with pytest.raises(kind, match=r"zerocam\[lab\]"), extra("lab"):
            raise ModuleNotFoundError("no", name="scipy.stats")
    said = pytest.raises(Missing, match=r"got no scipy, .*zerocam\[lab\]")
    with said, extra("draw"), extra("lab"):  # the inner one speaks
        raise ModuleNotFoundError("no", name="scipy.stats")


def test_other_errors_of_an_import_pass():
    with pytest.raises(ImportError, match="cannot import name") as caught, extra("draw"):
        raise ImportError("cannot import name")
    assert not isinstance(caught.value, Missing)


def test_the_package_is_imported_without_its_extras():
    code = "import sys, zerocam; print(*({'matplotlib', 'torchvision', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
