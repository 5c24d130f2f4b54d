"""``{measured} NAME`` draws book/measured/NAME.json: rows of a measurement, where it was made.

What a row says under `why` stands in a list below the table: it is too long for a column.
"""

import json
import re
from pathlib import Path

from .directive import Markdown, table


def _set(value: str) -> str:
    r"""14 x 14 and 50% as the book sets them, in one line; names of code as code.

    >>> print(ascii(_set("14 x 14, 50%")))
    '14\xa0\xd7\xa014, 50\xa0%'
    >>> _set("blocks.5.0.se"), _set("0.5")
    ('`blocks.5.0.se`', '0.5')
    """
    value = re.sub(r"(?<=\d) x (?=\d)", "\u00a0×\u00a0", value)
    value = re.sub(r"(?<=\d)%", "\u00a0%", value)
    name = re.fullmatch(r"[A-Za-z]\w*([.:]\w+)+", value)  # and no address
    return f"`{value}`" if name else value


def file_of(root: Path, name: str) -> Path:
    """Where a measurement is stored."""
    return root / "book" / "measured" / f"{name}.json"


def in_words(path: Path) -> list[str]:
    """A stored measurement in Markdown: its table, and how it was made."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    rows, made = stored["rows"], stored["made"]
    texts = all(isinstance(value, str) for row in rows for value in row.values())
    reasons = [f"- {next(iter(row.values()))}: {row['why']}" for row in rows if row.get("why")]
    rows = [{name: value for name, value in row.items() if name != "why"} for row in rows]
    cells = [[_set(str(value)) for value in row.values()] for row in rows]
    day = f" on {made['date']}" if "date" in made else ""
    memory = f", {made['memory']}" if "memory" in made else ""
    others = set(made) - {"command", "date", "platform", "cores", "memory", "python", "torch"}
    versions = "".join(f", {name} {made[name]}" for name in sorted(others))
    return [
        *table([list(rows[0]), *cells], texts),
        "",
        *(["Why, where no number stands:", "", *reasons, ""] if reasons else []),
        f"Measured by `{made['command']}`{day}: {made['platform']}, {made['cores']} processor "
        f"cores{memory}; Python {made['python']}, PyTorch {made['torch']}{versions}.",
    ]


class Measured(Markdown):
    """A table that nobody types."""

    required_arguments = 1

    def lines(self):
        """The table, and how it was made."""
        path = file_of(self.root, self.arguments[0])
        self.depends_on(path)
        return in_words(path)


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
