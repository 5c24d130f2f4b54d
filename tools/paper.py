"""Draw the paper on the book, `paper/paper.md`, as one page and as a PDF, into _build/paper.

`make paper` calls this.  Pandoc reads the Markdown as the journal does: a citation without its
reference, or any other warning, is an error.  The journal draws it in its own layout.
"""

from pathlib import Path

import pypandoc
import yaml
from playwright.sync_api import sync_playwright

from tools.browser import launch
from tools.pdf import MARGIN

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "paper" / "paper.md"


def front(paper: Path = PAPER) -> dict:
    """The title, the tags, the authors and the rest of what stands before the text."""
    return yaml.safe_load(paper.read_text(encoding="utf-8").split("---\n")[1])


def page(paper: Path = PAPER) -> str:
    """The paper as one page of HTML; RuntimeError where pandoc warns."""
    authors = [f"--metadata=author={author['name']}" for author in front(paper)["authors"]]
    options = ["--standalone", "--citeproc", "--mathml", "--fail-if-warnings", *authors]
    options += ["--metadata=lang=en-GB", f"--resource-path={paper.parent}"]
    return pypandoc.convert_file(paper, "html5", "markdown", options)


def main() -> None:
    """Write _build/paper/paper.html and, with Chromium, paper.pdf beside it."""
    out = ROOT / "_build" / "paper"
    out.mkdir(parents=True, exist_ok=True)
    (out / "paper.html").write_text(page(), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        tab = browser.new_page()
        tab.goto((out / "paper.html").as_uri())
        tab.pdf(path=out / "paper.pdf", format="A4", margin=MARGIN, tagged=True)
        browser.close()
    print(f"{out / 'paper.pdf'}: the paper as a PDF; the journal sets it anew")


if __name__ == "__main__":
    main()
