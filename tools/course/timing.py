"""Run the student edition, unsolved, and store how long each chapter takes a reader."""

import os
from collections.abc import Sequence
from pathlib import Path

from zerocam.lab.provenance import made_by, write_json

from .editions import student
from .notebooks import ROOT, chapters, dump, text

MEASURED = ROOT / "book" / "measured"  # the book draws its files as tables


def place(folder: Path, notebooks: dict[str, dict], numbers: Sequence[str] = ()) -> list[Path]:
    """Write these notebooks, or those of the chapters named, into a folder."""
    chosen = {n: nb for n, nb in notebooks.items() if not numbers or n[:2] in numbers}
    for name, notebook in chosen.items():
        (folder / name).write_text(dump(notebook), encoding="utf-8")
    return [folder / name for name in chosen]


def run(path: Path) -> tuple[float, str]:
    """Run a notebook from top to bottom: its processor seconds, kernel included; what it printed.

    Raises nbclient's CellExecutionError at the first cell that does.
    """
    import resource  # not on Windows

    import nbformat
    from nbclient import NotebookClient

    def spent() -> float:  # by kernels that have ended
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

    notebook, start = nbformat.read(path, as_version=4), spent()
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return spent() - start, "".join(o.get("text", "") for o in outputs)


def measure(folder: Path, numbers: Sequence[str]) -> None:
    """Run the student edition, unsolved, and store how long each chapter took."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in place(folder, {n: student(nb) for n, nb in chapters().items()}, numbers):
        seconds, printed = run(path)
        assert "✓ " not in printed.split("○")[-1], f"{path.name} comes solved"
        words, cells = size(chapters()[path.name])
        rows.append({"chapter": int(path.name[:2]), "words": words, "code cells": cells})
        rows[-1] |= {"processor seconds": round(seconds), "minutes to read": reading(words, cells)}
        print(rows[-1], flush=True)
    store(MEASURED / "chapter_minutes.json", rows, "python -m tools.course --run")


def size(notebook: dict) -> tuple[int, int]:
    """Words of prose, and cells of code."""
    prose = [text(c).split() for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return sum(map(len, prose)), len(notebook["cells"]) - len(prose)


def reading(words: int, cells: int) -> int:
    """Minutes: 100 words a minute and 40 seconds for a cell, to the nearest five."""
    return 5 * round((words / 100 + cells * 2 / 3) / 5)


def store(path: Path, rows: list[dict], command: str) -> None:
    """Keep a measurement with the machine it was made on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    made = made_by(command) | {"cores": os.cpu_count(), "memory": f"{memory:.0f} GiB"}
    write_json(path, {"made": made, "rows": rows})
