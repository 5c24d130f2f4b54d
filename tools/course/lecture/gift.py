"""The questions of the votes as a GIFT file, which Moodle and others import.

The slides' votes, and those of the guide that name four answers in one line:
``**Ask:** question (a) one, **(b)** the right one, ... *Expected:* ...``
"""

import re

from ..notebooks import ROOT
from .talk import slides

ASK = re.compile(r"\*\*Ask:\*\* (.+?) (?=(?:\*\*)?\(a\))(.+?)\s*\*Expected:\*")


def escaped(text: str) -> str:
    """Text in which nothing is a sign of the format."""
    return re.sub(r"([\\~=#{}:])", r"\\\1", " ".join(text.split()))


def asked(guide: str) -> list[tuple[str, list[tuple[str, bool]]]]:
    """The questions of the guide: the question; each answer, and whether it is right."""
    found = []
    for question, answers in ASK.findall(guide):
        parts = re.split(r"(\*\*)?\([a-d]\)(?:\*\*)?", answers)
        texts = [part.strip(" .,") for part in parts[2::2]]
        rights = [mark is not None for mark in parts[1::2]]
        found.append((question, list(zip(texts, rights, strict=True))))
    return found


def questions() -> list[tuple[str, list[tuple[str, bool]]]]:
    """All of them: those of the slides, then those of the guide."""
    votes = [
        (s["title"], [(o, n == s["right"]) for n, o in enumerate(s["options"], 1)])
        for s in slides()
        if "options" in s
    ]
    return votes + asked((ROOT / "book" / "teach.md").read_text(encoding="utf-8"))


def gift() -> str:
    """The file: a question each, the right answer after =, the wrong ones after ~."""
    blocks = []
    for n, (question, answers) in enumerate(questions(), 1):
        lines = "".join(f"\t{'=' if right else '~'}{escaped(text)}\n" for text, right in answers)
        blocks.append(f"::Vote {n}::[markdown]{escaped(question)} {{\n{lines}}}\n")
    return "\n".join(blocks)
