"""The page of claims: ``{ledger}`` draws the table, and every disagreement is a Sphinx warning."""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util import logging

from zerocam import ledger


class Table(Directive):
    """Each claim, where it ran, the test that guards it, and the verdict."""

    def run(self):
        """Write the table as Markdown and parse it."""
        root = Path(self.state.document.settings.env.app.srcdir)
        ran, guarded = ledger.checks(root), ledger.guards(root)
        lines = ["::::{list-table}", ":header-rows: 1", ":widths: 6 50 22 22", ""]
        lines += ["* - Claim", "  - It says", "  - Where it ran", "  - Verdict and guard"]
        for claim, entry in ledger.claims(root).items():
            lines += [f"* - (claim-{claim})=", f"    **{claim}**"]
            for i, key in enumerate(("says", "note", "question", "answer")):
                if text := entry.get(key):
                    label = "" if key == "says" else f"*{key.capitalize()}:* "
                    lines += [f"{'    ' if i else '  - '}{label}{text}", ""]
            places = {
                f"{{doc}}`/notebooks/{chapter.path.stem}`": None
                for chapter, _ in ran.get(claim, [])
            }
            lines += [f"  - {', '.join(places) or 'chapter ' + entry['chapter'] + ', to come'}"]
            tests = [f"`{test.split('::')[1]}`" for test in guarded.get(claim, [])]
            guard = ", ".join(tests) or entry.get("unguarded", "no test yet")
            lines += [f"  - **{entry['verdict']}**", "", f"    {guard}"]
        box = nodes.container(classes=["ledger"])
        self.state.nested_parse(StringList([*lines, "::::"], "ledger"), 0, box)
        return box.children


def _warn(app):
    for problem in ledger.problems(Path(app.srcdir)):
        logging.getLogger(__name__).warning("%s", problem, type="ledger")


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("ledger", Table)
    app.connect("builder-inited", _warn)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
