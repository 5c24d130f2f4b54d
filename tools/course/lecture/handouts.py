"""What is handed out on paper, from the slides and the chapters: paper/*.md, its holes filled.

A hole is {{questions}} of the slides, {{checklist}} of chapter 11, or the first formula under a
heading of a chapter, as in {{02: What the map adds up to}}.
"""

import re
from collections.abc import Iterable

from ..notebooks import chapters, text
from .page import paper
from .talk import HERE, rendered, slides

PAPER = HERE / "paper"
FEEDBACK = PAPER / "feedback.md"
HOLE = re.compile(r"\{\{(?:(\d\d): )?([^}]*)\}\}")


def sections(number: str) -> dict[str, str]:
    """Heading -> prose of a chapter."""
    (notebook,) = (nb for name, nb in chapters().items() if name.startswith(number))
    prose = "\n\n".join(text(c) for c in notebook["cells"] if c["cell_type"] == "markdown")
    parts = re.split(r"(?m)^#+ (.*)$", prose)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _within(number: str, start: str, pattern: str) -> str:
    """What matches first under the heading that starts so; a ValueError where nothing does."""
    found = (body for heading, body in sections(number).items() if heading.startswith(start))
    if not (match := re.search(pattern, next(found, ""), re.S | re.M)):
        raise ValueError(
            f"handouts: chapter {number} has nothing of this kind under {start!r}; "
            "name the heading as it stands in the chapter"
        )
    return match[0]


def filled(markdown: str) -> str:
    """The text of a handout, its holes filled."""

    def fill(hole: re.Match) -> str:
        number, name = hole.groups()
        if number:
            return _within(number, name.rstrip("?"), r"\$\$.*?\$\$")
        if name == "questions":
            return slides()[1]["text"]
        if name == "checklist":
            items = _within("11", "A checklist", r"^1\. (?:.+\n?)+")
            return re.sub(r" \(chapters? [^)]*\)", "", items)
        raise ValueError(f"handouts: no such hole as {hole[0]}; handouts.py names those there are")

    return HOLE.sub(fill, markdown)


def handouts(names: Iterable[str] = ()) -> dict[str, str]:
    """Name -> page to be printed."""
    wanted = [p for p in sorted(PAPER.glob("*.md")) if not names or p.stem in names]
    return {p.stem: paper(rendered(filled(p.read_text(encoding="utf-8"))), p.stem) for p in wanted}
