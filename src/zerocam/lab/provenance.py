"""How a stored number was made: one record for studies, trainings, timings and pictures."""

import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any


def made_by(command: str, *packages: str) -> dict[str, str]:
    """What made a number: a command, on a day, with these versions, on a kind of machine.

    Who finds the number later can run the command again, and knows what has changed since.

    command: what to type to make the number anew.  packages: names of distributions, as pip knows
    them, whose versions it depends on besides Python and torch.

    >>> made = made_by("python -m benchmarks", "numpy")
    >>> list(made)
    ['command', 'date', 'python', 'torch', 'platform', 'numpy']
    >>> made["command"]
    'python -m benchmarks'

    The build of a package is left out: torch 2.14.1+cpu is 2.14.1.  Raises
    importlib.metadata.PackageNotFoundError for a package that is not installed.
    """
    return {
        "command": command,
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
    } | {name: _version(name) for name in packages}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Store content as JSON; at no moment is there half a file, however the run ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def _version(name: str) -> str:
    return version(name).split("+")[0]
