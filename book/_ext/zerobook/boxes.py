"""Parts of a chapter that are boxes: each is known by how its Markdown begins.

    **The question.** …                        the lead, larger than the text
    **Predict …** …, up to the end of a fold   predict
    **1. Predict.** … in "Exercises"           exercise, up to the next one
    > **Theorem 1.** …                         theorem; Lemma, Proposition, Corollary too
    **To the person who asked:** …             the sentence to keep
    **Figure 1. …** …                          caption, of the figure before or after it; Table too
    ✓ A1: …, a line that a cell printed        check, with a link to the claim
    a table with a column "Verdict"            its first word is a chip
    a folded cell                              its label says what is in it: imports, preparation
    a table of four columns or more, with text on a phone one cell below another, each named
    7 %, 2 × 3, --port, chapter 3              never broken between two lines
    -0.5                                       with the minus of a formula, in tables of pandas too

So a notebook reads the same in JupyterLab, and needs no directive.
"""

import re
from html import escape

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx import addnodes

THEOREM = re.compile(r"(Theorem|Lemma|Proposition|Corollary)\b")
EXERCISE = re.compile(r"\d+\. ")
CODE = "Show the code"  # the label of a folded cell that has no name of its own: see _config.yml
IMPORTS = re.compile(r"(import|from) ")
FIGURE = re.compile(r"(Figure|Table) (\d+)\. ")
CHECK = re.compile(r"✓ (?:([A-Z]\d+): )?(.*?)((?:; \w+ = [^;]+)*)$")
CLAIMS = "book/claims"
PER_CENT = re.compile(r"(?:(?<=\d)|^)[ \n]%")  # a number may end in a comment, so in another text
CHAPTER = re.compile(r"\b([Cc]hapters?|[Ff]igures?|[Tt]ables?|[Tt]heorems?)[ \n](?=\d)")
TIMES = re.compile(r"(?<=\d) × (?=\d)")
MINUS = re.compile(r"(?:(?<=[\s(])|^)-(?=\d)")
# pandas writes the name of the index below the headings, in a row of its own
TWO_HEADS = re.compile(
    r'(<tr style="text-align: right;">\s*)<th></th>(.*?)</tr>\s*'
    r"<tr>\s*<th>([^<]+)</th>(?:\s*<th></th>)+\s*</tr>",
    re.DOTALL,
)
CODES = (
    *(nodes.literal, nodes.literal_block, nodes.doctest_block, addnodes.desc_signature),
    *(nodes.raw, nodes.comment, nodes.math, nodes.math_block),
)
WIDE, LONG = 4, 40  # columns, and letters of a cell: more of both does not fit a phone
MANY = 30  # rows: so long a table is looked up, row by row, and stays one
OPTION = 24  # letters: a longer line of options may break
ENDINGS = {"Zero in the wild": "wild", "What we know now": "known", "Exercises": "exercises"}
VERDICTS = {"right": "yes", "yes": "yes", "half": "half", "weakly": "half", "likely": "half"}
VERDICTS |= {"no": "no"}


def _begins(node: nodes.Node) -> str:
    """The bold words that a paragraph begins with, or nothing."""
    parts = node.children if isinstance(node, nodes.paragraph) else []
    first = next((part for part in parts if part.astext()), None)
    return first.astext() if isinstance(first, nodes.strong) else ""


def _is_html(node: nodes.Node, text: str) -> bool:
    return isinstance(node, nodes.raw) and text in node.astext()


def _prediction(after: list[nodes.Node]) -> int:
    """How many nodes after its first paragraph belong to a prediction: to the end of its fold."""
    lists = 0
    for n, node in enumerate(after):
        if _is_html(node, "</details>"):
            return n + 1
        if isinstance(node, nodes.section | nodes.container) or _begins(node):
            break
        lists += n == lists and isinstance(node, nodes.list_item | nodes.Sequential)
    return lists


