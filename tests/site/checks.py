"""What every page of the site must keep, in either theme: each check returns what is wrong."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from playwright.sync_api import BrowserContext, Page

THEMES = ("light", "dark")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 720}
DRAWN_TWICE = "new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))"
WHOLE = "* { content-visibility: visible !important }"  # else what is far is not laid out

HERE = Path(__file__).parent
LOOK = (HERE / "look.js").read_text(encoding="utf-8")
AXE = (HERE / "vendor" / "axe.min.js").read_text(encoding="utf-8")
# Code and formulas are thousands of alike spans: `test_code_and_formulas_are_readable` tries some.
DENSE = [".highlight pre", ".katex"]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WEIGHT = {"book/index.html": 1.5e6}  # bytes, without compression
HEAVIEST = 3e6


@dataclass
class Visit:
    """What one load of one page in one theme showed."""

    url: str
    theme: str
    seen: dict
    outside: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    http: list[str] = field(default_factory=list)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback address; gives its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def visit(context: BrowserContext, site: str, path: str, theme: str) -> Visit:
    """Load a page once, as on a desk, then narrow it to a phone."""
    page = context.new_page()
    result = Visit(f"{site}{path}", theme, {})

    def request(request):
        if not request.url.startswith((site, "data:", "blob:")):
            result.outside.append(request.url)

    def response(response):
        if response.status >= 400:
            result.http.append(f"{response.status} {response.url}")

    def console(message):
        if message.type == "error":
            result.console.append(message.text)

    page.on("request", request)
    page.on("response", response)
    page.on("console", console)
    page.on("pageerror", lambda error: result.console.append(str(error)))
    page.goto(result.url, wait_until="load")
    page.add_style_tag(content=WHOLE)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    result.seen = page.evaluate(LOOK)
    page.set_viewport_size(PHONE)
    result.seen["wide"] = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    page.set_viewport_size(DESK)
    page.evaluate(DRAWN_TWICE)  # what a page does when a box changes its size is done then
    result.seen["axe"] = axe(page, RULES if theme == "light" else ["color-contrast"], DENSE)
    page.close()
    return result


def axe(page: Page, rules: list[str], without: list[str] = (), within: str = "html") -> list[str]:
    """What axe-core finds serious or critical; in the dark, only colours can differ."""
    kind = "tag" if rules == RULES else "rule"
    page.evaluate(AXE)
    report = page.evaluate(
        "([include, exclude, runOnly]) => axe.run({ include, exclude }, "
        "{ runOnly, preload: false, resultTypes: ['violations'] })",
        [[[within]], [[part] for part in without], {"type": kind, "values": rules}],
    )
    return [
        f"{v['id']} ({v['impact']}), {len(v['nodes'])} times: {v['nodes'][0]['html'][:120]}"
        for v in report["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def problems(v: Visit) -> list[str]:
    """Everything wrong with a page as it was seen."""
    seen = v.seen
    found = [f"asks another host: {url}" for url in v.outside]
    found += [f"console: {text}" for text in v.console]
    found += [f"http: {text}" for text in v.http]
    found += [f"formula not drawn: {n}" for n, drawn in enumerate(seen["formulas"]) if not drawn]
    found += [f"formula with an error: {text}" for text in seen["mathErrors"]]
    found += [f"formula not in the middle: {text}" for text in seen["offCentre"]]
    for raw in (
        "\\(",
        "\\[",
        "$$",
        "```",
        ":::",
        "{glue",
        "{cite",
        "{prf",
        "{ref}",
        "{doc}",
        "<!--",
    ):
        if raw in seen["prose"]:
            line = next(line for line in seen["prose"].split("\n") if raw in line)
            found.append(f"raw {raw} is visible: {line[:80]!r}")
    for image in seen["images"]:
        alt, name = image["alt"], image["src"].rsplit("/", 1)[-1]
        if image["broken"]:
            found.append(f"image does not load: {image['src'][:80]}")
        if image["inText"] and not (alt or "").strip():
            found.append(f"image without alt text: {name[:80]}")
        elif alt and (
            alt == name or alt.lower().endswith((".png", ".svg", ".jpg", ".jpeg", ".gif"))
        ):
            found.append(f"alt text is a file name: {alt}")
        if image["inText"] and image["filter"] != "none":
            found.append(f"the theme re-colours {name[:80]}: {image['filter']}")
    found += [f"text hardly visible: {text!r}" for text in seen["faint"]]
    if seen["wide"] > 0:
        found.append(f"wider than a phone, by {seen['wide']} px")
    found += [f"axe: {text}" for text in seen["axe"]]
    path = "/".join(urlsplit(v.url).path.rsplit("/", 2)[-2:])
    if seen["bytes"] > (limit := WEIGHT.get(path, HEAVIEST)):
        found.append(f"weighs {seen['bytes'] / 1e6:.2f} MB, wanted {limit / 1e6:.1f} at most")
    if seen["theme"] not in (None, v.theme):
        found.append(f"theme is {seen['theme']}, wanted {v.theme}")
    return found


def broken_links(visits: list[Visit], site: str, folder: Path) -> list[str]:
    """Links inside the site whose page or anchor does not exist."""
    ids = {urldefrag(v.url).url: set(v.seen["ids"]) for v in visits}
    found = []
    for v in visits:
        for link in v.seen["links"]:
            url, anchor = urldefrag(link)
            if not url.startswith(site):
                continue
            path = folder / unquote(urlsplit(url).path.lstrip("/"))
            if not (path / "index.html" if path.is_dir() else path).exists():
                found.append(f"{v.url}: no such page: {link}")
            elif "=" in anchor:  # a state of the explorer
                continue
            elif anchor and url in ids and unquote(anchor) not in ids[url]:
                found.append(f"{v.url}: no such anchor: {link}")
    return found
