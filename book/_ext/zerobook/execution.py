"""``ZEROCAM_EXECUTE=off`` builds the pages from the outputs that the notebooks store.

`make test` builds the site so, after it has run each notebook and found those outputs again;
`make book` runs the notebooks.
"""

import os

CHOICES = ("", "off")


def _choose(app, config):
    """Put the choice in the place of what _config.yml says."""
    choice = os.environ.get("ZEROCAM_EXECUTE", "")
    if choice not in CHOICES:
        raise ValueError(f"ZEROCAM_EXECUTE: got {choice!r}, wanted 'off', or leave it unset")
    if choice:
        config.nb_execution_mode = choice


def setup(app):
    """Connect to Sphinx, before myst-nb reads its settings."""
    app.connect("config-inited", _choose, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
