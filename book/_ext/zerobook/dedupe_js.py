"""Sphinx 7.4 emits inline scripts added after builder-inited twice; keep one of each."""


def _dedupe(app, pagename, templatename, context, doctree):
    seen, kept = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            kept.append(script)
            seen.add(body)
    context["script_files"][:] = kept


def setup(app):
    """Connect to Sphinx."""
    app.connect("html-page-context", _dedupe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
