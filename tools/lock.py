"""Print the installed versions of what this project needs, as pip constraints."""

import re
from importlib.metadata import distribution, requires

from packaging.requirements import Requirement

EXTRAS = {"zerocam": {"book", "test", "cluster", "course"}}
# Wheels of torch bring their own CUDA, on one platform only; torch has its own lines below.
LEFT_OUT = re.compile(r"nvidia-|cuda-|triton$|torch$|torchvision$|zerocam$|pip$|setuptools$")
HEAD = """\
# Exact versions, as on Linux; what only other systems need is not pinned.
# To install: pip install -c requirements.lock -e '.[book,test,course]'
# Written by `make lock`; what is needed at all is in pyproject.toml.
torch=={torch}; platform_system != "Linux" or platform_machine != "aarch64"
torch==2.9.1; platform_system == "Linux" and platform_machine == "aarch64"
torchvision=={torchvision}; platform_system != "Linux" or platform_machine != "aarch64"
torchvision==0.24.1; platform_system == "Linux" and platform_machine == "aarch64"
"""


def version(name: str) -> str:
    """The installed version, without what names the build."""
    return distribution(name).version.split("+")[0]


def needed(name: str, extras: frozenset[str], seen: set) -> set[str]:
    """The names a distribution needs here, itself included."""
    if (name, extras) in seen:
        return set()
    seen.add((name, extras))
    found = {name}
    for line in requires(name) or []:
        req = Requirement(line)
        if not req.marker or any(req.marker.evaluate({"extra": e}) for e in extras | {""}):
            key = re.sub(r"[-_.]+", "-", req.name).lower()
            found |= needed(key, frozenset(req.extras), seen)
    return found


if __name__ == "__main__":
    names = needed("zerocam", frozenset(EXTRAS["zerocam"]), set())
    print(HEAD.format(torch=version("torch"), torchvision=version("torchvision")), end="")
    for name in sorted(n for n in names if not LEFT_OUT.match(n)):
        print(f"{name}=={version(name)}")
