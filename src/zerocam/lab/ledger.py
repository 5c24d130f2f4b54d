"""The ledger ties every claim and every number in the prose to a cell that ran.

A cell prints ``name = value``; the prose says ``value<!--name-->``, or ``value<!--02:name-->``
from another page (02: the chapter).  ``python -m zerocam.lab.ledger`` lists what disagrees;
``--write`` fills the values in.  A decimal number in prose without such a mark is an error, unless
it stands in maths, code or a link, or is ``3.11<!--given-->``: a fact of a source, not of a run.

Claims are listed in ``book/claims.toml``.  A notebook shows a claim with `check`; a test guards it
with ``@pytest.mark.claim("A1")``.
"""

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERDICTS = ("shown", "changed", "refuted")
FIELDS = {"says", "chapter", "proof", "verdict", "note", "question", "answer", "unguarded"}
PRINTED = re.compile(r"([A-Za-z_]\w*) = ([^;=\n]+?)[ \t]*(?:;|$)", re.M)
CHECKED = re.compile(r"^✓ ([A-Z]\d+): ([^;\n]*)", re.M)
MARK = re.compile(r"<!--((?:\d\d:)?[A-Za-z_]\w*)-->")
WORD = re.compile(
    r"[^\s<>*_()\[\]|~≈±=×“”–—]*$"
)  # what stands before a mark, up to a space or sign
# A backtick directive that holds prose: its fences go before code is looked for, or the closing one
# would open a block of code.
PROSE_FENCE = re.compile(r"^( *)(```+|~~~+)\{(?!math|code|mermaid)[^\n]*\n([\s\S]*?)^ *\2 *$", re.M)
NOT_PROSE = re.compile(
    r"""^[ ]*(```+|~~~+)(?!\{(?!math|code|mermaid))[\s\S]*?^[ ]*\1   # code, not {note} and its like
    | \$\$[\s\S]*?\$\$ | \$[^$\n]+\$ | \\\([\s\S]*?\\\) | \\\[[\s\S]*?\\\]
    | \\begin\{(\w+\*?)\}[\s\S]*?\\end\{\2\}
    | (?<!`)(`+)(?!`)[^\n]*?(?<!`)\3(?!`)
    | !?\[[^\]\n]*\]\([^)\n]*\) | https?://\S+ | arXiv[: ][\d.]+
    | <!--[\s\S]*?--> | <[a-zA-Z/][^>]*>""",
    re.M | re.X,
)
DECIMAL = re.compile(r"(?<![\w.])(?:\d*\.\d[\d.]*|\d+e[-−+]?\d+)(?!\w)")


def check(claim: str, statement: str, condition: bool, **numbers: object) -> None:
    """Print ``✓ claim: statement; name = value`` if the condition holds, else raise.

    The printed numbers are the ones the prose may use.

    >>> check("A1", "the map sums to the score minus the bias", 2 + 2 == 4, residual="0.00")
    ✓ A1: the map sums to the score minus the bias; residual = 0.00

    Raises:
        AssertionError: the condition is false; the message repeats the claim and the numbers.
    """
    line = "; ".join([f"{claim}: {statement}"] + [f"{k} = {v}" for k, v in numbers.items()])
    if not condition:
        raise AssertionError(f"not so: {line}")
    print("✓", line)


