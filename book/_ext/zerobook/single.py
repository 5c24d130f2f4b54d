"""The single-page builder, which `make pdf` prints, draws theorems and exercises like the site.

A bug between Sphinx and sphinx-exercise 1.2.1: where an extension registers how it draws its own
boxes on a single page, Sphinx no longer looks at how any other extension draws its boxes in HTML,
here sphinx-proof its theorems, and the build ends with an error.  Open as
https://github.com/sphinx-doc/sphinx/issues/9160; until then, what is known for HTML is copied.
"""


def _share(app, config):
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers.get("html", {}), **handlers.get("singlehtml", {})}


def setup(app):
    """Connect to Sphinx."""
    app.connect("config-inited", _share, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
