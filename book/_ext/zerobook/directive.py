"""What the directives of this folder share: a box of Markdown, and where the repository is."""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList


class Markdown(Directive):
    """A directive that stands for the Markdown lines it writes."""

    box = ""  # the class of the box; by default the directive's name

    def lines(self, root: Path) -> list[str]:
        """The text, given the root of the repository; empty for nothing at all."""
        raise NotImplementedError

    def depends_on(self, *paths: Path) -> None:
        """Have the page read again when one of these files changes."""
        for path in paths:
            self.state.document.settings.env.note_dependency(str(path))

    def run(self):
        """Parse the lines into a box."""
        lines = self.lines(Path(self.state.document.settings.env.app.srcdir))
        box = nodes.container(classes=[self.box or self.name])
        self.state.nested_parse(StringList(lines, self.name), 0, box)
        return [box] if lines else []
