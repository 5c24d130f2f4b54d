"""What must hold before a class may log in, and the closing of what is not for students."""

import grp
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

# Groups that make their members root, or let them read everything.
STRONG = {"root", "sudo", "wheel", "adm", "docker", "lxd", "disk", "shadow"}
LOOK = """
import os, sys
import jupyterhub
for path in sys.argv[2:]:
    for folder, _, files in os.walk(path):
        if os.access(folder, os.W_OK):
            print("can write into", folder)
            break
os.access(sys.argv[1], os.R_OK | os.X_OK) or print("cannot read", sys.argv[1])
"""


def refusals(students: list[str], course: Path, kept: Path) -> list[str]:
    """Why the hub may not start, in sentences; nothing if it may.

    course: what `make course` wrote, of which students may read `student` alone.  kept: where the
    hub keeps its own files; it is made here, and closed.
    """
    if os.geteuid() != 0:
        return [
            "it needs root, to run each student's server as an account of its own. Without root "
            "use the stick (book/local.md), or `jupyter lab` for yourself"
        ]
    if not students:
        return ["ZEROCAM_STUDENTS names nobody: wanted the accounts of the students"]
    if not (course / "student").is_dir():
        return [f"{course / 'student'} is missing: run make course first"]
    found = [problem for name in students for problem in _account(name)]
    if found:
        return found
    _close(kept, course)
    return [problem for name in students for problem in _reach(name, course)]


def _account(name: str) -> list[str]:
    """What is wrong with the account of a student; its home is closed to the others."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return [f"{name} has no account: useradd --create-home {name}, then passwd {name}"]
    groups = {grp.getgrgid(g).gr_name for g in os.getgrouplist(name, account.pw_gid)}
    if account.pw_uid == 0 or groups & STRONG:
        return [f"{name} is a strong account: wanted one without the groups {sorted(STRONG)}"]
    home = Path(account.pw_dir)
    if home.is_symlink() or not home.is_dir() or home.stat().st_uid != account.pw_uid:
        return [f"{home} is not a folder that belongs to {name}"]
    home.chmod(0o700)
    return []


def _close(kept: Path, course: Path) -> None:
    """Close everything but the student edition to all accounts but its owner's."""
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in [kept, *course.iterdir()]:
        if path.name not in ("student", "student.zip", "colab") and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


def _reach(name: str, course: Path) -> list[str]:
    """What a student's account can do and should not, or cannot and should."""
    account = pwd.getpwnam(name)
    watched = [str(course), str(Path(__file__).parent), str(Path(sys.prefix) / "bin")]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", LOOK, str(course / "student" / "notebooks"), *watched],
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            env={},
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
        )
    except (OSError, subprocess.CalledProcessError):
        return [f"{name} cannot run {sys.executable}: put Python where every account can read it"]
    return [f"{name} {line}" for line in done.stdout.splitlines()]