@dataclass(frozen=True)
class Chapter:
    """A notebook as stored: its path, its JSON, and the text its cells printed."""

    path: Path
    notebook: dict[str, Any]

    @property
    def number(self) -> str:
        """The first two characters of the file name."""
        return self.path.name[:2]

    @property
    def text(self) -> str:
        """All stored stream and text outputs, one after the other.

        A busy kernel may store a line in two pieces: streams of a cell are joined as they came.
        """
        pieces = []
        for cell in self.notebook["cells"]:
            for output in cell.get("outputs", []):
                shown = output.get("text", output.get("data", {}).get("text/plain", ""))
                pieces += [*shown, *("" if "text" in output else "\n")]
            pieces.append("\n")
        return "".join(pieces)

    @property
    def headings(self) -> list[str]:
        """The headings of its sections."""
        prose = (c["source"] for c in self.notebook["cells"] if c["cell_type"] == "markdown")
        return re.findall(r"^##+ (.+)", "\n".join("".join(text) for text in prose), re.M)

    @property
    def printed(self) -> dict[str, list[str]]:
        """Each printed name with its distinct values."""
        found: dict[str, list[str]] = {}
        for name, value in PRINTED.findall(self.text):
            if value not in found.setdefault(name, []):
                found[name].append(value)
        return found


