"""The addresses in the metadata of the wheel, from the one setting of the address.

Hatchling runs this when it builds the package.  ZEROCAM_REPOSITORY is the address of the
repository, ZEROCAM_SITE that of the site; what is not set is not named.
"""

import os

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Urls(MetadataHookInterface):
    """Fills in [project.urls]."""

    def update(self, metadata: dict) -> None:
        """Add what is set to the metadata."""
        source = os.environ.get("ZEROCAM_REPOSITORY", "").strip().removesuffix("/")
        source = source.removesuffix(".git")
        urls = {"Documentation": os.environ.get("ZEROCAM_SITE", "").strip()}
        if source:
            urls |= {"Source": source, "Issues": f"{source}/issues"}
        metadata["urls"] = {name: url for name, url in urls.items() if url}
