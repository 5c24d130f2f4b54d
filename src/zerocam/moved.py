"""Modules of version 1 that have moved: their names still work, and a warning says where they are.

`import zerocam` puts a finder at the end of Python's list, which is asked for modules that are not
there; `MOVED` says where their names are now.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

LAYERS, NETS, STUDIES = "zerocam.layers", "zerocam.lab.nets", "zerocam.lab.studies"
HOOKS = ("Tap", "activations", "channel_axis", "channels_first", "find_layer", "tokens_to_map")
PEERS = ("captum_method", "pytorch_grad_cam_method", "torchcam_method")
RECODE = ("BorderWarning", "last_linear", "reparametrize", "rounding", "softmax_rows")
MOVED: dict[str, dict[str, str]] = {  # old module: {name: new module}, "" for all other names
    "zerocam.audit": {"": "zerocam.audits", "cut": "zerocam.cuts"}
    | dict.fromkeys(PEERS, "zerocam.peers"),
    "zerocam.cam": dict.fromkeys(HOOKS, "zerocam.hooks"),
    "zerocam.checks": {"": "zerocam.lab.exercises"},
    "zerocam.encodings": {"": "zerocam.lab.encodings"},
    "zerocam.experiments": {
        "": STUDIES,
        "Numbers": f"{STUDIES}.result",
        "Study": f"{STUDIES}.runner",
        "main": f"{STUDIES}.__main__",
    },
    "zerocam.explorer": {"": "zerocam.lab.explorer"},
    "zerocam.heads": {"": "zerocam.shortcuts"},
    "zerocam.ledger": {"": "zerocam.lab.ledger"},
    "zerocam.models": {
        "": "zerocam.imagenet",
        **dict.fromkeys(("suggest_layer", "named_layer"), LAYERS),
        **dict.fromkeys(("ACTIVATIONS", "WEIGHTS", "SceneNet", "scene_net"), NETS),
    },
    "zerocam.photos": dict.fromkeys(
        ("CREDITS", "FILES", "collage", "pairs", "photograph"), "zerocam.lab.pictures"
    ),
    "zerocam.scenes": {"": "zerocam.lab.scenes"},
    "zerocam.symmetries": dict.fromkeys(RECODE, "zerocam.recode"),
    "zerocam.training": {"": "zerocam.lab.training"},
}


def find(old: str, name: str) -> Any:
    """What the name of a version 1 module means now, with a warning; AttributeError if nothing."""
    homes = MOVED[old]
    new = homes.get(name, homes.get(""))
    if new is None or name.startswith("__"):
        raise AttributeError(f"module {old!r} has no attribute {name!r}")
    found = getattr(import_module(new), name)
    warnings.warn(
        f"{old}.{name} is {new}.{name} since version 2; the old name goes in version 3",
        DeprecationWarning,
        stacklevel=3,
    )
    return found


class OldModule(ModuleType):
    """A module of version 1 that has moved as a whole."""

    def __getattr__(self, name: str) -> Any:
        return find(self.__name__, name)


class Package(ModuleType):
    """`zerocam` itself, whose function `audit` has the name of an old module and keeps it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, OldModule):
            super().__setattr__(name, value)


class Finder:
    """Finds the modules in `MOVED` that have no file any more."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, _: Any = None) -> ModuleSpec | None:
        """How to make the old module; None for all others."""
        return ModuleSpec(name, Finder()) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module without names of its own."""
        return OldModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""

    def get_code(self, name: str) -> CodeType:
        """For `python -m`: run the new module in its place."""
        new = MOVED[name][""]
        code = f"import runpy; runpy.run_module({new!r}, run_name='__main__', alter_sys=True)"
        return compile(code, new, "exec")


def install() -> None:
    """Let Python ask `Finder` for what it does not find elsewhere."""
    sys.modules["zerocam"].__class__ = Package
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
