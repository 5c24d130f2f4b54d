"""What this book adds to Sphinx, as one extension: each module is one part, with one thing to do.

directives   speed, budget, measured: tables of stored numbers; ledger_table: of claims
             explorable: the explorer; front: the covers and cards; address: links, the citation
pages        boxes: parts of a chapter, by how they begin; cards: claims and words at hand;
             drawings: of ideas, as parts of the page; execution: outputs run or stored;
             formulas: drawn by KaTeX; address: buttons; preview: what a shared link shows;
             reference: docstrings for the API page; search: what the search shows of a page
mends        dedupe_js, single: bugs of others; lean: what the theme sends too much of
"""

PARTS = (
    "address",
    "boxes",
    "budget",
    "cards",
    "dedupe_js",
    "drawings",
    "execution",
    "explorable",
    "formulas",
    "front",
    "lean",
    "ledger_table",
    "measured",
    "preview",
    "reference",
    "search",
    "single",
    "speed",
)


def setup(app):
    """Set up every part; what may run in parallel, each says of itself."""
    for part in PARTS:
        app.setup_extension(f"{__name__}.{part}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
