"""The page of claims: ``{ledger}`` draws the table, and every disagreement is a Sphinx warning."""

from pathlib import Path

from docutils import nodes
from mdit_py_plugins.anchors.index import slugify
from sphinx.util import logging

from zerocam.lab import ledger

from .directive import Markdown

SHOWN, FEW = 4, 2  # tests of a claim that are named at once; so few more are no fold


class Table(Markdown):
    """Each claim, its proof, where it ran, the test that guards it, and the verdicts."""

    def lines(self):
        """The table."""
        root = self.root
        self.depends_on(root / "book" / "claims.toml", *(c.path for c in ledger.chapters(root)))
        ran, guarded = ledger.checks(root), ledger.guards(root)
        lines = ["::::{list-table}", ":header-rows: 1", ":widths: 17 50 33", ""]
        lines += ["* - Claim", "  - It says", "  - Proof, run and test"]
        for claim, entry in ledger.claims(root).items():
            paths = {c.number: f"../notebooks/{c.path.name}" for c, _ in ran.get(claim, [])}
            runs = [f"[{int(number)}]({path})" for number, path in paths.items()]
            proof = entry.get("proof", "")
            place = f"{paths.get(entry['chapter'])}#{slugify(proof)}"
            tests = [name.split("::test_")[1].replace("_", " ") for name in guarded.get(claim, [])]
            says = [entry["says"]] + [
                f"*{key.capitalize()}:* {entry[key]}"
                for key in ("note", "question", "answer")
                if key in entry
            ]
            where = [f"*Proof:* [{proof}]({place})" if proof else "*Measured,* not proved"]
            where += [f"*Run in chapter:* {', '.join(runs)}"]
            where += _tests(tests)
            where += [f"*No test:* {entry[key]}" for key in ("unguarded",) if key in entry]
            lines += [f"* - (claim-{claim})=", f"    **{claim}** {entry['verdict']}"]
            for paragraphs in (says, where):
                lines += [f"  - {paragraphs[0]}"]
                for paragraph in paragraphs[1:]:
                    lines += ["", f"    {paragraph}"]
        return [*lines, "::::"]


def _tests(names: list[str]) -> list[str]:
    """The tests in words; where they are many, the rest in a fold, so that no row is a page."""
    if len(names) <= SHOWN + FEW:
        return [f"*Tests:* {'; '.join(names)}"] * bool(names)
    fold = f"<details><summary>{len(names) - SHOWN} more</summary>"
    return [f"*Tests:* {'; '.join(names[:SHOWN])}", fold, "; ".join(names[SHOWN:]), "</details>"]


def _chips(table):
    """The verdict of each row as a chip, by which cards.js filters."""
    for row in table.findall(nodes.row):
        for name in list(row.children[0].findall(nodes.strong)):
            verdict = name.next_node(nodes.Text, descend=False, siblings=True)
            word = verdict.astext().strip()
            name.parent.replace(verdict, nodes.inline("", word, classes=["chip", f"chip-{word}"]))


def _name_places(app, doctree):
    """Let `claims.md#claim-a1` be a place, as a heading is: MyST looks for places in this list."""
    tables = [box for box in doctree.findall(nodes.container) if "ledger" in box["classes"]]
    for table in tables:
        _chips(table)
        slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
        for claim in ledger.claims(Path(app.srcdir)):
            slugs[f"claim-{claim.lower()}"] = (0, f"claim-{claim.lower()}", claim)


def _warn(app):
    for problem in ledger.problems(Path(app.srcdir)):
        logging.getLogger(__name__).warning("%s", problem, type="ledger")


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("ledger", Table)
    app.connect("builder-inited", _warn)
    app.connect("doctree-read", _name_places)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
