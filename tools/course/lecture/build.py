"""Everything for the room, into one folder: slides, booklet, handouts, figures, votes."""

import io
import re
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tools.browser import launch

from . import figures
from .drawings import DRAWINGS
from .gift import gift
from .handouts import FEEDBACK, handouts
from .page import booklet, deck, fonts
from .talk import alt, slides, talk

INCHES, DOTS = 13, 300  # of a drawing as PNG: its width, and dots per inch
DATE = b"D:19800101000000+00'00'"  # in every PDF, so that the same content gives the same bytes


def svgs(pngs: dict[str, bytes] | None = None) -> dict[str, str]:
    """Every figure of a slide as SVG; pngs: a place for those that are computed, as PNG."""
    made = {}
    for name in dict.fromkeys(slide["figure"] for slide in slides()):
        if name in DRAWINGS:
            words = {"title": _title(name), "desc": alt(name)}
            made[name] = DRAWINGS[name](words).svg()
        else:
            made[name] = figures.draw(name, pngs)
    return made


def _title(name: str) -> str:
    """A drawing's title is that of the first slide with it."""
    return next(slide["title"] for slide in slides() if slide["figure"] == name)


def photographed(browser: Browser, svg: str) -> bytes:
    """A drawing as PNG, with the fonts of the slides."""
    page = browser.new_page(
        device_scale_factor=3, viewport={"width": INCHES * DOTS // 3, "height": 900}
    )
    page.set_content(
        f"<style>{fonts()} body, html body .idea {{ max-width: none; margin: 0 }}</style>{svg}"
    )
    page.evaluate("document.fonts.ready")
    shot = Image.open(io.BytesIO(page.locator("svg").screenshot()))
    page.close()
    shot.convert("RGB").save(out := io.BytesIO(), "png", dpi=(DOTS, DOTS), optimize=True)
    return out.getvalue()


def printed(browser: Browser, html: str, path: Path) -> None:
    """Print a page to a PDF file."""
    page = browser.new_page()
    page.set_content(html)
    page.evaluate("document.fonts.ready")
    pdf = page.pdf(prefer_css_page_size=True, print_background=True, tagged=True)
    page.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(re.sub(rb"D:\d{14}\+00'00'", DATE, pdf))


def build(out: Path) -> None:
    """Write the lecture into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "figures").mkdir(parents=True)
    pngs: dict[str, bytes] = {}
    made = svgs(pngs)
    texts = {
        "lecture.html": deck(made),
        "votes.gift": gift(),
        "feedback.md": re.sub(r"\s*<div.*", "\n", FEEDBACK.read_text("utf-8")),
    }
    texts["figures/README.md"] = "# Alt texts of the figures\n\n" + "".join(
        f"- `{name}`: {text}\n" for name, text in talk()["figures"].items()
    )
    texts |= {f"figures/{name}.svg": svg for name, svg in made.items()}
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        pngs |= {name: photographed(browser, made[name]) for name in made if name in DRAWINGS}
        printed(browser, booklet(made), out / "booklet.pdf")
        for name, html in handouts().items():
            printed(browser, html, out / "handouts" / f"{name}.pdf")
        browser.close()
    for name, png in pngs.items():
        (out / "figures" / f"{name}.png").write_bytes(png)
