"""Put together a release: the site, the course's editions, the wheel, and their checksums.

`make release` calls this after `make book` and `make course`.  Same content, same bytes.
"""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.course import zipped

ROOT = Path(__file__).parents[1]


def gather(out: Path, built: Path, number: str) -> list[Path]:
    """Copy what was built into an empty folder, and zip it: the site and each edition."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    archives = []
    for name, source in {
        "site": built / "html",
        "student": built / "course" / "student",
        "instructor": built / "course" / "instructor",
        "lecture": built / "course" / "lecture",
    }.items():
        if not source.is_dir():
            raise SystemExit(f"{source} is missing: run make book and make course first")
        folder = out / f"what-does-zero-mean-{number}-{name}"
        shutil.copytree(source, folder)
        archives.append(zipped(folder))
        shutil.rmtree(folder)
    return archives


def checksums(files: list[Path]) -> str:
    """One line a file, as `sha256sum --check` reads it."""
    return "".join(
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(files)
    )


def main() -> None:
    """Write _build/release."""
    out = ROOT / "_build" / "release"
    number = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    files = gather(out, ROOT / "_build", number)
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        str(out),
        str(ROOT),
    ]
    subprocess.run(wheel, check=True)
    files += out.glob("*.whl")
    (out / "SHA256SUMS").write_text(checksums(files))
    for path in sorted(files):
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
