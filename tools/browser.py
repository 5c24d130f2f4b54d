"""Find Chromium, or install it: python -m tools.browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no request leaves this machine
]


def find(playwright: Playwright) -> str | None:
    """Path of Chromium or Chrome: in CHROMIUM, on PATH, where macOS keeps it, playwright's."""
    paths = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), *MACOS]
    paths.append(playwright.chromium.executable_path)
    return next((path for path in paths if path and Path(path).exists()), None)


def install() -> bool:
    """Install Chromium: Debian's as root, else playwright's own, which needs no rights."""
    attempts = []
    if shutil.which("apt-get") and os.geteuid() == 0:
        attempts.append([["apt-get", "update", "-qq"], ["apt-get", "install", "-qqy", "chromium"]])
    attempts.append([[sys.executable, "-m", "playwright", "install", "chromium"]])
    return any(
        all(subprocess.run(command).returncode == 0 for command in commands)
        for commands in attempts
    )


def launch(playwright: Playwright) -> Browser:
    """Start the browser that `find` finds."""
    if not (path := find(playwright)):
        raise RuntimeError("no Chromium or Chrome; python -m tools.browser installs one")
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)


def main() -> int:
    """Make sure that there is a browser."""
    with sync_playwright() as playwright:
        if path := find(playwright) or (install() and find(playwright)):
            print(f"browser: {path}")
            return 0
    print(
        "No Chromium or Chrome found, and none could be installed. The tests of the site need one: "
        "install Chromium or Google Chrome, or set CHROMIUM to the path of its program."
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
