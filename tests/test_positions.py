"""Where a layer's positions are, in the layouts that networks have: a change of the image tells."""

import pytest
import torch
from nets import small_vit
from torch import nn

import zerocam
from zerocam import hooks, layers
from zerocam.refusals import Refused

GRID = 6  # rows and columns of patches


class Block(nn.Module):
    """One block of a transformer; batch_first as torch's layer has it."""

    def __init__(self, d: int, *, first: bool = True):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, 2, batch_first=first)
        self.after, self.wide = nn.LayerNorm(d), nn.Sequential(nn.Linear(d, d), nn.GELU())

    def forward(self, t):
        n = self.norm(t)
        t = t + self.attention(n, n, n, need_weights=False)[0]
        return t + self.wide(self.after(t))


class Tokens(nn.Module):
    """A vision transformer with `extra` tokens at index `at`; the scores read the first of them."""

    def __init__(self, extra=1, at=0, *, first=True, order=None, d=16, rows=GRID, columns=GRID):
        super().__init__()
        self.patch, self.at, self.first, self.order = nn.Conv2d(3, d, 4, 4), at, first, order
        self.extra = nn.Parameter(torch.randn(1, extra, d))
        self.place = nn.Parameter(0.3 * torch.randn(1, rows * columns + extra, d))
        self.blocks = nn.Sequential(*(Block(d, first=first) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 3)

    def forward(self, x):
        t = self.patch(x).flatten(2).mT
        t = t if self.order is None else t[:, self.order]
        t = torch.cat([t[:, : self.at], self.extra.expand(len(x), -1, -1), t[:, self.at :]], 1)
        t = t + self.place
        t = self.norm(self.blocks(t if self.first else t.transpose(0, 1)))
        t = t if self.first else t.transpose(0, 1)
        return self.head(t[:, self.at] if self.extra.numel() else t.mean(1))


def drawn(kind, *args, **how):
    torch.manual_seed(0)
    return kind(*args, **how).eval()


def image(height=24, width=24, channels=3, seed=1):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def moves(model, x, where, row, column):
    """The cell that moves most when the patch of this cell of the map is changed."""
    A = zerocam.activations(model, x, **where)
    h, w = A.shape[2:]
    down, across = x.shape[2] // h, x.shape[3] // w
    changed = x.clone()
    patch = changed[:, :, row * down : (row + 1) * down, column * across : (column + 1) * across]
    patch += 3 * torch.randn(patch.shape, generator=torch.Generator().manual_seed(5))
    D = (zerocam.activations(model, changed, **where) - A).abs().sum(1)[0]
    return divmod(int(D.argmax()), w)


def in_place(model, x, where):
    h, w = zerocam.activations(model, x, **where).shape[2:]
    cells = [(0, 0), (h - 1, w - 1), (0, w - 1), (h // 2, w // 3)]
    return [moves(model, x, where, *cell) == cell for cell in cells] == [True] * 4


@pytest.mark.parametrize("at", [0, GRID * GRID // 2, GRID * GRID])
@pytest.mark.parametrize("first", [True, False])
def test_a_class_token_may_stand_anywhere_and_the_batch_second(at, first):
    model, x = drawn(Tokens, 1, at, first=first), image()
    where, _ = zerocam.suggest_layer(model, x)
    assert where["layer"] == "blocks.1.norm"
    assert in_place(model, x, where)
    M = zerocam.grad_cam(model, x, 1, **where, relu=False)
    assert M.shape == (1, GRID, GRID)
    every = zerocam.grad_cam_all(model, x, **where, relu=False)
    torch.testing.assert_close(every[:, 1], M)


@pytest.mark.parametrize(("extra", "at"), [(4, 0), (8, 0), (3, GRID * GRID)])
def test_registers_in_any_number_are_left_out(extra, at):
    model, x = drawn(Tokens, extra, at), image()
    where, _ = zerocam.suggest_layer(model, x)
    assert in_place(model, x, where)
    assert zerocam.grad_cam(model, x, 0, **where).shape == (1, GRID, GRID)


def test_a_patch_that_does_not_divide_the_image():
    """22 x 30 pixels in patches of 4: 5 x 7 tokens, a grid that is not in proportion."""
    model, x = drawn(Tokens, 1, rows=5, columns=7), image(22, 30)
    where, _ = zerocam.suggest_layer(model, x)
    assert zerocam.grad_cam(model, x, 0, **where).shape == (1, 5, 7)
    assert where["layer"] != "patch"


def test_tokens_in_another_order_are_refused_by_name_and_not_suggested():
    """Unrolled in blocks of 2 x 2, as Hiera does: row by row they would be scrambled."""
    rows = torch.arange(GRID * GRID).view(GRID // 2, 2, GRID // 2, 2)
    model, x = drawn(Tokens, 0, order=rows.permute(1, 3, 0, 2).flatten()), image()
    with pytest.raises(Refused, match="could not tell which output axes") as refused:
        layers.named_layer(model, x, "blocks.1.norm")
    assert "(1, 36, 16)" in refused.value.got
    with pytest.raises(Refused, match="it is the entrance of the network"):
        zerocam.suggest_layer(model, x)


@pytest.mark.parametrize("K", [8, 36, 9])
def test_channels_are_not_taken_for_positions(K):
    """flatten(2), then Conv1d: (N, K, 36), where K may be a square as well."""
    model = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(3, 12, 4, 4), nn.ReLU(), nn.Flatten(2), nn.Conv1d(12, K, 1), nn.GELU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(K, 3),
        )
    )  # fmt: skip
    x = image()
    where, why = zerocam.suggest_layer(model, x)
    assert where["layer"] == "4"
    assert f"{K} channels, 6 x 6" in why
    M = zerocam.grad_cam(model, x, 1, **where, relu=False)
    expected = zerocam.grad_cam(
        model, x, 1, layer="4", relu=False, reshape=lambda A: A.unflatten(2, (6, 6))
    )
    assert torch.equal(M, expected)


def test_electrodes_by_time():
    """Kernels along time alone: 10 electrodes, 8 channels, which no proportion could tell."""
    model = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, (1, 9), padding=(0, 4)), nn.ELU(), nn.AvgPool2d((1, 4)),
            nn.Conv2d(8, 8, (1, 3), (1, 2), (0, 1)), nn.ELU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        )
    )  # fmt: skip
    where, why = zerocam.suggest_layer(model, image(10, 128, 1))
    assert where == {"layer": "4"}
    assert "8 channels, 10 x 16" in why


def test_a_signal_in_the_clothes_of_an_image():
    class Sensors(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(9, 16, 5, padding=2), nn.Conv1d(16, 32, 5, 2, 2)
            self.act, self.fc = nn.ReLU(), nn.Linear(32, 6)

        def forward(self, x):
            return self.fc(self.act(self.b(self.a(x[:, :, 0]))).mean(2))

    model, x = drawn(Sensors), image(1, 64, 9)
    where, why = zerocam.suggest_layer(model, x)
    assert where["layer"] == "act"
    assert "32 channels, 1 x 32" in why
    assert zerocam.grad_cam(model, x, 0, **where).shape == (1, 1, 32)


@pytest.mark.parametrize(("size", "K"), [((16, 32), 16), ((32, 16), 4), ((16, 64), 32)])
def test_channels_last_whatever_the_proportions(size, K):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.act, self.head = nn.Conv2d(1, K, 2, 2), nn.GELU(), nn.Linear(K, 4)

        def forward(self, x):
            return self.head(self.act(self.embed(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, x = drawn(Last), image(*size, 1)
    where, _ = zerocam.suggest_layer(model, x)
    assert where == {"layer": "act", "reshape": zerocam.channels_first}
    assert zerocam.grad_cam(model, x, 0, **where).shape == (1, size[0] // 2, size[1] // 2)


def test_a_branch_behind_which_the_class_token_looks_goes_round():
    """Up to the layer the class token's own way does not count; behind it, what it reads does."""
    model = small_vit()
    x, block = image(32, 32), "encoder.layers.encoder_layer_"
    round_it = {"0.ln_1": True, "0.mlp": True, "0.mlp.1": True, "0": False, "1.ln_1": False}
    for name, expected in round_it.items():
        tokens = layers._Tokens((1, 17, 16), 1, (0,))
        assert layers._goes_round(model, x, block + name, hooks.any_score, tokens) == expected, name


def test_another_default_dtype_changes_no_suggestion():
    parts = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    model, x = drawn(lambda: nn.Sequential(*parts)), image()
    expected = zerocam.suggest_layer(model, x)
    torch.set_default_dtype(torch.float64)
    try:
        assert zerocam.suggest_layer(model, x) == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_attention_matrix_is_no_map():
    class Written(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.patch, self.qkv = nn.Conv2d(3, d, 4, 4), nn.Linear(d, 3 * d)
            self.attend, self.drop = nn.Softmax(-1), nn.Dropout(0.1)
            self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 3)

        def forward(self, x):
            t = self.patch(x).flatten(2).mT
            q, k, v = self.qkv(t).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
            a = self.drop(self.attend(q @ k.mT / 3))
            return self.head(self.norm(t + (a @ v).transpose(1, 2).flatten(2)).mean(1))

    model, x = drawn(Written), image()
    for name in ("attend", "drop"):
        with pytest.raises(Refused, match="could not tell"):
            layers.named_layer(model, x, name)
    assert zerocam.suggest_layer(model, x)[0]["layer"] == "norm"


def test_a_box_of_a_detector_is_not_drawn_over_the_image():
    class Box(nn.Module):
        """It looks at one quarter of its features, as the scores of one box do."""

        def __init__(self):
            super().__init__()
            self.body, self.crop = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), nn.Identity()
            self.roi, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

        def forward(self, x):
            A = self.body(x)
            box = nn.functional.interpolate(A[:, :, 8:, 8:], (14, 14))
            return self.head(self.roi(box).mean((2, 3)))

    model, x = drawn(Box), image(32, 32)
    where, why = zerocam.suggest_layer(model, x)
    assert where == {"layer": "body"}
    assert "not 'roi': by changing the image we could not tell" in why


def test_a_pooling_is_known_by_what_it_does_and_not_by_its_name():
    class PoolFormer(nn.Sequential):
        """A network whose name has a pooling in it."""

    class Smaller(nn.Module):
        def forward(self, A):
            return A[:, :, ::2, ::2]

    model = drawn(
        lambda: nn.Sequential(
            PoolFormer(nn.Conv2d(3, 8, 3), nn.ReLU()), Smaller(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(8, 3),
        )
    )  # fmt: skip
    where, why = zerocam.suggest_layer(model, image())
    assert where == {"layer": "0"}
    assert "not '1': it only pools the layer before" in why


def test_no_more_than_some_layers_are_held_at_a_time(monkeypatch):
    """Sixty layers of one size, of which the last has positions: the early ones are never held."""
    deep = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), *(nn.GELU() for _ in range(60)),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
        )
    )  # fmt: skip
    asked = []
    grids = layers._grids

    def watched(model, x, of):
        asked.append(len(of))
        return grids(model, x, of)

    monkeypatch.setattr(layers, "_grids", watched)
    assert zerocam.suggest_layer(deep, image())[0] == {"layer": "60"}
    assert sum(asked) <= layers.HELD


def test_a_map_that_is_mirrored_inside_is_refused():
    """Of 2 x 2 positions each is near every strip: their order tells."""

    class Mirror(nn.Module):
        def forward(self, A):
            return A.flip(3)

    model = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 12, 12), nn.GELU(), Mirror(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 3),
        )
    )  # fmt: skip
    assert layers.named_layer(model, image(), "1") == {"layer": "1"}
    with pytest.raises(Refused, match="could not tell"):
        layers.named_layer(model, image(), "2")


