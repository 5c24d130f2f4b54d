"""The paper on the book: it can be drawn, cites what the book cites, and invents no person."""

import re
from pathlib import Path

import pytest
import yaml

from tools import paper
from zerocam.lab import ledger

ROOT = Path(__file__).parents[1]
TEXT = paper.PAPER.read_text(encoding="utf-8").split("---\n", 2)[2]
SECTIONS = [
    *("Summary", "Statement of need", "Story", "Learning objectives", "Content"),
    *("Instructional design", "Experience of use", "State of the field", "Availability"),
    *("AI usage statement", "Acknowledgements", "References"),
]


def test_it_has_the_parts_that_the_journal_asks_for():
    front = paper.front()
    assert front["title"].startswith("What Does Zero Mean?")
    assert front["bibliography"] == "paper.bib"
    assert len(front["tags"]) >= 3
    assert re.fullmatch(r"\d+ [A-Z][a-z]+ 20\d\d", front["date"])
    assert re.findall(r"^# (.*)$", TEXT, re.M) == SECTIONS
    assert 700 <= len(TEXT.split()) <= 1200


def test_it_names_the_authors_of_the_citation_and_no_institution_for_them():
    """Nobody is invented: who submits names themselves, there and in CITATION.cff."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["authors"]
    names = [
        author.get("name") or f"{author['given-names']} {author['family-names']}"
        for author in cited
    ]
    front = paper.front()
    assert [author["name"] for author in front["authors"]] == names
    places = {place["index"]: place["name"] for place in front["affiliations"]}
    for author in front["authors"]:
        unnamed = author["name"] == "The What Does Zero Mean? authors"
        assert (places[author["affiliation"]] == "to be named by those who submit") == unnamed


def test_its_numbers_are_those_of_the_book():
    chapters = len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    assert re.findall(r"(\d+) chapters", TEXT) == [str(chapters)]
    assert re.findall(r"(\d+) registered claims", TEXT) == [str(len(ledger.claims(ROOT)))]
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert f"This paper describes version {version}." in TEXT


def test_its_references_are_entries_of_the_book_word_for_word():
    entries = re.findall(r"^@\w+\{.*?^\}\n", (ROOT / "paper/paper.bib").read_text(), re.M | re.S)
    book = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    assert all(entry in book for entry in entries)
    keys = [re.match(r"@\w+\{([^,]+),", entry).group(1) for entry in entries]
    assert sorted(keys) == sorted(set(re.findall(r"@([\w]+)", TEXT)))


def test_it_is_drawn_with_every_author_and_citation():
    html = paper.page()
    assert "The What Does Zero Mean? authors" in html
    assert "<math" in html
    assert html.count('class="csl-entry"') == len(set(re.findall(r"@([\w]+)", TEXT)))


def test_a_citation_without_its_reference_is_an_error(tmp_path):
    for name in ("paper.md", "paper.bib"):
        text = (paper.PAPER.parent / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("[@zhou2016cam]", "[@nobody2016]"))
    with pytest.raises(RuntimeError, match="nobody2016"):
        paper.page(tmp_path / "paper.md")
