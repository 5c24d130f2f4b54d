"""Make the built pages light: a page asks for one style sheet and one script, of what it can use.

The theme sends a dozen style sheets, four fifths of them unused, a dozen scripts that hold up the
page, and Font Awesome twice, as fonts of a thousand icons and as a script of 1.5 MB.  Here

    sheets    become site.css, without rules for classes that no page and no script names
    fonts     that a page is drawn with first are asked for with it, not when site.css has come
    icons     become fonts of the glyphs that site.css names
    scripts   become site.js, which no page waits for; the explorable's, which each page that
              shows it repeats, becomes explorable.js
    dark      is dark from the first moment, not when the theme's script has come
    pictures  become WebP, a fifth as heavy, pixel for pixel where that is not heavier; they say
              their size; a page's first comes soon, the others load when they come near; a phone
              whose pixels are large gets a figure of fewer
    the rest  goes: what no page needs, and the sources of what was joined

A page that is lean cannot be made lean again, and site.css holds what any page needs: so each build
starts from an empty folder, and writes all pages, whether or not it has to read them.

It finds the theme's texts by their wording.  One that it does not find is an error, which names the
text and the version of the theme: a new version is noticed, not passed over.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import tinycss2
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx.errors import ExtensionError

from .phone import laid_out

SHEET = re.compile(r'\s*<link\b[^>]*href="([^"?]*_static/[^"?]*\.css)[^"]*"[^>]*>')
SCRIPT = re.compile(r'\s*<script src="([^"?]*_static/[^"?]*\.js)[^"]*"></script>')
# The theme measures every block of code, which lays out the whole page: a11y.js does it in view.
MEASURED = "(e=>{e.tabIndex=e.scrollWidth>e.clientWidth||e.scrollHeight>e.clientHeight?0:-1})"
THEME = 'dataset.theme = localStorage.getItem("theme") || "auto"'
RESOLVED = """dataset.theme = ((mode) => mode !== "auto" ? mode
      : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"
    )(document.documentElement.dataset.mode)"""
# The fonts that a page is drawn with first, and the text before its second heading that needs them.
AHEAD = {
    "fonts/source-serif-4-latin-400-normal": "<p>",
    "fonts/source-sans-3-latin-wght-normal": "<h1>",
    "fonts/source-serif-4-latin-400-italic": "<em>",
    "katex/fonts/KaTeX_Math-Italic": 'class="katex"',
    "katex/fonts/KaTeX_Main-Regular": 'class="katex"',
}
OPTIONS = re.compile(r'<script src="[^"]*/documentation_options\.js[^"]*"></script>')
HAS_TABS = re.compile('[" ]sd-tab')


def _script(address: str) -> re.Pattern:
    return re.compile(rf'\s*<script[^>]*src="[^"]*{address}[^"]*"[^>]*></script>')


def _inline(start: str) -> re.Pattern:
    return re.compile(rf"\s*<script[^>]*>\s*{start}[^<]*</script>")


TABS = _script(r"/design-tabs\.")
# What is taken from every page: its name, how it is found, and what comes in its place.
TAKEN = {
    "fonts that are asked for ahead": (re.compile(r'\s*<link rel="preload"[^>]*>'), ""),
    "the script of Font Awesome": (_script("/fontawesome/"), ""),
    "the script of Thebe": (_script(r"/sphinx-thebe\."), ""),
    "the address of Thebe": (_inline("const THEBE_JS_URL"), ""),
    "the settings of Thebe": (_inline(r"\{\s*requestKernel"), ""),
    "the kernel of Thebe": (_inline("kernelName ="), ""),
    "the first choice of light or dark": (re.compile(re.escape(THEME)), RESOLVED),
}
LOOKED_FOR = {
    "style sheets": SHEET,
    "scripts": SCRIPT,
    "the options of the search": OPTIONS,
    "the script of tabs": TABS,
} | {what: kind for what, (kind, _) in TAKEN.items()}
SAYS_NAMES = re.compile(r"""\b(?:class|id)=["'][^"'>]*|<script>.*?</script>""", re.DOTALL)
EXPLORABLE = re.compile(r"<script>(\(\(\) => \{\n.*?\nmountAll\(.*?)</script>", re.DOTALL)
QUALITY = 75  # of 100, of a picture that is not lightest exact
CHART = 1000  # a picture of fewer colours is a chart
PER_INCH = 110  # pixels of the screen to an inch of a figure, as zerocam.plots.style has it
PICTURE = re.compile(r'<img\b(?![^>]*\bwidth=)[^>]*\bsrc="([^":]*_images/[^":]*\.png)"[^>]*>')
PHONE = "screen and (max-width: 600px)"
COARSE = "screen and (max-width: 430px) and (max-resolution: 1.9dppx)"
ENOUGH = 760  # pixels across a screen of 430 CSS pixels, less its margins, at 1.9 for each
GIVEN = re.compile(
    r' style="width: \d+px; height: \d+px;"'
)  # from a notebook: the same size, rounded


class ThemeChangedError(ExtensionError):
    """The theme does not hold a text that is looked for in it."""

    def __init__(self, what: str, text: str):
        """Say what was looked for, by which text, and in which version of the theme."""
        names = ("sphinx-book-theme", "pydata-sphinx-theme", "sphinx-thebe", "sphinx-design")
        versions = ", ".join(f"{name} {version(name)}" for name in names)
        super().__init__(
            f"lean: looked for {what}, by {text!r}, in what {versions} made, and found none: see "
            "how it is worded now, and mend book/_ext/zerobook/lean.py"
        )


def _sheet(path: Path, into: Path) -> str:
    """A style sheet with what it imports; addresses as seen from the folder `into`."""
    at = Path(os.path.relpath(path.parent, into)).as_posix()
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"url\((['\"]?)(?!data:|#)([^'\")]+)\1\)", rf"url({at}/\2)", text)
    imported = re.compile(r"@import ['\"]([^'\"]+)['\"];")
    return imported.sub(lambda found: _sheet((path.parent / found[1]).resolve(), into), text)


