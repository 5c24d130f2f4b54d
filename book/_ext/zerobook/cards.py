"""What a claim says, and what a word means, at hand on every page that names it.

Each page carries the texts of the claims that it links to and of the glossary's words that it uses;
cards.js shows one beside its link.  In a chapter the first use of a word leads to the glossary.
"""

import html
import json
import re
from functools import cache
from pathlib import Path

from docutils import nodes

from zerocam.lab import ledger

from .formulas import drawn

GLOSSARY, CHAPTERS = "book/glossary", "notebooks/"
EVERYDAY = {"places"}  # of the glossary, and in its usual meaning in most chapters
NO_PROSE = (nodes.reference, nodes.literal, nodes.strong, nodes.FixedTextElement, nodes.raw)
MARK = re.compile(r"<!--.*?-->")


def _marked_up(text: str) -> str:
    """Text with formulas between dollars, as HTML."""
    parts = re.split(r"\$([^$]+)\$", MARK.sub("", text))
    return "".join(
        drawn(p, output="mathml") if n % 2 else html.escape(p) for n, p in enumerate(parts)
    )


@cache
def _claims(root: Path) -> dict[str, str]:
    return {
        f"claim-{name.lower()}": f"<b>{name}</b> {_marked_up(entry['says'])}"
        for name, entry in ledger.claims(root).items()
    }


def _source(node: nodes.Node) -> str:
    """What a paragraph says, formulas between dollars."""
    if isinstance(node, nodes.math):
        return f"${node.astext()}$"
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, nodes.reference) and node.astext().startswith("chapter "):
        return ""
    return "".join(map(_source, node.children))


def _terms(app) -> dict[str, tuple[str, str]]:
    """For each word of the glossary: its anchor, and what it says."""
    if not hasattr(app, "zerobook_terms"):
        app.zerobook_terms = {}
        if GLOSSARY in app.env.found_docs:
            for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
                word = next(item.findall(nodes.term))
                text = _source(next(item.findall(nodes.paragraph)))
                says = re.sub(r"[\s,;]+$", "", text).strip()
                name = word.astext()
                app.zerobook_terms[name.lower()] = (
                    word["ids"][0],
                    f"<b>{html.escape(name)}</b> {_marked_up(says)}",
                )
    return app.zerobook_terms


def _in_prose(text: nodes.Text) -> bool:
    while node := text.parent:
        if isinstance(node, NO_PROSE):
            return False
        if isinstance(node, nodes.paragraph | nodes.section):
            return isinstance(node, nodes.paragraph) and "caption" not in node["classes"]
        text = node
    return False


def _link_words(app, doctree: nodes.document, page: str) -> None:
    """In a chapter, lead from the first use of each word to the glossary."""
    if app.builder.name != "html" or not page.startswith(CHAPTERS):
        return
    wanted = {word: term for word, term in _terms(app).items() if word not in EVERYDAY}
    home = app.builder.get_relative_uri(page, GLOSSARY)
    for text in [t for t in doctree.findall(nodes.Text) if _in_prose(t)]:
        said, pieces, at = text.astext(), [], 0
        if not wanted:
            break
        words = "|".join(map(re.escape, sorted(wanted, key=len, reverse=True)))
        for found in re.finditer(rf"\b({words})(?:s|es)?\b", said, re.IGNORECASE):
            if anchor := wanted.pop(found[1].lower(), None):
                address = f"{home}#{anchor[0]}"
                link = nodes.reference(
                    "", found[0], refuri=address, internal=True, classes=["term"]
                )
                pieces += [nodes.Text(said[at : found.start()]), link]
                at = found.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(said[at:])])


def _carry(app, pagename, templatename, context, doctree):
    if app.builder.name != "html" or not context.get("body"):
        return
    anchors = set(re.findall(r'href="[^"]*#((?:claim|term)-[^"]+)"', context["body"]))
    known = _claims(Path(app.srcdir)) | dict(_terms(app).values())
    texts = {anchor: known[anchor] for anchor in sorted(anchors & known.keys())}
    if texts and pagename != "book/claims":
        data = json.dumps(texts, ensure_ascii=False).replace("</", "<\\/")
        context["body"] += f'<script type="application/json" id="cards">{data}</script>'


def setup(app):
    """Connect to Sphinx."""
    app.connect("doctree-resolved", _link_words, priority=600)
    app.connect("html-page-context", _carry)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
