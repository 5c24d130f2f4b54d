"""The network that a command names: its model, its input, the names of its classes."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import imagenet
from zerocam.answers import tensors
from zerocam.extras import Missing
from zerocam.refusals import Refused

MODELS = (
    "efficientnet_lite0 (default), torchvision:NAME, or MODULE:NAME of your model, or of a "
    "function that makes it, or (model, prepare), or (model, prepare, names of the classes); "
    "prepare: photo (3, H, W), 0 to 1 -> (1, ch, H, W)"
)
RANDOM = "weights: random; the map says nothing about photographs"


class Network(NamedTuple):
    """A model in eval mode, and what makes its input (1, ch, H, W) of a photograph (3, H, W).

    names: of the classes, as far as the model brings them.  said: what a reader must know.
    """

    model: nn.Module
    prepare: Callable[[Tensor], Tensor]
    name: str = ""
    weights: str = "default"
    names: tuple[str, ...] | None = None
    said: str = ""

    def digest(self) -> str:
        """The sha256 of all weights and buffers, in their order; the same on every device."""
        found = sha256()
        for t in tensors(self.model.state_dict()):
            plain = t.dequantize() if t.is_quantized else t.to_dense()
            found.update(plain.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def class_names(self, C: int) -> tuple[str, ...] | None:
        """The names of C classes: those given with the model, or those of its `config.id2label`.

        `Refused` if another number of names was given; None where nobody says how they are called.
        """
        if self.names is not None:
            if len(self.names) != C:
                raise Refused("labels", f"{len(self.names)} names", f"{C}, one for each score")
            return self.names
        for module in self.model.modules():
            known = _in_order(getattr(getattr(module, "config", None), "id2label", None) or ())
            if len(known) == C:
                return known
        return None


def load_model(
    name: str, weights: str = "default", device: str = "cpu", labels: Path | None = None
) -> Network:
    """The network of that name, see `MODELS`; weights "none": random ones for torchvision's."""
    kind, _, rest = name.partition(":")
    made: tuple[Any, ...]  # model, prepare, names of the classes, what must be said
    if name == "efficientnet_lite0":
        made = imagenet.efficientnet_lite0(), lite0_input, _imagenet_names(), ""
    elif kind == "torchvision":
        made = _torchvision(rest, weights)
    elif rest:
        made = _own_model(kind, rest)
    else:
        raise Refused("model", f"{name!r}", MODELS)
    model, prepare, names, said = made
    names = names if labels is None else read_names(labels)
    return Network(_on(device, model.eval()), prepare, name, weights, names, said)