def _names(selector: list) -> Iterator[str]:
    """The classes and ids that an element must have, not those inside :not() or :is()."""
    for before, token in pairwise([None, *selector]):
        if token.type == "hash" or (token.type == "ident" and getattr(before, "value", 0) == "."):
            yield token.value


def _selectors(prelude: list) -> Iterator[list]:
    found: list = [[]]
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            found.append([])
        else:
            found[-1].append(token)
    return iter(found)


def used(rules: list, words: set[str]) -> str:
    """The rules of a style sheet that a page made of these words can meet."""
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            able = [s for s in _selectors(rule.prelude) if words.issuperset(_names(s))]
            if able:
                selectors = ",".join(tinycss2.serialize(s).strip() for s in able)
                kept.append(f"{selectors}{{{tinycss2.serialize(rule.content).strip()}}}")
        elif rule.type == "at-rule" and rule.at_keyword in ("media", "supports"):
            inner = used(tinycss2.parse_rule_list(rule.content, True, True), words)
            if inner:
                kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}")
        elif rule.type == "at-rule" and rule.at_keyword != "charset":
            kept.append(rule.serialize())
    return "\n".join(kept)


def _icons(css: str, static: Path) -> str:
    """The fonts of icons cut to the glyphs that the style sheet names; a font of none goes."""
    points = {ord(icon) for icon in re.findall("[\ue000-\uf8ff]", css)}

    def smaller(rule: re.Match) -> str:
        source = re.search(r"url\(([^)]*/fontawesome/[^)]*)\.ttf\)", rule[0])
        if not source:
            return rule[0]
        font = TTFont(static / f"{source[1]}.ttf", recalcTimestamp=False)
        if not points & set(font.getBestCmap()):
            return ""
        cut = Subsetter(Options(layout_features=[], notdef_outline=True))
        cut.populate(unicodes=points)
        cut.subset(font)
        font.flavor = "woff"
        name = f"{Path(source[1]).name}.woff"
        font.save(static / name)
        return re.sub(r"src:[^;}]*", f'src:url({name}) format("woff")', rule[0])

    return re.sub(r"@font-face\s*\{[^}]*\}", smaller, css)


