"""Where a heatmap can be made: find the last layer with positions that the scores listen to.

x   images                                       (N, ch, H, W)
A   the layer's output                           (N, K, h, w), tokens (N, T, K), or (N, h, w, K)
y   class scores before the softmax              (N, C)         [score]
"""

from collections import Counter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerocam import hooks


@torch.inference_mode(False)
def suggest_layer(model: nn.Module, x: Float[Tensor, "N ch H W"]) -> tuple[dict[str, Any], str]:
    """(where, why): the last layer with positions that the scores listen to, and the reason.

    where holds the arguments `layer` and, for tokens or channels last, `reshape`:
    ``grad_cam(model, x, **where)``.  Looked for from the end, on the first image of x.  Passed
    over: poolings, which only blur the layer before them; layers that run more than once; layers
    with a channel for each class, which are the head's; branches, which part of the image goes
    round; and tokens of which the scores read one position, as all do behind the last attention
    of a ViT, where only the class token counts.

    Raises ValueError when no layer is left, with what was passed over, and as `grad_cam` does.
    """
    outputs, y = _outputs(model, x)
    runs = Counter(name for name, *_ in outputs)
    pooled = [out for _, module, out in outputs if "Pool" in type(module).__name__]
    passed: dict[str, str] = {}
    for name, module, out in reversed(outputs):
        where = _grid(out, x) if isinstance(out, Tensor) else None
        if where is None or isinstance(module, nn.Dropout | nn.Identity):
            continue
        reason = "it only pools the layer before" if any(out is p for p in pooled) else None
        reason = "it runs more than once" if runs[name] > 1 else reason
        try:
            reason = reason or _unfit(model, x[:1], name, out, where, y)
        except ValueError as error:
            if not str(error).startswith(("layer", "target")):
                raise
            reason = str(error).partition(";")[0].partition(": ")[2]
        if reason is None:
            A = hooks.activations(model, x[:1], layer=name, **where)[0]
            K, h, w = A.shape
            sign = "have both signs" if A.min() < 0 else "are never negative"
            why = f"the last layer with positions the scores listen to: {K} channels, {h} x {w}"
            return {"layer": name, **where}, f"{why}; activations {sign}{_said(passed)}"
        passed.setdefault(reason, name)
    raise ValueError(
        f"layer: got none to suggest in this {type(model).__name__}, wanted one with output "
        f"(N, K, h, w) or tokens (N, T, D) before the scores{_said(passed)}; "
        "mend that, explain the network at its input, or try a larger image"
    )


def named_layer(model: nn.Module, x: Float[Tensor, "N ch H W"], layer: str) -> dict[str, Any]:
    """The arguments of `grad_cam` for a layer you name: with the `reshape` its output needs."""
    hooks.find_layer(model, layer)
    out = {name: out for name, _, out in _outputs(model, x)[0]}.get(layer)
    return {"layer": layer} | (_grid(out, x) or {} if isinstance(out, Tensor) else {})


def _outputs(model: nn.Module, x: Tensor) -> tuple[list[tuple[str, nn.Module, Any]], Any]:
    """What each module put out for the first image, in order, and the scores."""
    hooks.refuse_bad_input(model, x)
    outputs: list[tuple[str, nn.Module, Any]] = []

    names = {module: name for name, module in model.named_modules() if name}

    def keep(module: nn.Module, _args: Any, out: Any) -> None:
        outputs.append((names[module], module, out))

    with hooks.hooked(names, keep), torch.no_grad(), hooks.left_as_it_was(model, x):
        return outputs, model(x[:1])


def _said(passed: dict[str, str]) -> str:
    return "".join(f"; not {name!r}: {reason}" for reason, name in passed.items())


def _unfit(
    model: nn.Module, x: Tensor, name: str, out: Tensor, where: dict[str, Any], y: Any
) -> str | None:
    """Why a layer is no place for a heatmap; None if it is one."""
    A, G, *_ = hooks.tap(model, x, hooks.any_score, layer=name, **where)
    if A.shape[1] == y.shape[1]:
        c = int(y[0].argmax())
        heard = hooks.tap(model, x, c, layer=name, **where).G.flatten(2).any(2)[0]
        if not heard[:c].any() and not heard[c + 1 :].any():
            return "each class has a channel of its own there"
    if not G.any():
        return "the gradient of every score is zero there (are the weights behind it zero?)"
    if G.any(1).sum() <= 1:
        return "the scores read at most one position of it"
    if out.ndim == 3 and out.shape[1] > A[0, 0].numel():  # a class token always goes round
        return None
    leaf = x.detach().clone().requires_grad_()
    cut = hooks.hooked([model.get_submodule(name)], lambda _module, _args, out: out.detach())
    with cut, torch.enable_grad(), hooks.left_as_it_was(model, x):
        y = model(leaf * 1)
        way = y.requires_grad and torch.autograd.grad(y.sum(), leaf, allow_unused=True)[0]
    return "part of the image goes round it" if isinstance(way, Tensor) else None


def _grid(out: Tensor, x: Tensor) -> dict[str, Any] | None:
    """The `reshape`, if any, under which a layer's output has positions; None if it has none."""
    H, W = x.shape[2:]
    if out.ndim == 4:
        # Positions have the shape of the image, within one; channels do not.
        first, last = (abs(h * W - w * H) <= max(H, W) for h, w in (out.shape[2:], out.shape[1:3]))
        if last and not first and out.shape[1:3].numel() > 1:
            return {"reshape": hooks.channels_first}
        return {} if out.shape[2:].numel() > 1 else None
    for skip in (0, 1, 2, 5) if out.ndim == 3 and len(out) == 1 else ():  # class tokens come first
        positions = out.shape[1] - skip
        h = round((max(positions, 0) * H / W) ** 0.5)
        if positions > 1 and h > 0 and positions % h == 0 and h * W == positions // h * H:
            return {"reshape": hooks.tokens_to_map(h, positions // h, skip=skip)}
    return None
