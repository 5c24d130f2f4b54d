"""The public address of the repository is one setting: the variable ZEROCAM_REPOSITORY.

Set, it turns on the repository and launch buttons, the links of ``{launch-links}`` and the address
in ``{install}`` and ``{citation}``.  Unset, none of them appears.

Colab opens notebooks of GitHub only, and has no file that says what they need.  So its links lead
to a branch of its own, with the edition whose first cell installs that: `make course` writes it.
"""

import os

import yaml
from sphinx.util import logging

from .directive import Markdown

ADDRESS = os.environ.get("ZEROCAM_REPOSITORY", "").strip().removesuffix("/").removesuffix(".git")
BRANCH = os.environ.get("ZEROCAM_BRANCH", "main")
GITHUB = "https://github.com/"
COLAB_BRANCH = "colab"
BINDER, COLAB = "https://mybinder.org", "https://colab.research.google.com"


def _configure(app, config):
    if not ADDRESS:
        return
    if not ADDRESS.startswith((GITHUB, "https://gitlab.com/")):
        logging.getLogger(__name__).warning(
            "ZEROCAM_REPOSITORY is %r; wanted https://github.com/OWNER/NAME, or on gitlab.com",
            ADDRESS,
        )
        return
    config.html_theme_options |= {
        "repository_url": ADDRESS,
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "use_edit_page_button": True,
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": BINDER,
            "colab_url": COLAB if ADDRESS.startswith(GITHUB) else "",
        },
    }


def _lead_to_colab_branch(app, pagename, templatename, context, doctree):
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("url", "").startswith(COLAB):
                button["url"] = button["url"].replace(f"/blob/{BRANCH}/", f"/blob/{COLAB_BRANCH}/")


class LaunchLinks(Markdown):
    """Where the source is and where it runs; nothing without an address."""

    def lines(self):
        """One line of links."""
        links = [f"[Source]({ADDRESS})"] * bool(ADDRESS)
        if ADDRESS.startswith(GITHUB):
            name = ADDRESS.removeprefix(GITHUB)
            links += [
                f"[Run on Binder]({BINDER}/v2/gh/{name}/{BRANCH}?urlpath=lab/tree/notebooks)",
                f"[Open in Colab]({COLAB}/github/{name}/blob/{COLAB_BRANCH})",
            ]
        return [" · ".join(links)] if links else []


class Install(Markdown):
    """The line that installs the package: from the address, or else from the book's own folder."""

    def lines(self):
        """A line for a terminal, and where to type it."""
        source = f'"zerocam[draw] @ git+{ADDRESS}@{BRANCH}"' if ADDRESS else "'.[draw]'"
        where = [] if ADDRESS else ["In the folder of the book, the one with its `README.md`:", ""]
        return [*where, "```bash", f"pip install {source}", "```"]


class Citation(Markdown):
    """How to cite the book, from CITATION.cff."""

    def lines(self):
        """A BibTeX entry."""
        cff = yaml.safe_load((self.root / "CITATION.cff").read_text(encoding="utf-8"))
        fields = {
            "title": "{" + cff["title"] + "}",
            "author": "{" + cff["authors"][0]["name"] + "}",
            "year": str(cff["date-released"])[:4],
            "version": cff["version"],
        } | ({"url": ADDRESS} if ADDRESS else {})
        lines = [f"  {key:<7} = {{{value}}}," for key, value in fields.items()]
        return ["```bibtex", "@misc{zeromean,", *lines, "}", "```"]


def setup(app):
    """Connect to Sphinx."""
    app.connect("config-inited", _configure, priority=100)
    app.connect("html-page-context", _lead_to_colab_branch, priority=900)
    app.add_directive("launch-links", LaunchLinks)
    app.add_directive("install", Install)
    app.add_directive("citation", Citation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
