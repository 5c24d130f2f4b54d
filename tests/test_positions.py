"""Where a layer's positions are, in the layouts that networks have: a change of the image tells."""

import pytest
import torch
from torch import nn

import zerocam
from zerocam import layers
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
    with pytest.raises(Refused, match=r"does not tell which of its axes are positions") as refused:
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
        with pytest.raises(Refused, match="does not tell"):
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
    assert "not 'roi': changing the image does not tell" in why


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
    with pytest.raises(Refused, match="does not tell"):
        layers.named_layer(model, image(), "2")


def test_a_strip_that_moves_everything_does_not_hide_the_others():
    """Four positions, each moved by its own strip and a little by all; one strip is loud."""
    answers = (torch.eye(4) + 0.3) * torch.tensor([[1.0], [10.0], [1.0], [1.0]])
    assert layers._strongest(answers).strip.tolist() == [0, 1, 2, 3]
    quiet = answers * torch.tensor([1.0, 1.0, 1e-6, 1.0])  # and one position hardly moves
    assert layers._strongest(quiet).strip.tolist() == [0, 1, 2, 3]


def test_what_is_near_must_also_be_in_order():
    found = layers._Strongest(8, torch.tensor([3, 4]), torch.ones(2))
    assert layers._placed(found, torch.tensor([0, 1]), 2) == 1
    assert layers._placed(found, torch.tensor([1, 0]), 2) == 0  # as near, and mirrored