def test_a_strip_that_moves_everything_does_not_hide_the_others():
    """Four positions, each moved by its own strip and a little by all; one strip is loud."""
    answers = (torch.eye(4) + 0.3) * torch.tensor([[1.0], [10.0], [1.0], [1.0]])
    assert layers._strongest(answers).strip.tolist() == [0, 1, 2, 3]
    quiet = answers * torch.tensor([1.0, 1.0, 1e-6, 1.0])  # and one position hardly moves
    assert layers._strongest(quiet).strip.tolist() == [0, 1, 2, 3]


def test_what_is_near_must_also_be_in_order():
    found = layers._Strongest(torch.eye(8)[:, 3:5] + 0.1, torch.tensor([3, 4]), torch.ones(2))
    assert layers._placed(found, torch.tensor([0, 1]), 2) == 1
    assert layers._placed(found, torch.tensor([1, 0]), 2) == 0  # as near, and mirrored


@pytest.mark.parametrize(("extra", "at"), [(17, 0), (20, 0), (GRID * 3 + 1, 0), (18, GRID * GRID)])
def test_registers_that_fill_rows_of_the_map_are_left_out(extra, at):
    """One class token and 16 to 19 registers: three whole rows of a map 6 wide."""
    model, x = drawn(Tokens, extra, at), image()
    where, _ = zerocam.suggest_layer(model, x)
    assert where["layer"] == "blocks.1.norm"
    assert in_place(model, x, where)
    assert zerocam.grad_cam(model, x, 0, **where).shape == (1, GRID, GRID)


