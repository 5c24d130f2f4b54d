"""When notebooks run: once for each state of what they read, or not at all.

Jupyter's cache, and Sphinx, know the cells of a notebook, not the package, the stored results and
the versions that the cells meet.  Beside the cache stands the digest of those files: if theirs is
another one now, the cache goes, and all pages are read again.

``ZEROCAM_EXECUTE=off`` builds the pages from the outputs that the notebooks store: `make test`
builds the site so, after it has run each notebook and found those outputs again.
"""

import os
import shutil
from hashlib import sha256
from pathlib import Path

CHOICES = ("", "off")
READ = ("src", "book/measured", "pyproject.toml", "requirements.lock")  # files, or all in a folder


def digest(root: Path) -> str:
    """One for all files that a notebook of the book at this root can read."""
    found = {path for name in READ for path in (root / name, *(root / name).rglob("*"))}
    files = (p for p in sorted(found) if p.is_file() and "__pycache__" not in p.parts)
    named = (f"{p.relative_to(root)} {sha256(p.read_bytes()).hexdigest()}\n" for p in files)
    return sha256("".join(named).encode()).hexdigest()


def _choose(app, config):
    """Put the choice in the place of what _config.yml says; drop a cache of other files."""
    choice = os.environ.get("ZEROCAM_EXECUTE", "")
    if choice not in CHOICES:
        raise ValueError(f"ZEROCAM_EXECUTE: got {choice!r}, wanted 'off', or leave it unset")
    if choice:
        config.nb_execution_mode = choice
    config.zerobook_files = digest(Path(app.srcdir))
    cache = Path(app.outdir).parent / ".jupyter_cache"  # where myst-nb puts it
    made_from = cache.with_name(".jupyter_cache_made_from")
    if not made_from.exists() or made_from.read_text() != config.zerobook_files:
        shutil.rmtree(cache, ignore_errors=True)
        made_from.write_text(config.zerobook_files)


def setup(app):
    """Connect to Sphinx, before myst-nb reads its settings."""
    app.add_config_value("zerobook_files", "", "env", types=str)
    app.connect("config-inited", _choose, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
