"""A small vision transformer of the book's digits, its heads, and other ways to write it.

    x   digits                                              (N, 1, 8, 8)     [ink, 0 to 1]
    u   the stream: the class token, then 16 patches        (N, 17, D)
    w   attention weights; each row sums to 1               (N, H, 17, 17)
    z   the outputs of H heads side by side, d = D/H each   (N, 17, D)       [a]

`added_loss` takes heads away, one by one, and `REFERENCES` says what stands in for them.
`FREEDOMS` are changes of the weights, inside the architecture, that no probability depends on.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from zerocam.hooks import hooked
from zerocam.lab.scenes import digits
from zerocam.lab.training import fit
from zerocam.refusals import Refused

Head = Float[Tensor, "N T d"]  # the output of one head, for N images and T tokens
Known = Float[Tensor, "n T d"]  # the same for others
Reference = Callable[[Head, Known], Tensor]


class Attention(nn.Module):
    """out(z):  z = w v for each head,  w = softmax(q k^T / sqrt(d)).

    "weights" passes w on, and "heads" passes z on: two names for `zerocam.tap` and for hooks.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True):
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=bias) for _ in range(4)
        )
        self.weights, self.heads, self.count = nn.Identity(), nn.Identity(), heads

    def forward(self, u: Float[Tensor, "N T D"]) -> Float[Tensor, "N T D"]:
        """What the heads write into the stream."""
        q, k, v = (
            part(u).unflatten(-1, (self.count, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        w = self.weights((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1))
        return self.out(self.heads((w @ v).transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """u + attention(norm1(u)), then u + mlp(norm2(u))."""

    def __init__(self, width: int, heads: int, norm: type[nn.Module], *, bias: bool = True):
        super().__init__()
        self.norm1, self.norm2 = norm(width, eps=1e-5), norm(width, eps=1e-5)
        self.attention = Attention(width, heads, bias=bias)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=bias),
            nn.GELU(),
            nn.Linear(4 * width, width, bias=bias),
        )

    def forward(self, u: Float[Tensor, "N T D"]) -> Float[Tensor, "N T D"]:
        """The stream behind this block."""
        u = u + self.attention(self.norm1(u))
        return u + self.mlp(self.norm2(u))


class DigitTransformer(nn.Module):
    """Scores of an 8 x 8 digit: 16 patches and a class token, two blocks of four heads.

    Only the class token is read at the end.  Layers: "blocks.0", "blocks.1" and their parts
    "attention.weights", "attention.heads", "norm1", "mlp"; "norm"; "head".

    norm: nn.LayerNorm or nn.RMSNorm.  bias: whether the linear layers of the blocks have one.
    seed: of the initial weights; the global random state is not touched.  float64, so that a short
    training gives the same digits on every machine.

    >>> tuple(DigitTransformer()(torch.zeros(5, 1, 8, 8, dtype=torch.float64)).shape)
    (5, 10)
    """

    def __init__(
        self,
        *,
        width: int = 32,
        heads: int = 4,
        depth: int = 2,
        norm: type[nn.Module] = nn.LayerNorm,
        bias: bool = True,
        seed: int = 0,
    ):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.head = nn.Linear(4, width), nn.Linear(width, 10)
            self.token = nn.Parameter(0.02 * torch.randn(width))
            self.place = nn.Parameter(0.02 * torch.randn(17, width))
            self.blocks = nn.Sequential(
                *(Block(width, heads, norm, bias=bias) for _ in range(depth))
            )
            self.norm = norm(width, eps=1e-5)
        self.double().eval()

    def forward(self, x: Float[Tensor, "N 1 8 8"]) -> Float[Tensor, "N 10"]:
        """The scores, before the softmax."""
        patches = self.embed(F.unfold(x, 2, stride=2).mT)
        u = torch.cat([self.token.expand(len(x), 1, -1), patches], 1) + self.place
        return self.head(self.norm(self.blocks(u))[:, 0])


def digit_images(split: str) -> tuple[Float[Tensor, "N 1 8 8"], Int[Tensor, " N"]]:
    """The digits of `zerocam.lab.scenes`, as the transformer takes them, and their labels."""
    x, labels = digits(split, dtype=torch.float64)
    return x[:, None], labels


def train_transformer(seed: int = 0, *, epochs: int = 14) -> DigitTransformer:
    """The transformer, trained on 1,500 digits with AdamW; about 7 seconds on one core.

    seed: of the initial weights and of the order of the images.
    """
    net = DigitTransformer(seed=seed)
    how = {"optimiser": "adamw", "lr": 3e-3, "weight_decay": 0.01}
    fit(net, *digit_images("train"), epochs=epochs, batch=50, seed=seed, **how)
    return net


# ---- taking a head away --------------------------------------------------------------------------


def modal(known: Known, share: float = 0.1) -> Float[Tensor, " d"]:
    """Where the values of a channel lie closest: the middle of the shortest interval with a share.

    >>> modal(torch.tensor([0.0, 4.0, 5.0, 9.0])[:, None, None], share=0.5)
    tensor([4.5000])
    """
    values = known.flatten(0, -2).sort(0).values
    reach = int(share * len(values)) - 1
    low = (values[reach:] - values[: len(values) - reach]).argmin(0, keepdim=True)
    return ((values.gather(0, low) + values.gather(0, low + reach)) / 2)[0]


def resampled(z: Head, known: Known) -> Head:
    """For each image, the output for another one, which is drawn once and for all."""
    g = torch.Generator().manual_seed(0)
    return known[torch.randint(len(known), (len(z),), generator=g)]


REFERENCES: dict[str, Reference] = {
    "zero": lambda z, known: torch.zeros_like(z[0, 0]),
    "mean": lambda z, known: known.mean((0, 1)),
    "resample": resampled,
    "modal": lambda z, known: modal(known),
}


def head_outputs(net: DigitTransformer, x: Float[Tensor, "N 1 8 8"]) -> Float[Tensor, "L N T D"]:
    """z of each block."""
    return torch.stack(_passed(net, x, "heads"))


def added_loss(
    net: DigitTransformer,
    x: Float[Tensor, "N 1 8 8"],
    labels: Int[Tensor, " N"],
    known: Float[Tensor, "L n T D"],
    reference: Reference,
) -> Float[Tensor, "L H"]:
    """What the cross-entropy gains when one head's output is replaced: one number for each head.

    reference(z, known) is what stands in its place, of any shape that fits z: z (N, T, d) is the
    head's output for these images, known (n, T, d) its output for others, see `head_outputs`.
    """
    count = net.blocks[0].attention.count

    def loss() -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(net(x), labels)

    def without(block: nn.Module, usual: Tensor, head: int) -> Tensor:
        def replace(_module: nn.Module, _args: tuple, z: Tensor) -> Tensor:
            parts, others = list(z.chunk(count, -1)), usual.chunk(count, -1)
            parts[head] = reference(parts[head], others[head]).expand_as(parts[head])
            return torch.cat(parts, -1)

        with hooked([block.attention.heads], replace):
            return loss()

    usual_loss, rows = loss(), []
    for block, usual in zip(net.blocks, known, strict=True):
        rows += [without(block, usual, head) - usual_loss for head in range(count)]
    return torch.stack(rows).view(-1, count)


def rollout(net: DigitTransformer, x: Float[Tensor, "N 1 8 8"]) -> Float[Tensor, "N 4 4"]:
    """Attention rollout at the class token: the product of (mean over heads of w + identity) / 2.

    Abnar and Zuidema (2020).  It reads the attention weights and nothing else: no value, no score.
    """
    flow = torch.eye(17, dtype=x.dtype)
    for w in _passed(net, x, "weights"):
        flow = (w.mean(1) + torch.eye(17, dtype=x.dtype)) / 2 @ flow
    return flow[:, 0, 1:].unflatten(1, (4, 4))


def _passed(net: DigitTransformer, x: Tensor, part: str) -> list[Tensor]:
    found: list[Tensor] = []
    modules = [block.attention.get_submodule(part) for block in net.blocks]
    with torch.no_grad(), hooked(modules, lambda _module, _args, out: found.append(out)):
        net(x)
    return found


# ---- the same probabilities, written otherwise ---------------------------------------------------


def move_value_bias(attention: nn.Module, t: Float[Tensor, " D"]) -> None:
    """b_V -> b_V + t,  b_O -> b_O - W_O t, in place.

    Where the attention weights of the tokens sum to one, and the output layer reads the heads as
    they are, every head puts out t more, and the output layer takes it back.

    attention: ours, torch.nn.MultiheadAttention (torchvision's transformers), or one with a joint
    `qkv` and a `proj` (timm's).  Raises `Refused` where a bias is missing, since this move needs
    both; and where a copy that has moved answers otherwise on random tokens, as with a norm or a
    mixing of the heads before the output layer, or a key and value that belong to no token.
    """
    moved = copy.deepcopy(attention).eval()
    size = _move(moved, t)
    u = torch.randn(4, 4, len(t), generator=torch.Generator().manual_seed(0)).to(t)
    whole = isinstance(attention, nn.MultiheadAttention)
    with torch.no_grad():
        plain = copy.deepcopy(attention).eval()
        before, after = (net(u, u, u)[0] if whole else net(u) for net in (plain, moved))
    if not bool((after - before).abs().max() <= 1e4 * torch.finfo(t.dtype).eps * size):
        wanted = "weights over the tokens that sum to one, and nothing between heads and output"
        mend = "its heads' outputs have no shift that the output bias takes back"
        raise Refused("attention", "one that answers otherwise once moved", wanted, mend)
    _move(attention, t)


def _move(attention: nn.Module, t: Float[Tensor, " D"]) -> float:
    """Move both biases; the largest number that may be rounded then."""
    if isinstance(attention, nn.MultiheadAttention):
        joint, out = attention.in_proj_bias, attention.out_proj
    elif hasattr(attention, "qkv"):
        joint, out = attention.qkv.bias, attention.proj
    else:
        joint, out = attention.value.bias, attention.out
    if joint is None or out.bias is None:
        wanted = "one for the values and one for the output"
        mend = "this move needs both: the second takes back what the first adds"
        raise Refused("attention", "one without biases", wanted, mend)
    with torch.no_grad():
        joint[-len(t) :] += t  # queries, keys, values: the values come last
        out.bias -= out.weight @ t
        return float(1 + out.bias.abs().max() + (out.weight.abs() @ joint[-len(t) :].abs()).max())


def value_shifted(net: DigitTransformer, t: Float[Tensor, "L D"]) -> DigitTransformer:
    """A copy with each block's value bias moved by its row of t: z + t, and the same scores."""
    twin = copy.deepcopy(net)
    for block, step in zip(twin.blocks, t, strict=True):
        move_value_bias(block.attention, step)
    return twin


def aimed_shift(
    net: DigitTransformer,
    x: Float[Tensor, "N 1 8 8"],
    labels: Int[Tensor, " N"],
    known: Float[Tensor, "L n T D"],
    head: int,
) -> Float[Tensor, "L D"]:
    """A t for `value_shifted` that makes one head the most important under zero ablation.

    head: counted through the blocks.  t is zero but for this head's channels, where it is four
    times the size of the outputs (root mean square), doubled until the head is first.  Raises
    `Refused` when 256 times the size is not enough.
    """
    d = known.shape[-1] // net.blocks[0].attention.count
    for doublings in range(2, 9):
        t = torch.zeros_like(known[:, 0, 0])
        t.view(-1, d)[head] = 2**doublings * known.square().mean().sqrt()
        lost = added_loss(value_shifted(net, t), x, labels, known, REFERENCES["zero"])
        if lost.argmax() == head:
            return t
    raise Refused("head", why=f"no shift up to 256 times the outputs makes head {head} the first")


Change = Callable[[DigitTransformer, Callable[..., Tensor]], None]
FREEDOMS: dict[str, Change] = {}


def freedom(name: str) -> Callable[[Change], Change]:
    """Register a change under its name: change(net, draw) in place, draw(*shape) random numbers."""

    def register(change: Change) -> Change:
        FREEDOMS[name] = change
        return change

    return register


def rewritten(net: DigitTransformer, name: str, seed: int = 0) -> DigitTransformer:
    """A copy of the network with one of `FREEDOMS`, drawn at random: the same probabilities.

    Raises `Refused` where the change adds to biases that the blocks do not have.
    """
    twin, g = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        FREEDOMS[name](twin, lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64))
    return twin


@freedom("value bias")
def _value_bias(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    for block in net.blocks:
        move_value_bias(block.attention, draw(len(net.token)))


def _mix(linear: nn.Module, M: Float[Tensor, "D D"]) -> None:
    """M in front of what a linear layer puts out, with a bias or without, in place."""
    for p in (linear.weight, linear.bias):
        if p is not None:
            p.copy_(M @ p)


def _refuse_no_bias(*linears: nn.Module) -> None:
    if any(linear.bias is None for linear in linears):
        wanted = "a bias in each linear layer that is changed"
        raise Refused("net", "one without biases", wanted, "this change adds to them")


def _mixers(attention: Attention, draw: Callable[..., Tensor]) -> Tensor:
    """(D, D): one invertible matrix for each head, on the diagonal: a stretch, then a rotation."""
    d = len(attention.out.weight) // attention.count
    rotations = torch.linalg.qr(draw(attention.count, d, d))[0]
    return torch.block_diag(*(rotations * (1 + draw(attention.count, 1, d).abs())))


@freedom("value and output")
def _value_and_output(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    for a in (block.attention for block in net.blocks):
        Q = _mixers(a, draw)
        _mix(a.value, Q)
        a.out.weight.copy_(a.out.weight @ Q.inverse())


@freedom("query and key")
def _query_and_key(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    for a in (block.attention for block in net.blocks):
        Q = _mixers(a, draw)
        for part, M in ((a.query, Q), (a.key, Q.inverse().T)):
            _mix(part, M)


@freedom("key bias")
def _key_bias(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    for block in net.blocks:
        _refuse_no_bias(block.attention.key)
        block.attention.key.bias += draw(len(net.token))


@freedom("LayerNorm folded")
def _norm_folded(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    readers = [(net.norm, [net.head])]
    for block in net.blocks:
        a = block.attention
        readers += [(block.norm1, [a.query, a.key, a.value]), (block.norm2, [block.mlp[0]])]
    for norm, linears in readers:
        if getattr(norm, "bias", None) is not None:  # nn.RMSNorm has none
            _refuse_no_bias(*linears)
            for linear in linears:
                linear.bias += linear.weight @ norm.bias
            norm.bias.zero_()
        for linear in linears:
            linear.weight *= norm.weight
        norm.weight.fill_(1)


@freedom("mean direction")
def _mean_direction(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    net.token += draw()  # the same number for all D channels
    net.place += draw(17, 1)
    writers = [net.embed]
    for block in net.blocks:
        writers += [block.attention.out, block.mlp[2]]
    for linear in writers:
        linear.weight += draw(linear.in_features)
        if linear.bias is not None:
            linear.bias += draw()


@freedom("centred head")
def _centred_head(net: DigitTransformer, draw: Callable[..., Tensor]) -> None:
    net.head.weight -= net.head.weight.mean(0)
    net.head.bias -= net.head.bias.mean()
