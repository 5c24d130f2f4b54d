"""What the directives of this extension share: Markdown that they write themselves, in a box."""

from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class Markdown(SphinxDirective):
    """A directive that stands for the Markdown lines it writes."""

    box = ""  # the class of the box; by default the directive's name

    def lines(self) -> list[str]:
        """The text; empty for nothing at all."""
        raise NotImplementedError

    @property
    def root(self) -> Path:
        """The root of the repository."""
        return Path(self.env.srcdir)

    def depends_on(self, *paths: Path) -> None:
        """Have the page read again when one of these files changes."""
        for path in paths:
            self.env.note_dependency(str(path))

    def run(self) -> list[nodes.Node]:
        """Parse the lines into a box."""
        if not (lines := self.lines()):
            return []
        children = self.parse_text_to_nodes("\n".join(lines))
        return [nodes.container("", *children, classes=[self.box or self.name])]


def table(rows: list[list[str]], texts: bool = False) -> list[str]:
    """A table in Markdown, the first row its head, its numbers on the right; texts: none are."""
    head, *body = rows
    line = ["---", *["---" if texts else "---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, line, *body)]