def _exercise(after: list[nodes.Node]) -> int:
    ends = (
        n
        for n, node in enumerate(after)
        if isinstance(node, nodes.section) or EXERCISE.match(_begins(node))
    )
    return next(ends, len(after))


def _wrap(parent: nodes.Element, start: int, count: int, name: str) -> None:
    inside = parent.children[start : start + count]
    box = nodes.container("", classes=["box", name])
    parent.children[start : start + count] = [box]
    box.parent = parent
    box.extend(inside)


def _section(section: nodes.Element) -> None:
    title = section.children[0].astext() if section.children else ""
    section["classes"] += [name for text, name in ENDINGS.items() if title.startswith(text)]
    at = 0
    while at < len(section.children):
        node, after = section.children[at], section.children[at + 1 :]
        start = _begins(node)
        if start == "The question.":
            node["classes"].append("lead")
        elif figure := FIGURE.match(start):
            node["classes"].append("caption")
            node["ids"].append(f"{figure[1].lower()}-{figure[2]}")
        elif start.startswith("Predict"):
            _wrap(section, at, 1 + _prediction(after), "predict")
        elif start.startswith("To the person who asked"):
            _wrap(section, at, 1, "keep")
        elif EXERCISE.match(start) and title == "Exercises":
            _wrap(section, at, 1 + _exercise(after), "exercise")
        elif isinstance(node, nodes.block_quote) and THEOREM.match(_begins(node.children[0])):
            node["classes"] += ["box", "theorem"]
        at += 1


def _check(line: re.Match, to_claims: str) -> nodes.list_item:
    claim, says, values = line.groups()
    words = nodes.paragraph()
    if claim and to_claims:
        address = f"{to_claims}#claim-{claim.lower()}"
        words += nodes.reference("", claim, refuri=address, internal=True, classes=["claim"])
    elif claim:
        words += nodes.strong("", claim)
    words += nodes.Text(f" {says}" if claim else says)
    if values:
        words += nodes.inline("", values.removeprefix("; "), classes=["values"])
    return nodes.list_item("", words)


def _printed(block: nodes.literal_block, to_claims: str) -> list[nodes.Node]:
    """What a cell printed: lines that report a check as a list, the rest as it was."""
    parts: list[nodes.Node] = []
    for line in block.astext().rstrip("\n").split("\n"):
        if found := CHECK.match(line):
            if not isinstance(parts[-1] if parts else None, nodes.bullet_list):
                parts.append(nodes.bullet_list(classes=["checks"]))
            parts[-1] += _check(found, to_claims)
        elif parts and isinstance(parts[-1], nodes.literal_block):
            text = f"{parts[-1].astext()}\n{line}"
            parts[-1] = nodes.literal_block(text, text, **block.attributes)
        else:
            parts.append(nodes.literal_block(line, line, **block.attributes))
    return parts


def _verdicts(table: nodes.table) -> None:
    head, *_ = table.findall(nodes.thead)
    names = [entry.astext() for entry in head.findall(nodes.entry)]
    if "Verdict" not in names:
        return
    column = names.index("Verdict")
    for row in next(table.findall(nodes.tbody)).findall(nodes.row):
        for text in list(row.children[column].findall(nodes.Text))[:1]:
            word = re.match(r"\w+", text.astext())
            if word and word[0] in VERDICTS:
                chip = nodes.inline("", word[0], classes=["chip", f"chip-{VERDICTS[word[0]]}"])
                rest = text.astext()[word.end() :].lstrip(":,;")
                text.parent.replace(text, [chip, nodes.Text(rest)])