def read_names(file: Path) -> tuple[str, ...]:
    """The names of the classes in a text file, one a line, in the order of the scores."""
    try:
        return tuple(file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not a text"
        got = f"{str(file)!r}, which cannot be read ({why})"
        raise Refused("labels", got, "a text file, one name a line") from None


def class_number(asked: str | int | None, names: Sequence[str] | None) -> int | None:
    """A class by its number or its name; None, the predicted one, if none is asked for."""
    if asked is None or isinstance(asked, int):
        return asked
    if asked.removeprefix("-").isdecimal():
        return int(asked)
    if names is None:
        mend = "pass --labels FILE, one name a line, or return (model, prepare, names)"
        raise Refused("class", f"{asked!r}", "a number: this model does not name its classes", mend)
    return imagenet.class_named(asked, names)


def torchvision_input(photo: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 3 H W"]:
    """The photograph as torchvision's networks want it: less ImageNet's mean, by its deviation."""
    mean, std = (torch.tensor(v, dtype=photo.dtype) for v in (imagenet.MEAN, imagenet.STD))
    return ((photo - mean[:, None, None]) / std[:, None, None])[None]


def lite0_input(photo: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 3 H W"]:
    """The photograph as EfficientNet-Lite0 wants it."""
    return imagenet.imagenet_input(photo)[None]


def _imagenet_names() -> tuple[str, ...] | None:
    try:
        return imagenet.imagenet_classes()
    except Missing:  # torchvision has them, and comes with the extra `imagenet`
        return None


def _on(device: str, model: nn.Module) -> nn.Module:
    """The model on a device, if this machine has it."""
    try:
        torch.zeros(1, device=device).item()
        return model.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition(". ")[0]
        raise Refused("device", f"{device!r} ({why})", "one that this machine has: cpu") from None


def _torchvision(name: str, weights: str) -> tuple[Any, ...]:
    """A classifier of torchvision, with the names that belong to its weights."""
    if weights == "none":
        return imagenet.torchvision_net(name), torchvision_input, None, RANDOM
    try:
        model = imagenet.torchvision_net(name, weights="DEFAULT")
    except OSError as error:
        got = f"none for {name}, they could not be downloaded ({error})"
        mend = "connect to a network once, or pass --weights none for random weights"
        raise Refused("weights", got, mend=mend) from None
    return model, torchvision_input, imagenet.weights_classes(name), ""


def _own_model(module: str, name: str) -> tuple[Any, ...]:
    """The user's model, or what the user's function makes, from a module that Python finds."""
    sys.path.insert(0, "")  # as `python -m` does; a console command does not
    found = _attribute(_module(module, name), name)
    made = found if isinstance(found, nn.Module) else _called(found, name)
    model, *rest = made if isinstance(made, tuple) else (made,)
    prepare, names = (rest + [torchvision_input, None][len(rest) :])[:2]
    if not isinstance(model, nn.Module):
        raise Refused("model", f"a {type(model).__name__} from {module}:{name}", "an nn.Module")
    if not callable(prepare):
        raise Refused("prepare", f"{prepare!r}", "a function: photo (3, H, W) -> (1, ch, H, W)")
    return model, prepare, None if names is None else _in_order(names), _untrained(found, name)


def _in_order(names: Mapping[Any, Any] | Iterable[Any]) -> tuple[str, ...]:
    """The names in the order of the scores; none for a mapping that leaves one out."""
    if isinstance(names, Mapping):
        named = {int(k): v for k, v in names.items()}  # the keys of a JSON file are words
        classes = list(range(len(named)))
        names = [named[c] for c in classes] if sorted(named) == classes else ()
    return tuple(map(str, names))


def _module(module: str, name: str) -> ModuleType:
    """The module of that name; where there is none, what was meant."""
    if module.endswith(".py") or "/" in module or "\\" in module:
        stem = module.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
        wanted, mend = "the name of a module", f"run it in the folder of {stem}.py: {stem}:{name}"
        raise Refused("model", f"the file {module!r}", wanted, mend)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the user's module imports
        near = difflib.get_close_matches(module, [p.stem for p in Path().glob("*.py")])
        mend = f"nearest: {', '.join(near)}" if near else f"run it in the folder of {module}.py"
        raise Refused(
            "model", f"no module named {module!r}", "one that Python finds", mend
        ) from None


def _attribute(module: ModuleType, name: str) -> Any:
    """What the module calls so; else the nearest names, also in its part `models`."""
    if hasattr(module, name):
        return getattr(module, name)
    known = [n for n in vars(module) if not n.startswith("_")]
    near = ", ".join(difflib.get_close_matches(name, known))
    mend = f"nearest: {near}" if near else "look up what it is called there"
    try:
        if hasattr(importlib.import_module(f"{module.__name__}.models"), name):
            mend = f"say {module.__name__}.models:{name}"
    except ModuleNotFoundError:
        pass
    raise Refused("model", f"no {name!r} in {module.__name__}", mend=mend)


def _called(make: Any, name: str) -> Any:
    """What the user's function makes, without arguments."""
    if not callable(make):
        raise Refused("model", f"{name}, a {type(make).__name__}", "a model, or what makes one")
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:  # a few of C tell nobody
        parameters = {}.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if needs := [p.name for p in parameters if p.default is p.empty and p.kind not in free]:
        got, wanted = f"{name}, which needs {', '.join(needs)}", "what needs no argument"
        raise Refused("model", got, wanted, f"write a function that calls {name}, and name that")
    return make()


def _untrained(make: Any, name: str) -> str:
    """A word where a library's function made the model, and takes weights only if asked."""
    if isinstance(make, nn.Module) or inspect.isclass(make):
        return ""
    parameters = inspect.signature(make).parameters
    if any(n in parameters and not parameters[n].default for n in ("weights", "pretrained")):
        return f"{RANDOM}. Write a function that calls {name} with the trained ones"
    return ""
