"""The head of a model: the part behind a layer, as a model of its own, by torch.fx.

    x      images                                  (N, ch, H, W)
    A      what the layer puts out for x           (N, K, h, w), or tokens (N, T, D)
    head   the model from A on, A -> y             what goes around the layer is kept for x

Only the head notices a re-coding of A, so it alone need be run again.  The modules around the
layer are traced; all others stay whole.  A head is only used if it proves to be the model's.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from zerocam.answers import Inputs, images
from zerocam.hooks import Tap, any_score, left_as_it_was, tap
from zerocam.recode import reparametrize
from zerocam.symmetries import Symmetry


@dataclass(frozen=True, eq=False)
class Place:
    """A model, what goes into it, and the layer to look at: the whole network, or its head.

    What an audit re-codes and runs again: x is images for a whole network, activations for a head.

    >>> from zerocam.symmetries import shift
    >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> place = Place(net, torch.tensor([[[[4.0, -2.0]]]]), "0")
    >>> recoded = place.recoded(shift(torch.tensor([10.0])))
    >>> recoded.layer, place.model(place.x), recoded.model(recoded.x)
    ('0.change', tensor([[1.]]), tensor([[1.]]))
    """

    model: nn.Module
    x: Inputs
    layer: str
    channel_dim: int | None = None  # where `reparametrize` would not find the channels

    def recoded(self, symmetry: Symmetry) -> "Place":
        """The same place after a change that moves no prediction; `Refused` if one moved."""
        model, layer = reparametrize(
            self.model, self.layer, symmetry, x=self.x, channel_dim=self.channel_dim
        )
        return Place(model, self.x, layer, self.channel_dim)


class Uncut(Exception):
    """Why a model has no head of its own at a layer; an audit then runs the whole model.

    >>> relu = nn.ReLU()
    >>> cut(nn.Sequential(relu, relu, nn.Flatten()), torch.ones(1, 1, 1, 2), "0")
    Traceback (most recent call last):
    ...
    zerocam.cuts.Uncut: the layer runs 2 times
    """


def cut(model: nn.Module, x: Inputs, layer: str) -> Place:
    """The part of the model after the layer, ready for the activations of x.

    The head gives the very scores the model gives for x, and their gradient.  Raises `Uncut`, with
    the reason, where there is none.  While torch.fx traces, no other thread may run a model.

    >>> net = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> place = cut(net, torch.tensor([[[[4.0, -2.0]]]]), "0")
    >>> place.layer, place.x, place.model(place.x)
    ('0', tensor([[[[4., 0.]]]]), tensor([[2.]]))
    """
    graph, at = _traced(model, x, layer)
    head, around = _behind(graph, at)
    parts = {
        node.target: operator.attrgetter(node.target)(model)
        for node in head.nodes
        if node.op in ("get_attr", "call_module") and node.target not in around
    }
    parts |= _values(model, x, graph, around)
    whole, tokens = _tap_at(model, x, layer)
    carrier: nn.Module = _Begin(tokens)
    for name in reversed(layer.split(".")):  # a refusal then names the user's layer
        carrier, begin = nn.Sequential(), carrier
        carrier._modules[name], begin.training = begin, False
    carrier._modules["behind it"] = _compiled(parts, head)
    for wrapper in (carrier, *carrier.children()):  # not the model's own parts
        wrapper.training = False
    A = whole.A.to(images(x).dtype)
    _refuse_another(carrier, A, whole, layer)
    return Place(carrier, A, layer)


class _Around(fx.Tracer):
    """Traces the modules that hold the layer, and leaves all others whole."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, m: nn.Module, name: str) -> bool:
        return name == self.layer or not f"{self.layer}.".startswith(f"{name}.")


