"""Other networks and other eyes: small sight, outlines, three of a family, shuffled weights."""

import pytest
import torch

import zerocam
from tests import turns
from zerocam import imagenet, metrics, symmetries, targets
from zerocam.lab import nets, pictures
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies import evidence, load


@pytest.fixture(scope="module")
def bag():
    """A net of small sight in float64, whose BatchNorms have seen pages: no weight is trained."""
    net = nets.SceneNet(seed=3, blocks=nets.SMALL_SIGHT, dtype=torch.float64).train()
    for seed in range(3):
        net(digit_scenes(50, seed=seed, dtype=torch.float64).x)
    return net.eval()


# ---- positions that see 8 x 8 pixels ------------------------------------------------------------


def test_a_position_of_small_sight_sees_eight_pixels_and_the_usual_one_twenty_six():
    for blocks, sight in ((nets.SMALL_SIGHT, 8), (nets.WIDE_SIGHT, 26)):
        net = nets.SceneNet(blocks=blocks).eval()
        x = torch.rand(1, 1, 80, 80, requires_grad=True)
        A = net.features(x)
        assert A.shape[-2:] == (20, 20)
        (g,) = torch.autograd.grad(net.features[:-1](x)[0, :, 10, 10].sum(), x)
        rows = g[0, 0].abs().sum(1).nonzero()[:, 0]
        first = 4 * 10 + 2 - sight // 2  # centred on pixel 4 i + 1.5
        assert (rows.min(), rows.max()) == (first, first + sight - 1)


def test_who_sees_ink_by_hand():
    ink = torch.zeros(1, 40, 40, dtype=torch.bool)
    ink[0, 6, 20] = True  # position i sees the pixels 4 i - 2 to 4 i + 5
    assert evidence.in_sight(ink)[0].nonzero().tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]


@pytest.mark.claim("E7")
def test_a_local_score_is_what_the_head_says_of_these_pixels_alone(bag):
    """To the last bit: all else on the page may be erased, and the score is the mean of them."""
    page = digit_scenes(1, digits=2, split="test", seed=4, dtype=torch.float64).x
    says = torch.einsum("ck,nkij->ncij", bag.head.linear.weight, bag.features(page))
    says = says + bag.head.linear.bias[:, None, None]
    torch.testing.assert_close(says.mean((2, 3)), bag(page), rtol=1e-12, atol=1e-12)
    for i, j in ((2, 3), (5, 5), (7, 1)):
        alone = torch.zeros_like(page)
        place = (..., slice(4 * i - 2, 4 * i + 6), slice(4 * j - 2, 4 * j + 6))
        alone[place] = page[place]
        assert torch.equal(bag.features(alone)[..., i, j], bag.features(page)[..., i, j])
    M = zerocam.grad_cam(bag, page, 3, layer="features", relu=False)
    local = evidence.local_score(M, bag(page)[:, 3])
    torch.testing.assert_close(local, says[:, 3] / 100, rtol=1e-10, atol=1e-12)


@pytest.mark.claim("E7")
def test_erasing_a_digit_moves_the_score_by_what_the_map_says_of_its_places(bag):
    pages = digit_scenes(60, digits=2, split="test", seed=5, dtype=torch.float64)
    one, two = (evidence.in_sight(pages.masks[:, d]) for d in (0, 1))
    apart = ~(one & two).flatten(1).any(1)
    assert 10 < apart.sum() < 50
    erased = pages.x * ~pages.masks[:, 1:]
    blank = bag.features(torch.zeros_like(pages.x[:1]))
    M = torch.einsum("ck,nkij->ncij", bag.head.linear.weight / 100, bag.features(pages.x) - blank)
    said, change = (M * two[:, None]).sum((2, 3)), bag(pages.x) - bag(erased)
    torch.testing.assert_close(said[apart], change[apart], rtol=1e-9, atol=1e-12)
    assert (said - change)[~apart].abs().max() > 1e-3  # where one window shows both, it cannot be
    assert not M[(~one & ~two)[:, None].expand_as(M)].any()  # blank pixels: exactly nothing


@pytest.mark.claim("E7")
def test_blue_on_blank_paper_is_a_matter_of_sight_in_each_of_twenty_networks():
    study = load("sight")
    assert (study["small_read"] > 0.85).all()
    assert (study["small_page_clear"] == 0).all()
    assert (study["small_clear"] < 0.1).all()
    for start in ("wide", "wide_page"):
        assert (study[f"{start}_clear"] > 0.1).all()
        assert (study[f"{start}_clear"] > study["small_clear"] + 0.05).all()
    assert (study["small_miss_apart"] < 1e-4).all()
    assert (study["wide_miss_apart"] > 0.1).all()
    assert (study["small_own"] > study["wide_own"] + 0.05).all()
    assert (study["small_other"] > 0.5).all()


# ---- outlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pictures.CREDITS)
def test_an_outline_has_its_corners_and_scales(name):
    drawn = pictures._outlines()[name]
    assert drawn.keys() == {"what", "corners"}
    assert len(drawn["what"].split()) > 1
    for polygon in drawn["corners"]:
        assert 10 <= len(polygon) <= 35
        assert all(0 <= value <= 224 for corner in polygon for value in corner)
    small, large = pictures.outline(name), pictures.outline(name, 448)
    assert small.shape == (224, 224)
    twice = small.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert (twice ^ large).double().mean() < 0.01  # only along the edge