def _told(table: nodes.table) -> None:
    """Name each cell of a wide table of text, so that its cells can stand below each other."""
    head, *_ = table.findall(nodes.thead)
    names = [entry.astext() for entry in head.findall(nodes.entry)]
    rows = [row for body in table.findall(nodes.tbody) for row in body.findall(nodes.row)]
    longest = max((len(entry.astext()) for row in rows for entry in row.children), default=0)
    if len(names) < WIDE or longest < LONG or len(rows) > MANY:
        return
    table["classes"].append("told")
    for row in rows:
        for n, (name, entry) in enumerate(zip(names, row.children, strict=False)):
            if not n and not entry.astext()[:1].isdigit():
                continue  # words say themselves what they are
            if not entry.astext().strip():
                entry["classes"].append("nothing")
            elif name:
                says = f'<span class="column" data-name="{escape(name)}"></span>'
                entry.children[0].insert(0, nodes.raw("", says, format="html"))


def _frames(doctree: nodes.document) -> None:
    """The tables of pandas with one row of headings, and with the minus of a formula."""
    for table in doctree.findall(nodes.raw):
        if 'class="dataframe"' in (html := table.astext()):
            html = TWO_HEADS.sub(r"\1<th>\3</th>\2</tr>", html)
            table.children[:] = [nodes.Text(re.sub(r"(?<=<td>)-(?=[\d.])", "\u2212", html))]


def _to_claim(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.reference) and "#claim-" in node.get("refuri", "")


def _close_up(doctree: nodes.document) -> None:
    """No gap, and no end of a line, between a sentence of the answer and the claims it ends in."""
    for paragraph in doctree.findall(nodes.paragraph):
        parts = paragraph.children
        for n, text in enumerate(parts[:-1]):
            if isinstance(text, nodes.Text) and _to_claim(parts[n + 1]):
                alone = not text.strip()  # between two claims there is a gap
                if not alone or (n and not _to_claim(parts[n - 1])):
                    paragraph[n] = nodes.Text(text.rstrip())


def _is_code(node: nodes.Node) -> bool:
    return isinstance(node, CODES) or (node.parent is not None and _is_code(node.parent))


def _keep_together(doctree: nodes.document) -> None:
    """No line ends inside 7 %, 2 × 3 or chapter 3, or inside an option."""
    for text in list(doctree.findall(nodes.Text)):
        held = PER_CENT.sub("\u00a0%", CHAPTER.sub("\\1\u00a0", text))
        held = TIMES.sub("\u00a0×\u00a0", held)
        if (held := MINUS.sub("\u2212", held)) != text and not _is_code(text):
            text.parent.replace(text, nodes.Text(held))
    for code in doctree.findall(nodes.literal):
        if code.astext().startswith("--") and len(code.astext()) < OPTION:
            code["classes"].append("option")


def _name_folds(doctree: nodes.document) -> None:
    for cell in doctree.findall(nodes.container):
        fold = cell.children[0] if len(cell.children) == 1 else None  # the cell shows nothing
        if isinstance(fold, HideCodeCellNode) and fold["prompt_show"] == CODE:
            what = "imports" if IMPORTS.match(fold.astext()) else "preparation"
            fold["prompt_show"], fold["prompt_hide"] = f"Show the {what}", f"Hide the {what}"


def draw(app, doctree: nodes.document, name: str) -> None:
    """Put what is known by its beginning into boxes; builders that are not HTML are left alone."""
    if app.builder.format != "html":
        return
    alone = app.builder.name != "html" or CLAIMS not in app.env.found_docs  # on one page: no links
    to_claims = "" if alone else app.builder.get_relative_uri(name, CLAIMS)
    for section in doctree.findall(nodes.section):
        _section(section)
    if name == "book/answer":
        _close_up(doctree)
    _keep_together(doctree)
    _name_folds(doctree)
    _frames(doctree)
    for block in list(doctree.findall(nodes.literal_block)):
        if "stream" in block["classes"] and any(map(CHECK.match, block.astext().split("\n"))):
            block.parent.replace(block, _printed(block, to_claims))
    for table in doctree.findall(nodes.table):
        if next(table.findall(nodes.thead), None):
            _verdicts(table)
            _told(table)


def setup(app):
    """Connect to Sphinx."""
    app.connect("doctree-resolved", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
