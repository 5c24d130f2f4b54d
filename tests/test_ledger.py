"""The ledger: numbers in prose, claims, and what it refuses."""

import json
from pathlib import Path

import pytest

from book._ext.zerobook import ledger_table
from zerocam.lab import ledger


def code(*lines: str) -> dict:
    text = "".join(f"{line}\n" for line in lines)
    return {"cell_type": "code", "outputs": [{"output_type": "stream", "text": [text]}]}


def prose(text: str) -> dict:
    return {"cell_type": "markdown", "source": text.splitlines(keepends=True)}


@pytest.fixture
def book(tmp_path: Path):
    """Write a book of one chapter, one page, one claim and one test; return its root."""

    def write(*cells: dict, page: str = "", registry: str | None = None, tests: str | None = None):
        for folder in ("notebooks", "book", "tests"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "notebooks" / "02-first.ipynb").write_text(json.dumps({"cells": list(cells)}))
        (tmp_path / "book" / "page.md").write_text(page)
        default = '[A1]\nsays = "It adds up."\nchapter = "02"\nverdict = "shown"\n'
        (tmp_path / "book" / "claims.toml").write_text(default if registry is None else registry)
        default = 'import pytest\n\n\n@pytest.mark.claim("A1")\ndef test_sum():\n    pass\n'
        (tmp_path / "tests" / "test_x.py").write_text(default if tests is None else tests)
        return tmp_path

    return write


A1 = code("✓ A1: it adds up; residual = 0.12")


# Numbers, by hand


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("residual = 0.12", {"residual": ["0.12"]}),
        ("✓ A1: it adds up; a = 1; b = below 1e-6", {"a": ["1"], "b": ["below 1e-6"]}),
        ("a = 1\na = 1\na = 2", {"a": ["1", "2"]}),
        ("x == 3, y=4", {}),
    ],
)
def test_a_printed_line_names_its_values(text, values):
    notebook = {"cells": [code(*text.split("\n"))]}
    assert ledger.Chapter(Path("02-x.ipynb"), notebook).printed == values


@pytest.mark.parametrize(
    "text",
    ["0.12<!--r-->", "(0.12<!--r-->)", "**0.12<!--r-->**", "≈0.12<!--r--> %", "a 0.12<!--r-->–0.1"],
)
def test_a_number_that_agrees_is_left_alone(text):
    assert ledger.fill(text, {"r": ["0.12"]}) == (text, [])


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("is 0.1<!--r-->", "0.12", "is 0.12<!--r-->"),
        ("is 10.12<!--r-->", "0.12", "is 0.12<!--r-->"),
        ("is <!--r-->", "0.12", "is 0.12<!--r-->"),
        ("(-3<!--r-->)", "4", "(4<!--r-->)"),
        ("is -3<!--r-->", "-4", "is −4<!--r-->"),
        ("is below 1e-6<!--r-->", "below 1e-5", "is below 1e-5<!--r-->"),
        ("is 7<!--r-->", "below 1e-5", "is 7<!--r-->"),
    ],
)
def test_a_number_that_differs_is_reported_and_filled(old, value, new):
    text, wrong = ledger.fill(old, {"r": [value]})
    assert text == new
    assert len(wrong) == 1
    assert f"the cell printed {value!r}" in wrong[0]


def test_a_typographic_minus_is_a_minus():
    assert ledger.fill("−0.12<!--r-->", {"r": ["-0.12"]})[1] == []
    assert ledger.fill("0.12<!--r-->", {"r": ["-0.12"]})[1] != []


def test_a_mark_without_a_printed_value_or_with_two_is_reported():
    assert ledger.fill("1<!--r-->", {})[1] == ["r: no cell prints 'r = ...'"]
    assert ledger.fill("1<!--r-->", {"r": ["1", "2"]})[1] != []
    assert ledger.fill("3.11<!--given-->", {}) == ("3.11<!--given-->", [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.5 of it, .25 and 3e-7.", ["0.5", ".25", "3e-7"]),
        ("0.5<!--r--> and 0.25<!--given-->", []),
        ("`0.5` and ``a ` 0.5`` and $0.5$ and $$\n0.5\n$$ and \\(0.5\\)", []),
        ("```python\n0.5\n```\n\n```{math}\n0.5\n```\n", []),
        ("```{note}\n0.5\n```\n", ["0.5"]),
        ("```{note}\n```\n\n0.75 is not code\n\n```python\n0.5\n```\n", ["0.75"]),
        ("````{tip}\n```{note}\n0.25\n```\n```text\n0.5\n```\n````\n0.75", ["0.25", "0.75"]),
        (":::{tip}\n0.5\n:::\n", ["0.5"]),
        ("[0.5](x.md) and arXiv 1711.00867 and <img width='0.5'> and <!-- 0.5 -->", []),
        ("\\begin{align}\n0.5\n\\end{align} then 0.75", ["0.75"]),
        ("1,797 digits, 20 px, v2, conv5.", []),
    ],
)
def test_bare_decimals_are_found_in_prose_only(text, found):
    assert ledger.bare_decimals(text) == found


