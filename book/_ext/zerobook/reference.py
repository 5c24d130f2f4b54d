"""The API reference: docstrings written as plain text become what autodoc can draw.

In the docstrings of `zerocam` an indented block is a table of names, shapes and units, and single
backticks hold code.  In reStructuredText the first would lose its columns and the second would be
italic, and *, | and a trailing _ would be marks.  So blocks are drawn as they stand, backticks as
code, and the other signs stand for themselves.  Words in quotation marks, with what they mean in a
column beside them, are a list of definitions.
"""

import re

PIECE = re.compile(r"``[^`]*``|`([^`]*)`|[*|\\]|_(?![A-Za-z0-9])")
TERM = re.compile(r'("[^"]+") {2,}(\S.*)')
FIELD = "Alias for field number"  # what Python says of each field of a named tuple: nothing


def prose(line: str) -> str:
    """One line of text, with its code marked and all else as it stands."""

    def drawn(found: re.Match) -> str:
        if found[1] is not None:
            return f"``{found[1]}``"
        return found[0] if found[0].startswith("``") else "\\" + found[0]

    return PIECE.sub(drawn, line)


def drawn(lines: list[str]) -> list[str]:
    """The lines of a docstring, as reStructuredText."""
    found: list[str] = []
    example = block = defined = False
    for line in lines:
        term = None if example else TERM.fullmatch(line)
        defined = bool(term) or (defined and bool(line.strip()))
        if term:
            found.append(prose(term[1]))
        if defined:
            found.append("    " + prose(term[2] if term else line.strip()))
            continue
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        indented = line.startswith("    ") and not example
        if indented and not block:
            found += ["", ".. code-block:: text", ""]
        if block and line.strip() and not indented:
            found.append("")
        block = indented or (block and not line.strip())
        found.append(line if example or indented or not line.strip() else prose(line))
    return found


def _docstring(_app, _what, _name, _obj, _options, lines):
    lines[:] = drawn(lines)


def _skip(_app, _what, _name, obj, _skip, _options):
    return True if (getattr(obj, "__doc__", None) or "").startswith(FIELD) else None


def setup(app):
    """Load autodoc and read docstrings with it."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
