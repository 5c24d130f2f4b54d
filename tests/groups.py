"""Tests of one `xdist_group` run on one worker, also with pytest 9.2."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Put the group of a test into its node id, where `--dist loadgroup` looks for it.

    pytest-xdist does so itself, but up to 3.8 in a way that pytest 9.2 no longer takes notice of:
    the tests of a group then run on any worker (pytest-xdist, issue 1386).
    """
    for item in items if getattr(config.option, "loadgroup", False) else ():
        mark = item.get_closest_marker("xdist_group")
        if mark and not item.nodeid.endswith(f"@{mark.args[0]}"):
            item._id = type(item.id).parse(f"{item.nodeid}@{mark.args[0]}")