# Numbers, in a book


def test_a_book_that_agrees_has_no_problems(book):
    root = book(A1, prose("It is 0.12<!--residual-->."), page="So 0.12<!--02:residual-->.")
    assert ledger.problems(root) == []


def test_write_fills_notebook_and_page_and_nothing_else(book):
    root = book(A1, prose("It is 0.1<!--residual-->."), page="So 3<!--02:residual-->.\n")
    assert len(ledger.problems(root)) == 2
    assert ledger.main([str(root)]) == 1
    assert ledger.main([str(root), "--write"]) == 0
    cells = json.loads((root / "notebooks" / "02-first.ipynb").read_text())["cells"]
    assert cells == [A1, prose("It is 0.12<!--residual-->.")]
    assert (root / "book" / "page.md").read_text() == "So 0.12<!--02:residual-->.\n"


def test_a_page_must_name_the_chapter_and_may_not_type_a_number(book):
    root = book(A1, prose("It is 0.3."), page="So 0.12<!--residual-->.")
    here, page = ledger.problems(root)
    assert "02-first.ipynb: 0.3 is typed by hand" in here
    assert "page.md: residual: no cell prints" in page


# Claims


def test_claims_know_where_they_ran_and_what_guards_them(book):
    root = book(A1)
    ((chapter, statement),) = ledger.checks(root)["A1"]
    assert (chapter.number, statement) == ("02", "it adds up")
    assert ledger.guards(root) == {"A1": ["test_x.py::test_sum"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"registry": ""}, "A1 is not registered, but 02-first.ipynb checks it"),
        ({"registry": ""}, "A1 is not registered, but test_x.py::test_sum guards it"),
        ({"tests": ""}, "A1: name a test"),
        ({"registry": '[A1]\nsays = "x"\nchapter = "02"\n'}, r"unknown field: \['verdict'\]"),
        (
            {"registry": '[A1]\nsays = "x"\nchapter = "02"\nverdict = "so"\n'},
            "verdict 'so', not of",
        ),
        (
            {"registry": '[A1]\nsays = ""\nchapter = "02"\nverdict = "shown"\nproof = "Why?"\n'},
            "no section is called 'Why\\?'",
        ),
    ],
)
def test_claims_that_do_not_fit_are_reported(book, change, message):
    found = "\n".join(ledger.problems(book(A1, **change)))
    with pytest.raises(ValueError, match=message):
        raise ValueError(found)


def test_a_claim_without_a_check_is_reported_once_its_chapter_exists(book):
    root = book(code("nothing"))
    assert ledger.problems(root) == ["book/claims.toml: A1: chapter 02 never checks it"]
    (root / "notebooks" / "02-first.ipynb").unlink()
    assert ledger.problems(root) == []


def test_a_proof_is_a_section_of_the_chapter(book):
    registry = '[A1]\nsays = ""\nchapter = "02"\nverdict = "shown"\nproof = "Why?"\n'
    assert ledger.problems(book(A1, prose("# Title\n\n## Why?\n"), registry=registry)) == []


def test_a_check_in_another_chapter_does_not_count(book):
    root = book(code("nothing"))
    other = {"cells": [A1]}
    (root / "notebooks" / "03-second.ipynb").write_text(json.dumps(other))
    assert ledger.problems(root) == ["book/claims.toml: A1: chapter 02 never checks it"]


# Refusals


def test_check_refuses_a_false_condition():
    with pytest.raises(AssertionError, match="not so: A1: it adds up; residual = 3"):
        ledger.check("A1", "it adds up", False, residual=3)


def test_many_tests_of_a_claim_are_folded_and_none_is_lost():
    names = [f"test {n}" for n in range(9)]
    for few in (0, 1, 6):
        whole = ledger_table._tests(names[:few])
        assert whole == [f"*Tests:* {'; '.join(names[:few])}"] * bool(few)
    first, fold, rest, end = ledger_table._tests(names)
    assert f"{first}; {rest}" == f"*Tests:* {'; '.join(names)}"
    assert "5 more" in fold
    assert end == "</details>"