def chapters(root: Path) -> list[Chapter]:
    """The notebooks of the book, in reading order."""
    paths = sorted((root / "notebooks").glob("[0-9][0-9]-*.ipynb"))
    return [Chapter(path, json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def bare_decimals(text: str) -> list[str]:
    """The decimal numbers in prose that no mark ties to a source.

    >>> bare_decimals("It is 0.12<!--residual-->, not 0.13; see `0.14`, $0.15$.")
    ['0.13']
    """
    while PROSE_FENCE.search(text):  # one may hold another
        text = PROSE_FENCE.sub(r"\3", text)
    pieces = MARK.split(text)[::2]
    pieces = [WORD.sub(" ", piece) for piece in pieces[:-1]] + pieces[-1:]
    return [n.rstrip(".") for n in DECIMAL.findall(NOT_PROSE.sub(" ", " ".join(pieces)))]


def fill(text: str, values: dict[str, list[str]]) -> tuple[str, list[str]]:
    """Put the printed values before their marks: the new text, and what was wrong with the old.

    >>> fill("It is 0.1<!--residual-->.", {"residual": ["0.12"]})
    ('It is 0.12<!--residual-->.', ["residual: the prose says '0.1', the cell printed '0.12'"])
    """
    wrong: list[str] = []
    done = ""
    for i, piece in enumerate(MARK.split(text)):
        if i % 2 == 0:
            done += piece
            continue
        name, (want, *others) = piece, values.get(piece, [""])
        plain = done.replace("−", "-")
        if name == "given" or (want and re.search(rf"(?<![\w.]){re.escape(want)}$", plain)):
            if others:
                wrong.append(f"{name}: printed with several values, {want} and {', '.join(others)}")
        elif not want:
            wrong.append(f"{name}: no cell prints '{name.split(':')[-1]} = ...'")
        else:
            *start, last = want.rsplit(" ", 1)  # "below 1e-6": only its last word can change
            got = (WORD.search(done) or [""])[0]
            wrong.append(f"{name}: the prose says {got!r}, the cell printed {want!r}")
            if not start or done[: len(done) - len(got)].endswith(f"{start[0]} "):
                done = done[: len(done) - len(got)] + re.sub(r"^-(?=[\d.])", "−", last)
        done += f"<!--{name}-->"
    return done, wrong


def number_problems(root: Path, write: bool = False) -> list[str]:
    """Where the prose and the stored outputs disagree; with ``write``, after filling in."""
    book = chapters(root)
    everywhere = {f"{c.number}:{k}": v for c in book for k, v in c.printed.items()}
    found: list[str] = []

    def look(where: str, text: str, values: dict[str, list[str]]) -> str:
        new, wrong = fill(text, values)
        found.extend(f"{where}: {w}" for w in (fill(new, values)[1] if write else wrong))
        found.extend(
            f"{where}: {n} is typed by hand; print it in a cell and mark it {n}<!--name-->, "
            f"or {n}<!--given--> if no run makes it"
            for n in bare_decimals(new)
        )
        return new

    for chapter in book:
        here = everywhere | chapter.printed
        changed = False
        for cell in chapter.notebook["cells"]:
            if cell["cell_type"] == "markdown":
                old = "".join(cell["source"])
                new = look(str(chapter.path.relative_to(root)), old, here)
                if new != old:
                    cell["source"], changed = new.splitlines(keepends=True), True
        if write and changed:
            text = json.dumps(chapter.notebook, indent=1, ensure_ascii=False) + "\n"
            chapter.path.write_text(text, encoding="utf-8")
    pages = sorted((root / "book").glob("*.md"))
    for page in [root / "README.md", *pages, root / "book" / "claims.toml"]:
        if page.exists():
            old = page.read_text(encoding="utf-8")
            new = look(str(page.relative_to(root)), old, everywhere)
            if write and new != old:
                page.write_text(new, encoding="utf-8")
    return found


def claims(root: Path) -> dict[str, dict[str, str]]:
    """The registry, ``book/claims.toml``: id -> its fields."""
    path = root / "book" / "claims.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def checks(root: Path) -> dict[str, list[tuple[Chapter, str]]]:
    """Claim id -> the (chapter, statement) of each check that ran."""
    found: dict[str, list[tuple[Chapter, str]]] = {}
    for chapter in chapters(root):
        for claim, statement in CHECKED.findall(chapter.text):
            found.setdefault(claim, []).append((chapter, statement.strip()))
    return found


def guards(root: Path) -> dict[str, list[str]]:
    """Claim id -> the tests marked ``@pytest.mark.claim(id)``, as ``test_cam.py::test_name``."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, claim in _marks(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(claim, []).append(f"{path.name}::{name}")
    return found


def _marks(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("mark.claim"):
                yield from ((node.name, ast.literal_eval(arg)) for arg in call.args)


def claim_problems(root: Path) -> list[str]:
    """Where the registry, the checks that ran and the tests disagree."""
    registry, ran, guarded = claims(root), checks(root), guards(root)
    written = {chapter.number: chapter for chapter in chapters(root)}
    found = [
        f"book/claims.toml: {claim} is not registered, but {who}"
        for uses in (
            {c: f"{v[0][0].path.name} checks it" for c, v in ran.items()},
            {c: f"{v[0]} guards it" for c, v in guarded.items()},
        )
        for claim, who in uses.items()
        if claim not in registry
    ]
    for claim, entry in registry.items():
        if unknown := (entry.keys() - FIELDS) | ({"says", "chapter", "verdict"} - entry.keys()):
            found.append(f"book/claims.toml: {claim}: missing or unknown field: {sorted(unknown)}")
        elif entry["verdict"] not in VERDICTS:
            found.append(
                f"book/claims.toml: {claim}: verdict {entry['verdict']!r}, not of {VERDICTS}"
            )
        elif entry["chapter"] in written:
            if not any(c.number == entry["chapter"] for c, _ in ran.get(claim, [])):
                found.append(
                    f"book/claims.toml: {claim}: chapter {entry['chapter']} never checks it"
                )
            if entry.get("proof", "") not in ["", *written[entry["chapter"]].headings]:
                found.append(f"book/claims.toml: {claim}: no section is called {entry['proof']!r}")
            if (claim in guarded) == ("unguarded" in entry):
                found.append(
                    f'book/claims.toml: {claim}: name a test, or say why not (unguarded = "")'
                )
    return found


def problems(root: Path, write: bool = False) -> list[str]:
    """Everything in which prose, outputs, registry and tests disagree; empty when all is well."""
    return number_problems(root, write) + claim_problems(root)


def main(argv: list[str] | None = None) -> int:
    """Print the problems; 1 if there are any."""
    parser = argparse.ArgumentParser("python -m zerocam.lab.ledger", description=problems.__doc__)
    parser.add_argument("--write", action="store_true", help="fill the printed values into prose")
    parser.add_argument("root", nargs="?", type=Path, default=Path(), help="the repository")
    options = parser.parse_args(argv)
    found = problems(options.root, options.write)
    print("\n".join(found) or "prose, outputs, claims and tests agree")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