def _traced(model: nn.Module, x: Inputs, layer: str) -> tuple[fx.Graph, fx.Node]:
    """What the model does, step by step, and the step that is the layer."""
    try:
        with torch.enable_grad(), left_as_it_was(model, x):
            graph = _Around(layer).trace(model)
    except Exception as error:  # the model's own code runs on stand-ins, and may raise anything
        raise Uncut(f"torch.fx cannot follow it: {error}") from error
    runs = [node for node in graph.nodes if node.target == layer]
    if len(runs) != 1:
        raise Uncut(f"the layer runs {len(runs)} times")
    return graph, runs[0]


def _behind(graph: fx.Graph, at: fx.Node) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """The graph from the layer's output on, and what reaches it around the layer, by new names."""
    after = {at}
    for node in graph.nodes:
        if after & set(node.all_input_nodes):
            after.add(node)
    behind = after - {at}
    crossing = [n for n in graph.nodes if n not in after and n.op != "get_attr"]
    around = {f"around_{i}": n for i, n in enumerate(n for n in crossing if behind & set(n.users))}
    head = fx.Graph()
    copies = {at: head.placeholder("A")}
    copies |= {node: head.get_attr(name) for name, node in around.items()}
    for node in graph.nodes:
        if node in behind or node.op == "get_attr":
            copies[node] = head.node_copy(node, copies.__getitem__)
    return head, around


class _Keeping(fx.Interpreter):
    """Runs a graph and keeps the values of some nodes, safe from later in-place work."""

    def __init__(self, model: nn.Module, graph: fx.Graph, wanted: Iterable[fx.Node]) -> None:
        super().__init__(fx.GraphModule(model, graph))
        names = {node.name for node in wanted}
        self.wanted, self.kept = names, dict[str, Any]()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.wanted:
            self.kept[n.name] = value.clone() if isinstance(value, Tensor) else value
        return value


def _values(
    model: nn.Module, x: Inputs, graph: fx.Graph, around: dict[str, fx.Node]
) -> dict[str, Any]:
    """What goes around the layer for x, by the names that the head has for it."""
    if not around:
        return {}
    once = _Keeping(model, graph, around.values())
    with torch.no_grad(), left_as_it_was(model, x):
        try:
            once.run(*(x if isinstance(x, tuple) else (x,)))
        except Exception as error:  # the model's own code, run by another program
            raise Uncut(f"torch.fx does not run it as it is: {error}") from error
    return {name: once.kept[node.name] for name, node in around.items()}


def _tap_at(model: nn.Module, x: Inputs, layer: str) -> tuple[Tap, bool]:
    """A, what the head makes of it, and whether A is tokens; if so, as (N, 1, T, D)."""
    axes = []

    def spatial(A: Tensor) -> Tensor:
        axes.append(A.ndim)
        return A[:, None] if A.ndim == 3 else A

    try:
        every = tap(model, x, any_score, layer=layer, reshape=spatial)
    except Exception as error:  # whatever it is, a method that meets it will say so itself
        raise Uncut(str(error)) from error
    return every, axes[0] == 3


class _Begin(nn.Module):
    """Where the head begins: hands on (N, K, h, w), or takes the extra axis off (N, 1, T, D)."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, A: Tensor) -> Tensor:
        return (A[:, 0] if self.tokens else A).clone()  # the head may work on it in place


def _refuse_another(head: nn.Module, A: Tensor, whole: Tap, layer: str) -> None:
    """`Uncut` if the head's scores or gradients are not those of the model."""
    part, _ = _tap_at(head, A, layer)
    for what, ours, theirs in (("scores", part.y, whole.y), ("gradients", part.G, whole.G)):
        if not (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max():
            raise Uncut(f"the part behind the layer, by torch.fx, has other {what}")


def _compiled(parts: dict[str, Any], graph: fx.Graph) -> nn.Module:
    """The graph as a module that copies like any other: a GraphModule compiles at every copy."""
    whole = fx.GraphModule(parts, graph)
    head = type("Head", (nn.Module,), {"forward": type(whole).forward})()
    for kind in ("_modules", "_parameters", "_buffers"):
        setattr(head, kind, getattr(whole, kind))
    return head
