"""The notebooks of the chapters, as they are stored."""

import json
import re
from pathlib import Path

from zerocam.lab import ledger

ROOT = Path(__file__).parents[2]
TITLE = "What Does Zero Mean?"
DRAWING = re.compile(r"(!\[[^]]*\])\(\.\./(book/_static/ideas/[\w-]+\.svg)\)")


def chapters(root: Path = ROOT) -> dict[str, dict]:
    """File name -> notebook, in reading order."""
    return {c.path.name: c.notebook for c in ledger.chapters(root)}


def text(cell: dict) -> str:
    """The source of a cell."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def dump(notebook: dict) -> str:
    """A notebook as the text of its file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
