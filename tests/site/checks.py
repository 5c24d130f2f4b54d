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
SCROLLS = "scrollable-region-focusable"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 720}
DRAWN_TWICE = "new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))"
BLANK = " \n\t\u00a0\u200b"  # nothing is drawn
# The theme lets its own box scroll sideways, so that the page itself never does.
WIDER = """Math.max(...[document.documentElement, document.querySelector('.bd-article-container')]
  .map((box) => box ? box.scrollWidth - box.clientWidth : 0))"""
# What is far is laid out too, and what moves has arrived.
WHOLE = """* { content-visibility: visible !important;
  transition: none !important; animation: none !important }"""

HERE = Path(__file__).parent
LOOK = (HERE / "look.js").read_text(encoding="utf-8")
AXE = (HERE / "vendor" / "axe.min.js").read_text(encoding="utf-8")
# Code, formulas and the heads of the functions are thousands of alike spans:
# `test_code_and_formulas_are_readable` tries some.
DENSE = [".highlight pre", ".katex", "dt.sig"]
# Empties them and keeps their sizes: axe leaves them out, but would go through them.
EMPTIED = """(dense) => {
  const all = [...document.querySelectorAll(dense)].filter((e) => e.checkVisibility());
  const sizes = all.map((e) => [e.scrollWidth, e.scrollHeight]);
  const boxes = all.map((e) => e.getBoundingClientRect());
  all.forEach((e, i) => {
    const held = document.createElement("span");
    held.textContent = "x"; // a box without words would not be asked whether it can be reached
    held.style.cssText = `display: inline-block; width: ${Math.max(sizes[i][0], boxes[i].width)}px;`
      + `height: ${Math.max(sizes[i][1], boxes[i].height)}px`;
    e.replaceChildren(held);
  });
}"""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CONTRAST = "color-contrast"
SHAPES = [*RULES, "without colours"]  # all but that one, which takes most of the time
# What another machine may do to the layout: larger letters, or no font but its own.
ELSEWHERE = {"large text": "html { font-size: 120% !important }", "no fonts": ""}
WEIGHT = {"book/index.html": 1.2e6}  # bytes, without compression
HEAVIEST = 1.5e6


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


def visit(
    context: BrowserContext, site: str, path: str, theme: str, rules: list[str] = RULES
) -> Visit:
    """Load a page once and judge it: how wide it is on a phone, and by axe as on a desk."""
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
    result.seen = look(page)
    page.evaluate(DRAWN_TWICE)  # what a page does when a box changes its size is done then
    page.set_viewport_size(PHONE)
    page.evaluate(DRAWN_TWICE)
    result.seen["wide"] = page.evaluate(WIDER)
    result.seen["axe"] = []
    if rules:
        page.set_viewport_size(DESK)
        page.evaluate(DRAWN_TWICE)
        page.evaluate(EMPTIED, ", ".join(DENSE))
        result.seen["axe"] = axe(page, rules, DENSE)
    page.close()
    return result


def look(page: Page, style: str = "") -> dict:
    """What LOOK tells of a loaded page, with every fold open, all laid out and its fonts there."""
    page.add_style_tag(content=WHOLE + style)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    return page.evaluate(LOOK)


def elsewhere(context: BrowserContext, site: str, path: str, what: str) -> list[str]:
    """What is wrong with the layout of a page as another machine shows it, desk and phone."""
    page = context.new_page()
    if what == "no fonts":
        page.route("**/*.woff*", lambda route: route.abort())
    page.goto(f"{site}{path}", wait_until="load")
    look(page, ELSEWHERE[what])
    found = []
    for size in (DESK, PHONE):
        page.set_viewport_size(size)
        page.evaluate(DRAWN_TWICE)
        if (wide := page.evaluate(WIDER)) > 0:
            found.append(f"{size['width']} px: wider than the screen, by {wide} px")
        found += [f"{size['width']} px: axe: {text}" for text in axe(page, [SCROLLS])]
    page.close()
    return found


def drawn_by_others(page: Page, letters: dict[str, str]) -> list[str]:
    """The letters that no font of the loaded page draws, by what each style of text holds."""
    drawn = [(kind, x) for kind in letters for x in letters[kind] if x.strip(BLANK)]
    page.evaluate(
        """async (drawn) => {
          const all = document.createElement("div");
          all.id = "letters";
          document.body.append(all);
          all.append(...drawn.map(([kind, letter]) => {
            const p = document.createElement("p"), [style, ...family] = kind.split(" ");
            p.style.cssText = `font-family: ${family.join(" ")}; font-style: ${style}`;
            p.textContent = letter;
            return p;
          }));
          document.body.offsetHeight;
          await document.fonts.ready;
        }""",
        drawn,
    )
    devtools = page.context.new_cdp_session(page)
    devtools.send("DOM.enable")
    devtools.send("CSS.enable")
    root = devtools.send("DOM.getDocument")["root"]["nodeId"]
    nodes = devtools.send("DOM.querySelectorAll", {"nodeId": root, "selector": "#letters > p"})
    found = []
    for node, (kind, letter) in zip(nodes["nodeIds"], drawn, strict=True):
        fonts = devtools.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        others = [font["familyName"] for font in fonts if not font["isCustomFont"]]
        found += [f"{letter!r} (U+{ord(letter):04X}) of {kind}: {name}" for name in others]
    return found


def axe(page: Page, rules: list[str], without: list[str] = (), within: str = "html") -> list[str]:
    """What axe-core finds serious or critical, by sets of its rules or by single ones."""
    kind, off = "tag" if rules[0] in RULES else "rule", {}
    if rules == SHAPES:
        rules, off = RULES, {CONTRAST: {"enabled": False}}
    page.evaluate(AXE)
    report = page.evaluate(
        "([include, exclude, runOnly, rules]) => axe.run({ include, exclude }, "
        "{ runOnly, rules, preload: false, resultTypes: ['violations'] })",
        [[[within]], [[part] for part in without], {"type": kind, "values": rules}, off],
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
        if image["inText"] and not image["said"] and not (alt or "").strip():
            found.append(f"image without alt text: {name[:80]}")
        elif alt and (
            alt == name or alt.lower().endswith((".png", ".svg", ".jpg", ".jpeg", ".gif"))
        ):
            found.append(f"alt text is a file name: {alt}")
        if image["inText"] and image["filter"] != "none":
            found.append(f"the theme re-colours {name[:80]}: {image['filter']}")
    found += [f"font does not come: {name}" for name in seen["failed"]]
    found += [f"font is not of the page: {name}" for name in seen["lost"]]
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