def test_registers_of_a_signal_are_left_out():
    """12 of 60 tokens: kept, they would move every place by a fifth of the signal."""

    class Sequence(Tokens):
        def forward(self, x):
            return super().forward(x[:, :, None])

    model = drawn(Sequence, 12, rows=1, columns=48)
    model.patch = nn.Conv2d(3, 16, (1, 4), (1, 4))
    x = torch.randn(1, 3, 192, generator=torch.Generator().manual_seed(2))
    where, _ = zerocam.suggest_layer(model, x)
    A = zerocam.activations(model, x, **where)
    assert A.shape == (1, 16, 1, 48)
    x[:, :, 40:44] += 3
    moved = (zerocam.activations(model, x, **where) - A).abs().sum((0, 1, 2))
    assert int(moved.argmax()) == 10


def test_a_row_without_a_place_is_no_row_of_a_map():
    """Tokens of 30 patches, 5 x 6, behind 6 registers: 36 tokens, that fold into 6 x 6 as well."""
    at = torch.arange(30)
    rows, columns = torch.eye(5)[at // 6] + 0.05, torch.eye(6)[at % 6] + 0.05
    down, across = (
        layers._strongest(torch.cat([torch.full((6, way.shape[1]), way.mean()), way]).T)
        for way in (rows, columns)
    )
    found = list(layers._folded(down, across, (40, 48), 0, 1))
    (best,) = {grid.size for share, merit, grid in found if share >= layers.PLACED}
    assert best == (5, 6)
    assert layers._has_flat_line(torch.tensor([[0.1, 0.2], [1.0, 1.0]]), torch.tensor(0.3))
    assert not layers._has_flat_line(torch.tensor([[0.1, 1.0], [1.0, 0.2]]), torch.tensor(0.3))
    noisy = layers._Strongest(torch.ones(8, 64), (torch.arange(64) // 8), torch.ones(64))
    noisy.moved.copy_(torch.eye(8)[:, torch.arange(64) // 8] + 0.1)
    assert layers._placed(noisy, torch.arange(64) // 8, 8) == 1
    noisy.strip[:8] = torch.tensor([3, 0, 4, 3, 3, 4, 3, 1])  # one row answers to others
    assert layers._placed(noisy, torch.arange(64) // 8, 8) == 0


@pytest.mark.parametrize(
    ("size", "image", "fits"),
    [
        ((14, 14), (224, 224), True),
        ((13, 14), (224, 224), False),
        ((12, 101), (128, 1024), True),  # patches of 16, a step of 10
        ((5, 7), (22, 30), True),
        ((55, 55), (224, 224), True),
        ((197, 197), (224, 224), False),
        ((64, 5), (64, 1000), False),  # electrodes by stretches of time
    ],
)
def test_grids_that_one_patch_gives(size, image, fits):
    assert layers._one_patch(size, image) is fits


class Pooled(nn.Module):
    """The scores of one box of an image, of which a body makes features: as of a detector."""

    def __init__(self, low, high):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.box, self.roi, self.head = (low, high), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        A = self.body(x)
        low, high = (round(edge * A.shape[2]) for edge in self.box)
        box = nn.functional.interpolate(A[:, :, low:high, low:high], (9, 9), mode="bilinear")
        return self.head(self.roi(box).mean((2, 3)))


@pytest.mark.parametrize("box", [(0.3, 0.7), (0.27, 0.73), (0.5, 0.95), (0.0, 0.55)])
def test_a_box_inside_the_image_is_not_drawn_over_it(box):
    model, x = drawn(Pooled, *box), image(80, 80)
    where, why = zerocam.suggest_layer(model, x)
    assert where == {"layer": "body"}
    assert "not 'roi': by changing the image we could not tell" in why
    with pytest.raises(Refused, match="positions of all of it"):
        layers.named_layer(model, x, "roi")


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("seed", range(3))
def test_convolutions_without_a_border_still_show_the_whole_image(activation, seed):
    """The maps of a LeNet, 10 x 10 of 32 x 32 pixels, leave out some of the border."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), activation(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    assert zerocam.suggest_layer(model, image(32, 32, 1))[0] == {"layer": "4"}


def test_the_line_from_rows_to_strips():
    """Eight strips that move eight rows: their own, those of the middle half, or those below."""
    at = torch.arange(8)
    own = torch.eye(8)
    assert layers._whole(layers._strongest(own), at, 8)
    middle = torch.zeros(8, 8)
    middle[(at // 2) + 2, at] = 1.0
    assert not layers._whole(layers._strongest(middle), at, 8)
    below = torch.zeros(8, 8)
    below[(at * 0.62 + 3.1).long().clamp(max=7), at] = 1.0
    assert not layers._whole(layers._strongest(below), at, 8)
    wide = torch.eye(8) + 0.5  # each strip moves all rows as well
    assert layers._whole(layers._strongest(wide), at, 8)


def test_a_few_positions_that_are_mixed_are_not_told_by_their_number():
    """4 x 4 positions, each a mixture of all: the sizes are those of a map, the places are not."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.patch = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 12, 10, 10)
            self.seen, self.head = nn.GELU(), nn.Linear(12, 3)
            self.mix = nn.Parameter(torch.randn(16, 16))

        def forward(self, x):
            A = self.patch(self.stem(x).tanh())
            return self.head(self.seen((A.flatten(2) @ self.mix).unflatten(2, (4, 4))).mean((2, 3)))

    model, x = drawn(Mixed), image(40, 40)
    where, why = zerocam.suggest_layer(model, x)
    assert where == {"layer": "patch"}
    assert "not 'seen': by changing the image we could not tell" in why


@pytest.mark.parametrize(("size", "layer"), [((3, 3), "seen"), ((2, 8), "body")])
def test_a_few_positions_that_are_moved_nearly_alike_are_told_by_what_moves_them_more(size, layer):
    """Each sees nearly all: 3 x 3 are a map of a square image, 2 x 8 are none."""

    class Alike(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.seen, self.head = nn.Conv2d(3, 9, 5, 4, 2), nn.GELU(), nn.Linear(9, 3)

        def forward(self, x):
            A = nn.functional.interpolate(self.body(x), size, mode="bilinear")
            return self.head(self.seen(A / 2000 + A.mean((2, 3), keepdim=True)).mean((2, 3)))

    model, x = drawn(Alike), image(40, 40)
    assert zerocam.suggest_layer(model, x)[0] == {"layer": layer}


# ---- what the sizes alone would say --------------------------------------------------------------


def electrodes(classes=4, F=8, C=22):
    """As EEGNet: filters along time, one over all electrodes, then along time again."""
    return nn.Sequential(
        nn.Conv2d(1, F, (1, 33), padding=(0, 16), bias=False), nn.BatchNorm2d(F),
        nn.Conv2d(F, 2 * F, (C, 1), groups=F, bias=False), nn.BatchNorm2d(2 * F), nn.ELU(),
        nn.AvgPool2d((1, 4)), nn.Conv2d(2 * F, 2 * F, (1, 17), padding=(0, 8)), nn.ELU(),
        nn.AvgPool2d((1, 8)), nn.Flatten(), nn.LazyLinear(classes),
    )  # fmt: skip


class Shallow(nn.Module):
    """As ShallowFBCSPNet: filters along time, over all electrodes, the logarithm of the power."""

    def __init__(self, C=22, K=10):
        super().__init__()
        self.time, self.space = nn.Conv2d(1, K, (1, 25)), nn.Conv2d(K, K, (C, 1))
        self.pool, self.head = nn.AvgPool2d((1, 75), (1, 15)), nn.LazyLinear(4)

    def forward(self, x):
        A = self.pool(self.space(self.time(x)).square()).clamp(min=1e-6).log()
        return self.head(A.flatten(1))


@pytest.mark.parametrize(("make", "layer"), [(electrodes, "7"), (Shallow, "space")])
def test_one_row_of_many_columns_is_a_map_of_time(make, layer):
    """The map is 1 x 700 or so: many more columns than channels, as if the channels were last."""
    model, x = drawn(make), image(22, 750, 1)
    model(x)
    where, _ = zerocam.suggest_layer(model, x)
    assert where == {"layer": layer}
    for name in (layer, "0" if layer == "7" else "time"):
        M = zerocam.grad_cam(model, x, 1, layer=name, relu=False)
        same = zerocam.grad_cam(model, x, 1, layer=name, relu=False, reshape=lambda A: A)
        assert torch.equal(M, same)


def test_a_panorama_is_a_map_of_one_row():
    model = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Conv2d(4, 4, (4, 3), padding=(0, 1)), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
        )
    )  # fmt: skip
    x = image(32, 3200)
    where, why = zerocam.suggest_layer(model, x)
    assert where == {"layer": "3"}
    assert "4 channels, 1 x 400" in why


class Unnamed(nn.Module):
    """Layers whose outputs are none of (N, K, h, w), though their sizes could be."""

    def __init__(self, d=12, heads=3):
        super().__init__()
        self.patch, self.qkv, self.h = nn.Conv2d(3, d, 4, 4), nn.Linear(d, 3 * d), heads
        self.attend, self.last, self.windows = nn.Softmax(-1), nn.GELU(), nn.GELU()
        self.head = nn.Linear(d, 3)

    def forward(self, x):
        grid = self.last(self.patch(x).permute(0, 2, 3, 1))
        t = grid.flatten(1, 2)
        q, k, v = self.qkv(t).unflatten(2, (3, self.h, -1)).permute(2, 0, 3, 1, 4)
        t = t + (self.attend(q @ k.mT) @ v).transpose(1, 2).flatten(2)
        return self.head(self.windows(t.unflatten(1, (4, -1))).mean((1, 2)))


@pytest.mark.parametrize(
    ("layer", "side", "message"),
    [
        ("last", 48, r"\(1, 12, 12, 12\), whose positions are its axes 1 and 2: channels last .*"
                     r"pass reshape=zerocam.channels_first$"),
        ("last", 80, r"\(1, 20, 20, 12\), whose positions are its axes 1 and 2"),
        ("attend", 16, r"\(1, 3, 16, 16\), and by changing the image we .*if it is \(N, K"),
        ("attend", 32, r"\(1, 3, 64, 64\), and by changing the image we could not tell"),
        ("windows", 32, r"\(1, 4, 16, 12\), and by changing the image we could not tell"),
    ],
)  # fmt: skip
def test_an_output_that_only_looks_like_a_map_is_refused(layer, side, message):
    model, x = drawn(Unnamed), image(side, side)
    for cam_of in (zerocam.grad_cam, zerocam.grad_cam_all):
        with pytest.raises(Refused, match=message):
            cam_of(model, x, layer=layer)
    mine = zerocam.grad_cam(model, x, 0, layer=layer, reshape=lambda A: A)
    assert mine.shape[1:] == hooks.activations(model, x, layer=layer, reshape=lambda A: A).shape[2:]


def test_what_a_layer_has_proved_to_be_is_not_tried_again(monkeypatch):
    model, x = drawn(electrodes), image(22, 750, 1)
    model(x)
    tried = []
    grids = layers._grids
    monkeypatch.setattr(layers, "_grids", lambda *a: tried.append(a) or grids(*a))
    for _ in range(3):
        zerocam.grad_cam(model, x, 1, layer="7")
    assert len(tried) == 1
    zerocam.grad_cam(model, x[..., :600].repeat(1, 1, 1, 2)[..., :750], 1, layer="7")
    assert len(tried) == 1
    other = drawn(electrodes)
    other(x)
    zerocam.grad_cam(other, x, 1, layer="7")
    assert len(tried) == 2


def test_the_trial_leaves_a_network_in_training_its_graph():
    """BatchNorm's averages move with every pass, and the backward pass needs them as they were."""
    model, x = drawn(electrodes), image(22, 750, 1).repeat(3, 1, 1, 1)
    model(x)
    model.train()
    before = model[1].running_mean.clone()
    assert zerocam.grad_cam(model, x, 1, layer="7").shape[0] == 3
    assert torch.equal(model[1].running_mean, before)


# ---- what goes round -----------------------------------------------------------------------------


class Beside(Tokens):
    """A vision transformer with another way from the image to the scores beside it."""

    def __init__(self, extra):
        super().__init__(extra)
        self.beside = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.joined = nn.Linear(7, 3)

    def forward(self, x):
        beside = self.beside(x).flatten(1)
        return self.joined(torch.cat([super().forward(x), beside], 1))


@pytest.mark.parametrize("extra", [1, 3])
def test_a_branch_beside_a_class_token_goes_round(extra):
    """The class token carries the image round each layer, and does not count; the branch does."""
    with pytest.raises(Refused, match="goes round it") as refused:
        zerocam.suggest_layer(drawn(Beside, extra), image())
    assert "not 'blocks.1.norm': part of the image goes round it" in str(refused.value)
    assert zerocam.suggest_layer(drawn(Tokens, extra), image())[0]["layer"] == "blocks.1.norm"


def test_few_rows_in_order_must_be_clear():
    """Three rows may be in order by chance: they count only if each answers to its own strips."""
    at = torch.arange(3)
    own = torch.eye(8)[:, [1, 4, 6]]
    assert layers._placed(layers._strongest(own + 1.0), at, 3) == 1
    assert layers._placed(layers._strongest(own + 20.0), at, 3) == 0
    five = torch.eye(8)[:, [0, 2, 4, 5, 7]] + 20.0  # five are hardly ever
    assert layers._placed(layers._strongest(five), torch.arange(5), 5) == 1


@pytest.mark.parametrize(("weight", "passes"), [(1.0, 100), (0.0, 25)])
def test_where_the_weights_of_the_head_are_zero_no_more_is_tried(weight, passes):
    """One part of the layers is tried, of five; the gradient at all others takes one pass."""
    model = drawn(Tokens)
    with torch.no_grad():
        model.head.weight.mul_(weight)
    ran = []
    model.register_forward_hook(lambda *_: ran.append(1))
    if weight:
        assert zerocam.suggest_layer(model, image())[0]["layer"] == "blocks.1.norm"
    else:
        with pytest.raises(Refused, match="gradient of every score is zero there"):
            zerocam.suggest_layer(model, image())
    assert len(ran) <= passes


def test_a_layer_that_the_scores_hear_is_found_behind_one_that_they_do_not():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fc = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Linear(8, 3)
            # so many numbers that the body is not among the first layers that are tried
            self.wide = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))

        def forward(self, x):
            A = self.body(x)
            return self.fc(A.mean((2, 3))) + 0 * self.wide(A).mean((1, 2, 3))[:, None]

    where, why = zerocam.suggest_layer(drawn(Gated), image())
    assert where == {"layer": "body"}
    assert "not 'wide': the gradient of every score is zero" in why
