"""The built site, and its pages."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "_build" / "html"
# index.html only leads to the first page: it has a test of its own.
PAGES = [str(p.relative_to(FOLDER)) for p in sorted(FOLDER.rglob("*.html"))]
PAGES = [path for path in PAGES if path != "index.html" and not path.startswith("_static")]
