"""The page of the package's names: every public one stands there, and docstrings can be drawn."""

import importlib
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import zerocam
from book._ext.zerobook import reference
from zerocam import methods

PAGE = (Path(__file__).parents[1] / "book" / "api.md").read_text(encoding="utf-8")
WHOLE = re.findall(r"automodule:: (\S+)\n   :members:", PAGE)
SINGLE = re.findall(r"autofunction:: (\S+)", PAGE)


def public(module) -> list[str]:
    """The functions and classes that a module defines for others."""
    defined = [
        name
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]
    return [name for name in defined if not name.startswith("_")]


def test_every_name_of_the_package_stands_on_the_page():
    shown = {name.rpartition(".")[2] for name in SINGLE}
    for module in WHOLE:
        shown |= set(public(importlib.import_module(module)))
    assert set(zerocam.__all__) - shown == set()
    assert len(WHOLE) + len(SINGLE) == len(set(WHOLE) | set(SINGLE))


def test_every_method_stands_on_the_page_by_its_own_name():
    """They are values, which `:members:` passes over."""
    known = {name for name, value in vars(methods).items() if isinstance(value, methods.Method)}
    shown = {name.removeprefix("zerocam.methods.") for name in SINGLE}
    assert known - shown == {"GRAD_CAM"}  # the function grad_cam stands there


@pytest.mark.parametrize("module", WHOLE)
def test_a_name_that_is_shown_says_what_it_is_with_an_example(module):
    module = importlib.import_module(module)
    said = {name: inspect.getdoc(getattr(module, name)) or "" for name in public(module)}
    assert [name for name, text in said.items() if ">>> " not in text] == []


SHOWN = re.findall(r"automodule:: (\S+)", PAGE)


def flat(text: str) -> list[str]:
    """The lines that lose their columns when drawn as prose, or show a mark of emphasis."""
    lines = [line for line in text.splitlines() if not line.startswith((" ", ">>>", "..."))]
    lines = [line for line in lines if not reference.TERM.fullmatch(line)]
    return [li for li in lines if re.search(r"\S {3,}\S", li) or re.search(r"\*\w[\w ]*\*", li)]


def test_a_line_with_columns_or_a_mark_is_seen():
    assert flat('x   images\n    y   scores\nAsk *where*.\n"a"   what') == [
        "x   images",
        "Ask *where*.",
    ]


@pytest.mark.parametrize("module", SHOWN)
def test_what_has_columns_is_a_block_and_nothing_is_marked(module):
    module = importlib.import_module(module)
    values = [module, *(getattr(module, name) for name in public(module))]
    said = [re.split(r"(?m)^>>> ", inspect.getdoc(value) or "")[0] for value in values]
    assert [line for text in said for line in flat(text)] == []


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_name_has_an_example(name):
    module, _, name = name.rpartition(".")
    assert ">>> " in inspect.getdoc(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ("alpha_k of `grad_cam`", "alpha_k of ``grad_cam``"),
        ("``A -> r``, and |M| > 0", r"``A -> r``, and \|M\| > 0"),
        ("a_ is no link, 2 * 3", r"a\_ is no link, 2 \* 3"),
    ],
)
def test_a_line_of_prose_is_drawn_as_it_stands(line, drawn):
    assert reference.prose(line) == drawn


def test_a_table_keeps_its_columns_and_an_example_its_lines():
    lines = ["Words.", "", "    A   (N, K)", "    G   (N, K)", "", "More.", "", ">>> 1 + 1", "2"]
    assert reference.drawn(lines) == [
        *(
            "Words.",
            "",
            "",
            ".. code-block:: text",
            "",
            "    A   (N, K)",
            "    G   (N, K)",
            "",
            "",
            "More.",
            "",
        ),
        *(">>> 1 + 1", "2"),
    ]


def test_words_with_their_meaning_beside_them_are_definitions():
    lines = ["Words.", "", '"a b"   means *this*,', "        and that", '"c"     `no`', "", "More."]
    assert reference.drawn(lines) == [
        *("Words.", ""),
        *('"a b"', r"    means \*this\*,", "    and that", '"c"', "    ``no``"),
        *("", "More."),
    ]
    said = reference.drawn((inspect.getdoc(zerocam.explain_blank) or "").splitlines())
    assert ".. code-block:: text" not in said
    assert '"not blank"' in said


def test_a_field_of_which_python_alone_says_something_is_left_out():
    class Pair(NamedTuple):
        first: int

    for value, left in ((Pair.first, True), (len, None)):
        assert reference._skip(None, "attribute", "first", value, False, {}) is left
