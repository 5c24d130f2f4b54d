"""``{measured} NAME`` draws book/measured/NAME.json: rows of a measurement, where it was made."""

import json

from .directive import Markdown, table


class Measured(Markdown):
    """A table that nobody types."""

    required_arguments = 1

    def lines(self):
        """The table, and how it was made."""
        path = self.root / "book" / "measured" / f"{self.arguments[0]}.json"
        self.depends_on(path)
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows, made = stored["rows"], stored["made"]
        lines = table([list(rows[0]), *([str(value) for value in row.values()] for row in rows)])
        day = f" on {made['date']}" if "date" in made else ""
        return [
            *lines,
            "",
            f"Measured by `{made['command']}`{day}: {made['platform']}, {made['cores']} processor "
            f"cores, {made['memory']}; Python {made['python']}, PyTorch {made['torch']}.",
        ]


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
