"""The single-page builder, which `make pdf` prints, draws theorems and exercises like the site.

sphinx-exercise registers a translator for it, and that hides the one of sphinx-proof.
"""


def _share(app, config):
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers.get("html", {}), **handlers.get("singlehtml", {})}


def setup(app):
    """Connect to Sphinx."""
    app.connect("config-inited", _share, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
