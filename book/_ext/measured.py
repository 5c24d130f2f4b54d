"""``{measured} NAME`` draws book/measured/NAME.json: rows of a measurement, where it was made."""

import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList


class Measured(Directive):
    """A table that nobody types."""

    required_arguments = 1

    def run(self):
        """Write the table as Markdown and parse it."""
        root = Path(self.state.document.settings.env.app.srcdir)
        path = root / "book" / "measured" / f"{self.arguments[0]}.json"
        self.state.document.settings.env.note_dependency(str(path))
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows, made = stored["rows"], stored["made"]
        lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        lines += ["", f"Measured by `{made['command']}`: {made['machine']}; {versions}."]
        box = nodes.container()
        self.state.nested_parse(StringList(lines, path.name), 0, box)
        return [box]


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
