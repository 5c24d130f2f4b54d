"""``{measured} NAME`` draws book/measured/NAME.json: rows of a measurement, where it was made."""

import json

from directive import Markdown


class Measured(Markdown):
    """A table that nobody types."""

    required_arguments = 1

    def lines(self, root):
        """The table, and how it was made."""
        path = root / "book" / "measured" / f"{self.arguments[0]}.json"
        self.depends_on(path)
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows, made = stored["rows"], stored["made"]
        lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        return [*lines, "", f"Measured by `{made['command']}`: {made['machine']}; {versions}."]


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
