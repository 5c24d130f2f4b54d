"""Chapter 13: the heads of a transformer, taken away and replaced."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from zerocam.lab import transformer
from zerocam.lab.studies.runner import Found, study
from zerocam.lab.studies.zero import right
from zerocam.refusals import Refused


@study
def transformer_heads(seed: int) -> Found:
    """What moving the value biases does to the heads of a transformer that reads digits.

    Losses are those of 297 unseen digits, added by taking one of eight heads away.  accuracy: of
    the whole network.  For five twins with value biases moved by random t, as large as the heads'
    outputs: kept, whether a probability moved by less than 1e-9; same_mean, same_resample,
    same_modal: share of heads whose loss moved by less than 1e-9 when replaced in this way; change:
    the largest change when replaced by zero; first: whether another head is the most important;
    order: rank correlation with the order as trained.  folded: the change when the value biases
    are moved into the output biases; folded_first: the same as first.  aimed: share of heads that
    `aimed_shift` makes the most important; times: how large its t is, in sizes of the outputs.
    """
    net, (x, labels) = transformer.train_transformer(seed), transformer.digit_images("test")
    images, g = transformer.digit_images("train")[0], torch.Generator().manual_seed(seed)

    def losses(twin: nn.Module, how: str) -> Tensor:
        known = transformer.head_outputs(twin, images)
        reference = transformer.REFERENCES[how]
        return transformer.added_loss(twin, x, labels, known, reference).flatten()

    with torch.no_grad():
        known, p = transformer.head_outputs(net, images), net(x).softmax(1)
    size, own = known.square().mean().sqrt(), {r: losses(net, r) for r in transformer.REFERENCES}
    found: dict[str, list[Tensor]] = {}
    for _ in range(5):
        t = size * torch.randn(known[:, 0, 0].shape, generator=g, dtype=torch.float64)
        twin = transformer.value_shifted(net, t)
        with torch.no_grad():
            kept = (twin(x).softmax(1) - p).abs().max() < 1e-9
        zero = losses(twin, "zero")
        ranks = torch.stack([v.argsort().argsort().double() for v in (zero, own["zero"])])
        numbers = {
            "kept": kept,
            "change": (zero - own["zero"]).abs().max(),
            "first": zero.argmax() != own["zero"].argmax(),
            "order": ranks.corrcoef()[0, 1],
        }
        for key, value in numbers.items():
            found.setdefault(key, []).append(value)
    biases = torch.stack([-block.attention.value.bias.detach() for block in net.blocks])
    folded, aims = losses(transformer.value_shifted(net, biases), "zero"), []
    for head in range(len(folded)):
        with suppress(Refused):
            aims.append(transformer.aimed_shift(net, x, labels, known, head).max() / size)
    same = {f"same_{r}": (losses(twin, r) - v).abs() < 1e-9 for r, v in own.items() if r != "zero"}
    return (
        {key: torch.stack(values) for key, values in found.items()}
        | same
        | {
            "accuracy": right(net, x, labels),
            "folded": (folded - own["zero"]).abs().max(),
            "folded_first": folded.argmax() != own["zero"].argmax(),
            "aimed": torch.arange(len(folded)) < len(aims),
            "times": torch.stack(aims),
        }
    )