def _publish(static: Path, name: str, text: str) -> str:
    """Write a file; the name with a digest, so that no browser keeps an old one."""
    (static / name).write_text(text, encoding="utf-8")
    return f"{name}?v={sha256(text.encode()).hexdigest()[:8]}"


def _scale(image: Image.Image) -> float:
    """How many pixels of a picture are to be shown as one CSS pixel.

    One that says how many of its pixels make an inch is shown so that PER_INCH make one: a figure
    drawn at twice the pixels is as large as one drawn at once, and sharp.
    """
    return max(1.0, image.info.get("dpi", (PER_INCH,))[0] / PER_INCH)


def _size(picture: Path) -> tuple[int, int]:
    """How large a picture is to be shown, in CSS pixels."""
    with Image.open(picture) as image:
        scale = _scale(image)
        return round(image.width / scale), round(image.height / scale)


def _for_a_phone(png: Path) -> Path | None:
    """The form of a figure for a phone, written beside it; None where it needs none.

    Only what says its pixels to an inch is a figure: a photograph is not cut.
    """
    beside = png.with_name(f"{png.stem}-phone.png")
    if not beside.exists():
        with Image.open(png) as image:
            dpi = image.info.get("dpi")
            form = laid_out(image, _scale(image)) if dpi else None
        if form is None:
            return None
        form.save(beside, dpi=dpi)
    return beside


def _for_few_pixels(png: Path) -> Path | None:
    """The picture with as many pixels as a coarse phone shows of it, or None if it has no more."""
    beside = png.with_name(f"{png.stem}-few.png")
    with Image.open(png) as image:
        if image.width <= ENOUGH:
            return None
        size = ENOUGH, round(image.height * ENOUGH / image.width)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(beside)
    return beside


def webp(png: Path) -> None:
    """Write the picture beside it as WebP, with all its pixels.

    A chart has few colours and is lightest exact; a photograph is lightest with errors too small to
    see: half of the pixels that are white stay exactly white, and all but one in twenty within 2 of
    255.  To write a photograph exactly takes long and was never lighter, so it is not tried.
    """
    with Image.open(png) as image:
        colours = image.convert("RGBA" if image.has_transparency_data else "RGB")
    ways: list[dict] = [{"quality": QUALITY}]
    if colours.getcolors(CHART):
        ways.append({"lossless": True})
    found = []
    for way in ways:
        colours.save(stream := BytesIO(), "WEBP", **way)
        found.append(stream.getvalue())
    png.with_suffix(".webp").write_bytes(min(found, key=len))


def _pictures(html: str, page: Path) -> str:
    seen = 0

    def measured(image: re.Match) -> str:
        nonlocal seen
        seen += 1
        png = page.parent / image[1]
        width, height = _size(png)
        later = ' loading="lazy"' if seen > 1 else ' fetchpriority="high"'
        later += ' decoding="async"'  # the text is painted before a picture is unpacked
        size = f'width="{width}" height="{height}" style="--natural: {width}px'
        tag = GIVEN.sub("", image[0]).rstrip(" />")
        if not (form := _for_a_phone(png)):
            return f'{tag} {size}"{later}>'
        wide, high = _size(form)
        forms = [(COARSE, _for_few_pixels(form)), (PHONE, form)]
        sources = "".join(
            f'<source media="{media}" srcset="{Path(image[1]).with_name(png.name).as_posix()}" '
            f'width="{wide}" height="{high}">'
            for media, png in forms
            if png
        )
        return f'<picture>{sources}{tag} {size}; --phone: {wide}px"{later}></picture>'

    return re.sub(r'(="[^":]*_images/[^":]*)\.png"', r'\1.webp"', PICTURE.sub(measured, html))


