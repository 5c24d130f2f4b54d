"""The page of the search shows readable excerpts: search.js, which no other page needs."""


def _script(app, pagename, templatename, context, doctree):
    if pagename == "search":
        app.add_js_file("search.js")


def setup(app):
    """Connect to Sphinx."""
    app.connect("html-page-context", _script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
