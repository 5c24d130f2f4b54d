"""Keep one of each inline script.

A bug of Sphinx 7.4: a script without a file that is added after builder-inited is in its list
twice, once with the name None and once with "".  Thebe's then declares a constant twice, an error
on every page.  Mended in Sphinx by https://github.com/sphinx-doc/sphinx/pull/13402: with a Sphinx
that has it, this file can go.
"""


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
