"""Bring a student's folder up to date with the edition, and lose nothing that the student wrote.

Run as the student: hand_out.py EDITION FOLDER.  What is not there is copied.  A file that the
student has not touched since it was handed out becomes the new one.  Beside one that was touched,
the new one is put as NAME-new, or NAME-new-2 if that is taken.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path


def hand_out(edition: Path, folder: Path) -> None:
    """Copy the edition into a folder; `.handed-out` in it remembers what was copied."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / ".handed-out"
    before = json.loads(record.read_text()) if record.exists() else {}
    now = {}
    for file in sorted(p for p in edition.rglob("*") if p.is_file()):
        name = file.relative_to(edition).as_posix()
        now[name] = _hash(file)
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists() or before.get(name) == _hash(place):
            shutil.copyfile(file, place)
        elif now[name] not in (before.get(name), _hash(place)):
            shutil.copyfile(file, _beside(place))
    record.write_text(json.dumps(now))


def _beside(place: Path) -> Path:
    """The first name for a new version that is free."""
    endings = ("-new", *(f"-new-{i}" for i in range(2, 1000)))
    names = (place.with_name(f"{place.stem}{e}{place.suffix}") for e in endings)
    return next(name for name in names if not name.exists())


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    hand_out(Path(sys.argv[1]), Path(sys.argv[2]))
