"""Print the single page that `make pdf` builds, with Chromium: the whole book as one PDF."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tools.browser import launch

MARGIN = {"top": "16mm", "bottom": "16mm", "left": "14mm", "right": "14mm"}
# Nothing may be left folded, and every picture, formula's font and explorable must be there before
# it is printed; those that are out of view are not, unless they are asked for.
# The cover is put before the contents.
READY = """async () => {
  document.documentElement.dataset.theme = "light";
  document.querySelectorAll("details").forEach((d) => (d.open = true));
  document.querySelectorAll("img").forEach((i) => (i.loading = "eager"));
  const style = document.createElement("style");
  style.textContent = "* { content-visibility: visible !important }";
  document.head.append(style);
  for (const explorable of document.querySelectorAll(".zero-explorer")) {
    explorable.scrollIntoView();
    while (!explorable.dataset.ready) await new Promise(requestAnimationFrame);
  }
  const hero = document.querySelector(".hero"), contents = document.querySelector("#jb-print-toc");
  if (hero && contents) {
    const cover = [];
    for (let e = hero.nextElementSibling; e; e = e.previousElementSibling) cover.unshift(e);
    contents.before(...cover.filter((e) => e.tagName !== "H1"));
    contents.style.breakBefore = "page";
  }
  await document.fonts.ready;
  await Promise.all([...document.images].map((i) => i.decode().catch(() => null)));
}"""


def main(build: str = "_build") -> int:
    """Print the single page under `build` to book.pdf there."""
    folder = Path(build).resolve() / "singlehtml"
    book = folder.parent / "book.pdf"
    page = folder / "all.html"  # the root page lies in book/, but its paths are the root's
    shutil.copy(folder / "book" / "index.html", page)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        tab = browser.new_page(color_scheme="light", reduced_motion="reduce")
        tab.goto(page.as_uri())
        tab.evaluate(READY)
        tab.pdf(
            path=book,
            format="A4",
            margin=MARGIN,
            print_background=True,
            tagged=True,
            outline=True,
        )
        browser.close()
    print(f"{book}: the whole book, {book.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