def _one(kind: re.Pattern, html: str, tag: str) -> str:
    """The page with one tag in the place of all of a kind."""
    first = kind.search(html)
    return html[: first.start()] + tag + kind.sub("", html[first.end() :]) if first else html


def lean(site: Path) -> None:
    """Rewrite a built site in place."""
    static = (site / "_static").resolve()
    pages = {
        path: path.read_text(encoding="utf-8")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    }
    for what, kind in LOOKED_FOR.items():
        if not any(map(kind.search, pages.values())):
            raise ThemeChangedError(what, kind.pattern)
    for path, html in pages.items():
        for kind, instead in TAKEN.values():
            html = kind.sub(instead, html)
        if not HAS_TABS.search(html):
            html = TABS.sub("", html)
        pages[path] = _pictures(html, path)

    def asked(kind: re.Pattern, of: Iterable[Path]) -> dict[Path, str]:
        """What these pages ask for, in their order, each once."""
        found = {(p.parent / name).resolve(): "" for p in of for name in kind.findall(pages[p])}
        return {path: path.read_text(encoding="utf-8") for path in found}

    waits = [path for path, html in pages.items() if "/searchtools.js" not in html]
    options = (static / "documentation_options.js").read_text(encoding="utf-8")
    for path in waits:
        pages[path] = OPTIONS.sub(f"<script>{options}</script>", pages[path])
    sheets, scripts = asked(SHEET, pages), asked(SCRIPT, waits)
    said = [*asked(SCRIPT, pages).values(), *scripts.values()]
    said += [part for html in pages.values() for part in SAYS_NAMES.findall(html)]
    names = set(re.findall(r"[\w-]+", " ".join(said)))
    rules = [r for path in sheets for r in tinycss2.parse_stylesheet(_sheet(path, static), 1, 1)]
    css = _icons(used(rules, names), static)
    css = _publish(static, "site.css", f'@charset "utf-8";{css}')
    js = "".join(f"{text};\n" for text in scripts.values())
    if MEASURED not in js:
        raise ThemeChangedError("the measuring of code", MEASURED)
    js = _publish(static, "site.js", js.replace(MEASURED, "(()=>{})"))
    for path, html in pages.items():
        at = Path(os.path.relpath(static, path.parent)).as_posix()
        links = "".join(
            f'\n    <link rel="preload" href="{at}/vendor/{name}.woff2" as="font" '
            'type="font/woff2" crossorigin />'
            for name, text in AHEAD.items()
            if text in html.partition("<h2")[0]
        )
        html = _one(SHEET, html, f'{links}\n    <link rel="stylesheet" href="{at}/{css}" />')
        if path in waits:
            html = _one(SCRIPT, html, f'\n    <script defer src="{at}/{js}"></script>')
        if EXPLORABLE.search(html):
            own = _publish(static, "explorable.js", EXPLORABLE.search(html)[1])
            html = _one(EXPLORABLE, html, f'<script defer src="{at}/{own}"></script>')
        path.write_text(html, encoding="utf-8")
    for png in (site / "_images").glob("*.png"):
        webp(png)
        png.unlink()
    icons = (path for path in (static / "vendor" / "fontawesome").rglob("*.*") if path.is_file())
    for path in [*sheets, *icons, *static.rglob("*.map"), *static.glob("*webpack-macros.html")]:
        if path.name != "LICENSE.txt":
            path.unlink(missing_ok=True)


def setup(app):
    """Connect to Sphinx."""

    def start(app):
        site = Path(app.outdir)
        if app.builder.name == "html" and (site / ".buildinfo").exists():  # Sphinx's own folder
            for path in site.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def finish(app, exception):
        if exception is None and app.builder.name == "html":
            lean(Path(app.outdir))

    app.connect("builder-inited", start, priority=0)  # before other extensions write there
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
