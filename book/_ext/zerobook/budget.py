"""``{budget}`` lists what each chapter costs its reader, beside the limits of limits.toml.

A chapter above a limit is a Sphinx warning, and so stops `make book`.
"""

import re
import tomllib
from pathlib import Path

from sphinx.util import logging

from zerocam.lab import ledger

from .directive import Markdown, table

LIMITS = tomllib.loads(Path(__file__).with_name("limits.toml").read_text(encoding="utf-8"))
SAYS = {"cells": "Code cells", "words": "Words", "seconds": "Seconds", "kilobytes": "Page, kB"}


def budget(root: Path) -> dict[str, dict[str, int]]:
    """What can be counted before the build: code cells and words of each chapter."""
    found = {}
    for chapter in ledger.chapters(root):
        cells = chapter.notebook["cells"]
        text = "".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "markdown")
        words = len(re.sub(r"<!--.*?-->|<[^>]*>", " ", text).split())
        code = sum(c["cell_type"] == "code" for c in cells)
        found[chapter.path.stem] = {"cells": code, "words": words}
    return found


def kilobytes(page: Path) -> int:
    """The page and the pictures it shows; fonts, styles and scripts are shared by all pages."""
    text = page.read_text(encoding="utf-8")
    pictures = set(re.findall(r'(?:src|href)="([^"]*_images/[^"]+)"', text))
    shown = [page, *(page.parent / name for name in pictures)]
    return round(sum(path.stat().st_size for path in shown if path.exists()) / 1000)


def over(costs: dict[str, dict[str, float]]) -> list[str]:
    """Each limit that a chapter breaks."""
    stops = {key: LIMITS[key] for key in SAYS}
    stops["seconds"] *= LIMITS["busy"]
    return [
        f"{name}: {SAYS[key].lower()}: got {cost[key]:.0f}, wanted at most {limit}; cut or split"
        for name, cost in costs.items()
        for key, limit in stops.items()
        if key in cost and cost[key] > limit
    ]


class Budget(Markdown):
    """A row for each chapter; what only the finished build knows is filled in at its end."""

    box = "costs"

    def lines(self):
        """The table."""
        rows = [["Chapter", *SAYS.values()], ["*at most*", *(str(LIMITS[key]) for key in SAYS)]]
        for name, cost in budget(self.root).items():
            self.depends_on(self.root / "notebooks" / f"{name}.ipynb")
            rows.append([f"[{int(name[:2])}](../notebooks/{name}.ipynb)"])
            rows[-1] += [str(cost.get(key, f"budget-{key}-{name}")) for key in SAYS]
        self.env.budget_page = self.env.docname
        return table(rows)


def _finish(app, exception):
    """Weigh the pages, fill the table, and complain."""
    if exception or app.builder.format != "html":
        return
    costs, metadata = budget(Path(app.srcdir)), getattr(app.env, "nb_metadata", {})
    for name, cost in costs.items():
        page = Path(app.outdir) / "notebooks" / f"{name}.html"
        if page.exists():
            cost["kilobytes"] = kilobytes(page)
        ran = metadata.get(f"notebooks/{name}", {}).get("exec_data") or {}
        if ran.get("runtime") is not None:
            cost["seconds"] = ran["runtime"]
    for problem in over(costs):
        logging.getLogger(__name__).warning("%s", problem, type="budget")
    home = Path(app.outdir) / f"{getattr(app.env, 'budget_page', '')}.html"
    if home.exists():
        text = home.read_text(encoding="utf-8")
        for name, cost in costs.items():
            for key in ("seconds", "kilobytes"):
                shown = f"{cost[key]:.0f}" if key in cost else "–"
                text = text.replace(f"budget-{key}-{name}", shown)
        home.write_text(text, encoding="utf-8")


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("budget", Budget)
    app.connect("build-finished", _finish, priority=950)  # when lean.py has made them light
    return {"parallel_read_safe": False, "parallel_write_safe": True}