def test_an_outline_by_hand(monkeypatch):
    square = {"coffee": {"what": "a square", "corners": [[[56, 0], [112, 0], [112, 56], [56, 56]]]}}
    monkeypatch.setattr(pictures, "_outlines", lambda: square)
    assert pictures.outline("coffee", 4).int().tolist() == [[0, 1, 0, 0], *[[0] * 4] * 3]


def test_what_was_outlined_is_where_it_is_in_the_photograph():
    """Pixels that nobody can doubt, (row, column): on the thing, and beside it."""
    places = {
        "chelsea": ([(80, 70), (100, 180), (180, 140)], [(150, 220), (220, 200)]),
        "coffee": ([(60, 100), (140, 70), (150, 110)], [(10, 10), (160, 150), (200, 30)]),
        "camera": ([(120, 128), (180, 113), (180, 155)], [(60, 80), (200, 140), (190, 90)]),
        "rocket": ([(80, 113), (150, 113), (205, 113)], [(150, 60), (220, 113), (40, 113)]),
        "china": ([(50, 50), (110, 60), (160, 100)], [(30, 150), (210, 200), (200, 10)]),
        "flower": ([(115, 105), (60, 110), (210, 150)], [(20, 20), (195, 60), (100, 200)]),
    }
    assert places.keys() == pictures.CREDITS.keys()
    for name, (on, beside) in places.items():
        mask = pictures.outline(name)
        assert all(mask[p] for p in on), name
        assert not any(mask[p] for p in beside), name


def test_an_outline_of_nothing_is_refused():
    with pytest.raises(ValueError, match="name: got 'dog', wanted one of chelsea, coffee"):
        pictures.outline("dog")


# ---- networks that compute something else -------------------------------------------------------


def test_shuffled_weights_are_the_same_numbers_in_another_order():
    net = nets.scene_net()
    before = {name: p.clone() for name, p in net.named_parameters()}
    other = dict(evidence.shuffled(net, "head").named_parameters())
    for name, p in net.named_parameters():
        assert torch.equal(p, before[name])
        assert torch.equal(p.flatten().sort()[0], other[name].flatten().sort()[0])
        assert torch.equal(p, other[name]) == (not name.startswith("head")), name


@pytest.mark.slow
@pytest.mark.claim("H6")
def test_the_local_score_stays_with_the_function_and_moves_with_it():
    net, c = imagenet.efficientnet_lite0(), imagenet.imagenet_class("espresso")
    x = imagenet.imagenet_input(pictures.collage("chelsea", "coffee")[0])[None]

    def local(model, layer="features"):
        M = zerocam.grad_cam(model, x, targets.centred(c), layer=layer, relu=False)
        return evidence.local_score(M, targets.centred(c)(model(x)).detach())

    L = local(net)
    moved = lambda V: ((V - L).abs().max() / L.abs().max()).item()  # noqa: E731
    for seed in turns.some(range(6), 3):
        for kind, size in (("affine", 0.1), ("softmax shift", 0.05)):
            T = symmetries.random_symmetry(kind, 1280, seed=seed, size=size)
            assert moved(local(*zerocam.reparametrize(net, "features", T, x=x))) < 1e-4
        for parts in (["head"], ["head", "features.last"]):
            assert moved(local(evidence.shuffled(net, *parts, seed=seed))) > 1 / 3


@pytest.mark.slow
@pytest.mark.claim("G3")
def test_on_outlines_a_local_score_fits_as_zero_does():
    fits = evidence.outlined(imagenet.efficientnet_lite0())
    assert fits["overlap_zero"].shape == (6, len(evidence.CUTS))
    assert (fits["overlap_local"] - fits["overlap_zero"]).abs().max() < 0.05
    assert fits["point_zero"].sum() == 4  # tripod and rocket are thinner than a position
    for key in ("mean", "local"):
        assert torch.equal(fits[f"point_{key}"], fits["point_zero"])
    mask = torch.stack([pictures.outline(name) for name in pictures.CREDITS])
    whole = metrics.iou(mask.double(), mask)
    assert torch.equal(whole, torch.ones(6, dtype=torch.float64))


# ---- three networks of one family ---------------------------------------------------------------


@pytest.mark.claim("H2", "H3", "F7", "B7")
def test_three_networks_of_one_family_say_what_the_chapters_say_of_the_first():
    study = load("lites")

    def moves(i, key):
        means = [study.mean(f"lite{i}_{key}_{layer}") for layer in ("conv", "norm", "act")]
        return max(means) - min(means)

    for i in range(3):
        for layer in ("conv", "norm", "act"):
            assert (study[f"lite{i}_point_{layer}"] == 1).all()
        assert moves(i, "own_mean") < moves(i, "own") / 4
        assert moves(i, "other_local") < moves(i, "other") / 2
        assert moves(i, "other_mean") > moves(i, "other") / 4
        for key in ("own_mean", "other_mean", "own_local", "other_local"):  # differ by a constant
            gap = study[f"lite{i}_{key}_conv"] - study[f"lite{i}_{key}_norm"]
            assert gap.abs().max() < 1e-3
        assert (study[f"lite{i}_negative"] == 1).all()
        assert 0.005 < study.mean(f"lite{i}_common") < 0.01
        assert 0.3 < study[f"lite{i}_constant"].min() < study[f"lite{i}_constant"].max() < 0.5
        assert study.mean(f"lite{i}_blank_conv") > 5 * study.mean(f"lite{i}_blank_norm")
        assert study.mean(f"lite{i}_kink_lowest") > 0.8
    blank = [study.mean(f"lite{i}_blank_conv") for i in range(3)]
    assert max(blank) > 2 * min(blank)  # how many are blank is not the family's
